"""The last gate of a plan, and how far a refusal reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig import plans
from bitmapmig.fate import Foretold
from bitmapmig.plans import build
from tests.build import MIB, bitmap, codes, destination, node, planned, source

if TYPE_CHECKING:
    from tests.build import Part

HERE: list[Part] = [node("n0", bitmaps=["b0", "b1"]), node("n1", bitmaps=["b2"])]
THERE: list[Part] = [node("n0"), node("n1")]


def test_a_plan_holds_what_is_foretold() -> None:
    """Every bitmap of a plan is foretold to arrive where the plan says."""
    made = planned(source(*HERE), destination(*THERE))
    assert made.foretold.migration == "completes"
    assert {(one.bitmap, one.outcome, one.destination_node) for one in made.foretold.bitmaps} == {
        ("b0", "arrives", "n0"),
        ("b1", "arrives", "n0"),
        ("b2", "arrives", "n1"),
    }


@pytest.mark.parametrize(
    "wrong",
    [{"outcome": "dropped"}, {"destination_node": "n1"}, {"destination_bitmap": "other"}, {"persistent": True}],
)
def test_nothing_is_emitted_that_the_model_does_not_foretell(
    wrong: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the model foretells something else than the plan says, of one bitmap alone, the plan is refused."""
    honest = plans.build.__globals__["foreseen"]

    def lying(*of_the_plan: Any) -> Foretold:
        told: Foretold = honest(*of_the_plan)
        first, *rest = told.bitmaps
        return told.model_copy(update={"bitmaps": (first.model_copy(update=wrong), *rest)})

    monkeypatch.setitem(build.__globals__, "foreseen", lying)
    made = planned(source(*HERE), destination(*THERE))
    assert codes(made.refusals) == ["BM603"]
    assert (made.refusals[0].where.node, made.refusals[0].where.bitmap) == ("n0", "b0")
    assert made.commands.source == ()


@pytest.mark.parametrize(
    ("here", "there", "lost"),
    [
        ([node("n0", bitmaps=[bitmap("b0", "busy")]), *HERE[1:]], THERE, {"BM532": 1}),
        (HERE, [node("n0"), node("n1", size=8 * MIB)], {"BM541": 2}),
        (HERE, [node("n0", bitmaps=["b1"]), node("n1")], {"BM542": 2}),
        (HERE, [node("n1")], {"BM501": 2}),
        ([node("#n", bitmaps=["b0"]), *HERE], THERE, {"BM301": 3}),
        ([node("n0", bitmaps=[bitmap("b0", "busy")])], [node("n0")], {"BM532": 0}),
    ],
)
def test_a_refusal_says_what_it_takes_along(here: list[Part], there: list[Part], lost: dict[str, int]) -> None:
    """A refusal of a bitmap that takes others with it says how many."""
    made = planned(source(*here), destination(*there))
    assert {one.code: one.facts.get("others_lost", 0) for one in made.refusals} == lost
    for one in made.refusals:
        assert ("would be lost with it" in one.message) is bool(lost[one.code])


def test_what_the_policy_accepts_is_not_held_against_the_plan() -> None:
    """A destination that does not wait may be accepted, though the model foretells that nothing begins."""
    there = destination(*THERE, run_state="running")
    assert codes(planned(source(*HERE), there).refusals) == ["BM512"]
    made = planned(source(*HERE), there, {"accept": ["BM512"]})
    assert (made.verdict, made.guarantee, made.foretold.migration) == ("planned", False, "fails")

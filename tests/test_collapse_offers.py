"""What a refusal offers where a chain's bitmaps could be merged once its top has a place; on hand-built captures."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig.policy.model import merged
from tests.build import MIB, SIZE, Part, bitmap, codes, destination, drive, guest, node, planned, source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bitmapmig.diagnostics import Diagnostic
    from bitmapmig.plans import Plan
    from tests.build import Raw

COLLAPSE = {"collapse": True}
DRIVE = {"device": "drive0"}
PLACE = {"map": [{"source": {"node-name": "ov2"}, "destination": DRIVE}]}
FLAT = (node("#flat", "qcow2"), drive("drive0", "#flat"))


def chain(
    top: Iterable[str | Raw] = ("daily",),
    middle: Iterable[str | Raw] = ("daily",),
    size: int | None = SIZE,
    number: str = "",
) -> tuple[Part, ...]:
    """A -drive disk whose overlays were named when the snapshots were taken; `size` is that of its base."""
    return (
        node(f"ov2{number}", "qcow2", top, backing=f"ov1{number}"),
        node(f"ov1{number}", "qcow2", middle, ro=True, backing=f"#base{number}"),
        node(f"#base{number}", "qcow2", ["daily"], size, ro=True),
        drive(f"drive0{number}", f"ov2{number}"),
    )


def plan(here: tuple[Part, ...], policy: Mapping[str, Any] | None = None, there: tuple[Part, ...] = FLAT) -> Plan:
    """The plan, refused or not."""
    return planned(source(*here), destination(*there), policy or {})


def firsts(made: Plan) -> dict[str, Any]:
    """The first fragments of all findings, put together as people do who take the first cure that is shown."""
    found: list[dict[str, Any]] = []
    found += [one.fragments[0] for one in made.refusals if one.fragments[0] not in found]
    unique = [one for number, one in enumerate(found) if one not in found[:number]]
    return reduce(merged, unique, {})


def about(made: Plan, place: str) -> Diagnostic:
    """The one refusal about a bitmap."""
    (found,) = [one for one in made.refusals if f"{one.where.node}/{one.where.bitmap}" == place]
    return found


@pytest.mark.parametrize("collapse", [False, True])
def test_place_of_the_top_is_offered(*, collapse: bool) -> None:
    """The first fragment of each finding is the whole cure, the same one; applied it gives a plan that merges all."""
    policy = {"collapse": collapse}
    made = plan(chain(), policy)
    cure = PLACE if collapse else {**COLLAPSE, **PLACE}
    assert [(one.code, one.where.node, one.fragments[0]) for one in made.refusals] == [
        ("BM301", "#base", cure),
        ("BM501", "ov1", cure),
        ("BM501", "ov2", cure),
    ]
    cured = plan(chain(), {**policy, **cure})
    assert [one.fate for one in cured.bitmaps] == ["merged"] * 3


def test_layers_say_that_they_wait_for_the_top() -> None:
    """With `collapse: true` the findings of the layers say that the top's place is what is missing."""
    made = plan(chain(), COLLAPSE)
    for place in ("#base/daily", "ov1/daily"):
        assert about(made, place).remedy.startswith("give the bitmap on 'ov2' a place, and this one is merged into it")
    assert about(made, "ov2/daily").remedy.startswith("map it to a node of the destination")


@pytest.mark.parametrize("collapse", [False, True])
def test_all_bitmaps_of_the_top_get_their_place(*, collapse: bool) -> None:
    """A bitmap that the top alone has is in the same fragment, which fits beside itself."""
    here = chain(top=["daily", "top-only"])
    made = plan(here, {"collapse": collapse})
    assert about(made, "ov2/top-only").fragments[0] == about(made, "#base/daily").fragments[0]
    cured = plan(here, merged({"collapse": collapse}, firsts(made)))
    assert sorted(one.fate for one in cured.bitmaps) == ["merged", "merged", "merged", "migrate"]


def test_what_the_policy_leaves_behind_stays_there() -> None:
    """The place is given to the bitmaps that lack one, where the policy wants another one of the top to stay."""
    here = chain(top=["daily", "scratch"])
    policy = {"map": [{"source": {"node-name": "ov2", "bitmap": "scratch"}, "destination": None}]}
    made = plan(here, policy)
    entry = {"source": {"node-name": "ov2", "bitmap": "daily"}, "destination": DRIVE}
    assert about(made, "ov1/daily").fragments[0] == {**COLLAPSE, "map": [entry]}
    cured = plan(here, merged(policy, firsts(made)))
    assert {f"{one.node}/{one.bitmap}": one.fate for one in cured.bitmaps}["ov2/scratch"] == "left-behind"
    assert cured.verdict == "planned"


def test_each_disk_gets_its_own() -> None:
    """Of two disks each has the place of its own top in its fragments, and the two fit together."""
    here = (*chain(), *chain(number="b"))
    there = (*FLAT, node("#flatb", "qcow2"), drive("drive0b", "#flatb"))
    made = plan(here, there=there)
    placed = {"map": [{"source": {"node-name": "ov2b"}, "destination": {"device": "drive0b"}}]}
    assert about(made, "#baseb/daily").fragments[0] == {**COLLAPSE, **placed}
    assert about(made, "#base/daily").fragments[0] == {**COLLAPSE, **PLACE}
    assert len(plan(here, firsts(made), there).merges) == 2


def test_guest_device_names_the_disk() -> None:
    """Where node-names differ and a guest device is the same, the place is found by that."""
    here = (
        node("top", "qcow2", ["daily"], backing="low"),
        node("low", "qcow2", ["daily"], ro=True),
        guest("disk0", "top"),
    )
    there = (node("flat", "qcow2"), guest("disk0", "flat"))
    made = plan(here, there=there)
    entry = {"source": {"node-name": "top"}, "destination": {"qdev": "disk0"}}
    assert [one.fragments[0] for one in made.refusals] == [{**COLLAPSE, "map": [entry]}] * 2
    assert len(plan(here, firsts(made), there).merges) == 1


@pytest.mark.parametrize("collapse", [False, True])
@pytest.mark.parametrize(
    ("here", "code"),
    [
        (chain(middle=[]), "BM571"),
        (chain(size=MIB), "BM572"),
        (chain(middle=[bitmap("daily", "disabled")]), "BM574"),
        (chain(middle=[bitmap("daily", "busy")]), "BM575"),
        (chain(top=[bitmap("daily", "inconsistent")]), "BM531"),
    ],
)
def test_no_layer_is_left_alone(here: tuple[Part, ...], code: str, *, collapse: bool) -> None:
    """Where merging is refused, the first cures leave all of the chain behind: the top's alone would be wrong."""
    made = plan(here, {"collapse": collapse})
    assert code in about(made, "#base/daily").remedy
    cured = plan(here, merged({"collapse": collapse}, firsts(made)))
    assert {one.fate for one in cured.bitmaps} == {"left-behind"}
    assert codes(cured.advice) == []


def test_destination_with_a_chain_gets_no_offer() -> None:
    """Where the destination has layers as well, nothing would be merged, and nothing of it is offered."""
    there = (node("#flat", "qcow2", backing="#low"), node("#low", "qcow2", ro=True), drive("drive0", "#flat"))
    made = plan(chain(), there=there)
    assert all("collapse" not in fragment for one in made.refusals for fragment in one.fragments)
    assert not any("merged" in one.remedy for one in made.refusals)


# left behind


LEFT = [
    {"source": {"node-name": "ov1"}, "destination": None},
    {"source": {"device": "drive0", "path": "backing.backing"}, "destination": None},
]


def test_layers_left_behind() -> None:
    """Where the layers' bitmaps stay and the top's goes to a flat image, advice names all of them (BM578)."""
    made = plan(chain(), {"map": [*PLACE["map"], *LEFT]})
    assert (made.verdict, codes(made.advice)) == ("planned", ["BM578"])
    facts = {"bitmap": "daily", "top": "ov2", "destination": "#flat", "layers": ["ov1", "#base"]}
    assert made.advice[0].facts == facts
    assert (made.advice[0].where.node, made.advice[0].where.bitmap) == ("ov2", "daily")


@pytest.mark.parametrize(
    ("here", "policy", "there"),
    [
        (chain(), {"collapse": True, "allow": [{"address": "ov2"}], "map": PLACE["map"]}, FLAT),
        (chain(), {"map": [{"source": {"node-name": "ov2"}, "destination": None}, *LEFT]}, FLAT),
        (chain(top=["other"], middle=[]), {"map": [*PLACE["map"], LEFT[1]]}, FLAT),
        (
            chain(),
            {"map": [*PLACE["map"], *LEFT]},
            (node("#flat", "qcow2", backing="#low"), node("#low", "qcow2", ro=True), drive("drive0", "#flat")),
        ),
    ],
    ids=["merged", "top-left-behind-too", "another-name", "destination-with-a-chain"],
)
def test_nothing_left_behind_alone(here: tuple[Part, ...], policy: dict[str, Any], there: tuple[Part, ...]) -> None:
    """No such advice where the bitmaps are merged, the top's stays as well, has another name, or layers go along."""
    made = plan(here, policy, there)
    assert (made.verdict, codes(made.advice)) == ("planned", [])

"""What a plan and a preview say of an end that an earlier attempt has left unclean."""

from __future__ import annotations

from typing import Any

import pytest

from bitmapmig.previews import preview
from bitmapmig.report import preview_lines
from tests.build import destination, drive, node, planned, source
from tests.printed import text


def entry(name: str, alias: str, *bitmaps: str, **renamed: str) -> dict[str, Any]:
    """An entry of a map: bitmaps under their own names, and renamed ones."""
    names = {**{one: one for one in bitmaps}, **renamed}
    return {"node-name": name, "alias": alias, "bitmaps": [{"name": one, "alias": a} for one, a in names.items()]}


_PARTS = (node("n0", bitmaps=["b0", "b1"]), node("n1", bitmaps=["b2"]), drive("d0", "n0"))
_PARTS_THERE = (node("n0"), node("n1"), drive("d0", "n0"))
_NEUTRAL = [entry("n0", "d0", "b0", "b1"), entry("n1", "n1", "b2")]


@pytest.mark.parametrize(
    ("mapping", "words", "lost", "renamed"),
    [
        (_NEUTRAL, "it is neutral, and does what none does", [], []),
        ([], "as it is, the next migration drops 3 bitmaps without a word", ["n0/b0", "n0/b1", "n1/b2"], []),
        (_NEUTRAL[:1], "as it is, the next migration drops 1 bitmap without a word", ["n1/b2"], []),
        ([entry("n0", "d0", "b0"), _NEUTRAL[1]], "the next migration drops 1 bitmap", ["n0/b1"], []),
        ([entry("n0", "n0", "b0", "b1"), _NEUTRAL[1]], "it sends 2 bitmaps under names of its own", [],
         ["n0/b0", "n0/b1"]),
        ([entry("n0", "d0", "b1", b0="x"), _NEUTRAL[1]], "it sends 1 bitmap under names of its own", [], ["n0/b0"]),
        ([*_NEUTRAL, entry("gone", "x", "b9")], "it is neutral", [], []),
    ],
)  # fmt: skip
def test_map_of_the_source(mapping: Any, words: str, lost: list[str], renamed: list[str]) -> None:
    """A map in force is neutral, or would lose bitmaps at the next migration, which are named and counted."""
    plan = planned(source(*_PARTS, parameters={"block-bitmap-mapping": mapping}), destination(*_PARTS_THERE))
    (found,) = [one for one in plan.advice if one.code == "BM561"]
    assert words in found.message
    assert (found.facts["lost"], found.facts["renamed"]) == (lost, renamed)
    assert found.facts["harmless"] is not bool(lost or renamed)
    assert ("nothing is to be done" in found.remedy) is not bool(lost or renamed)


def test_map_of_a_destination_that_waits() -> None:
    """There it is the incoming map: what arrives and is not in it drops all."""
    there = destination(*_PARTS_THERE, parameters={"block-bitmap-mapping": [entry("n0", "x", "b0")]})
    (found,) = [one for one in planned(source(*_PARTS), there).advice if one.code == "BM561"]
    assert "it takes 1 bitmap, those that it lists; any other drops all that arrive" in found.message
    assert "bitmapmig finish --failed PLAN" in found.remedy


@pytest.mark.parametrize(
    ("parts", "words"),
    [(_PARTS, "with 3 bitmaps there, a savevm never returns"), (_PARTS_THERE, "there is no bitmap yet")],
)
def test_capability(parts: Any, words: str) -> None:
    """Where it is on, a savevm hangs as soon as there is a bitmap; a preview says so with the remedy."""
    shown = preview(source(*parts, capabilities=["dirty-bitmaps"]), None)
    (found,) = shown.source.unclean
    assert (found.code, words in found.message) == ("BM562", True)
    said = " ".join(text(preview_lines(shown, 80)).split())
    assert words in said
    assert "`bitmapmig finish --failed PLAN` turns off" in said


def test_clean_end() -> None:
    """Nothing is said of an end on which nothing is set."""
    assert preview(source(*_PARTS), destination(*_PARTS_THERE)).source.unclean == ()

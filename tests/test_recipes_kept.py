"""What recipes promise, held against the graph in which they were followed: every recorded case, every story."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bitmapmig import graph
from bitmapmig.captures import load
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.simulating import Simulated, simulate
from bitmapmig.simulating.stories import ABOUT, WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.captures import Capture
    from bitmapmig.graph import BlockGraph

_FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
_CAPTURES = sorted(path for side in ("source", "destination") for path in _FIXTURES.glob(f"*/{side}.json"))
#: Names that are tried of one graph; of a graph of a thousand nodes all are alike.
_NAMES, _MANY, _FEW = 12, 100, 1
#: Stories of which the bitmap is at its new place only when another one has ended them.
_BEGINNING = {"mirror"}


def _names(shown: BlockGraph) -> list[str]:
    backends = [name for one in shown.backends if (name := one.device or one.guest_device)]
    nodes = [node.name for node in shown.nodes.values() if node.explicit]
    names = dict.fromkeys([*backends, *nodes, *(job.id for job in shown.jobs)])
    return list(names)[: _FEW if len(shown.nodes) > _MANY else _NAMES]


def _stories(shown: BlockGraph) -> Iterator[tuple[str, ...]]:
    for name in _names(shown):
        yield from ((f"{word} {name}",) for word in ABOUT)
        yield (f"mirror {name}", f"pivot {name}")
    yield from ((word,) for word in WHOLE)


def _simulated(capture: Capture) -> Iterator[tuple[tuple[str, ...], Simulated]]:
    """Each story that can be told of a capture, where it has recipes."""
    for steps in _stories(graph.read(capture, "source")[0]):
        try:
            made = simulate(capture, steps)
        except CannotRunError:
            continue  # there is nothing of that name, or what it does is not simulated
        if made.recipes:
            yield steps, made


@pytest.mark.parametrize("path", _CAPTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_kept_on_is_there(path: Path) -> None:
    """Where a recipe keeps a bitmap on a node, that node is there when it was followed, with the bitmap at the end."""
    for steps, made in _simulated(load(path.read_bytes(), str(path))):
        assert made.followed is not None, steps
        there = {one.name: {bitmap.name for bitmap in one.bitmaps} for one in made.followed.nodes}
        kept = [one for recipe in made.recipes for one in recipe.bitmaps if one.kept_on is not None]
        assert {one.kept_on for one in kept} <= there.keys(), steps
        if steps[-1].partition(" ")[0] not in _BEGINNING:
            assert all(one.bitmap in there[str(one.kept_on)] for one in kept), steps


def test_recipes_are_tried() -> None:
    """The recorded cases have recipes to follow, of a snapshot that keeps a bitmap and of one that leaves it."""
    found = {
        (steps[0].partition(" ")[0], one.result)
        for case in ("drive-of-a-guest", "shared-storage")
        for steps, made in _simulated(load((_FIXTURES / case / "source.json").read_bytes(), case))
        for recipe in made.recipes
        for one in recipe.bitmaps
    }
    assert {("mirror", "exact"), ("snapshot", "exact"), ("snapshot", "stays"), ("restart", "exact")} <= found

"""The block graph of every recorded capture, built anew on every QEMU, must be the graph that was recorded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from bitmapmig import state
from bitmapmig.captures import load
from bitmapmig.graph import BlockGraph, read
from bitmapmig.qapi import NodeName
from bitmapmig.throwaway import Binary, Built, NotBuiltError, build, machine_for, running
from tests.live.qemu import binaries

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from bitmapmig.diagnostics import Side

_FIXTURES = Path(__file__).parents[2] / "fixtures"

#: Drivers whose size is how much of a file is in use.
_FILES = frozenset(("file", "host_device", "nbd"))


class Gap(NamedTuple):
    """What is not as it was recorded: on which releases, why, and how it shows."""

    releases: Callable[[tuple[int, int]], bool]
    why: str
    shows: Collection[str]  #: the parts that differ, or words of the reason why it is not built


def _old(release: tuple[int, int]) -> bool:
    return release < (6, 0)


def _new(release: tuple[int, int]) -> bool:
    return not _old(release)


def _any(_: tuple[int, int]) -> bool:
    return True


_OVERLAY = "an overlay that holds stored bitmaps is opened together with its backing image, not put on it by a snapshot"

#: Every capture of a source whose graph is not the same again. No other may differ, and these must.
SOURCE_GAPS = {
    "backup-concluded": Gap(
        _old, "a concluded backup holds its nodes, and kills 5.2 when it is asked for them", ["in use"]
    ),
    "fleecing": Gap(_old, "there is no copy-before-write to be added", ["copy-before-write"]),
    "preallocate-below-format": Gap(_old, "there is no preallocate", ["preallocate"]),
    "backup-of-a-bare-node": Gap(_old, "the filter of a backup has another role for what it filters", ["edges"]),
    "backup-running": Gap(_old, "the filter of a backup has another role for what it filters", ["edges"]),
    "busy-by-backup": Gap(_old, "the filter of a backup has another role for what it filters", ["edges"]),
    "backup-running-old": Gap(_new, "the filter of a backup has another role for what it filters", ["edges"]),
    "stream-running": Gap(_old, "a stream puts no filter in", ["edges", "jobs", "listing"]),
    "chain-collapsed-persistent": Gap(_any, _OVERLAY, ["listing"]),
    "chain-layers-left-behind": Gap(_any, _OVERLAY, ["listing"]),
    "chain-named-overlays": Gap(_any, _OVERLAY, ["listing"]),
    "chain-named-overlays-collapsed": Gap(_any, _OVERLAY, ["listing"]),
    "chain-named-overlays-without-place": Gap(_any, _OVERLAY, ["listing"]),
    "chain-persistent-untransformed": Gap(_any, _OVERLAY, ["listing"]),
    "read-only-when-stored": Gap(
        lambda release: release >= (11, 0), "no persistent bitmap is added to a read-only node", ["read-only"]
    ),
    "stream-running-old": Gap(_new, "a stream puts a filter in", ["backends", "edges", "jobs", "listing", "nodes"]),
}
DESTINATION_GAPS = {
    "preallocate-below-format": Gap(_old, "there is no preallocate", ["preallocate"]),
}


def shown(graph: BlockGraph, found: Built | None = None, substituted: Collection[str] = ()) -> dict[str, Any]:
    """What of a graph is compared: all but how dirty bitmaps are, the sizes of files, and drivers that are replaced.

    With `found`, nodes go by the names that they have in it.
    """

    def name(node: str) -> str:
        return {str(key): str(value) for key, value in found.names.items()}[node] if found else node

    nodes = {}
    for key, node in graph.nodes.items():
        bitmaps = sorted(
            (b.name, b.granularity, b.recording, b.busy, b.persistent, b.inconsistent) for b in node.bitmaps
        )
        replaced = name(key) in substituted
        size = None if node.driver in _FILES or replaced else node.virtual_size
        nodes[name(key)] = (None if replaced else node.driver, size, node.read_only, bitmaps, node.stored, node.compat)
    return {
        "nodes": nodes,
        "edges": sorted((name(edge.parent), edge.role, name(edge.child)) for edge in graph.edges()),
        "backends": [(one.device, one.qdev, name(one.root) if one.root else None) for one in graph.backends],
        "jobs": [
            (j.id, j.type, j.status, sorted(map(name, j.nodes)), sorted(map(name, j.targets))) for j in graph.jobs
        ],
        "exports": [
            (one.id, one.type, name(one.node), one.writable) for one in graph.exports if one.id not in substituted
        ],
        "listing": [(name(node), tuple(bitmaps)) for node, bitmaps in graph.listing.items()],
    }


async def _differences(binary: Binary, document: bytes, side: Side) -> list[str]:
    """The parts that differ once the graph of a capture is built, or why it is not."""
    capture = load(document, "capture.json")
    graph, found = read(capture, side)
    assert found == ()
    waiting = state.read(capture).run_state == "inmigrate"
    async with running(binary, machine=machine_for(graph), incoming=waiting, name=side) as qemu:
        try:
            made = await build(qemu, graph)
        except NotBuiltError as error:
            return [str(error)]
        again, found = read(await qemu.captured(), side)
    assert found == ()
    # a node whose driver is another, or an export that was added to keep a bitmap busy: both are told
    replaced = {made.names.get(NodeName(name), name) for name in made.substituted}
    wanted, is_there = shown(graph, made, replaced), shown(again, substituted=replaced)
    return sorted(part for part in wanted if wanted[part] != is_there[part])


async def _all(binary: Binary, side: Side) -> dict[str, list[str]]:
    """The differences of every case that has any; four at once."""
    places = asyncio.Semaphore(4)

    async def one(document: bytes) -> list[str]:
        async with places:
            return await _differences(binary, document, side)

    paths = sorted(_FIXTURES.glob(f"*/{side}.json"))
    assert len(paths) > 100
    documents = [path.read_bytes() for path in paths]
    found = await asyncio.gather(*map(one, documents))
    return {path.parent.name: differences for path, differences in zip(paths, found, strict=True) if differences}


@pytest.mark.timeout(600)  # a few hundred processes
@pytest.mark.parametrize(("side", "gaps"), [("source", SOURCE_GAPS), ("destination", DESTINATION_GAPS)])
@pytest.mark.parametrize("qemu", binaries(), ids=lambda binary: binary.version)
def test_every_fixture_is_built_anew(qemu: Any, side: Side, gaps: dict[str, Gap]) -> None:
    """Each recorded graph comes out as it was: names, edges, flags, jobs, exports, order; but for the listed gaps."""
    binary = Binary.of(qemu.path)
    found = asyncio.run(_all(binary, side))
    expected = {case: gap for case, gap in gaps.items() if gap.releases(binary.release)}
    assert sorted(found) == sorted(expected)
    for case, gap in expected.items():
        told = found[case]
        assert told == list(gap.shows) or all(word in told[0] for word in gap.shows), (case, gap.why, told)

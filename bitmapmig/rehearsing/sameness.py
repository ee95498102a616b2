"""A graph and what was built of it -> whether the bitmaps are those that were wanted. Pure.

A plan document may say of one bitmap what cannot be: what a file holds is loaded as the file has it. QEMU shows then
what is otherwise, and what came of a rehearsal would be of other bitmaps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bitmapmig.throwaway import NotBuiltError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.graph import Bitmap, BlockGraph, Node
    from bitmapmig.throwaway import Built

#: Drivers whose size is how much of a file is in use, and another each time.
_FILES = frozenset(("file", "host_device", "nbd"))
#: What is compared of a bitmap; how dirty it is, is as the rehearsal makes it.
_MEMBERS = ("granularity", "recording", "busy", "persistent", "inconsistent")


def check_built(graph: BlockGraph, built: Built) -> None:
    """Raise `NotBuiltError` for the first bitmap, in memory or stored, that came out otherwise than `graph` has it.

    Not compared are the filter of a job that this QEMU makes without one, which then goes by the name of what it
    filtered; the size of a file; and whether a stored copy is in use, which follows from who has the image open.
    """
    for name, node in graph.nodes.items():
        if graph.implicit(name) and not node.bitmaps:
            continue
        for what in _differences(node, built.graph.nodes[built.names[name]], replaced=name in built.substituted):
            raise NotBuiltError(what, name)


def _differences(node: Node, shown: Node, *, replaced: bool) -> Iterator[str]:
    wanted, found = ({one.name: one for one in each.bitmaps} for each in (node, shown))
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            yield f"the bitmap {name!r} does not come out on it"
        elif name not in wanted:
            yield f"its image brings the bitmap {name!r}, which is not said to be in memory"
        elif unlike := _unlike(wanted[name], found[name]):
            yield f"the bitmap {name!r} comes out with {unlike}"
    if node.stored is not None and shown.stored is not None:
        copies, there = ({replace(one, in_use=False) for one in each} for each in (node.stored, shown.stored))
        for copy in sorted(copies ^ there):
            yield f"the stored bitmap {copy.name!r} of granularity {copy.granularity} is not the same in its image"
    if node.bitmaps and not replaced and node.driver not in _FILES and node.virtual_size != shown.virtual_size:
        yield f"it comes out {shown.virtual_size} bytes large instead of {node.virtual_size}"


def _unlike(wanted: Bitmap, found: Bitmap) -> str:
    """What is different, in words."""
    pairs: list[tuple[str, Any, Any]] = [(one, getattr(wanted, one), getattr(found, one)) for one in _MEMBERS]
    return ", ".join(f"{member} {now} instead of {was}" for member, was, now in pairs if was != now)

"""The files that a step opens -> files in the private folder that hold what the scenario says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitmapmig.graph import BlockGraph
from bitmapmig.qapi import NodeName
from bitmapmig.throwaway import make_images, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bitmapmig.enacting.words import Words
    from bitmapmig.throwaway import Throwaway
    from bitmapmig.transforms import Operation

#: The order in which QEMU opens the children of a node.
_OPENED = ("file", "data-file", "backing")
#: Roles by which a new node has a node that the same step need not have opened.
_OTHERS = frozenset(("backing", "target"))


async def prepare(
    qemu: Throwaway, words: Words, operation: Operation, *, before: BlockGraph, after: BlockGraph
) -> None:
    """Make the images that `operation` opens, as far as it was simulated to open new nodes; `words` learns their names.

    Raises `NotBuiltError`, `QemuGoneError`.
    """
    named = list(_filenames(operation.arguments))
    if not named:
        return
    new = _opened(before, after)
    leaves = [name for name in new.listing if new.nodes[name].driver == "file"]
    if not leaves:
        return
    prefix = words.prefix()
    # a QEMU of its own makes them, so that no node or job that this takes is ever seen on the other one
    async with running(qemu.binary, folder=qemu.folder, name=f"{prefix}-maker") as maker:
        made = await make_images(maker, new, prefix)
    for filename, leaf in zip(named, leaves, strict=False):
        if leaf in made:
            words.stands_for(filename, made[leaf])


def _opened(before: BlockGraph, after: BlockGraph) -> BlockGraph:
    """The nodes that are new and have a file, with the edges between them but those of backing images."""
    new: dict[NodeName, Any] = {name: node for name, node in after.nodes.items() if name not in before.nodes}
    edges = [edge for edge in after.edges() if edge.parent in new and edge.child in new and edge.role not in _OTHERS]
    parents = {edge.parent for edge in edges}
    # the filter of a job is new as well, and what it filters is not
    new = {name: node for name, node in new.items() if name in parents or not tuple(after.children(name))}
    edges = [edge for edge in edges if edge.child in new]
    listing = {name: list(names) for name, names in after.listing.items() if name in new}
    made = BlockGraph(new.values(), edges, listing=listing)
    # only what something has may be without a name of its own, and here nothing has the uppermost
    unnamed = (name for name in new if name in parents and not new[name].explicit)
    return made.renamed({name: NodeName(f"image{number}-of-a-step") for number, name in enumerate(unnamed)})


def _filenames(value: object) -> Iterator[str]:
    """The file names in arguments, in the order in which QEMU opens the files."""
    if isinstance(value, list):
        for one in value:
            yield from _filenames(one)
    if isinstance(value, dict):
        yield from _own(value)
        keys = sorted(value, key=lambda key: _OPENED.index(key) if key in _OPENED else -1)
        for key in keys:
            yield from _filenames(value[key])


def _own(value: Mapping[str, Any]) -> Iterator[str]:
    for key in ("filename", "snapshot-file"):
        if isinstance(value.get(key), str):
            yield value[key]
    if isinstance(value.get("target"), str) and ("format" in value or "mode" in value):
        yield value["target"]

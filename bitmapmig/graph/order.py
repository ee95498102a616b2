"""In which order QEMU comes to nodes, and to the bitmaps of each: it decides which of two problems is met first.

A graph tells it by its `listing`, which is made from the order of QEMU's replies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig.qapi import NodeName

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bitmapmig.graph.model import BlockGraph
    from bitmapmig.graph.vertices import Bitmap, Node


def with_bitmaps(graph: BlockGraph) -> tuple[tuple[Node, tuple[Bitmap, ...]], ...]:
    """The nodes that have named bitmaps, with these: as the nodes were created, a node's bitmaps newest first.

    Sources: `bdrv_next_all_states`, `FOR_EACH_DIRTY_BITMAP`.
    """
    nodes = [graph.nodes[name] for name in _created(graph) if graph.nodes[name].bitmaps]
    return tuple((node, _listed(graph, node)) for node in nodes)


def activation(graph: BlockGraph) -> tuple[NodeName, ...]:
    """All nodes as QEMU activates them: what is below each backend, then the rest (`bdrv_next`)."""
    created = _created(graph)
    position = {name: number for number, name in enumerate(created)}
    roots = [backend.root for backend in graph.listed_backends if backend.root is not None]
    below = [name for root in roots for name in sorted(graph.below(root), key=position.__getitem__)]
    return tuple(dict.fromkeys((*below, *created)))


def _created(graph: BlockGraph) -> list[NodeName]:
    told = [name for name in graph.listing if name in graph.nodes]
    rank = {name: position for position, name in enumerate(dict.fromkeys((*told, *graph.nodes)))}

    def created(name: NodeName) -> tuple[int, int]:
        above = _opened_with(graph, name, rank)
        return rank[above[-1]], len(above)

    return sorted(rank, key=created)


def _opened_with(graph: BlockGraph, node: NodeName, rank: Mapping[NodeName, int]) -> list[NodeName]:
    """`node`, and the nodes above it that were opened in one go with it, as far as that can be told.

    Such a child is created after its parent and listed before it, since it gets its name first. It has none of its own,
    and was named right before the parent. Backing images are opened after their overlay has its name.
    """
    found = [node]
    while not graph.nodes[found[-1]].explicit and not graph.implicit(found[-1]):
        child = found[-1]
        found += [parent for parent in _users(graph, child) if rank[parent] == rank[child] + 1]
        if found[-1] == child:
            break
    return found


def _users(graph: BlockGraph, child: NodeName) -> Iterator[NodeName]:
    """The nodes that have `child` for another role than `backing`, past what a job has put between."""
    waiting = [child]
    while waiting:
        at = waiting.pop()
        for kind, name in graph.parents(at):
            parent = NodeName(name)
            if kind == "node" and graph.implicit(parent):
                waiting.append(parent)
            if kind == "node" and ("backing", at) not in graph.children(parent):
                yield parent


def _listed(graph: BlockGraph, node: Node) -> tuple[Bitmap, ...]:
    position = {name: number for number, name in enumerate(graph.listing.get(node.name, ()))}
    return tuple(sorted(node.bitmaps, key=lambda bitmap: position.get(bitmap.name, len(position))))

"""BlockGraph -> its backing chains, as far as a layer below the top has bitmaps."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.graph import BlockGraph
    from bitmapmig.qapi import BitmapName, NodeName


class Chain(NamedTuple):
    """A disk's nodes from the top down to the deepest that has a bitmap of this name, filters left out."""

    name: BitmapName
    nodes: tuple[NodeName, ...]

    @property
    def top(self) -> NodeName:
        """The node that guest writes go to."""
        return self.nodes[0]


def chains(graph: BlockGraph) -> Iterator[Chain]:
    """Each bitmap name that a layer below the top of a disk has, with the chain down to the deepest; sorted by top.

    A layer of several disks counts for the one whose top has a bitmap of that name, else for the one that is in use;
    where that is not one disk, for none.
    """
    used = _tops(graph)
    routes = {top: below(graph, top) for top in used}
    owners: defaultdict[tuple[NodeName, BitmapName], dict[NodeName, int]] = defaultdict(dict)
    for top, nodes in routes.items():
        for depth, node in enumerate(nodes[1:], 1):
            for bitmap in graph.nodes[node].bitmaps:
                owners[node, bitmap.name][top] = depth
    deepest: dict[tuple[NodeName, BitmapName], int] = {}
    for (_, name), depths in owners.items():
        rank = {top: (graph.nodes[top].bitmap(name) is not None, used[top]) for top in depths}
        first = [top for top in depths if rank[top] == max(rank.values())]
        if len(first) == 1:
            deepest[first[0], name] = max(depths[first[0]], deepest.get((first[0], name), 0))
    for (top, name), depth in sorted(deepest.items()):
        yield Chain(name, routes[top][: depth + 1])


def below(graph: BlockGraph, top: NodeName) -> tuple[NodeName, ...]:
    """`top` and the nodes along its backing chain that are no filters, as far as that is known."""
    found = [top]
    while (backing := dict(graph.children(found[-1])).get("backing")) is not None:
        end = graph.skip_filters(backing).end
        if end is None:
            break
        found.append(end)
    return tuple(found)


def is_flat(graph: BlockGraph, node: NodeName) -> bool:
    """Whether a node certainly has no backing node."""
    return node not in graph.unseen_children and "backing" not in dict(graph.children(node))


def _tops(graph: BlockGraph) -> dict[NodeName, bool]:
    """The nodes on which disks end, filters skipped, and whether a backend uses the disk."""
    used = {backend.root for backend in graph.backends if backend.root is not None}
    loose = (name for name in graph.nodes if all(kind != "node" for kind, _ in graph.parents(name)))
    found: dict[NodeName, bool] = {}
    for root in (*sorted(used), *loose):
        end = graph.skip_filters(root).end
        if end is not None:
            found.setdefault(end, root in used)
    return found

"""BlockGraph -> the same graph with bitmaps added to its nodes, or without some."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bitmapmig.graph.model import BlockGraph
from bitmapmig.qapi import BitmapName

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bitmapmig.graph.vertices import Bitmap, Node
    from bitmapmig.qapi import NodeName


def with_added(graph: BlockGraph, added: Mapping[NodeName, Sequence[Bitmap]]) -> BlockGraph:
    """The graph after bitmaps were added to nodes; QEMU comes to the newest first."""
    listing = dict(graph.listing)
    for node, bitmaps in added.items():
        listing[node] = [*(one.name for one in reversed(bitmaps)), *listing.get(node, ())]
    nodes = {
        node: replace(graph.nodes[node], bitmaps=(*graph.nodes[node].bitmaps, *bitmaps))
        for node, bitmaps in added.items()
    }
    return _of(graph, nodes, listing)


def without(graph: BlockGraph, places: Collection[tuple[str, str]]) -> BlockGraph:
    """The graph without the bitmaps at `places`, which are (node, bitmap); some of them need not be there."""
    wanted = {node for node, _ in places}
    nodes = {
        name: replace(node, bitmaps=tuple(one for one in node.bitmaps if (name, one.name) not in places))
        for name, node in graph.nodes.items()
        if name in wanted
    }
    if all(node.bitmaps == graph.nodes[name].bitmaps for name, node in nodes.items()):
        return graph
    listing = {
        name: [bitmap for bitmap in bitmaps if (name, bitmap) not in places] for name, bitmaps in graph.listing.items()
    }
    return _of(graph, nodes, listing)


def _of(graph: BlockGraph, nodes: Mapping[NodeName, Node], listing: Mapping[NodeName, Sequence[str]]) -> BlockGraph:
    return BlockGraph(
        [nodes.get(name, node) for name, node in graph.nodes.items()],
        graph.edges(),
        graph.listed_backends,
        graph.jobs,
        graph.exports,
        unseen_children=graph.unseen_children,
        listing={name: [BitmapName(one) for one in bitmaps] for name, bitmaps in listing.items()},
    )

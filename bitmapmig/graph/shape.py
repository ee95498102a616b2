"""Edges between nodes -> what no genuine graph has, and how large one is when it is walked.

A node may be below many others: walks go through it once for each way that leads to it, as QEMU's own recursions do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import networkx as nx

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bitmapmig.graph.vertices import Edge


class Extent(NamedTuple):
    """How far a graph reaches: nodes of its longest way down, and nodes that walks from all its tops come by."""

    depth: int
    walked: int


def knots(edges: Iterable[Edge]) -> tuple[frozenset[str], ...]:
    """The sets of nodes of which each is below itself; none where the edges are acyclic."""
    graph: nx.DiGraph[str] = nx.DiGraph((edge.parent, edge.child) for edge in edges)
    components = nx.strongly_connected_components(graph)
    return tuple(frozenset(found) for found in components if len(found) > 1 or any(graph.has_edge(n, n) for n in found))


def extent(nodes: Iterable[str], edges: Iterable[Edge]) -> Extent:
    """The extent of a graph, whose edges must be acyclic."""
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    graph.add_nodes_from(nodes)
    for edge in edges:
        graph.add_edge(edge.parent, edge.child)
    found: dict[str, Extent] = {}
    for name in reversed(list(nx.topological_sort(graph))):
        below = [found[child] for _, child in graph.out_edges(name)]
        depth = max((one.depth for one in below), default=0)
        found[name] = Extent(depth + 1, sum(one.walked for one in below) + 1)
    tops = [found[name] for name in graph if not graph.in_degree(name)]
    return Extent(max((one.depth for one in tops), default=0), sum(one.walked for one in tops))

"""Two graphs of one shape: which generated node-name of one stands for which of the other."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from bitmapmig.graph.vertices import Node
from bitmapmig.qapi import NodeName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bitmapmig.graph.model import BlockGraph


def counterparts(graph: BlockGraph, other: BlockGraph) -> Mapping[NodeName, NodeName]:
    """The generated node-names of `other` -> those of `graph` that stand for the same nodes, as far as can be told.

    A node is found by what it hangs on: a device whose root it is, a node of which it is a child, a node that it has as
    a child. What is left is told apart by what can be seen of the nodes themselves. `other.renamed` of the result is
    equal to `graph` where the two are alike up to generated names.
    """
    found = {name: name for name in other.nodes if name in graph.nodes and other.nodes[name].explicit}
    taken = set(found.values())
    waiting: list[tuple[NodeName, NodeName]] = []

    def take(theirs: NodeName | None, ours: NodeName | None) -> None:
        if theirs is None or ours is None or theirs in found or ours in taken:
            return
        if not other.nodes[theirs].explicit and not graph.nodes[ours].explicit:
            found[theirs] = ours
            taken.add(ours)
            waiting.append((theirs, ours))

    waiting += found.items()
    roots = {(one.device, one.qdev): one.root for one in graph.backends}
    for one in other.backends:
        take(one.root, roots.get((one.device, one.qdev)))
    while True:
        while waiting:
            theirs, ours = waiting.pop()
            for pair in _neighbours(graph, other, ours, theirs):
                take(*pair)
        alike = next(_looking_alike(graph, other, found), None)
        if alike is None:
            return {name: to for name, to in (*found.items(), *_aside(other, found)) if name != to}
        take(*alike)


def _aside(other: BlockGraph, found: Mapping[NodeName, NodeName]) -> Iterator[tuple[NodeName, NodeName]]:
    """Another name for what stands for nothing, and has the name of what does."""
    taken = set(found.values())
    for number, node in enumerate(_free(other.nodes.values(), found)):
        if node.name in taken:
            yield node.name, NodeName(f"#unlike{number}")


def _neighbours(
    graph: BlockGraph, other: BlockGraph, ours: NodeName, theirs: NodeName
) -> Iterator[tuple[NodeName, NodeName]]:
    """The nodes that hang on two nodes that stand for each other in the same, single way."""
    below = dict(graph.children(ours))
    for role, child in other.children(theirs):
        if role in below:
            yield child, below[role]
    mine, yours = _by_role(graph, ours), _by_role(other, theirs)
    for key, parents in yours.items():
        if len(parents) == 1 == len(mine.get(key, ())):
            yield parents[0], mine[key][0]


def _by_role(graph: BlockGraph, node: NodeName) -> Mapping[tuple[str, str], list[NodeName]]:
    found: defaultdict[tuple[str, str], list[NodeName]] = defaultdict(list)
    for kind, name in graph.parents(node):
        if kind == "node" and not graph.nodes[NodeName(name)].explicit:
            for role, child in graph.children(name):
                if child == node:
                    found[graph.nodes[NodeName(name)].driver, role].append(NodeName(name))
    return found


def _looking_alike(
    graph: BlockGraph, other: BlockGraph, found: Mapping[NodeName, NodeName]
) -> Iterator[tuple[NodeName, NodeName]]:
    """Generated nodes that nothing leads to, and that look alike."""
    taken = set(found.values())
    free = defaultdict(list)
    for node in graph.nodes.values():
        if not node.explicit and node.name not in taken:
            free[_looks(node)].append(node.name)
    for theirs in _free(other.nodes.values(), found):
        if free[_looks(theirs)]:
            yield theirs.name, free[_looks(theirs)][0]


def _free(nodes: Iterable[Node], found: Mapping[NodeName, NodeName]) -> Iterator[Node]:
    yield from (node for node in nodes if not node.explicit and node.name not in found)


def _looks(node: Node) -> tuple[str, int | None, tuple[str, ...]]:
    return node.driver, node.virtual_size, tuple(sorted(bitmap.name for bitmap in node.bitmaps))

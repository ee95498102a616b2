"""What every check looks at: both sides, the decisions, the pairs, and what the policy says of storage."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bitmapmig import codes
from bitmapmig.diagnostics import Diagnostic, Side, Where
from bitmapmig.fate import Images
from bitmapmig.qapi import NodeName
from bitmapmig.resolve import locate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bitmapmig.fate import Sharing
    from bitmapmig.graph import BlockGraph, Node
    from bitmapmig.pair import Pair
    from bitmapmig.policy import Decision, Policy
    from bitmapmig.profile import Answer
    from bitmapmig.resolve import Located, NameKind, Resolved
    from bitmapmig.state import State


@dataclass(frozen=True)
class End:
    """One QEMU: its graph and its state; `differing` is what a profile says of it that the model does not allow for."""

    side: Side
    graph: BlockGraph
    state: State
    differing: tuple[Answer, ...] = ()


@dataclass(frozen=True)
class Situation:
    """Everything that was found out before anything is judged.

    Where chains collapse, the source's graph has the temporaries of the merges; `untouched` is the graph without.
    """

    source: End
    destination: End
    policy: Policy
    decisions: tuple[Decision, ...]
    pairs: tuple[Pair, ...]
    provisional: bool = False
    untouched: BlockGraph | None = None

    @property
    def before(self) -> BlockGraph:
        """The source's graph as it is."""
        return self.untouched or self.source.graph

    @property
    def ends(self) -> tuple[End, End]:
        """Both sides, the source first."""
        return self.source, self.destination

    @cached_property
    def pairs_of(self) -> Mapping[NodeName, tuple[Pair, ...]]:
        """The pairs of each mapped source node."""
        found: defaultdict[NodeName, list[Pair]] = defaultdict(list)
        for one in self.pairs:
            found[one.source.name].append(one)
        return {node: tuple(pairs) for node, pairs in found.items()}

    @cached_property
    def migrating(self) -> Mapping[NodeName, frozenset[str]]:
        """The names of the bitmaps of each source node that migrate."""
        return {node: frozenset(pair.bitmap.name for pair in own) for node, own in self.pairs_of.items()}

    @cached_property
    def decisions_of(self) -> Mapping[NodeName, tuple[Decision, ...]]:
        """The decisions about the bitmaps of each source node."""
        found: defaultdict[NodeName, list[Decision]] = defaultdict(list)
        for decision in self.decisions:
            found[decision.resolved.node.name].append(decision)
        return {node: tuple(decisions) for node, decisions in found.items()}

    @cached_property
    def counterparts(self) -> Mapping[NodeName, Node]:
        """The destination node that stands for each source node with bitmaps: where they go, else where they would."""
        found: dict[NodeName, Node] = {}
        for node, decisions in self.decisions_of.items():
            if node in self.pairs_of:
                found[node] = self.pairs_of[node][0].destination
                continue
            located = next((place.node for place in self._places(decisions[0].resolved) if place.node), None)
            if located is not None:
                found[node] = self.destination.graph.nodes[located]
        return found

    def _places(self, resolved: Resolved) -> Iterator[Located]:
        """Where the node of a bitmap may be on the destination: by its addresses, else as it hangs below a device."""
        here, there = self.source.graph, self.destination.graph
        yield from (locate(there, address.lookup, address.name) for address in resolved.addresses)
        route = here.route(resolved.node.name)
        if route is None:
            return
        backend, path = route
        # the two sides may differ in filters, so the path is taken from the first node that is none
        filters = [node for node in here.skip_filters(backend.root).passed if not here.implicit(node)]
        names: tuple[tuple[NameKind, str | None], ...] = ("device", backend.device), ("qdev", backend.guest_device)
        for kind, name in names:
            root = locate(there, kind, name).node if name else None
            if root is not None:
                yield locate(there, "node-name", root, path[len(filters) :])

    @cached_property
    def _sharing(self) -> Mapping[NodeName, Sharing]:
        disks = []
        for name, word in self.policy.storage.disks.items():
            nodes = disk(self.source.graph, name)
            if nodes is not None:
                disks.append((nodes, word))
        # what is said of a disk holds for all below it; what is said of the smaller disk wins
        disks.sort(key=lambda disk: -len(disk[0]))
        return {node: word for nodes, word in disks for node in nodes}

    def sharing(self, node: NodeName) -> Sharing:
        """What the policy says of the storage of a source node."""
        return self._sharing.get(node, self.policy.storage.default)

    @cached_property
    def images(self) -> Images:
        """What is known of storage, as the model of QEMU takes it."""
        return Images(self.counterparts, {node: self.sharing(node) for node in self.counterparts})


def disk(graph: BlockGraph, name: str) -> frozenset[NodeName] | None:
    """The nodes that a name in `storage.disks` means, a device, a node-name or a guest device; None where nothing."""
    if name in graph.nodes:
        return graph.below(graph.nodes[NodeName(name)].name)
    backend = graph.device(name) or graph.guest_device(name)
    if backend is None:
        return None
    return graph.below(backend.root) if backend.root else frozenset()


def incomplete(side: Side, node: Node, member: str) -> Diagnostic:
    """BM205: a record lacks what a decision needs."""
    where = Where(side=side, node=node.name)
    return codes.NODE_INCOMPLETE.at(where, node=node.name, member=member)


def facts_of(pair: Pair) -> dict[str, Any]:
    """The facts that most findings about a pair have."""
    return {"bitmap": pair.where.bitmap, "node": pair.source.name, "destination": pair.destination.name}

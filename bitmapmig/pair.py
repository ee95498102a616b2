"""Decisions + destination graph -> pairs: which bitmap goes to which node, under which name.

A destination device means the first node below its root that is no filter; QEMU itself, without a map, would take the
root, filter or not. One source node goes to one destination node, and no two source nodes to the same.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bitmapmig import codes
from bitmapmig.diagnostics import Diagnostic, Where
from bitmapmig.policy import fragment, place, words
from bitmapmig.qapi import BitmapName, NodeName
from bitmapmig.resolve import Address, Located, leave_behind, locate, selector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bitmapmig.collapse import Merge
    from bitmapmig.graph import Bitmap, BlockGraph, Node
    from bitmapmig.policy import Decision, Policy


@dataclass(frozen=True, slots=True)
class Pair:
    """A bitmap of the source and where it goes: node, name, and whether it is persistent there.

    With `merge` it is the temporary of a chain that goes there; `decision` is then the one about the top's own bitmap,
    by which people know it.
    """

    decision: Decision
    destination: Node
    name: BitmapName
    merge: Merge | None = None

    @property
    def source(self) -> Node:
        """The node that the bitmap is on."""
        return self.decision.resolved.node

    @property
    def bitmap(self) -> Bitmap:
        """The bitmap as it is on the source, once all is merged."""
        return self.merge.temporary if self.merge else self.decision.resolved.bitmap

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What was decided about each bitmap that goes there."""
        return self.merge.decisions if self.merge else (self.decision,)

    @property
    def persistent(self) -> bool:
        """Whether the bitmap is to be persistent on the destination."""
        transform = self.transform
        return self.bitmap.persistent if transform is None else transform

    @property
    def transform(self) -> bool | None:
        """What the map makes of `persistent`; None where it stays as it is."""
        target = self.decision.target
        wanted = target.persistent if target else None
        if self.merge is not None:
            wanted = self.merge.persistent
        return None if wanted == self.bitmap.persistent else wanted

    @property
    def where(self) -> Where:
        """The place of the bitmap on the source."""
        return Where(side="source", node=self.source.name, bitmap=self.decision.resolved.bitmap.name)


def pair(
    policy: Policy,
    decisions: Iterable[Decision],
    source: BlockGraph,
    destination: BlockGraph,
    merges: Mapping[tuple[NodeName, BitmapName], Merge] | None = None,
) -> tuple[tuple[Pair, ...], tuple[Diagnostic, ...]]:
    """Pair each bitmap that is to migrate; what finds no node, or makes the map no one-to-one map, is a finding.

    In place of a bitmap that is in `merges` its temporary is paired. Refuses with BM207, BM501 to BM505; advises with
    BM506. Pairs that are in doubt only together are all returned.
    """
    pairs: list[Pair] = []
    found: list[Diagnostic] = []
    for decision in decisions:
        if decision.action != "migrate":
            continue
        target = _target(policy, decision, source, destination)
        if isinstance(target, Diagnostic):
            found.append(target)
        else:
            name = decision.target.bitmap if decision.target else None
            own = decision.resolved.bitmap.name
            merge = (merges or {}).get((decision.resolved.node.name, own))
            pairs.append(Pair(decision, destination.nodes[target], BitmapName(name or own), merge))
    found += _merges(policy, pairs, source)
    found += _splits(pairs)
    found += _collisions(pairs)
    found += _other_guest_devices(pairs, source, destination)
    return tuple(pairs), tuple(found)


def destination_of(policy: Policy, decision: Decision, source: BlockGraph, destination: BlockGraph) -> Node | None:
    """The destination node of one bitmap; None where it has none, and `pair` says why."""
    if decision.action != "migrate":
        return None
    target = _target(policy, decision, source, destination)
    return None if isinstance(target, Diagnostic) else destination.nodes[target]


def _target(policy: Policy, decision: Decision, source: BlockGraph, destination: BlockGraph) -> NodeName | Diagnostic:
    """The destination node of one bitmap, or why there is none."""
    if decision.target is not None:
        located = place(destination, decision.target)
        if located.node is not None:
            return located.node
        leave = fragment.leave(policy, source, [decision])
        return _nowhere(decision, words(decision.target), located, destination, leave)
    addresses = decision.resolved.addresses
    there = [_by_address(destination, address) for address in addresses]
    guest = next((address for address in addresses if address.kind == "qdev"), None)
    for address, located in zip(addresses, there, strict=True):
        if located.node is None:
            continue
        # under the rule set guest-device a name must not lead to another disk of the guest
        if guest and guest.name not in (disks := destination.guest_devices_of(located.node)) and disks:
            continue
        if guest and address is not guest and there[-1].node not in (None, located.node):
            continue
        return located.node
    cures = tuple(_cures(decision, source, destination))
    return _nowhere(decision, addresses[0].name, there[0], destination, cures)


def _by_address(destination: BlockGraph, address: Address) -> Located:
    return locate(destination, address.lookup, address.name)


def _nowhere(
    decision: Decision,
    text: str,
    located: Located,
    destination: BlockGraph,
    fragments: tuple[fragment.Fragment, ...],
) -> Diagnostic:
    resolved = decision.resolved
    where = Where(side="source", node=resolved.node.name, bitmap=resolved.bitmap.name)
    facts: dict[str, Any] = {"bitmap": resolved.bitmap.name, "node": resolved.node.name, "address": text}
    if located.problem == "empty":
        return codes.DESTINATION_EMPTY.at(where, **facts, fragments=fragments)
    if located.unknown is not None:
        driver = destination.nodes[located.unknown].driver
        unknown = {"driver": driver, "node": located.unknown, "device": text}
        return codes.FILTER_UNKNOWN.at(where.model_copy(update={"side": "destination"}), **unknown, fragments=fragments)
    return codes.DESTINATION_MISSING.at(where, **facts, fragments=fragments)


def _cures(decision: Decision, source: BlockGraph, destination: BlockGraph) -> Iterator[dict[str, Any]]:
    """Policy fragments that give the bitmap a place: the same disk under another of its names, else leave it behind."""
    node = decision.resolved.node
    own = {**selector(source, node.name), "bitmap": decision.resolved.bitmap.name}
    places = [(locate(destination, "qdev", name), {"qdev": name}) for name in source.guest_devices_of(node.name)]
    names = [*source.devices_of(node.name), *([node.name] if node.explicit else [])]
    places += [(found := locate(destination, None, name), _named(destination, found, name)) for name in names]
    seen = set()
    for located, named in places:
        if located.node and located.node not in seen:
            same_size = destination.nodes[located.node].virtual_size == node.virtual_size
            here, there = source.guest_devices_of(node.name), destination.guest_devices_of(located.node)
            another_disk = here and there and set(here).isdisjoint(there)
            seen.add(located.node)
            if same_size and not another_disk:
                yield {"map": [{"source": own, "destination": named}]}
    yield leave_behind(source, node.name, decision.resolved.bitmap.name)


def _named(destination: BlockGraph, located: Located, name: str) -> dict[str, Any]:
    return {"device": name} if destination.device(name) else {"node-name": located.node or name}


def _merges(policy: Policy, pairs: Sequence[Pair], source: BlockGraph) -> Iterator[Diagnostic]:
    decisions: defaultdict[NodeName, defaultdict[NodeName, list[Decision]]] = defaultdict(lambda: defaultdict(list))
    for one in pairs:
        decisions[one.destination.name][one.source.name] += one.decisions
    for name, by_node in sorted(decisions.items()):
        if len(by_node) > 1:
            # each alternative keeps one node and leaves the others behind
            others = ([one for node, own in by_node.items() if node != kept for one in own] for kept in sorted(by_node))
            fragments = [found for left in others for found in fragment.leave(policy, source, left)]
            where = Where(side="destination", node=name)
            yield codes.NODES_MERGE.at(where, nodes=sorted(by_node), destination=name, fragments=fragments)


def _splits(pairs: Sequence[Pair]) -> Iterator[Diagnostic]:
    destinations: defaultdict[NodeName, dict[NodeName, list[Pair]]] = defaultdict(dict)
    for one in pairs:
        destinations[one.source.name].setdefault(one.destination.name, []).append(one)
    for node, targets in sorted(destinations.items()):
        if len(targets) > 1:
            yield codes.NODE_SPLIT.at(Where(side="source", node=node), node=node, destinations=sorted(targets))


def _collisions(pairs: Sequence[Pair]) -> Iterator[Diagnostic]:
    names: defaultdict[tuple[NodeName, NodeName, BitmapName], list[BitmapName]] = defaultdict(list)
    for one in pairs:
        names[one.source.name, one.destination.name, one.name].append(one.decision.resolved.bitmap.name)
    for (node, destination, name), bitmaps in sorted(names.items()):
        if len(bitmaps) > 1:
            where = Where(side="destination", node=destination, bitmap=name)
            yield codes.BITMAPS_COLLIDE.at(where, bitmaps=sorted(bitmaps), node=node, name=name)


def _other_guest_devices(pairs: Sequence[Pair], source: BlockGraph, destination: BlockGraph) -> Iterator[Diagnostic]:
    """Say where a name that is on both sides is the disk of one guest device here and of another there."""
    for node, target in sorted({(one.source.name, one.destination.name) for one in pairs}):
        here, there = source.guest_devices_of(node), destination.guest_devices_of(target)
        if here and there and not set(here) & set(there):
            yield codes.GUEST_DEVICES_DIFFER.at(
                Where(side="source", node=node), node=node, device=here[0], destination=target, other=there[0]
            )

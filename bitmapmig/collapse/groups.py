"""Chains and decisions -> the groups of bitmaps that are to be merged, and what is wrong with each.

What is merged is right only where each layer has recorded all the while that it was the top, and where the policy does
not want something else of one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from bitmapmig import codes
from bitmapmig.collapse.chains import chains, is_flat
from bitmapmig.diagnostics import Diagnostic, Where
from bitmapmig.graph import Node
from bitmapmig.policy import Decision, fragment
from bitmapmig.qapi import BitmapName, NodeName
from bitmapmig.resolve import Resolved, addresses

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bitmapmig.collapse.chains import Chain
    from bitmapmig.graph import BlockGraph
    from bitmapmig.policy import Policy

#: The destination node that a bitmap goes to; None where it has no place.
DestinationOf: TypeAlias = Callable[[Decision], Node | None]
Place: TypeAlias = tuple[NodeName, BitmapName]


def place(decision: Decision) -> Place:
    """The node and the name of the bitmap that was decided about."""
    return decision.resolved.node.name, decision.resolved.bitmap.name


def where(decision: Decision) -> Where:
    """The same for findings."""
    node, bitmap = place(decision)
    return Where(side="source", node=node, bitmap=bitmap)


@dataclass(frozen=True, slots=True)
class Group:
    """Bitmaps of one name along a chain, from the top down, and the nodes in between that lack it.

    `wanted` is what was decided about the top's bitmap, or would be if it had one; `destination` is where that goes.
    """

    name: BitmapName
    top: Node
    members: tuple[Decision, ...]
    lacking: tuple[NodeName, ...]
    wanted: Decision
    destination: Node


class Groups:
    """What of a source is to be merged; `destination_of` pairs as the rest of the plan does."""

    def __init__(
        self,
        policy: Policy,
        graph: BlockGraph,
        decisions: Sequence[Decision],
        destination: BlockGraph,
        destination_of: DestinationOf,
    ) -> None:
        self._policy, self._graph, self._destination = policy, graph, destination
        self._destination_of = destination_of
        self._by_place = {place(one): one for one in decisions}

    def found(self) -> Iterator[Group]:
        """The groups whose top goes to a destination node that has no backing chain of its own."""
        for chain in chains(self._graph):
            wanted = self._wanted(chain)
            if wanted is None or wanted.action != "migrate":
                continue
            there = self._destination_of(wanted)
            if there is None or not is_flat(self._destination, there.name):
                continue
            members = tuple(self._by_place[node, chain.name] for node in chain.nodes if self._has(node, chain))
            lacking = tuple(node for node in chain.nodes if not self._has(node, chain))
            yield Group(chain.name, self._graph.nodes[chain.top], members, lacking, wanted, there)

    def _has(self, node: NodeName, chain: Chain) -> bool:
        return (node, chain.name) in self._by_place

    def _wanted(self, chain: Chain) -> Decision | None:
        """What was decided about the top's bitmap, or would be; None where those below it do without."""
        own = self._by_place.get((chain.top, chain.name))
        if own is not None:
            return own
        layers = [self._by_place[node, chain.name] for node in chain.nodes if self._has(node, chain)]
        left = [one for one in layers if one.action != "leave-behind"]
        if all(one.action == "migrate" and self._destination_of(one) is not None for one in left):
            return None
        top = self._graph.nodes[chain.top]
        found = tuple(addresses(self._graph, top, self._policy.resolve or "explicit"))
        resolved = Resolved(top, left[0].resolved.bitmap, found)
        return Decision(resolved, "migrate" if found else "refused", "default")

    # what is wrong

    def problems(self, group: Group) -> Iterator[Diagnostic]:
        """Why the bitmaps of a group cannot be merged, or why what comes of it would be wrong."""
        leave = fragment.leave(self._policy, self._graph, group.members)
        at = Where(side="source", node=group.top.name, bitmap=group.name)
        if group.lacking:
            facts = _facts(group, group.top)
            nodes: dict[str, Any] = {
                "lacking": list(group.lacking),
                "holders": [one.resolved.node.name for one in group.members],
            }
            yield codes.LAYER_LACKS_BITMAP.at(at, **facts, **nodes, fragments=leave)
        if "\ufffd" in group.name:
            yield codes.NAME_GARBLED.at(at, bitmap=group.name, node=group.top.name, fragments=leave)
        for one in group.members:
            bitmap, node = one.resolved.bitmap, one.resolved.node
            # one that does not record has missed what was written since it was disabled
            if not bitmap.recording and not bitmap.inconsistent:
                facts = _facts(group, node)
                yield codes.MERGED_NOT_RECORDING.at(where(one), **facts, fragments=leave)
            if node.name != group.top.name:
                yield from self._of_layer(group, one, leave)

    def _of_layer(self, group: Group, one: Decision, leave: tuple[fragment.Fragment, ...]) -> Iterator[Diagnostic]:
        node, bitmap = one.resolved.node, one.resolved.bitmap
        facts = _facts(group, node)
        contrary = self._contrary(group, one)
        if contrary:
            yield codes.COLLAPSE_CONTRADICTED.at(where(one), **facts, by=one.by, contrary=contrary)
        for short in (node, group.top):
            if short.virtual_size is None:
                at = Where(side="source", node=short.name)
                yield codes.NODE_INCOMPLETE.at(at, node=short.name, member="image.virtual-size")
        if None not in (node.virtual_size, group.top.virtual_size) and node.virtual_size != group.top.virtual_size:
            sizes: dict[str, Any] = {"size": node.virtual_size, "top_size": group.top.virtual_size}
            yield codes.LAYER_SIZE_DIFFERS.at(where(one), **facts, **sizes, fragments=leave)
        if bitmap.inconsistent or bitmap.busy:
            state = "inconsistent" if bitmap.inconsistent else "in use by another operation"
            yield codes.LAYER_BITMAP_UNUSABLE.at(where(one), **facts, state=state, fragments=leave)

    def _contrary(self, group: Group, one: Decision) -> str | None:
        """What an entry that names the layer's bitmap wants of it, where that is not what the top's comes to.

        `allow` and `defaults: false` say what may migrate at all; of merged bitmaps they are asked about the top's.
        """
        mapped = one.by.startswith("map")
        if one.by.startswith("deny") or (mapped and one.target is None):
            return "leaves it behind"
        if not mapped or one.target is None:
            return None
        there = self._destination_of(one)
        if there is None or there.name != group.destination.name:
            return "sends it to another node"
        target = group.wanted.target
        name, wanted = one.target.bitmap or group.name, (target.bitmap if target else None) or group.name
        return None if name == wanted else f"gives it the name {name!r}, and the one on the top the name {wanted!r}"


def _facts(group: Group, node: Node) -> dict[str, Any]:
    return {"bitmap": group.name, "top": group.top.name, "node": node.name}

"""A decision -> the policy fragment that changes it, for remedies.

A fragment is merged into the policy that is there: lists appended, scalars replaced. So it must win over the entry that
made the decision: a bitmap's entry wins over its node's, a deny wins over any map. An entry for that very bitmap cannot
be outdone by another, only denied.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

from bitmapmig.policy.model import merged
from bitmapmig.resolve import leave_behind, selector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bitmapmig.graph import BlockGraph
    from bitmapmig.policy.decide import Decision
    from bitmapmig.policy.model import Policy

Fragment = dict[str, Any]


def leave(policy: Policy, graph: BlockGraph, decisions: Sequence[Decision]) -> tuple[Fragment, ...]:
    """The fragment that leaves the bitmaps of `decisions` behind, all of them; none where no entry can say so."""
    if all(not decision.by.startswith("map") for decision in decisions):
        nodes = {decision.resolved.node.name for decision in decisions}
        whole = {node for node in nodes if len(graph.nodes[node].bitmaps) == _count(decisions, node) > 1}
        fragments = [leave_behind(graph, node) for node in sorted(whole)]
        rest = [decision for decision in decisions if decision.resolved.node.name not in whole]
    else:
        fragments, rest = [], list(decisions)
    for decision in rest:
        fragment = _leave_one(policy, graph, decision)
        if fragment is None:
            return ()
        fragments.append(fragment)
    return (reduce(merged, fragments, {}),)


def send(policy: Policy, graph: BlockGraph, decision: Decision, destination: dict[str, Any]) -> tuple[Fragment, ...]:
    """The fragment that sends one bitmap to `destination` (the words of a map entry)."""
    if _mapped_by_bitmap(policy, decision):
        return ()
    resolved = decision.resolved
    source = {**selector(graph, resolved.node.name), "bitmap": resolved.bitmap.name}
    return ({"map": [{"source": source, "destination": destination}]},)


def _count(decisions: Sequence[Decision], node: str) -> int:
    return sum(decision.resolved.node.name == node for decision in decisions)


def _mapped_by_bitmap(policy: Policy, decision: Decision) -> bool:
    kind, _, index = decision.by.partition(".")
    return kind == "map" and policy.map[int(index)].source.bitmap is not None


def _leave_one(policy: Policy, graph: BlockGraph, decision: Decision) -> Fragment | None:
    resolved = decision.resolved
    if not _mapped_by_bitmap(policy, decision):
        return leave_behind(graph, resolved.node.name, resolved.bitmap.name)
    if resolved.address is None:
        return None
    return {"deny": [{"address": _literal(resolved.address.name), "bitmap": _literal(resolved.bitmap.name)}]}


def _literal(name: str) -> str:
    """The glob that matches `name` and nothing else."""
    return name.replace("\\", "\\\\").replace("*", "\\*")

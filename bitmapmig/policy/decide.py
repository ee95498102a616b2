"""Policy + resolved bitmaps -> one decision a bitmap: migrate, leave behind, or refused.

The order is deny, then map (an entry for a bitmap over one for its node), then allow, then the default rules. What an
entry names must be there, unless it is `optional`: a misspelt name is what QEMU itself would swallow.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bitmapmig import codes
from bitmapmig.diagnostics import Diagnostic, Where
from bitmapmig.policy.model import Pattern, Patterns
from bitmapmig.policy.place import place, words
from bitmapmig.resolve import Resolved, leave_behind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bitmapmig.graph import BlockGraph
    from bitmapmig.policy.model import MapEntry, Policy, Target
    from bitmapmig.qapi import NodeName


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to become of one bitmap: `by` is the key of the policy entry that said so, `default`, or `collapse`.

    `merge` is not decided here: it is for a layer's bitmap that is merged. `target` is None where the address decides.
    """

    resolved: Resolved
    action: Literal["migrate", "merge", "leave-behind", "refused"]
    by: str
    target: Target | None = None


def decide(
    policy: Policy, graph: BlockGraph, resolved: Sequence[Resolved]
) -> tuple[tuple[Decision, ...], tuple[Diagnostic, ...]]:
    """Decide about every named bitmap of the source, in the order of `resolved`.

    Refuses with BM207, BM301, BM302 (no address and no entry), BM411, BM412, BM414, BM415; advises with BM413.
    """
    entries = _Entries(policy, graph)
    found = list(entries.problems)
    denied, allowed = _Listed(policy.deny, resolved), _Listed(policy.allow, resolved)
    decisions = []
    for index, one in enumerate(resolved):
        decision: Decision | Diagnostic
        mapped = entries.of(one)
        if denied.first[index] is not None:
            decision = Decision(one, "leave-behind", f"deny.{denied.first[index]}")
        elif len(mapped) > 1:
            decision = _competing(one, mapped)
        elif mapped:
            target = policy.map[mapped[0]].destination
            decision = Decision(one, "migrate" if target else "leave-behind", f"map.{mapped[0]}", target)
        elif policy.defaults and policy.allow and allowed.first[index] is None:
            decision = Decision(one, "leave-behind", "allow")
        else:
            decision = _by_default(policy, graph, one)
        if isinstance(decision, Diagnostic):
            found.append(decision)
            decision = Decision(one, "refused", "default")
        decisions.append(decision)
    found += denied.unmatched(policy, "deny")
    found += allowed.unmatched(policy, "allow")
    return tuple(decisions), tuple(found)


def _by_default(policy: Policy, graph: BlockGraph, one: Resolved) -> Decision | Diagnostic:
    if not policy.defaults:
        where = Where(side="source", node=one.node.name, bitmap=one.bitmap.name)
        fragment = leave_behind(graph, one.node.name, one.bitmap.name)
        return codes.BITMAP_UNCOVERED.at(where, bitmap=one.bitmap.name, node=one.node.name, fragments=[fragment])
    return one.problem or Decision(one, "migrate", "default")


def _competing(one: Resolved, entries: Sequence[int]) -> Diagnostic:
    where = Where(side="source", node=one.node.name, bitmap=one.bitmap.name)
    names = [f"map.{index}" for index in entries]
    return codes.MAP_ENTRIES_COMPETE.at(where, bitmap=one.bitmap.name, node=one.node.name, entries=names)


class _Entries:
    """The map entries by the place that each names on the source, and what is wrong with them."""

    def __init__(self, policy: Policy, graph: BlockGraph) -> None:
        self._of_bitmap: defaultdict[tuple[NodeName, str], list[int]] = defaultdict(list)
        self._of_node: defaultdict[NodeName, list[int]] = defaultdict(list)
        self.problems: list[Diagnostic] = []
        for index, entry in enumerate(policy.map):
            problem = self._place(graph, index, entry)
            # `optional` is for what is not there, not for what is not known
            if problem and (not entry.optional or place(graph, entry.source).unknown):
                where = policy.where(f"map.{index}.source")
                named = f"map.{index} ({words(entry.source)})"
                self.problems.append(codes.MAP_SOURCE_MISSING.at(where, entry=named, reason=problem))

    def _place(self, graph: BlockGraph, index: int, entry: MapEntry) -> str | None:
        source = entry.source
        located = place(graph, source)
        if located.node is None:
            return {
                None: "it means no node",
                "missing": "nothing on the source has this name",
                "empty": "the device has no medium",
                "path": "the path leads nowhere",
                "filter-unknown": f"whether {located.unknown!r} is a filter is not known",
            }[located.problem]
        node = graph.nodes[located.node]
        if source.bitmap is None:
            self._of_node[node.name].append(index)
            return None if node.bitmaps else f"the node {node.name!r} has no bitmap"
        self._of_bitmap[node.name, source.bitmap].append(index)
        return None if node.bitmap(source.bitmap) else f"the node {node.name!r} has no bitmap {source.bitmap!r}"

    def of(self, one: Resolved) -> Sequence[int]:
        """The most specific entries for a bitmap."""
        return self._of_bitmap.get((one.node.name, one.bitmap.name)) or self._of_node.get(one.node.name, [])


class _Listed:
    """The bitmaps that a list of patterns names: for each the first pattern that matches it at any of its addresses."""

    def __init__(self, patterns: Sequence[Pattern], resolved: Sequence[Resolved]) -> None:
        self._patterns = patterns
        self._matched: set[int] = set()
        self.first: list[int | None] = []
        index = Patterns(patterns)
        for one in resolved:
            names = [address.name for address in one.addresses] or [""]
            matching = {number for name in names for number in index.matching(name, one.bitmap.name)}
            self._matched.update(matching)
            self.first.append(min(matching, default=None))

    def unmatched(self, policy: Policy, name: Literal["allow", "deny"]) -> Iterator[Diagnostic]:
        """A pattern that matches nothing is a typo, unless it has a wildcard or is `optional`."""
        for number, pattern in enumerate(self._patterns):
            if number in self._matched or pattern.optional:
                continue
            code = codes.WILDCARD_UNMATCHED if pattern.wild else codes.PATTERN_UNMATCHED
            entry = f"{name}.{number} (address {pattern.address or '*'!r}, bitmap {pattern.bitmap or '*'!r})"
            yield code.at(policy.where(f"{name}.{number}"), list=name, entry=entry)

"""Decisions + both graphs -> which bitmaps are merged into which temporary, and the graph that has these.

    source                                              destination
    top     daily --+
    layer1  daily --+-- merged into a temporary ------> disk    daily
    layer2  daily --+   on `top`, which migrates

A map takes no two source nodes to one node of the destination, so QEMU itself merges first. The temporary is transient,
and it records, so that it goes on to hold what the guest writes. Sources: QEMU's `bdrv_merge_dirty_bitmap`, QAPI
`BlockDirtyBitmapMerge`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bitmapmig import codes
from bitmapmig.collapse.groups import Groups, place, where
from bitmapmig.collapse.temporary import is_temporary, temporary_name
from bitmapmig.graph import Bitmap, with_added
from bitmapmig.policy import Decision, fragment

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from bitmapmig.collapse.groups import DestinationOf, Group, Place
    from bitmapmig.diagnostics import Diagnostic
    from bitmapmig.graph import BlockGraph
    from bitmapmig.policy import Policy
    from bitmapmig.qapi import NodeName

#: Findings of a bitmap that has no place of its own, which one that is merged does not need.
_PLACELESS = frozenset(
    one.code for one in (codes.ADDRESS_MISSING, codes.BACKENDS_SHARE_NODE, codes.FILTER_UNKNOWN, codes.BITMAP_UNCOVERED)
)


@dataclass(frozen=True, slots=True)
class Merge:
    """Bitmaps of one name that are merged: the top's, those below it from the top down, and the temporary."""

    top: Decision
    layers: tuple[Decision, ...]
    temporary: Bitmap

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What was decided about each bitmap that is merged, the top's first."""
        return self.top, *self.layers

    @property
    def places(self) -> tuple[Place, ...]:
        """Where these bitmaps are."""
        return tuple(map(place, self.decisions))

    @property
    def persistent(self) -> bool:
        """What comes of it on the destination: as the policy says, else as the top's own is."""
        wanted = self.top.target.persistent if self.top.target else None
        return self.top.resolved.bitmap.persistent if wanted is None else wanted


@dataclass(frozen=True, slots=True)
class Collapsed:
    """The graph with the temporaries, the decisions about all other bitmaps, and the merges by the top's place.

    The decision about a layer's bitmap that is merged is `merge`; that about the top's stays `migrate`.
    """

    graph: BlockGraph
    decisions: tuple[Decision, ...]
    merges: Mapping[Place, Merge]
    found: tuple[Diagnostic, ...]


def collapse(
    policy: Policy,
    graph: BlockGraph,
    decisions: Sequence[Decision],
    found: Iterable[Diagnostic],
    *,
    destination: BlockGraph,
    destination_of: DestinationOf,
) -> Collapsed:
    """Merge what the policy lets be merged; `found` are findings about the decisions, some of which that cures.

    Refuses with BM205, BM552, BM571 to BM575; and with BM576, whatever the policy says, what an earlier plan left.
    """
    found = (*found, *_left_over(policy, graph, decisions))
    if not policy.collapse:
        return Collapsed(graph, tuple(decisions), {}, found)
    groups = Groups(policy, graph, decisions, destination, destination_of)
    merges: dict[Place, Merge] = {}
    refused: set[Place] = set()
    more: list[Diagnostic] = []
    for group in groups.found():
        problems = tuple(groups.problems(group))
        more += problems
        if problems:
            refused.update(map(place, group.members))
        else:
            top, *layers = group.members
            merges[place(top)] = Merge(top, tuple(layers), _temporary(group))
    merged = {place(one) for merge in merges.values() for one in merge.layers}
    kept = [one for one in found if one.code not in _PLACELESS or not _is_at(one, merged | refused)]
    grown = _grown(graph, merges)
    new = {place(one): _decided(one, grown, merged, refused) for one in decisions}
    placed = {at: replace(one, top=new[at], layers=tuple(new[p] for p in one.places[1:])) for at, one in merges.items()}
    return Collapsed(grown, tuple(new.values()), placed, (*kept, *more))


def _grown(graph: BlockGraph, merges: Mapping[Place, Merge]) -> BlockGraph:
    added: defaultdict[NodeName, list[Bitmap]] = defaultdict(list)
    for node, name in sorted(merges):
        added[node].append(merges[node, name].temporary)
    return with_added(graph, added) if added else graph


def _decided(one: Decision, graph: BlockGraph, merged: Collection[Place], refused: Collection[Place]) -> Decision:
    """The decision, about the node as it is with the temporaries."""
    resolved = replace(one.resolved, node=graph.nodes[one.resolved.node.name])
    if place(one) in refused:
        return replace(one, resolved=resolved, action="refused")
    if place(one) in merged:
        by = one.by if one.by.startswith("map") else "collapse"
        return replace(one, resolved=resolved, action="merge", by=by)
    return replace(one, resolved=resolved)


def _is_at(one: Diagnostic, places: Collection[tuple[str, str]]) -> bool:
    return one.where.side == "source" and (one.where.node, one.where.bitmap) in places


def _left_over(policy: Policy, graph: BlockGraph, decisions: Iterable[Decision]) -> Iterator[Diagnostic]:
    for one in decisions:
        node, bitmap = place(one)
        if is_temporary(bitmap) and one.action == "migrate":
            leave = fragment.leave(policy, graph, [one])
            yield codes.TEMPORARY_LEFT_OVER.at(where(one), bitmap=bitmap, node=node, fragments=leave)


def _temporary(group: Group) -> Bitmap:
    """The temporary once all is merged into it; `count` is how dirty it is at most."""
    own = group.members[0].resolved.bitmap
    counted = sum(one.resolved.bitmap.count for one in group.members)
    return Bitmap(
        name=temporary_name(group.top, group.name),
        granularity=own.granularity,
        count=min(counted, group.top.virtual_size or counted),
        recording=True,
        busy=False,
        persistent=False,
        inconsistent=False,
    )

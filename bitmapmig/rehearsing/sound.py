"""A plan and its stands -> whether they hold together, before anything is built. Pure.

A plan document comes from a file, and a refused one may be that of captures which no QEMU sends: nodes in a ring, names
of nothing. What is rehearsed of such would say nothing, where it came to an end at all.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bitmapmig import codes
from bitmapmig.collapse import is_temporary
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.plans.structure import structure
from bitmapmig.throwaway import NotBuiltError, bounds
from bitmapmig.throwaway.words import IMAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bitmapmig.plans import Plan
    from bitmapmig.plans.document import Mapping, Merge, PlannedBitmap
    from bitmapmig.plans.structure import Structure, StructureNode
    from bitmapmig.rehearsing.stand import Stand

#: The refusals that say of a capture that it is not genuine.
_NOT_GENUINE = frozenset(
    one.code for one in (codes.GRAPH_CYCLIC, codes.REFERENCE_DANGLING, codes.EDGES_DISAGREE, codes.NAMES_CLASH)
)


def check(plan: Plan, stands: tuple[Stand, Stand]) -> None:
    """Turn away what cannot be rebuilt, or is more than a throw-away QEMU is asked for.

    Raises `NotBuiltError` for a graph that is none, and `CannotRunError` (BM706) for a plan that contradicts its own
    structures. Both structures of the plan are looked at, also where captures tell how the stand-ins are to be.
    """
    for one in plan.refusals:
        if one.code in _NOT_GENUINE:
            raise NotBuiltError(one.message)
    for whole in (plan.source.structure, plan.destination.structure):
        _check_names(whole)
    for stand in stands:
        _check_names(structure(stand.graph))
        bounds.check(stand.graph, images=IMAGES)
    for what in _contradictions(plan):
        raise CannotRunError(codes.PLAN_ALTERED.at(Where(), what=what))


# the graphs


def _check_names(whole: Structure) -> None:
    """Each name names one thing, and what is referred to is there. Raises `NotBuiltError`."""
    nodes = {one.name for one in whole.nodes}
    _check_once("node", (one.name for one in whole.nodes))
    _check_once("device", (one.device for one in whole.backends if one.device is not None))
    _check_once("job", (one.id for one in whole.jobs))
    _check_once("export", (one.id for one in whole.exports))
    for node in whole.nodes:
        _check_once("child in the role", (role for role, _ in node.children), node.name)
        _check_once("bitmap", (one.name for one in node.bitmaps), node.name)
        _check_once("stored bitmap", (one.name for one in node.stored or ()), node.name)
    for referrer, name in _references(whole):
        if name not in nodes:
            msg = f"{referrer!r} refers to the node {name!r}, which is not there"
            raise NotBuiltError(msg)
    for job in whole.jobs:
        for name in sorted(set(job.targets).difference(job.nodes)):
            msg = f"the job {job.id!r} writes to it, and does not hold it"
            raise NotBuiltError(msg, name)


def _check_once(what: str, names: Iterable[str], node: str | None = None) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            msg = f"the {what} {name!r} is there {count} times"
            raise NotBuiltError(msg, node)


def _references(whole: Structure) -> Iterator[tuple[str, str]]:
    """Who refers to which node."""
    for node in whole.nodes:
        yield from ((node.name, child) for _, child in node.children)
    for backend in whole.backends:
        if backend.root is not None:
            yield backend.device or backend.qdev or "a backend", backend.root
    for job in whole.jobs:
        yield from ((job.id, node) for node in job.nodes)
    yield from ((export.id, export.node) for export in whole.exports)


# the plan


def _contradictions(plan: Plan) -> Iterator[str]:
    """Where a plan is about what its structures do not show; a plan that `plan` has made never is."""
    here, there = ({one.name: one for one in side.structure.nodes} for side in (plan.source, plan.destination))
    if (plan.verdict == "refused") is (plan.attempt is None):
        yield "it says what a refused plan would have set exactly where it is none"
    if sorted(map(_told, plan.bitmaps)) != sorted(_shown(here.values())):
        yield "the bitmaps that it lists are not those of the source's nodes"
    for one in plan.bitmaps:
        if one.destination_node is not None and one.destination_node not in there:
            yield f"it sends {one.bitmap!r} to the node {one.destination_node!r}, which is not there"
    for shared in plan.shared:
        if shared.source not in here or shared.destination not in there:
            yield f"the image of {shared.source!r} and {shared.destination!r} is said to be shared; one is not there"
    named = {(one.node, one.bitmap) for one in plan.bitmaps}
    yield from _of_merges(plan.merges, named, there)
    if plan.attempt is not None:
        yield from _of_merges(plan.attempt.merges, named, there)
        made = {one.place for one in plan.attempt.merges}
        yield from _of_maps(plan.attempt.block_bitmap_mapping, named | made, there)


def _told(one: PlannedBitmap) -> tuple[object, ...]:
    flags = one.recording, one.busy, one.persistent, one.inconsistent
    return one.node, one.bitmap, one.granularity, -1 if one.virtual_size is None else one.virtual_size, *flags


def _shown(nodes: Iterable[StructureNode]) -> Iterator[tuple[object, ...]]:
    for node in nodes:
        size = -1 if node.virtual_size is None else node.virtual_size
        for one in node.bitmaps:
            flags = one.recording, one.busy, one.persistent, one.inconsistent
            yield node.name, one.name, one.granularity, size, *flags


def _of_merges(merges: Iterable[Merge], named: set[tuple[str, str]], there: dict[str, StructureNode]) -> Iterator[str]:
    made = Counter(one.place for one in merges)
    for one in merges:
        words = f"it merges into {one.temporary!r} of {one.node!r}"
        if not one.sources or one.sources[0].node != one.node:
            yield f"{words}, and nothing of that node"
        if not is_temporary(one.temporary) or made[one.place] > 1 or not bounds.granular(one.granularity):
            yield f"{words}, which is no temporary of one merge"
        if any((source.node, source.bitmap) not in named for source in one.sources):
            yield f"{words} what the source does not have"
        if one.destination_node not in there:
            yield f"{words}, which goes to the node {one.destination_node!r}; that is not there"


def _of_maps(maps: Mapping, named: set[tuple[str, str]], there: dict[str, StructureNode]) -> Iterator[str]:
    for entry in maps.source or ():
        if any((entry.node_name, one.name) not in named for one in entry.bitmaps):
            yield f"the map that was to be tried has bitmaps of {entry.node_name!r} that are not there"
    for entry in maps.destination or ():
        if entry.node_name not in there:
            yield f"the map that was to be tried has the destination's node {entry.node_name!r}, which is not there"

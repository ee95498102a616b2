"""What keeps the source from handing its block nodes over, at the switch-over (`bdrv_inactivate_all`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bitmapmig import codes
from bitmapmig.behaviour import FILTERS, JOBS, PREALLOCATE_BELOW_FORMAT, STORING_GROWS_THE_FILE, UNREACHED_JOB
from bitmapmig.fate.storage import in_the_image, inactivation
from bitmapmig.graph import NOT_FILTERS, Export, Job, Node
from bitmapmig.qapi import NodeName

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bitmapmig.behaviour import Conduct
    from bitmapmig.diagnostics import Code
    from bitmapmig.graph import Bitmap, BlockGraph


class Obstacle(NamedTuple):
    """A job, a filter node or an export because of which the inactivation fails."""

    code: Code
    cause: Job | Node | Export

    @property
    def nodes(self) -> tuple[NodeName, ...]:
        """The nodes at which it is met."""
        match self.cause:
            case Job(nodes=nodes, targets=targets):
                return tuple(node for node in nodes if node not in targets)
            case Export(node=node):
                return (node,)
            case Node(name=node):
                return (node,)

    @property
    def reason(self) -> str:
        """What is in the way, in words."""
        match self.cause:
            case Job(id=name):
                return f"the job {name!r} still runs"
            case Export(id=name):
                return f"clients may write to the export {name!r}"
            case Node(name=name):
                return f"the node {name!r} is in the graph"


def obstacles(graph: BlockGraph, conduct: Conduct) -> Iterator[Obstacle]:
    """What makes the inactivation of the source's block nodes fail, where it is reached by it.

    A filter that a job owns goes with the job. Up to 5.2 the own backend of a job or an export was gone through as well
    (`UNREACHED_JOB`).
    """
    owned: set[NodeName] = set()
    for job in graph.jobs:
        if job.active:
            owned.update(job.nodes)
            own = set(job.nodes) - set(job.targets)
            if job.type in JOBS and JOBS[job.type].harms(conduct) and (not own or _reached(graph, conduct, own)):
                yield Obstacle(codes.JOB_STOPS_SWITCH_OVER, job)
    for export in graph.exports:
        if export.writable is not False and _reached(graph, conduct, {export.node}):
            yield Obstacle(codes.EXPORT_STOPS_SWITCH_OVER, export)
    for node in graph.nodes.values():
        preallocates = preallocates_for_a_format(graph, node) and PREALLOCATE_BELOW_FORMAT.harms(conduct)
        filters = node.driver in FILTERS and node.name not in owned and FILTERS[node.driver].harms(conduct)
        if (preallocates or filters) and _reached(graph, conduct, {node.name}):
            yield Obstacle(codes.FILTER_STOPS_SWITCH_OVER, node)


def _reached(graph: BlockGraph, conduct: Conduct, nodes: set[NodeName]) -> bool:
    return UNREACHED_JOB.harms(conduct) or not nodes.isdisjoint(inactivation(graph, conduct))


def preallocates_for_a_format(graph: BlockGraph, node: Node) -> bool:
    """Whether this is a preallocate filter below a format that is written; elsewhere it does no harm.

    That is above a format, or below raw, quorum or a format that is read-only.
    """
    if node.driver != "preallocate":
        return False
    above = [graph.nodes[NodeName(name)] for kind, name in graph.parents(node.name) if kind == "node"]
    return any(parent.driver in NOT_FILTERS - {"raw", "quorum"} and not parent.read_only for parent in above)


def growing_parent(
    graph: BlockGraph, conduct: Conduct, node: NodeName, migrating: Mapping[NodeName, frozenset[str]]
) -> Node | None:
    """The format node above `node` whose bitmaps, stored when it is inactivated, make `node` grow; None without one.

    A bitmap of `node` that is `migrating` then aborts the source. What migrates of the format node is not stored.
    """
    if not STORING_GROWS_THE_FILE.harms(conduct):
        return None
    for kind, name in graph.parents(node):
        above = graph.nodes.get(NodeName(name)) if kind == "node" else None
        if above is None or above.driver != "qcow2" or above.read_only:
            continue
        if above.name not in inactivation(graph, conduct):
            continue
        stored = {one.name for one in above.bitmaps if one.persistent and not one.inconsistent}
        staying = stored - migrating.get(above.name, frozenset())
        if staying:
            return above
    return None


def held_when_stored(
    graph: BlockGraph, conduct: Conduct, migrating: Mapping[NodeName, frozenset[str]]
) -> Iterator[tuple[Node, Bitmap]]:
    """The bitmaps that their image stores when it is inactivated, while something uses them: that aborts the source.

    What is `migrating` is not stored. Source: `qcow2_store_persistent_dirty_bitmaps`, `bdrv_release_dirty_bitmap`.
    """
    for node in graph.nodes.values():
        staying = [one for one in node.bitmaps if one.name not in migrating.get(node.name, ())]
        for bitmap in staying:
            if bitmap.busy and not node.read_only and in_the_image(graph, conduct, node, bitmap):
                yield node, bitmap


def unstorable(
    graph: BlockGraph, conduct: Conduct, migrating: Mapping[NodeName, frozenset[str]]
) -> Iterator[tuple[Node, Bitmap]]:
    """The bitmaps that a read-only image is to store when it is inactivated, in their order: that fails.

    They are persistent, were added there or have arrived there, and are in no image yet; one that was loaded from it
    stays as it is. What is `migrating` is not stored. Source: `qcow2_store_persistent_dirty_bitmaps`.
    """
    for name in inactivation(graph, conduct):
        node = graph.nodes[name]
        if node.driver != "qcow2" or not node.read_only:
            continue
        for bitmap in node.bitmaps:
            stays = bitmap.persistent and not bitmap.inconsistent and bitmap.name not in migrating.get(name, ())
            if stays and not node.holds_read_only(bitmap):
                yield node, bitmap

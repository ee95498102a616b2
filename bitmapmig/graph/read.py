"""Capture -> BlockGraph, and what is wrong with it.

Edges come from `x-debug-query-block-graph` where it answers; edges between nodes also from `children`, and the two must
agree. Without both they are put together from `query-blockstats`, which leaves some out: the graph then says that it
does not know what guest writes reach.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from bitmapmig import codes
from bitmapmig.diagnostics import Diagnostic, Side, Where
from bitmapmig.graph.drivers import FILTERED_ROLES, FILTERS, JOB_FILTERS, LEAVES, NOT_FILTERS, SEVERAL_CHILDREN
from bitmapmig.graph.model import BlockGraph
from bitmapmig.graph.shape import knots
from bitmapmig.graph.vertices import Backend, Bitmap, Edge, Export, Job, Node, StoredBitmap
from bitmapmig.qapi import (
    BlockDeviceInfo,
    BlockExportInfo,
    BlockInfo,
    BlockStats,
    FormatSpecificData,
    JobInfo,
    NodeName,
    XDbgBlockGraph,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bitmapmig.captures import Capture

_NODES = TypeAdapter(tuple[BlockDeviceInfo, ...])
_BACKENDS = TypeAdapter(tuple[BlockInfo, ...])
_STATS = TypeAdapter(tuple[BlockStats, ...])
_STATS_LINE = TypeAdapter(BlockStats)
_DEBUG = TypeAdapter(XDbgBlockGraph)
_JOBS = TypeAdapter(tuple[JobInfo, ...])
_EXPORTS = TypeAdapter(tuple[BlockExportInfo, ...])


def read(capture: Capture, side: Side) -> tuple[BlockGraph, tuple[Diagnostic, ...]]:
    """The block graph of a capture, with what forbids to trust it (BM201 to BM204).

    Where something is found the graph still holds every node, without the edges that are in doubt. Raises
    `CannotRunError` (BM108, BM111) where a query that is needed failed or is not what QEMU sends.
    """
    return _Reader(capture, side).read()


class _Reader:
    """The raw records of one capture on their way into a graph; gathers findings as it goes."""

    def __init__(self, capture: Capture, side: Side) -> None:
        self.side = side
        self.capture = capture
        self.found: list[Diagnostic] = []
        self.records = capture.returned("query-named-block-nodes", _NODES) or ()
        self.infos = capture.returned("query-block", _BACKENDS) or ()
        self.debug = capture.returned("x-debug-query-block-graph", _DEBUG)
        self.stats = capture.returned("query-blockstats", _STATS) or ()
        self.job_infos = capture.returned("query-jobs", _JOBS) or ()
        self.export_infos = capture.returned("query-block-exports", _EXPORTS) or ()
        # the query puts each node before those that are there already (`bdrv_named_nodes_list`)
        self.listing = {
            record.node_name: [bitmap.name for bitmap in record.dirty_bitmaps if bitmap.name is not None]
            for record in reversed(self.records)
        }
        self.known = {record.node_name for record in self.records}
        if len(self.known) < len(self.records):
            # one of two records of a name is taken, and which of them must not depend on their order
            self.records = tuple(sorted(self.records, key=lambda record: record.model_dump_json()))

    def read(self) -> tuple[BlockGraph, tuple[Diagnostic, ...]]:
        self._check_names()
        edges = self._node_edges()
        complete = self.debug is not None or all(record.children is not None for record in self.records)
        unseen = [] if complete else [record.node_name for record in self.records if _has_unseen_children(record)]
        edges = self._without_cycles([edge for edge in edges if self._refers(edge.parent, edge.child)])
        backends = self._backends(edges)
        graph = BlockGraph(
            nodes={record.node_name: _node(record) for record in self.records}.values(),
            edges=edges,
            backends=backends,
            jobs=self._jobs(),
            exports=self._exports(),
            unseen_children=unseen,
            listing=self.listing,
        )
        return graph, tuple(self.found)

    def _at(self, node: str | None = None, bitmap: str | None = None) -> Where:
        return Where(side=self.side, node=node, bitmap=bitmap)

    def _check_names(self) -> None:
        names = Counter[str](record.node_name for record in self.records)
        devices = Counter[str](info.device for info in self.infos if info.device)
        for name, count in sorted((names + devices).items()):
            if count > 1:
                what = "both a device and a node" if names[name] and devices[name] else "two things at once"
                self.found.append(codes.NAMES_CLASH.at(self._at(name), name=name, what=what))
        for record in self.records:
            bitmaps = Counter(bitmap.name for bitmap in record.dirty_bitmaps if bitmap.name is not None)
            self.found += (
                codes.NAMES_CLASH.at(
                    self._at(record.node_name, name), name=name, what=f"two bitmaps of the node {record.node_name!r}"
                )
                for name, count in bitmaps.items()
                if count > 1
            )

    def _refers(self, referrer: str, node: str) -> bool:
        if node in self.known:
            return True
        self.found.append(codes.REFERENCE_DANGLING.at(self._at(node), referrer=referrer, node=node))
        return False

    # edges between nodes

    def _node_edges(self) -> list[Edge]:
        children = {
            record.node_name: {(child.child, child.node_name) for child in record.children}
            for record in self.records
            if record.children is not None
        }
        if self.debug is None:
            return list(_edges(children)) if children else list(self._stats_edges())
        debug = self._debug_children(self.debug)
        for node in sorted(children):
            if children[node] != debug.get(node, set()):
                shown = [[list(pair) for pair in sorted(edges)] for edges in (children[node], debug.get(node, set()))]
                self.found.append(codes.EDGES_DISAGREE.at(self._at(node), node=node, children=shown[0], debug=shown[1]))
        return list(_edges(debug))

    def _debug_children(self, debug: XDbgBlockGraph) -> dict[NodeName, set[tuple[str, NodeName]]]:
        names = {vertex.id: NodeName(vertex.name) for vertex in debug.nodes if vertex.type == "block-driver"}
        below: dict[NodeName, set[tuple[str, NodeName]]] = {}
        for edge in debug.edges:
            if edge.parent in names:
                child = names.get(edge.child, NodeName(f"vertex {edge.child}"))
                below.setdefault(names[edge.parent], set()).add((edge.name, child))
        for name in sorted(below.keys() - self.known):
            self._refers("x-debug-query-block-graph", name)
            del below[name]
        return below

    def _stats_edges(self) -> Iterator[Edge]:
        """Edges from the device view of `query-blockstats`: `parent` is a primary child, a filter shows it twice."""
        waiting = list(self.stats)
        seen: set[tuple[str, str]] = set()
        while waiting:
            line = waiting.pop()
            for role, below in (("file", line.parent), ("backing", line.backing)):
                if below is None:
                    continue
                child = self.capture.parse("query-blockstats", below, _STATS_LINE)
                waiting.append(child)
                if line.node_name and child.node_name and (line.node_name, child.node_name) not in seen:
                    seen.add((line.node_name, child.node_name))
                    if self._refers("query-blockstats", line.node_name):
                        yield Edge("node", line.node_name, child.node_name, role, inferred=True)

    def _without_cycles(self, edges: list[Edge]) -> list[Edge]:
        found: dict[str, int] = {}
        for number, knot in enumerate(knots(edges)):
            self.found.append(codes.GRAPH_CYCLIC.at(self._at(min(knot)), cycle=sorted(knot)[:10]))
            found.update(dict.fromkeys(knot, number))
        return [edge for edge in edges if edge.parent not in found or found[edge.parent] != found.get(edge.child)]

    # who uses nodes

    def _backends(self, edges: list[Edge]) -> list[Backend]:
        roots = self._debug_roots()
        above = _implicit_filters(self.records, edges)
        backends = []
        for info in self.infos:
            shown = info.inserted.node_name if info.inserted else None
            if shown is not None and not self._refers(info.device or info.qdev or "a backend", shown):
                shown = None
            candidates = sorted(roots.get(info.device or info.qdev or "", []))
            # a filter that a job inserted hides the true root from query-block, never from x-debug
            root = next((root for root in candidates if root == shown or _covers(root, shown, above)), None)
            if root is None:
                root = shown if self.debug is not None else _topmost(shown, above)
            backends.append(Backend(info.device or None, info.qdev, root))
        return backends

    def _debug_roots(self) -> dict[str, list[NodeName]]:
        """The roots of backends by the name that x-debug gives: a device, or the guest device of an anonymous one."""
        if self.debug is None:
            return {}
        vertices = {vertex.id: vertex for vertex in self.debug.nodes}
        roots: dict[str, list[NodeName]] = {}
        for edge in self.debug.edges:
            parent, child = vertices.get(edge.parent), vertices.get(edge.child)
            if parent is not None and child is not None and parent.type == "block-backend" and parent.name:
                roots.setdefault(parent.name, []).append(NodeName(child.name))
        return roots

    def _exports(self) -> Iterator[Export]:
        """The exports; a writable one is told from the backend without a name that it has, by what that may do."""
        written: set[str] = set()
        if self.debug is not None:
            vertices = {vertex.id: vertex for vertex in self.debug.nodes}
            for edge in self.debug.edges:
                parent, child = vertices.get(edge.parent), vertices.get(edge.child)
                if parent and child and parent.type == "block-backend" and not parent.name and "write" in edge.perm:
                    written.add(child.name)
        for info in self.export_infos:
            if self._refers(info.id, info.node_name):
                writable = None if self.debug is None else info.node_name in written
                yield Export(info.id, info.type, info.node_name, writable)

    def _jobs(self) -> Iterator[Job]:
        held: dict[str, set[tuple[NodeName, bool]]] = {}
        if self.debug is not None:
            jobs = {vertex.id: vertex.name for vertex in self.debug.nodes if vertex.type == "block-job"}
            nodes = {vertex.id: NodeName(vertex.name) for vertex in self.debug.nodes if vertex.type == "block-driver"}
            for edge in self.debug.edges:
                if edge.parent in jobs and nodes.get(edge.child) in self.known:
                    held.setdefault(jobs[edge.parent], set()).add((nodes[edge.child], edge.name == "target"))
        for info in self.job_infos:
            holds = held.get(info.id, set())
            every, targets = {node for node, _ in holds}, {node for node, target in holds if target}
            yield Job(info.id, info.type, info.status, tuple(sorted(every)), tuple(sorted(targets)))


def _node(record: BlockDeviceInfo) -> Node:
    specific = record.image.format_specific
    data = None
    if specific is not None and specific.type == "qcow2":
        try:
            data = FormatSpecificData.model_validate(specific.data)
        except ValidationError:
            data = None
    return Node(
        name=record.node_name,
        driver=record.drv,
        read_only=record.ro,
        virtual_size=record.image.virtual_size,
        cluster_size=record.image.cluster_size,
        bitmaps=tuple({bitmap.name: bitmap for bitmap in sorted(_bitmaps(record))}.values()),
        stored=None
        if data is None
        else tuple(
            sorted(StoredBitmap(bitmap.name, bitmap.granularity, "in-use" in bitmap.flags) for bitmap in data.bitmaps)
        ),
        compat=data.compat if data else None,
    )


def _bitmaps(record: BlockDeviceInfo) -> Iterator[Bitmap]:
    for bitmap in record.dirty_bitmaps:
        if bitmap.name is not None:
            yield Bitmap(
                bitmap.name,
                bitmap.granularity,
                bitmap.count,
                bitmap.recording,
                bitmap.busy,
                bitmap.persistent,
                bitmap.inconsistent,
            )


def _has_unseen_children(record: BlockDeviceInfo) -> bool:
    """Whether a node may have children that `query-blockstats` does not show; an external data file hides the image."""
    if record.drv in SEVERAL_CHILDREN or record.drv not in FILTERS | NOT_FILTERS:
        return record.drv not in LEAVES
    specific = record.image.format_specific
    return specific is not None and "data-file" in specific.data


def _edges(children: dict[NodeName, set[tuple[str, NodeName]]]) -> Iterator[Edge]:
    for parent, below in children.items():
        for role, child in below:
            yield Edge("node", parent, child, role)


def _implicit_filters(records: Sequence[BlockDeviceInfo], edges: Iterable[Edge]) -> dict[NodeName, NodeName]:
    """What each auto-named filter of a job filters: child -> filter."""
    filters = {record.node_name for record in records if _node_is_implicit(record)}
    return {
        edge.child: NodeName(edge.parent) for edge in edges if edge.parent in filters and edge.role in FILTERED_ROLES
    }


def _node_is_implicit(record: BlockDeviceInfo) -> bool:
    return record.drv in JOB_FILTERS and record.node_name.startswith("#")


def _topmost(node: NodeName | None, above: dict[NodeName, NodeName]) -> NodeName | None:
    while node is not None and node in above:
        node = above[node]
    return node


def _covers(root: NodeName, shown: NodeName | None, above: dict[NodeName, NodeName]) -> bool:
    while shown is not None and shown in above:
        shown = above[shown]
        if shown == root:
            return True
    return False

"""The block graph of one QEMU and the questions that planning asks of it.

Vertices are nodes, backends, jobs and exports; an edge goes from user to used and carries the child's role (`file`,
`backing`, `root`, ...). networkx holds the structure and stays behind these methods.

    drive0 (backend) --root--> t0 (throttle) --file--> fmt0 (qcow2) --file--> #block123 (file)
                                                             '--backing--> base0 (qcow2) ...
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import networkx as nx

from bitmapmig.graph.drivers import FILTERED_ROLES, FILTERS, JOB_FILTERS, NO_WRITE_ROLES, NOT_FILTERS
from bitmapmig.graph.vertices import Backend, Edge, Export, Job, Kind, Node, Walk
from bitmapmig.qapi import BitmapName, DeviceName, NodeName

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class BlockGraph:
    """A frozen block graph: build it from values, or with `bitmapmig.graph.read` from a capture.

    `unseen_children` are the nodes that may have children which no edge shows. `listing` is node -> names of its
    bitmaps, both in the order in which QEMU comes to them; what it leaves out comes last, by name. The edges must be
    acyclic and must refer to nodes that are there; `read` sees to it for captures.
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        edges: Iterable[Edge] = (),
        backends: Iterable[Backend] = (),
        jobs: Iterable[Job] = (),
        exports: Iterable[Export] = (),
        *,
        unseen_children: Iterable[NodeName] = (),
        listing: Mapping[NodeName, Sequence[BitmapName]] | None = None,
    ) -> None:
        """Take the values; edges of backends, jobs and exports follow from their own members."""
        backends = tuple(backends)
        self.nodes: Mapping[NodeName, Node] = {node.name: node for node in sorted(nodes, key=lambda node: node.name)}
        self.backends = tuple(sorted(backends, key=lambda one: (one.device or "", one.qdev or "", one.root or "")))
        self.jobs = tuple(sorted(jobs, key=lambda job: job.id))
        self.exports = tuple(sorted(exports, key=lambda export: export.id))
        self.unseen_children = frozenset(unseen_children)
        self.listing = listing or {}
        #: the backends in the order in which QEMU comes to them
        self.listed_backends = backends
        graph: nx.MultiDiGraph[tuple[Kind, str]] = nx.MultiDiGraph()
        graph.add_nodes_from(("node", name) for name in self.nodes)
        for edge in edges:
            graph.add_edge((edge.kind, edge.parent), ("node", edge.child), edge.role, inferred=edge.inferred)
        for index, backend in enumerate(self.backends):
            if backend.root is not None:
                graph.add_edge(("backend", str(index)), ("node", backend.root), "root", inferred=False)
        for job in self.jobs:
            for node in job.nodes:
                graph.add_edge(("job", job.id), ("node", node), "job", inferred=False)
        for export in self.exports:
            graph.add_edge(("export", export.id), ("node", export.node), "export", inferred=False)
        self._graph = nx.freeze(graph)

    # the structure

    def children(self, node: str) -> tuple[tuple[str, NodeName], ...]:
        """The (role, child) pairs of a node, sorted."""
        below = self._graph.succ[("node", node)]
        return tuple(sorted((role, child[1]) for child, roles in below.items() for role in roles))

    def edges(self) -> tuple[Edge, ...]:
        """Every edge between nodes, sorted."""
        found = (
            Edge("node", parent[1], child[1], role, inferred)
            for parent, child, role, inferred in self._graph.edges(keys=True, data="inferred")
            if parent[0] == "node"
        )
        return tuple(sorted(found))

    def parents(self, node: str) -> tuple[tuple[Kind, str], ...]:
        """Who uses a node: (kind, name) of each user, sorted; an anonymous backend goes by its guest device."""
        return tuple(
            sorted(
                (kind, self._backend_label(int(key)) if kind == "backend" else key)
                for kind, key in self._graph.pred[("node", node)]
            )
        )

    def _backend_label(self, index: int) -> str:
        backend = self.backends[index]
        return backend.device or backend.qdev or ""

    # names

    def renamed(self, names: Mapping[NodeName, NodeName]) -> BlockGraph:
        """The same graph with other node-names; what `names` leaves out keeps its own."""

        def new(name: NodeName) -> NodeName:
            return names.get(name, name)

        return BlockGraph(
            nodes=[replace(node, name=new(node.name)) for node in self.nodes.values()],
            edges=[edge._replace(parent=new(NodeName(edge.parent)), child=new(edge.child)) for edge in self.edges()],
            backends=[replace(one, root=new(one.root)) if one.root else one for one in self.listed_backends],
            jobs=[
                replace(
                    job,
                    nodes=tuple(sorted(map(new, job.nodes))),
                    targets=tuple(sorted(map(new, job.targets))),
                    orders=job.orders.renamed(new),
                )
                for job in self.jobs
            ],
            exports=[replace(one, node=new(one.node)) for one in self.exports],
            unseen_children=map(new, self.unseen_children),
            listing={new(name): bitmaps for name, bitmaps in self.listing.items()},
        )

    @cached_property
    def _by_device(self) -> Mapping[str, Backend]:
        return {backend.device: backend for backend in self.backends if backend.device}

    @cached_property
    def _by_guest_device(self) -> Mapping[str, Backend]:
        counted = Counter(backend.guest_device for backend in self.backends)
        # an id that two backends have, which no genuine capture shows, is the name of neither
        return {one.guest_device: one for one in self.backends if one.guest_device and counted[one.guest_device] == 1}

    def device(self, name: str) -> Backend | None:
        """The named BlockBackend `name`."""
        return self._by_device.get(name)

    def guest_device(self, name: str) -> Backend | None:
        """The backend of the guest device whose id is `name`."""
        return self._by_guest_device.get(name)

    # filters

    def is_filter(self, node: str) -> bool | None:
        """Whether QEMU walks through this node; None where its driver is not known and it has one child."""
        driver = self.nodes[NodeName(node)].driver
        if driver in FILTERS:
            return True
        return None if driver not in NOT_FILTERS and len(self.children(node)) == 1 else False

    def filtered(self, node: str) -> NodeName | None:
        """The child that a filter filters (QEMU's `bdrv_filter_bs`)."""
        below = dict(self.children(node))
        return next((below[role] for role in FILTERED_ROLES if role in below), None)

    def implicit(self, node: str) -> bool:
        """Whether a block job put this node there, under a name that QEMU generated."""
        found = self.nodes[NodeName(node)]
        return found.driver in JOB_FILTERS and not found.explicit

    def skip_filters(self, root: NodeName | None, *, stop_at_bitmaps: bool = False) -> Walk:
        """The first node from `root` down that is no filter.

        With `stop_at_bitmaps` a filter that carries a named bitmap ends the walk, as in `init_dirty_bitmap_migration`.
        """
        passed: list[NodeName] = []
        at = root
        while at is not None:
            match self.is_filter(at):
                case None:
                    return Walk(None, tuple(passed), unknown=at)
                case False:
                    return Walk(at, tuple(passed))
                case True if stop_at_bitmaps and self.nodes[at].bitmaps:
                    return Walk(None, tuple(passed), stopped_by=at)
            passed.append(at)
            at = self.filtered(at)
        return Walk(None, tuple(passed))

    @cached_property
    def default_walks(self) -> Mapping[DeviceName, Walk]:
        """For each device the walk by which QEMU gives its name to the bitmaps of a node."""
        return {
            backend.device: self.skip_filters(backend.root, stop_at_bitmaps=True)
            for backend in self.backends
            if backend.device
        }

    @cached_property
    def cut_short(self) -> Mapping[NodeName, tuple[DeviceName, Walk]]:
        """The nodes on which a device's walk might have ended had it not stopped above them, with that walk."""
        found: dict[NodeName, tuple[DeviceName, Walk]] = {}
        for device, walk in self.default_walks.items():
            if walk.stopped_by is not None:
                found.update(dict.fromkeys(self.chain(walk.stopped_by)[1:], (device, walk)))
            elif walk.unknown is not None:
                for node in self.chain(walk.unknown):
                    found[node] = device, walk
                    if self.nodes[node].bitmaps:
                        break  # filter or not, the walk goes no further
        return found

    @cached_property
    def _devices_of(self) -> Mapping[NodeName, tuple[DeviceName, ...]]:
        found: defaultdict[NodeName, list[DeviceName]] = defaultdict(list)
        for device, walk in self.default_walks.items():
            if walk.end is not None:
                found[walk.end].append(device)
        return {node: tuple(sorted(devices)) for node, devices in found.items()}

    def devices_of(self, node: NodeName) -> tuple[DeviceName, ...]:
        """The devices under whose name QEMU would send the bitmaps of `node`."""
        return self._devices_of.get(node, ())

    @cached_property
    def _guest_devices_of(self) -> Mapping[NodeName, tuple[str, ...]]:
        found: defaultdict[NodeName, list[str]] = defaultdict(list)
        for name, backend in self._by_guest_device.items():
            end = self.skip_filters(backend.root).end
            if end is not None:
                found[end].append(name)
        return {node: tuple(sorted(ids)) for node, ids in found.items()}

    def guest_devices_of(self, node: NodeName) -> tuple[str, ...]:
        """The ids of the guest devices whose disk `node` is, filters skipped."""
        return self._guest_devices_of.get(node, ())

    def walk(self, root: NodeName, path: tuple[str, ...]) -> NodeName | None:
        """The node that the child roles of `path` lead to from `root`; None where a role is missing.

        Filters that a block job inserted are stepped over: they are not in the user's own configuration.
        """
        at = self._explicit(root)
        words = list(path)
        while words:
            below = dict(self.children(at))
            # quorum's roles, such as `children.0`, are two words of a path
            taken = next((count for count in (1, 2) if ".".join(words[:count]) in below), None)
            if taken is None:
                return None
            at = self._explicit(below[".".join(words[:taken])])
            del words[:taken]
        return at

    def chain(self, node: NodeName) -> tuple[NodeName, ...]:
        """`node` and what is below it, through all that is or may be a filter, to the first node that is none."""
        found = [node]
        while (filters := self.is_filter(found[-1])) is not False:
            at = self.filtered(found[-1]) if filters else self.children(found[-1])[0][1]
            if at is None:
                break
            found.append(at)
        return tuple(found)

    def route(self, node: NodeName) -> tuple[Backend, tuple[str, ...]] | None:
        """The nearest backend above `node` that has a name, and the child roles that `walk` follows from its root.

        The roles are empty where the backend's name alone means `node`.
        """
        waiting: deque[tuple[NodeName, tuple[str, ...]]] = deque([(node, ())])
        seen = {node}
        while waiting:
            at, path = waiting.popleft()
            for (kind, key), roles in sorted(self._graph.pred[("node", at)].items()):
                if kind == "backend" and (backend := self.backends[int(key)]).addressable:
                    return backend, () if self.skip_filters(backend.root).end == node else path
                if kind == "node" and key not in seen:
                    parent = NodeName(key)
                    seen.add(parent)
                    waiting.append((parent, path if self.implicit(parent) else (min(roles), *path)))
        return None

    def below(self, node: NodeName) -> frozenset[NodeName]:
        """`node` and every node below it."""
        return frozenset({node} | {NodeName(name) for _, name in nx.descendants(self._graph, ("node", node))})

    def _explicit(self, node: NodeName) -> NodeName:
        at = node
        while self.implicit(at) and (below := self.filtered(at)) is not None:
            at = below
        return at

    # what the guest writes

    @cached_property
    def guest_written(self) -> frozenset[NodeName]:
        """The nodes that a write of a guest device passes through: from its root down, not into backing images."""
        waiting = [backend.root for backend in self.backends if backend.qdev and backend.root is not None]
        reached: set[NodeName] = set()
        while waiting:
            node = waiting.pop()
            if node not in reached:
                reached.add(node)
                waiting += [child for role, child in self.children(node) if self._passes_writes(node, role)]
        return frozenset(reached)

    @property
    def writes_known(self) -> bool:
        """Whether a node that is not in `guest_written` is certainly not reached."""
        return not self.guest_written & self.unseen_children

    def _passes_writes(self, node: NodeName, role: str) -> bool:
        if role in NO_WRITE_ROLES:
            return False
        return role != "backing" or self.nodes[node].driver in FILTERS

"""A block graph while an operation changes it, and the questions that QEMU asks before it does.

Nothing in QEMU moves a bitmap from one node to another: a bitmap goes where its node goes, and ends with it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

from bitmapmig import codes
from bitmapmig.diagnostics import BitmapmigError, Where
from bitmapmig.graph import Backend, Bitmap, BlockGraph, Edge, Export, Job, Node
from bitmapmig.graph.drivers import NO_WRITE_ROLES
from bitmapmig.qapi import BitmapName, NodeName

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from bitmapmig.behaviour import Release


class OperationRefusedError(BitmapmigError):
    """QEMU would refuse the operation and change nothing (BM253), or what it does is not simulated (BM254)."""


class Draft:
    """A mutable copy of a graph; `release` is (major, minor) of the QEMU.

    Whoever changes it leaves it a graph that QEMU can have: every edge leads to a node that is there. Edges change by
    `link` and `unlink`. A chain may be thousands of nodes long: nothing here goes down it by recursion.
    """

    def __init__(self, graph: BlockGraph, release: Release, word: str) -> None:
        """Take a graph; `word` is what is done to it, for findings."""
        self.release = release
        self.word = word
        self.before = graph
        self.nodes: dict[NodeName, Node] = dict(graph.nodes)
        self._below: dict[NodeName, dict[str, NodeName]] = {name: dict(graph.children(name)) for name in graph.nodes}
        self._above: dict[NodeName, set[tuple[NodeName, str]]] = {name: set() for name in graph.nodes}
        for parent, below in self._below.items():
            for role, child in below.items():
                self._above[child].add((parent, role))
        self.backends: list[Backend] = list(graph.listed_backends)
        self.jobs: dict[str, Job] = {job.id: job for job in graph.jobs}
        self.exports: dict[str, Export] = {export.id: export for export in graph.exports}
        #: node -> its bitmaps, both as `BlockGraph.listing`: nodes as created, bitmaps newest first
        self.listing: dict[NodeName, list[BitmapName]] = {node: list(names) for node, names in graph.listing.items()}

    def graph(self) -> BlockGraph:
        """The graph as it is now."""
        return BlockGraph(
            nodes=self.nodes.values(),
            edges=[
                Edge("node", parent, child, role)
                for parent, below in self._below.items()
                for role, child in below.items()
            ],
            backends=self.backends,
            jobs=self.jobs.values(),
            exports=self.exports.values(),
            unseen_children=self.before.unseen_children & self.nodes.keys(),
            listing={node: names for node, names in self.listing.items() if node in self.nodes},
        )

    # saying no

    def refuse(self, reason: str, node: str | None = None, bitmap: str | None = None) -> NoReturn:
        """Raise BM253: QEMU refuses, for this reason."""
        where = Where(node=node, bitmap=bitmap)
        raise OperationRefusedError(codes.OPERATION_REFUSED.at(where, operation=self.word, reason=reason))

    def not_simulated(self, what: str, node: str | None = None) -> NoReturn:
        """Raise BM254: QEMU may do it, and this package does not know what comes of it."""
        where = Where(node=node)
        raise OperationRefusedError(codes.OPERATION_NOT_SIMULATED.at(where, operation=self.word, reason=what))

    # finding

    def lookup(self, name: str) -> NodeName:
        """The node that a command means by `name`: a device's root, or a node-name (`bdrv_lookup_bs`)."""
        backend = next((one for one in self.backends if one.device == name), None)
        if backend is not None:
            if backend.root is None:
                self.refuse(f"device {name!r} has no medium")
            return backend.root
        return self.node(name)

    def node(self, name: str) -> NodeName:
        """The node of that node-name."""
        if name not in self.nodes:
            self.refuse(f"there is no device and no node {name!r}", node=name)
        return NodeName(name)

    def bitmap(self, node: NodeName, name: str) -> Bitmap:
        """The bitmap of that name on the node."""
        found = self.nodes[node].bitmap(name)
        if found is None:
            self.refuse(f"there is no bitmap {name!r} on {node!r}", node=node, bitmap=name)
        return found

    def job(self, identity: str) -> Job:
        """The job of that id."""
        if identity not in self.jobs:
            self.refuse(f"there is no job {identity!r}")
        return self.jobs[identity]

    @property
    def children(self) -> Mapping[NodeName, Mapping[str, NodeName]]:
        """Node -> role -> child."""
        return self._below

    def parents(self, node: NodeName) -> list[tuple[NodeName, str]]:
        """The nodes that have `node` as a child, with the role, sorted."""
        return sorted(self._above[node])

    def used(self, node: NodeName) -> bool:
        """Whether another node, a backend, a job or an export uses the node."""
        return bool(
            self._above[node]
            or any(one.root == node for one in self.backends)
            or any(node in job.nodes for job in self.jobs.values())
            or any(one.node == node for one in self.exports.values())
        )

    def below(self, node: NodeName) -> list[NodeName]:
        """`node` and every node below it, parents before children."""
        found = {node: None}
        waiting = [node]
        for name in waiting:
            new = dict.fromkeys(child for child in self.children[name].values() if child not in found)
            found |= new
            waiting += new
        return waiting

    # changing

    def generated(self) -> NodeName:
        """A node-name as QEMU generates one, not yet taken."""
        number = len(self.nodes)
        while NodeName(f"#block{number}") in self.nodes:
            number += 1
        return NodeName(f"#block{number}")

    def add(self, node: Node, children: Mapping[str, NodeName] | None = None) -> NodeName:
        """Put a new node there, as the newest."""
        if node.name in self.nodes or str(node.name) in {one.device for one in self.backends}:
            self.refuse(f"the name {node.name!r} is taken", node=node.name)
        self.nodes[node.name] = node
        self._below[node.name], self._above[node.name] = {}, set()
        for role, child in (children or {}).items():
            self.link(node.name, role, child)
        self.listing[node.name] = [bitmap.name for bitmap in node.bitmaps]
        return node.name

    def link(self, parent: NodeName, role: str, child: NodeName) -> None:
        """Let a node have a child in a role, in place of the one that it has there."""
        self.unlink(parent, role)
        self._below[parent][role] = child
        self._above[child].add((parent, role))

    def unlink(self, parent: NodeName, role: str) -> NodeName | None:
        """Take from a node the child that it has in a role, if any; which one that was."""
        child = self._below[parent].pop(role, None)
        if child is not None:
            self._above[child].discard((parent, role))
        return child

    def remove(self, node: NodeName) -> list[NodeName]:
        """Take a node away that no node is above; the children that it had."""
        below = [child for role in list(self._below[node]) if (child := self.unlink(node, role)) is not None]
        del self.nodes[node], self._below[node], self._above[node]
        self.listing.pop(node, None)
        return below

    def change(self, name: NodeName, **members: Any) -> None:  # noqa: ANN401  members of Node
        """Give a node other members."""
        self.nodes[name] = replace(self.nodes[name], **members)

    def change_bitmap(self, node: NodeName, name: str, **members: Any) -> None:  # noqa: ANN401  members of Bitmap
        """Give a bitmap other members."""
        kept = self.nodes[node].bitmaps
        self.change(node, bitmaps=tuple(replace(one, **members) if one.name == name else one for one in kept))

    def set_bitmaps(self, node: NodeName, bitmaps: tuple[Bitmap, ...]) -> None:
        """Give a node other bitmaps; those that are new to it are the newest."""
        names = [bitmap.name for bitmap in bitmaps]
        old = [name for name in self.listing.get(node, []) if name in names]
        self.listing[node] = [*(name for name in reversed(names) if name not in old), *old]
        self.change(node, bitmaps=bitmaps)

    def take_over(self, below: NodeName, above: NodeName) -> None:
        """Let everything that uses `below` use `above`, but `above` itself and jobs (`bdrv_replace_node`)."""
        for parent, role in self.parents(below):
            if parent != above:
                self.link(parent, role, above)
        self.backends = [replace(one, root=above) if one.root == below else one for one in self.backends]
        self.exports = {
            key: replace(one, node=above) if one.node == below else one for key, one in self.exports.items()
        }

    def drop(self, node: NodeName) -> None:
        """Let one user of the node go: it ends where nothing else holds it, and so do its children (`bdrv_unref`)."""
        waiting = [node]
        for one in waiting:
            if one in self.nodes and not self.used(one) and not self.held(one):
                waiting += self.remove(one)

    def held(self, node: NodeName) -> bool:
        """Whether the monitor holds the node, so that it stays when its last user goes.

        No query shows it. What was told of the node counts; else an explicit node is held unless it was below a named
        backend, where `-drive` has opened it.
        """
        told = self.nodes[node].of_monitor
        if told is not None:
            return told
        return self.nodes[node].explicit and node not in self._of_drives

    @cached_property
    def _of_drives(self) -> frozenset[NodeName]:
        """The nodes that were below named backends, but for what jobs write to there."""
        waiting = [one.root for one in self.before.backends if one.device and one.root is not None]
        found = set(waiting)
        for node in waiting:
            new = {child for role, child in self.before.children(node) if role not in NO_WRITE_ROLES} - found
            found |= new
            waiting += new
        return frozenset(found)

"""BlockGraph -> Blueprint: in what parts it is to be built, before any QEMU is asked.

What block jobs put into a graph is taken out of it, since the jobs put it in again; so the rest stands as the user made
it. Pure, and wary: a graph may come from a stranger's capture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bitmapmig.graph import BlockGraph, Job
from bitmapmig.qapi import NodeName
from bitmapmig.throwaway.reason import NotBuiltError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Filters that only a job can put in.
_JOB_ONLY = frozenset(("mirror_top", "commit_top", "backup-top"))
#: The filters of a job, by its type.
_OF_JOB: Mapping[str, frozenset[str]] = {
    "mirror": frozenset(("mirror_top",)),
    "commit": frozenset(("mirror_top", "commit_top")),
    "backup": frozenset(("backup-top", "copy-before-write")),
    "stream": frozenset(("copy-on-read",)),
}


@dataclass(frozen=True, slots=True)
class Work:
    """A job as it is to be started: what it works on, by names of the graph.

    `top` is the node that it reads, `filter` the one that it puts above it; `target` is what it writes to, for a commit
    the base. `own_target` says that QEMU opens the target itself, from a file (`drive-mirror`, `drive-backup`).
    """

    job: Job
    top: NodeName
    filter: NodeName | None
    target: NodeName | None
    own_target: bool = False


class Blueprint:
    """A graph without what jobs made, and who makes each node of it.

    `children` is node -> role -> child, `roots` the root of each of `graph.listed_backends`, `order` the nodes as they
    were created. `overlays` are those that a snapshot puts on a node, with that node: they come after all else. Raises
    `NotBuiltError` where a part cannot be built at all.
    """

    def __init__(self, graph: BlockGraph, *, waiting: bool = False) -> None:
        """Take a graph apart that is for a QEMU that waits for a migration, or for one that does not."""
        self.graph = graph
        self.overlays: dict[NodeName, NodeName] = {}
        self._filters = self._filters_of_jobs()
        self.works = tuple(self._work(job) for job in graph.jobs if job.nodes)
        self.overlays = {} if self.works or waiting else self._snapshots()
        made = set(self._filters) | self._targets() | self._with_overlays()
        self.children: dict[NodeName, dict[str, NodeName]] = {
            name: {role: self.settled(child) for role, child in graph.children(name)}
            for name in graph.nodes
            if name not in made
        }
        self.roots = tuple(None if one.root is None else self.settled(one.root) for one in graph.listed_backends)
        listed = [name for name in dict.fromkeys((*graph.listing, *graph.nodes)) if name in self.children]
        self.order = tuple(listed)
        self._devices = {
            root: one.device for one, root in zip(graph.listed_backends, self.roots, strict=True) if one.device and root
        }
        self._parents: dict[NodeName, list[tuple[NodeName, str]]] = {name: [] for name in listed}
        for parent in listed:
            for role, child in self.children[parent].items():
                self._parents[child].append((parent, role))
        self._below_devices = {below for root in self._devices for below in self.below(root)}
        self._position = {name: number for number, name in enumerate(listed)}
        self._creators = {name: self._creator(name) for name in listed}

    # jobs

    def _filters_of_jobs(self) -> dict[NodeName, str]:
        """The nodes that jobs put in, and the id of the job."""
        graph = self.graph
        found: dict[NodeName, str] = {}
        for job in graph.jobs:
            drivers = _OF_JOB.get(job.type, frozenset())
            found |= {name: job.id for name in job.nodes if graph.nodes[name].driver in drivers}
            # the filter of an intermediate commit is not among its nodes
            found |= {
                name: job.id
                for name, node in graph.nodes.items()
                if job.type == "commit" and node.driver == "commit_top" and graph.filtered(name) in job.nodes
            }
        for name, node in graph.nodes.items():
            if node.driver in _JOB_ONLY and name not in found:
                msg = f"only a job can make a {node.driver}, and there is none for this one"
                raise NotBuiltError(msg, name)
        return found

    def _work(self, job: Job) -> Work:
        graph = self.graph
        above = next((name for name, owner in self._filters.items() if owner == job.id), None)
        held = [name for name in job.nodes if name not in self._filters and name not in job.targets]
        if above is not None:
            top = self.settled(above)
        else:
            tops = [name for name in held if not any(name in graph.below(other) for other in held if other != name)]
            if len(tops) != 1:
                msg = f"what the {job.type} job {job.id!r} works on cannot be told"
                raise NotBuiltError(msg, None)
            top = tops[0]
        target = next(iter(job.targets), None)
        if job.type == "commit" and target is None:
            target = next((name for name in held if not graph.below(name) & set(held) - {name}), None)
        own = job.type in ("mirror", "backup") and target is not None and not graph.nodes[target].explicit
        return Work(job, top, above, target, own)

    def _targets(self) -> set[NodeName]:
        """The nodes that QEMU opens itself when a job starts."""
        graph = self.graph
        return {name for work in self.works if work.own_target and work.target for name in graph.below(work.target)}

    def settled(self, name: NodeName) -> NodeName:
        """The node itself, or what is below a job's filter or an overlay."""
        while name in self._filters or name in self.overlays:
            below = self.overlays.get(name) or self.graph.filtered(name)
            if below is None:
                raise NotBuiltError("this filter filters nothing", name)
            name = below
        return name

    # snapshots

    def _snapshots(self) -> dict[NodeName, NodeName]:
        """The overlays without a name, on top of named backends, that are newer than what they are on: oldest first.

        Nothing makes such a one but a snapshot of the device (`blockdev-snapshot-sync`).
        """
        graph = self.graph
        position = {name: number for number, name in enumerate(dict.fromkeys((*graph.listing, *graph.nodes)))}
        found: dict[NodeName, NodeName] = {}
        for root in (one.root for one in graph.backends if one.device):
            at = root
            while at is not None:
                node, base = graph.nodes[at], dict(graph.children(at)).get("backing")
                plain = node.driver == "qcow2" and node.compat != "0.10" and not node.stored and not node.explicit
                if not plain or base is None or position[base] > position[at] or not graph.nodes[base].read_only:
                    break
                found[at] = base
                at = base
        return dict(sorted(found.items(), key=lambda pair: position[pair[0]]))

    def _with_overlays(self) -> set[NodeName]:
        """The overlays, and their files."""
        files = {child for name in self.overlays for role, child in self.graph.children(name) if role != "backing"}
        return files | self.overlays.keys()

    # nodes

    def below(self, name: NodeName) -> list[NodeName]:
        """The node and every node below it, parents first."""
        found = {name: None}
        waiting = [name]
        for at in waiting:
            new = [child for child in self.children[at].values() if child not in found]
            found |= dict.fromkeys(new)
            waiting += new
        return list(found)

    def device(self, name: NodeName) -> str | None:
        """The named backend whose root the node is."""
        return self._devices.get(name)

    def parents(self, name: NodeName) -> list[tuple[NodeName, str]]:
        """Who has the node as a child, and in which role."""
        return self._parents[name]

    def creator(self, name: NodeName) -> NodeName | None:
        """The node with which this one is opened in one go; None where it is opened by itself."""
        return self._creators[name]

    def _creator(self, name: NodeName) -> NodeName | None:
        """An explicit node is opened by itself (`blockdev-add`), unless `-drive` opens it below a named backend.

        A backing image that was there before its overlay was opened by itself all the same. The read-only file of an
        image is taken to follow the image, so that both can be reopened for writing.
        """
        node, parents = self.graph.nodes[name], self._parents[name]
        if self.device(name) is not None:
            return None
        if not parents:
            if not node.explicit:
                raise NotBuiltError("nothing that can be built has it, and a node without a name needs that", name)
            return None
        parent, role = min(parents, key=lambda one: self._position[one[0]])
        if not node.explicit or node.of_monitor is False:
            return parent
        if node.of_monitor or len(parents) > 1:
            return None
        older = role == "backing" and self._position[name] < self._position[parent]
        follows = role == "file" and node.read_only
        return parent if follows or (name in self._below_devices and not older) else None

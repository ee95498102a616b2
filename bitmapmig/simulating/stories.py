"""A story in two words, such as `mirror drive0` -> the operations that it stands for, on a graph as it is then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

from bitmapmig.qapi import NodeName
from bitmapmig.recipes import RecipeCommand
from bitmapmig.simulating.spelling import Spelled, malformed

if TYPE_CHECKING:
    from pydantic import JsonValue

    from bitmapmig.diagnostics import Where
    from bitmapmig.graph import BlockGraph, Job, Node


class _NoSuchThingError(Exception):
    """What a story is about is not there."""


class Stage:
    """A graph, and the name that a story is about: a device, a guest device, a node or a job."""

    def __init__(self, graph: BlockGraph, name: str) -> None:
        self.graph = graph
        self.name = name

    @property
    def root(self) -> Node:
        """The node that is meant: the root of a device, else the node of that name."""
        graph = self.graph
        backend = graph.device(self.name) or graph.guest_device(self.name)
        root = backend.root if backend else NodeName(self.name)
        if root is None:
            message = f"{self.name!r} has no medium"
            raise _NoSuchThingError(message)
        if root not in graph.nodes:
            message = f"there is no device, no guest device and no node {self.name!r}"
            raise _NoSuchThingError(message)
        return graph.nodes[root]

    @property
    def device(self) -> str:
        """What QEMU takes for `device`: a device name or a node-name."""
        root = self.root.name
        return self.name if self.graph.device(self.name) else root

    @property
    def data(self) -> Node:
        """The first node from the root down that is no filter, else the root."""
        return self.graph.nodes[self.graph.skip_filters(self.root.name).end or self.root.name]

    def job(self) -> Job:
        """The job of that id, or the one that works on the disk."""
        for job in self.graph.jobs:
            if job.id == self.name:
                return job
        chain = self.graph.below(self.root.name)
        found = [job for job in self.graph.jobs if job.active and chain & set(job.nodes)]
        if len(found) != 1:
            ids = ", ".join(repr(job.id) for job in found) or "none"
            message = f"of the jobs exactly one must work on {self.name!r}, and these do: {ids}"
            raise _NoSuchThingError(message)
        return found[0]

    def free(self, wanted: str) -> str:
        """A name that neither a node, nor a device, nor a job has."""
        graph = self.graph
        taken = {*graph.nodes, *(one.device for one in graph.backends), *(one.id for one in graph.jobs)}
        return next(name for number in range(len(taken) + 1) if (name := f"{wanted}{number}") not in taken)

    def target(self, wanted: str) -> tuple[str, Spelled]:
        """A new node of the size of the disk, in qcow2 where the disk is, else raw; its name and what makes it."""
        name, data = self.free(wanted), self.data
        size = data.virtual_size
        if size is None:
            message = f"the size of {data.name!r} is not known"
            raise _NoSuchThingError(message)
        image: dict[str, JsonValue] = {"image": {"virtual-size": size}}
        driver = "qcow2" if data.driver == "qcow2" else "raw"
        note = f"qemu-img create -f {driver} {name}.{driver} {size}"
        file: dict[str, JsonValue] = {"driver": "file", "filename": f"{name}.{driver}"}
        options: dict[str, JsonValue] = {"driver": driver, "node-name": name}
        if driver == "qcow2":
            return name, Spelled("blockdev-add", {**options, "file": file, **image}, note)
        return name, Spelled("blockdev-add", {**options, "file": {**file, **image}}, note)


_Story: TypeAlias = Callable[[Stage], Iterator[Spelled]]


def _mirror(stage: Stage) -> Iterator[Spelled]:
    target, made = stage.target("target")
    job = stage.free("mirror")
    yield made
    yield Spelled("blockdev-mirror", {"job-id": job, "device": stage.device, "target": target, "sync": "full"})
    yield Spelled("BLOCK_JOB_READY", {"device": job})


def _pivot(stage: Stage) -> Iterator[Spelled]:
    job = stage.job()
    if job.status != "ready":
        yield Spelled("BLOCK_JOB_READY", {"device": job.id})
    yield Spelled("block-job-complete", {"device": job.id})
    yield Spelled("BLOCK_JOB_COMPLETED", {"device": job.id})


def _cancel(stage: Stage) -> Iterator[Spelled]:
    job = stage.job()
    yield Spelled("block-job-cancel", {"device": job.id})
    # one that is ready ends well, without a pivot
    yield Spelled("BLOCK_JOB_COMPLETED" if job.status == "ready" else "BLOCK_JOB_CANCELLED", {"device": job.id})


def _end(stage: Stage) -> Iterator[Spelled]:
    yield Spelled("BLOCK_JOB_COMPLETED", {"device": stage.job().id})


def _snapshot(stage: Stage) -> Iterator[Spelled]:
    name = stage.free("overlay")
    place = "device" if stage.graph.device(stage.name) else "node-name"
    yield Spelled(
        "blockdev-snapshot-sync",
        {place: stage.device, "snapshot-file": f"{name}.qcow2", "snapshot-node-name": name},
    )


def _commit(stage: Stage) -> Iterator[Spelled]:
    job = stage.free("commit")
    yield Spelled("block-commit", {"job-id": job, "device": stage.device})
    yield Spelled("BLOCK_JOB_READY", {"device": job})
    yield Spelled("block-job-complete", {"device": job})
    yield Spelled("BLOCK_JOB_COMPLETED", {"device": job})


def _stream(stage: Stage) -> Iterator[Spelled]:
    job = stage.free("stream")
    yield Spelled("block-stream", {"job-id": job, "device": stage.device})
    yield Spelled("BLOCK_JOB_COMPLETED", {"device": job})


def _backup(stage: Stage) -> Iterator[Spelled]:
    target, made = stage.target("target")
    yield made
    arguments: dict[str, JsonValue] = {"device": stage.device, "target": target, "sync": "full"}
    yield Spelled("blockdev-backup", {"job-id": stage.free("backup"), **arguments})


def _throttle(stage: Stage) -> Iterator[Spelled]:
    """A filter goes between two nodes: QEMU re-points the child of a raw or copy-on-read node, not a device's root."""
    root = stage.root
    child = dict(stage.graph.children(root.name)).get("file")
    if root.driver not in ("raw", "copy-on-read") or child is None:
        reason = "QEMU puts a filter below a raw or a copy-on-read node while it runs, not above the root of a device"
        message = f"the root of {stage.name!r} is a {root.driver} node: {reason}"
        raise _NoSuchThingError(message)
    name = stage.free("throttle")
    group = name.replace("throttle", "group")
    first = RecipeCommand(execute="object-add", arguments={"qom-type": "throttle-group", "id": group})
    added: dict[str, JsonValue] = {"driver": "throttle", "node-name": name, "throttle-group": group, "file": child}
    yield Spelled("blockdev-add", added, first=first)
    yield Spelled("blockdev-reopen", {"options": [{"driver": root.driver, "node-name": root.name, "file": name}]})


def _unplug(stage: Stage) -> Iterator[Spelled]:
    yield Spelled("device_del", {"id": stage.name})
    yield Spelled("DEVICE_DELETED", {"device": stage.name})


def _restart(_stage: Stage) -> Iterator[Spelled]:
    yield Spelled("shutdown-and-restart", {})


def _crash(_stage: Stage) -> Iterator[Spelled]:
    yield Spelled("crash-and-restart", {})


#: The stories about one thing, and those about the whole process.
ABOUT: Mapping[str, _Story] = {
    "mirror": _mirror,
    "pivot": _pivot,
    "cancel": _cancel,
    "end": _end,
    "snapshot": _snapshot,
    "commit": _commit,
    "stream": _stream,
    "backup": _backup,
    "throttle": _throttle,
    "unplug": _unplug,
}
WHOLE: Mapping[str, _Story] = {"restart": _restart, "crash": _crash}
#: The words of all.
STORIES = (*ABOUT, *WHOLE)


def story(text: str, graph: BlockGraph, where: Where) -> tuple[Spelled, ...] | None:
    """What a story stands for on `graph`; None where the text is none. Raises `CannotRunError` (BM252)."""
    word, _, name = text.strip().partition(" ")
    name = name.strip()
    told = ABOUT.get(word) if name else WHOLE.get(word)
    if told is None:
        if word in ABOUT:
            raise malformed(
                word, f"it needs the name of what it is about, in one pair of quotation marks: '{word} drive0'", where
            )
        if word in WHOLE:
            raise malformed(word, "it is about the whole process, and takes no name", where)
        return None
    try:
        return tuple(told(Stage(graph, name)))
    except _NoSuchThingError as error:
        raise malformed(word, str(error), where) from error

"""One side of a scenario on a throw-away QEMU: built, taken through steps, and seen in the words of the scenario.

A job that is slowed down stays where it is only as long as it has something to copy. One that has none, as the commit
or the `sync: top` mirror of an overlay that a step has just put there, is ready at once. For the scenario it is so only
when it says so: until then, `ready` where `running` is simulated is seen as `running`.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bitmapmig.diagnostics import CannotRunError
from bitmapmig.enacting.files import prepare
from bitmapmig.enacting.words import NotEnactedError, Words
from bitmapmig.graph import BlockGraph, counterparts
from bitmapmig.qapi import NodeName
from bitmapmig.throwaway import THROTTLE_GROUP, QemuRefusedError, build, machine_for, running

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AsyncExitStack

    from bitmapmig.diagnostics import Side
    from bitmapmig.graph import Job
    from bitmapmig.qapi import BitmapName
    from bitmapmig.throwaway import Binary, Built, Throwaway
    from bitmapmig.transforms import Operation

_EXPORTS = frozenset(("block-export-add", "nbd-server-add"))
#: The events before which a job that was slowed down must be let go.
_OF_JOBS = frozenset(("BLOCK_JOB_READY", "BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED"))
#: The most granules of one bitmap that are made dirty, each with a write of its own.
_MOST_DIRTY = 1024


class Stage:
    """One QEMU, and its successors where it is restarted; all of them end with `stack`."""

    def __init__(self, binary: Binary, folder: Path, side: Side, stack: AsyncExitStack, *, plugs: bool) -> None:
        """Take a private folder that both sides may share; with `plugs` guest devices are to be plugged in."""
        self.side = side
        self._plugs = plugs
        self._binary = binary
        self._folder = folder
        self._stack = stack
        self._words = Words(f"{side}-", binary.release)
        self._qemu: Throwaway | None = None
        self._started = 0
        #: generated node-names of the scenario -> those of the QEMU
        self._names: Mapping[NodeName, NodeName] = {}
        #: driver that stands for another one -> node -> that other one
        self._stand_ins: dict[NodeName, tuple[str, str]] = {}
        #: exports that only keep bitmaps busy
        self._ours: frozenset[str] = frozenset()
        #: jobs that were slowed down, and not let go
        self._slowed: frozenset[str] = frozenset()
        self._serves = False

    @property
    def qemu(self) -> Throwaway:
        """The process that is there now."""
        assert self._qemu is not None  # noqa: S101
        return self._qemu

    async def begin(self, graph: BlockGraph) -> None:
        """Build the start. Raises `NotBuiltError`, `QemuGoneError`, `CannotRunError`."""
        await self._start(graph, incoming=self.side == "destination")
        self._learn(graph, await build(self.qemu, graph, _bits(graph), filled=True))
        self._slowed = frozenset(job.id for job in graph.jobs if job.status == "running")

    async def do(self, operation: Operation, before: BlockGraph, after: BlockGraph) -> None:
        """Take a step that was simulated to lead from `before` to `after`.

        Raises `QemuRefusedError` where QEMU refuses it, `NotEnactedError` where it cannot be done here, and as `begin`.
        """
        if operation.kind == "process":
            await self._restart(operation.word, after)
        elif operation.word == "nbd-server-start":
            await self._serve()  # whatever its address: the outside is not listened to
        elif operation.kind == "event":
            if operation.word in _OF_JOBS:
                await self._let_go(str(operation.arguments["device"]))
            if operation.word == "DEVICE_DELETED":
                # no guest runs that would let a device go; a reset of the machine does it instead
                await self.qemu.execute("system_reset")
            await self.qemu.event(operation.word, **operation.arguments)
        else:
            await prepare(self.qemu, self._words, operation, before=before, after=after)
            arguments = self._words.of(operation, self._names)
            if operation.word in _EXPORTS:
                await self._serve()
            if THROTTLE_GROUP in json.dumps(arguments):
                await self._group()
            await self.qemu.execute(operation.word, arguments)
            self._slowed |= {job.id for job in after.jobs} - {job.id for job in before.jobs}

    async def seen(self, simulated: BlockGraph) -> BlockGraph:
        """What is there, with the generated names of `simulated` where these stand for the same nodes.

        Raises `NotEnactedError` where QEMU does not tell, and `QemuGoneError`.
        """
        try:
            real = await self.qemu.graph()
        except CannotRunError as error:
            msg = f"what is there cannot be told: {error}"
            raise NotEnactedError(msg) from error
        names = counterparts(simulated, real)
        self._names = {ours: theirs for theirs, ours in names.items()}
        return self._in_words(real.renamed(names), {job.id: job.status for job in simulated.jobs})

    # the process

    async def _start(self, graph: BlockGraph, *, incoming: bool) -> None:
        self._started += 1
        name = f"{self.side}-{self._started}"
        machine = "pc" if self._plugs else machine_for(graph)
        made = running(self._binary, folder=self._folder, name=name, incoming=incoming, machine=machine)
        self._qemu = await self._stack.enter_async_context(made)
        self._serves = False

    async def _restart(self, word: str, after: BlockGraph) -> None:
        records = await self.qemu.execute("query-named-block-nodes", {"flat": True})
        theirs = {real: name for name, real in self._names.items()}
        files = {
            theirs.get(NodeName(one["node-name"]), NodeName(one["node-name"])): Path(one["file"]).name
            for one in records
            if one["drv"] == "file"
        }
        if word == "shutdown-and-restart":
            await self.qemu.quit()
        elif word == "crash-and-restart":
            await self.qemu.kill()
        await self._start(after, incoming=word == "incoming")
        self._learn(after, await build(self.qemu, after, files=files))

    def _learn(self, graph: BlockGraph, built: Built) -> None:
        self._names = {name: real for name, real in built.names.items() if name != real}
        for name, real in built.names.items():
            driver, said = built.graph.nodes[real].driver, graph.nodes[name].driver
            if driver != said:
                self._stand_ins[name] = driver, said
        self._ours = frozenset(one.id for one in built.graph.exports) - {one.id for one in graph.exports}

    async def _let_go(self, job: str) -> None:
        """Let a job that was slowed down run on; one that has ended meanwhile is fine as well."""
        self._slowed -= {job}
        with suppress(QemuRefusedError):
            await self.qemu.execute("block-job-set-speed", {"device": job, "speed": 0})

    async def _group(self) -> None:
        """Let there be the throttle group that stands for every one."""
        with suppress(QemuRefusedError):  # it is there where the start has a throttle node
            await self.qemu.execute("object-add", {"qom-type": "throttle-group", "id": THROTTLE_GROUP})

    async def _serve(self) -> None:
        """Let an NBD server run, on a socket in the private folder."""
        if not self._serves:
            self._serves = True
            address = {"type": "unix", "data": {"path": f"{self.qemu.name}.steps.nbd"}}
            with suppress(QemuRefusedError):  # one runs already where the start has exports
                await self.qemu.execute("nbd-server-start", {"addr": address})

    # words

    def _in_words(self, real: BlockGraph, simulated: Mapping[str, str]) -> BlockGraph:
        """The graph as the scenario says it: with the drivers for which others stand, without what only helps.

        `simulated` is the status of each simulated job.
        """

        def said(name: NodeName, driver: str) -> str:
            stand_in, meant = self._stand_ins.get(name, ("", ""))
            return meant if driver == stand_in else driver

        def seen(job: Job) -> Job:
            early = job.status == "ready" and simulated.get(job.id) == "running" and job.id in self._slowed
            return replace(job, status="running") if early else job

        return BlockGraph(
            [replace(node, driver=said(name, node.driver)) for name, node in real.nodes.items()],
            real.edges(),
            real.listed_backends,
            map(seen, real.jobs),
            [one for one in real.exports if one.id not in self._ours],
            unseen_children=real.unseen_children,
            listing=real.listing,
        )


def _bits(graph: BlockGraph) -> dict[tuple[NodeName, BitmapName], Sequence[int]]:
    """What is dirty at the start: so much as is said, from the beginning of the disk on.

    So all bitmaps of one node overlap as far as they can, as a simulated merge takes it that they do.
    """
    return {
        (node.name, bitmap.name): range(0, min(bitmap.count, node.virtual_size or 0), bitmap.granularity)[:_MOST_DIRTY]
        for node in graph.nodes.values()
        for bitmap in node.bitmaps
    }

"""Exports and jobs: real ones, slow enough to stay as the graph shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitmapmig.allowlist import Message
from bitmapmig.throwaway.contents import Bits, fill
from bitmapmig.throwaway.reason import NotBuiltError
from bitmapmig.throwaway.session import QemuRefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from bitmapmig.graph import Bitmap, Export, Job
    from bitmapmig.qapi import NodeName
    from bitmapmig.throwaway.blueprint import Blueprint, Work
    from bitmapmig.throwaway.process import Throwaway
    from bitmapmig.throwaway.words import Materials

#: A job with these arguments copies one chunk, and the next in a few hours.
_SLOW = {"speed": 1}
_SLOW_MIRROR = {"speed": 1, "granularity": 65536, "buf-size": 65536}
#: Nodes that exist only while a job without nodes of its own is made.
_FROM, _TO = "bitmapmig-from", "bitmapmig-to"


class Works:
    """The exports and jobs of one graph on one QEMU; `substituted` says what stands for what."""

    def __init__(
        self, qemu: Throwaway, blueprint: Blueprint, found: Materials, names: Mapping[NodeName, NodeName]
    ) -> None:
        self._qemu = qemu
        self._blueprint = blueprint
        self._found = found
        self._names = names
        self.substituted: dict[str, str] = {}
        self.files: dict[NodeName, str] = {}  #: the targets that QEMU opens itself
        self._busy: dict[NodeName, list[Bitmap]] = {
            name: busy
            for name, node in blueprint.graph.nodes.items()
            if (busy := [bitmap for bitmap in node.bitmaps if bitmap.busy])
        }

    async def start(self, learn: Callable[[], Awaitable[None]]) -> None:
        """Start all of them. Raises `NotBuiltError`."""
        graph = self._blueprint.graph
        for job in graph.jobs:
            if not job.nodes:
                await self._ended(job)
        if graph.exports or self._blueprint.works or self._busy:
            await learn()
        for work in self._blueprint.works:
            await self._job(work)
        for export in graph.exports:
            await self._export(export)
        for node, bitmaps in list(self._busy.items()):
            for number, bitmap in enumerate(bitmaps):
                name = f"bitmapmig-busy-{number}"
                await self._serve(name, node, writable=bitmap.recording, bitmap=bitmap)
                self.substituted[name] = f"an NBD export that keeps the bitmap {bitmap.name!r} busy"

    # exports

    async def _export(self, export: Export) -> None:
        if export.type != "nbd":
            self.substituted[export.id] = f"an NBD export in place of {export.type}"
        busy = self._busy.get(export.node, [])
        bitmap = next((one for one in busy if export.writable or not one.recording), None)
        if bitmap is not None:
            busy.remove(bitmap)
        await self._serve(export.id, export.node, writable=bool(export.writable), bitmap=bitmap)

    async def _serve(self, name: str, node: NodeName, *, writable: bool, bitmap: Bitmap | None) -> None:
        try:
            if self._qemu.nbd is None:
                path = f"{self._qemu.name}.nbd"
                await self._qemu.execute("nbd-server-start", {"addr": {"type": "unix", "data": {"path": path}}})
                self._qemu.nbd = path
            # its id is its name
            words: dict[str, Any] = {"device": self._names[node], "name": name, "writable": writable}
            await self._qemu.execute("nbd-server-add", words | ({"bitmap": bitmap.name} if bitmap else {}))
        except QemuRefusedError as error:
            raise NotBuiltError(str(error), name) from error

    # jobs

    async def _job(self, work: Work) -> None:
        job = work.job
        start = {
            "mirror": self._mirror,
            "backup": self._backup,
            "commit": self._commit,
            "stream": self._stream,
        }.get(job.type)
        if start is None or job.status not in ("running", "ready", "paused", "pending", "standby"):
            msg = f"no {job.type} job that is {job.status} can be made"
            raise NotBuiltError(msg, job.id)
        command, words = await start(work)
        named = work.filter is not None and self._blueprint.graph.nodes[work.filter].explicit
        words = {"job-id": job.id} | words | ({"filter-node-name": work.filter} if named else {})
        try:
            await self._qemu.execute(command, words)
            if job.status == "paused":
                await self._qemu.execute("job-pause", {"id": job.id})
            # a job that is to stay where it begins is left alone
            await self._reaches(job)
        except QemuRefusedError as error:
            raise NotBuiltError(str(error), job.id) from error

    async def _reaches(self, job: Job) -> None:
        try:
            await self._qemu.event("JOB_STATUS_CHANGE", id=job.id, status=job.status)
        except TimeoutError as error:
            msg = f"the {job.type} job does not become {job.status}"
            raise NotBuiltError(msg, job.id) from error

    async def _mirror(self, work: Work) -> tuple[str, dict[str, Any]]:
        words = {"device": self._names[work.top], "sync": "full"}
        slow = _SLOW_MIRROR if work.job.status != "ready" else {}
        return self._to_target(work, "mirror", words | slow)

    async def _backup(self, work: Work) -> tuple[str, dict[str, Any]]:
        words: dict[str, Any] = {"device": self._names[work.top], "sync": "none"}
        busy = self._busy.get(work.top, [])
        bitmap = next((one for one in busy if one.recording), None)
        pending = work.job.status == "pending"
        if pending:
            words |= {"sync": "full", "auto-finalize": False}
        elif bitmap is not None:
            words |= _SLOW
        if bitmap is not None:
            busy.remove(bitmap)
            words |= {"sync": "incremental", "bitmap": bitmap.name}
            if not pending:
                await self._dirty(work.top, bitmap)
        return self._to_target(work, "backup", words)

    async def _dirty(self, name: NodeName, bitmap: Bitmap) -> None:
        """Set bits, so that a backup has something to do."""
        size = self._blueprint.graph.nodes[name].virtual_size or 0
        offsets = tuple(range(0, size, max(bitmap.granularity, 1 << 20)))[:8]
        await fill(self._qemu, [Bits(self._names[name], bitmap.name, size, bitmap.granularity, offsets)])

    def _to_target(self, work: Work, kind: str, words: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The command with its target: a node, or a file that QEMU opens itself."""
        if work.target is None:
            msg = f"the target of the {kind} job is not known"
            raise NotBuiltError(msg, work.job.id)
        if not work.own_target:
            return f"blockdev-{kind}", words | {"target": self._names[work.target]}
        format_ = self._blueprint.graph.nodes[work.target].driver
        if format_ not in ("qcow2", "raw"):
            msg = f"a target of the driver {format_!r} cannot be made"
            raise NotBuiltError(msg, work.job.id)
        file = f"{self._qemu.name}-target-{self._blueprint.works.index(work)}.{format_}"
        self.files[work.target] = file
        mode = {"mode": "absolute-paths"}
        return f"drive-{kind}", words | mode | {"target": file, "format": format_}

    async def _commit(self, work: Work) -> tuple[str, dict[str, Any]]:
        if work.target is None:
            raise NotBuiltError("the base of the commit job is not known", work.job.id)
        words = {"base-node": self._names[work.target]} | (_SLOW if work.job.status != "ready" else {})
        above = self._above(work.top)
        if above == work.top:
            return "block-commit", words | {"device": self._names[work.top]}
        return "block-commit", words | {"device": self._names[above], "top-node": self._names[work.top]}

    async def _stream(self, work: Work) -> tuple[str, dict[str, Any]]:
        words: dict[str, Any] = {"device": self._names[work.top], **_SLOW}
        at = work.top
        while (below := self._blueprint.children[at].get("backing")) in work.job.nodes and below is not None:
            at = below
        if below is not None:
            words["base-node"] = self._names[below]
        return "block-stream", words

    def _above(self, name: NodeName) -> NodeName:
        """The top of the chain in which the node is a backing image."""
        at = name
        while (
            above := next((one for one, role in self._blueprint.parents(at) if role == "backing"), None)
        ) is not None:
            at = above
        return at

    async def _ended(self, job: Job) -> None:
        """A job that has concluded and holds nothing any more: one on nodes of ours, which then go."""
        made = self._concluding(job)
        if job.status != "concluded" or made is None:
            msg = f"no {job.type} job that is {job.status} can be made"
            raise NotBuiltError(msg, job.id)
        command, words = made
        nodes = [{"driver": "null-co", "node-name": name, "size": 65536, "read-zeroes": True} for name in (_FROM, _TO)]
        try:
            await self._qemu.execute_all([Message("blockdev-add", node) for node in nodes])
            await self._qemu.execute(command, {"job-id": job.id} | words)
            if job.type == "mirror":
                await self._qemu.event("JOB_STATUS_CHANGE", id=job.id, status="ready")
                await self._qemu.execute("job-complete", {"id": job.id})
            await self._reaches(job)
            await self._qemu.execute_all([Message("blockdev-del", {"node-name": name}) for name in (_FROM, _TO)])
        except QemuRefusedError as error:
            raise NotBuiltError(str(error), job.id) from error

    def _concluding(self, job: Job) -> tuple[str, dict[str, Any]] | None:
        """What makes a job of that type that soon concludes, and stays."""
        stays = {"device": _FROM, "auto-dismiss": False}
        if job.type in ("backup", "mirror"):
            return f"blockdev-{job.type}", stays | {"target": _TO, "sync": "full"}
        if job.type == "create":  # it always stays
            file = f"{self._qemu.name}-created-{self._blueprint.graph.jobs.index(job)}"
            return "blockdev-create", {"options": {"driver": "file", "filename": file, "size": 0}}
        return None

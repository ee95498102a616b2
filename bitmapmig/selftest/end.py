"""One QEMU of an experiment: what is put on it, and what it shows."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from bitmapmig.allowlist import Message
from bitmapmig.selftest.materials import DIRTY, SIZE, make_dirty
from bitmapmig.selftest.outcome import Seen
from bitmapmig.throwaway import QemuRefusedError, printed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from bitmapmig.selftest.materials import Materials
    from bitmapmig.selftest.outcome import Place
    from bitmapmig.throwaway import Throwaway


def null(node: str, size: int = SIZE) -> dict[str, Any]:
    """The options of a node that keeps nothing."""
    return {"driver": "null-co", "node-name": node, "size": size}


def entry(node: str, alias: str | None = None, **bitmaps: str) -> dict[str, Any]:
    """A node of `block-bitmap-mapping`; `bitmaps` gives each bitmap's alias by its name."""
    listed = [{"name": name, "alias": one} for name, one in bitmaps.items()]
    return {"node-name": node, "alias": alias or node, "bitmaps": listed}


class End:
    """One QEMU of an experiment."""

    def __init__(self, qemu: Throwaway, materials: Materials) -> None:
        self.qemu = qemu
        self._materials = materials

    async def do(self, command: str, **arguments: Any) -> Any:  # noqa: ANN401  raw JSON
        """What a QMP command returns; `_` in names of arguments stands for `-`. Raises `QemuRefusedError`."""
        return await self.qemu.execute(command, {name.replace("_", "-"): one for name, one in arguments.items()})

    async def add(self, *nodes: Mapping[str, Any]) -> None:
        """`blockdev-add` each of `nodes`."""
        await self.qemu.execute_all([Message("blockdev-add", node) for node in nodes])

    async def drive(self, device: str | None, words: Mapping[str, Any] | None) -> None:
        """Add a named backend whose root has these options, or without a medium; QEMU names it where nobody does.

        Only `drive_add` makes one, which takes a line of text.
        """
        text = json.dumps(words, separators=(",", ":")).replace(",", ",,")
        name = f",id={device}" if device else ""
        root = f",file=json:{text}" if words is not None else ""
        said = await self.qemu.human(f"drive_add 0 if=none{name}{root}")
        if not said.endswith("OK"):  # there may be a warning before it
            raise QemuRefusedError("drive_add", said)

    async def group(self) -> None:
        """Add `group0`, which throttle filters need."""
        await self.do("object-add", qom_type="throttle-group", id="group0")

    def image(self, node: str | None, kind: str = "plain", file: str | None = None, **more: Any) -> dict[str, Any]:  # noqa: ANN401
        """The options of a qcow2 node over a copy of an image, which is made unless it is there."""
        name = file or f"{self.qemu.name}-{node or 'drive'}"
        path = self.qemu.folder / name
        if not path.exists():
            self._materials.copy(kind, path)
        below: dict[str, Any] = {"driver": "file", "filename": name}
        words: dict[str, Any] = {"driver": "qcow2", "file": below, "cache": {"no-flush": True}}
        if node is not None:
            words["node-name"] = node
            below["node-name"] = f"{node}-file"
        return words | {name.replace("_", "-"): one for name, one in more.items()}

    async def bitmap(
        self,
        node: str,
        name: str = "b0",
        *,
        dirty: Sequence[int] = DIRTY,
        size: int = SIZE,
        **arguments: Any,  # noqa: ANN401
    ) -> None:
        """Add a bitmap to a node of that size, and make granules dirty."""
        await self.do("block-dirty-bitmap-add", node=node, name=name, **arguments)
        await self.write(node, name, dirty, size)

    async def write(self, node: str, name: str, granules: Sequence[int], size: int = SIZE) -> None:
        """Make granules of a bitmap dirty."""
        await make_dirty(self.qemu, node, name, granules, size)

    async def data(self, node: str) -> None:
        """Write 4 MiB through a node or device, so that a slow job has something left to copy."""
        said = await self.qemu.human(f'qemu-io {node} "write -q -P 1 0 4M"')
        if said:
            raise QemuRefusedError("qemu-io", said)

    async def export(self, node: str, **more: Any) -> None:  # noqa: ANN401
        """Export a node over NBD."""
        address = {"type": "unix", "data": {"path": f"{self.qemu.name}.nbd"}}
        await self.do("nbd-server-start", addr=address)
        await self.do("nbd-server-add", device=node, **more)

    async def blocked(self) -> str:
        """Why `migrate` is refused; empty where it is not."""
        try:
            await self.do("migrate", uri="unix:nobody")
        except QemuRefusedError as error:
            return error.desc
        return ""

    async def inserted(self, device: str) -> str:
        """The node-name that `query-block` shows for a named backend; empty where it shows none."""
        shown = await self.do("query-block")
        found = [one["inserted"]["node-name"] for one in shown if one["device"] == device and "inserted" in one]
        return str(found[0]) if found else ""

    async def nodes(self) -> dict[str, dict[str, Any]]:
        """`query-named-block-nodes`, by node-name."""
        return {node["node-name"]: node for node in await self.do("query-named-block-nodes", flat=True)}

    async def bitmaps(self) -> dict[Place, Seen]:
        """Every named bitmap, with its digest."""
        records = {
            (name, bitmap["name"]): bitmap
            for name, node in (await self.nodes()).items()
            for bitmap in node.get("dirty-bitmaps", ())
            if "name" in bitmap
        }
        digests = await asyncio.gather(*(self._digest(*place) for place in records))
        return {
            place: Seen(
                bitmap["granularity"],
                bitmap["recording"],
                bitmap["busy"],
                bitmap["persistent"],
                bitmap.get("inconsistent", False),
                digest,
            )
            for (place, bitmap), digest in zip(records.items(), digests, strict=True)
        }

    async def _digest(self, node: str, name: str) -> str | None:
        try:
            return str((await self.do("x-debug-block-dirty-bitmap-sha256", node=node, name=name))["sha256"])
        except QemuRefusedError:
            return None

    async def map(self, *entries: Mapping[str, Any]) -> None:
        """Set `block-bitmap-mapping`."""
        await self.do("migrate-set-parameters", block_bitmap_mapping=list(entries))

    async def able(self, *capabilities: str) -> None:
        """Turn migration capabilities on."""
        listed = [{"capability": one, "state": True} for one in capabilities]
        await self.do("migrate-set-capabilities", capabilities=listed)

    async def ended(self, job: str, status: str = "concluded") -> None:
        """Wait until a job has come so far."""
        await self.qemu.event("JOB_STATUS_CHANGE", id=job, status=status)

    async def migrating(self, status: str) -> None:
        """Wait until `query-migrate` says so."""
        async for said in self.progress():
            if said.get("status") == status:
                return

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """What `query-migrate` says, again and again. Raises `QemuGoneError`."""
        pause = 0.002
        while True:
            yield await self.do("query-migrate")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.02)

    def log(self) -> tuple[str, ...]:
        """What it has printed."""
        return printed(self.qemu)

"""Where an experiment is made: a source and a destination, and a migration between them."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bitmapmig.selftest.end import End
from bitmapmig.selftest.outcome import Outcome
from bitmapmig.throwaway import QemuGoneError, QemuRefusedError, at_rest, running

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AsyncExitStack
    from pathlib import Path
    from uuid import UUID

    from bitmapmig.selftest.materials import Materials
    from bitmapmig.selftest.outcome import Place, Seen
    from bitmapmig.throwaway import Binary

#: A source measures its bandwidth for 0.1 s before it hands over (`migration_update_counters`). Meanwhile it sends
#: empty sections as fast as both processes can go, unless it may send only little (bytes per second); the little that
#: it measures then is to suffice for all bitmaps (ms).
_UNHURRIED = {"max_bandwidth": 4096, "downtime_limit": 2_000_000}


class Lab:
    """Where one experiment is made: `folder` is its own, below the private one of the bench."""

    def __init__(self, binary: Binary, materials: Materials, folder: Path, stack: AsyncExitStack) -> None:
        self.binary = binary
        self.materials = materials
        self.folder = folder
        self._stack = stack
        self._ends: dict[str, End] = {}

    @property
    def source(self) -> End:
        """The source."""
        return self._ends["source"]

    @property
    def destination(self) -> End:
        """The destination."""
        return self._ends["destination"]

    def end(self, name: str) -> End:
        """The QEMU of that name."""
        return self._ends[name]

    async def start(self, name: str, *, incoming: bool = False, machine: str = "none", uuid: UUID | None = None) -> End:
        """Start a QEMU of that name; with `incoming` it waits for a migration."""
        started = running(self.binary, folder=self.folder, name=name, incoming=incoming, machine=machine, uuid=uuid)
        self._ends[name] = End(await self._stack.enter_async_context(started), self.materials)
        return self._ends[name]

    @property
    def transforms(self) -> bool:
        """Whether a map can make bitmaps persistent or transient."""
        path = "block-bitmap-mapping", "bitmaps", "transform", "persistent"
        return self.materials.schema.has("migrate-set-parameters", *path)

    async def pair(self, *nodes: Mapping[str, Any]) -> tuple[End, End]:
        """Start a source and a destination, with `nodes` on both."""
        ends = await self.start("source"), await self.start("destination", incoming=True)
        if nodes:
            for end in ends:
                await end.add(*nodes)
        return ends

    async def images(self, kind: str = "plain", **more: Any) -> tuple[End, End]:  # noqa: ANN401
        """Start a source and a destination, each with a node `disk0` over an image of its own."""
        ends = await self.pair()
        for end in ends:
            await end.add(end.image("disk0", kind, **more))
        return ends

    async def migrate(
        self,
        *mapping: Mapping[str, Any],
        capability: bool = True,
        source: End | None = None,
        destination: End | None = None,
    ) -> Outcome:
        """Migrate, with a mapping on the source if one is given, and wait until both sides have come to rest."""
        source, destination = source or self.source, destination or self.destination
        before = await source.bitmaps()
        if mapping:
            await source.map(*mapping)
        if capability:
            await source.able("dirty-bitmaps")
        refused = await begun(source, destination)
        return await outcome(source, destination, before, refused)

    async def handed_over(self) -> str | None:
        """End the source as after a migration, and let the destination go on; what it says against that, if anything.

        Raises `QemuGoneError`.
        """
        await self._killed(self.source)
        try:
            await self.destination.do("cont")
        except QemuRefusedError as error:
            return error.desc
        return None

    async def stored(
        self, end: str = "destination", file: str = "", driver: str = "qcow2"
    ) -> dict[str, frozenset[str]]:
        """The bitmaps in an image of that QEMU, after it was shut down, with their flags."""
        await self._ends[end].qemu.quit()
        return await self.materials.stored(self.folder / (file or f"{end}-disk0"), driver)

    async def over(self) -> None:
        """End all QEMUs of the experiment at once, as a crash does. Raises `TimeoutError`."""
        await asyncio.gather(*map(self._killed, self._ends.values()))

    async def _killed(self, end: End) -> None:
        """End a QEMU while other experiments go on, which waiting for it in `Throwaway.kill` would hold up."""
        if end.qemu.status is None:  # nobody else takes its exit status, so its pid is still its own
            os.kill(end.qemu.pid, signal.SIGKILL)
            await end.qemu.wait()

    def log(self) -> Iterable[str]:
        """What the QEMUs of this experiment have printed."""
        for name, end in self._ends.items():
            for line in end.log():
                yield f"{name}: {line}"


async def begun(source: End, destination: End) -> str:
    """Let `source` migrate to `destination`; why it refuses to, if it does."""
    uri = f"unix:{destination.qemu.name}.migration"
    await source.do("migrate-set-parameters", **_UNHURRIED)
    await destination.do("migrate-incoming", uri=uri)
    try:
        await source.do("migrate", uri=uri)
    except QemuRefusedError as error:
        return error.desc
    return ""


async def outcome(source: End, destination: End, before: Mapping[Place, Seen], refused: str = "") -> Outcome:
    """What a migration comes to, unless it was `refused`; waits until both sides have come to rest."""
    said: dict[str, Any] = {}
    if not refused:
        said = await at_rest(source.qemu) or {}
        await at_rest(destination.qemu)
    status, bitmaps = None, None
    with suppress(QemuGoneError):
        status = (await destination.do("query-migrate")).get("status", "waiting")
        with suppress(QemuRefusedError):
            bitmaps = await destination.bitmaps()
    return Outcome(
        source=said.get("status"),
        destination=status,
        destination_exit=destination.qemu.status,
        refused=refused,
        source_log=source.log(),
        destination_log=destination.log(),
        before=before,
        bitmaps=bitmaps,
    )

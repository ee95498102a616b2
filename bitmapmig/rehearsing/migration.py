"""Two stand-ins with everything set -> the migration, and what is left on both sides, and in images, afterwards."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from bitmapmig import state
from bitmapmig.allowlist import Message, digest
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.fate import DestinationEnd, MigrationEnd, SourceEnd
from bitmapmig.graph import read
from bitmapmig.throwaway import QemuGoneError, QemuRefusedError, at_rest, running

if TYPE_CHECKING:
    from bitmapmig.graph import Bitmap, BlockGraph
    from bitmapmig.state import State
    from bitmapmig.throwaway import Throwaway

#: Milliseconds that the guest may stand still: the most that QEMU takes, so that size alone keeps nothing from ending.
_DOWNTIME = 2_000_000

#: Signals that no QEMU dies of by what it does itself: the kernel sends them, or whoever may.
_BY_OTHERS = frozenset((signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGXCPU))


@dataclass(frozen=True, slots=True)
class Record:
    """A bitmap as it was found; `digest` is None where QEMU takes none of it."""

    bitmap: Bitmap
    digest: str | None


#: By node-name and bitmap.
Records: TypeAlias = Mapping[tuple[str, str], Record]


@dataclass(frozen=True, slots=True)
class Sight:
    """What a stand-in shows: its graph and state, and every named bitmap with its digest."""

    graph: BlockGraph
    state: State
    records: Records


@dataclass(frozen=True, slots=True)
class Ended:
    """How a migration ended, in the words of `Foretold`; `error` is what QEMU said over QMP, if anything."""

    source: SourceEnd
    destination: DestinationEnd
    error: str = ""

    @property
    def migration(self) -> MigrationEnd:
        """What became of it as a whole."""
        if self.destination == "completed":
            return "completes"  # though the source may have died since
        return "destination-dies" if self.source == "completed" else "fails"


class Held(NamedTuple):
    """The bitmaps of an image."""

    clean: frozenset[str] = frozenset()
    in_use: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What is left when a destination goes on and is shut down.

    `cont` is what QEMU says against going on, empty where it went on; `sight` is what it shows then, None where it
    cannot list its nodes. `stored` are the bitmaps that its images hold in the end, by the node of each image: those
    that are clean, and those that are in use, which are inconsistent from then on.
    """

    cont: str
    sight: Sight | None
    stored: Mapping[str, Held]


async def look(qemu: Throwaway) -> Sight:
    """What it shows. Raises `CannotRunError`, `QemuGoneError`."""
    capture = await qemu.look()
    graph, _ = read(capture, "source")
    places = [(node.name, one) for node in graph.nodes.values() for one in node.bitmaps]
    asked = [digest(node, one.name) for node, one in places]
    answers = await qemu.answers(asked)
    digests = [answer.return_["sha256"] if answer.error is None else None for answer in answers]
    return Sight(
        graph,
        state.read(capture),
        {(node, one.name): Record(one, found) for (node, one), found in zip(places, digests, strict=True)},
    )


async def migrate(source: Throwaway, destination: Throwaway) -> Ended:
    """Migrate over a socket in the private folder, and wait until both have come to rest.

    Raises `QemuGoneError` where one is ended by somebody else, `TimeoutError`.
    """
    uri = {"uri": f"unix:{source.folder / 'migration'}"}
    try:
        await source.execute("migrate-set-parameters", {"downtime-limit": _DOWNTIME})
        await destination.execute("migrate-incoming", uri)
        await source.execute("migrate", uri)
    except QemuRefusedError as error:
        return Ended("refuses", "waiting", error.desc)
    said = await _at_rest(source)
    reason = str((said or {}).get("error-desc") or "")
    here: SourceEnd = "aborts" if said is None else "completed" if said.get("status") == "completed" else "failed"
    there = await _at_rest(destination)
    if there is None:
        return Ended(here, "exits" if (destination.status or 0) >= 0 else "aborts", reason)
    return Ended(here, "completed" if there.get("status") == "completed" else "exits", reason)


async def _at_rest(qemu: Throwaway) -> dict[str, Any] | None:
    """As `at_rest`; raises `QemuGoneError` where somebody else has ended the process."""
    said = await at_rest(qemu)
    if said is None and -(qemu.status or 0) in _BY_OTHERS:
        raise QemuGoneError(qemu.name, qemu.log())
    return said


async def aftermath(source: Throwaway, destination: Throwaway, images: Mapping[str, str]) -> Aftermath:
    """Let the destination go on without the source, shut it down, and look into its images (node -> file)."""
    async with running(destination.binary, folder=destination.folder, name="reader") as reader:
        await source.kill()
        said, sight = await _gone_on(destination)
        return Aftermath(said, sight, await _stored(reader, images))


async def _gone_on(destination: Throwaway) -> tuple[str, Sight | None]:
    """Let it go on, and shut it down: what it says against going on, and what it shows then."""
    said, sight = "", None
    try:
        await destination.execute("cont")
    except QemuRefusedError as error:
        said = error.desc
    except QemuGoneError as error:
        said = str(error)
    with suppress(CannotRunError, QemuGoneError):
        sight = await look(destination)
    with suppress(TimeoutError):
        await destination.quit()
    await destination.kill()
    return said, sight


async def _stored(reader: Throwaway, images: Mapping[str, str]) -> Mapping[str, Held]:
    """The bitmaps in each image, as another process finds them; one that it cannot open holds none."""
    files = {f"bitmapmig-image-{number}": file for number, file in enumerate(images.values())}
    await reader.answers(
        [
            Message(
                "blockdev-add",
                {"driver": "qcow2", "node-name": name, "read-only": True, "backing": None}
                | {"file": {"driver": "file", "filename": file}},
            )
            for name, file in files.items()
        ]
    )
    graph = await reader.graph()
    held = {str(name): node.stored or () for name, node in graph.nodes.items()}
    return {
        node: Held(*(frozenset(one.name for one in held.get(name, ()) if one.in_use is used) for used in (False, True)))
        for node, name in zip(images, files, strict=True)
    }

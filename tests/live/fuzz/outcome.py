"""Two QEMUs of a world -> what really happened: the migration, both logs, the bitmaps, and what is left at the end."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.live.migration import migrate, stored
from tests.live.monitor import QemuGoneError, QmpError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.live.fuzz.build import Built
    from tests.live.fuzz.world import World
    from tests.live.qemu import BitmapRecord, Qemu

Bitmaps = dict[tuple[str, str], "BitmapRecord"]
#: How long a migration may take before it counts as one that does not settle.
SECONDS = 10.0

_PROGRAM = re.compile(r"^\S*qemu-system-x86_64: ")
#: Lines that say what became of a bitmap.
_ABOUT_BITMAPS = re.compile(
    r"[Bb]itmap|Cannot find device=|has no medium|Unknown node alias|Unable to read|Name is longer|Assertion"
)
#: Lines that every failure of the section of bitmaps ends with, whatever was the matter.
_AS_EVER = re.compile(r"error while loading state|failed to save SaveStateEntry")


def lines(log: str) -> tuple[str, ...]:
    """The lines of a log without the name of the program."""
    return tuple(_PROGRAM.sub("", line) for line in log.splitlines())


def about_bitmaps(log: tuple[str, ...]) -> tuple[str, ...]:
    """Those lines of a log that speak of bitmaps."""
    return tuple(line for line in log if _ABOUT_BITMAPS.search(line) and not _AS_EVER.search(line))


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What is left when a destination that completed goes on and is shut down.

    `cont` is what QEMU says to `cont`, empty where it went on; `bitmaps` are those that it then shows, None where it
    cannot list its nodes; `quit` is its exit status, None where it did not end; `stored` are the bitmaps of each image.
    """

    cont: str
    bitmaps: Bitmaps | None
    quit: int | None
    log: tuple[str, ...]
    stored: Mapping[str, Mapping[str, frozenset[str]]]


@dataclass(frozen=True, slots=True)
class Real:
    """What really happened.

    `source` is "refuses" where `migrate` is an error, "aborts" where the process died; `destination` is "exits" or
    "aborts" where that died, "waiting" where nothing reached it. `before` are the source's bitmaps before, `there`
    those of the destination, `bitmaps` those of the destination after the migration, None where it cannot list them.
    Sizes are of nodes by name, in bytes. `settled` is False where the migration did not come to an end in time.
    """

    settled: bool
    source: str
    destination: str
    error: str
    exit: int | None
    source_log: tuple[str, ...]
    destination_log: tuple[str, ...]
    before: Bitmaps
    there: Bitmaps
    bitmaps: Bitmaps | None
    source_sizes: Mapping[str, int]
    destination_sizes: Mapping[str, int]
    aftermath: Aftermath | None = None

    @property
    def migration(self) -> str:
        """What became of the migration, in the words of `Foretold`."""
        if self.destination == "completed":
            return "completes"  # though the source may have died since: 7.2 does where a mirror goes on
        return "destination-dies" if self.source == "completed" else "fails"


def happen(world: World, source: Built, destination: Built, *, aftermath: bool = True) -> Real:
    """Migrate, and look; with `aftermath` also let the destination go on, and end it. The source is dead after it."""
    before, there = source.qemu.bitmaps(), destination.qemu.bitmaps()
    sizes = _sizes(source.qemu), _sizes(destination.qemu)
    try:
        outcome = migrate(source.qemu, destination.qemu, seconds=SECONDS)
    except (QmpError, TimeoutError, QemuGoneError) as error:
        refused = isinstance(error, QmpError)
        return Real(
            settled=refused,
            source="refuses" if refused else "?",
            destination="waiting" if refused else "?",
            error=str(error),
            exit=None,
            source_log=lines(source.qemu.log),
            destination_log=lines(destination.qemu.log),
            before=before,
            there=there,
            bitmaps=None,
            source_sizes=sizes[0],
            destination_sizes=sizes[1],
        )
    completed = outcome.source == "completed" and outcome.destination == "completed"
    return Real(
        settled=True,
        source=outcome.source or "aborts",
        destination=_end(outcome.destination, outcome.exit),
        error=outcome.error,
        exit=outcome.exit,
        source_log=lines(outcome.source_log),
        destination_log=lines(outcome.destination_log),
        before=before,
        there=there,
        bitmaps=dict(outcome.bitmaps) if outcome.bitmaps is not None else None,
        source_sizes=sizes[0],
        destination_sizes=sizes[1],
        aftermath=_aftermath(world, source.qemu, destination.qemu) if completed and aftermath else None,
    )


def _sizes(qemu: Qemu) -> dict[str, int]:
    """The virtual size of each node, in bytes."""
    return {name: node.get("image", {}).get("virtual-size", 0) for name, node in qemu.nodes().items()}


def _end(status: str | None, exit_status: int | None) -> str:
    if exit_status is None:
        return status or "?"
    return "exits" if exit_status >= 0 else "aborts"


def _aftermath(world: World, source: Qemu, destination: Qemu) -> Aftermath:
    source.kill()  # it holds the locks of shared images
    said, bitmaps, ended = "", None, None
    already = len(destination.log)
    try:
        destination.qmp("cont")
    except (QmpError, QemuGoneError) as error:
        said = str(error)
    with suppress(QmpError, QemuGoneError):
        bitmaps = destination.bitmaps()
    with suppress(TimeoutError):
        ended = destination.quit()
    log = lines(destination.log[already:])
    destination.kill()
    return Aftermath(said, bitmaps, ended, log, _stored(world, destination))


def _stored(world: World, qemu: Qemu) -> dict[str, dict[str, frozenset[str]]]:
    """The bitmaps that the destination's images hold, of those that can hold any."""
    used = {node.image for disk in world.destination.disks for _, node in disk.root.walk()}
    names = [image.name for image in world.images if image.format == "qcow2" and image.name in used]
    return {name: stored(qemu, name) for name in names}


def readable(real: Real) -> str:
    """What happened, for people."""
    told: dict[str, Any] = {
        "source": real.source,
        "destination": f"{real.destination} ({real.exit})",
        "error": real.error,
        "source log": real.source_log,
        "destination log": real.destination_log,
        "source's bitmaps": list(map(str, real.before.items())),
        "arrived": None if real.bitmaps is None else list(map(str, real.bitmaps.items())),
    }
    if real.aftermath is not None:
        told["after cont"] = {
            "cont": real.aftermath.cont,
            "bitmaps": None if real.aftermath.bitmaps is None else list(map(str, real.aftermath.bitmaps.items())),
            "quit": real.aftermath.quit,
            "log": real.aftermath.log,
            "stored": {image: {k: sorted(v) for k, v in held.items()} for image, held in real.aftermath.stored.items()},
        }
    return json.dumps(told, indent=1, ensure_ascii=False)

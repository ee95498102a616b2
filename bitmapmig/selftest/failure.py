"""What makes a migration fail, or kills one of the two processes, because of bitmaps or whatever else."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from bitmapmig.behaviour import BLOCKING_FORMATS, READ_ONLY_NODE_KILLS
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.selftest.end import entry, null
from bitmapmig.selftest.experiment import (
    ABORTS,
    ACCEPTED,
    ARRIVES,
    EXITS,
    FAILS,
    LOST,
    MIGRATE_REFUSED,
    REFUSED,
    SOURCE_ABORTS,
    STORED,
    Experiment,
    NotApplicable,
)
from bitmapmig.selftest.lab import Lab
from bitmapmig.selftest.materials import GRANULE, SIZE
from bitmapmig.throwaway import QemuRefusedError

_SECTION = "failure and death"
_PIECE = 64 * GRANULE  #: what the bits of a bitmap are sent in
_STATES = ("inconsistent", "busy", "read-only")


async def _unusable(lab: Lab, state: str) -> None:
    """A pair with `b0` in that state on the source's `disk0`, and healthy bitmaps beside it and on `disk1`."""
    source, destination = await lab.pair(null("disk1"))
    if state == "busy":
        await source.add(null("disk0"))
        await source.bitmap("disk0", disabled=True)
        await source.export("disk0", bitmap="b0")
    elif state == "inconsistent":
        await source.add(source.image("disk0", "crashed"))
    else:
        await source.add(source.image("disk0", "stored", read_only=True))
    await destination.add(destination.image("disk0"))
    for node in ("disk0", "disk1"):
        await source.bitmap(node, "healthy")


async def _state(lab: Lab, *, state: str, mapped: bool) -> str:
    await _unusable(lab, state)
    entries = [entry("disk0", healthy="healthy")] if mapped else []
    return (await lab.migrate(entry("disk1", healthy="healthy"), *entries)).of("disk1", "healthy")


async def _busy_and_persistent(lab: Lab) -> str:
    source, destination = await lab.images()
    for end in (source, destination):
        await end.add(null("disk1"))
    await source.bitmap("disk0", persistent=True, disabled=True)
    await source.bitmap("disk1")
    await source.export("disk0", bitmap="b0")
    return (await lab.migrate(entry("disk1", b0="b0"))).of("disk1")


async def _clash(lab: Lab) -> str:
    source, destination = await lab.pair(null("disk0"))
    await source.bitmap("disk0")
    await destination.do("block-dirty-bitmap-add", node="disk0", name="b0")
    return (await lab.migrate()).of()


async def _sizes(lab: Lab, *, here: int, there: int) -> str:
    source, destination = await lab.pair()
    await source.add(null("disk0", here))
    await destination.add(null("disk0", there))
    await source.bitmap("disk0", granularity=GRANULE, size=here, dirty=(0, 5))
    outcome = await lab.migrate()
    if outcome.end is None and ("disk0", "b0") in (outcome.bitmaps or {}):
        return ARRIVES  # the digests of different sizes cannot be compared
    return outcome.of()


async def _empty_alias(lab: Lab) -> str:
    await lab.pair(null("disk0"))
    await lab.source.bitmap("disk0")
    return (await lab.migrate(entry("disk0", b0=""))).of()


async def _read_only_there(lab: Lab) -> str:
    source, destination = await lab.pair()
    await source.add(source.image("disk0"))
    await destination.add(destination.image("disk0", read_only=True))
    await source.bitmap("disk0", persistent=True)
    outcome = await lab.migrate()
    if outcome.of() != ARRIVES:
        return outcome.of()
    await lab.handed_over()
    return STORED if "b0" in await lab.stored() else LOST


async def _released(lab: Lab) -> str:
    source, _ = await lab.pair(null("disk0"), null("disk1"))
    await source.bitmap("disk0", "x" * 256)
    await source.bitmap("disk1")
    outcome = await lab.migrate()
    if outcome.end != FAILS:
        return outcome.of("disk1")
    return "in use" if any(one.busy for one in (await source.bitmaps()).values()) else "released"


async def _other_machine(lab: Lab) -> str | NotApplicable:
    machine = lab.materials.machine
    if machine is None:
        return NotApplicable("this QEMU has no other machine type that is known here")
    await lab.start("source")
    try:
        await lab.start("destination", incoming=True, machine=machine)
    except CannotRunError as error:
        return NotApplicable(f"a machine of type {machine} does not start: {error}")
    for end in (lab.source, lab.destination):
        await end.add(null("disk0"))
    await lab.source.bitmap("disk0")
    return (await lab.migrate()).of()


async def _uuids(lab: Lab) -> str:
    await lab.start("source", uuid=UUID(int=1))
    await lab.start("destination", incoming=True, uuid=UUID(int=2))
    for end in (lab.source, lab.destination):
        await end.add(null("disk0"))
    await lab.source.bitmap("disk0")
    await lab.source.able("validate-uuid")
    return (await lab.migrate()).of()


async def _formats(lab: Lab) -> str | NotApplicable:
    found = sorted(BLOCKING_FORMATS & lab.materials.creatable)
    if not found:
        return NotApplicable("this QEMU makes no image of any of these formats")
    source = await lab.start("source")
    for driver in found:
        await source.add(source.image("disk0", driver, file=driver, driver=driver))
        if not await source.blocked():
            return f"{ACCEPTED} with {driver}"
        await source.do("blockdev-del", node_name="disk0")
    return MIGRATE_REFUSED


async def _background_snapshot(lab: Lab) -> str | NotApplicable:
    source = await lab.start("source")
    try:
        await source.able("background-snapshot")
    except QemuRefusedError as error:
        return NotApplicable(f"this QEMU has no background-snapshot: {error.desc}")
    try:
        await source.able("dirty-bitmaps")
    except QemuRefusedError:
        return REFUSED
    return ACCEPTED


EXPERIMENTS = (
    *(
        Experiment(
            f"{state}-bitmap-{'beside' if mapped else 'unmapped'}",
            _SECTION,
            f"What becomes of a healthy bitmap where one that is {state} is on another node, of which the map lists "
            f"{'a third one only' if mapped else 'none'}?",
            FAILS if mapped else ARRIVES,
            partial(_state, state=state, mapped=mapped),
        )
        for state in _STATES
        for mapped in (True, False)
    ),
    Experiment(
        "busy-and-persistent-bitmap-unmapped",
        _SECTION,
        "What becomes of the migration where an image stores a bitmap at the switch-over that is busy?",
        SOURCE_ABORTS,
        _busy_and_persistent,
    ),
    Experiment(
        "name-taken",
        _SECTION,
        "What becomes of a bitmap whose name another one has on the destination's node?",
        EXITS,
        _clash,
    ),
    Experiment(
        "destination-larger",
        _SECTION,
        "What becomes of a bitmap whose node is larger on the destination?",
        ABORTS,
        partial(_sizes, here=10 << 20, there=SIZE),
    ),
    Experiment(
        "destination-smaller",
        _SECTION,
        "What becomes of a bitmap whose node is smaller on the destination?",
        ABORTS,
        partial(_sizes, here=SIZE, there=10 << 20),
    ),
    Experiment(
        "destination-larger-by-less-than-a-granule",
        _SECTION,
        "What becomes of a bitmap whose node is larger on the destination, with as many granules?",
        ARRIVES,
        partial(_sizes, here=SIZE - 512, there=SIZE),
    ),
    Experiment(
        "destination-larger-and-whole-pieces",
        _SECTION,
        "What becomes of a bitmap of a multiple of 64 granules whose node is larger on the destination?",
        ARRIVES,
        partial(_sizes, here=_PIECE, there=SIZE),
    ),
    Experiment(
        "empty-bitmap-alias",
        _SECTION,
        "What becomes of a bitmap whose alias is empty?",
        EXITS,
        _empty_alias,
    ),
    Experiment(
        "persistent-to-read-only-node",
        _SECTION,
        "What becomes of a persistent bitmap that goes to a node that is open read-only?",
        LOST,
        _read_only_there,
        READ_ONLY_NODE_KILLS,
        EXITS,
    ),
    Experiment(
        "bitmaps-after-a-failure",
        _SECTION,
        "What of the source's bitmaps after a migration that has failed?",
        "released",
        _released,
    ),
    Experiment(
        "machine-types-differ",
        _SECTION,
        "What becomes of a bitmap where the machine types differ?",
        EXITS,
        _other_machine,
    ),
    Experiment(
        "uuids-differ",
        _SECTION,
        "What becomes of a bitmap where the uuids differ, with the capability validate-uuid on at the source?",
        EXITS,
        _uuids,
    ),
    Experiment(
        "formats",
        _SECTION,
        f"What does a QEMU say to migrate that has an image open of the format {', '.join(sorted(BLOCKING_FORMATS))}?",
        MIGRATE_REFUSED,
        _formats,
    ),
    Experiment(
        "background-snapshot",
        _SECTION,
        "What of the capability dirty-bitmaps where background-snapshot is on?",
        REFUSED,
        _background_snapshot,
    ),
)

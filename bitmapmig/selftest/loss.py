"""What is lost while both sides say `completed`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bitmapmig.selftest.end import entry, null
from bitmapmig.selftest.experiment import ACCEPTED, ARRIVES, DROPPED, LOST, STORED, Experiment
from bitmapmig.selftest.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


_SECTION = "silent loss"
_DISKS = ("disk0", "disk1", "disk2")
_ALL_DROPPED = f"all {DROPPED}"


async def _three(lab: Lab, *there: str) -> None:
    """Three nodes with a bitmap each on the source, and those called `there` on the destination."""
    source, destination = await lab.pair()
    await source.add(*map(null, _DISKS))
    await destination.add(*map(null, there or _DISKS))
    for node in _DISKS:
        await source.bitmap(node)


async def _name_missing(lab: Lab, *, capability: str = "") -> str:
    await _three(lab, "disk0", "disk2")
    if capability:
        for end in (lab.source, lab.destination):
            await end.able(capability)
    return (await lab.migrate()).all_of()


async def _no_medium(lab: Lab) -> str:
    await _three(lab, "disk0", "disk2")
    await lab.destination.drive("disk1", None)
    return (await lab.migrate()).all_of()


def _mapped(*entries: dict[str, object]) -> Callable[[Lab], Awaitable[str]]:
    """Three bitmaps that travel under their own names, to a destination that has this map."""

    async def run(lab: Lab) -> str:
        await _three(lab)
        await lab.destination.map(*entries)
        return (await lab.migrate()).all_of()

    return run


_LACKS_NODE = _mapped(entry("disk0", b0="b0"), entry("disk2", b0="b0"))
_LACKS_BITMAP = _mapped(entry("disk0", b0="b0"), entry("disk1", b1="b1"), entry("disk2", b0="b0"))
_LACKS_TARGET = _mapped(entry("disk0", b0="b0"), entry("nosuch", "disk1", b0="b0"), entry("disk2", b0="b0"))


async def _omits_bitmap(lab: Lab) -> str:
    source, _ = await lab.pair(null("disk0"))
    for name in ("b0", "b1"):
        await source.bitmap("disk0", name)
    outcome = await lab.migrate(entry("disk0", b1="b1"))
    return outcome.of() if outcome.of("disk0", "b1") == ARRIVES else f"the other one: {outcome.of('disk0', 'b1')}"


async def _omits_node(lab: Lab) -> str:
    await _three(lab)
    outcome = await lab.migrate(entry("disk0", b0="b0"), entry("disk2", b0="b0"))
    return outcome.of("disk1") if outcome.of() == ARRIVES else f"the others: {outcome.of()}"


async def _misspelled(lab: Lab) -> str:
    await lab.pair(null("disk0"))
    await lab.source.bitmap("disk0")
    outcome = await lab.migrate(entry("disk0", b0="b0", b9="b9"), entry("disk9", b0="b0"))
    return ACCEPTED if outcome.of() == ARRIVES else outcome.of()


async def _empty_map(lab: Lab, *, on: str) -> str:
    await _three(lab)
    await lab.end(on).map()
    return (await lab.migrate()).all_of()


async def _capability(lab: Lab, *, source: bool, destination: bool) -> str:
    await lab.pair(null("disk0"))
    await lab.source.bitmap("disk0")
    if destination:
        await lab.destination.able("dirty-bitmaps")
    return (await lab.migrate(capability=source)).of()


async def _kept(lab: Lab, *, kind: str, driver: str = "qcow2") -> str:
    """Whether a persistent bitmap that goes to such an image is stored when the destination is shut down."""
    source, destination = await lab.pair()
    await source.add(source.image("disk0"))
    await destination.add({**destination.image("disk0", kind), "driver": driver})
    await source.bitmap("disk0", persistent=True)
    outcome = await lab.migrate()
    if outcome.of() != ARRIVES:
        return outcome.of()
    if not (outcome.bitmaps or {})["disk0", "b0"].persistent:
        return "made transient"
    await lab.handed_over()
    return STORED if "b0" in await lab.stored(driver=driver) else LOST


async def _next_hop(lab: Lab) -> str:
    source, destination = await lab.pair(null("disk0"))
    await source.bitmap("disk0")
    await destination.map(entry("disk0", "vda", b0="b0"))
    outcome = await lab.migrate(entry("disk0", "vda", b0="b0"))
    if outcome.of() != ARRIVES:
        return f"at the first hop: {outcome.of()}"
    third = await lab.start("third", incoming=True)
    await third.add(null("disk0"))
    return (await lab.migrate(source=destination, destination=third)).of()


EXPERIMENTS = (
    Experiment(
        "name-missing",
        _SECTION,
        "What becomes of the bitmaps of a VM where the destination lacks one of their names?",
        _ALL_DROPPED,
        _name_missing,
    ),
    Experiment(
        "name-missing-with-return-path",
        _SECTION,
        "What becomes of the bitmaps where the destination lacks a name, with the capability return-path on?",
        _ALL_DROPPED,
        partial(_name_missing, capability="return-path"),
    ),
    Experiment(
        "device-without-medium",
        _SECTION,
        "What becomes of the bitmaps of a VM where one of the devices has no medium on the destination?",
        _ALL_DROPPED,
        _no_medium,
    ),
    Experiment(
        "destination-map-lacks-node",
        _SECTION,
        "What becomes of the bitmaps of a VM where the destination's map lacks a node alias?",
        _ALL_DROPPED,
        _LACKS_NODE,
    ),
    Experiment(
        "destination-map-lacks-bitmap",
        _SECTION,
        "What becomes of the bitmaps of a VM where the destination's map lacks a bitmap alias?",
        _ALL_DROPPED,
        _LACKS_BITMAP,
    ),
    Experiment(
        "destination-map-names-nothing",
        _SECTION,
        "What becomes of the bitmaps of a VM where the destination's map names a node that is not there?",
        _ALL_DROPPED,
        _LACKS_TARGET,
    ),
    Experiment(
        "source-map-omits-bitmap",
        _SECTION,
        "What becomes of a bitmap that the source's map does not list, beside one that it lists?",
        DROPPED,
        _omits_bitmap,
    ),
    Experiment(
        "source-map-omits-node",
        _SECTION,
        "What becomes of a bitmap on a node that the source's map does not list?",
        DROPPED,
        _omits_node,
    ),
    Experiment(
        "source-map-names-nothing",
        _SECTION,
        "What becomes of a map that names nodes and bitmaps that are not there?",
        ACCEPTED,
        _misspelled,
    ),
    *(
        Experiment(
            f"empty-map-on-{side}",
            _SECTION,
            f"What becomes of the bitmaps of a VM where the map of the {side} is empty?",
            _ALL_DROPPED,
            partial(_empty_map, on=side),
        )
        for side in ("source", "destination")
    ),
    Experiment(
        "capability-off",
        _SECTION,
        "What becomes of a bitmap where the capability dirty-bitmaps is on at the destination only?",
        DROPPED,
        partial(_capability, source=False, destination=True),
    ),
    Experiment(
        "capability-off-on-destination",
        _SECTION,
        "What becomes of a bitmap where the capability dirty-bitmaps is on at the source only?",
        ARRIVES,
        partial(_capability, source=True, destination=False),
    ),
    Experiment(
        "persistent-to-raw",
        _SECTION,
        "What becomes of a persistent bitmap that goes to a raw image?",
        LOST,
        partial(_kept, kind="raw", driver="raw"),
    ),
    Experiment(
        "persistent-to-qcow2-v2",
        _SECTION,
        "What becomes of a persistent bitmap that goes to a qcow2 image of version 2?",
        LOST,
        partial(_kept, kind="old"),
    ),
    Experiment(
        "persistent-to-qcow2-v3",
        _SECTION,
        "What becomes of a persistent bitmap that goes to a qcow2 image of version 3?",
        STORED,
        partial(_kept, kind="plain"),
    ),
    Experiment(
        "map-at-the-next-hop",
        _SECTION,
        "What becomes of a bitmap at the hop after one for which the destination was given a map?",
        DROPPED,
        _next_hop,
    ),
)

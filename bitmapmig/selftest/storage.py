"""Persistent bitmaps: what is stored when, and what an image holds already."""

from __future__ import annotations

from functools import partial
from typing import Any

from bitmapmig.behaviour import BARE_NODES_PASSED_OVER, PREALLOCATE_WRITES_BEYOND, STORING_GROWS_THE_FILE
from bitmapmig.selftest.end import entry, null
from bitmapmig.selftest.experiment import (
    ARRIVES,
    DROPPED,
    INCONSISTENT,
    LOST,
    SOURCE_ABORTS,
    STORED,
    Experiment,
    NotApplicable,
)
from bitmapmig.selftest.lab import Lab
from bitmapmig.throwaway import QemuRefusedError

_SECTION = "storage and stored copies"
_LOST_DISK = "the disk is lost"


async def _opened(lab: Lab, *, shared: bool) -> None:
    """A pair whose `disk0` holds `b0`: in one image, or in a copy that has become stale; `b1` is transient."""
    source, destination = await lab.pair()
    for end in (source, destination):
        await end.add(end.image("disk0", "stored", file="shared" if shared else None))
    await source.bitmap("disk0", "b1")
    await source.write("disk0", "b0", (100,))


async def _after(lab: Lab, *mapping: dict[str, Any], capability: bool = True) -> str:
    """What `b0` on the destination's `disk0` is once that has taken over."""
    outcome = await lab.migrate(*mapping, capability=capability)
    if outcome.end is not None:
        return outcome.end
    said = await lab.handed_over()
    try:
        found = (await lab.destination.bitmaps()).get(("disk0", "b0"))
    except QemuRefusedError:  # nothing of the disk can be listed any more
        return _LOST_DISK
    if said:
        return _LOST_DISK
    if found is None:
        return DROPPED
    if found.inconsistent:
        return INCONSISTENT
    return ARRIVES if found.digest == outcome.before["disk0", "b0"].digest else "stale"


async def _taken_over(lab: Lab, *, shared: bool, capability: bool = True, **names: str) -> str:
    await _opened(lab, shared=shared)
    mapping = [entry("disk0", **names)] if names else []
    return await _after(lab, *mapping, capability=capability)


async def _made_transient(lab: Lab) -> str | NotApplicable:
    if not lab.transforms:
        return NotApplicable("this QEMU has no transform.persistent")
    await _opened(lab, shared=True)
    listed = [{"name": "b0", "alias": "b0", "transform": {"persistent": False}}]
    found = await _after(lab, {"node-name": "disk0", "alias": "disk0", "bitmaps": listed})
    if found != ARRIVES:
        return found
    flags = (await lab.stored(file="shared")).get("b0")
    return "no stored copy" if flags is None else "a stored copy in use" if "in-use" in flags else "a clean stored copy"


async def _renamed_onto_copy(lab: Lab) -> str:
    source, destination = await lab.pair()
    await source.add(source.image("disk0"))
    await destination.add(destination.image("disk0", "stored"))
    await source.bitmap("disk0", "b1")
    outcome = await lab.migrate(entry("disk0", b1="b0"))
    if outcome.end is not None:
        return outcome.end
    said = await lab.handed_over()
    try:
        await lab.destination.nodes()
    except QemuRefusedError:
        return _LOST_DISK
    return _LOST_DISK if said else ARRIVES


async def _bare(lab: Lab) -> str:
    source, destination = await lab.images()
    for end in (source, destination):
        await end.drive("drive1", null("disk1"))
    await source.bitmap("disk0", persistent=True)
    outcome = await lab.migrate()
    if outcome.of() != ARRIVES:
        return outcome.of()
    await lab.handed_over()
    return STORED if "b0" in await lab.stored() else LOST


async def _grows(lab: Lab) -> str:
    source, _ = await lab.images()
    await source.do("block-dirty-bitmap-add", node="disk0", name="p0", persistent=True)
    await source.do("block-dirty-bitmap-add", node="disk0-file", name="b0")
    return (await lab.migrate(entry("disk0-file", b0="b0"))).of("disk0-file")


async def _writes_beyond(lab: Lab) -> str | NotApplicable:
    if "preallocate" not in lab.materials.drivers:
        return NotApplicable("this QEMU has no preallocate")
    source, _ = await lab.pair()
    words = source.image("disk0")
    await source.add({**words, "file": {"driver": "preallocate", "node-name": "pre0", "file": words["file"]}})
    await source.do("block-dirty-bitmap-add", node="disk0", name="p0", persistent=True)
    await source.do("block-dirty-bitmap-add", node="pre0", name="b0")
    outcome = await lab.migrate(entry("pre0", b0="b0"))
    if outcome.end != SOURCE_ABORTS:
        return NotApplicable("storing bitmaps does not make a file grow")
    return "when it is written" if any("hbitmap_set" in line for line in outcome.source_log) else "when it grows"


EXPERIMENTS = (
    Experiment(
        "shared-storage-capability-off",
        _SECTION,
        "What becomes of a persistent bitmap in a shared image where the capability dirty-bitmaps is off?",
        ARRIVES,
        partial(_taken_over, shared=True, capability=False),
    ),
    Experiment(
        "shared-storage",
        _SECTION,
        "What becomes of a persistent bitmap in a shared image that the stream brings?",
        ARRIVES,
        partial(_taken_over, shared=True),
    ),
    Experiment(
        "shared-storage-left-out",
        _SECTION,
        "What becomes of a persistent bitmap in a shared image that the map does not list?",
        ARRIVES,
        partial(_taken_over, shared=True, b1="b1"),
    ),
    Experiment(
        "shared-storage-renamed",
        _SECTION,
        "What becomes of the stored copy in a shared image of a bitmap that gets another name?",
        INCONSISTENT,
        partial(_taken_over, shared=True, b0="new"),
    ),
    Experiment(
        "shared-storage-made-transient",
        _SECTION,
        "What becomes of the stored copy in a shared image of a bitmap that is made transient?",
        "a stored copy in use",
        _made_transient,
    ),
    Experiment(
        "stored-copy-of-that-name",
        _SECTION,
        "What becomes of a bitmap where the destination's image holds a clean copy of that name?",
        _LOST_DISK,
        partial(_taken_over, shared=False),
    ),
    Experiment(
        "stored-copy-of-the-new-name",
        _SECTION,
        "What becomes of a bitmap where the destination's image holds a clean copy of the name that it gets?",
        _LOST_DISK,
        _renamed_onto_copy,
    ),
    Experiment(
        "stored-copy-left-out",
        _SECTION,
        "What comes up where the destination's image holds a clean copy of a bitmap that the map does not list?",
        "stale",
        partial(_taken_over, shared=False, b1="b1"),
    ),
    Experiment(
        "persistent-to-bare-node",
        _SECTION,
        "What becomes of a persistent bitmap on a node below no device, in a VM that has a device?",
        STORED,
        _bare,
        BARE_NODES_PASSED_OVER,
        LOST,
    ),
    Experiment(
        "file-grows",
        _SECTION,
        "What becomes of a bitmap of a file in which a qcow2 node stores one at the switch-over?",
        ARRIVES,
        _grows,
        STORING_GROWS_THE_FILE,
        SOURCE_ABORTS,
    ),
    Experiment(
        "preallocate-words",
        _SECTION,
        "When does a source abort that stores a bitmap through a preallocate node with a bitmap of its own?",
        "when it grows",
        _writes_beyond,
        PREALLOCATE_WRITES_BEYOND,
        "when it is written",
        words=True,
    ),
)

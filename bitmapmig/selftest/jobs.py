"""What runs, or is in the graph, while the source hands over (`bdrv_inactivate_all`)."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from bitmapmig.behaviour import (
    BITS_BEFORE_INACTIVATION,
    FILTERS,
    INACTIVATION_SPELLED_OLD,
    JOBS,
    MIRROR_MAY_ABORT,
    PREALLOCATE_BELOW_FORMAT,
    UNREACHED_JOB,
)
from bitmapmig.selftest.end import null
from bitmapmig.selftest.experiment import ABORTS, ARRIVES, DROPPED, FAILS, SOURCE_ABORTS, Experiment, NotApplicable
from bitmapmig.selftest.lab import Lab, begun, outcome

if TYPE_CHECKING:
    from bitmapmig.selftest.outcome import Outcome

_SECTION = "jobs at the switch-over"
#: A mirror with these arguments copies one granule, and the next in a few hours.
_SLOW = {"speed": 1, "granularity": 65536, "buf_size": 65536}

#: Seconds that are much more than what happens at once takes.
_AT_ONCE = 1.0


async def _disk(lab: Lab) -> None:
    """`drive0` with `disk0` as its root, a bitmap, something to copy, and a node to copy it to."""
    source, destination = await lab.pair()
    await source.drive("drive0", source.image("disk0"))
    await source.data("drive0")
    await source.add(source.image("target0"))
    await source.bitmap("disk0")
    await destination.add(null("drive0"))


async def _chain(lab: Lab, *, data: str, bare: bool = False) -> None:
    """`disk1` over `disk0`, the root of `drive0` unless it is `bare`, with a bitmap; `data` has something to copy."""
    source, destination = await lab.pair()
    await source.add(source.image("disk0"))
    if data == "disk0":
        await source.data("disk0")
    top = source.image("disk1", backing="disk0")
    if bare:
        await source.add(top)
    else:
        await source.drive("drive0", top)
    if data == "disk1":
        await source.data("disk1" if bare else "drive0")
    await source.bitmap("disk1")
    await destination.add(null("disk1" if bare else "drive0"))


async def _start(lab: Lab, kind: str) -> None:
    """A pair of which the source has a job of that kind that goes on for hours."""
    if kind in ("backup", "mirror"):
        await _disk(lab)
        words: dict[str, Any] = _SLOW if kind == "mirror" else {"speed": 1}
        await lab.source.do(f"blockdev-{kind}", job_id="job0", device="drive0", target="target0", sync="full", **words)
    else:
        await _chain(lab, data="disk1" if kind == "commit" else "disk0")
        await lab.source.do(f"block-{kind}", job_id="job0", device="drive0", speed=1)


async def _job(lab: Lab, *, kind: str) -> str:
    await _start(lab, kind)
    node = "disk0" if kind == "backup" else "disk1"
    return (await lab.migrate()).of(node, to=("drive0", "b0"))


async def _cancelled(lab: Lab, *, kind: str) -> str:
    await _start(lab, kind)
    source, destination = lab.source, lab.destination
    before = await source.bitmaps()
    await source.able("dirty-bitmaps", "pause-before-switchover")
    refused = await begun(source, destination)
    await source.migrating("pre-switchover")
    await source.do("job-cancel", id="job0")
    await source.ended("job0", "null")
    await source.do("migrate-continue", state="pre-switchover")
    node = "disk0" if kind == "backup" else "disk1"
    return (await outcome(source, destination, before, refused)).of(node, to=("drive0", "b0"))


async def _unreached(lab: Lab) -> str:
    await _chain(lab, data="disk1", bare=True)
    await lab.source.do("block-commit", job_id="job0", device="disk1", speed=1)
    return (await lab.migrate()).of("disk1")


def _there(found: Outcome) -> str:
    """Whether the bitmap is on the destination, whatever becomes of the source."""
    here, there = found.before["disk0", "b0"], (found.bitmaps or {}).get(("drive0", "b0"))
    return ARRIVES if there is not None and there.digest == here.digest else found.end or DROPPED


async def _mirror(lab: Lab, *, ready: bool) -> str:
    if ready:
        await _disk(lab)
        await lab.source.do("blockdev-mirror", job_id="job0", device="drive0", target="target0", sync="full")
        await lab.source.qemu.event("BLOCK_JOB_READY")
    else:
        await _start(lab, "mirror")
    return _there(await lab.migrate())


async def _mirror_goes_on(lab: Lab) -> str:
    await _start(lab, "mirror")
    found = await lab.migrate()
    if _there(found) != ARRIVES:
        return _there(found)
    with suppress(TimeoutError):  # it aborts at once, or not before its pause is over
        await lab.source.qemu.wait(_AT_ONCE)
    return "source lives" if lab.source.qemu.status is None else SOURCE_ABORTS


async def _copy_before_write(lab: Lab) -> str | NotApplicable:
    if "copy-before-write" not in lab.materials.drivers:
        return NotApplicable("this QEMU has no copy-before-write")
    source, destination = await lab.pair()
    await source.add(null("disk0"), null("target0"))
    words = {"driver": "copy-before-write", "node-name": "above0", "file": "disk0", "target": "target0"}
    await source.drive("drive0", words)
    await source.bitmap("disk0")
    await destination.add(null("drive0"))
    return (await lab.migrate()).of(to=("drive0", "b0"))


async def _preallocate(lab: Lab) -> str | NotApplicable:
    if "preallocate" not in lab.materials.drivers:
        return NotApplicable("this QEMU has no preallocate")
    source, destination = await lab.pair(null("disk1"))
    for end in (source, destination):
        words = end.image("disk0")
        await end.add({**words, "file": {"driver": "preallocate", "file": words["file"]}})
    await source.bitmap("disk1")
    return (await lab.migrate()).of("disk1")


async def _exported(lab: Lab, *, writable: bool, there: int | None = None) -> Outcome:
    source, destination = await lab.pair()
    await source.add(null("disk0"))
    await destination.add(null("disk0", there) if there else null("disk0"))
    await source.bitmap("disk0")
    await source.export("disk0", writable=writable)
    return await lab.migrate()


async def _export(lab: Lab, *, writable: bool) -> str:
    return (await _exported(lab, writable=writable)).of()


async def _bits_first(lab: Lab) -> str:
    return (await _exported(lab, writable=True, there=10 << 20)).of()


async def _inactivation(lab: Lab) -> str | NotApplicable:
    found = await _exported(lab, writable=True)
    said = [line for line in found.source_log if "inactivate" in line]
    if not said:
        return NotApplicable("the inactivation does not fail")
    return "in brackets" if any("(-1)" in line for line in said) else "after a colon"


_RUNS = "What becomes of a bitmap while a {} job runs on its disk?"

EXPERIMENTS = (
    *(
        Experiment(f"{kind}-running", _SECTION, _RUNS.format(kind), ARRIVES, partial(_job, kind=kind), behaviour, FAILS)
        for kind, behaviour in JOBS.items()
    ),
    *(
        Experiment(
            f"{kind}-cancelled",
            _SECTION,
            f"What becomes of a bitmap where a {kind} job on its disk is cancelled right before the switch-over?",
            ARRIVES,
            partial(_cancelled, kind=kind),
        )
        for kind in JOBS
    ),
    Experiment(
        "job-of-bare-nodes-running",
        _SECTION,
        "What becomes of a bitmap while a commit job runs on nodes that are below no device?",
        ARRIVES,
        _unreached,
        UNREACHED_JOB,
        FAILS,
    ),
    Experiment("mirror-running", _SECTION, _RUNS.format("mirror"), ARRIVES, partial(_mirror, ready=False)),
    Experiment(
        "mirror-ready",
        _SECTION,
        "What becomes of a bitmap while a mirror job of its disk is ready?",
        ARRIVES,
        partial(_mirror, ready=True),
    ),
    Experiment(
        "mirror-after-the-switch-over",
        _SECTION,
        "What becomes of a source that has handed over while a mirror job has a long pause?",
        "source lives",
        _mirror_goes_on,
        MIRROR_MAY_ABORT,
        SOURCE_ABORTS,
    ),
    Experiment(
        "copy-before-write",
        _SECTION,
        "What becomes of a bitmap below a copy-before-write node that no job owns?",
        ARRIVES,
        _copy_before_write,
        FILTERS["copy-before-write"],
        FAILS,
    ),
    Experiment(
        "preallocate-below-format",
        _SECTION,
        "What becomes of a bitmap of a VM that has a preallocate node between a qcow2 node and its file?",
        ARRIVES,
        _preallocate,
        PREALLOCATE_BELOW_FORMAT,
        FAILS,
    ),
    Experiment(
        "export-writable",
        _SECTION,
        "What becomes of a bitmap of a node that is exported over NBD for writing?",
        FAILS,
        partial(_export, writable=True),
    ),
    Experiment(
        "export-read-only",
        _SECTION,
        "What becomes of a bitmap of a node that is exported over NBD read-only?",
        ARRIVES,
        partial(_export, writable=False),
    ),
    Experiment(
        "bits-before-inactivation",
        _SECTION,
        "Where both the source cannot hand over and the sizes differ, which of it is met first?",
        FAILS,
        _bits_first,
        BITS_BEFORE_INACTIVATION,
        ABORTS,
    ),
    Experiment(
        "inactivation-words",
        _SECTION,
        "Where is the number in the line about an inactivation that fails?",
        "after a colon",
        _inactivation,
        INACTIVATION_SPELLED_OLD,
        "in brackets",
        words=True,
    ),
)

"""What becomes of a map when the graph changes before `migrate`."""

from __future__ import annotations

from functools import partial

from bitmapmig.selftest.end import entry, null
from bitmapmig.selftest.experiment import ARRIVES, DROPPED, FAILS, Experiment
from bitmapmig.selftest.lab import Lab

_SECTION = "graph changes after mapping"


async def _snapshot(lab: Lab, *, persistent: bool = False, added: bool = False) -> str:
    """A bitmap on `disk0`, above which an overlay is taken once the map is set, and perhaps one on the overlay."""
    source, _ = await lab.images()
    await source.bitmap("disk0", persistent=persistent)
    await source.map(entry("disk0", b0="b0"))
    await source.add({**source.image("overlay0"), "backing": None})
    await source.do("blockdev-snapshot", node="disk0", overlay="overlay0")
    if added:
        await source.bitmap("overlay0", "b1")
    outcome = await lab.migrate()
    return outcome.of("overlay0", "b1") if added else outcome.of()


async def _pivot(lab: Lab, *, orphan: bool) -> str:
    """A mirror of `disk0` is completed once the map is set; an `orphan` is owned by the monitor and stays."""
    source, destination = await lab.pair()
    await destination.add(null("disk0"))
    await source.add(null("target0"))
    words = {"job_id": "job0", "device": "drive0", "target": "target0", "sync": "none"}
    if orphan:
        await source.group()
        await source.add(null("disk0"))
        await source.drive("drive0", {"driver": "throttle", "throttle-group": "group0", "file": "disk0"})
        words["replaces"] = "disk0"
    else:
        await source.drive("drive0", null("disk0"))
    await source.bitmap("disk0")
    await source.map(entry("disk0", b0="b0"))
    await source.do("blockdev-mirror", **words)
    await source.qemu.event("BLOCK_JOB_READY")
    await source.do("job-complete", id="job0")
    await source.ended("job0", "null")
    outcome = await lab.migrate()
    return outcome.of() if ("disk0", "b0") in outcome.before else outcome.end or DROPPED


async def _again(lab: Lab) -> str:
    source, _ = await lab.pair(null("disk0"))
    await source.map(entry("disk0", b0="b0"))
    await source.do("blockdev-del", node_name="disk0")
    await source.add(null("disk0"))
    await source.bitmap("disk0")
    return (await lab.migrate()).of()


EXPERIMENTS = (
    Experiment(
        "snapshot-transient",
        _SECTION,
        "What becomes of a transient bitmap whose node gets an overlay once the map is set?",
        ARRIVES,
        _snapshot,
    ),
    Experiment(
        "snapshot-persistent",
        _SECTION,
        "What becomes of a persistent bitmap whose node gets an overlay once the map is set?",
        FAILS,
        partial(_snapshot, persistent=True),
    ),
    Experiment(
        "snapshot-new-bitmap",
        _SECTION,
        "What becomes of a bitmap on an overlay that was taken once the map was set?",
        DROPPED,
        partial(_snapshot, added=True),
    ),
    Experiment(
        "pivot-of-drive",
        _SECTION,
        "What becomes of a bitmap whose disk is pivoted by a mirror, and whose node nobody else holds?",
        DROPPED,
        partial(_pivot, orphan=False),
    ),
    Experiment(
        "pivot-of-blockdev",
        _SECTION,
        "What becomes of a bitmap whose disk is pivoted by a mirror, and whose node is from blockdev-add?",
        ARRIVES,
        partial(_pivot, orphan=True),
    ),
    Experiment(
        "node-added-again",
        _SECTION,
        "What becomes of a bitmap on a node that was deleted and added again once the map was set?",
        ARRIVES,
        _again,
    ),
)

"""What a bitmap keeps on its way, and what is left of it on the source."""

from __future__ import annotations

from functools import partial

from bitmapmig.selftest.end import null
from bitmapmig.selftest.experiment import ARRIVES, LOST, STORED, Experiment, NotApplicable
from bitmapmig.selftest.lab import Lab

_SECTION = "what is preserved"


async def _members(lab: Lab) -> str:
    source, _ = await lab.images()
    await source.bitmap("disk0", "b0", granularity=32768)
    await source.bitmap("disk0", "b1", persistent=True)
    await source.bitmap("disk0", "b2", disabled=True)
    outcome = await lab.migrate()
    if outcome.end is not None:
        return outcome.end
    return "all" if outcome.before == outcome.bitmaps else "not all"


async def _transform(lab: Lab, *, here: bool | None, there: bool | None) -> str | NotApplicable:
    if not lab.transforms:
        return NotApplicable("this QEMU has no transform.persistent")
    source, destination = await lab.pair(null("disk0"))
    await source.bitmap("disk0")
    for end, persistent in ((source, here), (destination, there)):
        if persistent is not None:
            listed = [{"name": "b0", "alias": "b0", "transform": {"persistent": persistent}}]
            await end.map({"node-name": "disk0", "alias": "disk0", "bitmaps": listed})
    outcome = await lab.migrate()
    if outcome.of() != ARRIVES:
        return outcome.of()
    return "persistent" if (outcome.bitmaps or {})["disk0", "b0"].persistent else "transient"


async def _source_goes_on(lab: Lab) -> str:
    source, _ = await lab.pair(null("disk0"))
    await source.bitmap("disk0")
    outcome = await lab.migrate()
    if outcome.of() != ARRIVES:
        return outcome.of()
    await source.do("cont")
    await source.data("disk0")
    found = (await source.bitmaps()).get(("disk0", "b0"))
    if found is None:
        return "gone"
    return "records" if found.digest != outcome.before["disk0", "b0"].digest else "does not record"


async def _source_image(lab: Lab, *, goes_on: bool) -> str:
    source, _ = await lab.images()
    await source.bitmap("disk0", persistent=True)
    outcome = await lab.migrate()
    if outcome.of() != ARRIVES:
        return outcome.of()
    if goes_on:
        await source.do("cont")
    return STORED if "b0" in await lab.stored("source") else LOST


EXPERIMENTS = (
    Experiment(
        "members-preserved",
        _SECTION,
        "Which of bits, granularity, recording and persistence are on the destination what they were?",
        "all",
        _members,
    ),
    Experiment(
        "transform-on-source",
        _SECTION,
        "What is a transient bitmap on the destination that the source's map makes persistent?",
        "persistent",
        partial(_transform, here=True, there=None),
    ),
    Experiment(
        "transform-on-both",
        _SECTION,
        "What is a bitmap on the destination that the source's map makes persistent, and the destination's transient?",
        "transient",
        partial(_transform, here=True, there=False),
    ),
    Experiment(
        "source-after-completion",
        _SECTION,
        "What does a bitmap of the source do that has migrated, when the source goes on?",
        "records",
        _source_goes_on,
    ),
    Experiment(
        "source-image-after-completion",
        _SECTION,
        "What of a persistent bitmap that has migrated when the source is shut down at once?",
        LOST,
        partial(_source_image, goes_on=False),
    ),
    Experiment(
        "source-image-after-going-on",
        _SECTION,
        "What of a persistent bitmap that has migrated when the source goes on, and is shut down then?",
        STORED,
        partial(_source_image, goes_on=True),
    ),
)

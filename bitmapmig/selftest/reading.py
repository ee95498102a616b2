"""What queries show of a graph and its bitmaps, and what they do to a QEMU; and how lines of its log are worded."""

from __future__ import annotations

from functools import partial

from bitmapmig.behaviour import (
    BLOCKERS_UNTOLD,
    BLOCKING_FORMATS,
    HINTS_AT_REMOVAL,
    LISTING_AFTER,
    NODE_NAMES_SPELLED_OLD,
    SENDS_FOOTER_OF_FAILED_SECTION,
)
from bitmapmig.selftest.end import End, null
from bitmapmig.selftest.experiment import ACCEPTED, FAILS, NO, REFUSED, YES, Experiment, NotApplicable
from bitmapmig.selftest.lab import Lab
from bitmapmig.selftest.materials import SIZE
from bitmapmig.throwaway import QemuGoneError, QemuRefusedError

_SECTION = "reading the graph"
_PRINTED = "what is printed"


async def _mirrored(lab: Lab, **more: str) -> End:
    """A source with a mirror of `drive0`, whose root was `disk0`."""
    source = await lab.start("source")
    await source.drive("drive0", null("disk0"))
    await source.add(null("target0"))
    await source.do("blockdev-mirror", job_id="job0", device="drive0", target="target0", sync="none", **more)
    return source


async def _filter_shown(lab: Lab, *, named: bool) -> str:
    more = {"filter_node_name": "filter0"} if named else {}
    source = await _mirrored(lab, **more)
    return NO if await source.inserted("drive0") == "disk0" else YES


async def _graph_shows_jobs(lab: Lab) -> str:
    source = await _mirrored(lab)
    graph = await source.do("x-debug-query-block-graph")
    job = next((one["id"] for one in graph["nodes"] if one["type"] == "block-job"), None)
    held = {edge["child"] for edge in graph["edges"] if edge["parent"] == job}
    names = {one["name"] for one in graph["nodes"] if one["id"] in held}
    return YES if "disk0" in names or "target0" in names else NO


async def _nameless(lab: Lab) -> str:
    source = await _mirrored(lab)
    records = [one for node in (await source.nodes()).values() for one in node.get("dirty-bitmaps", ())]
    return YES if any("name" not in one for one in records) else NO


async def _unloaded(lab: Lab) -> str:
    destination = await lab.start("destination", incoming=True)
    await destination.add(destination.image("disk0", "stored"))
    node = (await destination.nodes())["disk0"]
    if node.get("dirty-bitmaps"):
        return "in memory"
    listed = node["image"].get("format-specific", {}).get("data", {}).get("bitmaps", ())
    return "in the image" if any(one["name"] == "b0" and "in-use" not in one["flags"] for one in listed) else "nowhere"


async def _inconsistent(lab: Lab) -> str:
    source = await lab.start("source")
    await source.add(source.image("disk0", "crashed"))
    (record,) = (await source.nodes())["disk0"]["dirty-bitmaps"]
    told = {name: record.get(name) for name in ("recording", "busy", "persistent", "count", "inconsistent")}
    known = {"recording": False, "busy": False, "persistent": True, "count": 0, "inconsistent": True}
    return YES if told == known else NO


async def _blockers(lab: Lab) -> str | NotApplicable:
    found = sorted(lab.materials.creatable & BLOCKING_FORMATS)
    if not found:
        return NotApplicable("this QEMU makes no image that blocks a migration")
    source = await lab.start("source")
    await source.add(source.image("disk0", found[0], driver=found[0]))
    if not await source.blocked():
        return NotApplicable(f"a {found[0]} image does not block a migration")
    return "told" if (await source.do("query-migrate")).get("blocked-reasons") else "untold"


async def _listed_after(lab: Lab, *, kind: str) -> str:
    """What a QEMU does that is asked for its nodes while such a job has concluded and is not dismissed."""
    source = await lab.start("source")
    if kind == "backup":
        await source.drive("drive0", source.image("disk0"))
        await source.add(null("target0"))
        words = {"device": "drive0", "target": "target0", "sync": "none"}
        await source.do("blockdev-backup", job_id="job0", auto_dismiss=False, **words)
        await source.do("job-cancel", id="job0")
    else:
        await source.add(null("disk0"))
        await source.drive("drive0", source.image("disk1", backing="disk0"))
        await source.do("block-stream", job_id="job0", device="drive0", auto_dismiss=False)
    await source.ended("job0")
    try:
        await source.nodes()
    except QemuGoneError:
        return "QEMU dies"
    return "lists them"


async def _merged(lab: Lab, *, size: int, granularity: int) -> str:
    source = await lab.start("source")
    await source.add(null("disk0"), null("disk1", size))
    await source.do("block-dirty-bitmap-add", node="disk0", name="b0")
    await source.do("block-dirty-bitmap-add", node="disk1", name="b1", granularity=granularity)
    try:
        bitmaps = [{"node": "disk1", "name": "b1"}]
        await source.do("block-dirty-bitmap-merge", node="disk0", target="b0", bitmaps=bitmaps)
    except QemuRefusedError:
        return REFUSED
    return ACCEPTED


async def _name_missing(lab: Lab) -> str | NotApplicable:
    source, _ = await lab.pair()
    await source.add(null("disk0"))
    await source.bitmap("disk0")
    said = " ".join((await lab.migrate()).destination_log)
    for words in ("node-name='disk0'", "node_name=disk0"):
        if words in said:
            return words
    return NotApplicable("the destination does not say so")


async def _fails(lab: Lab, *, crashed: bool) -> tuple[str, str] | NotApplicable:
    """What both sides print where the source refuses a bitmap."""
    source, destination = await lab.pair()
    if crashed:
        await source.add(source.image("disk0", "crashed"))
    else:
        await source.add(null("disk0"))
        await source.bitmap("disk0", "x" * 256)
    await destination.add(null("disk0"))
    outcome = await lab.migrate()
    if outcome.end != FAILS:
        return NotApplicable("the source refuses nothing")
    return "\n".join(outcome.source_log), "\n".join(outcome.destination_log)


async def _footer(lab: Lab) -> str | NotApplicable:
    said = await _fails(lab, crashed=False)
    if isinstance(said, NotApplicable):
        return said
    return "the footer" if "section footer" in said[1] else "the node alias"


async def _hint(lab: Lab) -> str | NotApplicable:
    said = await _fails(lab, crashed=True)
    if isinstance(said, NotApplicable):
        return said
    return YES if "block-dirty-bitmap-remove" in said[0] else NO


EXPERIMENTS = (
    Experiment(
        "implicit-filter",
        _SECTION,
        "Does query-block show a mirror's filter that has no name?",
        NO,
        partial(_filter_shown, named=False),
    ),
    Experiment(
        "named-filter",
        _SECTION,
        "Does query-block show a mirror's filter that has a name?",
        YES,
        partial(_filter_shown, named=True),
    ),
    Experiment(
        "graph-shows-jobs",
        _SECTION,
        "Does x-debug-query-block-graph show which nodes a job holds?",
        YES,
        _graph_shows_jobs,
    ),
    Experiment(
        "nameless-bitmap",
        _SECTION,
        "Does query-named-block-nodes list the bitmap of a mirror, without a name?",
        YES,
        _nameless,
    ),
    Experiment(
        "stored-and-not-loaded",
        _SECTION,
        "Where does a waiting QEMU show a bitmap that its image holds?",
        "in the image",
        _unloaded,
    ),
    Experiment(
        "inconsistent-record",
        _SECTION,
        "Is a bitmap of an image that was in use shown as inconsistent, and with nothing in it?",
        YES,
        _inconsistent,
    ),
    Experiment(
        "blocked-reasons",
        _SECTION,
        "Does query-migrate tell that a format blocks the migration?",
        "told",
        _blockers,
        BLOCKERS_UNTOLD,
        "untold",
    ),
    *(
        Experiment(
            f"listing-after-{kind}",
            _SECTION,
            f"What does a QEMU do that is asked for its nodes while a {kind} job has concluded and is not dismissed?",
            "lists them",
            partial(_listed_after, kind=kind),
            behaviour,
            "QEMU dies",
        )
        for kind, behaviour in LISTING_AFTER.items()
    ),
    Experiment(
        "merge-granularities",
        _SECTION,
        "What of merging bitmaps of different granularities?",
        ACCEPTED,
        partial(_merged, size=SIZE, granularity=4096),
    ),
    Experiment(
        "merge-sizes",
        _SECTION,
        "What of merging bitmaps of nodes of different sizes?",
        REFUSED,
        partial(_merged, size=SIZE // 2, granularity=65536),
    ),
    Experiment(
        "missing-name-words",
        _PRINTED,
        "How does a destination spell a node-name that it lacks?",
        "node-name='disk0'",
        _name_missing,
        NODE_NAMES_SPELLED_OLD,
        "node_name=disk0",
        words=True,
    ),
    Experiment(
        "cut-short-words",
        _PRINTED,
        "What does a destination miss whose source has refused a bitmap?",
        "the node alias",
        _footer,
        SENDS_FOOTER_OF_FAILED_SECTION,
        "the footer",
        words=True,
    ),
    Experiment(
        "inconsistent-words",
        _PRINTED,
        "Does a source that refuses an inconsistent bitmap hint at its removal?",
        NO,
        _hint,
        HINTS_AT_REMOVAL,
        YES,
        words=True,
    ),
)

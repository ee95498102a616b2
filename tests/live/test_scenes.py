"""Every scene on every QEMU: an accepted plan is carried out and arrives, a refusal is ignored and does harm."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig import codes
from bitmapmig.collect import collect_both
from bitmapmig.diagnostics import Severity
from bitmapmig.planner import plan
from bitmapmig.plans import Plan, Refused, dump
from bitmapmig.policy import Policy
from tests.live.migration import carry_out
from tests.live.qemu import Binary, binaries
from tests.live.scenes import ALL, Scene, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Refusals whose harm no pair of QEMUs can show, and why.
WITHOUT_HARM = {
    "BM201": "no QEMU has a graph with a cycle",
    "BM202": "no QEMU refers to a node that it does not have",
    "BM203": "no QEMU contradicts itself",
    "BM204": "no QEMU gives a name twice",
    "BM205": "each QEMU that was measured tells these members",
    "BM206": "what it cannot tell is whether the harm of BM550 is there",
    "BM207": "each driver that was measured is known",
    **dict.fromkeys(
        ("BM253", "BM271", "BM272", "BM273", "BM274", "BM275"), "it is about a simulation, and no migration"
    ),
    "BM516": "each QEMU that was measured tells its machine type",
    "BM520": "each QEMU that was measured has the capability",
    "BM521": "each QEMU that was measured has the map",
    "BM526": "each QEMU that was measured does what is taken for granted",
    "BM551": "a name that is too long never gets into a QEMU",
    "BM601": "each QEMU that was measured takes what is emitted",
    "BM602": "each QEMU that was measured tells its schema",
    "BM603": "no pair is known on which the model and the checks before it disagree",
}


def answer(scene: Scene, stage: Stage) -> Plan:
    """What the product says of a scene, over its own connections."""
    source, destination = asyncio.run(collect_both(stage.source.endpoint, stage.destination.endpoint))
    policy = Policy.parse(dict(scene.policy)) if scene.policy else Policy()
    options: dict[str, Any] = dict(scene.options)
    if rules := options.pop("resolve", None):
        policy = policy.model_copy(update={"resolve": rules})
    try:
        return plan(source, destination, policy, **options)
    except Refused as refused:
        return refused.plan


def played() -> Iterator[Any]:
    """Each scene with each pair of QEMUs: one version on both sides, and neighbours upwards where that is possible."""
    found = binaries()
    for scene in ALL:
        for source, destination in [*zip(found, found, strict=True), *pairwise(found)]:
            if scene.downward is None and scene.runs_on(source, destination):
                yield _param(scene, source, destination)
        for source in found:
            for destination in found:
                if scene.downward is not None and scene.runs_on(source, destination):
                    yield _param(scene, source, destination)


def _param(scene: Scene, source: Binary, destination: Binary) -> Any:
    return pytest.param(scene, source, destination, id=f"{scene.name}-{source.version}-{destination.version}")


@pytest.mark.parametrize(("scene", "source", "destination"), list(played()))
def test_scene(scene: Scene, source: Binary, destination: Binary) -> None:
    """The product says of a scene what is expected; what it plans arrives whole, what it refuses does harm."""
    with scene.on(source, destination) as stage:
        made = answer(scene, stage)
        assert {one.code for one in made.refusals} == scene.refusals
        if made.verdict == "refused":
            if scene.harm is not None and (source == destination or scene.downward):
                scene.harm(stage)
            return
        if made.provisional or not made.guarantee:
            return
        arrives(made, stage)


def arrives(made: Plan, stage: Stage) -> None:
    """Carry the plan out, migrate, and hold every bitmap against what it was."""
    before = stage.source.bitmaps()
    there = stage.destination.bitmaps()
    outcome = carry_out(json.loads(dump(made)), stage.source, stage.destination)
    if "exceeds allocated max" in outcome.destination_log:
        # 11.1 loads no virtio disk of a 10.0 that was never run, bitmaps or not
        assert (stage.source.binary.release, stage.destination.binary.release) == ((10, 0), (11, 1))
        return
    # 7.2 aborts when a mirror goes on after the source has handed over; by then everything has arrived
    assert outcome.source == "completed" or "BDRV_O_INACTIVE" in outcome.source_log, outcome
    assert outcome.destination == "completed", outcome
    assert outcome.bitmaps is not None
    expected = dict(there)
    for one in made.bitmaps:
        if one.fate == "migrate":
            old = before[one.node, one.bitmap]
            new = outcome.bitmaps.get((one.destination_node or "", one.destination_bitmap or ""))
            assert new is not None, (one, outcome.destination_log)
            persistent = one.transform.persistent if one.transform else old.persistent
            wanted = (old.digest, old.granularity, old.count, old.recording, persistent, False)
            assert wanted == (new.digest, new.granularity, new.count, new.recording, new.persistent, new.inconsistent)
            expected[one.destination_node or "", one.destination_bitmap or ""] = new
    for merge in made.merges:
        place = merge.destination_node, merge.destination_bitmap
        old, new = stage.source.bitmaps()[merge.place], outcome.bitmaps[place]
        persistent = merge.transform.persistent if merge.transform else False
        assert (old.digest, merge.granularity, True, persistent) == (
            new.digest,
            new.granularity,
            new.recording,
            new.persistent,
        )
        expected[place] = new
    arrived = {place for place in outcome.bitmaps if place in expected}
    assert arrived == set(expected)


def test_each_refusal_shows_its_harm() -> None:
    """Each code that refuses a pair has a scene that ignores it, or a reason why none can."""
    shown = {code for scene in ALL if scene.harm for code in scene.refusals}
    refusing = {code.code for code in codes.ALL if code.severity is Severity.REFUSAL and code.code[2] in "256"}
    assert refusing - shown == set(WITHOUT_HARM)

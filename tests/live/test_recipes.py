"""Recipes followed on real QEMUs, to the letter: afterwards each bitmap holds what was really written."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig.collect import collect
from bitmapmig.simulating import simulate
from tests.live.qemu import Binary, binaries
from tests.live.recipe_stage import MIB, SIZE, Stage, begin_bitmaps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

on_every_qemu = pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is ended after a test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def stage(binary: Binary, tmp_path: Path, stack: ExitStack) -> Stage:
    """A stage for a QEMU."""
    return Stage(binary, tmp_path, stack)


def _target(stage: Stage, driver: str = "qcow2") -> None:
    stage.binary.image("create", "-f", driver, "target", str(SIZE), folder=stage.folder)
    stage.qemu.qmp("blockdev-add", driver=driver, node_name="target", file={"driver": "file", "filename": "target"})


# mirror


@pytest.mark.parametrize(
    "options", [{}, {"granularity": MIB}, {"copy_mode": "write-blocking"}, {"filter_node_name": "filter"}]
)
@on_every_qemu
def test_blockdev_mirror(stage: Stage, options: dict[str, Any]) -> None:
    """After a mirror and a pivot the target's bitmaps hold what was written, however coarsely the mirror copies."""
    stage.image()
    stage.blockdev()
    begin_bitmaps(stage, "disk")
    _target(stage)
    made = stage.recipe("blockdev-mirror", job_id="m0", device="disk", target="target", sync="full",
                        speed=65536, **options)  # fmt: skip
    assert {one.result for one in made.bitmaps} == {"exact"}
    stage.follow(made)
    stage.settled("m0")
    stage.compare(made)
    there = stage.qemu.bitmaps()
    assert there["target", "daily"].persistent
    assert not [name for node, name in there if node == "disk"]


@on_every_qemu
def test_drive_mirror(stage: Stage) -> None:
    """The same for a drive whose nodes have generated names, and which ends with the pivot."""
    stage.image()
    stage.start("-drive", "if=none,id=disk,format=qcow2,file=d0.qcow2")
    begin_bitmaps(stage, "disk")
    made = stage.recipe("drive-mirror", device="disk", target="t.qcow2", format="qcow2", sync="full", speed=65536)
    stage.follow(made)
    stage.settled("disk")
    stage.compare(made)
    assert {node for node, _ in stage.qemu.bitmaps()} == {"target0", "ref"}
    assert stage.qemu.root("disk") == "target0"


@on_every_qemu
def test_mirror_of_a_filtered_disk(stage: Stage) -> None:
    """A bitmap below a throttle filter goes to the target, which takes the place of both."""
    stage.image()
    stage.start(
        *("-object", "throttle-group,id=tg"),
        *("-blockdev", "qcow2,node-name=fmt,file.driver=file,file.filename=d0.qcow2"),
        *("-blockdev", "throttle,node-name=disk,throttle-group=tg,file=fmt"),
    )
    begin_bitmaps(stage, "fmt")
    _target(stage)
    made = stage.recipe("blockdev-mirror", job_id="m0", device="disk", target="target", sync="full", speed=65536)
    stage.follow(made)
    stage.settled("m0")
    stage.compare(made)


@on_every_qemu
def test_mirror_to_what_stores_no_bitmaps(stage: Stage) -> None:
    """On a raw target a bitmap has its content, and is persistent no longer, as the recipe says."""
    stage.image()
    stage.blockdev()
    begin_bitmaps(stage, "disk")
    _target(stage, "raw")
    made = stage.recipe("blockdev-mirror", job_id="m0", device="disk", target="target", sync="full")
    assert "no longer persistent" in made.bitmaps[0].reason
    stage.follow(made)
    stage.settled("m0")
    stage.compare(made)
    assert not stage.qemu.bitmaps()["target", "daily"].persistent


@pytest.mark.parametrize(("granularity", "same"), [(65536, True), (MIB, False)])
@on_every_qemu
def test_mirror_that_runs_already(stage: Stage, granularity: int, *, same: bool) -> None:
    """Where it cannot wait before the pivot, all that was written is in, more where it copies more coarsely."""
    stage.image()
    stage.blockdev()
    stage.add("disk", "daily", persistent=True)
    stage.write()
    _target(stage)
    stage.qemu.qmp("blockdev-mirror", job_id="m0", device="disk", target="target", sync="full", speed=65536,
                   granularity=granularity)  # fmt: skip
    stage.write()
    made = stage.recipe("block-job-complete", device="m0")
    assert [one.result for one in made.bitmaps] == ["superset"]
    stage.qemu.qmp("block-job-set-speed", device="m0", speed=0)
    transaction, *rest = made.steps
    stage.follow(made.model_copy(update={"steps": (transaction,)}))
    stage.write()  # between the merge and the pivot
    stage.follow(made.model_copy(update={"steps": tuple(rest)}))
    stage.settled("m0")
    stage.compare(made)
    there = stage.qemu.bitmaps()
    assert (there["target", "daily"].digest == there["ref", "daily"].digest) is same


# layers


@on_every_qemu
def test_blockdev_snapshot(stage: Stage) -> None:
    """The bitmaps of an overlay hold what was written before and after the snapshot."""
    stage.image()
    stage.blockdev()
    begin_bitmaps(stage, "disk")
    stage.overlay("top", "")
    made = stage.recipe("blockdev-snapshot", node="disk", overlay="top")
    stage.follow(made)
    stage.write()
    stage.compare(made)
    assert stage.qemu.bitmaps()["top", "daily"].persistent


@on_every_qemu
def test_blockdev_snapshot_sync(stage: Stage) -> None:
    """The same where QEMU makes the overlay, of a drive with generated names."""
    stage.image()
    stage.start("-drive", "if=none,id=disk,format=qcow2,file=d0.qcow2")
    begin_bitmaps(stage, "disk")
    made = stage.recipe("blockdev-snapshot-sync", device="disk", snapshot_file="o.qcow2", format="qcow2")
    stage.follow(made)
    stage.write()
    stage.compare(made)
    assert stage.qemu.root("disk") == "overlay0"


@on_every_qemu
def test_blockdev_snapshot_sync_of_what_nothing_uses(stage: Stage) -> None:
    """No overlay is left of a node that nothing uses; its bitmaps stay on it, as the recipe says."""
    stage.image()
    stage.start("-blockdev", "null-co,node-name=other,read-zeroes=on", disk="other")
    file = {"driver": "file", "filename": "d0.qcow2"}
    stage.qemu.qmp("blockdev-add", driver="qcow2", node_name="disk", file=file)
    stage.qemu.qmp("block-dirty-bitmap-add", node="disk", name="daily", persistent=True)
    stage.qemu.qmp("block-dirty-bitmap-add", node="disk", name="fine")
    arguments = {"node_name": "disk", "snapshot_file": "o.qcow2", "snapshot_node_name": "ov"}
    made = stage.recipe("blockdev-snapshot-sync", **arguments)
    assert (made.steps, {(one.result, one.kept_on) for one in made.bitmaps}) == ((), {("stays", "disk")})
    stage.qemu.qmp("blockdev-snapshot-sync", **arguments)
    shown = {node["node-name"]: node["ro"] for node in stage.qemu.qmp("query-named-block-nodes")}
    assert shown["disk"]
    assert "ov" not in shown
    assert set(stage.qemu.bitmaps()) == {("disk", "daily"), ("disk", "fine")}


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of `base`, `mid` and `disk`: which bitmaps begin on which layer when it is on top, and what is done."""

    name: str
    on: dict[str, tuple[str, ...]]
    word: str
    arguments: dict[str, str] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    active: bool = False
    more: bool = False  #: whether the result holds more than what was written


CHAINS = (
    Chain("active", {"base": ("b",), "mid": ("b",), "disk": ("b",)}, "block-commit", {}, {"b": "exact"}, active=True),
    Chain("active-to-mid", {"mid": ("b",), "disk": ("b",)}, "block-commit", {"base-node": "mid"}, {"b": "exact"},
          active=True),
    Chain("active-base-has-none", {"disk": ("b",)}, "block-commit", {}, {"b": "exact"}, active=True),
    Chain("active-top-has-none", {"base": ("b",), "mid": ("b",)}, "block-commit", {}, {"b": "superset"}, active=True,
          more=True),
    Chain("active-gap", {"mid": ("b",)}, "block-commit", {}, {"b": "superset"}, active=True, more=True),
    Chain("intermediate", {"base": ("b",), "mid": ("b",), "disk": ("b",)}, "block-commit", {"top-node": "mid"},
          {"b": "exact"}),
    Chain("intermediate-base-has-none", {"mid": ("b",), "disk": ("b",)}, "block-commit", {"top-node": "mid"},
          {"b": "exact"}),
    Chain("stream", {"base": ("b",), "mid": ("b",), "disk": ("b",)}, "block-stream", {}, {"b": "exact"}),
    Chain("stream-to-base", {"base": ("a",), "mid": ("b",), "disk": ("b",)}, "block-stream", {"base-node": "base"},
          {"b": "exact"}),
    Chain("stream-with-a-gap", {"base": ("b",), "disk": ("b",)}, "block-stream", {}, {"b": "lost"}),
)  # fmt: skip


@pytest.mark.parametrize("granularity", [4096, 65536])
@pytest.mark.parametrize("persistent", [True, False], ids=["persistent", "transient"])
@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain.name)
@on_every_qemu
def test_layers(stage: Stage, chain: Chain, granularity: int, *, persistent: bool) -> None:
    """What the layers' bitmaps held, and what is written meanwhile, is in the one that is left."""
    stage.image()
    stage.blockdev("base")
    for below, name in (("", "base"), ("base", "mid"), ("mid", "disk")):
        if below:
            stage.overlay(name, below)
        if name == "disk" and "top-node" in chain.arguments:
            stage.qemu.qmp("block-dirty-bitmap-disable", node="ref", name="b")  # what follows is not of those layers
        for bitmap in chain.on.get(name, ()):
            stage.add(name, bitmap, persistent=persistent, granularity=granularity)
        stage.write()
    made = stage.recipe(chain.word, job_id="j0", device="disk", speed=65536, **chain.arguments)
    assert {one.bitmap: one.result for one in made.bitmaps} == chain.results
    stage.follow(made)
    if not made.steps:
        return
    stage.settled("j0")
    stage.qemu.qmp("block-dirty-bitmap-enable", node="ref", name="b")
    stage.compare(made)
    (kept,) = {str(one.kept_on) for one in made.bitmaps}
    there = stage.qemu.bitmaps()
    assert there[kept, "b"].persistent is persistent
    assert (there[kept, "b"].digest != there["ref", "b"].digest) is (chain.more and granularity < 65536)


@on_every_qemu
def test_snapshot_and_commit_again(stage: Stage) -> None:
    """What a snapshot's recipe kept, a commit's recipe keeps."""
    stage.image()
    stage.blockdev()
    begin_bitmaps(stage, "disk")
    stage.overlay("top", "")
    stage.follow(stage.recipe("blockdev-snapshot", node="disk", overlay="top"))
    stage.write()
    made = stage.recipe("block-commit", job_id="j0", device="top", speed=65536)
    stage.follow(made)
    stage.settled("j0")
    stage.compare(made)


# what ends


@on_every_qemu
def test_restart(stage: Stage) -> None:
    """Bitmaps in memory alone are in the image after a restart, with all that was written."""
    stage.image()
    stage.blockdev()
    begin_bitmaps(stage, "disk")
    made = stage.recipe("shutdown-and-restart")
    stage.follow(made)
    stage.write()
    before = stage.qemu.bitmaps()
    stage.compare(made)
    stage.qemu.quit()
    stage.blockdev()
    there = stage.qemu.bitmaps()
    for name in ("daily", "fine", "frozen"):
        old, new = before["disk", name], there["disk", name]
        assert (old.digest, old.recording, True) == (new.digest, new.recording, new.persistent)


@on_every_qemu
def test_blockdev_del(stage: Stage) -> None:
    """The same for a node that is deleted and added again."""
    stage.image()
    stage.blockdev()
    begin_bitmaps(stage, "disk")
    stage.qemu.qmp("device_del", id="vd0")
    stage.qemu.wait_event("DEVICE_DELETED", device="vd0")
    made = stage.recipe("blockdev-del", node_name="disk")
    stage.follow(made)
    stage.compare(made)
    stage.qemu.qmp("blockdev-del", node_name="disk")
    file = {"driver": "file", "filename": "d0.qcow2"}
    stage.qemu.qmp("blockdev-add", driver="qcow2", node_name="disk", file=file)
    stage.compare(made)


@on_every_qemu
def test_device_del_of_a_drive(stage: Stage) -> None:
    """The nodes of a drive end with its device; what the recipe makes persistent is in the image afterwards."""
    stage.image()
    stage.start("-drive", "if=none,id=disk,format=qcow2,file=d0.qcow2")
    begin_bitmaps(stage, "disk")
    made = stage.recipe("device_del", id="vd0")
    stage.follow(made)
    stage.write()
    stage.qemu.qmp("device_del", id="vd0")
    stage.qemu.wait_event("DEVICE_DELETED", device="vd0")
    assert {node for node, _ in stage.qemu.bitmaps()} == {"ref"}
    file = {"driver": "file", "filename": "d0.qcow2"}
    stage.qemu.qmp("blockdev-add", driver="qcow2", node_name="again", file=file)
    bitmaps = tuple(one.model_copy(update={"kept_on": "again"}) for one in made.bitmaps if one.result == "exact")
    assert len(bitmaps) == 2
    stage.compare(made.model_copy(update={"bitmaps": bitmaps}))


@on_every_qemu
def test_device_del_of_a_node(stage: Stage) -> None:
    """An explicit node stays when its device goes, and its bitmaps with it: there is nothing to do."""
    stage.image()
    stage.blockdev()
    begin_bitmaps(stage, "disk")
    before = stage.qemu.bitmaps()
    made = stage.recipe("device_del", id="vd0")
    assert (made.steps, {one.result for one in made.bitmaps}) == ((), {"stays"})
    stage.qemu.qmp("device_del", id="vd0")
    stage.qemu.wait_event("DEVICE_DELETED", device="vd0")
    assert stage.qemu.bitmaps() == before


@on_every_qemu
def test_crash(stage: Stage) -> None:
    """After a crash what was persistent is inconsistent and is made anew; the rest is gone, as the recipe says."""
    stage.image()
    stage.blockdev()
    begin_bitmaps(stage, "disk")
    stage.qemu.quit()
    stage.blockdev()  # a bitmap is in the image only once that has been closed
    stage.qemu.qmp("block-dirty-bitmap-add", node="disk", name="fine", granularity=4096)
    made = stage.recipe("crash-and-restart")
    assert {(one.bitmap, one.result) for one in made.bitmaps} == {("daily", "lost"), ("fine", "lost")}
    stage.qemu.kill()
    stage.blockdev()
    assert {name: one.inconsistent for (_, name), one in stage.qemu.bitmaps().items()} == {"daily": True}
    stage.follow(made)
    there = stage.qemu.bitmaps()["disk", "daily"]
    assert (there.inconsistent, there.recording, there.persistent, there.count) == (False, True, True, 0)


# backup


@pytest.mark.parametrize(("mode", "whole"), [("on-success", False), ("never", True)])
@on_every_qemu
def test_backup(stage: Stage, mode: str, *, whole: bool) -> None:
    """The bitmap that a backup uses is busy until it has ended; then it holds what its mode says."""
    stage.image()
    stage.blockdev()
    begin_bitmaps(stage, "disk")
    stage.binary.image("create", "-f", "qcow2", "target", str(SIZE), folder=stage.folder)
    stage.qemu.qmp("blockdev-add", driver="qcow2", node_name="target", file={"driver": "file", "filename": "target"})
    arguments = {"device": "disk", "target": "target", "bitmap": "daily", "sync": "bitmap", "bitmap-mode": mode}
    made = stage.recipe("blockdev-backup", job_id="j0", **arguments)
    assert (made.steps, [one.result for one in made.bitmaps]) == ((), ["stays"])
    stage.qemu.execute("blockdev-backup", {"job-id": "j0", "speed": 65536, **arguments})
    assert stage.qemu.bitmaps()["disk", "daily"].busy
    if not whole:
        stage.qemu.qmp("block-dirty-bitmap-clear", node="ref", name="daily")
    stage.write()
    stage.qemu.qmp("block-job-set-speed", device="j0", speed=0)
    stage.settled("j0")
    stage.compare(made.model_copy(update={"bitmaps": (made.bitmaps[0].model_copy(update={"result": "exact"}),)}))


# as `simulate` prints them


@pytest.mark.parametrize(
    ("steps", "job"),
    [
        (("mirror disk", "pivot disk"), "mirror0"),
        (("snapshot disk",), None),
        (("snapshot disk", "commit overlay0"), "commit0"),
        (("restart",), None),
    ],
)
@on_every_qemu
def test_simulated_recipes(stage: Stage, steps: tuple[str, ...], job: str | None) -> None:
    """What `simulate` prints for a live QEMU, done to that QEMU, gives the bitmaps that it foresaw, with their bits."""
    stage.image()
    stage.blockdev()
    begin_bitmaps(stage, "disk")
    made = simulate(asyncio.run(collect(stage.qemu.endpoint)), steps)
    recipes = {one.step: one for one in made.recipes}
    for number in range(1, len(made.steps) + 1):
        if number in recipes:  # a pivot is in the recipe of its mirror
            stage.follow(recipes[number])
        if number < len(made.steps):
            stage.write()
    if job is not None:
        stage.settled(job)
    stage.write()
    stage.compare(made.recipes[-1])
    assert made.followed is not None
    foreseen = {(node.name, bitmap.name): bitmap for node in made.followed.nodes for bitmap in node.bitmaps}
    there = {place: one for place, one in stage.qemu.bitmaps().items() if place[0] != "ref"}
    assert there.keys() == {place for place in foreseen if place[0] != "ref"}
    for place, now in there.items():
        assert (now.granularity, now.recording, now.persistent) == (
            foreseen[place].granularity, foreseen[place].recording, foreseen[place].persistent)  # fmt: skip

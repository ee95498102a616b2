"""Scenes about bitmaps and disks as they are: unusable states, sizes, taken names, formats that keep nothing."""

from __future__ import annotations

import signal

from tests.live.migration import entry, stored
from tests.live.scenes.scene import MIB, Stage, disk, null, scene

NBD = {"type": "unix", "data": {"path": "nbd.sock"}}


def _fails(stage: Stage, reason: str, mapping: list[dict[str, object]] | None = None) -> None:
    """The whole migration fails with `reason` in the log only; the destination exits and names another reason."""
    outcome = stage.ignored(mapping)
    assert (outcome.source, outcome.destination, outcome.exit) == ("failed", None, 1)
    assert reason in outcome.source_log
    assert reason not in outcome.destination_log


def inconsistent_fails(stage: Stage) -> None:
    """The whole migration fails."""
    _fails(stage, "Bitmap 'b0' is inconsistent and cannot be used")


def _crashed(stage: Stage) -> None:
    """Make `source.qcow2` what a QEMU leaves that was killed while it had a persistent bitmap."""
    for side in ("source", "destination"):
        stage.image(f"{side}.qcow2")
    first = stage.start_source(*disk("disk0", "source.qcow2"), *null("disk1"))
    stage.bitmap("disk0", persistent=True)
    assert first.quit() == 0
    stage.start_source(*disk("disk0", "source.qcow2"), *null("disk1")).kill()
    stage.start_source(*disk("disk0", "source.qcow2"), *null("disk1"))
    stage.start_destination(*disk("disk0", "destination.qcow2"), *null("disk1"))


@scene("BM531", harm=inconsistent_fails)
def inconsistent(stage: Stage) -> None:
    """QEMU was killed and started again: its persistent bitmap is inconsistent."""
    _crashed(stage)
    stage.bitmap("disk1", "healthy")


def unlisted_inconsistent_fails(stage: Stage) -> None:
    """The migration fails though the mapping does not list the bitmap."""
    _fails(stage, "Bitmap 'b0' is inconsistent and cannot be used", [entry("disk0", "disk0", {"b1": "b1"})])


@scene(
    "BM531",
    policy={"storage": "separate", "deny": [{"address": "disk0", "bitmap": "b0"}]},
    harm=unlisted_inconsistent_fails,
    record="10.0",
)
def inconsistent_left_behind(stage: Stage) -> None:
    """An inconsistent bitmap is left behind, and its healthy neighbour on the same node is to migrate."""
    _crashed(stage)
    stage.bitmap("disk0", "b1")


@scene(policy={"storage": "separate", "map": [{"source": "disk0", "destination": None}]}, record="11.1")
def inconsistent_node_left_behind(stage: Stage) -> None:
    """All bitmaps of the node with the inconsistent one are left behind; the other disk's migrate."""
    _crashed(stage)
    stage.bitmap("disk1", "healthy")


def busy_fails(stage: Stage) -> None:
    """The whole migration fails."""
    _fails(stage, "Bitmap 'b0' is currently in use by another operation and cannot be used")


@scene("BM532", harm=busy_fails, record="11.1")
def busy_by_export(stage: Stage) -> None:
    """A bitmap is shown to the clients of an NBD export."""
    stage.start_source(*null("disk0"), *null("disk1"))
    stage.start_destination(*null("disk0"), *null("disk1"))
    stage.bitmap("disk0")
    stage.bitmap("disk1", "healthy")
    stage.source.qmp("block-dirty-bitmap-disable", node="disk0", name="b0")
    stage.source.qmp("nbd-server-start", addr=NBD)
    stage.source.qmp("nbd-server-add", device="disk0", bitmap="b0")


def unlisted_busy_fails(stage: Stage) -> None:
    """The migration fails though the mapping does not list the bitmap."""
    _fails(
        stage,
        "Bitmap 'b0' is currently in use by another operation and cannot be used",
        [entry("disk0", "disk0", {"b1": "b1"})],
    )


@scene(
    "BM518", "BM532", since=(7, 2), policy={"deny": [{"address": "disk0", "bitmap": "b0"}]}, harm=unlisted_busy_fails
)
def busy_by_backup(stage: Stage) -> None:
    """An incremental backup uses a bitmap that is left behind, and another one of the same node is to migrate."""
    for start in (stage.start_source, stage.start_destination):
        start("-drive", "if=none,id=drive0,driver=null-co,node-name=disk0,size=16M,read-zeroes=on", *null("target0"))
    stage.bitmap("disk0")
    stage.bitmap("disk0", "b1")
    stage.source.qmp(
        "blockdev-backup",
        job_id="backup0",
        device="disk0",
        target="target0",
        sync="incremental",
        bitmap="b0",
        auto_finalize=False,
    )
    stage.source.wait_event("JOB_STATUS_CHANGE", id="backup0", status="pending")


def source_aborts(stage: Stage) -> None:
    """The source is killed by its own assertion, the destination exits."""
    outcome = stage.ignored([entry("disk1", "disk1", {"healthy": "healthy"})])
    assert (outcome.source, outcome.exit) == (None, 1)
    assert "Assertion `!bdrv_dirty_bitmap_busy(bitmap)' failed" in outcome.source_log


@scene(
    "BM554",
    policy={"storage": "separate", "map": [{"source": "disk0", "destination": None}]},
    harm=source_aborts,
    record="11.1",
)
def busy_and_persistent_left_behind(stage: Stage) -> None:
    """A persistent bitmap that an NBD export shows is left behind with its disk; the other disk's migrates."""
    for side in ("source", "destination"):
        stage.image(f"{side}.qcow2")
    stage.start_source(*disk("disk0", "source.qcow2"), *null("disk1"))
    stage.start_destination(*disk("disk0", "destination.qcow2"), *null("disk1"))
    stage.bitmap("disk0", persistent=True)
    stage.bitmap("disk1", "healthy")
    stage.source.qmp("block-dirty-bitmap-disable", node="disk0", name="b0")
    stage.source.qmp("nbd-server-start", addr=NBD)
    stage.source.qmp("nbd-server-add", device="disk0", bitmap="b0")


def _loaded_read_only(stage: Stage) -> None:
    """A chain whose backing image holds a persistent bitmap that the source has loaded and may not write."""
    for side in ("source", "destination"):
        stage.image(f"{side}-base.qcow2")
        stage.image(f"{side}.qcow2", backing=f"{side}-base.qcow2")
    stage.start_source(*disk("base0", "source-base.qcow2"))
    stage.bitmap("base0", persistent=True)
    assert stage.source.quit() == 0
    for side, start in (("source", stage.start_source), ("destination", stage.start_destination)):
        start(
            *disk("base0", f"{side}-base.qcow2", more="read-only=on"),
            *disk("disk0", f"{side}.qcow2", more="backing=base0"),
        )
    stage.bitmap("disk0", "b1")


def read_only_fails(stage: Stage) -> None:
    """The whole migration fails."""
    _fails(stage, "Bitmap 'b0' is readonly and cannot be modified")


@scene("BM533", "BM549", harm=read_only_fails)
def read_only(stage: Stage) -> None:
    """A persistent bitmap was loaded from a backing image, which is open read-only on both sides."""
    _loaded_read_only(stage)


@scene(policy={"storage": "separate", "map": [{"source": {"node-name": "base0"}, "destination": None}]}, record="11.1")
def read_only_left_behind(stage: Stage) -> None:
    """The read-only bitmap is left behind, which frees the one on the active layer."""
    _loaded_read_only(stage)


def destination_aborts(stage: Stage) -> None:
    """The source says `completed`; the destination is killed by its own assertion."""
    outcome = stage.ignored()
    assert (outcome.source, outcome.destination, outcome.exit) == ("completed", None, -signal.SIGABRT)
    assert "serialization_chunk" in outcome.destination_log


@scene("BM541", harm=destination_aborts)
def sizes_differ(stage: Stage) -> None:
    """The destination's disk is larger than the source's."""
    stage.start_source(*null("disk0", 10 * MIB))
    stage.start_destination(*null("disk0"))
    stage.source.qmp("block-dirty-bitmap-add", node="disk0", name="b0", granularity=65536)
    stage.source.write("disk0", 0, 3 * MIB)


@scene("BM541", harm=destination_aborts, record="10.0")
def one_of_two_disks_broken(stage: Stage) -> None:
    """Two disks, one of them smaller on the destination; the other one's bitmap could travel."""
    stage.start_source(*null("disk0"), *null("disk1"))
    stage.start_destination(*null("disk0"), *null("disk1", 10 * MIB))
    stage.bitmap("disk0")
    stage.bitmap("disk1")


def destination_exits(stage: Stage) -> None:
    """The destination exits; the source may even say `completed`."""
    outcome = stage.ignored()
    assert outcome.source in ("completed", "failed")
    assert (outcome.destination, outcome.exit) == (None, 1)
    assert "Bitmap with the same name ('b0') already exists on destination" in outcome.destination_log


@scene("BM542", harm=destination_exits)
def clash_in_memory(stage: Stage) -> None:
    """The destination's node has a bitmap of that name already."""
    stage.start_source(*null("disk0"))
    destination = stage.start_destination(*null("disk0"))
    stage.bitmap("disk0")
    destination.qmp("block-dirty-bitmap-add", node="disk0", name="b0")


def shown_and_gone(stage: Stage) -> None:
    """The bitmap is shown as persistent on the destination, and the image does not hold it after the shutdown."""
    outcome = stage.ignored()
    assert (outcome.source, outcome.destination) == ("completed", "completed")
    assert [record.persistent for record in (outcome.bitmaps or {}).values()] == [True]
    stage.source.kill()
    stage.destination.qmp("cont")
    assert stage.destination.quit() == 0
    assert stored(stage.destination, "destination") == {}


@scene("BM548", harm=shown_and_gone)
def persistent_to_raw(stage: Stage) -> None:
    """A persistent bitmap is to go to a raw image."""
    stage.image("source.qcow2")
    (stage.folder / "destination").write_bytes(bytes(16 * MIB))
    stage.start_source(*disk("disk0", "source.qcow2"))
    stage.start_destination(*disk("disk0", "destination", driver="raw"))
    stage.bitmap("disk0", persistent=True)


@scene("BM548", harm=shown_and_gone, record="5.2")
def persistent_to_qcow2_v2(stage: Stage) -> None:
    """A persistent bitmap is to go to a qcow2 image of version 2."""
    stage.image("source.qcow2")
    stage.image("destination", options="compat=0.10")
    stage.start_source(*disk("disk0", "source.qcow2"))
    stage.start_destination(*disk("disk0", "destination"))
    stage.bitmap("disk0", persistent=True)


@scene(
    since=(7, 2),
    policy={
        "storage": "separate",
        "map": [
            {
                "source": {"node-name": "disk0", "bitmap": "b0"},
                "destination": {"node-name": "disk0", "bitmap": "b0", "persistent": False},
            }
        ],
    },
)
def persistent_to_raw_made_transient(stage: Stage) -> None:
    """A persistent bitmap goes to a raw image, and the policy makes it transient."""
    persistent_to_raw.build(stage)


def lost_or_dead(stage: Stage) -> None:
    """It is lost at shutdown; from 11.1 on the destination exits."""
    outcome = stage.ignored()
    if outcome.exit is not None:
        assert (stage.destination.binary.release >= (11, 1), outcome.exit) == (True, 1)
        assert "Cannot make migrated bitmap 'b0' persistent on read-only node 'disk0'" in outcome.destination_log
        return
    assert (outcome.source, outcome.destination) == ("completed", "completed")
    stage.source.kill()
    stage.destination.qmp("cont")
    assert stage.destination.quit() == 0
    assert "Lost persistent bitmaps during inactivation of node 'disk0'" in stage.destination.log
    assert stored(stage.destination, "destination.qcow2") == {}


@scene("BM549", harm=lost_or_dead, record="11.1")
def destination_read_only(stage: Stage) -> None:
    """A persistent bitmap is to go to a node that is open read-only."""
    for side in ("source", "destination"):
        stage.image(f"{side}.qcow2")
    stage.start_source(*disk("disk0", "source.qcow2"))
    stage.start_destination(*disk("disk0", "destination.qcow2", more="read-only=on"))
    stage.bitmap("disk0", persistent=True)

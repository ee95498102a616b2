"""Scenes about jobs: mirrors in every phase, backup, commit, stream, snapshots, exports, and what they leave behind."""

from __future__ import annotations

from tests.live.scenes.scene import MIB, SIZE, Stage, disk, drive, null, scene

GUEST = ("-m", "32", "-device", "virtio-blk-pci,id=virtio-disk0,drive=disk0")
NBD = {"type": "unix", "data": {"path": "nbd.sock"}}
#: A job with these arguments copies one granule, and the next in a few hours.
SLOW = {"speed": 1, "granularity": 65536, "buf_size": 65536}


def _drives(stage: Stage) -> str:
    """One -drive disk on either side, with something to copy and a bitmap; the source's auto-named root."""
    for side in ("source", "destination"):
        stage.image(f"{side}.qcow2")
    source = stage.start_source(*drive("drive0", "source.qcow2"))
    stage.start_destination(*drive("drive0", "destination.qcow2"))
    root = source.root("drive0")
    source.write(root, 0, length=4 * MIB)
    stage.bitmap(root)
    return root


def _blockdevs(stage: Stage) -> None:
    """One -blockdev disk on either side, with something to copy and a bitmap."""
    for side in ("source", "destination"):
        stage.image(f"{side}.qcow2")
    source = stage.start_source(*disk("disk0", "source.qcow2"))
    stage.start_destination(*disk("disk0", "destination.qcow2"))
    source.write("disk0", 0, length=4 * MIB)
    stage.bitmap("disk0")


def _target(stage: Stage) -> None:
    """Give the source a node for a job to write to."""
    stage.image("target.qcow2")
    file = {"driver": "file", "filename": "target.qcow2", "node-name": "target0-file"}
    stage.source.qmp("blockdev-add", driver="qcow2", node_name="target0", file=file)


@scene(record="11.1")
def mirror_running_drive(stage: Stage) -> None:
    """drive-mirror of a -drive disk has just begun; its filter is hidden from query-block.

    The bitmap arrives; the source aborts at the next write of the job after the switch-over (7.2 at once).
    """
    _drives(stage)
    stage.source.qmp(
        "drive-mirror", job_id="mirror0", device="drive0", target="copy.qcow2", format="qcow2", sync="full", **SLOW
    )


@scene(record="7.2")
def mirror_ready_drive(stage: Stage) -> None:
    """drive-mirror of a -drive disk is ready."""
    _drives(stage)
    stage.source.qmp(
        "drive-mirror", job_id="mirror0", device="drive0", target="copy.qcow2", format="qcow2", sync="full"
    )
    stage.source.wait_event("BLOCK_JOB_READY")


@scene(record="10.0")
def mirror_completed_drive(stage: Stage) -> None:
    """drive-mirror of a -drive disk was completed: the old root is gone, and its bitmap with it."""
    _drives(stage)
    stage.source.qmp(
        "drive-mirror", job_id="mirror0", device="drive0", target="copy.qcow2", format="qcow2", sync="full"
    )
    stage.source.wait_event("BLOCK_JOB_READY")
    stage.source.qmp("job-complete", id="mirror0")
    stage.source.wait_event("BLOCK_JOB_COMPLETED")


@scene(record="10.0")
def mirror_running_blockdev(stage: Stage) -> None:
    """blockdev-mirror of a named node has just begun; its filter has a name, so query-block shows it.

    As above, the source aborts after the switch-over.
    """
    _blockdevs(stage)
    _target(stage)
    stage.source.qmp(
        "blockdev-mirror",
        job_id="mirror0",
        device="disk0",
        target="target0",
        sync="full",
        filter_node_name="mirror-top",
        **SLOW,
    )


@scene(record="11.1")
def mirror_ready_blockdev(stage: Stage) -> None:
    """blockdev-mirror over NBD into the destination's own disk is ready: migration without shared storage."""
    _blockdevs(stage)
    stage.destination.qmp("nbd-server-start", addr=NBD)
    stage.destination.qmp("nbd-server-add", device="disk0", writable=True)
    stage.source.qmp(
        "blockdev-add", driver="nbd", node_name="remote0", server={"type": "unix", "path": "nbd.sock"}, export="disk0"
    )
    stage.source.qmp("blockdev-mirror", job_id="mirror0", device="disk0", target="remote0", sync="full")
    stage.source.wait_event("BLOCK_JOB_READY")


def orphan_migrates(stage: Stage) -> None:
    """The orphan's bitmap arrives under the disk's name, and what the guest wrote since the pivot is not in it."""
    before = stage.source.bitmaps()["disk0", "b0"]
    stage.source.write(stage.source.qmp("query-block")[0]["qdev"], 0, 8 * MIB, qdev=True)
    outcome = stage.ignored()
    assert (outcome.source, outcome.destination) == ("completed", "completed")
    assert (outcome.bitmaps or {})["disk0", "b0"].digest == before.digest


@scene("BM550", harm=orphan_migrates)
def mirror_completed_blockdev(stage: Stage) -> None:
    """blockdev-mirror was completed: the old root is an orphan whose bitmap says that it records, and sees no write."""
    for side in ("source", "destination"):
        stage.image(f"{side}.qcow2")
    source = stage.start_source(*disk("disk0", "source.qcow2"), *GUEST, machine="q35")
    stage.start_destination(*disk("disk0", "destination.qcow2"), *GUEST, machine="q35")
    stage.bitmap("disk0", qdev=source.qmp("query-block")[0]["qdev"])
    _target(stage)
    source.qmp("blockdev-mirror", job_id="mirror0", device="disk0", target="target0", sync="full")
    source.wait_event("BLOCK_JOB_READY")
    source.qmp("job-complete", id="mirror0")
    source.wait_event("BLOCK_JOB_COMPLETED")


def switch_over_fails(stage: Stage) -> None:
    """The block nodes cannot be inactivated: the source fails at the switch-over, the destination exits."""
    outcome = stage.ignored()
    assert (outcome.source, outcome.destination, outcome.exit) == ("failed", None, 1)
    assert "bdrv_inactivate_all() failed" in outcome.source_log
    if stage.source.binary.release >= (10, 0):
        assert "Bad address" in outcome.error or "Block inactivate failed" in outcome.error
    else:
        assert outcome.error == ""


def _backup(stage: Stage) -> None:
    _drives(stage)
    _target(stage)
    stage.source.qmp("blockdev-backup", job_id="backup0", device="drive0", target="target0", sync="full", speed=1)


@scene("BM518", since=(7, 2), harm=switch_over_fails)
def backup_running(stage: Stage) -> None:
    """A backup of a device's disk runs; its copy-before-write filter is the inserted node."""
    _backup(stage)


@scene(until=(5, 2), record="5.2")
def backup_running_old(stage: Stage) -> None:
    """A backup of a device's disk runs, on a QEMU whose backup-top filter does not mind the switch-over."""
    _backup(stage)


@scene(since=(7, 2), record="11.1")
def backup_concluded(stage: Stage) -> None:
    """A backup has ended, and its job waits to be dismissed: it holds nothing any more."""
    root = _drives(stage)
    _target(stage)
    stage.source.qmp(
        "blockdev-backup", job_id="backup0", device=root, target="target0", sync="none", auto_dismiss=False
    )
    stage.source.qmp("job-cancel", id="backup0")
    stage.source.wait_event("JOB_STATUS_CHANGE", id="backup0", status="concluded")


@scene(since=(7, 2), record="11.1")
def backup_of_a_bare_node(stage: Stage) -> None:
    """A backup of a node that no device uses runs: the switch-over does not mind its filter."""
    _blockdevs(stage)
    _target(stage)
    stage.source.qmp("blockdev-backup", job_id="backup0", device="disk0", target="target0", sync="full", speed=1)


@scene("BM519", since=(7, 2), harm=switch_over_fails, record="10.0")
def fleecing(stage: Stage) -> None:
    """A copy-before-write node above the guest's disk, without any job: fleecing for a backup."""
    for side in ("source", "destination"):
        stage.image(f"{side}.qcow2")
    source = stage.start_source(*disk("disk0", "source.qcow2"), *GUEST, machine="q35")
    stage.start_destination(*disk("disk0", "destination.qcow2"), *GUEST, machine="q35")
    device = source.qmp("query-block")[0]["qdev"]
    stage.bitmap("disk0", qdev=device)
    _target(stage)
    source.qmp("blockdev-add", driver="copy-before-write", node_name="cbw0", file="disk0", target="target0")
    source.qmp("qom-set", path=device, property="drive", value="cbw0")


def _chain(stage: Stage, length: int, filled: int | None = None) -> None:
    """A chain of named images on either side under a named device on top, with a bitmap; image `filled` has data."""
    for side, start in (("source", stage.start_source), ("destination", stage.start_destination)):
        words: list[str] = []
        for number in range(length - 1):
            below = f"{side}{number - 1}.qcow2" if number else ""
            image = stage.image(f"{side}{number}.qcow2", backing=below, filled=number == filled)
            words += disk(f"disk{number}", image, more=f"read-only=on{f',backing=disk{number - 1}' if number else ''}")
        top = stage.image(f"{side}{length - 1}.qcow2", backing=f"{side}{length - 2}.qcow2", filled=length - 1 == filled)
        start(*words, *drive("drive0", top, f"node-name=disk{length - 1},backing=disk{length - 2}"))
    stage.bitmap(f"disk{length - 1}", through="drive0")


@scene("BM518", harm=switch_over_fails, record="11.1")
def commit_active_running(stage: Stage) -> None:
    """The active layer is being committed into its backing image."""
    _chain(stage, 2, filled=1)
    stage.source.qmp("block-commit", job_id="commit0", device="drive0", speed=1)


@scene(since=(7, 2), record="10.0")
def commit_active_of_bare_nodes(stage: Stage) -> None:
    """The active layer of a chain that no device uses is being committed: the switch-over does not mind."""
    for side, start in (("source", stage.start_source), ("destination", stage.start_destination)):
        base = stage.image(f"{side}0.qcow2")
        top = stage.image(f"{side}1.qcow2", backing=base, filled=True)
        start(*disk("disk0", base, more="read-only=on"), *disk("disk1", top, more="backing=disk0"))
    stage.bitmap("disk1")
    stage.source.qmp("block-commit", job_id="commit0", device="disk1", speed=1)


@scene("BM518", harm=switch_over_fails, record="7.2")
def commit_intermediate_running(stage: Stage) -> None:
    """A layer in the middle of a chain is being committed into the one below it."""
    _chain(stage, 3, filled=1)
    stage.source.qmp("block-commit", job_id="commit0", device="drive0", base_node="disk0", top_node="disk1", speed=1)


@scene("BM518", until=(5, 2), harm=switch_over_fails, record="5.2")
def stream_running_old(stage: Stage) -> None:
    """A backing image is being streamed into the active layer, on a QEMU whose switch-over this makes fail."""
    _chain(stage, 2, filled=0)
    stage.source.qmp("block-stream", job_id="stream0", device="drive0", speed=1)


@scene(since=(7, 2), record="10.0")
def stream_running(stage: Stage) -> None:
    """A backing image is being streamed into the active layer, below a copy-on-read filter of the job."""
    _chain(stage, 2, filled=0)
    stage.source.qmp("block-stream", job_id="stream0", device="drive0", speed=1)


def _overlay(stage: Stage) -> None:
    """Take a snapshot of the source: `overlay0` becomes the active layer above `disk0`."""
    stage.image("overlay.qcow2")
    file = {"driver": "file", "filename": "overlay.qcow2", "node-name": "overlay0-file"}
    stage.source.qmp("blockdev-add", driver="qcow2", node_name="overlay0", file=file, backing=None)
    stage.source.qmp("blockdev-snapshot", node="disk0", overlay="overlay0")


@scene(record="11.1")
def snapshot_on_both_sides(stage: Stage) -> None:
    """A snapshot was taken, and the destination has the same chain; a bitmap on each of the layers."""
    source = stage.start_source(*disk("disk0", stage.image("source.qcow2")))
    stage.bitmap("disk0", "before")
    _overlay(stage)
    stage.image("base.qcow2")
    stage.image("destination.qcow2", backing="base.qcow2")
    stage.start_destination(
        *disk("disk0", "base.qcow2", more="read-only=on"), *disk("overlay0", "destination.qcow2", more="backing=disk0")
    )
    stage.bitmap("overlay0", "after")
    assert source.nodes()["disk0"]["ro"]


def stale_bitmap_arrives(stage: Stage) -> None:
    """The bitmap of the backing image arrives on the guest's disk, without the writes since the snapshot."""
    before = stage.source.bitmaps()["disk0", "b0"]
    stage.source.write(stage.source.qmp("query-block")[0]["qdev"], 0, SIZE - MIB, qdev=True)
    outcome = stage.ignored()
    assert (outcome.source, outcome.destination) == ("completed", "completed")
    assert (outcome.bitmaps or {})["disk0", "b0"].digest == before.digest


@scene("BM550", harm=stale_bitmap_arrives)
def snapshot_on_source_only(stage: Stage) -> None:
    """A snapshot was taken after the destination was started: the bitmap is on what is a backing image now."""
    source = stage.start_source(*disk("disk0", stage.image("source.qcow2")), *GUEST, machine="q35")
    stage.start_destination(*disk("disk0", stage.image("destination.qcow2")), *GUEST, machine="q35")
    stage.bitmap("disk0", qdev=source.qmp("query-block")[0]["qdev"])
    _overlay(stage)


@scene(record="7.2")
def nbd_export(stage: Stage) -> None:
    """A disk of the source is exported over NBD, read-only and without its bitmap."""
    stage.start_source(*null("disk0"))
    stage.start_destination(*null("disk0"))
    stage.bitmap("disk0")
    stage.source.qmp("nbd-server-start", addr=NBD)
    stage.source.qmp("nbd-server-add", device="disk0", writable=False)


@scene("BM524", harm=switch_over_fails, record="11.1")
def nbd_export_writable(stage: Stage) -> None:
    """A disk of the source is exported over NBD for writing."""
    stage.start_source(*null("disk0"))
    stage.start_destination(*null("disk0"))
    stage.bitmap("disk0")
    stage.source.qmp("nbd-server-start", addr=NBD)
    stage.source.qmp("nbd-server-add", device="disk0", writable=True)


@scene("BM519", since=(10, 0), harm=switch_over_fails, record="11.1")
def preallocate_below_format(stage: Stage) -> None:
    """A preallocate filter between a qcow2 node and its file."""
    for side, start in (("source", stage.start_source), ("destination", stage.start_destination)):
        image = stage.image(f"{side}.qcow2")
        file = f"file.driver=preallocate,file.file.driver=file,file.file.filename={image}"
        start("-blockdev", f"driver=qcow2,node-name=disk0,{file}")
    stage.bitmap("disk0")

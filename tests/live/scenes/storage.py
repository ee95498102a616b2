"""Scenes about persistent bitmaps, and about what the destination's image holds before anything arrives."""

from __future__ import annotations

import os

import pytest

from tests.live.migration import Outcome, entry, stored
from tests.live.monitor import QmpError
from tests.live.scenes.scene import Stage, disk, drive, scene

B0 = {"node-name": "disk0", "bitmap": "b0"}
CLEAN = frozenset(("auto",))
IN_USE = frozenset(("in-use", "auto"))


@scene(policy={"storage": "separate"}, record="11.1")
def persistent_on_separate_storage(stage: Stage) -> None:
    """Two persistent bitmaps and a transient one go to another qcow2 image."""
    for side in ("source", "destination"):
        stage.image(f"{side}.qcow2")
    stage.start_source(*drive("drive0", "source.qcow2", "node-name=disk0"))
    stage.start_destination(*drive("drive0", "destination.qcow2", "node-name=disk0"))
    stage.bitmap("disk0", "b0", persistent=True)
    stage.bitmap("disk0", "b1", persistent=True, granularity=32768)
    stage.bitmap("disk0", "transient")


def _shared(stage: Stage, *others: str) -> None:
    """One image on both sides, with a persistent bitmap that the source has loaded from it, and a transient one."""
    stage.image("shared.qcow2")
    first = stage.start_source(*disk("disk0", "shared.qcow2"))
    for name in ("b0", *others):
        stage.bitmap("disk0", name, persistent=True)
    assert first.quit() == 0
    stage.start_source(*disk("disk0", "shared.qcow2"))
    stage.start_destination(*disk("disk0", "shared.qcow2"))
    stage.bitmap("disk0", "transient")
    assert stored(stage.destination, "shared.qcow2")["b0"] == IN_USE


@scene(policy={"storage": "shared"})
def shared_storage(stage: Stage) -> None:
    """The waiting destination has the source's own image open, and in it the stored copy, in use."""
    _shared(stage)


@scene(record="10.0")
def shared_storage_unsaid(stage: Stage) -> None:
    """The same, and the policy does not say what the storage is: it makes no difference here."""
    _shared(stage)


@scene(policy={"storage": "shared", "map": [{"source": {"node-name": "disk0", "bitmap": "b1"}, "destination": None}]})
def shared_storage_one_left_out(stage: Stage) -> None:
    """On shared storage a persistent bitmap that the map leaves out travels in the image."""
    _shared(stage, "b1")


def _activate(stage: Stage) -> None:
    """Let the destination take over, as a management tool does: the source ends, the guest goes on."""
    stage.source.kill()
    stage.destination.qmp("cont")


def copy_inconsistent(stage: Stage) -> None:
    """The bitmap arrives under its new name; its stored copy comes up inconsistent when the image is activated."""
    outcome = stage.ignored([entry("disk0", "disk0", {"b0": "new", "transient": "transient"})])
    assert (outcome.source, outcome.destination) == ("completed", "completed")
    _activate(stage)
    bitmaps = stage.destination.bitmaps()
    assert {name: record.inconsistent for (_, name), record in bitmaps.items()} == {
        "new": False,
        "transient": False,
        "b0": True,
    }


@scene(
    "BM545",
    policy={"storage": "shared", "map": [{"source": B0, "destination": {"node-name": "disk0", "bitmap": "new"}}]},
    harm=copy_inconsistent,
)
def shared_storage_rename(stage: Stage) -> None:
    """On shared storage the policy gives a persistent bitmap another name."""
    _shared(stage)


@scene(
    "BM556",
    policy={"map": [{"source": B0, "destination": {"node-name": "disk0", "bitmap": "new"}}]},
    harm=copy_inconsistent,
    record="11.1",
)
def storage_unsaid_rename(stage: Stage) -> None:
    """The same rename, and the policy does not say what the storage is: the copy in the image is in use in any case."""
    _shared(stage)


def copy_stays_unusable(stage: Stage) -> None:
    """The transient bitmap arrives; the copy of its name stays in the image as it is, of no use to anybody."""
    outcome = stage.ignored()
    assert (outcome.source, outcome.destination) == ("completed", "completed")
    _activate(stage)
    assert not stage.destination.bitmaps()["disk0", "b0"].persistent
    assert stage.destination.quit() == 0
    assert stored(stage.destination, "destination.qcow2")["b0"] == IN_USE
    stage.destination.binary.image("bitmap", "--remove", "destination.qcow2", "b0", folder=stage.folder)  # the remedy
    assert stored(stage.destination, "destination.qcow2") == {}


@scene("BM556", policy={"storage": "separate"}, harm=copy_stays_unusable, record="7.2")
def copy_of_a_live_image(stage: Stage) -> None:
    """A transient bitmap is to go to an image that was copied while a QEMU had it open, with one of that name."""
    stage.image("destination.qcow2")
    earlier = stage.start_destination(*disk("disk0", "destination.qcow2"), incoming=False)
    earlier.qmp("block-dirty-bitmap-add", node="disk0", name="b0", persistent=True)
    assert earlier.quit() == 0
    stage.start_destination(*disk("disk0", "destination.qcow2"), incoming=False).kill()
    stage.start_source(*disk("disk0", stage.image("source.qcow2")))
    stage.start_destination(*disk("disk0", "destination.qcow2"))
    stage.bitmap("disk0")
    assert stored(stage.destination, "destination.qcow2")["b0"] == IN_USE


def own_copy_inconsistent(stage: Stage) -> None:
    """The transient bitmap arrives and takes the name; the stored copy stays in the image, unusable."""
    listed = [{"name": "b0", "alias": "b0", "transform": {"persistent": False}}]
    outcome = stage.ignored([{"node-name": "disk0", "alias": "disk0", "bitmaps": listed}])
    assert (outcome.source, outcome.destination) == ("completed", "completed")
    _activate(stage)
    assert not stage.destination.bitmaps()["disk0", "b0"].persistent
    assert stage.destination.quit() == 0
    assert stored(stage.destination, "shared.qcow2")["b0"] == IN_USE  # inconsistent from the next start on


@scene(
    "BM545",
    since=(7, 2),
    policy={"storage": "shared", "map": [{"source": B0, "destination": {**B0, "persistent": False}}]},
    harm=own_copy_inconsistent,
    record="10.0",
)
def shared_storage_made_transient(stage: Stage) -> None:
    """On shared storage the policy makes a persistent bitmap transient."""
    _shared(stage)


@scene(
    since=(7, 2),
    policy={
        "storage": "separate",
        "map": [{"source": B0, "destination": {"node-name": "disk0", "bitmap": "new", "persistent": False}}],
    },
    record="11.1",
)
def renamed_and_made_transient(stage: Stage) -> None:
    """On separate storage the policy renames a persistent bitmap and makes it transient."""
    for side in ("source", "destination"):
        stage.image(f"{side}.qcow2")
    stage.start_source(*disk("disk0", "source.qcow2"))
    stage.start_destination(*disk("disk0", "destination.qcow2"))
    stage.bitmap("disk0", persistent=True)


def transform_refused(stage: Stage) -> None:
    """QEMU does not know the word."""
    listed = [{"name": "b0", "alias": "b0", "transform": {"persistent": False}}]
    with pytest.raises(QmpError, match="transform"):
        stage.ignored([{"node-name": "disk0", "alias": "disk0", "bitmaps": listed}])


@scene(
    "BM522",
    until=(5, 2),
    policy={"storage": "separate", "map": [{"source": B0, "destination": {**B0, "persistent": False}}]},
    harm=transform_refused,
    record="5.2",
)
def transform_unknown(stage: Stage) -> None:
    """The policy makes a bitmap transient, and the QEMU is too old to do so."""
    renamed_and_made_transient.build(stage)


def _copied(stage: Stage, *names: str) -> None:
    """The destination's image is an older copy of the source's, with clean stored bitmaps `b0` and `names`."""
    stage.image("source.qcow2")
    first = stage.start_source(*disk("disk0", "source.qcow2"))
    for name in ("b0", *names):
        stage.bitmap("disk0", name, persistent=True)
    assert first.quit() == 0
    (stage.folder / "destination.qcow2").write_bytes((stage.folder / "source.qcow2").read_bytes())
    stage.start_source(*disk("disk0", "source.qcow2"))
    stage.start_destination(*disk("disk0", "destination.qcow2"))
    stage.source.write("disk0", 0)
    assert stored(stage.destination, "destination.qcow2")["b0"] == CLEAN


def _disk_lost(stage: Stage, outcome: Outcome, name: str = "b0") -> None:
    assert (outcome.source, outcome.destination) == ("completed", "completed")
    if stage.destination.binary.release >= (10, 0):
        with pytest.raises(QmpError, match=f"Bitmap already exists: {name}"):
            stage.destination.qmp("cont")
        return
    assert f"Could not reopen qcow2 layer: Bitmap already exists: {name}" in outcome.destination_log
    stage.destination.qmp("cont")
    assert stage.destination.qmp("query-status")["status"] == "running"
    with pytest.raises(QmpError, match="Block device disk0 is ejected"):
        stage.destination.nodes()


def disk_lost(stage: Stage) -> None:
    """Both sides say `completed`; then the image cannot be activated: `cont` refuses, or the VM has no disk."""
    _disk_lost(stage, stage.ignored())


@scene("BM543", policy={"storage": "separate"}, harm=disk_lost)
def clash_in_image(stage: Stage) -> None:
    """The destination's image is a copy that holds a clean stored bitmap of the same name, not loaded yet."""
    _copied(stage)


@scene("BM543", harm=disk_lost, record="10.0")
def clash_in_image_storage_unsaid(stage: Stage) -> None:
    """The same, and the policy does not say what the storage is: on shared storage the copy would be in use."""
    _copied(stage)


def disk_lost_by_rename(stage: Stage) -> None:
    """The renamed bitmap hits the stored one: the disk cannot be activated."""
    _disk_lost(stage, stage.ignored([entry("disk0", "disk0", {"b1": "b0"})]))


@scene(
    "BM543",
    policy={
        "storage": "separate",
        "map": [{"source": {"node-name": "disk0", "bitmap": "b1"}, "destination": B0}],
    },
    harm=disk_lost_by_rename,
    record="11.1",
)
def rename_hits_stored_copy(stage: Stage) -> None:
    """The policy gives a transient bitmap the name of one that the destination's image holds."""
    for side in ("source", "destination"):
        stage.image(f"{side}.qcow2")
    stage.binaries["destination"].image("bitmap", "--add", "destination.qcow2", "b0", folder=stage.folder)
    stage.start_source(*disk("disk0", "source.qcow2"))
    stage.start_destination(*disk("disk0", "destination.qcow2"))
    stage.bitmap("disk0", "b1")


def disk_lost_by_the_one_that_stays(stage: Stage) -> None:
    """The source stores the bitmap that stays behind in the image, clean, and the one that arrives has its name."""
    _disk_lost(stage, stage.ignored([entry("disk0", "disk0", {"b0": "b1"})]), "b1")


@scene(
    "BM546",
    policy={"map": [{"source": B0, "destination": {**B0, "bitmap": "b1"}}], "deny": [{"bitmap": "b1"}]},
    harm=disk_lost_by_the_one_that_stays,
    record="11.1",
)
def storage_unsaid_rename_onto_another(stage: Stage) -> None:
    """A new bitmap takes the name of one that stays in the image; the policy does not say whether that is shared."""
    stage.image("shared.qcow2")
    first = stage.start_source(*disk("disk0", "shared.qcow2"))
    stage.bitmap("disk0", "b1", persistent=True)
    assert first.quit() == 0
    stage.start_source(*disk("disk0", "shared.qcow2"))
    stage.start_destination(*disk("disk0", "shared.qcow2"))
    stage.bitmap("disk0", persistent=True)


def stale_copy_comes_up(stage: Stage) -> None:
    """The destination comes up with the old copy: healthy to look at, and without what was written since."""
    sent = stage.source.bitmaps()["disk0", "b0"]
    outcome = stage.ignored([entry("disk0", "disk0", {"b1": "b1"})])
    assert (outcome.source, outcome.destination) == ("completed", "completed")
    _activate(stage)
    copy = stage.destination.bitmaps()["disk0", "b0"]
    assert (copy.inconsistent, copy.recording, copy.persistent) == (False, True, True)
    assert copy.digest != sent.digest


@scene(
    "BM544",
    policy={"storage": "separate", "map": [{"source": B0, "destination": None}]},
    harm=stale_copy_comes_up,
)
def stale_copy_left_out(stage: Stage) -> None:
    """The policy leaves a bitmap behind of which the destination's image holds an old copy."""
    _copied(stage)
    stage.bitmap("disk0", "b1")


def copy_differs(stage: Stage) -> None:
    """The storage is not shared: what the source stores at the switch-over never reaches the destination."""
    outcome = stage.ignored([entry("disk0", "disk0", {"transient": "transient"})])
    assert (outcome.source, outcome.destination) == ("completed", "completed")
    _activate(stage)
    assert ("disk0", "b0") not in stage.destination.bitmaps()


@scene(
    "BM547",
    policy={"storage": "shared", "map": [{"source": B0, "destination": None}]},
    harm=copy_differs,
)
def storage_not_shared(stage: Stage) -> None:
    """The policy says that the storage is shared, and the destination's image holds other bitmaps."""
    for side in ("source", "destination"):
        stage.image(f"{side}.qcow2")
    first = stage.start_source(*disk("disk0", "source.qcow2"))
    stage.bitmap("disk0", persistent=True)
    assert first.quit() == 0
    stage.start_source(*disk("disk0", "source.qcow2"))
    stage.start_destination(*disk("disk0", "destination.qcow2"))
    stage.bitmap("disk0", "transient")


def source_aborts(stage: Stage) -> None:
    """The file grows at the switch-over while its bitmap is busy, and the source dies of an assertion."""
    outcome = stage.ignored([entry("disk0-file", "disk0-file", {"f0": "f0"})])
    assert (outcome.source, outcome.exit) == (None, 1)
    assert "bdrv_dirty_bitmap_truncate" in outcome.source_log


@scene("BM553", since=(10, 0), policy={"deny": [{"bitmap": "p0"}]}, harm=source_aborts, record="10.0")
def file_grows(stage: Stage) -> None:
    """The file below a qcow2 node has a bitmap, and the node itself a persistent one that is left behind."""
    stage.start_source(*disk("disk0", stage.image("source.qcow2")))
    stage.start_destination(*disk("disk0", stage.image("destination.qcow2")))
    stage.source.qmp("block-dirty-bitmap-add", node="disk0", name="p0", persistent=True)
    stage.source.qmp("block-dirty-bitmap-add", node="disk0-file", name="f0")


def name_is_not_found(stage: Stage) -> None:
    """The map names what QMP shows, which is not the name: only the other bitmap arrives, and nothing is said."""
    records = stage.source.nodes()["disk0"]["dirty-bitmaps"]
    shown = next(record["name"] for record in records if record["name"] != "b0")
    outcome = stage.ignored([entry("disk0", "disk0", {"b0": "b0", shown: shown})])
    assert (outcome.source, outcome.destination) == ("completed", "completed")
    assert {name for _, name in outcome.bitmaps or ()} == {"b0"}
    assert outcome.source_log == outcome.destination_log == ""


@scene("BM552", harm=name_is_not_found, record="11.1")
def name_not_utf8(stage: Stage) -> None:
    """A bitmap that was stored by another tool has a name that is not UTF-8."""
    stage.image("source.qcow2")
    name = os.fsdecode(b"b\xff\xfe")
    stage.binaries["source"].image("bitmap", "--add", "source.qcow2", name, folder=stage.folder)
    stage.start_source(*disk("disk0", "source.qcow2"))
    stage.start_destination(*disk("disk0", stage.image("destination.qcow2")))
    stage.bitmap("disk0")


def never_stored(stage: Stage) -> None:
    """The bitmap arrives, its image is never activated, and at shutdown it is gone."""
    outcome = stage.ignored()
    assert (outcome.source, outcome.destination) == ("completed", "completed")
    assert ("disk0", "b0") in (outcome.bitmaps or {})
    stage.destination.qmp("cont")
    assert stage.destination.nodes()["disk0"]["active"] is False
    stage.destination.quit()
    assert "b0" not in stored(stage.destination, "destination.qcow2")


@scene("BM548", since=(10, 0), until=(10, 0), harm=never_stored, record="10.0")
def bare_node_beside_a_drive(stage: Stage) -> None:
    """A persistent bitmap on a node that no device uses, in a VM that has a drive."""
    for side, start in (("source", stage.start_source), ("destination", stage.start_destination)):
        start(*disk("disk0", stage.image(f"{side}.qcow2")), *drive("drive1", stage.image(f"{side}1.qcow2")))
    stage.bitmap("disk0", persistent=True)


@scene(record="7.2")
def stored_copy_without_counterpart(stage: Stage) -> None:
    """The destination's image of a disk that has no bitmap on the source holds one: advice names it."""
    stage.start_source(*disk("disk0", stage.image("source0.qcow2")), *disk("disk1", stage.image("source1.qcow2")))
    stage.image("destination0.qcow2")
    stage.binaries["source"].image("bitmap", "--add", "destination0.qcow2", "old", folder=stage.folder)
    stage.start_destination(*disk("disk0", "destination0.qcow2"), *disk("disk1", stage.image("destination1.qcow2")))
    stage.bitmap("disk1")


def not_stored_on_read_only(stage: Stage) -> None:
    """The read-only image cannot store the bitmap, so the switch-over fails and the migration with it."""
    outcome = stage.ignored([entry("l1", "l1", {"b0": "b0"})])
    assert (outcome.source, outcome.exit) == ("failed", 1)
    assert "Lost persistent bitmaps during inactivation of node 'l0': No write access" in outcome.source_log
    assert "bdrv_inactivate_all() failed" in outcome.source_log


@scene("BM555", until=(10, 0), policy={"deny": [{"bitmap": "daily"}]}, harm=not_stored_on_read_only, record="10.0")
def read_only_when_stored(stage: Stage) -> None:
    """A persistent bitmap was added to a backing image, which is read-only, and is left behind."""
    stage.image("base.qcow2")
    stage.image("source.qcow2", backing="base.qcow2")
    stage.start_source(*drive("drive0", "source.qcow2", "node-name=l1,backing.node-name=l0"))
    stage.start_destination(*drive("drive0", stage.image("destination.qcow2"), "node-name=l1"))
    stage.source.qmp("block-dirty-bitmap-add", node="l0", name="daily", persistent=True)
    stage.bitmap("l1", through="drive0")

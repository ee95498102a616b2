"""Scenes about the two processes: whether they can migrate at all, what is set on them already, how much there is."""

from __future__ import annotations

import re

import pytest

from tests.live.migration import entry, set_capability, set_mapping
from tests.live.monitor import QmpError
from tests.live.scenes.scene import GRANULE, MIB, Stage, disk, drive, null, scene

#: The number of nodes of a large VM, each with a bitmap.
MANY = 1000


def _pair(stage: Stage, *, incoming: bool = True, machine: str = "none") -> None:
    """A disk of the same name on either side, with a bitmap."""
    words = null("disk0") if machine == "none" else (*null("disk0"), "-m", "32")
    stage.start_source(*words, machine=machine)
    stage.start_destination(*words, machine=machine, incoming=incoming)
    stage.bitmap("disk0")


def not_waiting(stage: Stage) -> None:
    """There is nothing to migrate to: `migrate-incoming` is refused."""
    with pytest.raises(QmpError, match="-incoming"):
        stage.ignored()


@scene("BM512", harm=not_waiting)
def destination_not_waiting(stage: Stage) -> None:
    """The destination was not started with -incoming: it is another running VM."""
    _pair(stage, incoming=False)


@scene(options={"provisional": True}, record="11.1")
def destination_of_its_like(stage: Stage) -> None:
    """A destination that will exist only later is planned against with one of its like, which does not wait."""
    _pair(stage, incoming=False)


@scene("BM512", "BM513", "BM542", harm=not_waiting, record="10.0")
def same_process(stage: Stage) -> None:
    """Both ends are one and the same process, so its own bitmap is in the way as well."""
    stage.start_source(*null("disk0"))
    stage.bitmap("disk0")


def uuids_compared(stage: Stage) -> None:
    """The destination compares, and exits."""
    outcome = stage.ignored()
    assert outcome.exit == 1
    assert "UUID received is" in outcome.destination_log


@scene("BM525", harm=uuids_compared, record="11.1")
def uuids_differ(stage: Stage) -> None:
    """The source has its uuid compared, and the destination has another one."""
    for number, start in ((1, stage.start_source), (2, stage.start_destination)):
        start(*null("disk0"), "-uuid", f"{str(number) * 8}-{str(number) * 4}-4000-8000-{str(number) * 12}")
    stage.bitmap("disk0")
    set_capability(stage.source, "validate-uuid")


def incoming_cannot_start(stage: Stage) -> None:
    """QEMU refuses `migrate`."""
    with pytest.raises(QmpError, match="waiting for an incoming migration"):
        stage.ignored()


@scene("BM511", harm=incoming_cannot_start)
def source_is_waiting(stage: Stage) -> None:
    """The source itself waits for a migration: the two ends were confused."""
    stage.start_source(*null("disk0"), incoming=True)
    stage.start_destination(*null("disk0"))
    stage.source.qmp("block-dirty-bitmap-add", node="disk0", name="b0")


def migrate_refused(stage: Stage) -> None:
    """QEMU refuses `migrate` and names the format."""
    with pytest.raises(QmpError, match="does not support live migration"):
        stage.ignored()


@scene("BM514", since=(7, 2), harm=migrate_refused)
def migration_blocked(stage: Stage) -> None:
    """A disk has a format that cannot be migrated."""
    for side, start in (("source", stage.start_source), ("destination", stage.start_destination)):
        stage.binaries["source"].image("create", "-q", "-f", "vmdk", f"{side}.vmdk", "16M", folder=stage.folder)
        start(*null("disk0"), *disk("disk1", f"{side}.vmdk", driver="vmdk"))
    stage.bitmap("disk0")


def downward_fails(stage: Stage) -> None:
    """The destination exits on what it does not know; the source may say `completed`."""
    outcome = stage.ignored()
    assert (outcome.destination, outcome.exit) == (None, 1)
    assert "MIG_CMD 0xb unknown" in outcome.destination_log


@scene("BM515", since=(10, 0), downward=(7, 2), harm=downward_fails, record="10.0")
def downward_unversioned(stage: Stage) -> None:
    """The destination is older than the source, and the machine type says nothing of a version."""
    _pair(stage)


@scene(since=(10, 0), downward=(7, 2), record="11.1")
def downward_versioned(stage: Stage) -> None:
    """The destination is older than the source, and both run the same versioned machine type."""
    _pair(stage, machine="pc-q35-7.2")


def machine_refused(stage: Stage) -> None:
    """The destination exits: it is another machine."""
    outcome = stage.ignored()
    assert (outcome.destination, outcome.exit) == (None, 1)
    assert "Machine type received is" in outcome.destination_log


@scene("BM517", harm=machine_refused)
def machine_types_differ(stage: Stage) -> None:
    """The destination is of another machine type."""
    stage.start_source(*null("disk0"))
    stage.start_destination(*null("disk0"), "-m", "32", machine="q35")
    stage.bitmap("disk0")


def background_snapshot_conflicts(stage: Stage) -> None:
    """QEMU refuses the capability."""
    with pytest.raises(QmpError, match="Background-snapshot is not compatible with dirty-bitmaps"):
        stage.ignored()


@scene("BM523", since=(7, 2), harm=background_snapshot_conflicts, record="11.1")
def background_snapshot_on(stage: Stage) -> None:
    """The source's capability background-snapshot is on."""
    _pair(stage)
    set_capability(stage.source, "background-snapshot")


def stale_mapping_obeyed(stage: Stage) -> None:
    """The mapping of an earlier attempt still counts: both sides say `completed`, and the bitmap is gone."""
    outcome = stage.ignored()
    assert (outcome.source, outcome.destination, outcome.bitmaps) == ("completed", "completed", {})


@scene(harm=stale_mapping_obeyed)
def mapping_in_force_on_source(stage: Stage) -> None:
    """An earlier attempt, or libvirt, has left a mapping on the source."""
    _pair(stage)
    set_mapping(stage.source, [entry("gone", "vda", {"b0": "libvirt-vda-b0"})])


@scene(harm=stale_mapping_obeyed, record="11.1")
def mapping_in_force_on_destination(stage: Stage) -> None:
    """An earlier attempt, or libvirt, has left a mapping on the destination."""
    _pair(stage)
    set_mapping(stage.destination, [entry("gone", "vda", {"b0": "libvirt-vda-b0"})])


@scene(record="10.0")
def capability_left_on(stage: Stage) -> None:
    """The capability dirty-bitmaps is on at both ends already."""
    _pair(stage)
    for qemu in (stage.source, stage.destination):
        set_capability(qemu)


def _large(stage: Stage) -> None:
    """A disk of 4 TiB on either side, whose bitmap has a granularity of 64 KiB."""
    size = 4 << 40
    stage.start_source(*null("disk0", size))
    stage.start_destination(*null("disk0", size))
    stage.source.qmp("block-dirty-bitmap-add", node="disk0", name="b0", granularity=65536)
    stage.source.write("disk0", 0, size // 2)


def never_ends(stage: Stage) -> None:
    """The migration goes on and on, though nothing changes in the guest."""
    with pytest.raises(TimeoutError, match="did not end on the source"):
        stage.ignored(seconds=2)
    assert stage.source.qmp("query-migrate")["status"] == "active"


@scene("BM563", options={"strict": True}, harm=never_ends)
def large_disk(stage: Stage) -> None:
    """A bitmap so large that the migration does not converge; `strict` makes this advice refuse."""
    _large(stage)


@scene(since=(10, 0), options={"strict": True}, record="11.1")
def large_disk_bandwidth_known(stage: Stage) -> None:
    """The same disk, and QEMU was told what bandwidth there is at the switch-over."""
    _large(stage)
    stage.source.qmp("migrate-set-parameters", avail_switchover_bandwidth=1 << 30)


@scene(record="7.2")
def thousand_nodes(stage: Stage) -> None:
    """A thousand nodes with a bitmap each."""
    words = [word for number in range(MANY) for word in null(f"disk{number}", MIB)]
    stage.start_source(*words)
    stage.start_destination(*words)
    bitmaps = [{"node": f"disk{number}", "name": f"b{number % 10}"} for number in range(MANY)]
    stage.source.qmp("transaction", actions=[{"type": "block-dirty-bitmap-add", "data": data} for data in bitmaps])
    for number in range(0, MANY, 100):
        stage.source.write(f"disk{number}", GRANULE * (number // 100))


@scene(record="10.0")
def two_disks_two_ways(stage: Stage) -> None:
    """One disk is known by its device, the other by its node-name, and on the destination it is the other way round."""
    for number in range(2):
        for side in ("source", "destination"):
            stage.image(f"{side}{number}.qcow2")
    source = stage.start_source(*drive("disk0", "source0.qcow2"), *disk("disk1", "source1.qcow2"))
    stage.start_destination(*disk("disk0", "destination0.qcow2"), *drive("disk1", "destination1.qcow2"))
    stage.bitmap(source.root("disk0"))
    stage.bitmap("disk1")


def format_refused(stage: Stage) -> None:
    """QEMU refuses `migrate`, and tells the reason only then."""
    with pytest.raises(QmpError, match="does not support live migration"):
        stage.ignored()


@scene("BM514", until=(5, 2), harm=format_refused, record="5.2")
def format_blocks_untold(stage: Stage) -> None:
    """A disk of a format that blocks migration, on a QEMU that does not tell so beforehand."""
    for side, start in (("source", stage.start_source), ("destination", stage.start_destination)):
        img = stage.binaries["source"]
        img.image("create", "-q", "-f", "vdi", f"{side}.vdi", str(16 * MIB), folder=stage.folder)
        start(*disk("disk0", f"{side}.vdi", driver="vdi"))
    stage.bitmap("disk0")


@scene(record="11.1")
def own_bitmap_beside_stale_mapping(stage: Stage) -> None:
    """The destination has a bitmap of its own, and a mapping in force: the next hop must keep both bitmaps."""
    words = (*null("disk0"), *null("disk1"))
    stage.start_source(*words)
    destination = stage.start_destination(*words)
    destination.qmp("block-dirty-bitmap-add", node="disk1", name="own")
    set_mapping(destination, [])
    stage.bitmap("disk0")


def device_unknown(stage: Stage) -> None:
    """The destination exits at the state of the device that it lacks; the source may say `completed`."""
    outcome = stage.ignored()
    assert (outcome.destination, outcome.exit) == (None, 1)
    assert re.search(r"Unknown (savevm )?section or instance '.+/virtio-blk'", outcome.destination_log)


def _disks(stage: Stage, *, source: int, destination: int) -> None:
    """A machine with so many virtio disks on either side, whose first has a bitmap; the nodes are all on both."""
    for number, start in ((source, stage.start_source), (destination, stage.start_destination)):
        plugged = [("-device", f"virtio-blk-pci,drive=disk{index},id=virtio-disk{index}") for index in range(number)]
        start(*null("disk0"), *null("disk1"), *(word for words in plugged for word in words), "-m", "32", machine="q35")
    stage.bitmap("disk0", qdev="/machine/peripheral/virtio-disk0/virtio-backend")


@scene("BM527", harm=device_unknown)
def guest_device_missing(stage: Stage) -> None:
    """The destination has all disks of the source, and one of them without its virtio-blk device."""
    _disks(stage, source=2, destination=1)


@scene(record="11.1")
def guest_device_more(stage: Stage) -> None:
    """The destination has a virtio-blk device more than the source: what is not sent is not missed."""
    _disks(stage, source=1, destination=2)

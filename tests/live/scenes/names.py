"""Scenes about names: under which address a bitmap travels, and whether the other side has it."""

from __future__ import annotations

import json

from tests.live.migration import entry
from tests.live.scenes.scene import Stage, disk, drive, null, scene

#: Names that write to a terminal, change the direction of text, or are markup.
HOSTILE = (
    "\x1b[31mred\x1b[0m",
    "abc\u202egpj.exe",
    "[bold]not bold[/bold]",
    "two\nlines",
    "tab\tand 'quotes' \"",
    "\u00e4 \U0001f4be",
)
LONG = "long-" + "x" * 295


@scene(record="11.1")
def drive_auto_node_names(stage: Stage) -> None:
    """Two -drive disks with generated node-names: their bitmaps travel under the device names."""
    for number in (0, 1):
        stage.image(f"source{number}.qcow2")
        stage.image(f"destination{number}.qcow2")
    source = stage.start_source(*drive("drive0", "source0.qcow2"), *drive("drive1", "source1.qcow2"))
    stage.start_destination(*drive("drive1", "destination1.qcow2"), *drive("drive0", "destination0.qcow2"))
    for device in ("drive0", "drive1"):
        stage.bitmap(source.root(device), f"{device}-b0")
    stage.bitmap(source.root("drive0"), "b1", granularity=32768)


@scene(record="5.2")
def drive_explicit_node_names(stage: Stage) -> None:
    """A -drive disk whose node has a name of its own: the bitmap's address is that node-name, not the device."""
    stage.image("source.qcow2")
    stage.image("destination.qcow2")
    stage.start_source(*drive("drive0", "source.qcow2", "node-name=fmt0"))
    stage.start_destination(*drive("drive0", "destination.qcow2", "node-name=fmt0"))
    stage.bitmap("fmt0", "b0")
    stage.bitmap("fmt0", "off")
    stage.source.qmp("block-dirty-bitmap-disable", node="fmt0", name="off")


@scene(record="10.0")
def drive_without_id(stage: Stage) -> None:
    """A -drive disk without an id: QEMU calls the device none0, which is a device name like any other."""
    for image in ("source.qcow2", "destination.qcow2"):
        stage.image(image)
    source = stage.start_source("-drive", "if=none,format=qcow2,file=source.qcow2")
    stage.start_destination("-drive", "if=none,format=qcow2,file=destination.qcow2")
    stage.bitmap(source.root("none0"))


def _devices(*, ids: bool) -> list[str]:
    named = (",id=virtio-disk0", ",id=scsi-disk0", ",id=ide-disk0") if ids else ("", "", "")
    devices = (
        f"virtio-blk-pci,drive=disk0{named[0]}",
        f"scsi-hd,drive=disk1{named[1]}",
        f"ide-hd,drive=disk2{named[2]}",
    )
    empty = ("-device", f"scsi-cd{',id=cd0' if ids else ''}")  # a drive without a medium has no node at all
    return [
        "-m",
        "32",
        "-device",
        "virtio-scsi-pci",
        *empty,
        *(word for device in devices for word in ("-device", device)),
    ]


def _blockdev_qdev(stage: Stage, *, ids: bool) -> None:
    nodes = [word for number in range(3) for word in null(f"disk{number}")]
    source = stage.start_source(*nodes, *_devices(ids=ids), machine="q35")
    stage.start_destination(*nodes, *_devices(ids=ids), machine="q35")
    for info in (info for info in source.qmp("query-block") if "inserted" in info):
        node = info["inserted"]["node-name"]
        stage.bitmap(node, f"{node}-b0", qdev=info["qdev"])


@scene(record="7.2")
def blockdev_qdev(stage: Stage) -> None:
    """-blockdev disks under virtio, SCSI and IDE devices that have ids; the backends are anonymous."""
    _blockdev_qdev(stage, ids=True)


@scene(record="11.1")
def blockdev_qdev_without_ids(stage: Stage) -> None:
    """-blockdev disks under devices without ids: no guest device is an address, the node-names are."""
    _blockdev_qdev(stage, ids=False)


def _libvirt(stage: Stage) -> None:
    stage.image("source.qcow2")
    stage.image("destination.qcow2")
    device = ("-m", "32", "-device", "virtio-blk-pci,id=virtio-disk0,drive=libvirt-{}-format")
    source = stage.start_source(
        *disk("libvirt-1-format", "source.qcow2"), *(word.format(1) for word in device), machine="q35"
    )
    stage.start_destination(
        *disk("libvirt-3-format", "destination.qcow2"), *(word.format(3) for word in device), machine="q35"
    )
    stage.bitmap("libvirt-1-format", "backup-1", qdev=source.qmp("query-block")[0]["qdev"], persistent=True)


@scene(policy={"resolve": "guest-device"})
def libvirt_names_by_guest_device(stage: Stage) -> None:
    """Node-names differ as libvirt numbers them; the rule set guest-device pairs the disks by the guest device."""
    _libvirt(stage)


def all_lost(stage: Stage) -> None:
    """Under QEMU's own names both sides say `completed`, and not one bitmap arrives, the healthy ones neither."""
    before = len(stage.destination.bitmaps())
    outcome = stage.ignored()
    assert (outcome.source, outcome.destination, outcome.exit) == ("completed", "completed", None)
    assert "Cannot find device" in outcome.destination_log
    assert len(outcome.bitmaps or ()) == before == 0


@scene("BM501", harm=all_lost)
def libvirt_names_differ(stage: Stage) -> None:
    """Node-names differ as libvirt numbers them, and the default rules have no address on the other side."""
    _libvirt(stage)


@scene("BM501", harm=all_lost, record="11.1")
def destination_name_unknown(stage: Stage) -> None:
    """One of three nodes is missing on the destination."""
    stage.start_source(*null("disk0"), *null("disk1"), *null("disk2"))
    stage.start_destination(*null("disk0"), *null("disk2"))
    for node in ("disk0", "disk1", "disk2"):
        stage.bitmap(node)


def all_lost_without_medium(stage: Stage) -> None:
    """A device without a medium is no place for a bitmap: both sides say `completed`, nothing arrives."""
    outcome = stage.ignored()
    assert (outcome.source, outcome.destination, outcome.bitmaps) == ("completed", "completed", {})
    assert "drive0" in outcome.destination_log


@scene("BM502", harm=all_lost_without_medium)
def destination_without_medium(stage: Stage) -> None:
    """The device has the wanted name on the destination, and no medium."""
    stage.image("source.qcow2")
    source = stage.start_source(*drive("drive0", "source.qcow2"), *null("disk1"))
    stage.start_destination("-drive", "if=none,id=drive0,media=cdrom", *null("disk1"))
    stage.bitmap(source.root("drive0"))
    stage.bitmap("disk1")


def _auto_named_base(stage: Stage) -> None:
    for side in ("source", "destination"):
        stage.image(f"{side}-base.qcow2")
        stage.image(f"{side}.qcow2", backing=f"{side}-base.qcow2")
    stage.start_source(*drive("drive0", "source.qcow2"))
    stage.start_destination(
        *disk("base0", "destination-base.qcow2"), *disk("fmt0", "destination.qcow2", more="backing=base0")
    )
    nodes = stage.source.nodes()
    base = next(name for name, node in nodes.items() if node["drv"] == "qcow2" and "base" in node["file"])
    stage.source.qmp("block-dirty-bitmap-add", node=base, name="b0")


def generated_name_refused(stage: Stage) -> None:
    """The whole migration fails, with the reason in the log only."""
    outcome = stage.ignored()
    assert (outcome.source, outcome.exit) == ("failed", 1)
    assert "in a node with auto-generated name '#block" in outcome.source_log


@scene("BM301", harm=generated_name_refused)
def auto_named_backing_image(stage: Stage) -> None:
    """A bitmap on an auto-named backing image: there is no name that it could travel under."""
    _auto_named_base(stage)


@scene(
    policy={"map": [{"source": {"device": "drive0", "path": "backing"}, "destination": {"node-name": "base0"}}]},
    record="10.0",
)
def auto_named_mapped_by_path(stage: Stage) -> None:
    """The same backing image, found by the policy from the device's root downwards."""
    _auto_named_base(stage)


def bitmap_met_twice(stage: Stage) -> None:
    """QEMU meets the bitmap a second time, under the second device, and finds it in use by itself."""
    outcome = stage.ignored()
    assert (outcome.source, outcome.exit) == ("failed", 1)
    assert "Bitmap 'b0' is currently in use by another operation and cannot be used" in outcome.source_log


@scene("BM302", harm=bitmap_met_twice)
def two_backends_over_one_node(stage: Stage) -> None:
    """Two named devices end on one auto-named node, one of them through a filter."""
    stage.image("source.qcow2")
    stage.image("destination.qcow2")
    source = stage.start_source("-object", "throttle-group,id=g0", *drive("drive0", "source.qcow2"))
    stage.start_destination(*drive("drive0", "destination.qcow2"), *null("disk1"))
    root = source.root("drive0")
    second = json.dumps({"driver": "throttle", "throttle-group": "g0", "file": root}, separators=(",,", ":"))
    said = source.hmp(f"drive_add 0 if=none,id=drive1,file=json:{second}")
    assert said.strip() == "OK", said
    stage.bitmap(root)


@scene(harm=bitmap_met_twice, record="5.2")
def two_backends_over_one_named_node(stage: Stage) -> None:
    """Two named devices end on one node that has a name of its own: that is the address, a mapping is needed."""
    over = ("-object", "throttle-group,id=g0", *null("disk0"))
    words = [*over]
    for device in ("drive0", "drive1"):
        filename = '{"driver":"throttle",,"throttle-group":"g0",,"file":"disk0"}'
        words += ["-drive", f"if=none,id={device},file=json:{filename}"]
    stage.start_source(*words)
    stage.start_destination(*over)
    stage.bitmap("disk0")


def _names_below_device(stage: Stage) -> None:
    for side, start in (("source", stage.start_source), ("destination", stage.start_destination)):
        start(*drive("drive0", stage.image(f"{side}.qcow2"), f"node-name={side}-fmt0"))
    stage.bitmap("source-fmt0")


def all_lost_by_node_name(stage: Stage) -> None:
    """Sent under the address of the default rules, the bitmap is lost: both sides say `completed`."""
    outcome = stage.ignored([entry("source-fmt0", "source-fmt0", {"b0": "b0"})])
    assert (outcome.source, outcome.destination, outcome.bitmaps) == ("completed", "completed", {})


@scene("BM501", harm=all_lost_by_node_name)
def node_names_differ_below_device(stage: Stage) -> None:
    """The device has one name on both sides, its node another on each: by the default rules the node-name counts."""
    _names_below_device(stage)


@scene(policy={"resolve": "qemu"}, record="10.0")
def device_first_as_qemu_does(stage: Stage) -> None:
    """The same, by the rules of QEMU itself: the device name comes first, and both sides have it."""
    _names_below_device(stage)


@scene("BM301", harm=generated_name_refused, record="11.1")
def snapshot_of_drive(stage: Stage) -> None:
    """A snapshot of a -drive disk: its old root with the bitmap is a backing image now, and has no name."""
    source = stage.start_source(*drive("drive0", stage.image("source.qcow2")))
    stage.start_destination(*drive("drive0", stage.image("destination.qcow2")))
    stage.bitmap(source.root("drive0"))
    source.qmp("blockdev-snapshot-sync", device="drive0", snapshot_file="overlay.qcow2", format="qcow2")


@scene(record="10.0")
def drive_of_a_guest(stage: Stage) -> None:
    """A disk from -drive if=virtio: QEMU numbers the device and the guest device, and generates the node-name."""
    for side, start in (("source", stage.start_source), ("destination", stage.start_destination)):
        image = stage.image(f"{side}.qcow2")
        start("-m", "32", "-drive", f"if=virtio,format=qcow2,file={image}", machine="q35")
    root = stage.source.root("virtio0")
    stage.bitmap(root, qdev=stage.source.qmp("query-block")[0]["qdev"])


@scene(record="11.1")
def hostile_bitmap_names(stage: Stage) -> None:
    """Bitmaps whose names hold terminal escapes, bidi controls, markup, line ends and quotes."""
    stage.start_source(*null("disk0"))
    stage.start_destination(*null("disk0"))
    for name in HOSTILE:
        stage.bitmap("disk0", name)


def name_too_long(stage: Stage) -> None:
    """Without a shorter alias the migration fails."""
    outcome = stage.ignored()
    assert (outcome.source, outcome.exit) == ("failed", 1)


@scene(harm=name_too_long)
def long_bitmap_name(stage: Stage) -> None:
    """A bitmap name of 300 bytes, which is legal on a node and too long for the stream: it needs an alias."""
    stage.start_source(*null("disk0"))
    stage.start_destination(*null("disk0"))
    stage.bitmap("disk0", LONG)
    stage.bitmap("disk0", "short")


@scene(record="5.2")
def no_bitmaps(stage: Stage) -> None:
    """A VM without a single bitmap: a plan with nothing in it."""
    stage.image("source.qcow2")
    stage.image("destination.qcow2")
    stage.start_source(*drive("drive0", "source.qcow2"))
    stage.start_destination(*drive("drive0", "destination.qcow2"))

"""Scenes about the shape of the graph: filters above a disk, several children, edges that QEMU does not tell."""

from __future__ import annotations

from tests.live.migration import entry
from tests.live.scenes.scene import SIZE, Stage, disk, drive, null, scene

GROUP = ("-object", "throttle-group,id=g0")


def _throttled(device: str, image: str) -> tuple[str, str]:
    """A -drive whose root is an auto-named throttle filter over an auto-named qcow2 node."""
    words = f"driver=throttle,throttle-group=g0,file.driver=qcow2,file.file.driver=file,file.file.filename={image}"
    return "-drive", f"if=none,id={device},{words}"


def _below(stage: Stage) -> str:
    """The auto-named qcow2 node of the source."""
    return next(name for name, node in stage.source.nodes().items() if node["drv"] == "qcow2")


@scene(record="10.0")
def filter_on_source(stage: Stage) -> None:
    """On the source a throttle filter is above the disk: the bitmap below it still has the device's name."""
    stage.image("source.qcow2")
    stage.image("destination.qcow2")
    stage.start_source(*GROUP, *_throttled("drive0", "source.qcow2"))
    stage.start_destination(*drive("drive0", "destination.qcow2"))
    stage.bitmap(_below(stage))


def put_on_filter(stage: Stage) -> None:
    """Under QEMU's own names the bitmap lands on the filter, and not on the disk below it."""
    outcome = stage.ignored()
    assert (outcome.source, outcome.destination) == ("completed", "completed")
    drivers = {node: record["drv"] for node, record in stage.destination.nodes().items()}
    assert [drivers[node] for node, _ in outcome.bitmaps or ()] == ["throttle"]


@scene(harm=put_on_filter, record="5.2")
def filter_on_destination(stage: Stage) -> None:
    """On the destination a throttle filter is above the disk: the bitmap belongs below it, not onto it."""
    stage.image("source.qcow2")
    stage.image("destination.qcow2")
    source = stage.start_source(*drive("drive0", "source.qcow2"))
    stage.start_destination(*GROUP, *_throttled("drive0", "destination.qcow2"))
    stage.bitmap(source.root("drive0"))


@scene(harm=put_on_filter, record="11.1")
def filter_on_both_sides(stage: Stage) -> None:
    """A throttle filter is above the disk on both sides."""
    stage.image("source.qcow2")
    stage.image("destination.qcow2")
    stage.start_source(*GROUP, *_throttled("drive0", "source.qcow2"))
    stage.start_destination(*GROUP, *_throttled("drive0", "destination.qcow2"))
    stage.bitmap(_below(stage))


@scene(record="7.2")
def copy_on_read_filter(stage: Stage) -> None:
    """A named copy-on-read filter is above a named disk; the bitmap is on the disk."""
    for side in ("source", "destination"):
        stage.image(f"{side}-base.qcow2")
        stage.image(f"{side}.qcow2", backing=f"{side}-base.qcow2")
    above = ("-blockdev", "driver=copy-on-read,node-name=cor0,file=disk0")
    stage.start_source(*disk("disk0", "source.qcow2"), *above)
    stage.start_destination(*disk("disk0", "destination.qcow2"), *above)
    stage.bitmap("disk0")


@scene(record="7.2")
def filter_with_bitmap(stage: Stage) -> None:
    """A filter that carries a bitmap of its own stops QEMU's walk; here both nodes have names."""
    above = ("-blockdev", "driver=throttle,node-name=throttle0,throttle-group=g0,file=disk0")
    for start in (stage.start_source, stage.start_destination):
        start(*GROUP, *null("disk0"), *above)
    stage.bitmap("throttle0", "above")
    stage.bitmap("disk0", "below")


@scene(record="11.1")
def filter_under_guest_device(stage: Stage) -> None:
    """A guest device sits on a throttle filter above a named disk: the guest's writes pass through to its bitmap."""
    above = ("-blockdev", "driver=throttle,node-name=throttle0,throttle-group=g0,file=disk0")
    device = ("-m", "32", "-device", "virtio-blk-pci,id=virtio-disk0,drive=throttle0")
    for side, start in (("source", stage.start_source), ("destination", stage.start_destination)):
        start(*GROUP, *disk("disk0", stage.image(f"{side}.qcow2")), *above, *device, machine="q35")
    stage.bitmap("disk0", qdev=stage.source.qmp("query-block")[0]["qdev"])


@scene(record="11.1")
def quorum_children(stage: Stage) -> None:
    """Bitmaps on a quorum and on one of its children, which are no filters and go by their node-names."""
    quorum = (
        "-blockdev",
        "driver=quorum,node-name=quorum0,vote-threshold=2,children.0=disk0,children.1=disk1,children.2=disk2",
    )
    for start in (stage.start_source, stage.start_destination):
        start(*null("disk0"), *null("disk1"), *null("disk2"), *quorum)
    stage.bitmap("quorum0", "all")
    stage.bitmap("disk1", "one", through="quorum0")


@scene(record="10.0")
def external_data_file(stage: Stage) -> None:
    """A qcow2 image with an external data file keeps persistent bitmaps as any other."""
    for side in ("source", "destination"):
        stage.image(f"{side}.qcow2", options=f"data_file={side}.data")
    stage.start_source(*disk("disk0", "source.qcow2"))
    stage.start_destination(*disk("disk0", "destination.qcow2"))
    stage.bitmap("disk0", persistent=True)


@scene(record="5.2")
def backing_chain(stage: Stage) -> None:
    """A chain of three named images with a bitmap on each; the lower two are read-only, their bitmaps are transient."""
    for side, start in (("source", stage.start_source), ("destination", stage.start_destination)):
        stage.image(f"{side}0.qcow2")
        stage.image(f"{side}1.qcow2", backing=f"{side}0.qcow2")
        stage.image(f"{side}2.qcow2", backing=f"{side}1.qcow2")
        start(
            *disk("disk0", f"{side}0.qcow2", more="read-only=on"),
            *disk("disk1", f"{side}1.qcow2", more="read-only=on,backing=disk0"),
            *disk("disk2", f"{side}2.qcow2", more="backing=disk1"),
        )
    for number in range(3):
        stage.source.qmp("block-dirty-bitmap-add", node=f"disk{number}", name=f"b{number}")
    stage.source.write("disk2", 0, SIZE // 2)


@scene(since=(7, 2), record="7.2")
def debug_graph_refused_for_guest(stage: Stage) -> None:
    """The same with a guest device on the disk, whose root `query-block` tells."""
    device = ("-m", "32", "-device", "virtio-blk-pci,id=virtio-disk0,drive=disk0")
    for start in (stage.start_source, stage.start_destination):
        start("-compat", "unstable-input=reject", *null("disk0"), *device, machine="q35")
    stage.bitmap("disk0", qdev=stage.source.qmp("query-block")[0]["qdev"])


@scene(since=(7, 2), record="10.0")
def debug_graph_refused(stage: Stage) -> None:
    """QEMU runs with `-compat unstable-input=reject`, so it tells no edges above its nodes; the names suffice."""
    stage.start_source("-compat", "unstable-input=reject", *null("disk0"))
    stage.start_destination("-compat", "unstable-input=reject", *null("disk0"))
    stage.source.qmp("block-dirty-bitmap-add", node="disk0", name="b0")


def bitmap_on_child_lost(stage: Stage) -> None:
    """A device name in a mapping is accepted and matches nothing: the bitmap is not sent."""
    outcome = stage.ignored([entry("drive0", "drive0", {"b0": "b0"})])
    assert (outcome.source, outcome.destination, outcome.bitmaps) == ("completed", "completed", {})


@scene(
    policy={"map": [{"source": {"device": "drive0"}, "destination": {"node-name": "fmt0"}}]}, harm=bitmap_on_child_lost
)
def device_mapped_to_node(stage: Stage) -> None:
    """The policy sends what is at a device to a node with a name of its own."""
    stage.image("source.qcow2")
    stage.image("destination.qcow2")
    source = stage.start_source(*drive("drive0", "source.qcow2"))
    stage.start_destination(*disk("fmt0", "destination.qcow2"))
    stage.bitmap(source.root("drive0"))

"""Snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.live.operations.held import Held, Step
from tests.live.operations.nodes import add, delete, file, file_node, group, qcow2, throttle
from tests.live.qemu import Qemu

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.qemu import Binary

_DRIVES = (
    *("-drive", "if=none,id=drive0,file=drive.qcow2,format=qcow2"),
    *("-drive", "if=none,id=drive1,file=locked.qcow2,format=qcow2,readonly=on"),
    *("-drive", "if=none,id=empty"),
)


def _images(binary: Binary, folder: Path) -> None:
    for name in ("disk", "drive", "locked", "overlay", "second", "broken"):
        binary.image("create", "-f", "qcow2", f"{name}.qcow2", "16M", folder=folder)
    binary.image("create", "-f", "qcow2", "large.qcow2", "32M", folder=folder)
    binary.image("bitmap", "--add", "disk.qcow2", "stored", folder=folder)
    binary.image("bitmap", "--add", "large.qcow2", "stored", folder=folder)
    binary.image("bitmap", "--add", "broken.qcow2", "broken", folder=folder)
    # a QEMU that is killed leaves the bitmap marked in use
    with Qemu(binary, folder=folder, name="killed") as qemu:
        qemu.qmp("blockdev-add", driver="qcow2", node_name="fmt0", file=file("broken.qcow2"))


def _bitmaps(qemu: Qemu) -> None:
    group(qemu)
    for node in ("disk", "broken"):
        qemu.qmp("blockdev-add", driver="qcow2", node_name=node, file=file(f"{node}.qcow2"))
        qemu.qmp("block-dirty-bitmap-add", node=node, name="kept", persistent=True)
        qemu.qmp("block-dirty-bitmap-add", node=node, name="held", persistent=True, disabled=True)
        qemu.qmp("block-dirty-bitmap-add", node=node, name="passing")
    qemu.qmp("blockdev-add", driver="null-co", node_name="n0", size=1 << 24)
    qemu.qmp("block-dirty-bitmap-add", node="n0", name="passing")
    qemu.qmp("block-dirty-bitmap-add", node="drive0", name="daily", persistent=True)


def _exported(qemu: Qemu) -> None:
    _bitmaps(qemu)
    qemu.qmp("nbd-server-start", addr={"type": "unix", "data": {"path": "nbd.sock"}})
    qemu.qmp("block-export-add", type="nbd", id="export0", node_name="disk", bitmaps=["held"])
    qemu.qmp("block-export-add", type="nbd", id="export1", node_name="n0", writable=True)


def _mirrored(qemu: Qemu) -> None:
    _bitmaps(qemu)
    qemu.qmp("blockdev-add", driver="null-co", node_name="target", size=1 << 24)
    qemu.qmp("blockdev-mirror", device="disk", target="target", sync="full", job_id="job0", filter_node_name="above")


def snapshot(node: str, overlay: str) -> Step:
    """Put a node on top of another."""
    return "blockdev-snapshot", {"node": node, "overlay": overlay}


def sync(**arguments: Any) -> Step:
    """Put a new image on top of a device's root or a node."""
    return "blockdev-snapshot-sync", {name.replace("_", "-"): value for name, value in arguments.items()}


def _case(name: str, *steps: Step, refused: str | None = None, **on: Any) -> Held:
    return Held(name, steps, setup=_bitmaps, images=_images, words=_DRIVES, refused=refused, **on)


def _on_device(name: str, *steps: Step) -> Held:
    devices = (
        *("-blockdev", "driver=qcow2,node-name=disk,file.driver=file,file.filename=disk.qcow2"),
        *("-device", "virtio-blk-pci,id=vd0,drive=disk", "-device", "virtio-blk-pci,id=vd1,drive=drive0"),
    )
    return Held(name, steps, setup=group, images=_images, words=(*_DRIVES, *devices), machine="pc")


def _named(file: str, **more: Any) -> Step:
    return sync(snapshot_file=file, snapshot_node_name=file.partition(".")[0], **more)


OVERLAY = qcow2("overlay", "overlay.qcow2", backing=None)
_SECOND = qcow2("second", "second.qcow2", backing=None)
_READ_ONLY: dict[str, Any] = {"read-only": True}
_LARGE = {"virtual-size": 1 << 25, "bitmaps": [{"name": "stored"}]}

CASES = (
    _case("node", OVERLAY, snapshot("disk", "overlay"), delete("overlay")),
    _case("null", OVERLAY, snapshot("n0", "overlay")),
    _case("device", OVERLAY, _SECOND, snapshot("drive0", "overlay"), snapshot("drive0", "second")),
    _case("inconsistent", OVERLAY, snapshot("broken", "overlay")),
    _case("filter", throttle("thr0", "disk"), OVERLAY, snapshot("thr0", "overlay")),
    _case("below-filter", throttle("thr0", "disk"), OVERLAY, snapshot("disk", "overlay"), delete("thr0")),
    _case(
        "below-overlay-and-filter",
        throttle("thr0", "disk"),
        OVERLAY,
        _SECOND,
        snapshot("thr0", "overlay"),
        snapshot("disk", "second"),
    ),
    _case(
        "named-file",
        file_node("file0", "second.qcow2"),
        qcow2("fmt0", "file0"),
        OVERLAY,
        snapshot("fmt0", "overlay"),
    ),
    _case(
        "named-file-inside",
        qcow2("fmt0", file("second.qcow2", **{"node-name": "file0"})),
        OVERLAY,
        snapshot("fmt0", "overlay"),
    ),
    _case(
        "overlay-has-bitmaps-and-size",
        qcow2("large", "large.qcow2", holding=_LARGE, backing=None),
        snapshot("disk", "large"),
    ),
    _case(
        "overlay-read-only",
        qcow2("overlay", "overlay.qcow2", backing=None, **_READ_ONLY),
        snapshot("disk", "overlay"),
    ),
    _case("overlay-below-raw", OVERLAY, add("raw", "raw0", file="overlay"), snapshot("disk", "overlay")),
    Held(
        "exported",
        (OVERLAY, _SECOND, snapshot("disk", "overlay"), snapshot("n0", "second")),
        setup=_exported,
        images=_images,
        words=_DRIVES,
    ),
    # refused
    _case("twice", OVERLAY, _SECOND, snapshot("disk", "overlay"), snapshot("disk", "second"), refused="backing hd"),
    _case("no-node", OVERLAY, snapshot("nosuch", "overlay"), refused="Cannot find"),
    _case("no-overlay", snapshot("disk", "nosuch"), refused="Cannot find"),
    _case("no-medium", OVERLAY, snapshot("empty", "overlay"), refused="has no medium"),
    _case("overlay-in-use", snapshot("disk", "drive0"), refused="already in use"),
    _case("overlay-null", snapshot("disk", "n0"), refused="does not support backing"),
    _case(
        "overlay-has-backing",
        qcow2("overlay", "overlay.qcow2", backing="n0"),
        snapshot("disk", "overlay"),
        refused="already has a backing",
    ),
    _case("itself", snapshot("disk", "disk"), refused="cycle", since=(7, 2)),
    _case("below-itself", throttle("thr0", "disk"), snapshot("thr0", "disk"), refused="cycle", since=(7, 2)),
    Held(
        "job",
        (OVERLAY, snapshot("disk", "overlay")),
        setup=_mirrored,
        images=_images,
        words=_DRIVES,
        refused="block device is in use by block job",
    ),
    # sync
    _case(
        "sync-device",
        sync(device="drive0", snapshot_file="new.qcow2"),
        sync(device="drive0", snapshot_file="newer.qcow2"),
    ),
    _case("sync-device-named", _named("new.qcow2", device="drive0"), _named("newer.qcow2", node_name="new")),
    _case("sync-unused", _named("new.qcow2", node_name="disk")),
    _case("sync-below-raw", add("raw", "raw0", file="disk"), _named("new.qcow2", node_name="disk"), delete("raw0")),
    _case("sync-read-only", _named("new.qcow2", device="drive1")),
    _case("sync-existing", _named("large.qcow2", device="drive0", mode="existing", image=_LARGE)),
    _case("sync-node-that-is-device", _named("new.qcow2", node_name="drive0"), refused="Cannot find"),
    _case("sync-device-that-is-node", _named("new.qcow2", device="disk"), refused="Cannot find"),
    _case("sync-nothing", _named("new.qcow2"), refused="Cannot find"),
    _case("sync-no-medium", _named("new.qcow2", device="empty"), refused="has no medium"),
    _case("sync-no-name", sync(node_name="disk", snapshot_file="new.qcow2"), refused="name missing"),
    _case("sync-name-taken", _named("disk.qcow2", device="drive0"), refused="already in use"),
    _case("sync-name-of-device", _named("drive0.qcow2", device="drive0"), refused="already in use"),
    _case("sync-raw", _named("new.raw", device="drive0", format="raw"), refused="Backing file not supported"),
    # with a guest that writes
    _on_device("guest", OVERLAY, snapshot("disk", "overlay"), _named("new.qcow2", node_name="overlay")),
    _on_device("guest-throttled", throttle("thr0", "disk"), OVERLAY, snapshot("disk", "overlay")),
    _on_device("guest-fleeced", qcow2("fleece", "overlay.qcow2", backing="disk"), delete("fleece")),
    _on_device(
        "guest-of-drive", _named("new.qcow2", device="drive0"), sync(device="drive0", snapshot_file="newer.qcow2")
    ),
)

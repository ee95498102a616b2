"""Guest devices plugged and unplugged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.live.operations.held import Held, Step

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.qemu import Binary, Qemu

#: From here on each SCSI controller takes a backing image.
_BACKING = (10, 0)
_WORDS = (
    *("-device", "virtio-scsi-pci,id=scsi0", "-device", "qemu-xhci,id=xhci0"),
    *("-drive", "if=none,id=drive0,file=disk.qcow2,format=qcow2", "-drive", "if=none,id=empty"),
    *("-drive", "if=none,id=drive1,file=named.qcow2,format=qcow2,node-name=named0"),
)


def _images(binary: Binary, folder: Path) -> None:
    for image in ("disk", "named", "base"):
        binary.image("create", "-f", "qcow2", f"{image}.qcow2", "16M", folder=folder)
    binary.image("create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "top.qcow2", folder=folder)


def _nodes(qemu: Qemu) -> None:
    qemu.qmp("blockdev-add", driver="null-co", node_name="n0", size=1 << 24)
    qemu.qmp("blockdev-add", driver="null-co", node_name="ro0", size=1 << 24, read_only=True)
    base = {"driver": "qcow2", "node-name": "base0", "file": {"driver": "file", "filename": "base.qcow2"}}
    file = {"driver": "file", "filename": "top.qcow2", "node-name": "file0"}
    qemu.qmp("blockdev-add", driver="qcow2", node_name="fmt0", file=file, backing=base)
    qemu.qmp("object-add", qom_type="throttle-group", id="g0")
    qemu.qmp("blockdev-add", driver="null-co", node_name="n1", size=1 << 24)
    qemu.qmp("blockdev-add", driver="throttle", node_name="t0", file="n1", throttle_group="g0")


def _reset(qemu: Qemu) -> None:
    """A reset of the machine carries out what a guest was asked for and has not done."""
    qemu.qmp("system_reset")


def _add(identity: str, drive: str | None, driver: str = "scsi-hd", *, shared: bool = False) -> Step:
    arguments: dict[str, object] = {"driver": driver, "id": identity, "serial": "s"}
    if shared:
        arguments["share-rw"] = True
    if driver.startswith("scsi-"):
        arguments["bus"] = "scsi0.0"
    if driver in ("floppy", "virtio-scsi-pci"):
        del arguments["serial"]
    if drive is not None:
        arguments["drive"] = drive
    return "device_add", arguments


def _virtio(identity: str, drive: str) -> Step:
    return _add(identity, drive, "virtio-blk-pci")


def _del(identity: str) -> Step:
    return "device_del", {"id": identity}


def _gone(**data: str) -> Step:
    return "DEVICE_DELETED", dict(data)


def _bitmap(node: str, name: str, **more: object) -> Step:
    return "block-dirty-bitmap-add", {"node": node, "name": name, **more}


def _export(node: str, *, writable: bool = False) -> Step:
    return "block-export-add", {"type": "nbd", "id": "e0", "node-name": node, "writable": writable}


_SERVER: Step = ("nbd-server-start", {"addr": {"type": "unix", "data": {"path": "nbd.sock"}}})


def _case(
    name: str,
    *steps: Step,
    refused: str | None = None,
    since: tuple[int, int] = (0, 0),
    until: tuple[int, int] = (99, 0),
) -> Held:
    return Held(
        name,
        steps,
        words=_WORDS,
        setup=_nodes,
        images=_images,
        machine="pc",
        refused=refused,
        since=since,
        until=until,
        guest=_reset,
    )


CASES = (
    _case("scsi", _bitmap("n0", "b0"), _add("d0", "n0"), _del("d0"), _gone(device="d0")),
    _case("scsi-by-place", _add("d0", "n0"), _del("/machine/peripheral/d0"), _gone(path="/machine/peripheral/d0")),
    _case(
        "scsi-drive",
        _bitmap("drive0", "b0"),
        _bitmap("drive0", "b1", persistent=True),
        _add("d0", "drive0"),
        _del("d0"),
    ),
    _case("scsi-named-drive", _bitmap("named0", "b0"), _add("d0", "drive1"), _del("d0")),
    _case("scsi-drive-by-node", _bitmap("named0", "b0"), _add("d0", "named0"), _del("d0")),
    _case("virtio", _bitmap("n0", "b0"), _virtio("d0", "n0"), _del("d0"), _gone(device="d0")),
    _case("virtio-by-place", _virtio("d0", "n0"), _del("d0"), _gone(path="/machine/peripheral/d0/virtio-backend")),
    _case("virtio-drive", _bitmap("drive0", "b0"), _virtio("d0", "drive0"), _del("d0"), _gone(device="d0")),
    _case("virtio-short", _add("d0", "n0", "virtio-blk")),
    _case("usb", _add("d0", "n0", "usb-storage"), _del("d0"), _gone(device="d0")),
    _case("usb-drive", _bitmap("drive0", "b0"), _add("d0", "drive0", "usb-storage"), _del("d0")),
    _case("nvme", _add("d0", "n0", "nvme")),
    _case("cd", _add("d0", "ro0", "scsi-cd"), _del("d0")),
    _case("cd-empty", _add("d0", None, "scsi-cd"), _del("d0")),
    _case("cd-empty-drive", _add("d0", "empty", "scsi-cd"), _del("d0")),
    _case("nvme-without-a-disk", _add("d0", None, "nvme")),
    _case("controller", _add("scsi1", None, "virtio-scsi-pci")),
    _case("read-only", _add("d0", "ro0"), _virtio("d1", "ro0"), _add("d2", "ro0", "usb-storage"), _del("d0")),
    _case("image", _bitmap("fmt0", "b0", persistent=True), _add("d0", "fmt0"), _del("d0")),
    _case("filter", _bitmap("n1", "b0"), _add("d0", "t0"), _del("d0")),
    _case("shared-with-export", _SERVER, _export("n0", writable=True), _add("d0", "n0", shared=True)),
    _case("with-an-export", _SERVER, _export("n0"), _add("d0", "n0"), _del("d0")),
    _case("export-of-a-disk", _SERVER, _add("d0", "n0"), _export("n0"), _del("d0")),
    _case(
        "drive-that-an-export-outlives",
        *(_SERVER, _bitmap("named0", "b0"), _add("d0", "drive1"), _export("named0"), _del("d0")),
        ("block-export-del", {"id": "e0"}),
    ),
    _case("backing-image", _bitmap("base0", "b0"), _virtio("d0", "base0")),
    _case("backing-image-of-a-disk", _add("d0", "fmt0"), _virtio("d1", "base0")),
    _case("backing-image-over-scsi", _add("d0", "base0"), since=_BACKING),
    _case("no-such-disk", _add("d0", "nosuch"), refused="can't find value 'nosuch'"),
    _case("no-disk", _add("d0", None), refused="drive property not set"),
    _case("no-disk-for-virtio", _add("d0", None, "virtio-blk-pci"), refused="drive property not set"),
    _case("no-disk-for-usb", _add("d0", None, "usb-storage"), refused="drive property not set"),
    _case("no-medium", _add("d0", "empty"), refused="drive is empty"),
    _case("ide", _add("d0", "n0", "ide-hd"), refused="does not support hotplugging"),
    _case("floppy", _add("d0", "n0", "floppy"), refused="does not support hotplugging"),
    _case("id-taken", _add("d0", "n0"), _add("d0", "fmt0"), refused="'d0'"),
    _case("id-taken-by-virtio", _virtio("d0", "n0"), _add("d0", "fmt0"), refused="'d0'"),
    _case("id-malformed", _add("0", "n0"), refused="identifier", until=(7, 2)),
    _case("id-malformed-again", _add("0", "n0"), refused="Invalid qdev ID", since=(11, 1)),
    _case("drive-taken", _add("d0", "drive0"), _add("d1", "drive0"), refused="already in use by another device"),
    _case("node-taken", _add("d0", "n0"), _add("d1", "n0"), refused="write"),
    _case("node-taken-below-a-filter", _add("d0", "t0"), _add("d1", "n1"), refused="write"),
    _case("node-taken-above-it", _add("d0", "n1"), _add("d1", "t0"), refused="write"),
    _case("node-taken-by-a-writable-export", _SERVER, _export("n0", writable=True), _add("d0", "n0"), refused="write"),
    _case("file-of-an-image", _add("d0", "file0"), refused="write"),
    _case("file-of-an-image-shared", _add("d0", "file0", shared=True), refused="write"),
    _case("file-of-an-image-exported", _SERVER, _export("file0"), refused="resize"),
    _case("file-of-an-image-exported-writable", _SERVER, _export("file0", writable=True), refused="write"),
)

"""`blockdev-backup` and `drive-backup`, and what becomes of the bitmap that they work with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.live.operations.held import Held, Step
from tests.live.operations.layers import GO, SLOW, ask, event, start
from tests.live.qemu import Qemu

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.live.qemu import Binary

_SIZE = "8M"


def _images(binary: Binary, folder: Path) -> None:
    """A base, an overlay with more data than one step of a job copies, and empty images to copy to."""
    for name, size in (("base", _SIZE), ("to", _SIZE), ("other", _SIZE), ("spare", _SIZE), ("small", "1M")):
        binary.image("create", "-f", "qcow2", f"{name}.qcow2", size, folder=folder)
    binary.image("create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "disk.qcow2", folder=folder)
    binary.image("bench", "-w", "-c", "96", "-s", "65536", "disk.qcow2", folder=folder)
    binary.image("bitmap", "--add", "disk.qcow2", "p", folder=folder)
    binary.image("create", "-f", "raw", "raw.img", _SIZE, folder=folder)


def _nodes(qemu: Qemu) -> None:
    """Nodes to copy to, one with a bitmap, and on the disk a bitmap `b`."""
    for name in ("to", "other", "spare", "small"):
        qemu.qmp("blockdev-add", driver="qcow2", node_name=name, file={"driver": "file", "filename": f"{name}.qcow2"})
    qemu.qmp("block-dirty-bitmap-add", node="to", name="t", disabled=True)
    qemu.qmp("block-dirty-bitmap-add", node="disk", name="b")


def _dirty(qemu: Qemu) -> None:
    """All of that, and 6 MiB dirty in the bitmap `b`, and in one that does not record, `off`."""
    _nodes(qemu)
    qemu.qmp("block-dirty-bitmap-add", node="disk", name="off")
    qemu.write("disk", 0, length=6 << 20)
    qemu.qmp("block-dirty-bitmap-disable", node="disk", name="off")


def _exported(qemu: Qemu) -> None:
    """All of that, and the target exported."""
    _nodes(qemu)
    qemu.qmp("nbd-server-start", addr={"type": "unix", "data": {"path": "nbd.sock"}})
    qemu.qmp("block-export-add", type="nbd", id="e0", node_name="to", name="e0", writable=True)


def _throttled(qemu: Qemu) -> None:
    """All of that, and throttle filters above the disk and above the target."""
    _dirty(qemu)
    qemu.qmp("object-add", qom_type="throttle-group", id="g")
    qemu.qmp("blockdev-add", driver="throttle", node_name="thr", throttle_group="g", file="disk")
    qemu.qmp("blockdev-add", driver="throttle", node_name="thr2", throttle_group="g", file="to")


_DRIVE = ("-drive", "if=none,id=d0,node-name=disk,format=qcow2,file=disk.qcow2")
_NODE = ("-blockdev", "qcow2,node-name=disk,file.driver=file,file.filename=disk.qcow2")
_GUEST = (*_NODE, "-device", "virtio-blk-pci,drive=disk,id=vd")


def _backup(on: str = "d0", target: str = "to", sync: str = "full", **more: Any) -> Step:
    return start("blockdev-backup", on, target=target, sync=sync, **{"speed": SLOW, **more})


def _drive_backup(on: str = "d0", sync: str = "full", target: str = "new.img", **more: Any) -> Step:
    return start("drive-backup", on, target=target, sync=sync, **{"speed": SLOW, **more})


def _case(name: str, *steps: Step, words: tuple[str, ...] = _DRIVE, **more: Any) -> Held:
    machine = "q35" if "-device" in words else "none"
    return Held(name, steps, words, **{"setup": _dirty, "images": _images, "machine": machine, **more})


def _of(word: str) -> Step:
    return word, {"id": "j"}


_DONE = (GO, event("COMPLETED"))
_CANCEL = (ask("block-job-cancel"), event("CANCELLED"))
_MANUAL: dict[str, Any] = {"auto_finalize": False, "auto_dismiss": False}
_PENDING = ("BLOCK_JOB_PENDING", {"id": "j"})


def _with(sync: str, mode: str | None, **more: Any) -> Step:
    """A backup with the bitmap `b` to a node that has none, so that what it writes makes no bitmap dirty."""
    modes = {} if mode is None else {"bitmap_mode": mode}
    return _backup(target="other", sync=sync, **{"bitmap": "b", **modes, **more})


_ENDS = (
    _case("full", _backup(), *_DONE),
    _case("full-anonymous", _backup("disk", filter_node_name="flt"), *_DONE, words=_GUEST, setup=_nodes),
    _case("full-no-device", _backup("disk"), *_DONE, words=_NODE),
    _case("top", _backup(sync="top"), *_DONE),
    _case("none", _backup(sync="none"), *_CANCEL),
    _case("cancelled", _backup(filter_node_name="flt"), *_CANCEL),
    _case("job-cancelled", _backup(), _of("job-cancel"), event("CANCELLED")),
    _case("below-throttle", _backup("disk"), *_DONE, setup=_throttled),
    _case("of-throttle-to-throttle", _backup("thr", "thr2"), *_DONE, setup=_throttled),
    _case("to-below-throttle", _backup("disk"), *_CANCEL, setup=_throttled),
    _case("to-exported", _backup(), *_CANCEL, setup=_exported),
    _case("compressed", _backup(compress=True), *_DONE),
    _case("read-only-disk", _backup(), *_CANCEL, words=("-drive", f"{_DRIVE[1]},read-only=on"), setup=_nodes),
    _case(
        "two-at-once",
        _backup("disk"),
        ("blockdev-backup", {"job-id": "k", "device": "disk", "target": "other", "sync": "full", "speed": SLOW}),
        *_CANCEL,
        ("block-job-cancel", {"device": "k"}),
        ("BLOCK_JOB_CANCELLED", {"device": "k"}),
    ),
)

_BITMAPS = (
    _case("incremental", _with("incremental", None), *_DONE, counts=True),
    _case("incremental-cancelled", _with("incremental", "on-success"), *_CANCEL, counts=True),
    _case("incremental-off", _with("incremental", None, bitmap="off"), *_DONE, counts=True),
    _case("bitmap-on-success", _with("bitmap", "on-success"), *_DONE, counts=True),
    _case("bitmap-on-success-cancelled", _with("bitmap", "on-success"), *_CANCEL, counts=True),
    _case("bitmap-never", _with("bitmap", "never"), *_DONE, counts=True),
    _case("bitmap-never-cancelled", _with("bitmap", "never"), *_CANCEL, counts=True),
    _case("bitmap-always", _with("bitmap", "always"), *_DONE, counts=True),
    _case("bitmap-always-cancelled", _with("bitmap", "always"), *_CANCEL),
    _case("full-with-bitmap", _with("full", "on-success"), *_DONE, counts=True),
    _case("top-with-bitmap-cancelled", _with("top", "on-success"), *_CANCEL, counts=True),
)


def _running(word: str, arguments: dict[str, Any]) -> Callable[[Qemu], None]:
    """A setup that begins a job as well, so that what is captured has it running."""

    def setup(qemu: Qemu) -> None:
        _dirty(qemu)
        qemu.execute(word, arguments)

    return setup


_CAPTURED = (
    _case("captured-completes", *_DONE, setup=_running(*_backup())),
    _case("captured-cancelled", *_CANCEL, setup=_running(*_backup(filter_node_name="flt"))),
    _case("captured-drive", *_DONE, setup=_running(*_drive_backup())),
    _case("captured-with-bitmap", *_DONE, setup=_running(*_with("incremental", None))),
    _case("captured-with-bitmap-cancelled", *_CANCEL, setup=_running(*_with("bitmap", "never"))),
)

_MANUALLY = (
    _case(
        "finalized",
        _backup(**_MANUAL),
        GO,
        _PENDING,
        _of("job-finalize"),
        event("COMPLETED"),
        _of("job-dismiss"),
        since=(7, 2),
    ),
    _case("finalized-only", _backup(auto_finalize=False), GO, _PENDING, _of("job-finalize"), event("COMPLETED")),
    _case("cancelled-pending", _backup(auto_finalize=False), GO, _PENDING, *_CANCEL),
    _case("dismissed", _with("incremental", None, auto_dismiss=False), *_DONE, _of("job-dismiss"), since=(7, 2)),
)

_DRIVES = (
    _case("drive-full", _drive_backup(), *_DONE),
    _case("drive-cancelled", _drive_backup(), *_CANCEL),
    _case("drive-top", _drive_backup(sync="top"), *_DONE),
    _case("drive-none", _drive_backup(sync="none"), *_CANCEL),
    _case(
        "drive-none-anonymous",
        _drive_backup("disk", sync="none", filter_node_name="flt"),
        *_CANCEL,
        words=_GUEST,
        setup=_nodes,
    ),
    _case("drive-raw", _drive_backup(format="raw"), *_DONE),
    _case("drive-existing-raw", _drive_backup(target="raw.img", format="raw", mode="existing"), *_DONE),
    _case("drive-incremental", _drive_backup(sync="incremental", bitmap="b"), *_DONE, counts=True),
)


def _refused(name: str, said: str, *steps: Step, **more: Any) -> Held:
    return _case(f"refused-{name}", *steps, refused=said, **more)


_SECOND = {"job-id": "k", "device": "d0", "target": "other", "sync": "full"}
_READ_ONLY = ("-drive", f"{_DRIVE[1]},read-only=on")


def _unclean(binary: Binary, folder: Path) -> None:
    """All images, and the stored bitmap of the disk marked in use, as after a crash."""
    _images(binary, folder)
    with Qemu(binary, *_DRIVE, folder=folder, name="crashed") as qemu:
        qemu.write("disk", 0)
        qemu.kill()


_REFUSED = (
    _refused("read-only-bitmap", "readonly", _with("incremental", None, bitmap="p"), words=_READ_ONLY, setup=_nodes),
    _refused("inconsistent", "is inconsistent", _with("bitmap", "never", bitmap="p"), images=_unclean, setup=_nodes),
    _refused("device", "Cannot find device", _backup("nosuch")),
    _refused("target", "Cannot find device", _backup(target="nosuch")),
    _refused("into-itself", "Source and target cannot be the same", _backup(target="disk")),
    _refused("sizes-differ", "different sizes", _backup(target="small")),
    _refused("device-busy", "in use by block job: backup", _backup(), ("blockdev-backup", _SECOND)),
    _refused(
        "target-busy",
        "in use by block job: backup",
        _backup(),
        ("blockdev-backup", {**_SECOND, "device": "other", "target": "to"}),
    ),
    _refused("mirror-of-busy", "Need a root block node", _backup(), ("blockdev-mirror", {**_SECOND, "device": "disk"})),
    _refused("id-taken", "already in use", _backup(), _backup("other", "spare")),
    _refused("no-id", "Invalid job ID", ("blockdev-backup", {"device": "to", "target": "other", "sync": "full"})),
    _refused("filter-name-taken", "Duplicate node", _backup(filter_node_name="other")),
    _refused("target-of-guest", "onflict", _backup("to", "disk"), words=_GUEST, setup=_nodes),
    _refused("no-bitmap-named", "valid bitmap name", _backup(sync="incremental")),
    _refused("no-mode", "mode must be given", _with("bitmap", None)),
    _refused("mode-of-incremental", "must be 'on-success'", _with("incremental", "never")),
    _refused("mode-without-bitmap", "without a bitmap", _backup(bitmap_mode="always")),
    _refused("no-such-bitmap", "could not be found", _with("incremental", None, bitmap="nosuch")),
    _refused("none-with-bitmap", "meaningful", _with("none", "always")),
    _refused("full-with-bitmap-never", "meaningful", _with("full", "never")),
    _refused(
        "bitmap-busy",
        "in use by another operation",
        _with("incremental", None),
        ("blockdev-backup", {**_SECOND, "device": "disk", "target": "to", "sync": "incremental", "bitmap": "b"}),
    ),
    _refused(
        "remove-busy",
        "in use by another operation",
        _with("incremental", None),
        ("block-dirty-bitmap-remove", {"node": "disk", "name": "b"}),
    ),
    _refused("complete", "cannot accept command verb 'complete'", _backup(), ask("block-job-complete")),
    _refused("drive-raw-top", "Backing file not supported", _drive_backup(sync="top", format="raw")),
)

CASES = (*_ENDS, *_BITMAPS, *_CAPTURED, *_MANUALLY, *_DRIVES, *_REFUSED)

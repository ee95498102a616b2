"""`blockdev-mirror` and `drive-mirror`, and what is done to jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.live.operations.held import Held, Step
from tests.live.operations.layers import GO, SLOW, ask, event, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.live.qemu import Binary, Qemu

_SIZE = "1M"


def _images(binary: Binary, folder: Path) -> None:
    """A base, an overlay with data and a stored bitmap `p`, and empty images to copy to."""
    for name, size in (("base", _SIZE), ("base2", _SIZE), ("to", _SIZE), ("other", _SIZE), ("small", "512K")):
        binary.image("create", "-f", "qcow2", f"{name}.qcow2", size, folder=folder)
    binary.image("create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "disk.qcow2", folder=folder)
    for name in ("disk.qcow2", "other.qcow2"):
        binary.image("bench", "-w", "-c", "8", "-s", "65536", name, folder=folder)
    binary.image("bitmap", "--add", "disk.qcow2", "p", folder=folder)
    (folder / "raw.img").write_bytes(bytes(1 << 20))


def _filled(binary: Binary, folder: Path) -> None:
    """The same, with data in an image that has no backing image."""
    _images(binary, folder)
    binary.image("bench", "-w", "-c", "8", "-s", "65536", "base2.qcow2", folder=folder)


def _qcow2(qemu: Qemu, name: str, file: str, **more: object) -> None:
    qemu.qmp("blockdev-add", driver="qcow2", node_name=name, file={"driver": "file", "filename": file}, **more)


def _target(qemu: Qemu) -> None:
    """Two nodes to copy to, one of them with a bitmap, and a bitmap on the disk."""
    _qcow2(qemu, "to", "to.qcow2")
    qemu.qmp("block-dirty-bitmap-add", node="to", name="t", persistent=True)
    qemu.qmp("block-dirty-bitmap-add", node="disk", name="b")
    _qcow2(qemu, "other", "other.qcow2")
    _qcow2(qemu, "small", "small.qcow2")


def _drive(*more: str) -> tuple[str, ...]:
    """The disk as `-drive` opens it, below the device `d0`."""
    return "-drive", ",".join(("if=none,id=d0,node-name=disk,format=qcow2,file=disk.qcow2", *more))


def _guest(*more: str) -> tuple[str, ...]:
    """The disk as `-blockdev` opens it, below a guest device."""
    words = ",".join(("qcow2,node-name=disk,file.driver=file,file.filename=disk.qcow2", *more))
    return "-blockdev", words, "-device", "virtio-blk-pci,drive=disk,id=vd"


def _mirror(on: str, target: str = "to", sync: str = "full", **more: Any) -> Step:
    return start("blockdev-mirror", on, target=target, sync=sync, **{"speed": SLOW, **more})


def _drive_mirror(on: str, sync: str = "full", target: str = "new.img", **more: Any) -> Step:
    return start("drive-mirror", on, target=target, sync=sync, **{"speed": SLOW, **more})


def _case(name: str, *steps: Step, words: tuple[str, ...] | None = None, **more: Any) -> Held:
    words = _drive() if words is None else words
    machine = "q35" if "-device" in words else "none"
    return Held(name, steps, words, **{"setup": _target, "images": _images, "machine": machine, **more})


_READY = (GO, event("READY"))
_COMPLETE = (ask("block-job-complete"), event("COMPLETED"))
_PIVOT = (*_READY, *_COMPLETE)
_WITHOUT_PIVOT = (*_READY, ask("block-job-cancel"), event("COMPLETED"))
_CANCEL = (ask("block-job-cancel"), event("CANCELLED"))


def _of(word: str) -> Step:
    return word, {"id": "j"}


def _failed(error: str) -> Step:
    return "BLOCK_JOB_COMPLETED", {"device": "j", "error": error}


def _throttled(qemu: Qemu) -> None:
    """A throttle filter on the disk of another guest device, which makes it no root."""
    _target(qemu)
    qemu.qmp("object-add", qom_type="throttle-group", id="g")
    qemu.qmp("blockdev-add", driver="throttle", node_name="thr", throttle_group="g", file="other")


def _exported(qemu: Qemu) -> None:
    """The disk exported to write to, and the node `other` to read from."""
    _target(qemu)
    qemu.qmp("nbd-server-start", addr={"type": "unix", "data": {"path": "nbd.sock"}})
    qemu.qmp("block-export-add", type="nbd", id="e0", node_name="disk", name="e0", writable=True)
    qemu.qmp("block-export-add", type="nbd", id="e1", node_name="other", name="e1", writable=False)


def _with_file(qemu: Qemu) -> None:
    """A node to copy to whose file has a node-name of its own."""
    _target(qemu)
    qemu.qmp("blockdev-add", driver="file", node_name="f2", filename="base2.qcow2")
    qemu.qmp("blockdev-add", driver="qcow2", node_name="to2", file="f2")


_SAID: tuple[dict[str, Any], ...] = {"until": (5, 2)}, {"since": (7, 2)}
_MANUAL: dict[str, Any] = {"auto_finalize": False, "auto_dismiss": False}
_PENDING = ("BLOCK_JOB_PENDING", {"id": "j"})
_FINISH = (_of("job-finalize"), event("COMPLETED"), _of("job-dismiss"))

_BLOCKDEV = (
    _case("pivots", _mirror("d0"), *_PIVOT),
    _case("pivots-anonymous", _mirror("disk"), *_PIVOT, words=_guest()),
    _case("pivots-named-filter", _mirror("disk", filter_node_name="flt"), *_PIVOT, words=_guest()),
    _case("pivots-twice", _mirror("d0"), *_PIVOT, _mirror("d0", target="other"), *_CANCEL),
    _case("named-filter", _mirror("d0", filter_node_name="flt"), *_PIVOT),
    _case("sync-top", _mirror("d0", sync="top"), *_PIVOT),
    _case("sync-none", _mirror("d0", sync="none"), event("READY"), *_COMPLETE),
    _case("write-blocking", _mirror("d0", copy_mode="write-blocking", granularity=65536), *_PIVOT),
    _case("cancelled-running", _mirror("d0"), *_CANCEL),
    _case("cancelled-ready", _mirror("d0"), *_WITHOUT_PIVOT),
    _case("cancelled-ready-anonymous", _mirror("disk"), *_WITHOUT_PIVOT, words=_guest()),
    _case("cancelled-ready-by-force", _mirror("d0"), *_READY, ask("block-job-cancel", force=True), event("CANCELLED")),
    _case("job-cancelled-ready", _mirror("d0"), *_READY, _of("job-cancel"), event("CANCELLED")),
    _case("job-completed", _mirror("d0"), *_READY, _of("job-complete"), event("COMPLETED")),
    _case("read-only-disk", _mirror("d0"), *_PIVOT, words=_drive("read-only=on")),
    _case("exported-disk", _mirror("disk"), *_PIVOT, words=_guest("read-only=off")[:2], setup=_exported),
    _case("replaces-itself", _mirror("d0", replaces="disk"), *_PIVOT),
    _case("replaces-below-throttle", _mirror("thr", replaces="other"), *_PIVOT, setup=_throttled),
    _case("throttle-pivots", _mirror("thr"), *_PIVOT, setup=_throttled),
    _case("to-throttle", _mirror("d0", target="thr"), *_PIVOT, setup=_throttled),
    _case("to-below-throttle", _mirror("d0", target="other"), *_PIVOT, setup=_throttled),
    _case("to-named-file", _mirror("d0", target="to2"), *_PIVOT, _mirror("d0"), *_PIVOT, setup=_with_file),
    _case("sizes-differ-5.2", _mirror("d0", target="small"), _failed("Invalid argument"), **_SAID[0]),
    _case(
        "sizes-differ",
        _mirror("d0", target="small"),
        _failed("Source and target image have different sizes"),
        **_SAID[1],
    ),
)

_MANUALLY = (
    _case("finalized", _mirror("d0", **_MANUAL), *_READY, ask("block-job-complete"), _PENDING, *_FINISH),
    _case("finalized-without-pivot", _mirror("d0", **_MANUAL), *_READY, ask("block-job-cancel"), _PENDING, *_FINISH),
    _case(
        "cancelled-pending",
        _mirror("d0", **_MANUAL),
        *_READY,
        ask("block-job-complete"),
        _PENDING,
        ask("block-job-cancel"),
        event("CANCELLED"),
        _of("block-job-dismiss"),
    ),
    _case(
        "finalized-only",
        _mirror("d0", auto_finalize=False),
        *_READY,
        ask("block-job-complete"),
        _PENDING,
        _of("block-job-finalize"),
        event("COMPLETED"),
    ),
    _case("dismissed-only", _mirror("d0", auto_dismiss=False), *_CANCEL, _of("job-dismiss")),
)

_DRIVE = (
    _case("drive-pivots", _drive_mirror("d0"), *_PIVOT),
    _case("drive-pivots-anonymous", _drive_mirror("disk", node_name="new"), *_PIVOT, words=_guest()),
    _case("drive-sync-top", _drive_mirror("d0", "top", node_name="new"), *_PIVOT),
    _case("drive-sync-top-anonymous", _drive_mirror("disk", "top"), *_PIVOT, words=_guest()),
    _case("drive-sync-none", _drive_mirror("d0", "none"), event("READY"), *_COMPLETE),
    _case("drive-sync-none-anonymous", _drive_mirror("disk", "none"), *_COMPLETE, words=_guest()),
    _case("drive-raw", _drive_mirror("d0", format="raw"), *_PIVOT),
    _case("drive-existing-raw", _drive_mirror("d0", "top", "raw.img", format="raw", mode="existing"), *_PIVOT),
    _case("drive-cancelled-running", _drive_mirror("d0", node_name="new"), *_CANCEL),
    _case("drive-cancelled-ready", _drive_mirror("d0"), *_WITHOUT_PIVOT),
    _case("drive-replaces", _drive_mirror("d0", node_name="new", replaces="disk"), *_PIVOT),
    _case(
        "drive-throttle", _drive_mirror("thr", format="qcow2", node_name="new"), *_READY, *_COMPLETE, setup=_throttled
    ),
    _case("drive-read-only-disk", _drive_mirror("d0"), *_PIVOT, words=_drive("read-only=on")),
)

_SECOND = ("blockdev-mirror", {"job-id": "k", "device": "d0", "target": "other", "sync": "full", "speed": 1})


def _refused(name: str, said: str, *steps: Step, **more: Any) -> Held:
    return _case(f"refused-{name}", *steps, refused=said, **more)


_REFUSED = (
    _refused("device", "Cannot find device", _mirror("nosuch")),
    _refused("target", "Cannot find device", _mirror("d0", target="nosuch")),
    _refused("into-itself", "mirror node into itself", _mirror("d0", target="disk")),
    _refused("no-root", "Need a root block node", _mirror("other"), setup=_throttled),
    _refused("source-busy", "Need a root block node", _mirror("d0"), _SECOND),
    _refused(
        "target-busy",
        "in use by block job: mirror",
        _mirror("d0"),
        ("blockdev-mirror", {**_SECOND[1], "device": "small", "target": "to"}),
    ),
    _refused("id-taken", "already in use", _mirror("d0"), _mirror("small", target="other")),
    _refused("no-id", "Invalid job ID", ("blockdev-mirror", {"device": "to", "target": "other", "sync": "full"})),
    _refused("incremental", "not supported", _mirror("d0", sync="incremental")),
    _refused("granularity", "power of 2", _mirror("d0", granularity=1000)),
    _refused("replaces-unknown", "ode", _mirror("d0", replaces="nosuch")),
    _refused("replaces-other", "Cannot replace", _mirror("d0", replaces="other")),
    _refused("filter-name-taken", "Duplicate node", _mirror("d0", filter_node_name="other")),
    _refused("filter-name-is-device", "conflicting with a device id", _mirror("d0", filter_node_name="d0")),
    _refused("filter-name", "Invalid node", _mirror("d0", filter_node_name="#flt")),
    _refused("filter-name-long", "Node name too long", _mirror("d0", filter_node_name="f" * 32)),
    _refused("target-of-device", "onflict", _mirror("to", target="d0")),
    _refused("target-exported", "onflict", _mirror("disk", target="other"), words=_guest()[:2], setup=_exported),
    _refused("complete-running", "cannot accept command verb 'complete'", _mirror("d0"), ask("block-job-complete")),
    _refused("complete-nothing", "not found", ask("block-job-complete")),
    _refused("cancel-nothing", "not found", ask("block-job-cancel")),
    _refused("finalize-running", "cannot accept command verb 'finalize'", _mirror("d0"), _of("job-finalize")),
    _refused("dismiss-running", "cannot accept command verb 'dismiss'", _mirror("d0"), _of("job-dismiss")),
    _refused("drive-replaces-without-name", "node-name must be provided", _drive_mirror("d0", replaces="disk")),
    _refused("drive-raw-top", "Backing file not supported", _drive_mirror("d0", "top", format="raw")),
    _refused("drive-throttle", "does not support image creation", _drive_mirror("thr"), setup=_throttled),
    _refused("drive-name-taken", "Duplicate node", _drive_mirror("d0", node_name="other")),
)


def _running(word: str, arguments: dict[str, Any], *, ready: bool = False) -> Callable[[Qemu], None]:
    """A setup that begins a job as well, so that what is captured has it running, or ready."""

    def setup(qemu: Qemu) -> None:
        _target(qemu)
        qemu.execute(word, arguments)
        if ready:
            qemu.execute(*GO)
            qemu.wait_event("BLOCK_JOB_READY", device="j")

    return setup


_CAPTURED = (
    _case("captured-pivots", *_PIVOT, setup=_running(*_mirror("d0"))),
    _case(
        "captured-pivots-anonymous", *_PIVOT, words=_guest(), setup=_running(*_mirror("disk", filter_node_name="flt"))
    ),
    _case("captured-ready-pivots", *_COMPLETE, setup=_running(*_mirror("d0"), ready=True)),
    _case("captured-cancelled", *_CANCEL, setup=_running(*_mirror("d0"))),
    _case(
        "captured-drive-pivots",
        *_PIVOT,
        words=("-drive", "if=none,id=d0,node-name=disk,format=qcow2,file=base2.qcow2"),
        images=_filled,
        setup=_running(*_drive_mirror("d0")),
    ),
    _case("captured-drive-raw", *_PIVOT, setup=_running(*_drive_mirror("d0", format="raw"))),
    _case("captured-drive-cancelled", *_WITHOUT_PIVOT, setup=_running(*_drive_mirror("d0"))),
)

CASES = (*_BLOCKDEV, *_CAPTURED, *_MANUALLY, *_DRIVE, *_REFUSED)

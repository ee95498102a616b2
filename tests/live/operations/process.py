"""A whole QEMU that ends, in order or not, and one of the same configuration that takes its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.live.operations.held import Held, Step

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.live.qemu import Binary, Qemu

_SHUTDOWN: Step = ("shutdown-and-restart", {})
_CRASH: Step = ("crash-and-restart", {})
_INCOMING: Step = ("incoming", {})
_SERVER: Step = ("nbd-server-start", {"addr": {"type": "unix", "data": {"path": "nbd.sock"}}})
#: Up to here QEMU adds persistent bitmaps to nodes that are read-only.
_READ_ONLY_TOO = (10, 0)
#: From here on an export may leave a node inactive.
_INACTIVE = (10, 0)


def _images(binary: Binary, folder: Path) -> None:
    binary.image("create", "-f", "qcow2", "base.qcow2", "16M", folder=folder)
    # without anything to copy a stream is over at once
    binary.image("bench", "-w", "-c", "8", "-s", "524288", "base.qcow2", folder=folder)
    for name, more in (("below", ()), ("below-disabled", ("--disable",))):
        binary.image("bitmap", "--add", *more, "base.qcow2", name, folder=folder)
    binary.image("create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "top.qcow2", folder=folder)
    for image in ("disk.qcow2", "ro.qcow2"):
        binary.image("create", "-f", "qcow2", image, "16M", folder=folder)
    binary.image("bitmap", "--add", "ro.qcow2", "old", folder=folder)
    binary.image("bitmap", "--add", "disk.qcow2", "old", folder=folder)


def _nodes(qemu: Qemu) -> None:
    qemu.qmp("blockdev-add", driver="null-co", node_name="n0", size=1 << 24)
    file = {"driver": "file", "filename": "ro.qcow2"}
    qemu.qmp("blockdev-add", driver="qcow2", node_name="ro0", read_only=True, file=file)
    qemu.qmp("blockdev-add", driver="qcow2", node_name="fmt0", file={"driver": "file", "filename": "top.qcow2"})


_WORDS = ("-drive", "if=none,id=drive0,file=disk.qcow2,format=qcow2")


def _bitmap(node: str, name: str, **more: object) -> Step:
    return "block-dirty-bitmap-add", {"node": node, "name": name, **more}


_BITMAPS = (
    _bitmap("n0", "b0"),
    _bitmap("fmt0", "transient"),
    _bitmap("fmt0", "persistent", persistent=True),
    _bitmap("fmt0", "disabled", persistent=True, disabled=True),
    _bitmap("drive0", "persistent", persistent=True, granularity=4096),
)
_BUSY = (
    _SERVER,
    _bitmap("fmt0", "busy", persistent=True, disabled=True),
    ("block-export-add", {"type": "nbd", "id": "e0", "node-name": "fmt0", "bitmaps": ["busy"]}),
)


_PC_WORDS = (*_WORDS, "-device", "virtio-scsi-pci,id=scsi0", "-device", "virtio-blk-pci,id=disk0,drive=drive0")


def _plugged(qemu: Qemu) -> None:
    _nodes(qemu)
    qemu.qmp("device_add", driver="scsi-hd", id="disk1", drive="fmt0", bus="scsi0.0")


def _with_jobs(*jobs: Callable[[Qemu], None]) -> Callable[[Qemu], None]:
    """The configuration, and a bitmap and jobs that only the first process is given."""

    def setup(qemu: Qemu) -> None:
        _plugged(qemu)
        if qemu.name != "source":
            return
        qemu.qmp("block-dirty-bitmap-add", node="fmt0", name="persistent", persistent=True)
        qemu.write("disk1", 0, 1 << 20, length=1 << 20, qdev=True)
        for job in jobs:
            job(qemu)

    return setup


def _mirror(**more: object) -> Callable[[Qemu], None]:
    def start(qemu: Qemu) -> None:
        qemu.qmp("blockdev-mirror", job_id="job0", device="fmt0", target="n0", sync="full", **more)
        qemu.wait_event("BLOCK_JOB_READY", device="job0")

    return start


def _drive_mirror(qemu: Qemu) -> None:
    qemu.qmp("drive-mirror", job_id="job0", device="drive0", target="target.qcow2", format="qcow2", sync="full")
    qemu.wait_event("BLOCK_JOB_READY", device="job0")


def _backup(**more: object) -> Callable[[Qemu], None]:
    def start(qemu: Qemu) -> None:
        qemu.qmp("blockdev-backup", job_id="job0", device="fmt0", target="n0", sync="full", speed=1, **more)

    return start


def _commit(qemu: Qemu) -> None:
    qemu.qmp("block-commit", job_id="job0", device="fmt0", speed=1)


def _stream(qemu: Qemu) -> None:
    qemu.qmp("block-stream", job_id="job0", device="fmt0", speed=1)


def _case(name: str, *steps: Step, since: tuple[int, int] = (0, 0), until: tuple[int, int] = (99, 0)) -> Held:
    return Held(name, steps, words=_WORDS, setup=_nodes, images=_images, counts=True, since=since, until=until)


def _on_pc(name: str, setup: Callable[[Qemu], None], *steps: Step) -> Held:
    return Held(name, steps, words=_PC_WORDS, setup=setup, images=_images, machine="pc")


def _ended(name: str, *jobs: Callable[[Qemu], None]) -> tuple[Held, ...]:
    """All that can happen to a process with those jobs."""
    setup = _with_jobs(*jobs)
    return tuple(
        _on_pc(f"{name}-{word}", setup, step)
        for word, step in (("shut-down", _SHUTDOWN), ("crashed", _CRASH), ("incoming", _INCOMING))
    )


CASES = (
    _case("shut-down", *_BITMAPS, _SHUTDOWN),
    _case("shut-down-twice", *_BITMAPS, _SHUTDOWN, _SHUTDOWN),
    _case("shut-down-with-an-export", *_BUSY, _SHUTDOWN),
    _case("shut-down-after-a-crash", *_BITMAPS, _SHUTDOWN, _CRASH, _SHUTDOWN),
    _case("shut-down-read-only", _bitmap("ro0", "new", persistent=True), _SHUTDOWN, until=_READ_ONLY_TOO),
    _case("crashed-before-anything-was-stored", *_BITMAPS, _CRASH),
    _case("crashed-after-it-was-stored", *_BITMAPS, _SHUTDOWN, _bitmap("fmt0", "new", persistent=True), _CRASH),
    _case("crashed-with-an-export", *_BUSY, _CRASH),
    _case("incoming-beside-the-source", *_BITMAPS, _INCOMING),
    _case("incoming-after-a-restart", *_BITMAPS, _SHUTDOWN, _INCOMING),
    _case("incoming-after-a-crash", *_BITMAPS, _SHUTDOWN, _CRASH, _INCOMING),
    _case(
        "incoming-exported-inactive",
        _BITMAPS[2],
        _SHUTDOWN,
        _INCOMING,
        _SERVER,
        ("block-export-add", {"type": "nbd", "id": "e0", "node-name": "fmt0", "allow-inactive": True}),
        since=_INACTIVE,
    ),
    _on_pc("devices-shut-down", _plugged, *_BITMAPS, _SHUTDOWN),
    _on_pc("devices-crashed", _plugged, *_BITMAPS, _SHUTDOWN, _CRASH),
    _on_pc("devices-incoming", _plugged, *_BITMAPS, _SHUTDOWN, _INCOMING),
    *_ended("mirror", _mirror()),
    *_ended("named-mirror", _mirror(filter_node_name="mirror0")),
    *_ended("drive-mirror", _drive_mirror),
    *_ended("backup", _backup()),
    *_ended("named-backup", _backup(filter_node_name="backup0")),
    *_ended("commit", _commit),
    *_ended("stream", _stream),
)

"""What operations on a real QEMU look like between two captures, in the words of `changes`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig import graph, state
from bitmapmig.changes import Changes, changes
from bitmapmig.collect import collect
from bitmapmig.plans.fingerprint import identify
from tests.live.qemu import Binary, Qemu, binaries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bitmapmig.plans.document import Identity

MIB = 1 << 20
#: A job with these arguments copies one granule, and the next in a few hours.
SLOW = {"speed": 1, "granularity": 65536, "buf_size": 65536}


@pytest.fixture(params=binaries(), ids=lambda binary: binary.version)
def qemu(request: pytest.FixtureRequest) -> Iterator[Qemu]:
    """A QEMU with a disk that has a bitmap, a medium in another drive, and images for overlays and copies."""
    binary: Binary = request.param
    words = ["-object", "throttle-group,id=group"]
    words += ["-drive", "if=none,id=drive0,node-name=fmt0,format=qcow2,file=fmt0.qcow2"]
    words += ["-drive", "if=none,id=cdrom0,node-name=cd0,driver=null-co,size=1M,read-zeroes=on"]
    started = Qemu(binary, *words, paused=False)
    for image in ("fmt0", "snap0", "copy0"):
        binary.image("create", "-q", "-f", "qcow2", f"{image}.qcow2", str(16 * MIB), folder=started.folder)
    with started:
        started.write("fmt0", 0, length=4 * MIB)
        started.qmp("block-dirty-bitmap-add", node="fmt0", name="daily")
        yield started


def _identity(qemu: Qemu) -> Identity:
    capture = asyncio.run(collect(qemu.endpoint))
    return identify(state.read(capture), graph.read(capture, "source")[0])


def _image(qemu: Qemu, name: str, **more: Any) -> None:
    file = {"driver": "file", "filename": f"{name}.qcow2"}
    qemu.qmp("blockdev-add", driver="qcow2", node_name=name, file=file, **more)


class Watched:
    """The QEMU as it was at the last look."""

    def __init__(self, qemu: Qemu) -> None:
        self.qemu = qemu
        self.last = _identity(qemu)

    def look(self) -> Changes:
        """What changed since the last look; there is something relevant where the fingerprint differs."""
        before, self.last = self.last, _identity(self.qemu)
        found = changes(before, self.last)
        assert bool(found.relevant) is (before.fingerprint != self.last.fingerprint)
        return found

    def said(self, operation: Callable[[Qemu], object]) -> tuple[list[str], list[str]]:
        """What an operation changes: what is relevant, and what is not."""
        operation(self.qemu)
        found = self.look()
        return [one.words for one in found.relevant], [one.words for one in found.irrelevant]


def _add_throttle(qemu: Qemu) -> None:
    qemu.qmp("blockdev-add", driver="throttle", node_name="throttle0", throttle_group="group", file="fmt0")


def _commit(qemu: Qemu) -> None:
    qemu.qmp("block-commit", job_id="commit0", device="snap0")
    qemu.wait_event("BLOCK_JOB_READY", device="commit0")
    qemu.qmp("job-complete", id="commit0")
    qemu.wait_event("BLOCK_JOB_COMPLETED", device="commit0")


def _mirror(qemu: Qemu) -> None:
    arguments = {"device": "fmt0", "target": "copy0", "sync": "full", "filter_node_name": "mirror-top"}
    qemu.qmp("blockdev-mirror", job_id="mirror0", **arguments, **SLOW)


def _cancel(qemu: Qemu) -> None:
    qemu.qmp("job-cancel", id="mirror0")
    qemu.wait_event("BLOCK_JOB_CANCELLED", device="mirror0")


def _pivot(qemu: Qemu) -> None:
    qemu.qmp("blockdev-mirror", job_id="mirror1", device="fmt0", target="copy0", sync="full")
    qemu.wait_event("BLOCK_JOB_READY", device="mirror1")
    qemu.qmp("job-complete", id="mirror1")
    qemu.wait_event("BLOCK_JOB_COMPLETED", device="mirror1")


def _serve(qemu: Qemu) -> None:
    qemu.qmp("nbd-server-start", addr={"type": "unix", "data": {"path": "nbd.sock"}})
    qemu.qmp("nbd-server-add", device="fmt0")


def test_operations_between_two_looks(qemu: Qemu) -> None:
    """Each operation is said in one sentence or two, whichever QEMU it is; a guest that writes is no change."""
    watched = Watched(qemu)
    bitmap = {"node": "fmt0", "name": "weekly"}
    steps: list[tuple[Callable[[Qemu], object], list[str], list[str]]] = [
        (lambda q: q.write("fmt0", 8 * MIB, length=MIB), [], []),
        (_add_throttle, ["filter 'throttle0' was inserted above node 'fmt0'"], []),
        (lambda q: q.qmp("blockdev-del", node_name="throttle0"),
         ["filter 'throttle0' was removed from above node 'fmt0'"], []),
        (lambda q: q.qmp("block-dirty-bitmap-add", **bitmap), ["bitmap 'weekly' was added to node 'fmt0'"], []),
        (lambda q: q.qmp("block-dirty-bitmap-disable", **bitmap),
         ["bitmap 'weekly' of node 'fmt0' is now disabled"], []),
        (lambda q: q.qmp("block-dirty-bitmap-enable", **bitmap), ["bitmap 'weekly' of node 'fmt0' is now enabled"], []),
        (lambda q: q.qmp("block-dirty-bitmap-remove", **bitmap), ["bitmap 'weekly' of node 'fmt0' is gone"], []),
        (lambda q: q.qmp("eject", device="cdrom0"), [],
         ["medium 'cd0' was ejected from device 'cdrom0'", "node 'cd0' ('null-co') is gone"]),
        (lambda q: q.qmp("block_resize", node_name="fmt0", size=32 * MIB),
         [f"the size of node 'fmt0' is now {32 * MIB} bytes instead of {16 * MIB}"], []),
        (lambda q: q.qmp("block_resize", node_name="fmt0", size=16 * MIB),
         [f"the size of node 'fmt0' is now {16 * MIB} bytes instead of {32 * MIB}"], []),
        (_serve, ["export 'fmt0' ('nbd') of node 'fmt0' began"], []),
        (lambda q: q.qmp("nbd-server-stop"), ["export 'fmt0' ('nbd') of node 'fmt0' ended"], []),
    ]  # fmt: skip
    assert [watched.said(operation) for operation, *_ in steps] == [(said, aside) for _, said, aside in steps]


def test_snapshot_and_commit(qemu: Qemu) -> None:
    """An overlay is put on top and what is below turns read-only; an active commit gives the device its root back."""
    watched = Watched(qemu)
    steps: list[tuple[Callable[[Qemu], object], list[str], list[str]]] = [
        (lambda q: _image(q, "snap0", backing=None), [], ["node 'snap0' ('qcow2') is new"]),
        (lambda q: q.qmp("blockdev-snapshot", node="fmt0", overlay="snap0"),
         ["overlay 'snap0' was put on top of node 'fmt0'", "node 'fmt0' is now read-only"], []),
        (_commit,
         ["the root of device 'drive0' is now node 'fmt0' instead of 'snap0'", "node 'fmt0' is no longer read-only"],
         []),
        (lambda q: q.qmp("blockdev-del", node_name="snap0"), ["node 'snap0' ('qcow2') is gone"], []),
    ]  # fmt: skip
    assert [watched.said(operation) for operation, *_ in steps] == [(said, aside) for _, said, aside in steps]


def test_mirror_and_pivot(qemu: Qemu) -> None:
    """A mirror brings its filter and its job; after the pivot the root is another, the old one and its bitmap gone."""
    watched = Watched(qemu)
    holds = "job 'mirror0' ('mirror') {}on 'copy0', 'fmt0', 'mirror-top'{}"
    steps: list[tuple[Callable[[Qemu], object], list[str], list[str]]] = [
        (lambda q: _image(q, "copy0"), [], ["node 'copy0' ('qcow2') is new"]),
        (_mirror,
         ["filter 'mirror-top' was inserted above node 'fmt0'", holds.format("began ", "")], []),
        (_cancel,
         ["filter 'mirror-top' was removed from above node 'fmt0'", holds.format("", " ended")], []),
        (_pivot,
         ["the root of device 'drive0' is now node 'copy0' instead of 'fmt0'", "node 'fmt0' ('qcow2') is gone",
          "bitmap 'daily' of node 'fmt0' is gone"], []),
    ]  # fmt: skip
    assert [watched.said(operation) for operation, *_ in steps] == [(said, aside) for _, said, aside in steps]


def test_incremental_backup_makes_its_bitmap_busy(qemu: Qemu) -> None:
    """While it runs the bitmap is busy, its filter stands above the node and its job holds both."""
    _image(qemu, "copy0")
    qemu.write("fmt0", 0, length=4 * MIB)
    watched = Watched(qemu)
    backup = {"device": "fmt0", "target": "copy0", "sync": "incremental", "bitmap": "daily", "speed": 1}
    qemu.qmp("blockdev-backup", job_id="backup0", **backup)
    kinds = [one.kind for one in watched.look().relevant]
    assert kinds == ["filter-inserted", "bitmap-busy", "job-began"]


def test_another_process_at_the_same_endpoint(qemu: Qemu) -> None:
    """A QEMU with another uuid and machine type in the place of the one that was planned for is said to be another."""
    before = _identity(qemu)
    with Qemu(qemu.binary, "-uuid", "11111111-2222-3333-4444-555555555555", "-m", "32", machine="q35") as other:
        kinds = [one.kind for one in changes(before, _identity(other)).relevant]
    assert kinds[:2] == ["uuid-changed", "machine-type-changed"]
    assert kinds[2:] == ["device-unplugged", "node-gone", "bitmap-removed"]

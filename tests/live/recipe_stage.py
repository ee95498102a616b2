"""A live QEMU on which recipes are followed while its guest writes, and what was really written.

What is written by the guest is written to a node `ref` as well, whose bitmaps begin when those of the disk begin: bit
for bit theirs are what the others must be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitmapmig.recipes import Recipe, recipe
from tests.live.operations.held import captured
from tests.live.qemu import Binary, Qemu

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

MIB = 1 << 20
SIZE = 16 * MIB
_GUEST = "vd0"  # a SCSI disk can be unplugged while the guest stands still
_JOBS = ("blockdev-mirror", "drive-mirror", "block-commit", "block-stream", "blockdev-backup")


class Stage:
    """A QEMU with one guest device over a disk, and what was written to it."""

    def __init__(self, binary: Binary, folder: Path, stack: ExitStack) -> None:
        self.binary = binary
        self.folder = folder
        self._stack = stack
        self._next = 0

    def image(self) -> None:
        """Make the image `d0.qcow2`."""
        self.binary.image("create", "-f", "qcow2", "d0.qcow2", str(SIZE), folder=self.folder)

    def start(self, *words: str, disk: str = "disk") -> None:
        """Start it with a disk of the id or node-name `disk`."""
        device = ("-device", "virtio-scsi-pci", "-device", f"scsi-hd,id=vd0,drive={disk}", "-m", "32")
        self.qemu = self._stack.enter_context(Qemu(self.binary, *words, *device, folder=self.folder, machine="q35"))
        self.qemu.qmp("blockdev-add", driver="null-co", node_name="ref", size=SIZE)

    def blockdev(self, name: str = "disk") -> None:
        """Start it with one explicit node over `d0.qcow2`."""
        self.start("-blockdev", f"qcow2,node-name={name},file.driver=file,file.filename=d0.qcow2", disk=name)

    def overlay(self, name: str, below: str) -> None:
        """Make an empty overlay and take a snapshot of `below` into it, without any recipe."""
        self.binary.image("create", "-f", "qcow2", f"{name}.qcow2", str(SIZE), folder=self.folder)
        file = {"driver": "file", "filename": f"{name}.qcow2"}
        self.qemu.qmp("blockdev-add", driver="qcow2", node_name=name, backing=None, file=file)
        if below:
            self.qemu.qmp("blockdev-snapshot", node=below, overlay=name)

    def add(self, node: str, name: str, **more: Any) -> None:
        """Begin a bitmap on a node, and its like on `ref` where there is none yet."""
        self.qemu.qmp("block-dirty-bitmap-add", node=node, name=name, **more)
        if ("ref", name) not in self.qemu.bitmaps():
            self.qemu.qmp("block-dirty-bitmap-add", node="ref", name=name, **{**more, "persistent": False})

    def write(self) -> None:
        """Let the guest write 4 KiB in three places where it has not written before."""
        for place in range(self._next, self._next + 3):
            offset = place * 5 * 65536 + (place % 3) * 20480
            self.qemu.write(_GUEST, offset, length=4096, qdev=True)
            self.qemu.write("ref", offset, length=4096)
        self._next += 3

    def disable(self, node: str, name: str) -> None:
        """Let a bitmap record no more, and its like."""
        for at in (node, "ref"):
            self.qemu.qmp("block-dirty-bitmap-disable", node=at, name=name)

    def recipe(self, word: str, **arguments: Any) -> Recipe:
        """The recipe of an operation on what is there now."""
        made = recipe(captured(self.qemu), word, {key.replace("_", "-"): value for key, value in arguments.items()})
        assert made is not None
        return made

    def follow(self, made: Recipe) -> None:
        """Do what the recipe says; the guest writes while jobs copy, when they are ready, and afterwards."""
        for step in made.steps:
            if step.after is not None:
                found = self.qemu.wait_event(step.after.event, **step.after.data)
                assert "error" not in found["data"]
                if step.after.event == "BLOCK_JOB_READY":
                    self.write()
            if step.note:
                _, *words = step.note.split()  # qemu-img
                self.binary.image(*words, folder=self.folder)
            self.qemu.execute(step.command.execute, step.command.arguments)
            self.qemu.events.clear() if step.command.execute in _JOBS else None
            if step.command.execute in _JOBS and "speed" in step.command.arguments:
                self.write()
                identity = step.command.arguments.get("job-id", step.command.arguments["device"])
                self.qemu.qmp("block-job-set-speed", device=identity, speed=0)

    def settled(self, identity: str) -> None:
        """Wait until a job has ended well, then let the guest write."""
        assert "error" not in self.qemu.wait_event("BLOCK_JOB_COMPLETED", device=identity)["data"]
        self.write()

    def compare(self, made: Recipe) -> None:
        """Hold every bitmap that the recipe keeps against what was really written."""
        there = self.qemu.bitmaps()
        kept = [one for one in made.bitmaps if one.result in ("exact", "superset")]
        assert kept
        for one in kept:
            now, ref = there[str(one.kept_on), one.bitmap], there["ref", one.bitmap]
            assert (one.bitmap, now.granularity, now.recording, now.busy) == (
                one.bitmap, ref.granularity, ref.recording, False)  # fmt: skip
            assert ref.count
            if one.result == "exact":
                assert (one.bitmap, now.count, now.digest) == (one.bitmap, ref.count, ref.digest)
            else:
                assert self._holds(str(one.kept_on), one.bitmap, now.granularity) == now.digest
        assert not [name for _, name in there if ".tmp" in name]

    def _holds(self, node: str, name: str, granularity: int) -> str | None:
        """The digest of a bitmap together with what was written: its own, where it holds all of that."""
        self.qemu.qmp("block-dirty-bitmap-add", node="ref", name="both", granularity=granularity)
        sources = [{"node": node, "name": name}, name]
        self.qemu.qmp("block-dirty-bitmap-merge", node="ref", target="both", bitmaps=sources)
        digest = self.qemu.digest("ref", "both")
        self.qemu.qmp("block-dirty-bitmap-remove", node="ref", name="both")
        return digest


def begin_bitmaps(stage: Stage, node: str) -> None:
    """One of each kind, and what was written to them."""
    stage.add(node, "daily", persistent=True)
    stage.add(node, "fine", granularity=4096)
    stage.add(node, "frozen", granularity=131072)
    stage.write()
    stage.disable(node, "frozen")
    stage.write()

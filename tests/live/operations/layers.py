"""Chains of four qcow2 images with data in each layer, opened in the ways in which users open them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.live.operations.held import Step

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.qemu import Binary, Qemu

COUNT = 4
#: So slow that a job that has data to copy is still at it when it is looked at.
SLOW = 1


def images(binary: Binary, folder: Path) -> None:
    """Make `img0.qcow2` to `img3.qcow2`, each backed by the one before, with 4 MiB of data and a stored bitmap `p`."""
    for number in range(COUNT):
        name = f"img{number}.qcow2"
        backing = ("-b", f"img{number - 1}.qcow2", "-F", "qcow2") if number else ()
        binary.image("create", "-f", "qcow2", *backing, name, "16M", folder=folder)
        binary.image("bench", "-w", "-c", "8", "-s", "524288", "-o", f"{number}M", name, folder=folder)
        binary.image("bitmap", "--add", name, "p", folder=folder)


def blockdev(*, first: str = "read-only=on,") -> tuple[str, ...]:
    """The chain node by node: `n0` to `n3`, each of which the monitor holds; `first` is said of `n0`."""
    words: list[str] = []
    for number in range(COUNT):
        said = first if number == 0 else "read-only=on," if number < COUNT - 1 else ""
        backing = f",backing=n{number - 1}" if number else ""
        words += (
            "-blockdev",
            f"qcow2,{said}node-name=n{number},file.driver=file,file.filename=img{number}.qcow2{backing}",
        )
    return tuple(words)


def drive(name: str = "d0", *, named: bool = True, more: str = "") -> tuple[str, ...]:
    """The chain below one named device, which the monitor does not hold; with explicit node-names or without.

    `more` is said besides.
    """
    if not named:
        return "-drive", f"if=none,id={name},format=qcow2,file=img{COUNT - 1}.qcow2"
    said = ["if=none", f"id={name}", *more.split()]
    for number in reversed(range(COUNT)):
        at = "backing." * (COUNT - 1 - number)
        said += [f"{at}driver=qcow2", f"{at}node-name=n{number}", f"{at}file.driver=file"]
        said += [f"{at}file.filename=img{number}.qcow2"]
    return "-drive", ",".join(said)


def device(drive: str) -> tuple[str, ...]:
    """A guest device of that drive."""
    return "-device", f"virtio-blk-pci,drive={drive},id=vd"


def bitmaps(qemu: Qemu) -> None:
    """Add a transient bitmap `b` to each image of the chain."""
    for node, record in qemu.nodes().items():
        if record["drv"] == "qcow2":
            qemu.qmp("block-dirty-bitmap-add", node=node, name="b")


def start(word: str, device: str, **more: Any) -> Step:
    """A job `j` on a device or node."""
    return word, {"job-id": "j", "device": device, **{key.replace("_", "-"): value for key, value in more.items()}}


def event(name: str) -> Step:
    """An event of the job `j`."""
    return f"BLOCK_JOB_{name}", {"device": "j"}


def ask(word: str, **more: Any) -> Step:
    """What the job `j` is asked for."""
    return word, {"device": "j", **more}


#: The job `j` copies as fast as it can from now on.
GO: Step = ("block-job-set-speed", {"device": "j", "speed": 0})

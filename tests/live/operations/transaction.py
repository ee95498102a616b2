"""Transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.live.operations.bitmaps import add as bitmap
from tests.live.operations.bitmaps import merge, one
from tests.live.operations.held import Held, Step
from tests.live.operations.nodes import file, group, images
from tests.live.operations.snapshot import OVERLAY, snapshot, sync

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.qemu import Binary, Qemu

_DRIVE = ("-drive", "if=none,id=drive0,file=empty.qcow2,format=qcow2")


def _images(binary: Binary, folder: Path) -> None:
    images(binary, folder)
    binary.image("create", "-f", "qcow2", "overlay.qcow2", "16M", folder=folder)


def _bitmaps(qemu: Qemu) -> None:
    group(qemu)
    qemu.qmp("blockdev-add", driver="null-co", node_name="n0", size=1 << 24)
    qemu.qmp("blockdev-add", driver="qcow2", node_name="disk", file=file("disk.qcow2"))
    for name in ("b0", "b1"):
        qemu.qmp("block-dirty-bitmap-add", node="n0", name=name)
    qemu.write("n0", 0, 1 << 20)
    qemu.qmp("block-dirty-bitmap-add", node="disk", name="transient")


def transaction(*actions: Step, **more: Any) -> Step:
    """Do several at once."""
    return "transaction", {"actions": [{"type": word, "data": data} for word, data in actions], **more}


def _case(name: str, *steps: Step, refused: str | None = None) -> Held:
    return Held(name, steps, setup=_bitmaps, images=_images, words=_DRIVE, refused=refused, counts=True)


_ABORT: Step = ("abort", {})
_NAMED = {"snapshot_file": "new.qcow2", "snapshot_node_name": "new"}

CASES = (
    _case("empty", transaction()),
    _case("one", transaction(bitmap("n0", "b2"))),
    _case("seen-by-later", transaction(bitmap("n0", "b2"), merge("n0", "b2", "b0"), one("disable", "n0", "b2"))),
    _case("merged-and-cleared", transaction(bitmap("n0", "b2"), merge("n0", "b2", "b0"), one("clear", "n0", "b0"))),
    _case("switched", transaction(one("disable", "n0", "b0"), bitmap("n0", "b2"), one("enable", "n0", "b0"))),
    _case("removed", transaction(one("remove", "n0", "b0"), one("remove", "disk", "daily"))),
    _case(
        "snapshot", OVERLAY, transaction(snapshot("disk", "overlay"), bitmap("overlay", "transient", persistent=True))
    ),
    _case(
        "snapshot-and-old-node",
        OVERLAY,
        transaction(
            bitmap("disk", "early", persistent=True),
            snapshot("disk", "overlay"),
            bitmap("disk", "late", persistent=True),
            one("clear", "disk", "daily"),
            one("remove", "disk", "weekly"),
        ),
    ),
    _case(
        "snapshot-of-device",
        bitmap("drive0", "b0", persistent=True),
        transaction(sync(device="drive0", **_NAMED), bitmap("drive0", "b0", persistent=True), bitmap("new", "b1")),
    ),
    _case(
        "snapshot-twice",
        transaction(sync(device="drive0", **_NAMED), sync(device="drive0", snapshot_file="newer.qcow2")),
    ),
    _case("snapshot-of-unused", transaction(sync(node_name="disk", **_NAMED), bitmap("new", "b0"))),
    _case(
        "backup",
        ("blockdev-add", {"driver": "null-co", "node-name": "target", "size": 1 << 24}),
        transaction(
            bitmap("n0", "b2"),
            ("blockdev-backup", {"job-id": "job0", "device": "n0", "target": "target", "sync": "full", "speed": 1}),
            bitmap("disk", "since"),
        ),
    ),
    _case("individual", transaction(bitmap("n0", "b2"), properties={"completion-mode": "individual"})),
    # refused
    _case("aborted", transaction(bitmap("n0", "b2"), one("clear", "n0", "b0"), _ABORT), refused="Abort action"),
    _case("aborted-snapshot", OVERLAY, transaction(snapshot("disk", "overlay"), _ABORT), refused="Abort action"),
    _case("aborted-removal", transaction(one("remove", "n0", "b0"), _ABORT), refused="Abort action"),
    _case("added-twice", transaction(bitmap("n0", "b2"), bitmap("n0", "b2")), refused="already exists"),
    _case("removed-and-added", transaction(one("remove", "n0", "b0"), bitmap("n0", "b0")), refused="already exists"),
    _case("removed-twice", transaction(*[one("remove", "n0", "b0")] * 2), refused="in use by another operation"),
    _case("removed-and-cleared", transaction(one("remove", "n0", "b0"), one("clear", "n0", "b0")), refused="in use by"),
    _case("last-refused", transaction(bitmap("n0", "b2"), one("clear", "n0", "nosuch")), refused="not found"),
    _case(
        "grouped",
        transaction(bitmap("n0", "b2"), properties={"completion-mode": "grouped"}),
        refused="completion-mode = grouped",
    ),
)

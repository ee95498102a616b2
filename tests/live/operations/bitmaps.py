"""Operations on bitmaps: add, remove, clear, enable, disable, merge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.live.operations.held import Held, Step
from tests.live.qemu import Qemu

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.qemu import Binary

#: The first release that takes no persistent bitmap on a read-only node, and the last that does.
_REFUSES, _ALLOWS = (11, 1), (10, 0)


def _images(binary: Binary, folder: Path) -> None:
    for words in (
        "create -f qcow2 disk.qcow2 16M",
        "create -f qcow2 huge.qcow2 4T",
        "create -f qcow2 -o cluster_size=8192 fine.qcow2 16M",
        "create -f qcow2 -o cluster_size=512 finest.qcow2 16M",
        "create -f qcow2 -o cluster_size=2M coarse.qcow2 16M",
        "create -f qcow2 -o compat=0.10 old.qcow2 16M",
        "create -f qcow2 broken.qcow2 16M",
        "bitmap --add disk.qcow2 stored",
        "bitmap --add broken.qcow2 broken",
    ):
        binary.image(*words.split(), folder=folder)
    # a QEMU that is killed leaves the bitmap marked in use
    with Qemu(binary, folder=folder, name="killed") as qemu:
        _open(qemu, "fmt0", "broken.qcow2")
    binary.image("bitmap", "--add", "broken.qcow2", "fine", folder=folder)


def _open(qemu: Qemu, node: str, file: str, **more: Any) -> None:
    qemu.qmp("blockdev-add", driver="qcow2", node_name=node, file={"driver": "file", "filename": file}, **more)


def _nodes(qemu: Qemu) -> None:
    qemu.qmp("blockdev-add", driver="null-co", node_name="n0", size=1 << 24)
    qemu.qmp("blockdev-add", driver="null-co", node_name="small", size=1 << 20)
    for name in ("disk", "huge", "fine", "finest", "coarse", "old", "broken"):
        _open(qemu, name, f"{name}.qcow2")


def _read_only(qemu: Qemu) -> None:
    _open(qemu, "disk", "disk.qcow2", read_only=True)


def _dirty(qemu: Qemu) -> None:
    for node in ("n0", "n1"):
        qemu.qmp("blockdev-add", driver="null-co", node_name=node, size=1 << 24)
        for name, granularity in (("fine", 4096), ("middle", 65536), ("coarse", 1 << 20), ("whole", 1 << 31)):
            qemu.qmp("block-dirty-bitmap-add", node=node, name=name, granularity=granularity)
    qemu.write("n0", 0, length=4096)


def _exported(qemu: Qemu) -> None:
    _open(qemu, "disk", "disk.qcow2")
    qemu.qmp("block-dirty-bitmap-add", node="disk", name="other")
    qemu.qmp("block-dirty-bitmap-disable", node="disk", name="stored")
    qemu.qmp("nbd-server-start", addr={"type": "unix", "data": {"path": "nbd.sock"}})
    qemu.qmp("block-export-add", type="nbd", id="export0", node_name="disk", bitmaps=["stored"])


def add(node: str, name: str, **more: object) -> Step:
    """Make a bitmap."""
    return "block-dirty-bitmap-add", {"node": node, "name": name, **more}


def one(word: str, node: str, name: str) -> Step:
    """Remove, clear, enable or disable a bitmap."""
    return f"block-dirty-bitmap-{word}", {"node": node, "name": name}


def merge(node: str, target: str, *bitmaps: object) -> Step:
    """Merge bitmaps: of the same node by name, of others by `(node, name)`."""
    sources = [{"node": source[0], "name": source[1]} if isinstance(source, tuple) else source for source in bitmaps]
    return "block-dirty-bitmap-merge", {"node": node, "target": target, "bitmaps": sources}


def _case(name: str, *steps: Step, refused: str | None = None) -> Held:
    return Held(name, steps, setup=_nodes, images=_images, refused=refused, counts=True)


def _on_read_only(name: str, *steps: Step, refused: str | None = None, **on: Any) -> Held:
    return Held(name, steps, setup=_read_only, images=_images, refused=refused, **on)


def _merged(name: str, *steps: Step) -> Held:
    return Held(name, steps, setup=_dirty, counts=True)


def _busy(name: str, step: Step) -> Held:
    return Held(f"busy-{name}", (step,), setup=_exported, images=_images, refused="in use by another operation")


CASES = (
    _case(
        "added", add("n0", "b0"), add("n0", "b1", granularity=512, disabled=True), add("n0", "b2", granularity=1 << 31)
    ),
    _case("added-persistent", add("disk", "b0", persistent=True), add("huge", "b0", persistent=True, granularity=1024)),
    _case("added-twice", add("n0", "b0"), add("n0", "b0"), refused="already exists"),
    _case("added-as-stored", add("disk", "stored"), refused="already exists"),
    _case(
        "added-by-cluster",
        *(add(node, "b0") for node in ("disk", "fine", "finest", "coarse")),
        add("fine", "b1", granularity=512),
    ),
    _case(
        "added-by-cluster-below",
        ("blockdev-add", {"driver": "copy-on-read", "node-name": "cor0", "file": "fine"}),
        ("blockdev-add", {"driver": "raw", "node-name": "raw0", "file": "cor0"}),
        add("cor0", "b0"),
        add("raw0", "b0"),
    ),
    _case("added-persistent-to-null-co", add("n0", "b0", persistent=True), refused="an't store persistent bitmaps"),
    _case("added-persistent-to-old", add("old", "b0", persistent=True), refused="in qcow2 v2 files"),
    _case("added-transient-to-old", add("old", "b0")),
    _case("added-too-large", add("huge", "b0", persistent=True, granularity=512), refused="Too much space"),
    _case("added-to-nothing", add("nosuch", "b0"), refused="Cannot find"),
    _case("added-without-name", add("n0", ""), refused="cannot be empty"),
    _case("added-with-longest-name", add("n0", "b" * 1023)),
    _case("added-with-long-name", add("n0", "é" * 512), refused="too long"),
    _case("added-too-fine", add("n0", "b0", granularity=256), refused="power of 2"),
    _case("added-odd", add("n0", "b0", granularity=513), refused="power of 2"),
    _case("removed", add("disk", "b0", persistent=True), one("remove", "disk", "stored"), one("remove", "disk", "b0")),
    _case("removed-nothing", one("remove", "n0", "b0"), refused="not found"),
    _case("cleared", add("n0", "b0"), one("clear", "n0", "b0")),
    _case(
        "switched", add("n0", "b0"), one("disable", "n0", "b0"), one("disable", "n0", "b0"), one("enable", "n0", "b0")
    ),
    # inconsistent
    *(
        _case(f"inconsistent-{word}", one(word, "broken", "broken"), refused="is inconsistent")
        for word in ("clear", "enable", "disable")
    ),
    _case("inconsistent-target", merge("broken", "broken", "fine"), refused="is inconsistent"),
    _case("inconsistent-source", merge("broken", "fine", "broken"), refused="is inconsistent"),
    _case("inconsistent-added", add("broken", "broken"), refused="already exists"),
    _case("inconsistent-removed", one("remove", "broken", "broken"), add("broken", "broken", persistent=True)),
    # busy
    *(_busy(word, one(word, "disk", "stored")) for word in ("clear", "enable", "disable", "remove")),
    _busy("target", merge("disk", "stored", "other")),
    _busy("source", merge("disk", "other", "stored")),
    # read-only
    _on_read_only("read-only-cleared", one("clear", "disk", "stored"), refused="is readonly"),
    _on_read_only("read-only-removed", one("remove", "disk", "stored"), refused=" 'stored'"),
    _on_read_only("read-only-switched", one("disable", "disk", "stored"), one("enable", "disk", "stored")),
    _on_read_only("read-only-target", add("disk", "b0"), merge("disk", "stored", "b0"), refused="is readonly"),
    _on_read_only("read-only-source", add("disk", "b0"), merge("disk", "b0", "stored"), one("remove", "disk", "b0")),
    _on_read_only(
        "read-only-added-persistent",
        add("disk", "b0", persistent=True),
        one("clear", "disk", "b0"),
        one("remove", "disk", "b0"),
        until=_ALLOWS,
    ),
    _on_read_only(
        "read-only-added-persistent", add("disk", "b0", persistent=True), refused="to read-only or", since=_REFUSES
    ),
    # merges
    _merged("merged", merge("n1", "middle", ("n0", "middle")), merge("n1", "middle", ("n0", "middle"), "middle")),
    _merged("merged-into-itself", merge("n0", "fine", "fine")),
    _merged("merged-finer", merge("n1", "fine", ("n0", "coarse")), merge("n0", "coarse", "whole")),
    _merged("merged-coarser", merge("n1", "coarse", ("n0", "fine")), merge("n1", "whole", "coarse")),
    _merged("merged-clean", merge("n0", "fine", ("n1", "fine"), ("n1", "coarse"))),
    _merged(
        "merged-disabled",
        one("disable", "n0", "fine"),
        one("disable", "n1", "fine"),
        merge("n1", "fine", ("n0", "fine")),
    ),
    _case("merged-nothing", add("n0", "b0"), merge("n0", "b0", "nosuch"), refused="not found"),
    _case("merged-into-nothing", add("n0", "b0"), merge("n0", "nosuch", "b0"), refused="not found"),
    _case("merged-of-nowhere", add("n0", "b0"), merge("n0", "b0", ("nosuch", "b0")), refused="not found"),
    _case(
        "merged-sizes",
        add("n0", "b0"),
        add("small", "b0"),
        merge("n0", "b0", ("small", "b0")),
        refused="can't be merged",
    ),
    Held("merged-empty", (add("n0", "b0"), merge("n0", "b0")), setup=_nodes, images=_images, until=(5, 2)),
)

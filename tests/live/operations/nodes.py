"""Nodes opened and closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.live.operations.held import Held, Step

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.qemu import Binary, Qemu

_SIZE = 1 << 24


def images(binary: Binary, folder: Path) -> None:
    """Images of 16 MiB: without and with bitmaps, on a backing image that has one, of version 2; a raw one."""
    for words in (
        "create -f qcow2 disk.qcow2 16M",
        "create -f qcow2 empty.qcow2 16M",
        "create -f qcow2 base.qcow2 16M",
        "create -f qcow2 -b base.qcow2 -F qcow2 top.qcow2 16M",
        "create -f qcow2 -o compat=0.10 old.qcow2 16M",
        "create -f raw disk.raw 16M",
        "bitmap --add disk.qcow2 daily",
        "bitmap --add -g 4096 --disable disk.qcow2 weekly",
        "bitmap --add base.qcow2 daily",
    ):
        binary.image(*words.split(), folder=folder)


def group(qemu: Qemu) -> None:
    """Make the throttle group that filters need."""
    qemu.qmp("object-add", qom_type="throttle-group", id="group0")


def file(name: str, **more: Any) -> dict[str, Any]:
    """The options of a file."""
    return {"driver": "file", "filename": name, **more}


def qcow2(node: str, below: str | dict[str, Any], *, holding: dict[str, Any] | None = None, **more: Any) -> Step:
    """Open a qcow2 image as a node: a file `*.qcow2`, options, or a node; `holding` is what more the image holds."""
    options = file(below) if isinstance(below, str) and below.endswith(".qcow2") else below
    image = {"virtual-size": _SIZE, **(holding or {})}
    return "blockdev-add", {"driver": "qcow2", "node-name": node, "file": options, "image": image, **more}


def add(driver: str, node: str, **more: Any) -> Step:
    """Open a node of another driver."""
    return "blockdev-add", {"driver": driver, "node-name": node, **more}


def file_node(node: str, name: str, **more: Any) -> Step:
    """Open the file of an empty qcow2 image as a node."""
    return add("file", node, filename=name, image={"virtual-size": 197120}, **more)


def throttle(node: str, below: str | dict[str, Any], **more: Any) -> Step:
    """Put a throttle filter above a node that is there, or opened inside."""
    return add("throttle", node, file=below, **{"throttle-group": "group0"}, **more)


def delete(node: str) -> Step:
    """Close a node."""
    return "blockdev-del", {"node-name": node}


_READ_ONLY: dict[str, Any] = {"read-only": True}
_TWO = {"bitmaps": [{"name": "daily"}, {"name": "weekly", "granularity": 4096, "recording": False}]}
_BASE = {"virtual-size": _SIZE, "bitmaps": [{"name": "daily"}]}
_HEADER = {"backing": {"driver": "qcow2", "file": file("base.qcow2"), "image": _BASE}}
_INSIDE = {
    "driver": "qcow2",
    "node-name": "base0",
    "file": file("base.qcow2", **{"node-name": "file0"}),
    "image": _BASE,
}


def _case(name: str, *steps: Step, refused: str | None = None) -> Held:
    return Held(name, steps, setup=group, images=images, words=("-drive", "if=none,id=drive0"), refused=refused)


CASES = (
    _case("null", add("null-co", "n0"), add("null-aio", "n1", size=1000), delete("n0")),
    _case("null-read-only", add("null-co", "n0", **_READ_ONLY)),
    _case("image", qcow2("fmt0", "empty.qcow2"), delete("fmt0")),
    _case("image-with-bitmaps", qcow2("fmt0", "disk.qcow2", holding=_TWO), delete("fmt0")),
    _case("image-read-only", qcow2("fmt0", "disk.qcow2", holding=_TWO, **_READ_ONLY), delete("fmt0")),
    _case("image-of-version-2", qcow2("fmt0", "old.qcow2", holding={"compat": "0.10"})),
    _case("image-on-what-its-header-says", qcow2("fmt0", "top.qcow2", holding=_HEADER), delete("fmt0")),
    _case("image-on-backing-inside", qcow2("fmt0", "top.qcow2", backing=_INSIDE)),
    _case("image-on-nothing", qcow2("fmt0", "top.qcow2", holding=_HEADER, backing=None)),
    _case(
        "image-on-node",
        qcow2("base0", "base.qcow2", holding={"bitmaps": [{"name": "daily"}]}),
        qcow2("fmt0", "top.qcow2", backing="base0"),
        delete("fmt0"),
        delete("base0"),
    ),
    _case("image-in-named-file", qcow2("fmt0", file("empty.qcow2", **{"node-name": "file0"})), delete("fmt0")),
    _case("raw", add("raw", "fmt0", file=file("disk.raw"), size=1 << 20, offset=512), delete("fmt0")),
    _case("raw-on-null", add("null-co", "n0"), add("raw", "fmt0", file="n0", **_READ_ONLY)),
    _case("raw-part", add("null-co", "n0", size=1 << 20), add("raw", "fmt0", file="n0", offset=65536)),
    _case("throttle", qcow2("fmt0", "empty.qcow2"), throttle("thr0", "fmt0"), delete("thr0"), delete("fmt0")),
    _case("throttle-inside", throttle("thr0", {"driver": "null-co", "node-name": "n0"}), delete("thr0")),
    _case("throttle-read-only", add("null-co", "n0", **_READ_ONLY), throttle("thr0", "n0")),
    _case("copy-on-read", qcow2("fmt0", "empty.qcow2"), add("copy-on-read", "cor0", file="fmt0"), delete("cor0")),
    _case("drive-taken-for-child", add("raw", "fmt0", file="drive0"), refused="has no medium"),
    # refused
    _case("no-node-name", add("null-co", "n0"), ("blockdev-add", {"driver": "null-co"}), refused="must be specified"),
    _case("generated-name", add("null-co", "#block1"), refused="Invalid node"),
    _case("odd-name", add("null-co", "a/b"), refused="Invalid node"),
    _case("longest-name", add("null-co", "n" * 31)),
    _case("long-name", add("null-co", "n" * 32), refused="too long"),
    _case("name-taken", add("null-co", "n0"), add("null-co", "n0"), refused="Duplicate node"),
    _case("name-of-device", add("null-co", "drive0"), refused="conflicting with a device id"),
    _case("no-such-child", add("raw", "fmt0", file="nosuch"), refused="Cannot find device"),
    _case("file-is-missing", ("blockdev-add", {"driver": "raw", "node-name": "fmt0"}), refused="missing"),
    _case(
        "file-has-writer",
        file_node("file0", "empty.qcow2"),
        qcow2("fmt0", "file0"),
        qcow2("fmt1", "file0", **_READ_ONLY),
        refused="file",
    ),
    _case(
        "file-has-two-readers",
        file_node("file0", "empty.qcow2"),
        qcow2("fmt0", "file0", **_READ_ONLY),
        qcow2("fmt1", "file0", **_READ_ONLY),
        add("raw", "fmt2", file="file0"),
    ),
    _case(
        "writer-on-read-only-file",
        file_node("file0", "empty.qcow2", **_READ_ONLY),
        qcow2("fmt0", "file0"),
        refused="read-only",
    ),
    _case(
        "copy-on-read-on-read-only",
        add("null-co", "n0", **_READ_ONLY),
        throttle("thr0", "n0"),
        add("copy-on-read", "cor0", file="thr0"),
        refused="read-only",
    ),
    _case("closed-in-use", add("null-co", "n0"), throttle("thr0", "n0"), delete("n0"), refused="in use"),
    _case("closed-backing", qcow2("fmt0", "top.qcow2", backing=_INSIDE), delete("base0"), refused="backing hd"),
    _case(
        "closed-inside",
        qcow2("fmt0", file("empty.qcow2", **{"node-name": "file0"})),
        delete("file0"),
        refused="not owned by the monitor",
    ),
    _case("closed-nothing", delete("nosuch"), refused="find node"),
    _case("closed-device", delete("drive0"), refused="find node"),
)

"""Filters put in and taken out at run time, and nodes turned read-only and writable."""

from __future__ import annotations

from typing import Any

from tests.live.operations.bitmaps import add as bitmap
from tests.live.operations.held import Held, Step
from tests.live.operations.nodes import add, delete, file, group, images, qcow2, throttle

_STABLE, _LAST_UNSTABLE = (6, 1), (6, 0)
_KEEPS_SIZE, _TAKES_SIZE = (7, 2), (10, 0)
_READ_ONLY = {"read-only": True}
_SIZE = 1 << 24
_TWO = {"bitmaps": [{"name": "daily"}, {"name": "weekly", "granularity": 4096, "recording": False}]}
_DISK = qcow2("fmt0", "disk.qcow2", holding=_TWO)
_NULL = add("null-co", "n0", size=_SIZE)
_TRANSIENT, _PERSISTENT = bitmap("fmt0", "transient"), bitmap("fmt0", "persistent", persistent=True)


def _image(node: str, below: str | dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"driver": "qcow2", "node-name": node, "file": below, **more}


def _throttle(node: str, below: str | dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"driver": "throttle", "node-name": node, "throttle-group": "group0", "file": below, **more}


def _raw(node: str, below: str | dict[str, Any]) -> dict[str, Any]:
    return {"driver": "raw", "node-name": node, "file": below}


def _reopen(*options: dict[str, Any]) -> Step:
    return "blockdev-reopen", {"options": list(options)}


def _case(name: str, *steps: Step, refused: str | None = None, since: tuple[int, int] = _STABLE, **on: Any) -> Held:
    return Held(name, steps, setup=group, images=images, refused=refused, since=since, **on)


def _old(name: str, *steps: Step, refused: str | None = None) -> Held:
    steps = tuple(
        ("x-blockdev-reopen", arguments["options"][0]) if word == "blockdev-reopen" else (word, arguments)
        for word, arguments in steps
    )
    return _case(f"old-{name}", *steps, refused=refused, since=(0, 0), until=_LAST_UNSTABLE)


_SWITCHED = (
    _DISK,
    _TRANSIENT,
    _PERSISTENT,
    _reopen(_image("fmt0", file("disk.qcow2"), **_READ_ONLY)),
    _reopen(_image("fmt0", file("disk.qcow2"), **_READ_ONLY)),
    _reopen(_image("fmt0", file("disk.qcow2"))),
)
_BACKING = (
    _NULL,
    throttle("thr0", "n0"),
    bitmap("n0", "b0"),
    qcow2("fmt0", "empty.qcow2", backing="n0"),
    _reopen(_image("fmt0", file("empty.qcow2"), backing="thr0")),
    _reopen(_image("fmt0", file("empty.qcow2"), backing=None)),
    _reopen(_image("fmt0", file("empty.qcow2"), backing="n0")),
)
_HEADER = {
    "backing": {
        "driver": "qcow2",
        "file": file("base.qcow2"),
        "image": {"virtual-size": _SIZE, "bitmaps": [{"name": "daily"}]},
    }
}
_TOP = qcow2("fmt0", "top.qcow2", holding=_HEADER)
_DETACHED = (_TOP, _reopen(_image("fmt0", file("top.qcow2"), backing=None)))
_MISSING = (_TOP, _reopen(_image("fmt0", file("top.qcow2"))))

_DEVICE = (
    *(
        "-object",
        "throttle-group,id=group0",
        "-blockdev",
        "driver=qcow2,node-name=fmt0,file.driver=file,file.filename=disk.qcow2",
    ),
    *("-device", "virtio-blk-pci,id=vd0,drive=fmt0", "-drive", "if=none,id=drive1,driver=null-co"),
    *("-device", "virtio-blk-pci,id=vd1,drive=drive1"),
)


def _swap(device: str, node: str) -> Step:
    return "qom-set", {"path": f"/machine/peripheral/{device}", "property": "drive", "value": node}


def _on_device(name: str, *steps: Step, refused: str | None = None, since: tuple[int, int] = (7, 2), **on: Any) -> Held:
    return Held(name, steps, words=_DEVICE, images=images, machine="pc", refused=refused, since=since, **on)


_SWAPPED = (throttle("thr0", "fmt0"), _TRANSIENT, _swap("vd0", "thr0"))

CASES = (
    _on_device("device-put-on-throttle", *_SWAPPED, _swap("vd0", "fmt0"), delete("thr0")),
    _on_device("device-put-on-another", _NULL, _swap("vd1", "n0")),
    _on_device("device-put-on-nothing", _swap("vd0", "nosuch"), refused="Cannot find"),
    _on_device("device-put-on-device", _swap("vd0", "drive1"), refused="Cannot find"),
    _on_device("device-final", *_SWAPPED, refused="after it was realized", since=(0, 0), until=(5, 2)),
    _case("switched", *_SWITCHED),
    _case("backing", *_BACKING),
    _case("backing-detached", *_DETACHED),
    _case("backing-missing", *_MISSING, refused="backing is missing"),
    _old("switched", *_SWITCHED),
    _old("backing", *_BACKING),
    _old("backing-detached", *_DETACHED),
    _old("backing-missing", *_MISSING, refused="backing is missing"),
    _case(
        "throttle-put-in",
        _DISK,
        _TRANSIENT,
        add("raw", "root", file="fmt0"),
        bitmap("root", "above"),
        throttle("thr0", "fmt0"),
        _reopen(_raw("root", "thr0")),
        _reopen(_raw("root", "fmt0")),
        delete("thr0"),
    ),
    _case(
        "copy-on-read-put-in",
        _DISK,
        _TRANSIENT,
        add("raw", "root", file="fmt0"),
        add("copy-on-read", "cor0", file="fmt0"),
        _reopen(_raw("root", "cor0")),
        delete("root"),
    ),
    _case(
        "several",
        _DISK,
        _NULL,
        add("raw", "root", file="fmt0"),
        throttle("thr0", "fmt0"),
        _reopen(_raw("root", "thr0"), _throttle("thr0", "n0")),
    ),
    _case(
        "child-inside-ends",
        _NULL,
        throttle("thr0", {"driver": "null-co", "node-name": "n1", "size": _SIZE}),
        bitmap("n1", "b0"),
        _reopen(_throttle("thr0", "n0")),
    ),
    _case(
        "child-inside-follows",
        throttle("thr0", {"driver": "null-co", "size": _SIZE}),
        _reopen(_throttle("thr0", {"driver": "null-co", "size": _SIZE}, **_READ_ONLY)),
        _reopen(_throttle("thr0", {"driver": "null-co", "size": _SIZE, **_READ_ONLY})),
    ),
    _case("named-child-stays", _NULL, throttle("thr0", "n0"), _reopen(_throttle("thr0", "n0", **_READ_ONLY))),
    _case(
        "size-kept",
        _NULL,
        add("null-co", "n1", size=1 << 25),
        throttle("thr0", "n0"),
        _reopen(_throttle("thr0", "n1")),
        until=_KEEPS_SIZE,
    ),
    _case(
        "size-taken",
        _NULL,
        add("null-co", "n1", size=1 << 25),
        throttle("thr0", "n0"),
        _reopen(_throttle("thr0", "n1")),
        since=_TAKES_SIZE,
    ),
    _case(
        "size-of-raw",
        _NULL,
        add("null-co", "n1", size=1 << 25),
        add("raw", "root", file="n0"),
        _reopen(_raw("root", "n1")),
    ),
    # refused
    _case(
        "not-before-6.1",
        _NULL,
        _reopen({"driver": "null-co", "node-name": "n0", "size": _SIZE}),
        refused="has not been found",
        since=(0, 0),
        until=_LAST_UNSTABLE,
    ),
    _case(
        "x-not-from-6.1",
        _NULL,
        ("x-blockdev-reopen", {"driver": "null-co", "node-name": "n0", "size": _SIZE}),
        refused="has not been found",
    ),
    _old(
        "file",
        _NULL,
        add("null-co", "n1", size=_SIZE),
        throttle("thr0", "n0"),
        _reopen(_throttle("thr0", "n1")),
        refused="Cannot change the option 'file'",
    ),
    _case("nothing", _reopen(_raw("nosuch", "n0")), refused="Failed to find node"),
    _case("nameless", _NULL, _reopen({"driver": "null-co"}), refused="node-name not specified"),
    _case(
        "driver",
        _NULL,
        _reopen({"driver": "null-aio", "node-name": "n0", "size": _SIZE}),
        refused="Cannot change the option 'driver'",
    ),
    _case(
        "size",
        _NULL,
        _reopen({"driver": "null-co", "node-name": "n0", "size": 512}),
        refused="Cannot change the option 'size'",
    ),
    _case(
        "cycle",
        _NULL,
        throttle("thr0", "n0"),
        throttle("thr1", "thr0"),
        _reopen(_throttle("thr0", "thr1")),
        refused="cycle",
    ),
    _case(
        "child-renamed",
        throttle("thr0", {"driver": "null-co"}),
        _reopen(_throttle("thr0", {"driver": "null-co", "node-name": "n1"})),
        refused="Cannot change the option 'node-name'",
    ),
    _case(
        "child-opened-anew",
        _NULL,
        throttle("thr0", "n0"),
        _reopen(_throttle("thr0", {"driver": "null-co", "size": _SIZE})),
        refused="Cannot change the option",
    ),
    _case(
        "read-only-written",
        _NULL,
        add("copy-on-read", "cor0", file="n0"),
        _reopen({"driver": "null-co", "node-name": "n0", "size": _SIZE, **_READ_ONLY}),
        refused="read-",
    ),
    _case(
        "second-of-two",
        _DISK,
        _NULL,
        throttle("thr0", "fmt0"),
        _reopen(_throttle("thr0", "n0"), _throttle("nosuch", "n0")),
        refused="Failed to find node",
    ),
)

"""NBD exports: added, ended, and the bitmaps that they keep busy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.live.operations.held import Held, Step

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.qemu import Binary, Qemu

_ADDRESS = {"type": "unix", "data": {"path": "nbd.sock"}}
_SERVER: Step = ("nbd-server-start", {"addr": _ADDRESS})
#: A bitmap of another node, and `allow-inactive`.
_EXTERNAL, _INACTIVE = (7, 1), (10, 0)


def _images(binary: Binary, folder: Path) -> None:
    binary.image("create", "-f", "qcow2", "base.qcow2", "16M", folder=folder)
    binary.image("bitmap", "--add", "base.qcow2", "below", folder=folder)
    binary.image("create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "top.qcow2", folder=folder)


def _nodes(qemu: Qemu) -> None:
    qemu.qmp("blockdev-add", driver="null-co", node_name="n0", size=1 << 24)
    qemu.qmp("blockdev-add", driver="null-co", node_name="ro0", size=1 << 24, read_only=True)
    backing = {"driver": "qcow2", "node-name": "base0", "file": {"driver": "file", "filename": "base.qcow2"}}
    file = {"driver": "file", "filename": "top.qcow2"}
    qemu.qmp("blockdev-add", driver="qcow2", node_name="fmt0", file=file, backing=backing)
    qemu.qmp("blockdev-add", driver="throttle", node_name="t0", file="fmt0", throttle_group="g0")


def _throttled(qemu: Qemu) -> None:
    qemu.qmp("object-add", qom_type="throttle-group", id="g0")
    _nodes(qemu)


_WORDS = ("-drive", "if=none,id=drive0,driver=null-co,size=16M")


def _old(device: str, **more: object) -> Step:
    return "nbd-server-add", {"device": device, **more}


def _old_del(name: str) -> Step:
    return "nbd-server-remove", {"name": name}


def _add(identity: str, node: str, **more: object) -> Step:
    return "block-export-add", {"type": "nbd", "id": identity, "node-name": node, **more}


def _del(name: str) -> Step:
    return "block-export-del", {"id": name}


def _bitmap(node: str, name: str, **more: object) -> Step:
    return "block-dirty-bitmap-add", {"node": node, "name": name, **more}


def _off(node: str, name: str) -> Step:
    return _bitmap(node, name, disabled=True)


def _case(
    name: str,
    *steps: Step,
    refused: str | None = None,
    since: tuple[int, int] = (0, 0),
    until: tuple[int, int] = (99, 0),
) -> Held:
    return Held(
        name,
        (_SERVER, *steps),
        words=_WORDS,
        setup=_throttled,
        images=_images,
        refused=refused,
        since=since,
        until=until,
        counts=True,
    )


_GONE: Step = ("BLOCK_EXPORT_DELETED", {"id": "e0"})

CASES = (
    _case("added-and-ended", _add("e0", "n0"), _del("e0"), _GONE),
    _case("added-writable-and-ended", _add("e0", "n0", writable=True), _del("e0")),
    _case("ended-hard", _add("e0", "n0"), ("block-export-del", {"id": "e0", "mode": "hard"}), _GONE),
    _case("disabled-bitmap-turns-busy", _off("fmt0", "b0"), _add("e0", "fmt0", bitmaps=["b0"]), _del("e0")),
    _case(
        "enabled-bitmap-of-a-writable-export",
        _bitmap("fmt0", "b0"),
        _bitmap("fmt0", "b1"),
        _add("e0", "fmt0", writable=True, bitmaps=["b0"]),
        _del("e0"),
    ),
    _case("bitmap-of-a-backing-image", _add("e0", "fmt0", bitmaps=["below"]), _del("e0")),
    _case("bitmap-below-a-filter", _off("fmt0", "b0"), _add("e0", "t0", bitmaps=["b0", "below"]), _del("e0")),
    _case(
        "bitmap-of-another-node",
        _off("fmt0", "b0"),
        _add("e0", "n0", bitmaps=[{"node": "fmt0", "name": "b0"}]),
        _del("e0"),
        since=_EXTERNAL,
    ),
    _case(
        "bitmap-of-another-node-not-known-yet",
        _off("fmt0", "b0"),
        _add("e0", "n0", bitmaps=[{"node": "fmt0", "name": "b0"}]),
        refused="Invalid parameter type",
        until=(7, 0),
    ),
    _case(
        "two-exports-one-ended",
        _off("fmt0", "b0"),
        _off("n0", "b1"),
        _add("e0", "fmt0", bitmaps=["b0"]),
        _add("e1", "n0", bitmaps=["b1"]),
        _del("e0"),
        _add("e2", "fmt0", bitmaps=["b0"]),
    ),
    _case(
        "server-stopped",
        _off("fmt0", "b0"),
        _off("n0", "b1"),
        _add("e0", "fmt0", bitmaps=["b0"]),
        _add("e1", "n0", bitmaps=["b1"]),
        ("nbd-server-stop", {}),
        _GONE,
        _SERVER,
    ),
    _case("allowed-inactive", _add("e0", "n0", **{"allow-inactive": True}), since=_INACTIVE),
    _case(
        "allowed-inactive-not-known-yet",
        _add("e0", "n0", **{"allow-inactive": True}),
        refused="'allow-inactive' is unexpected",
        until=(7, 2),
    ),
    _case("server-twice", _add("e0", "n0"), _SERVER, refused="already running"),
    _case("id-taken", _add("e0", "n0"), _add("e0", "fmt0"), refused="'e0' is already in use"),
    _case("id-malformed", _add("0", "n0"), refused="Invalid block export id"),
    _case("no-such-node", _add("e0", "nosuch"), refused="Cannot find"),
    _case("no-such-bitmap", _add("e0", "fmt0", bitmaps=["nosuch"]), refused="is not found"),
    _case("no-such-export", _del("e0"), refused="is not found"),
    _case("writable-on-read-only", _add("e0", "ro0", writable=True), refused="read-only"),
    _case("enabled-bitmap", _bitmap("n0", "b0"), _add("e0", "n0", bitmaps=["b0"]), refused="Enabled bitmap"),
    _case(
        "busy-bitmap",
        _off("n0", "b0"),
        _add("e0", "n0", bitmaps=["b0"]),
        _add("e1", "n0", name="other", bitmaps=["b0"]),
        refused="in use by another operation",
    ),
    _case("writable-below-an-image", _add("e0", "base0", writable=True), refused="read-only"),
    _case("old-way", _off("n0", "b0"), _old("n0", bitmap="b0"), _old_del("n0")),
    _case("old-way-of-a-device", _old("drive0", writable=True), _old_del("drive0")),
    _case(
        "old-way-under-a-name", _old("drive0", name="e0"), ("nbd-server-remove", {"name": "e0", "mode": "hard"}), _GONE
    ),
    _case("old-way-writable-on-read-only", _old("ro0", writable=True)),
    _case("old-way-twice", _old("n0"), _old("n0"), refused="'n0' is already in use"),
    _case("old-way-id-malformed", _old("n0", name="0"), refused="Invalid block export id"),
    _case("old-way-no-such-node", _old("nosuch"), refused="Cannot find"),
    _case("old-way-no-such-export", _old_del("nosuch"), refused="is not found"),
)

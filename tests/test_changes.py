"""What changed since a plan was made, in words; a live counterpart is tests/live/test_changes.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig import graph, state
from bitmapmig.changes import KINDS, changes
from bitmapmig.plans.fingerprint import identify
from tests.build import MIB, Part, bitmap, drive, export, guest, job, node, source, stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bitmapmig.plans.document import Identity


def _end(*parts: Part, names: Sequence[str] = (), **more: Any) -> Identity:
    capture = source(*parts, **more)
    return identify(state.read(capture), graph.read(capture, "source")[0], names)


def _fmt0(*bitmaps: Any, **change: Any) -> Part:
    return node("fmt0", "qcow2", **{"bitmaps": bitmaps or ["daily"], "file": "#b1", **change})


FILE, FMT0, DRIVE0 = node("#b1", "file"), _fmt0(), drive("drive0", "fmt0", qdev="vd0")
BASE: tuple[Part, ...] = (FMT0, FILE, DRIVE0)
THROTTLE = node("throttle0", "throttle", file="fmt0")
CDROM = node("cd", "raw", file="#b2"), node("#b2", "file")
CHAIN = node("base0", "qcow2"), node("mid0", "qcow2", backing="base0")

#: Before, now, what is relevant, what is not.
CASES: dict[str, tuple[Sequence[Part], Sequence[Part], list[str], list[str]]] = {
    "filter below a device": (
        BASE,
        (FMT0, FILE, THROTTLE, drive("drive0", "throttle0", qdev="vd0")),
        ["filter 'throttle0' was inserted above node 'fmt0'"],
        [],
    ),
    "two filters": (
        BASE,
        (FMT0, FILE, THROTTLE, node("cor", "copy-on-read", file="throttle0"), drive("drive0", "cor", qdev="vd0")),
        ["filter 'cor' was inserted above node 'throttle0'", "filter 'throttle0' was inserted above node 'fmt0'"],
        [],
    ),
    "filter within a chain": (
        (_fmt0(backing="mid0"), FILE, *CHAIN, DRIVE0),
        (_fmt0(backing="cor"), FILE, *CHAIN, node("cor", "copy-on-read", file="mid0"), DRIVE0),
        ["filter 'cor' was inserted above node 'mid0'"],
        [],
    ),
    "filter that no device uses": (
        BASE,
        (*BASE, THROTTLE),
        ["filter 'throttle0' was inserted above node 'fmt0'"],
        [],
    ),
    "snapshot": (
        BASE,
        (_fmt0(ro=True), FILE, node("snap0", "qcow2", backing="fmt0", file="#b9"), node("#b9", "file"),
         drive("drive0", "snap0", qdev="vd0")),
        ["overlay 'snap0' was put on top of node 'fmt0'", "node 'fmt0' is now read-only"],
        [],
    ),
    "snapshot into a node that was there": (
        (*BASE, node("snap0", "qcow2")),
        (FMT0, FILE, node("snap0", "qcow2", backing="fmt0"), drive("drive0", "snap0", qdev="vd0")),
        ["overlay 'snap0' was put on top of node 'fmt0'"],
        [],
    ),
    "pivot after which the old root is gone": (
        (node("#b0", "qcow2", ["daily"], file="#b1"), FILE, drive("drive0", "#b0"), node("copy0", "qcow2")),
        (drive("drive0", "copy0"), node("copy0", "qcow2")),
        ["the root of device 'drive0' is now node 'copy0' instead of '#b0'", "bitmap 'daily' of node '#b0' is gone"],
        [],
    ),
    "pivot after which the old root stays": (
        (*BASE, node("copy0", "qcow2")),
        (FMT0, FILE, node("copy0", "qcow2"), drive("drive0", "copy0", qdev="vd0")),
        ["the root of device 'drive0' is now node 'copy0' instead of 'fmt0'"],
        [],
    ),
    "commit of what is in between": (
        (_fmt0(backing="mid0"), FILE, *CHAIN, DRIVE0),
        (_fmt0(backing="base0"), FILE, CHAIN[0], DRIVE0),
        ["the chain below node 'fmt0' is shorter: its backing node is now 'base0' instead of 'mid0'",
         "node 'mid0' ('qcow2') is gone"],
        [],
    ),
    "stream of everything": (
        (_fmt0(backing="base0"), FILE, CHAIN[0], DRIVE0),
        (*BASE, CHAIN[0]),
        ["the chain below node 'fmt0' is shorter: its backing node is now none instead of 'base0'"],
        [],
    ),
    "another backing node": (
        (_fmt0(backing="base0"), FILE, CHAIN[0], DRIVE0),
        (_fmt0(backing="base1"), FILE, CHAIN[0], node("base1", "qcow2"), DRIVE0),
        ["node 'base1' ('qcow2') is new", "child 'backing' of node 'fmt0' is now 'base1' instead of 'base0'"],
        [],
    ),
    "a child more": (
        BASE,
        (_fmt0(children={"data-file": "#b1"}), FILE, DRIVE0),
        ["node 'fmt0' has a new child '#b1' ('data-file')"],
        [],
    ),
    "medium of a device without bitmaps": (
        (*BASE, *CDROM, drive("cdrom0", "cd")),
        (*BASE, drive("cdrom0", None)),
        [],
        ["medium 'cd' was ejected from device 'cdrom0'", "node 'cd' ('raw') is gone"],
    ),
    "medium under a name that QEMU gave": (
        (*BASE, node("#b5", "raw", file="#b2"), CDROM[1], drive("cdrom0", "#b5")),
        (*BASE, drive("cdrom0", None)),
        [],
        ["medium '#b5' was ejected from device 'cdrom0'"],
    ),
    "device without bitmaps": (
        BASE,
        (*BASE, *CDROM, guest("vd1", "cd")),
        [],
        ["device '/machine/peripheral/vd1/virtio-backend' with root 'cd' was plugged in", "node 'cd' ('raw') is new"],
    ),
    "another guest device": (
        BASE,
        (FMT0, FILE, drive("drive0", "fmt0", qdev="vd1")),
        ["the guest device of device 'drive0' is now 'vd1' instead of 'vd0'"],
        [],
    ),
    "device with bitmaps": (
        BASE,
        (FMT0, FILE),
        ["device 'drive0' with root 'fmt0' was unplugged"],
        [],
    ),
    "another node of the same name": (
        BASE,
        (node("fmt0", "raw", ["daily"], size=MIB, file="#b1"), FILE, DRIVE0),
        ["the driver of node 'fmt0' is now 'raw' instead of 'qcow2'",
         f"the size of node 'fmt0' is now {MIB} bytes instead of {16 * MIB}",
         "the qcow2 version of node 'fmt0' is now none instead of '1.1'",
         "QEMU no longer tells which bitmaps the image of node 'fmt0' holds"],
        [],
    ),
    "a file that grew": (BASE, (FMT0, node("#b1", "file", size=32 * MIB), DRIVE0), [], []),
    "a disk that was resized": (
        (*BASE, node("other", "qcow2")),
        (*BASE, node("other", "qcow2", size=MIB)),
        [],
        [f"the size of node 'other' is now {MIB} bytes instead of {16 * MIB}"],
    ),
    "whether a node is read-only is told": (
        (_fmt0(ro=None), FILE, DRIVE0),
        BASE,
        ["whether node 'fmt0' is read-only: QEMU now says False instead of none"],
        [],
    ),
    "flags of a bitmap": (
        BASE,
        (_fmt0(bitmap("daily", "disabled", "busy", "persistent")), FILE, DRIVE0),
        ["bitmap 'daily' of node 'fmt0' is now disabled", "bitmap 'daily' of node 'fmt0' is now busy",
         "bitmap 'daily' of node 'fmt0' is now persistent"],
        [],
    ),
    "a bitmap that became inconsistent": (
        (_fmt0(bitmap("daily", "persistent", "disabled")), FILE, DRIVE0),
        (_fmt0(bitmap("daily", "inconsistent")), FILE, DRIVE0),
        ["bitmap 'daily' of node 'fmt0' became inconsistent"],
        [],
    ),
    "a bitmap of another granularity": (
        BASE,
        (_fmt0(bitmap("daily", granularity=512)), FILE, DRIVE0),
        ["the granularity of bitmap 'daily' of node 'fmt0' is now 512 instead of 65536"],
        [],
    ),
    "a bitmap more, where there was none": (
        (*BASE, node("other")),
        (*BASE, node("other", bitmaps=["new"])),
        ["bitmap 'new' was added to node 'other'"],
        [],
    ),
    "a new disk with a bitmap": (
        BASE,
        (*BASE, node("other", bitmaps=["new"])),
        ["node 'other' ('null-co') is new", "bitmap 'new' was added to node 'other'"],
        [],
    ),
    "a guest that writes": (BASE, (_fmt0(bitmap("daily", count=MIB)), FILE, DRIVE0), [], []),
    "stored copies": (
        (_fmt0(stored=["old", stored("same")]), FILE, DRIVE0),
        (_fmt0(stored=["new", stored("same", clean=True)]), FILE, DRIVE0),
        ["a stored copy of bitmap 'new' appeared in the image of node 'fmt0'",
         "the stored copy of bitmap 'old' vanished from the image of node 'fmt0'",
         "the stored copy of bitmap 'same' in the image of node 'fmt0' is another"],
        [],
    ),
    "jobs": (
        (*BASE, node("other"), job("a", "commit", main="fmt0"), job("b", "stream", main="other")),
        (*BASE, node("other"), job("c", "mirror", main="fmt0", target="other"), job("b", "stream", "concluded")),
        ["job 'c' ('mirror') began on 'fmt0', 'other'", "job 'a' ('commit') on 'fmt0' ended"],
        ["job 'b' ('stream') on 'other' ended"],
    ),
    "a job that went on": (
        (*BASE, job("a", "mirror", main="fmt0")),
        (*BASE, job("a", "mirror", "ready", main="fmt0")),
        [],
        [],
    ),
    "a job that holds another node": (
        (*BASE, node("other"), job("a", "mirror", main="fmt0")),
        (*BASE, node("other"), job("a", "mirror", main="fmt0", target="other")),
        ["job 'a' ('mirror') now holds 'fmt0', 'other' instead of 'fmt0'",
         "job 'a' ('mirror') now writes to 'other' instead of no node"],
        [],
    ),
    "exports": (
        (*BASE, node("other"), export("x", "other")),
        (*BASE, node("other"), export("y", "fmt0", writable=True)),
        ["export 'y' ('nbd') of node 'fmt0' began"],
        ["export 'x' ('nbd') of node 'other' ended"],
    ),
    "hostile names": (
        BASE,
        (*BASE, node("\x1b[31m{x}", bitmaps=["\n%s"])),
        ["node '\\x1b[31m{x}' ('null-co') is new", "bitmap '\\n%s' was added to node '\\x1b[31m{x}'"],
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_changes_in_words(case: str) -> None:
    """What happened is one sentence, in the order of the table of kinds; the rest is told as irrelevant."""
    before, now, relevant, irrelevant = CASES[case]
    found = changes(_end(*before), _end(*now))
    assert [one.words for one in found.relevant] == relevant
    assert [one.words for one in found.irrelevant] == irrelevant


def test_the_sentence_of_a_refusal() -> None:
    """All changes in one line, the irrelevant last."""
    before = _end(*BASE, *CDROM[:0], drive("cdrom0", "cd"), *CDROM)
    busy = _fmt0(bitmap("daily", "busy"))
    now = _end(busy, FILE, THROTTLE, drive("drive0", "throttle0", qdev="vd0"), drive("cdrom0", None), *CDROM)
    assert changes(before, now).words == (
        "filter 'throttle0' was inserted above node 'fmt0'; bitmap 'daily' of node 'fmt0' is now busy; "
        "irrelevant: medium 'cd' was ejected from device 'cdrom0'"
    )


def test_another_qemu_at_the_endpoint() -> None:
    """Another uuid, version or machine type is another QEMU."""
    now = _end(*BASE, version=(10, 0, 13), machine="pc-q35-10.0", replies={"query-uuid": {"UUID": "1-2"}})
    assert [one.words for one in changes(_end(*BASE), now).relevant] == [
        "another QEMU answers at this endpoint: its uuid is '1-2' instead of none",
        "another QEMU answers at this endpoint: its version is '10.0.13' instead of '7.2.22'",
        "another QEMU answers at this endpoint: its machine type is 'pc-q35-10.0' instead of 'pc-q35-7.2'",
    ]


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ((node("there"), node("x")), (node("x"),), ["node 'there' ('null-co') is gone"]),
        ((node("x"), node("y"), drive("there", "x")), (node("x"), node("y"), drive("there", "y")),
         ["the root of device 'there' is now node 'y' instead of 'x'"]),
        ((node("x"), drive("there", None)), (node("x"), drive("there", "x")),
         ["medium 'x' was inserted into device 'there'"]),
        ((node("there"),), (node("there", size=MIB),),
         [f"the size of node 'there' is now {MIB} bytes instead of {16 * MIB}"]),
    ],
)  # fmt: skip
def test_names_that_the_map_uses(before: Sequence[Part], now: Sequence[Part], words: list[str]) -> None:
    """A node or device that the map names is relevant without any bitmap; without the name none of this is."""
    assert [one.words for one in changes(_end(*before, names=["there"]), _end(*now, names=["there"])).relevant] == words
    unnamed = changes(_end(*before), _end(*now))
    assert ([one.words for one in unnamed.irrelevant], unnamed.relevant) == (words, ())


def test_a_watcher_does_not_count_what_a_migration_does() -> None:
    """Busy bitmaps that migrate, and bitmaps that come in, are no change; any other flag and bitmap still is."""
    flags = ("busy", "disabled")
    now = _end(_fmt0(bitmap("daily", *flags), bitmap("weekly", "busy"), "new"), FILE, DRIVE0)
    before = _end(_fmt0("daily", "weekly"), FILE, DRIVE0)
    found = changes(before, now, busy={("fmt0", "daily")}, arriving={("fmt0", "new")})
    assert [one.words for one in found.relevant] == [
        "bitmap 'daily' of node 'fmt0' is now disabled",
        "bitmap 'weekly' of node 'fmt0' is now busy",
    ]


def test_structures_about_different_names() -> None:
    """What is relevant in one by its names cannot be compared with another's."""
    with pytest.raises(ValueError, match="different names"):
        changes(_end(*BASE), _end(*BASE, names=["x"]))


def test_the_order_of_names_does_not_matter() -> None:
    """A document whose names were put into another order, or doubled, is about the same names."""
    now = _end(node("n0"), node("n1"), names=["n0", "n1"])
    edited = now.structure.model_copy(update={"names": ("n1", "n0", "n0")})
    assert not changes(now.model_copy(update={"structure": edited}), now).relevant


def test_opposites_are_mutual() -> None:
    """The opposite of the opposite is the kind itself."""
    assert all(KINDS[kind.opposite].opposite == name for name, kind in KINDS.items())


def test_each_kind_is_in_a_case() -> None:
    """Of every pair of opposites at least one is shown by a case of the table, in either direction."""
    shown = {"name-changed", "uuid-changed", "qemu-version-changed", "machine-type-changed"}
    for before, now, *_ in CASES.values():
        found = changes(_end(*before), _end(*now))
        shown |= {one.kind for one in found.relevant + found.irrelevant}
    left = {name for name, kind in KINDS.items() if name not in shown and kind.opposite not in shown}
    assert left == {"export-writable-told"}

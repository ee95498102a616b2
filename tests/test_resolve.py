"""Which name the user's own configuration gives a bitmap, and which node a name means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig import graph
from bitmapmig.qapi import NodeName
from bitmapmig.resolve import RULE_SETS, RuleSet, leave_behind, locate, resolve, selector
from tests.build import Part, drive, guest, node, source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bitmapmig.graph import BlockGraph
    from bitmapmig.resolve import NameKind


def _graph(*parts: Part, **more: Any) -> BlockGraph:
    found, problems = graph.read(source(*parts, **more), "source")
    assert problems == ()
    return found


def _addresses(found: BlockGraph, rules: RuleSet) -> dict[str, str]:
    """For each node the addresses of its bitmaps, or the code that says why there is none."""
    shown = {}
    for one in resolve(found, rules):
        named = [f"{address.kind} {address.name}" for address in one.addresses]
        shown[str(one.node.name)] = ", ".join(named) or (one.problem.code if one.problem else "")
        assert bool(named) == (one.problem is None)
    return shown


_B = ["b0"]
_EXPLICIT = (node("fmt0", bitmaps=_B), drive("drive0", "fmt0", qdev="/machine/peripheral/vd0/virtio-backend"))
_AUTO = (node("#block1", bitmaps=_B), drive("drive0", "#block1"))
_BLOCKDEV = (node("fmt0", bitmaps=_B), guest("vd0", "fmt0"))
_BLOCKDEV_AUTO = (node("#block1", bitmaps=_B), guest("vd0", "#block1"))
_ANONYMOUS = (node("#block1", bitmaps=_B), drive("", "#block1", qdev="/machine/peripheral-anon/device[0]"))
_POSITIONAL = (node("#block1", bitmaps=_B), drive("ide0-hd0", "#block1", qdev="/machine/unattached/device[9]"))
_FILTERED = (
    node("#t", "throttle", file="#pre"),
    node("#pre", "preallocate", file="#fmt"),
    node("#fmt", "qcow2", bitmaps=_B),
    drive("drive0", "#t"),
)
_NAMED_FILTER = (node("t0", "throttle", bitmaps=_B, file="fmt0"), node("fmt0", bitmaps=_B), drive("drive0", "t0"))
_STOPPED = (node("#t", "throttle", bitmaps=_B, file="#fmt"), node("#fmt", bitmaps=_B), drive("drive0", "#t"))
_TWO_AUTO = (node("#block1", bitmaps=_B), drive("drive0", "#block1"), drive("drive1", "#block1"))
_TWO_EXPLICIT = (node("fmt0", bitmaps=_B), drive("drive0", "fmt0"), drive("drive1", "fmt0"))
_TWO_GUESTS = (node("fmt0", bitmaps=_B), guest("vd0", "fmt0"), guest("vd1", "fmt0"))
_CHAIN = (
    node("#fmt", "qcow2", bitmaps=_B, backing="base0"),
    node("base0", "qcow2", bitmaps=_B, backing="#base1"),
    node("#base1", "qcow2", bitmaps=_B),
    drive("drive0", "#fmt", qdev="vd0"),
)
_UNKNOWN = (
    node("x0", "of-the-future", file="#fmt"),
    node("#fmt", "qcow2", bitmaps=_B, file="file0"),
    node("file0", "file", bitmaps=_B),
    drive("drive0", "x0"),
)
_UNKNOWN_NAMED = (node("x0", "of-the-future", bitmaps=_B, file="fmt0"), node("fmt0", bitmaps=_B), drive("drive0", "x0"))
_MIRRORED = (node("#m", "mirror_top", backing="#fmt"), node("#fmt", bitmaps=_B), drive("drive0", "#m", qdev="vd0"))
_RAW = (node("#raw", "raw", bitmaps=_B, file="#file"), node("#file", "file", bitmaps=_B), drive("drive0", "#raw"))

_TABLE: list[tuple[str, Sequence[Part], dict[RuleSet, dict[str, str]]]] = [
    (
        "an explicit node-name goes before the device, but QEMU itself takes the device",
        _EXPLICIT,
        {
            "explicit": {"fmt0": "node-name fmt0"},
            "qemu": {"fmt0": "device drive0"},
            "root-only": {"fmt0": "device drive0"},
            "guest-device": {"fmt0": "node-name fmt0, qdev vd0"},
        },
    ),
    ("an auto-named root has its device's name", _AUTO, {key: {"#block1": "device drive0"} for key in RULE_SETS}),
    (
        "a name that QEMU gave by position is one",
        _POSITIONAL,
        {key: {"#block1": "device ide0-hd0"} for key in RULE_SETS},
    ),
    (
        "without a device name there is the node-name, and the guest device where it counts",
        _BLOCKDEV,
        {
            "explicit": {"fmt0": "node-name fmt0"},
            "qemu": {"fmt0": "node-name fmt0"},
            "root-only": {"fmt0": "BM301"},
            "guest-device": {"fmt0": "node-name fmt0, qdev vd0"},
        },
    ),
    (
        "without both only the guest device is left",
        _BLOCKDEV_AUTO,
        {**{key: {"#block1": "BM301"} for key in RULE_SETS}, "guest-device": {"#block1": "qdev vd0"}},
    ),
    ("a guest device that QEMU numbered is no address", _ANONYMOUS, {key: {"#block1": "BM301"} for key in RULE_SETS}),
    ("filters are walked through", _FILTERED, {key: {"#fmt": "device drive0"} for key in RULE_SETS}),
    (
        "a filter with a bitmap never gets the device name, and stops the walk",
        _NAMED_FILTER,
        {
            **{key: {"t0": "node-name t0", "fmt0": "node-name fmt0"} for key in RULE_SETS},
            "root-only": {"t0": "BM301", "fmt0": "BM301"},
        },
    ),
    (
        "a filter with a bitmap leaves the auto-named node below it without a name",
        _STOPPED,
        {key: {"#t": "BM301", "#fmt": "BM301"} for key in RULE_SETS},
    ),
    ("an auto-named root of two devices has no address", _TWO_AUTO, {key: {"#block1": "BM302"} for key in RULE_SETS}),
    (
        "an explicit root of two devices has its node-name, but QEMU itself fails",
        _TWO_EXPLICIT,
        {
            "explicit": {"fmt0": "node-name fmt0"},
            "guest-device": {"fmt0": "node-name fmt0"},
            "qemu": {"fmt0": "BM302"},
            "root-only": {"fmt0": "BM302"},
        },
    ),
    (
        "a node that is the disk of two guest devices is named by neither",
        _TWO_GUESTS,
        {**{key: {"fmt0": "node-name fmt0"} for key in RULE_SETS}, "root-only": {"fmt0": "BM301"}},
    ),
    (
        "below the root only explicit node-names count",
        _CHAIN,
        {
            "explicit": {"#fmt": "device drive0", "base0": "node-name base0", "#base1": "BM301"},
            "qemu": {"#fmt": "device drive0", "base0": "node-name base0", "#base1": "BM301"},
            "root-only": {"#fmt": "device drive0", "base0": "BM301", "#base1": "BM301"},
            "guest-device": {"#fmt": "device drive0, qdev vd0", "base0": "node-name base0", "#base1": "BM301"},
        },
    ),
    (
        "what a driver of unknown kind hides is unknown; below the first node that is no filter nothing is",
        _UNKNOWN,
        {
            **{key: {"#fmt": "BM207", "file0": "node-name file0"} for key in RULE_SETS},
            "root-only": {"#fmt": "BM207", "file0": "BM301"},
        },
    ),
    (
        "a node of unknown kind with a bitmap is in doubt, and nothing below it: the walk ends either way",
        _UNKNOWN_NAMED,
        {
            **{key: {"x0": "node-name x0", "fmt0": "node-name fmt0"} for key in RULE_SETS},
            "qemu": {"x0": "BM207", "fmt0": "node-name fmt0"},
            "root-only": {"x0": "BM207", "fmt0": "BM301"},
        },
    ),
    (
        "a mirror's own filter changes nothing",
        _MIRRORED,
        {**{key: {"#fmt": "device drive0"} for key in RULE_SETS}, "guest-device": {"#fmt": "device drive0, qdev vd0"}},
    ),
    (
        "raw is no filter, so what is below it is not the disk",
        _RAW,
        {key: {"#raw": "device drive0", "#file": "BM301"} for key in RULE_SETS},
    ),
]


@pytest.mark.parametrize(("parts", "expected"), [row[1:] for row in _TABLE], ids=[row[0] for row in _TABLE])
@pytest.mark.parametrize("rules", RULE_SETS)
def test_addresses(parts: Sequence[Part], expected: dict[RuleSet, dict[str, str]], rules: RuleSet) -> None:
    """The address of every bitmap under each rule set, as the row claims."""
    assert _addresses(_graph(*parts), rules) == expected[rules]


@pytest.mark.parametrize("parts", [row[1] for row in _TABLE], ids=[row[0] for row in _TABLE])
@pytest.mark.parametrize("rules", RULE_SETS)
def test_no_generated_name_is_an_address(parts: Sequence[Part], rules: RuleSet) -> None:
    """A name that QEMU generated is never an address, and every address says by which rule it is one."""
    for one in resolve(_graph(*parts), rules):
        assert not any(address.name.startswith("#") for address in one.addresses)
        assert all(address.rule for address in one.addresses)


def test_every_named_bitmap_once_in_order() -> None:
    """All bitmaps are resolved, sorted by node and name."""
    found = _graph(node("b", bitmaps=["y", "x"]), node("a", bitmaps=["z"]), node("c"))
    assert [(one.node.name, one.bitmap.name) for one in resolve(found)] == [("a", "z"), ("b", "x"), ("b", "y")]


def test_a_bitmap_without_address_says_why_and_offers_to_leave_it() -> None:
    """BM302 names the devices, BM207 the driver; each offers the fragment that leaves the bitmap behind."""
    two = resolve(_graph(*_TWO_AUTO))[0].problem
    unknown = resolve(_graph(*_UNKNOWN))[0].problem
    assert two is not None
    assert unknown is not None
    assert (two.facts["devices"], two.fragments) == (
        ["drive0", "drive1"],
        ({"map": [{"source": {"device": "drive0", "bitmap": "b0"}, "destination": None}]},),
    )
    assert (unknown.facts["driver"], unknown.facts["node"], unknown.where.node) == ("of-the-future", "x0", "#fmt")


_PLACES = _graph(
    node("t0", "throttle", file="#fmt"),
    node("#fmt", "qcow2", backing="base0", file="file0"),
    node("base0", "qcow2", backing="#base1"),
    node("#base1"),
    node("file0", "file"),
    node("x0", "of-the-future", file="y0"),
    node("y0"),
    node("drive9"),
    drive("drive0", "t0", qdev="/machine/peripheral/vd0/virtio-backend"),
    drive("cd0", None),
    drive("drive1", "x0"),
)


@pytest.mark.parametrize(
    ("kind", "name", "path", "expected"),
    [
        (None, "drive0", (), "#fmt"),
        (None, "t0", (), "t0"),
        (None, "#fmt", (), "#fmt"),
        (None, "vd0", (), "missing"),
        (None, "drive9", (), "drive9"),
        ("device", "drive0", (), "#fmt"),
        ("device", "drive9", (), "missing"),
        ("device", "t0", (), "missing"),
        ("device", "cd0", (), "empty"),
        ("device", "drive0", ("file", "backing", "backing"), "#base1"),
        ("device", "drive0", ("backing",), "path"),
        ("device", "drive1", (), "filter-unknown"),
        ("device", "drive1", ("file",), "y0"),
        ("node-name", "drive0", (), "missing"),
        ("node-name", "#fmt", ("backing",), "base0"),
        ("node-name", "base0", ("file",), "path"),
        ("qdev", "vd0", (), "#fmt"),
        ("qdev", "drive0", (), "missing"),
    ],
)
def test_the_node_that_a_name_means(kind: NameKind | None, name: str, path: tuple[str, ...], expected: str) -> None:
    """A device means the first node below its root that is no filter, or where a path leads from the very root."""
    found = locate(_PLACES, kind, name, path)
    assert (found.node or found.problem) == expected


@pytest.mark.parametrize(
    ("parts", "name", "expected"),
    [
        (_EXPLICIT, "fmt0", {"node-name": "fmt0"}),
        (_AUTO, "#block1", {"device": "drive0"}),
        (_FILTERED, "#fmt", {"device": "drive0"}),
        (_FILTERED, "#pre", {"device": "drive0", "path": "file"}),
        (_FILTERED, "#t", {"node-name": "#t"}),
        (_STOPPED, "#t", {"node-name": "#t"}),
        (_CHAIN, "#base1", {"device": "drive0", "path": "backing.backing"}),
        (_MIRRORED, "#fmt", {"device": "drive0"}),
        (_MIRRORED, "#m", {"node-name": "#m"}),
        (_BLOCKDEV_AUTO, "#block1", {"qdev": "vd0"}),
        (_ANONYMOUS, "#block1", {"node-name": "#block1"}),
        ((node("q0", "quorum", children={"children.0": "#a"}), node("#a"), drive("d", "q0")), "#a",
         {"device": "d", "path": "children.0"}),
    ],
)  # fmt: skip
def test_words_for_a_node_mean_that_node(parts: Sequence[Part], name: str, expected: dict[str, str]) -> None:
    """A node is named by what the user gave it where anything does, and the words lead to it and no other."""
    found = _graph(*parts)
    words = selector(found, NodeName(name))
    assert words == expected
    kind: NameKind = "device" if "device" in words else "qdev" if "qdev" in words else "node-name"
    path = tuple(words.get("path", "").replace("children.", "children ").split(".")) if "path" in words else ()
    roles = tuple(word for role in path for word in role.split(" "))
    assert locate(found, kind, words[kind], roles).node == name


def test_the_fragment_that_leaves_behind() -> None:
    """One bitmap, or with its node all of them."""
    found = _graph(*_CHAIN)
    named = {"device": "drive0", "path": "backing.backing"}
    assert leave_behind(found, NodeName("#base1")) == {"map": [{"source": named, "destination": None}]}
    assert leave_behind(found, NodeName("#base1"), "b0") == {
        "map": [{"source": {**named, "bitmap": "b0"}, "destination": None}]
    }

"""What the policy makes of each bitmap, and which of its entries are typos."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig import graph
from bitmapmig.diagnostics import Diagnostic
from bitmapmig.policy import Decision, Policy, decide, place, words
from bitmapmig.policy.fragment import leave, send
from bitmapmig.policy.model import Selector, merged
from bitmapmig.resolve import resolve
from tests.build import codes, drive, guest, node, source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


#: fmt0 is the root of drive0; #fmt is that of drive1, over base1 and #base; x0 may be a filter; cd0 is empty.
_GRAPH = graph.read(
    source(
        node("fmt0", "qcow2", ["daily", "weekly", "*odd*"], backing="base0"),
        node("base0", "qcow2", ["daily"]),
        node("#fmt", "qcow2", ["daily"], backing="base1"),
        node("base1", "qcow2", backing="#base"),
        node("#base", "qcow2", ["old"]),
        node("x0", "of-the-future", file="y0"),
        node("y0", "qcow2", ["daily"]),
        node("n0", bitmaps=["daily"]),
        drive("drive0", "fmt0", qdev="/machine/peripheral/vd0/virtio-backend"),
        drive("drive1", "#fmt"),
        drive("drive2", "x0"),
        drive("cd0", None),
        guest("vd1", "n0"),
    ),
    "source",
)[0]
_LEFT = {"#base": "old"}  # has no address, so every policy here must say what becomes of it
_DROP_OLD = {"source": {"device": "drive1", "path": "backing.backing"}, "destination": None}


def _decide(policy: Mapping[str, Any]) -> tuple[dict[str, Decision], tuple[Diagnostic, ...]]:
    """The decisions by `node/bitmap`, and the findings."""
    made = Policy.parse({"version": 1, **policy})
    decisions, found = decide(made, _GRAPH, resolve(_GRAPH, made.resolve or "explicit"))
    return {f"{one.resolved.node.name}/{one.resolved.bitmap.name}": one for one in decisions}, found


def _said(policy: Mapping[str, Any], place: str) -> str:
    """What becomes of the bitmap at `place`, and by which entry."""
    one = _decide(policy)[0][place]
    target = f" to {words(one.target)}" if one.target else ""
    return f"{one.action} by {one.by}{target}"


_FMT9 = {"node-name": "fmt9"}


@pytest.mark.parametrize(
    ("policy", "place", "expected"),
    [
        ({}, "fmt0/daily", "migrate by default"),
        ({}, "#fmt/daily", "migrate by default"),
        ({}, "#base/old", "refused by default"),
        ({"resolve": "root-only"}, "base0/daily", "refused by default"),
        # maps: by any name, by kind, by path, whole nodes and single bitmaps
        ({"map": [{"source": "drive0", "destination": "fmt9"}]}, "fmt0/weekly", "migrate by map.0 to fmt9"),
        ({"map": [{"source": "drive0", "destination": "fmt9"}]}, "base0/daily", "migrate by default"),
        ({"map": [{"source": "fmt0", "destination": None}]}, "fmt0/daily", "leave-behind by map.0"),
        ({"map": [{"source": {"qdev": "vd1"}, "destination": None}]}, "n0/daily", "leave-behind by map.0"),
        ({"map": [_DROP_OLD]}, "#base/old", "leave-behind by map.0"),
        (
            {"map": [{"source": {"device": "drive1", "path": "backing.backing"}, "destination": "b"}]},
            "#base/old",
            "migrate by map.0 to b",
        ),
        # a bitmap's entry goes before its node's, wherever it stands
        (
            {
                "map": [
                    {"source": "fmt0", "destination": "a"},
                    {"source": {"device": "drive0", "bitmap": "daily"}, "destination": "b"},
                ]
            },
            "fmt0/daily",
            "migrate by map.1 to b",
        ),
        (
            {
                "map": [
                    {"source": {"device": "drive0", "bitmap": "daily"}, "destination": None},
                    {"source": "fmt0", "destination": "a"},
                ]
            },
            "fmt0/weekly",
            "migrate by map.1 to a",
        ),
        # deny goes before map, map before allow, allow before the default
        (
            {"deny": [{"bitmap": "dai*"}], "map": [{"source": "fmt0", "destination": "a"}]},
            "fmt0/daily",
            "leave-behind by deny.0",
        ),
        (
            {"deny": [{"bitmap": "x*"}, {"address": "fmt0"}]},
            "fmt0/weekly",
            "leave-behind by deny.1",
        ),
        ({"allow": [{"bitmap": "weekly"}]}, "fmt0/daily", "leave-behind by allow"),
        ({"allow": [{"bitmap": "weekly"}]}, "fmt0/weekly", "migrate by default"),
        (
            {"allow": [{"bitmap": "weekly"}], "map": [{"source": "fmt0", "destination": "a"}]},
            "fmt0/daily",
            "migrate by map.0 to a",
        ),
        ({"allow": [{"bitmap": "weekly"}], "deny": [{"bitmap": "weekly"}]}, "fmt0/weekly", "leave-behind by deny.0"),
        # globs
        ({"deny": [{"address": "*", "bitmap": "\\*odd\\*"}]}, "fmt0/*odd*", "leave-behind by deny.0"),
        ({"deny": [{"address": "*", "bitmap": "\\*odd\\*"}]}, "fmt0/daily", "migrate by default"),
        ({"deny": [{"address": "drive?", "optional": True}]}, "#fmt/daily", "migrate by default"),
        ({"deny": [{"address": "drive1"}]}, "#fmt/daily", "leave-behind by deny.0"),
        ({"deny": [{"address": "drive0", "optional": True}]}, "fmt0/daily", "migrate by default"),
        ({"deny": [{"address": "*"}]}, "#base/old", "leave-behind by deny.0"),
        ({"allow": [{"address": "*"}]}, "#base/old", "refused by default"),
        # an address of any rule counts
        (
            {"resolve": "guest-device", "deny": [{"address": "vd1"}]},
            "n0/daily",
            "leave-behind by deny.0",
        ),
        ({"resolve": "qemu", "deny": [{"address": "drive0"}]}, "fmt0/daily", "leave-behind by deny.0"),
        # the whole picture
        ({"defaults": False}, "fmt0/daily", "refused by default"),
        ({"defaults": False, "deny": [{"bitmap": "daily"}]}, "fmt0/daily", "leave-behind by deny.0"),
        (
            {"defaults": False, "map": [{"source": "fmt0", "destination": "a"}]},
            "fmt0/daily",
            "migrate by map.0 to a",
        ),
        ({"defaults": False, "allow": [{"bitmap": "daily"}]}, "fmt0/daily", "refused by default"),
        ({"defaults": False, "allow": [{"bitmap": "weekly"}]}, "fmt0/daily", "refused by default"),
    ],
)  # fmt: skip
def test_what_becomes_of_a_bitmap(policy: Mapping[str, Any], place: str, expected: str) -> None:
    """Deny, then map (a bitmap's entry before its node's), then allow, then the default rules."""
    assert _said(policy, place) == expected


_TYPOS: list[tuple[str, Mapping[str, Any], str | None]] = [
    ("BM301", {}, None),
    ("BM301", {"map": [_DROP_OLD]}, ""),
    ("BM415", {"defaults": False}, None),
    ("BM415", {"defaults": False, "deny": [{"bitmap": "*"}]}, ""),
    ("BM411", {"map": [{"source": "nosuch", "destination": "a"}]}, "map.0.source"),
    ("BM411", {"map": [{"source": "nosuch", "destination": "a", "optional": True}]}, ""),
    ("BM411", {"map": [{"source": "base1", "destination": "a"}]}, "map.0.source"),
    ("BM411", {"map": [{"source": {"device": "drive0", "bitmap": "dialy"}, "destination": "a"}]}, "map.0.source"),
    ("BM411", {"map": [{"source": {"device": "drive0", "bitmap": "daily"}, "destination": "a"}]}, ""),
    ("BM411", {"map": [{"source": {"device": "drive0", "path": "file"}, "destination": "a"}]}, "map.0.source"),
    ("BM411", {"map": [{"source": "cd0", "destination": "a"}]}, "map.0.source"),
    ("BM411", {"map": [{"source": "cd0", "destination": "a", "optional": True}]}, ""),
    ("BM411", {"map": [{"source": "drive2", "destination": "a"}]}, "map.0.source"),
    ("BM411", {"map": [{"source": {"qdev": "drive0"}, "destination": "a"}]}, "map.0.source"),
    ("BM412", {"deny": [{"bitmap": "dialy"}]}, "deny.0"),
    ("BM412", {"deny": [{"bitmap": "dialy", "optional": True}]}, ""),
    ("BM412", {"deny": [{"bitmap": "daily"}]}, ""),
    ("BM412", {"allow": [{"address": "*"}, {"address": "fmt0", "bitmap": "dialy"}]}, "allow.1"),
    ("BM412", {"allow": [{"address": "\\*"}]}, "allow.0"),
    ("BM412", {"deny": [{"bitmap": "dialy*"}]}, ""),
    ("BM413", {"deny": [{"bitmap": "dialy*"}]}, "deny.0"),
    ("BM413", {"allow": [{"bitmap": "*"}, {"address": "nosuch*", "bitmap": "daily"}]}, "allow.1"),
    ("BM413", {"deny": [{"bitmap": "dai*"}]}, ""),
    ("BM413", {"deny": [{"bitmap": "dialy*", "optional": True}]}, ""),
    (
        "BM414",
        {"map": [{"source": "fmt0", "destination": "a"}, {"source": "drive0", "destination": "a"}]},
        None,
    ),
    (
        "BM414",
        {
            "map": [
                {"source": {"node-name": "fmt0", "bitmap": "daily"}, "destination": "a"},
                {"source": {"qdev": "vd0", "bitmap": "daily"}, "destination": None},
            ]
        },
        None,
    ),
    (
        "BM414",
        {
            "map": [
                {"source": {"node-name": "fmt0", "bitmap": "daily"}, "destination": "a"},
                {"source": {"qdev": "vd0", "bitmap": "weekly"}, "destination": None},
                {"source": "fmt0", "destination": "a"},
            ]
        },
        "",
    ),
]


@pytest.mark.parametrize(("code", "policy", "key"), _TYPOS)
def test_entries_that_match_nothing_or_too_much(code: str, policy: Mapping[str, Any], key: str | None) -> None:
    """Each finding of the policy stage, with the key that it is about (None: a bitmap), and a near miss ("")."""
    found = [one for one in _decide(policy)[1] if one.code == code]
    assert bool(found) == (key != "")
    for one in found:
        assert one.where.key == key
        assert key is not None or one.where.node


def test_an_entry_about_what_is_unknown_is_refused_even_where_it_may_match_nothing() -> None:
    """`optional` is for what is not there; that the node below drive2 is unknown is no reason to go on."""
    policy = {"map": [{"source": "drive2", "destination": None, "optional": True}]}
    assert "BM411" in codes(_decide(policy)[1])


def test_an_empty_entry_is_no_match_of_the_other_kind() -> None:
    """A map entry that an entry for the bitmap outdoes has matched all the same; so has a pattern that deny outdoes."""
    policy = {
        "allow": [{"bitmap": "weekly"}],
        "deny": [{"bitmap": "*"}],
        "map": [
            {"source": "base0", "destination": "a"},
            {"source": {"node-name": "base0", "bitmap": "daily"}, "destination": "b"},
        ],
    }
    assert _decide(policy)[1] == ()


@pytest.mark.parametrize(
    ("selector", "expected", "text"),
    [
        ("drive0", "fmt0", "drive0"),
        ("fmt0", "fmt0", "fmt0"),
        ("vd0", "missing", "vd0"),
        ({"qdev": "vd0"}, "fmt0", "qdev vd0"),
        ({"device": "drive1", "path": "backing.backing"}, "#base", "device drive1, path backing.backing"),
        ({"node-name": "fmt0", "path": "backing", "bitmap": "b"}, "base0", "node-name fmt0, path backing, bitmap b"),
        ({"node-name": "drive0"}, "missing", "node-name drive0"),
        ({"node-name": "a\x1b[31m"}, "missing", "node-name a\\x1b[31m"),
    ],
)
def test_the_place_that_a_selector_means(selector: object, expected: str, text: str) -> None:
    """A bare text is a device or node-name; the words for people print whatever they hold."""
    made = Selector.model_validate(selector)
    found = place(_GRAPH, made)
    assert (found.node or found.problem, words(made)) == (expected, text)


# fragments


def _one(policy: Mapping[str, Any], place: str) -> Decision:
    return _decide(policy)[0][place]


@pytest.mark.parametrize(
    ("policy", "places", "expected"),
    [
        ({}, ["base0/daily"], {"map": [{"source": {"node-name": "base0", "bitmap": "daily"}, "destination": None}]}),
        (
            {},
            ["fmt0/daily", "fmt0/weekly", "fmt0/*odd*"],
            {"map": [{"source": {"node-name": "fmt0"}, "destination": None}]},
        ),
        (
            {"map": [{"source": "base0", "destination": "a"}]},
            ["base0/daily"],
            {"map": [{"source": {"node-name": "base0", "bitmap": "daily"}, "destination": None}]},
        ),
        (
            {"map": [{"source": {"node-name": "fmt0", "bitmap": "*odd*"}, "destination": "a"}]},
            ["fmt0/*odd*"],
            {"deny": [{"address": "fmt0", "bitmap": "\\*odd\\*"}]},
        ),
        ({"map": [{**_DROP_OLD, "source": {**_DROP_OLD["source"], "bitmap": "old"}}]}, ["#base/old"], None),  # type: ignore[dict-item]
    ],
)
def test_the_fragment_that_leaves_behind_wins(
    policy: Mapping[str, Any], places: Sequence[str], expected: Mapping[str, Any] | None
) -> None:
    """Merged into the policy it leaves the bitmaps behind; where nothing could outdo an entry there is none."""
    made = Policy.parse({"version": 1, **policy})
    found = leave(made, _GRAPH, [_one(policy, one) for one in places])
    assert found == (() if expected is None else (expected,))
    for fragment in found:
        after = _decide(merged(policy, fragment))
        assert {after[0][one].action for one in places} == {"leave-behind"}
        assert "BM414" not in codes(after[1])


def test_the_fragment_that_sends_elsewhere() -> None:
    """One entry for the bitmap; none where the policy has one for it already."""
    target = {"node-name": "fmt9"}
    (fragment,) = send(Policy(), _GRAPH, _one({}, "#fmt/daily"), target)
    assert fragment == {"map": [{"source": {"device": "drive1", "bitmap": "daily"}, "destination": target}]}
    policy = {"map": [{"source": {"device": "drive1", "bitmap": "daily"}, "destination": "a"}]}
    assert send(Policy.parse({"version": 1, **policy}), _GRAPH, _one(policy, "#fmt/daily"), target) == ()

"""The map of each side: aliases, commands and what they leave set."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig.plans import dump
from bitmapmig.plans.mapping import well_formed
from tests.build import Part, codes, destination, drive, guest, node, planned, source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bitmapmig.plans import Plan
    from bitmapmig.plans.document import NodeAlias

_IN_FORCE: dict[str, Any] = {"parameters": {"block-bitmap-mapping": []}}
_ON = {"execute": "migrate-set-capabilities", "arguments": {"capabilities": [
    {"capability": "dirty-bitmaps", "state": True}]}}  # fmt: skip
_OFF = {"execute": "migrate-set-capabilities", "arguments": {"capabilities": [
    {"capability": "dirty-bitmaps", "state": False}]}}  # fmt: skip


def _plan(here: Sequence[Part], there: Sequence[Part], policy: Mapping[str, Any] | None = None, **more: Any) -> Plan:
    plan = planned(source(*here), destination(*there, **more), policy)
    assert codes(plan.refusals) == []
    return plan


def _shown(entries: Sequence[NodeAlias] | None) -> dict[str, dict[str, str]] | None:
    """A map as `node = alias` -> bitmap -> alias, with `!` for a transform to persistent, `~` for one to transient."""
    if entries is None:
        return None
    marks = {None: "", True: "!", False: "~"}
    return {
        f"{one.node_name} = {one.alias}": {
            it.name: it.alias + marks[it.transform.persistent if it.transform else None] for it in one.bitmaps
        }
        for one in entries
    }


def _maps(plan: Plan) -> tuple[dict[str, dict[str, str]] | None, dict[str, dict[str, str]] | None]:
    return _shown(plan.block_bitmap_mapping.source), _shown(plan.block_bitmap_mapping.destination)


def _rename(name: str, **target: Any) -> dict[str, Any]:
    return {"map": [{"source": {"node-name": "n", "bitmap": "b0"}, "destination": {"node-name": name, **target}}]}


_N = [node("n", "qcow2", ["b0"])]
_AUTO = [node("#a", bitmaps=["b0"]), drive("drive0", "#a")]

_SOURCE_ONLY: list[tuple[str, Sequence[Part], Sequence[Part], Mapping[str, Any] | None, dict[str, dict[str, str]]]] = [
    ("an explicit node-name", _N, [node("n")], None, {"n = n": {"b0": "b0"}}),
    ("the destination's node-name", _N, [node("x"), drive("n", "x")], None, {"n = x": {"b0": "b0"}}),
    ("a device whose very root it is", _AUTO, [node("#x"), drive("drive0", "#x")], None, {"#a = drive0": {"b0": "b0"}}),
    (
        "a device over an explicit node is not needed",
        _AUTO,
        [node("x"), drive("drive0", "x")],
        None,
        {"#a = x": {"b0": "b0"}},
    ),
    (
        "the node below a filter by its own name",
        _AUTO,
        [node("t", "throttle", file="x"), node("x"), drive("drive0", "t")],
        None,
        {"#a = x": {"b0": "b0"}},
    ),
    (
        "a filter's device where the filter is meant",
        _N,
        [node("#t", "throttle", file="x"), node("x"), drive("d", "#t")],
        {"map": [{"source": "n", "destination": {"node-name": "#t"}}]},
        {"n = d": {"b0": "b0"}},
    ),
    (
        "another device over the same root",
        _N,
        [node("#x"), drive("d1", "#x"), drive("d2", "#x"), drive("n", "#x")],
        None,
        {"n = d1": {"b0": "b0"}},
    ),
    ("a new name", _N, [node("n")], _rename("n", bitmap="c0"), {"n = n": {"b0": "c0"}}),
    ("a transform", _N, [node("n", "qcow2")], _rename("n", persistent=True), {"n = n": {"b0": "b0!"}}),
    ("a transform that changes nothing", _N, [node("n")], _rename("n", persistent=False), {"n = n": {"b0": "b0"}}),
    (
        "names of 255 bytes",
        [node("n", bitmaps=["\u00e4" * 127 + "x"])],
        [node("n")],
        None,
        {"n = n": {"\u00e4" * 127 + "x": "\u00e4" * 127 + "x"}},
    ),
]


@pytest.mark.parametrize(
    ("here", "there", "policy", "expected"), [row[1:] for row in _SOURCE_ONLY], ids=[row[0] for row in _SOURCE_ONLY]
)
def test_a_map_on_the_source_alone_wherever_that_is_exact(
    here: Sequence[Part], there: Sequence[Part], policy: Mapping[str, Any] | None, expected: dict[str, dict[str, str]]
) -> None:
    """The alias is what the destination itself calls the node, the bitmap alias the bitmap's name there."""
    plan = _plan(here, there, policy)
    assert _maps(plan) == (expected, None)
    assert [one.execute for one in plan.commands.source] == ["migrate-set-parameters", "migrate-set-capabilities"]
    assert plan.commands.destination == ()
    assert {one.side for one in plan.residue} == {"source"}


_LONG = "x" * 256
_HASH_LONG = f"bm-{hashlib.sha256(_LONG.encode()).hexdigest()[:16]}"
_TWO_SIDED: list[tuple[str, Sequence[Part], Sequence[Part], dict[str, Any], tuple[str, str]]] = [
    (
        "a root that only a guest device has",
        [*_N, guest("vd0", "n")],
        [node("#x"), guest("vd0", "#x")],
        {},
        ("n = n", "#x = n"),
    ),
    (
        "a node below a filter that has the device's name",
        _AUTO,
        [node("#t", "throttle", file="#x"), node("#x"), drive("drive0", "#t")],
        {},
        ("#a = drive0", "#x = drive0"),
    ),
    ("a mapping in force", _N, [node("n")], _IN_FORCE, ("n = n", "n = n")),
]


@pytest.mark.parametrize(
    ("here", "there", "more", "expected"), [row[1:] for row in _TWO_SIDED], ids=[row[0] for row in _TWO_SIDED]
)
def test_a_map_on_both_sides_where_the_source_alone_is_not_exact(
    here: Sequence[Part], there: Sequence[Part], more: Mapping[str, Any], expected: tuple[str, str]
) -> None:
    """Then both sides agree on an alias, the destination is told first, and its map is residue."""
    plan = _plan(here, there, {"resolve": "guest-device"}, **more)
    assert _maps(plan) == ({expected[0]: {"b0": "b0"}}, {expected[1]: {"b0": "b0"}})
    assert [one.execute for one in plan.commands.destination] == ["migrate-set-parameters"]
    assert next((one.side, one.what) for one in plan.residue) == ("destination", "block-bitmap-mapping")


def test_a_bitmap_name_over_255_bytes_needs_a_short_alias() -> None:
    """Only that bitmap gets one: `bm-` and 16 hex digits of the SHA-256 of its name."""
    plan = _plan([node("n", bitmaps=[_LONG, "b0"])], [node("n")])
    assert _maps(plan) == (
        {"n = n": {_LONG: _HASH_LONG, "b0": "b0"}},
        {"n = n": {_LONG: _HASH_LONG, "b0": "b0"}},
    )


def test_a_long_name_that_is_given_a_short_one_needs_no_map_there() -> None:
    """What counts is the name on the destination; a long one is fine as the name of the source's bitmap."""
    policy = {"map": [{"source": {"node-name": "n", "bitmap": _LONG},
                       "destination": {"node-name": "n", "bitmap": "s"}}]}  # fmt: skip
    assert _maps(_plan([node("n", bitmaps=[_LONG])], [node("n")], policy)) == ({"n = n": {_LONG: "s"}}, None)


def test_the_transform_stands_on_the_source_alone() -> None:
    """Set on both sides the destination's would win, so it is said once."""
    plan = planned(source(*_N), destination(node("n", "qcow2"), **_IN_FORCE), _rename("n", persistent=True))
    assert _maps(plan) == ({"n = n": {"b0": "b0!"}}, {"n = n": {"b0": "b0"}})


def test_aliases_that_would_be_equal_are_told_apart() -> None:
    """Two nodes never get one alias, wherever their names come from."""
    here = [*_AUTO, node("b", bitmaps=["b1"])]
    there = [node("x"), drive("drive0", "x"), node("#y"), guest("vd0", "#y")]
    policy = {"map": [{"source": "drive0", "destination": {"node-name": "#y"}},
                      {"source": "b", "destination": "x"}]}  # fmt: skip
    plan = planned(source(*here, guest("vd0", "#a")), destination(*there, **_IN_FORCE), policy)
    entries = plan.block_bitmap_mapping.source or ()
    assert (plan.verdict, len({one.alias for one in entries})) == ("planned", 2)
    assert all(well_formed(one.alias) for one in entries)


@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        ("a", True),
        ("Az09._-", True),
        ("a" * 255, True),
        ("a" * 256, False),
        ("", False),
        ("#a", False),
        ("0a", False),
        ("_a", False),
        ("a b", False),
        ("a\n", False),
        ("\u00e4", False),
        ("a\u00e4", False),
    ],
)
def test_what_qemu_takes_as_a_node_alias(alias: str, expected: bool) -> None:  # noqa: FBT001
    """A letter of ASCII, then letters, digits, `.`, `_` and `-`; at most 255 bytes."""
    assert well_formed(alias) is expected


# commands and residue


def test_the_commands_are_exact() -> None:
    """The source's map is set whole, then its capability; the destination's capability is never touched."""
    plan = _plan(_N, [node("n", "qcow2")], _rename("n", bitmap="c0", persistent=True))
    entry = {"name": "b0", "alias": "c0", "transform": {"persistent": True}}
    mapping = [{"node-name": "n", "alias": "n", "bitmaps": [entry]}]
    assert json.loads(dump(plan))["commands"] == {
        "destination": [],
        "source": [
            {"execute": "migrate-set-parameters", "arguments": {"block-bitmap-mapping": mapping}},
            _ON,
        ],
    }


@pytest.mark.parametrize(("on", "expected"), [((), []), (("dirty-bitmaps",), [_OFF])])
def test_where_everything_is_left_behind_nothing_is_set(on: Sequence[str], expected: list[Any]) -> None:
    """A capability that is on is turned off, else QEMU would send by its own rules; an empty map would say more."""
    plan = planned(source(*_N, capabilities=on), destination(), {"deny": [{"bitmap": "*"}]})
    document = json.loads(dump(plan))
    assert (plan.verdict, document["commands"]["source"], document["residue"]) == ("planned", expected, [])
    assert document["block_bitmap_mapping"] == {"source": None, "destination": None}


def _neutral(plan: Plan, side: str) -> dict[str, list[str]]:
    """The neutral map of one side: `node = alias` -> the bitmaps, each under its own name."""
    (residue,) = [one for one in plan.residue if (one.side, one.what) == (side, "block-bitmap-mapping")]
    found: dict[str, list[str]] = {}
    for command in residue.commands:
        for entry in command.arguments["block-bitmap-mapping"]:
            assert all(one["name"] == one["alias"] for one in entry["bitmaps"])
            found[f"{entry['node-name']} = {entry['alias']}"] = [one["name"] for one in entry["bitmaps"]]
    return found


def test_what_stays_set_on_the_source() -> None:
    """Neutral is every node that has bitmaps under its default name, with all of them, migrated or not."""
    here = [
        node("n", bitmaps=["b0", "b1"]),
        node("m", bitmaps=["b2"]),
        node("#a", bitmaps=["b3"]),
        node("#lost", bitmaps=["b4"]),
        drive("d", "n"),
        drive("e", "#a"),
    ]
    policy = {"allow": [{"bitmap": "b0"}], "map": [{"source": {"node-name": "#lost"}, "destination": None}]}
    plan = _plan(here, [node("n")], policy)
    assert _maps(plan) == ({"n = n": {"b0": "b0"}}, None)
    assert _neutral(plan, "source") == {"n = d": ["b0", "b1"], "m = m": ["b2"], "#a = e": ["b3"]}
    (capability,) = [one for one in plan.residue if one.what == "dirty-bitmaps"]
    assert [one.model_dump() for one in capability.commands] == [_OFF]
    assert capability.side == "source"


def test_what_stays_set_on_the_destination() -> None:
    """There it is what the destination has once the bitmaps have arrived, also those that its images bring."""
    there = [
        node("n", "qcow2", stored=["s0"]),
        node("m", bitmaps=["own"]),
        node("idle"),
        drive("d", "n"),
        drive("e", "m"),
    ]
    plan = _plan(_N, there, **_IN_FORCE)
    assert _neutral(plan, "destination") == {"m = e": ["own"], "n = d": ["b0", "s0"]}


def test_an_empty_map_is_never_neutral() -> None:
    """`[]` drops everything, so where no node has a usable name there is no command."""
    plan = _plan([node("#a", bitmaps=["b0"]), guest("vd0", "#a")], [node("n"), guest("vd0", "n")],
                 {"resolve": "guest-device"})  # fmt: skip
    (residue,) = [one for one in plan.residue if one.what == "block-bitmap-mapping"]
    assert residue.commands == ()

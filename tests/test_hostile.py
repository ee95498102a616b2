"""Captures that no QEMU gives, and genuine ones that are rare: a plan, a refusal or an error, never a traceback."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitmapmig.captures import Capture
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.plans import dump, load
from tests.build import (
    GRANULE,
    NodeSpec,
    Part,
    bitmap,
    codes,
    destination,
    drive,
    export,
    guest,
    job,
    node,
    planned,
    source,
    stored,
)
from tests.strategies import World, worlds

if TYPE_CHECKING:
    from collections.abc import Sequence

_JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 1 << 70, 0.5, "", "#", "x", "\x1b[31m", "N00X", [], [None], [[]], {}, {"name": None}, [{}],
)  # fmt: skip


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of everything in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, one in inner for found in _paths(one, (*path, key)))]


def _hurt(document: Any, dice: random.Random) -> None:
    """Replace, drop or double something in `document`."""
    reply = dice.choice([one for one in document["exchanges"] if "return" in one])
    path = ("return", *dice.choice(_paths(reply["return"])))
    holder = reply
    for key in path[:-1]:
        holder = holder[key]
    match dice.choice(("replace", "drop", "double")):
        case "drop" if len(path) > 1:
            del holder[path[-1]]
        case "double" if isinstance(holder, list):
            holder.append(holder[path[-1]])
        case _:
            holder[path[-1]] = dice.choice(_JUNK)


def _tampered(capture: Capture, dice: random.Random) -> Capture:
    document = json.loads(capture.model_dump_json(by_alias=True, exclude_unset=True))
    for _ in range(dice.randint(0, 3)):
        _hurt(document, dice)
    return Capture.model_validate(document)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(worlds(), st.integers())
def test_a_capture_that_was_tampered_with(world: World, seed: int) -> None:
    """Whatever is replaced, dropped or doubled in the replies, the answer is a plan, a refusal, or BM108 or BM111."""
    dice = random.Random(seed)
    here, there = (_tampered(capture, dice) for capture in world.captures())
    try:
        plan = planned(here, there, world.policy)
    except CannotRunError as error:
        refused = codes(error.diagnostics)
    else:
        refused = []
        assert load(dump(plan)) == plan
    assert set(refused) <= {"BM108", "BM111"}


# by hand

_B = ["b0"]
_N = (node("n", bitmaps=_B),)


def _like(parts: Sequence[Part]) -> list[Part]:
    """The same parts without bitmaps in memory, for the other side."""
    return [
        node(part.name, part.driver, children=part.children) if isinstance(part, NodeSpec) else part for part in parts
    ]


_RARE: list[tuple[str, Sequence[Part], list[str]]] = [
    ("a cycle of nodes with bitmaps", [node("a", "raw", _B, file="b"), node("b", "raw", _B, file="a")], ["BM201"]),
    ("a cycle of filters below a device", [node("#a", "throttle", file="#b"), node("#b", "throttle", _B, file="#a"),
                                           drive("d", "#a", "vd0")], ["BM201", "BM301"]),
    ("a child that is not there", [node("a", "raw", _B, file="nowhere")], ["BM202"]),
    ("a root that is not there", [*_N, drive("d", "nowhere", "vd0")], ["BM202"]),
    ("an export of what is not there", [*_N, export("e", "nowhere")], ["BM202"]),
    ("a device that is called as a node", [*_N, drive("n", "n")], ["BM204"]),
    ("a child that two disks share", [node("a", "qcow2", _B, backing="c"), node("b", "qcow2", _B, backing="c"),
                                      node("c", "qcow2", _B), guest("vd0", "a"), guest("vd1", "b")], []),
    ("a quorum", [node("q", "quorum", _B, children={"children.0": "a", "children.1": "c"}), node("a", bitmaps=_B),
                  node("c", bitmaps=_B), guest("vd0", "q")], []),
    ("a blkverify", [node("v", "blkverify", _B, raw="a", test="c"), node("a", bitmaps=_B), node("c", bitmaps=_B),
                     guest("vd0", "v")], []),
    ("a data file", [node("n", "qcow2", _B, file="f", data_file="d"), node("f", "file", _B), node("d", "file", _B),
                     guest("vd0", "n")], []),
    ("an empty drive beside", [*_N, drive("cd0", None, "/machine/peripheral/cd/virtio-backend")], []),
    ("several devices over one explicit node", [*_N, drive("d", "n"), drive("e", "n"), guest("vd0", "n")], []),
    ("several devices over one auto-named node", [node("#n", bitmaps=_B), drive("d", "#n"), drive("e", "#n")],
     ["BM302"]),
    ("a filter with a bitmap of its own", [node("t", "throttle", _B, file="n"), *_N, drive("d", "t", "vd0")], []),
    ("a mirror's hidden filter", [node("#m", "mirror_top", backing="#n"), node("#n", bitmaps=_B), drive("d", "#m"),
                                  job("j", "mirror", main="#m", source="#n", target="t"), node("t")], []),
    ("a driver of the future", [node("x", "of-the-future", _B, file="n"), *_N, drive("d", "x", "vd0")], []),
    ("a node of no driver that is known, without children", [node("x", "of-the-future", _B)], []),
    ("bitmaps of jobs", [node("n", bitmaps=[bitmap(None), bitmap(None, "busy")])], []),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "expected"), [row[1:] for row in _RARE], ids=[row[0] for row in _RARE])
@pytest.mark.parametrize("shows", ["debug", "children", "debug children"])
def test_rare_and_hostile_graphs(parts: Sequence[Part], expected: list[str], shows: str) -> None:
    """To its like a rare graph migrates whole; what no genuine capture has is refused, on either side."""
    here, there = source(*parts, shows=shows), destination(*_like(parts), shows=shows)
    assert codes(planned(here, there).refusals) == expected
    if {"BM201", "BM202", "BM204"} & set(expected):
        plan = planned(source(*_N), destination(node("n"), *_like(parts[1:] if parts[0] is _N[0] else parts)))
        assert codes(plan.refusals) == [expected[0]]


@pytest.mark.parametrize(("parts", "expected"), [row[1:] for row in _RARE], ids=[row[0] for row in _RARE])
def test_the_same_from_blockstats_alone(parts: Sequence[Part], expected: list[str]) -> None:
    """What `query-blockstats` hides never turns a refusal into a plan that other queries would refuse."""
    plan = planned(source(*parts, shows=""), destination(*_like(parts), shows=""))
    unseen = {"BM201"} | ({"BM202"} if isinstance(parts[-1], NodeSpec) else set())
    assert set(expected) - unseen <= set(codes(plan.refusals)) <= {*expected, "BM206", "BM301", "BM501"}


_TWICE: list[tuple[str, Sequence[Part]]] = [
    ("nodes", [node("n", "qcow2", [bitmap("b0", "busy")], stored=["b0"]), node("n", "raw", ["b0", "b1"], 512)]),
    ("devices", [*_N, node("#a", bitmaps=_B), node("#c", bitmaps=_B), drive("d", "#a"), drive("d", "#c")]),
    ("guest devices", [*_N, node("#a", bitmaps=_B), guest("vd0", "n"), guest("vd0", "#a")]),
    ("bitmaps", [node("n", bitmaps=[bitmap("b0", "busy"), bitmap("b0", granularity=GRANULE // 2)])]),
    ("stored bitmaps", [node("n", "qcow2", _B, stored=["b0", stored("b0", clean=True)])]),
]


@pytest.mark.parametrize("parts", [row[1] for row in _TWICE], ids=[row[0] for row in _TWICE])
@pytest.mark.parametrize("shows", ["debug", "children", ""])
def test_what_is_there_twice_is_answered_alike_in_any_order(parts: Sequence[Part], shows: str) -> None:
    """Also of a capture that is not genuine the answer does not depend on the order of what it lists."""
    for side in (source, destination):
        found = []
        for order in (parts, parts[::-1]):
            capture = side(*order, shows=shows)
            document = json.loads(capture.model_dump_json(by_alias=True, exclude_unset=True))
            if order is not parts:
                for record in next(one for one in document["exchanges"] if "nodes" in one["execute"])["return"]:
                    record.get("dirty-bitmaps", []).reverse()
                    record["image"].get("format-specific", {}).get("data", {}).get("bitmaps", []).reverse()
            made = Capture.model_validate(document)
            policy = {"resolve": "guest-device", "map": [{"source": {"qdev": "vd0"}, "destination": "n",
                                                         "optional": True}]}  # fmt: skip
            here, there = (made, destination(node("n"))) if side is source else (source(*_N), made)
            found.append(dump(planned(here, there, policy)))
        assert found[0] == found[1]


@pytest.mark.parametrize("shows", ["debug", "children", ""])
def test_a_chain_of_two_thousand_images_with_bitmaps(shows: str) -> None:
    """Depth is no matter: every bitmap of the chain is planned, whatever shows its edges."""
    here = [node(f"n{at}", "qcow2", _B, backing=f"n{at + 1}") for at in range(1999)]
    disk = [*here, node("n1999", "qcow2", _B), guest("vd0", "n0")]
    plan = planned(source(*disk, shows=shows), destination(*_like(disk), shows=shows))
    assert (plan.verdict, len(plan.block_bitmap_mapping.source or ())) == ("planned", 2000)
    named = {"map": [{"source": {"qdev": "vd0", "path": ".".join(["backing"] * 1999)}, "destination": None}]}
    plan = planned(source(*disk, shows=shows), destination(*_like(disk), shows=shows), named)
    assert [one.node for one in plan.bitmaps if one.fate == "left-behind"] == ["n1999"]


def test_thousands_of_hidden_filters() -> None:
    """A stack of filters that jobs inserted is walked through like any other."""
    stack = [node(f"#f{at:04}", "mirror_top", backing=f"#f{at + 1:04}") for at in range(2000)]
    parts = [*stack, node("#f2000", bitmaps=_B), drive("d", "#f0000", "/machine/peripheral/vd0/virtio-backend")]
    for shows in ("debug", "children"):
        plan = planned(source(*parts, shows=shows), destination(node("d")))
        assert [(one.address, one.fate) for one in plan.bitmaps] == [("d", "migrate")]

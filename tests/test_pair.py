"""Which destination node each bitmap goes to, through the whole planner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig.policy.model import merged
from tests.build import MIB, Part, codes, destination, drive, guest, node, planned, source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bitmapmig.plans import Plan

_B = ["b0"]
#: A disk of the guest for a side that has to have as many as the other.
_SPARE = [node("spare"), guest("vd9", "spare")]
_VD0 = "/machine/peripheral/vd0/virtio-backend"
_FMT0 = (node("fmt0", bitmaps=_B),)
_AUTO = (node("#block1", bitmaps=_B), drive("drive0", "#block1"))


def _plan(here: Sequence[Part], there: Sequence[Part], policy: Mapping[str, Any] | None = None) -> Plan:
    return planned(source(*here), destination(*there), policy)


def _goes(plan: Plan) -> dict[str, str]:
    """For each bitmap of the source, `node/bitmap`, where it is to go."""
    return {
        f"{one.node}/{one.bitmap}": f"{one.destination_node}/{one.destination_bitmap}"
        for one in plan.bitmaps
        if one.destination_node
    }


_PAIRS: list[tuple[str, Sequence[Part], Sequence[Part], Mapping[str, Any] | None, dict[str, str]]] = [
    ("the same node-name", _FMT0, [node("fmt0")], None, {"fmt0/b0": "fmt0/b0"}),
    ("a device here and there", _AUTO, [node("#x"), drive("drive0", "#x")], None, {"#block1/b0": "#x/b0"}),
    ("a device here, a node-name there", _AUTO, [node("drive0")], None, {"#block1/b0": "drive0/b0"}),
    ("a node-name here, a device there", _FMT0, [node("#x"), drive("fmt0", "#x")], None, {"fmt0/b0": "#x/b0"}),
    (
        "a device means the node below its filters",
        _AUTO,
        [node("t0", "throttle", file="c0"), node("c0", "copy-on-read", file="n0"), node("n0"), drive("drive0", "t0")],
        None,
        {"#block1/b0": "n0/b0"},
    ),
    (
        "a node-name may mean a filter",
        _FMT0,
        [node("fmt0", "throttle", file="n0"), node("n0"), drive("drive0", "fmt0")],
        None,
        {"fmt0/b0": "fmt0/b0"},
    ),
    (
        "a map goes by path from the very root",
        _AUTO,
        [
            node("t0", "throttle", file="#f"),
            node("#f", "qcow2", backing="#b"),
            node("#b", "qcow2"),
            drive("d0", "t0"),
        ],
        {
            "map": [
                {"source": "drive0", "destination": {"device": "d0", "path": "file.backing", "persistent": False}},
            ]
        },
        {"#block1/b0": "#b/b0"},
    ),
    (
        "a map goes by guest device, and renames",
        [*_FMT0, guest("vd0", "fmt0")],
        [node("x"), guest("vd5", "x")],
        {"map": [{"source": {"node-name": "fmt0", "bitmap": "b0"}, "destination": {"qdev": "vd5", "bitmap": "c0"}}]},
        {"fmt0/b0": "x/c0"},
    ),
    (
        "two bitmaps of a node swap their names",
        [node("fmt0", bitmaps=["a", "b"])],
        [node("fmt0")],
        {
            "map": [
                {
                    "source": {"node-name": "fmt0", "bitmap": "a"},
                    "destination": {"node-name": "fmt0", "bitmap": "b"},
                },
                {
                    "source": {"node-name": "fmt0", "bitmap": "b"},
                    "destination": {"node-name": "fmt0", "bitmap": "a"},
                },
            ]
        },
        {"fmt0/a": "fmt0/b", "fmt0/b": "fmt0/a"},
    ),
    (
        "guest devices pair what has other names on each side",
        [node("libvirt-1-format", bitmaps=_B), guest("vd0", "libvirt-1-format")],
        [node("libvirt-2-format"), guest("vd0", "libvirt-2-format")],
        {"resolve": "guest-device"},
        {"libvirt-1-format/b0": "libvirt-2-format/b0"},
    ),
    (
        "guest devices go before names that have been swapped",
        [node("f1", bitmaps=_B), node("f2", bitmaps=["b1"]), guest("vd0", "f1"), guest("vd1", "f2")],
        [node("f1"), node("f2"), guest("vd0", "f2"), guest("vd1", "f1")],
        {"resolve": "guest-device"},
        {"f1/b0": "f2/b0", "f2/b1": "f1/b1"},
    ),
    (
        "guest devices leave nodes that are no guest's disk to their names",
        [node("f1", bitmaps=_B, driver="qcow2", backing="base"), node("base", "qcow2", _B), guest("vd0", "f1")],
        [node("f9", "qcow2", backing="base"), node("base", "qcow2"), guest("vd0", "f9")],
        {"resolve": "guest-device"},
        {"base/b0": "base/b0", "f1/b0": "f9/b0"},
    ),
    (
        "a guest device that is not there leaves the name",
        [node("f1", bitmaps=_B), guest("vd0", "f1")],
        [node("f1"), node("g"), guest("vd9", "g")],
        {"resolve": "guest-device"},
        {"f1/b0": "f1/b0"},
    ),
    (
        "a name that has moved below the disk does not take the bitmap of the disk",
        [node("f1", "qcow2", _B), guest("vd0", "f1")],
        [node("f9", "qcow2", backing="f1"), node("f1", "qcow2"), guest("vd0", "f9")],
        {"resolve": "guest-device"},
        {"f1/b0": "f9/b0"},
    ),
]


@pytest.mark.parametrize(
    ("here", "there", "policy", "expected"), [row[1:] for row in _PAIRS], ids=[row[0] for row in _PAIRS]
)
def test_where_bitmaps_go(
    here: Sequence[Part],
    there: Sequence[Part],
    policy: Mapping[str, Any] | None,
    expected: dict[str, str],
) -> None:
    """Each bitmap goes to the node that the row claims, and nothing is refused."""
    plan = _plan(here, there, policy)
    assert (_goes(plan), codes(plan.refusals)) == (expected, [])


def _map(*entries: tuple[Any, Any]) -> dict[str, Any]:
    return {"map": [{"source": here, "destination": there} for here, there in entries]}


_TWO = [node("fmt0", bitmaps=_B), node("fmt1", bitmaps=["b1"])]
_THERE = [node("x"), node("y")]
_ABOVE_UNKNOWN = [node("x0", "of-the-future", file="n0"), node("n0"), drive("drive0", "x0")]

_REFUSED: list[tuple[str, str, Sequence[Part], Sequence[Part], Mapping[str, Any] | None]] = [
    ("BM501", "a name that is not there", _FMT0, [node("fmt1")], None),
    ("BM501", "a device that is not there", _AUTO, [node("#block1"), drive("drive1", "#block1")], None),
    ("BM501", "a map to nowhere", _FMT0, [node("fmt0")], _map(("fmt0", "fmt7"))),
    ("BM501", "a guest device is no name", _FMT0, [node("x"), guest("fmt0", "x")], None),
    (
        "BM501",
        "a path that leads nowhere",
        _FMT0,
        [node("x"), drive("d", "x")],
        _map(("fmt0", {"device": "d", "path": "file"})),
    ),
    (
        "BM501",
        "a name that is another guest device's disk there",
        [node("f1", bitmaps=_B), guest("vd0", "f1")],
        [node("f1"), guest("vd1", "f1")],
        {"resolve": "guest-device"},
    ),
    ("BM502", "a drive without medium", _AUTO, [node("x"), drive("drive0", None)], None),
    ("BM502", "a map to a drive without medium", _FMT0, [drive("cd0", None)], _map(("fmt0", "cd0"))),
    ("BM207", "a device over what may be a filter", _AUTO, _ABOVE_UNKNOWN, None),
    ("BM503", "two nodes that are mapped to one", _TWO, _THERE, _map(("fmt0", "x"), ("fmt1", "x"))),
    (
        "BM503",
        "a device and a node-name that are one node there",
        [*_AUTO, node("n0", bitmaps=_B)],
        [node("n0"), drive("drive0", "n0")],
        None,
    ),
    (
        "BM504",
        "bitmaps of one node to two",
        [node("fmt0", bitmaps=["b0", "b1"])],
        _THERE,
        _map(("fmt0", "x"), ({"node-name": "fmt0", "bitmap": "b1"}, "y")),
    ),
    (
        "BM505",
        "two bitmaps to one name",
        [node("fmt0", bitmaps=["b0", "b1"])],
        [node("fmt0")],
        _map(({"node-name": "fmt0", "bitmap": "b1"}, {"node-name": "fmt0", "bitmap": "b0"})),
    ),
]


@pytest.mark.parametrize(
    ("code", "here", "there", "policy"), [(row[0], *row[2:]) for row in _REFUSED], ids=[row[1] for row in _REFUSED]
)
def test_pairs_that_are_refused(
    code: str, here: Sequence[Part], there: Sequence[Part], policy: Mapping[str, Any] | None
) -> None:
    """What finds no node, or would make the map no one-to-one map, is refused by its code alone."""
    assert codes(_plan(here, there, policy).refusals) == [code]


_NEAR: list[tuple[str, str, Sequence[Part], Sequence[Part], Mapping[str, Any] | None]] = [
    ("BM501", "left behind, a name need not be there", _FMT0, [], _map(("fmt0", None))),
    ("BM502", "another drive without medium", _AUTO, [node("#x"), drive("drive0", "#x"), drive("drive1", None)], None),
    ("BM207", "a node-name below what may be a filter", _FMT0, _ABOVE_UNKNOWN, _map(("fmt0", "n0"))),
    ("BM503", "two nodes to two", _TWO, _THERE, _map(("fmt0", "x"), ("fmt1", "y"))),
    ("BM503", "of two nodes one is left behind", _TWO, _THERE, _map(("fmt0", "x"), ("fmt1", None))),
    (
        "BM504",
        "of two bitmaps one is left behind",
        [node("fmt0", bitmaps=["b0", "b1"])],
        _THERE,
        _map(("fmt0", "x"), ({"node-name": "fmt0", "bitmap": "b1"}, None)),
    ),
    ("BM505", "one name on two nodes", _TWO, _THERE, _map(("fmt0", "x"), ({"node-name": "fmt1", "bitmap": "b1"},
                                                          {"node-name": "y", "bitmap": "b0"}))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("here", "there", "policy"), [row[2:] for row in _NEAR], ids=[f"{row[0]} {row[1]}" for row in _NEAR]
)
def test_pairs_that_only_look_alike(
    here: Sequence[Part], there: Sequence[Part], policy: Mapping[str, Any] | None
) -> None:
    """A near miss of each refusal is a plan."""
    assert _plan(here, there, policy).verdict == "planned"


@pytest.mark.parametrize(
    ("here", "there", "advised"),
    [
        ([node("f", bitmaps=_B), guest("vd0", "f")], [node("f"), guest("vd1", "f")], True),
        ([node("f", bitmaps=_B), guest("vd0", "f")], [node("f"), guest("vd0", "f")], False),
        ([node("f", bitmaps=_B), guest("vd0", "f"), guest("vd1", "f")], [*_SPARE, node("f"), guest("vd1", "f")], False),
        ([node("f", bitmaps=_B), guest("vd0", "f")], [*_SPARE, node("f")], False),
    ],
)
def test_one_name_for_two_disks_of_the_guest_is_advice(
    here: Sequence[Part],
    there: Sequence[Part],
    advised: bool,  # noqa: FBT001
) -> None:
    """BM506 says where a name is another guest device's disk there; the default rules go by the name all the same."""
    plan = _plan(here, there)
    assert (plan.verdict, "BM506" in codes(plan.advice)) == ("planned", advised)


def test_the_offers_for_a_name_that_is_not_there() -> None:
    """BM501 offers the same guest device, then the same device name; a plan follows from each, and from leaving."""
    here = [node("f1", bitmaps=_B), drive("drive0", "f1", qdev=_VD0)]
    there = [node("x"), node("y"), drive("other", "x", qdev=_VD0), drive("drive0", "y")]
    (found,) = _plan(here, there).refusals
    assert [fragment["map"][0]["destination"] for fragment in found.fragments] == [  # type: ignore[index,call-overload]
        {"qdev": "vd0"},
        {"device": "drive0"},
        None,
    ]
    for fragment in found.fragments:
        assert _plan(here, there, fragment).verdict == "planned"


@pytest.mark.parametrize(
    ("policy", "there"),
    [
        (None, [node("x", size=2 * MIB), guest("vd0", "x")]),
        ({"resolve": "guest-device"}, [node("f1"), guest("vd1", "f1")]),
    ],
)
def test_no_offer_of_a_disk_that_cannot_be_the_same(policy: Mapping[str, Any] | None, there: Sequence[Part]) -> None:
    """A node of another size, or one that is another guest device's disk, is not offered by BM501."""
    (found,) = _plan([node("f1", bitmaps=_B), guest("vd0", "f1")], there, policy).refusals
    assert [fragment["map"] for fragment in found.fragments] == [
        [{"source": {"node-name": "f1", "bitmap": "b0"}, "destination": None}]
    ]


def test_each_offer_for_a_merge_keeps_one_node() -> None:
    """BM503 offers to leave all nodes but one behind, whichever entry sent them."""
    bitmaps = [{"node-name": "fmt0", "bitmap": "b0"}, {"node-name": "fmt1", "bitmap": "b1"}]
    for policy in (_map(("fmt0", "x"), ("fmt1", "x")), _map(*((bitmap, "x") for bitmap in bitmaps))):
        (found,) = _plan(_TWO, _THERE, policy).refusals
        assert len(found.fragments) == 2
        for fragment in found.fragments:
            plan = _plan(_TWO, _THERE, merged(policy, fragment))
            assert (plan.verdict, len(_goes(plan))) == ("planned", 1)

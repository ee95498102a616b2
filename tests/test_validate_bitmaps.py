"""Whether each bitmap can travel: states, sizes, names, guest writes; each finding and its near miss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig.policy.model import merged
from tests.build import (
    MIB,
    SIZE,
    Part,
    bitmap,
    codes,
    destination,
    drive,
    node,
    planned,
    source,
    stored,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bitmapmig.plans import Plan
    from tests.build import Raw

_DENY_B0 = {"deny": [{"bitmap": "b0"}]}
_DENY_ALL = {"deny": [{"bitmap": "*"}]}
_THERE = (node("n", "qcow2"), node("m", "qcow2"))


def _plan(
    here: Sequence[Part], there: Sequence[Part] = _THERE, policy: Mapping[str, Any] | None = None, **more: Any
) -> Plan:
    return planned(source(*here, **more), destination(*there), policy)


_BAD = {
    "BM531": bitmap("b0", "inconsistent"),
    "BM532": bitmap("b0", "busy"),
    "BM533": bitmap("b0", "persistent"),
}


def _node(code: str, *others: str) -> Part:
    """A node with a bitmap in the state of `code` and others that are in order."""
    if code == "BM533":
        return node("n", "qcow2", [_BAD[code], *others], stored=[stored("b0", clean=True)], ro=True)
    return node("n", "qcow2", [_BAD[code], *others])


@pytest.mark.parametrize("code", _BAD)
@pytest.mark.parametrize("others", [(), ("b1",)])
def test_a_bitmap_that_qemu_does_not_send(code: str, others: Sequence[str]) -> None:
    """Inconsistent, busy or read-only: the whole migration fails."""
    plan = _plan([_node(code, *others)])
    assert codes(plan.refusals) == [code]
    assert [(one.bitmap, one.fate) for one in plan.bitmaps if one.fate == "refused"] == [("b0", "refused")]


@pytest.mark.parametrize("code", _BAD)
def test_a_bitmap_that_is_not_in_the_map_stops_its_node_all_the_same(code: str) -> None:
    """QEMU checks every bitmap of a mapped node, listed or not; the finding says so."""
    (found,) = _plan([_node(code, "b1")], policy={**_DENY_B0, "storage": "shared"} if code == "BM533" else _DENY_B0,
                     there=[_node(code)] if code == "BM533" else _THERE).refusals  # fmt: skip
    assert (found.code, found.facts["listed"]) == (code, False)


@pytest.mark.parametrize("code", _BAD)
def test_a_bitmap_on_a_node_that_is_not_mapped_stops_nothing(code: str) -> None:
    """With every bitmap of the node left behind, the node is not in the map."""
    assert _plan([_node(code, "b1"), node("m", "qcow2", ["b2"])], policy={"deny": [{"address": "n"}]}).verdict == (
        "planned"
    )


@pytest.mark.parametrize("code", _BAD)
@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"map": [{"source": "n", "destination": "n"}]},
        {"map": [{"source": {"node-name": "n", "bitmap": "b0"}, "destination": "n"}]},
        {"map": [{"source": {"node-name": "n", "bitmap": "b0"}, "destination": "n"}], "deny": [{"bitmap": "b1"}]},
    ],
)
def test_the_offer_to_leave_a_node_behind_gives_a_plan(code: str, policy: Mapping[str, Any]) -> None:
    """Whatever entry mapped the node, the fragment outdoes it."""
    (found,) = _plan([_node(code, "b1")], policy=policy).refusals
    (fragment,) = found.fragments
    plan = _plan([_node(code, "b1")], policy=merged(policy, fragment))
    assert (plan.verdict, {one.fate for one in plan.bitmaps}) == ("planned", {"left-behind"})


@pytest.mark.parametrize(
    ("record", "images", "ro", "expected"),
    [
        (bitmap("b0"), [stored("b0", clean=True)], True, []),
        (bitmap("b0", "persistent"), [], True, []),
        (bitmap("b0", "persistent"), [stored("b1", clean=True)], True, []),
        (bitmap("b0", "persistent"), ["b0"], False, []),
        (bitmap("b0", "persistent"), [], None, []),
        (bitmap("b0"), ["b0"], None, []),
        (bitmap("b0", "persistent"), ["b0"], None, ["BM205"]),
        (bitmap("b0", "disabled"), [], False, []),
    ],
)
def test_read_only_is_inferred(record: Raw, images: list[Any], ro: bool | None, expected: list[str]) -> None:  # noqa: FBT001
    """It takes all of: a node open read-only, persistence, and a stored copy; what is not told is not guessed."""
    assert codes(_plan([node("n", "qcow2", [record], stored=images, ro=ro)]).refusals) == expected


def test_whether_an_unreadable_image_holds_a_read_only_bitmap_is_not_guessed() -> None:
    """Of a read-only qcow2 node that does not tell its stored bitmaps, a persistent bitmap may be loaded."""
    records = [dict(node("n", "qcow2", [bitmap("b0", "persistent")], ro=True).record)]
    records[0]["image"] = {"virtual-size": SIZE}
    plan = _plan([node("n")], replies={"query-named-block-nodes": records})
    assert codes(plan.refusals) == ["BM205"]


@pytest.mark.parametrize("size", [SIZE - 512, SIZE + 512, 2 * SIZE, 0])
def test_sizes_that_differ_at_all(size: int) -> None:
    """The destination would abort after the source said `completed`; leaving the node behind gives a plan."""
    here, there = [node("n", bitmaps=["b0", "b1"])], [node("n", size=size)]
    (found,) = _plan(here, there).refusals
    assert (found.code, found.facts["source"], found.facts["destination"]) == ("BM541", SIZE, size)
    assert _plan(here, there, found.fragments[0]).verdict == "planned"


def test_equal_sizes_and_sizes_of_others() -> None:
    """Only the two nodes of a pair must be of one size."""
    here = [node("n", bitmaps=["b0"]), node("m", size=MIB, bitmaps=["b1"])]
    assert _plan(here, [node("n"), node("m", size=2 * MIB)], {"deny": [{"bitmap": "b1"}]}).verdict == "planned"


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (node("n", bitmaps=["b0"], size=None), node("n")),
        (node("n", bitmaps=["b0"]), node("n", size=None)),
        (node("n", bitmaps=["b0"], size=None), node("n", size=None)),
    ],
)
def test_a_size_that_is_not_told_is_not_guessed(here: Part, there: Part) -> None:
    """BM205, and none where the node is not mapped."""
    assert codes(_plan([here], [there]).refusals) == ["BM205"]
    assert _plan([here], [there], _DENY_ALL).verdict == "planned"


@pytest.mark.parametrize(
    ("bitmaps", "policy", "expected"),
    [
        (["b0"], {}, ["BM542"]),
        ([bitmap("b0", "inconsistent")], {}, ["BM542"]),
        (["b1"], {}, []),
        ([bitmap(None)], {}, []),
        (["b0"], {"map": [{"source": {"node-name": "n", "bitmap": "b0"},
                           "destination": {"node-name": "n", "bitmap": "b1"}}]}, []),
        (["b1"], {"map": [{"source": {"node-name": "n", "bitmap": "b0"},
                           "destination": {"node-name": "n", "bitmap": "b1"}}]}, ["BM542"]),
        (["b0"], _DENY_B0, []),
    ],
)  # fmt: skip
def test_a_name_that_the_destination_node_has(
    bitmaps: list[Any], policy: Mapping[str, Any], expected: list[str]
) -> None:
    """A bitmap of that name on that node is in the way; one of another name, or on another node, is not."""
    there = [node("n", bitmaps=bitmaps), node("other", bitmaps=["b0", "b1"])]
    assert codes(_plan([node("n", bitmaps=["b0"])], there, policy).refusals) == expected


@pytest.mark.parametrize(
    ("name", "refused"),
    [("x" * 1023, False), ("x" * 1024, True), ("\u00e4" * 511 + "x", False), ("\u00e4" * 512, True)],
)
def test_the_length_of_a_bitmap_name(name: str, refused: bool) -> None:  # noqa: FBT001
    """QEMU takes 1023 bytes, whatever the number of characters."""
    plan = _plan([node("n", bitmaps=[name])])
    assert codes(plan.refusals) == (["BM551"] if refused else [])


@pytest.mark.parametrize(("length", "refused"), [(31, False), (32, True)])
@pytest.mark.parametrize("generated", ["", "#"])
def test_the_length_of_a_node_name(length: int, refused: bool, generated: str) -> None:  # noqa: FBT001
    """`migrate-set-parameters` takes 31 bytes; QEMU has no longer node-names either."""
    name = generated + "n" * (length - len(generated))
    here, there = [node(name, bitmaps=["b0"]), drive("d", name)], [node("x"), drive("d", "x"), drive(name, "x")]
    assert codes(_plan(here, there[:2] if generated else there).refusals) == (["BM551"] if refused else [])
    back = _plan([node("n", bitmaps=["b0"])], [node(name)], {"map": [{"source": "n", "destination": name}]})
    assert codes(back.refusals) == (["BM551"] if refused else [])


@pytest.mark.parametrize(
    ("name", "policy", "expected"),
    [
        ("b\ufffd", {}, ["BM552"]),
        ("b\ufffd", _DENY_ALL, []),
        ("b\ufffd", {"map": [{"source": {"node-name": "n", "bitmap": "b\ufffd"},
                              "destination": {"node-name": "n", "bitmap": "b"}}]}, ["BM552"]),
        ("b\ufffc", {}, []),
    ],
)  # fmt: skip
def test_a_name_that_qemu_cannot_show(name: str, policy: Mapping[str, Any], expected: list[str]) -> None:
    """Of a name that is no UTF-8 QEMU shows another, which a map would not find."""
    plan = _plan([node("n", bitmaps=[name])], policy=policy)
    assert codes(plan.refusals) == expected
    for found in plan.refusals:
        if not policy:
            assert _plan([node("n", bitmaps=[name])], policy=found.fragments[0]).verdict == "planned"


_ABOVE: dict[str, Any] = {"bitmaps": [bitmap("p0", "persistent")], "file": "n"}


@pytest.mark.parametrize(
    ("version", "above", "expected"),
    [
        *((version, {}, ["BM553"]) for version in ((8, 0, 0), (10, 0, 0), (11, 1, 0))),
        *((version, {}, []) for version in ((5, 2, 0), (7, 2, 0))),
        ((10, 0, 0), {"bitmaps": [bitmap("p0")]}, []),
        ((10, 0, 0), {"ro": True, "stored": ["p0"]}, []),
        ((10, 0, 0), {"ro": True}, ["BM555"]),
        ((10, 0, 0), {"driver": "raw"}, []),
        ((10, 0, 0), {"file": "other"}, []),
    ],
)
def test_the_file_of_an_image_that_is_stored(
    version: tuple[int, int, int], above: Mapping[str, Any], expected: list[str]
) -> None:
    """An image that stores bitmaps when it is inactivated makes its file grow: no bitmap of the file may migrate."""
    here = [node("n", "file", ["b0"]), node("other"), node("top", **{"driver": "qcow2", **_ABOVE, **above})]
    there = [node("n", "file"), node("top", "qcow2", file="n")]
    policy = {"deny": [{"bitmap": "p0"}]}
    at: dict[str, Any] = {"version": version}
    plan = planned(source(*here, **at), destination(*there, **at), policy)
    assert codes(plan.refusals) == expected


@pytest.mark.parametrize(
    ("node_flags", "policy", "expected"),
    [
        ({"ro": True}, {"deny": [{"bitmap": "p0"}]}, ["BM555"]),
        ({"ro": True}, {"deny": [{"bitmap": "*"}]}, ["BM555"]),
        ({"ro": True, "stored": ["p0"]}, {"deny": [{"bitmap": "p0"}]}, []),
        ({"ro": False}, {"deny": [{"bitmap": "p0"}]}, []),
        ({"ro": None}, {"deny": [{"bitmap": "p0"}]}, ["BM205"]),
        ({"ro": True}, {"map": [{"source": {"node-name": "n"}, "destination": {"node-name": "n"}}]}, []),
    ],
)
def test_a_read_only_image_has_what_stays_behind(
    node_flags: Mapping[str, Any], policy: Mapping[str, Any], expected: list[str]
) -> None:
    """A persistent bitmap that is left behind is refused where its node is to store it and is read-only."""
    here = [node("n", "qcow2", [bitmap("p0", "persistent")], **node_flags), node("m", bitmaps=["b0"])]
    there = [node("n", "qcow2"), node("m")]
    plan = planned(source(*here), destination(*there), {"storage": "separate", **policy})
    assert codes(plan.refusals) == expected

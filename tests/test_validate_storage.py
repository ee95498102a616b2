"""What the images hold and can hold: persistence, stored copies, storage that is shared, separate or unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig.policy.model import merged
from tests.build import (
    MIB,
    Part,
    bitmap,
    codes,
    destination,
    drive,
    guest,
    node,
    planned,
    source,
    stored,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bitmapmig.plans import Plan
    from tests.build import Raw

_P = bitmap("b0", "persistent")
_CLEAN = stored("b0", clean=True)


def _plan(here: Part, there: Part, policy: Mapping[str, Any] | None = None, *more: Part) -> Plan:
    return planned(source(here, *more), destination(there, *more), policy)


def _qcow2(*bitmaps: str | Raw, **more: Any) -> Part:
    return node("n", "qcow2", bitmaps, **more)


def _map(name: str, **target: Any) -> dict[str, Any]:
    """The policy that sends a bitmap to the same node, changed."""
    return {"map": [{"source": {"node-name": "n", "bitmap": name}, "destination": {"node-name": "n", **target}}]}


# what the destination can store

_TIB = 1 << 40


@pytest.mark.parametrize(
    ("record", "here", "there", "expected"),
    [
        (_P, {}, node("n", "qcow2"), []),
        (_P, {}, node("n", "raw"), ["BM548"]),
        (_P, {}, node("n", "null-co"), ["BM548"]),
        (_P, {}, node("n", "throttle"), ["BM548"]),
        (_P, {}, node("n", "qcow2", compat="0.10"), ["BM548"]),
        (_P, {}, node("n", "qcow2", compat=None), ["BM205"]),
        (_P, {}, node("n", "qcow2", ro=True), ["BM549"]),
        (_P, {}, node("n", "qcow2", ro=None), ["BM205"]),
        (bitmap("b0"), {}, node("n", "raw"), []),
        (bitmap("b0"), {}, node("n", "qcow2", compat="0.10"), []),
        (bitmap("b0"), {}, node("n", "qcow2", ro=True), []),
        (bitmap("b0"), {}, node("n", ro=None), []),
        # 512 MiB of bits is what qcow2 stores of one bitmap
        (bitmap("b0", "persistent", granularity=512), {"size": 2 * _TIB}, node("n", "qcow2", size=2 * _TIB), []),
        (
            bitmap("b0", "persistent", granularity=512),
            {"size": 2 * _TIB + MIB},
            node("n", "qcow2", size=2 * _TIB + MIB),
            ["BM548"],
        ),
        (
            bitmap("b0", "persistent", granularity=1024),
            {"size": 2 * _TIB + MIB},
            node("n", "qcow2", size=2 * _TIB + MIB),
            [],
        ),
    ],
)
def test_a_persistent_bitmap_goes_where_it_is_kept(
    record: Raw, here: Mapping[str, Any], there: Part, expected: list[str]
) -> None:
    """Only a writable qcow2 image of version 3 keeps it beyond a shutdown; a transient one needs nothing."""
    assert codes(_plan(_qcow2(record, **here), there, {"storage": "separate"}).refusals) == expected


@pytest.mark.parametrize(("record", "persistent", "expected"), [
    (_P, None, ["BM548"]), (_P, True, ["BM548"]), (_P, False, []),
    (bitmap("b0"), None, []), (bitmap("b0"), True, ["BM548"]), (bitmap("b0"), False, []),
])  # fmt: skip
def test_what_counts_is_persistence_on_the_destination(
    record: Raw,
    persistent: bool | None,  # noqa: FBT001
    expected: list[str],
) -> None:
    """A transform decides; one that changes nothing is none."""
    target = {} if persistent is None else {"persistent": persistent}
    plan = _plan(_qcow2(record), node("n", "raw"), {"storage": "separate", **_map("b0", **target)})
    assert codes(plan.refusals) == expected
    changed = persistent is not None and persistent != record["persistent"]
    (one,) = plan.bitmaps
    assert (one.transform.persistent if one.transform else None) == (persistent if changed else None)


@pytest.mark.parametrize("there", [node("n", "raw"), node("n", "qcow2", ro=True), node("#x", "qcow2", compat="0.10")])
def test_the_offers_for_a_bitmap_that_cannot_be_kept(there: Part) -> None:
    """Making it transient, or leaving it behind: a plan follows from each."""
    device = drive("d", "#x") if there.name == "#x" else drive("d", "n")  # type: ignore[attr-defined]
    here = node("#n", "qcow2", [_P])
    policy = {"storage": "separate"}
    ends = source(here, drive("d", "#n")), destination(there, device)
    (found,) = planned(*ends, policy).refusals
    plans = [planned(*ends, merged(policy, fragment)) for fragment in found.fragments]
    assert [plan.verdict for plan in plans] == ["planned", "planned"]
    assert [plan.bitmaps[0].fate for plan in plans] == ["migrate", "left-behind"]


# stored copies

_LEAVE = {"deny": [{"bitmap": "b0"}]}
_KEPT = _qcow2(_P, stored=["b0"])  # the source, with its image open
_SHARED_THERE = node("n", "qcow2", stored=["b0"])
_RO = _qcow2(_P, stored=[_CLEAN], ro=True)
_RO_THERE = node("n", "qcow2", stored=[_CLEAN], ro=True)
_TWO = _qcow2(_P, bitmap("b1", "persistent"), stored=["b0", "b1"])
_TWO_THERE = node("n", "qcow2", stored=["b0", "b1"])
_NEW = _qcow2(_P, bitmap("b1", "persistent"), stored=["b1"])  # b0 is new since the image was opened
_NEW_THERE = node("n", "qcow2", stored=["b1"])


@pytest.mark.parametrize(
    ("here", "there", "policy", "by_storage"),
    [
        # a clean copy of the name waits in the destination's image: no disk after the migration, or a stale lie
        (_KEPT, node("n", "qcow2", stored=[_CLEAN]), {}, {"separate": "BM543", "unknown": "BM543", "shared": "BM547"}),
        (_qcow2("b0"), node("n", "qcow2", stored=[_CLEAN]), {}, dict.fromkeys(("separate", "unknown"), "BM543")),
        (_KEPT, node("n", "qcow2", stored=[_CLEAN]), _LEAVE, {"separate": "BM544", "unknown": "BM544"}),
        (_qcow2("b0"), node("n", "qcow2", stored=[_CLEAN]), _LEAVE, {"separate": "BM544", "unknown": "BM544"}),
        (_qcow2("b0"), node("n", "qcow2", stored=[_CLEAN]), _map("b0", bitmap="c0"), {"separate": "BM544"}),
        (_qcow2("c0"), node("n", "qcow2", stored=[_CLEAN]), _map("c0", bitmap="b0"), {"separate": "BM543"}),
        # a copy of another name is nothing to this bitmap
        (_qcow2("c0"), node("n", "qcow2", stored=[_CLEAN]), {}, {"separate": None}),
        # the source's own, in use: harmless unless renamed, made transient or left to a copy
        (_KEPT, _SHARED_THERE, {}, {"separate": None, "unknown": None, "shared": None}),
        (_KEPT, _SHARED_THERE, _LEAVE, {"separate": None, "unknown": None, "shared": None}),
        (_KEPT, _SHARED_THERE, _map("b0", bitmap="c0"),
         {"separate": "BM556", "unknown": "BM556", "shared": "BM545"}),
        (_KEPT, _SHARED_THERE, _map("b0", persistent=False),
         {"separate": "BM556", "unknown": "BM556", "shared": "BM545"}),
        (_KEPT, _SHARED_THERE, _map("b0", persistent=True), {"separate": None, "unknown": None, "shared": None}),
        # new since the image was opened, so there is no copy that could be orphaned
        (_qcow2(_P), node("n", "qcow2"), _map("b0", bitmap="c0"), {"separate": None, "unknown": None, "shared": None}),
        # one bitmap takes the name of another that stays in the shared image
        (_TWO, _TWO_THERE, {**_map("b0", bitmap="b1"), "deny": [{"bitmap": "b1"}]},
         {"separate": "BM556", "unknown": "BM556", "shared": "BM543 BM545"}),
        (_qcow2("b0", bitmap("b1", "persistent"), stored=["b1"]), node("n", "qcow2", stored=["b1"]),
         {**_map("b0", bitmap="b1"), "deny": [{"bitmap": "b1"}]},
         {"separate": "BM556", "unknown": "BM556", "shared": "BM543"}),
        (_NEW, _NEW_THERE, {**_map("b0", bitmap="b1"), "deny": [{"bitmap": "b1"}]},
         {"separate": None, "unknown": "BM546", "shared": "BM543"}),
        # a copy that is in use, in an image of its own: only a persistent bitmap of its name replaces it
        (_qcow2("b0"), _SHARED_THERE, {}, {"separate": "BM556", "unknown": "BM556", "shared": "BM547"}),
        (_qcow2("b0"), _SHARED_THERE, _map("b0", persistent=True), {"separate": None, "unknown": None}),
        (_qcow2("b0"), _SHARED_THERE, _map("b0", bitmap="c0"), {"separate": "BM556", "unknown": "BM556"}),
        (_qcow2("b0"), _SHARED_THERE, _LEAVE, {"separate": None, "unknown": None}),
        (_qcow2(_P, bitmap("b1", "persistent")), _TWO_THERE,
         {"map": [_map("b0", bitmap="b1")["map"][0], _map("b1", bitmap="b0")["map"][0]]},
         {"separate": None, "unknown": None}),
        (_qcow2("c0"), _SHARED_THERE, {}, {"separate": None, "unknown": None}),
        # that this QEMU itself has loaded it is what marks it
        (_qcow2("b0"), _qcow2(_P, stored=["b0"]), _map("b0", bitmap="c0"), {"separate": None}),
        (_qcow2("b0"), _qcow2(bitmap("b0", "inconsistent"), stored=["b0"]), _map("b0", bitmap="c0"),
         {"separate": "BM556"}),
        # read-only on both sides: the clean copy is the bitmap itself where the image is shared
        (_RO, _RO_THERE, _LEAVE, {"separate": "BM544", "unknown": "BM546", "shared": None}),
        (_RO, node("n", "qcow2", stored=[_CLEAN, stored("z", clean=True)], ro=True), _LEAVE,
         {"separate": "BM544", "unknown": "BM544", "shared": "BM547"}),
        # what contradicts that the storage is shared
        (_KEPT, node("n", "qcow2", stored=["b0"], compat="0.10"), _LEAVE, {"separate": None, "shared": "BM547"}),
        (_qcow2("b0"), node("n", "raw"), {}, {"separate": None, "unknown": None, "shared": "BM547"}),
        (_qcow2("b0"), node("n", "qcow2", size=MIB), _LEAVE, {"separate": None, "unknown": None, "shared": "BM547"}),
        (_qcow2("b0"), node("n", "qcow2", stored=["z"]), {}, {"separate": None, "unknown": None, "shared": "BM547"}),
        (node("n", "raw", ["b0"]), node("n", "raw"), {}, {"separate": None, "unknown": None, "shared": None}),
    ],
)  # fmt: skip
def test_stored_copies(
    here: Part, there: Part, policy: Mapping[str, Any], by_storage: Mapping[str, str | None]
) -> None:
    """By what the policy says of the storage; with it unknown only what is right in both cases is planned."""
    for word, expected in by_storage.items():
        plan = _plan(here, there, {"storage": word, **policy})
        assert (word, codes(plan.refusals)) == (word, expected.split() if expected else [])


_TOP = node("#fmt", "qcow2", ["b1"], backing="#base")
_BASE = node("#base", "qcow2", ["b0"])


@pytest.mark.parametrize(
    ("here", "there", "policy"),
    [
        # an auto-named node below a device, by its path
        (
            [_TOP, _BASE, drive("d", "#fmt")],
            [node("#x", "qcow2", backing="#y"), node("#y", "qcow2", stored=[_CLEAN]), drive("d", "#x")],
            {"map": [{"source": {"device": "d", "path": "backing"}, "destination": None}]},
        ),
        # the same below other filters
        (
            [node("t", "throttle", file="#m"), node("#m", "mirror_top", backing="#fmt"), _TOP, _BASE, drive("d", "t")],
            [node("#x", "qcow2", backing="#y"), node("#y", "qcow2", stored=[_CLEAN]), drive("d", "#x")],
            {"map": [{"source": {"device": "d", "path": "file.backing"}, "destination": None}]},
        ),
        # another node-name on each side, one guest device
        (
            [node("l1", "qcow2", ["b0"]), guest("vd0", "l1")],
            [node("l2", "qcow2", stored=[_CLEAN]), guest("vd0", "l2")],
            _LEAVE,
        ),
        # another node-name on each side, one device
        (
            [node("l1", "qcow2", ["b0"]), drive("d", "l1")],
            [node("t", "throttle", file="l2"), node("l2", "qcow2", stored=[_CLEAN]), drive("d", "t")],
            _LEAVE,
        ),
    ],
)
def test_a_stale_copy_is_looked_for_wherever_the_node_may_be(
    here: Sequence[Part], there: Sequence[Part], policy: Mapping[str, Any]
) -> None:
    """What is left behind has no pair: the node that stands for its own is found by any name of its place."""
    ends = source(*here), destination(*there)
    assert codes(planned(*ends, {"storage": "separate", **policy}).refusals) == ["BM544"]


def test_a_copy_that_is_in_memory_too_is_told_of_once() -> None:
    """Loaded on a destination that does not wait, the name is in memory: that alone is said."""
    there = node("n", "qcow2", [_P], stored=[_CLEAN])
    assert codes(_plan(_qcow2("b0"), there, {"storage": "separate"}).refusals) == ["BM542"]


def test_an_image_that_does_not_tell_what_it_holds() -> None:
    """Of a qcow2 node without `format-specific` it is not known what comes up, whether anything migrates or not."""
    record = dict(node("n", "qcow2").record)
    record["image"] = {"virtual-size": 16 * MIB}
    silent = {"query-named-block-nodes": [record]}
    for policy in ({}, _LEAVE):
        plan = planned(source(node("n", bitmaps=["b0"])), destination(node("n"), replies=silent), policy)
        assert codes(plan.refusals) == ["BM205"]


@pytest.mark.parametrize(
    ("there", "names"),
    [
        ([stored("z", clean=True), "y", _CLEAN], ["y", "z"]),
        (["b0", _CLEAN], None),
        ([], None),
    ],
)
def test_copies_that_nothing_replaces_are_advice(there: Sequence[str | Raw], names: list[str] | None) -> None:
    """BM565 names the stored bitmaps of other names than the source has."""
    plan = _plan(_qcow2("b0"), node("n", "qcow2", stored=there), {"storage": "separate"})
    assert [one.facts["bitmaps"] for one in plan.advice] == ([names] if names else [])


def test_an_unusable_copy_of_what_is_left_behind_is_advice() -> None:
    """It comes up inconsistent on storage of its own; on shared storage it is the bitmap itself."""
    for word, expected in (("separate", ["BM565"]), ("unknown", []), ("shared", [])):
        assert codes(_plan(_KEPT, _SHARED_THERE, {"storage": word, **_LEAVE}).advice) == expected


# fates and disks


@pytest.mark.parametrize(
    ("record", "word", "fate"),
    [
        (_P, "shared", "by-storage"),
        (_P, "separate", "left-behind"),
        (_P, "unknown", "left-behind"),
        (bitmap("b0"), "shared", "left-behind"),
        (bitmap("b0", "inconsistent"), "shared", "left-behind"),
    ],
)
def test_what_the_map_leaves_out_travels_in_a_shared_image(record: Raw, word: str, fate: str) -> None:
    """Persistent bitmaps that the map leaves out take the storage route; `by` names what left them out."""
    policy = {"storage": word, "deny": [{"bitmap": "b0"}]}
    plan = _plan(_qcow2(record, stored=["b0"]), _SHARED_THERE, policy)
    assert [(one.fate, one.by) for one in plan.bitmaps] == [(fate, "deny.0")]


@pytest.mark.parametrize(
    ("here", "there", "policy"),
    [
        (_RO, _RO_THERE, _LEAVE),
        (_NEW, _NEW_THERE, {**_map("b0", bitmap="b1"), "deny": [{"bitmap": "b1"}]}),
    ],
)
def test_the_offers_where_the_storage_is_unknown(here: Part, there: Part, policy: Mapping[str, Any]) -> None:
    """BM546 offers a word for the storage from which a plan follows."""
    found = _plan(here, there, policy).refusals
    assert codes(found) == ["BM546"]
    for one in found:
        assert set(one.fragments[0]) == {"storage"}
        assert _plan(here, there, merged(policy, one.fragments[0])).verdict == "planned"

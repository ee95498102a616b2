"""What a policy says of the storage, disk by disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig.policy.model import merged
from tests.build import Part, bitmap, destination, drive, guest, node, planned, source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitmapmig.plans import Plan


def _disks(*flags: str) -> list[Part]:
    """drive0 (vd0) is t0 over n over #base, vd1 is other, cd0 is empty; with flags each image has a bitmap of such."""
    b0, c0, d0 = ([bitmap(name, *flags)] if flags else [] for name in ("b0", "c0", "d0"))
    return [
        node("t0", "throttle", file="n"),
        node("n", "qcow2", b0, backing="#base"),
        node("#base", "qcow2", c0),
        node("other", "qcow2", d0),
        drive("drive0", "t0", qdev="/machine/peripheral/vd0/virtio-backend"),
        drive("cd0", None),
        guest("vd1", "other"),
    ]


def _plan(disks: Mapping[str, str], default: str = "unknown") -> Plan:
    """The plan that sends #base to its like and leaves all others behind."""
    path = {"device": "drive0", "path": "file.backing"}
    policy = {
        "deny": [{"address": "n"}, {"address": "other"}],
        "map": [{"source": path, "destination": None}],
        "storage": {"default": default, "disks": disks},
    }
    return planned(source(*_disks("persistent")), destination(*_disks()), policy)


@pytest.mark.parametrize(
    ("disks", "expected"),
    [
        ({}, {"n": "left-behind", "#base": "left-behind", "other": "left-behind"}),
        ({"drive0": "shared"}, {"n": "by-storage", "#base": "by-storage"}),
        ({"vd0": "shared"}, {"n": "by-storage", "#base": "by-storage", "other": "left-behind"}),
        ({"n": "shared"}, {"n": "by-storage", "#base": "by-storage"}),
        ({"#base": "shared"}, {"n": "left-behind", "#base": "by-storage"}),
        ({"vd0": "shared", "#base": "separate"}, {"n": "by-storage", "#base": "left-behind"}),
        ({"#base": "separate", "vd0": "shared"}, {"n": "by-storage", "#base": "left-behind"}),
        ({"cd0": "shared"}, {"n": "left-behind"}),
        ({"vd1": "shared", "drive0": "separate"}, {"n": "left-behind", "other": "by-storage"}),
    ],
)
def test_storage_disk_by_disk(disks: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """What is said of a disk holds for all below it, and what is said of the smaller part wins, in any order."""
    plan = _plan(disks)
    fates = {one.node: one.fate for one in plan.bitmaps}
    assert (plan.verdict, {name: fates[name] for name in expected}) == ("planned", expected)


@pytest.mark.parametrize(("name", "refused"), [("drive0", False), ("vd0", False), ("n", False), ("cd0", False),
                                               ("drive9", True), ("b0", True)])  # fmt: skip
def test_a_disk_that_is_not_there(name: str, refused: bool) -> None:  # noqa: FBT001
    """`storage.disks` takes devices, node-names and guest devices of the source; another name is a typo (BM416)."""
    found = _plan({name: "separate"}).refusals
    assert [(one.code, one.where.key) for one in found] == ([("BM416", f"storage.disks.{name}")] if refused else [])


@pytest.mark.parametrize(
    "policy",
    [
        {"storage": "shared"},
        {"storage": {"disks": {"drive0": "shared"}}},
        {"storage": {"disks": {"n": "shared", "vd0": "shared"}}},
        {"storage": {"default": "shared", "disks": {"other": "separate"}}},
    ],
)
def test_the_offer_for_storage_that_is_not_shared(policy: Mapping[str, Any]) -> None:
    """BM547 offers to say `separate` of that disk, and what is said of others stays."""
    here = [node("t0", "throttle", file="n"), node("n", "qcow2", ["b0"]), node("other", "qcow2", ["d0"])]
    there = [node("t0", "throttle", file="n"), node("n", "raw"), node("other", "qcow2")]
    devices = [drive("drive0", "t0", qdev="vd0"), guest("vd1", "other")]
    ends = source(*here, *devices), destination(*there, *devices)
    (found,) = planned(*ends, policy).refusals
    assert found.code == "BM547"
    after = merged(policy, found.fragments[0])
    assert planned(*ends, after).verdict == "planned"
    assert after["storage"]["disks"]["n"] == "separate"

"""Scenes about maps: what a policy, or two names for one thing, must not do to bitmaps on their way."""

from __future__ import annotations

import pytest

from tests.live.migration import entry
from tests.live.monitor import QmpError
from tests.live.scenes.scene import Stage, drive, null, scene


def nodes_merged(stage: Stage) -> None:
    """The aliases are a device and its own node: the bitmaps of two disks end up on one, and nobody says so."""
    outcome = stage.ignored([entry("disk0", "drive0", {"b0": "b0"}), entry("disk1", "fmt0", {"b1": "b1"})])
    assert (outcome.source, outcome.destination) == ("completed", "completed")
    assert set(outcome.bitmaps or ()) == {("fmt0", "b0"), ("fmt0", "b1")}


@scene(
    "BM503",
    policy={"map": [{"source": "disk0", "destination": "drive0"}, {"source": "disk1", "destination": "fmt0"}]},
    harm=nodes_merged,
)
def two_nodes_for_one(stage: Stage) -> None:
    """The policy sends two disks to one node of the destination, under two of its names."""
    stage.image("destination.qcow2")
    stage.start_source(*null("disk0"), *null("disk1"))
    stage.start_destination(*drive("drive0", "destination.qcow2", "node-name=fmt0"))
    stage.bitmap("disk0", "b0")
    stage.bitmap("disk1", "b1")


def merged_by_default(stage: Stage) -> None:
    """Under QEMU's own names, too, both end up on one node: a device name and a node-name can mean the same."""
    outcome = stage.ignored()
    assert (outcome.source, outcome.destination) == ("completed", "completed")
    assert set(outcome.bitmaps or ()) == {("fmt0", "b0"), ("fmt0", "b1")}


@scene("BM503", harm=merged_by_default, record="10.0")
def hidden_merge(stage: Stage) -> None:
    """One disk's address is a device of the destination, another one's is the node-name of that device's root."""
    source = stage.start_source(*drive("drive0", stage.image("source.qcow2")), *null("fmt0"))
    stage.start_destination(*drive("drive0", stage.image("destination.qcow2"), "node-name=fmt0"))
    stage.bitmap(source.root("drive0"), "b0")
    stage.bitmap("fmt0", "b1")


def mapped_twice(stage: Stage) -> None:
    """QEMU refuses a mapping that has a node twice."""
    with pytest.raises(QmpError, match="The node name 'disk0' is mapped twice"):
        stage.ignored([entry("disk0", "disk0", {"b0": "b0"}), entry("disk0", "disk1", {"b1": "b1"})])


@scene(
    "BM504",
    policy={"map": [{"source": {"node-name": "disk0", "bitmap": "b1"}, "destination": {"node-name": "disk1"}}]},
    harm=mapped_twice,
)
def one_node_for_two(stage: Stage) -> None:
    """The policy sends one of a disk's two bitmaps to another disk."""
    stage.start_source(*null("disk0"))
    stage.start_destination(*null("disk0"), *null("disk1"))
    stage.bitmap("disk0", "b0")
    stage.bitmap("disk0", "b1")


def alias_twice(stage: Stage) -> None:
    """QEMU refuses a mapping that gives two bitmaps of a node one alias."""
    with pytest.raises(QmpError, match="is used twice"):
        stage.ignored([entry("disk0", "disk0", {"b0": "b1", "b1": "b1"})])


@scene(
    "BM505",
    policy={
        "storage": "separate",
        "map": [
            {"source": {"node-name": "disk0", "bitmap": "b0"}, "destination": {"node-name": "disk0", "bitmap": "b1"}}
        ],
    },
    harm=alias_twice,
)
def two_bitmaps_for_one(stage: Stage) -> None:
    """The policy renames a bitmap to the name of its neighbour, which travels too."""
    stage.start_source(*null("disk0"))
    stage.start_destination(*null("disk0"))
    stage.bitmap("disk0", "b0")
    stage.bitmap("disk0", "b1")


def misspelling_swallowed(stage: Stage) -> None:
    """QEMU accepts a mapping of what is not there; both sides say `completed`, the bitmap is gone."""
    outcome = stage.ignored([entry("disk0", "disk0", {"dialy": "daily"})])
    assert (outcome.source, outcome.destination, outcome.bitmaps) == ("completed", "completed", {})


@scene(
    "BM411",
    policy={
        "storage": "separate",
        "map": [
            {
                "source": {"node-name": "disk0", "bitmap": "dialy"},
                "destination": {"node-name": "disk0", "bitmap": "daily"},
            }
        ],
    },
    harm=misspelling_swallowed,
    record="10.0",
)
def map_entry_misspelled(stage: Stage) -> None:
    """The policy maps a bitmap that is not there."""
    stage.start_source(*null("disk0"))
    stage.start_destination(*null("disk0"))
    stage.bitmap("disk0", "daily")

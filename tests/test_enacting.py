"""What a scenario may have done on a throw-away QEMU: nothing that reaches beyond its folder."""

from __future__ import annotations

from typing import Any

import pytest

from bitmapmig import transforms
from bitmapmig.enacting.words import NotEnactedError, Words
from bitmapmig.qapi import NodeName

IMAGE = {"virtual-size": 1 << 30}


@pytest.mark.parametrize(
    ("word", "arguments", "sent"),
    [
        (
            "blockdev-add",
            {"driver": "qcow2", "node-name": "n", "file": {"driver": "file", "filename": "/etc/x"}, "image": IMAGE},
            {"driver": "qcow2", "node-name": "n", "file": {"driver": "file", "filename": "step-1.img"}},
        ),
        (
            "blockdev-snapshot-sync",
            {"device": "d", "snapshot-file": "json:{}", "format": "qcow2"},
            {"device": "d", "snapshot-file": "step-1.img", "format": "qcow2"},
        ),
        (
            "drive-backup",
            {"device": "d", "target": "nbd://host/x", "sync": "full"},
            {"device": "d", "target": "step-1.img", "sync": "full", "speed": 1},
        ),
        (
            "block-stream",
            {"device": "#block7", "base-node": "n", "backing-file": "/etc/x", "speed": 9},
            {"device": "#block99", "base-node": "n", "speed": 9},
        ),
        (
            "transaction",
            {"actions": [{"type": "drive-backup", "data": {"device": "d", "target": "/dev/sda", "sync": "full"}}]},
            {
                "actions": [
                    {
                        "type": "drive-backup",
                        "data": {"device": "d", "target": "step-1.img", "sync": "full", "speed": 1},
                    }
                ]
            },
        ),
        (
            "blockdev-add",
            {"driver": "throttle", "node-name": "t", "throttle-group": "mine", "file": "n"},
            {"driver": "throttle", "node-name": "t", "throttle-group": "bitmapmig-group", "file": "n"},
        ),
    ],
)
def test_names_of_files_and_nodes_are_those_of_the_throw_away_qemu(
    word: str, arguments: dict[str, Any], sent: dict[str, Any]
) -> None:
    """A file becomes one in the private folder, a generated name that of this QEMU; jobs are slowed down."""
    operation = transforms.read(word, arguments)
    assert Words().of(operation, {NodeName("#block7"): NodeName("#block99")}) == sent


@pytest.mark.parametrize(
    ("word", "arguments"),
    [
        ("blockdev-add", {"driver": "nbd", "node-name": "n", "server": {"type": "inet", "host": "h", "port": "1"}}),
        (
            "blockdev-add",
            {
                "driver": "qcow2",
                "node-name": "n",
                "file": {"driver": "nbd", "server": {"type": "unix"}},
                "image": IMAGE,
            },
        ),
        ("blockdev-add", {"driver": "host_device", "node-name": "n", "filename": "/dev/sda"}),
        ("blockdev-add", {"driver": "blkdebug", "node-name": "n", "config": "/etc/x"}),
        ("device_add", {"driver": "vfio-pci", "id": "v", "host": "00:00.0"}),
        ("device_add", {"driver": "virtio-blk-pci", "id": "v", "drive": "n", "romfile": "/etc/x"}),
    ],
)
def test_what_may_reach_outside_is_not_enacted(word: str, arguments: dict[str, Any]) -> None:
    """Drivers of networks and host devices, and options that name files, are never sent."""
    operation = transforms.read(word, arguments)
    with pytest.raises(NotEnactedError):
        Words().of(operation, {})


def test_a_backup_copies_one_chunk_at_a_time_where_it_would_copy_many() -> None:
    """From 6.0 on a slow backup would have copied megabytes before it heeds its speed; 5.2 knows no `x-perf`."""
    operation = transforms.read("blockdev-backup", {"device": "d", "target": "t", "sync": "full"})
    sent = {"device": "d", "target": "t", "sync": "full", "speed": 1}
    assert Words("source-", (5, 2)).of(operation, {}) == sent
    perf = {"max-workers": 1, "max-chunk": 65536}
    assert Words("source-", (7, 2)).of(operation, {}) == sent | {"x-perf": perf}


@pytest.mark.parametrize(
    ("word", "arguments"),
    [
        ("drive-mirror", {"device": "d", "target": "x", "sync": "full", "format": "sheepdog"}),
        ("blockdev-snapshot-sync", {"device": "d", "snapshot-file": "x", "format": "vvfat"}),
        (
            "transaction",
            {
                "actions": [
                    {"type": "drive-backup", "data": {"device": "d", "target": "x", "sync": "full", "format": "nbd"}}
                ]
            },
        ),
    ],
)
def test_a_format_is_a_driver_too(word: str, arguments: dict[str, Any]) -> None:
    """The format of a new image is held to the same drivers as the options of a node."""
    with pytest.raises(NotEnactedError, match="may open what is no file"):
        Words().of(transforms.read(word, arguments), {})


def test_no_room_is_taken_at_the_will_of_a_scenario() -> None:
    """How much `preallocate` takes at once is ours to say."""
    greedy = {
        "driver": "preallocate",
        "node-name": "p",
        "file": "n",
        "prealloc-size": 1 << 50,
        "prealloc-align": 1 << 50,
    }
    sent = {"driver": "preallocate", "node-name": "p", "file": "n", "prealloc-size": 1 << 20}
    assert Words().of(transforms.read("blockdev-add", greedy), {}) == sent

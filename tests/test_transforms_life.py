"""Devices, exports and the life of the process: what real QEMUs cannot show, since it is not simulated or not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bitmapmig.graph import Backend, Bitmap, BlockGraph, Edge, Export, Job, Node, StoredBitmap
from bitmapmig.qapi import BitmapName, DeviceName, NodeName
from bitmapmig.transforms import OperationRefusedError, becomes, read

if TYPE_CHECKING:
    from collections.abc import Mapping

_OLD, _NEW = (7, 2), (11, 1)


def _bitmap(name: str = "b0", *, busy: bool = False, recording: bool = False) -> Bitmap:
    return Bitmap(BitmapName(name), 65536, count=0, recording=recording, busy=busy, persistent=True, inconsistent=False)


def _stored(name: str = "b0", *, in_use: bool = False) -> StoredBitmap:
    return StoredBitmap(BitmapName(name), 65536, in_use=in_use)


def _node(name: str = "n0", *bitmaps: Bitmap, stored: tuple[StoredBitmap, ...] = ()) -> Node:
    return Node(NodeName(name), "qcow2", virtual_size=1 << 24, bitmaps=bitmaps, stored=stored, compat="1.1")


def _export(identity: str, node: str, *, writable: bool | None = False) -> Export:
    return Export(identity, "nbd", NodeName(node), writable)


def _device(qdev: str, node: str, device: str | None = None) -> Backend:
    return Backend(DeviceName(device) if device else None, qdev, NodeName(node))


def _job(*nodes: str) -> Job:
    return Job("j0", "mirror", "running", tuple(map(NodeName, nodes)))


_N0 = BlockGraph([_node()])
_CHAIN = [Edge("node", "top0", NodeName("base0"), "backing")]
_NOT_SIMULATED: Mapping[str, tuple[BlockGraph, str, dict[str, object]]] = {
    "export of another type": (
        _N0,
        "block-export-add",
        {"type": "vhost-user-blk", "id": "e0", "node-name": "n0"},
    ),
    "export under a name that may be taken": (
        BlockGraph([_node()], exports=[_export("e0", "n0")]),
        "block-export-add",
        {"type": "nbd", "id": "e1", "node-name": "n0"},
    ),
    "export of an inactive image": (
        BlockGraph([_node(stored=(_stored(in_use=True),))]),
        "block-export-add",
        {"type": "nbd", "id": "e0", "node-name": "n0"},
    ),
    "writable export of a disk, which may have share-rw": (
        BlockGraph([_node()], backends=[_device("d0", "n0")]),
        "block-export-add",
        {"type": "nbd", "id": "e0", "node-name": "n0", "writable": True},
    ),
    "writable export of a node of a job": (
        BlockGraph([_node()], jobs=[_job("n0")]),
        "block-export-add",
        {"type": "nbd", "id": "e0", "node-name": "n0", "writable": True},
    ),
    "one of two exports that may keep the bitmap busy": (
        BlockGraph([_node("n0", _bitmap(busy=True))], exports=[_export("e0", "n0"), _export("e1", "n0")]),
        "block-export-del",
        {"id": "e0"},
    ),
    "second disk with share-rw": (
        BlockGraph([_node()], backends=[_device("d0", "n0")]),
        "device_add",
        {"driver": "scsi-hd", "id": "d1", "drive": "n0", "share-rw": True},
    ),
    "SCSI disk over a backing image": (
        BlockGraph([_node("top0"), _node("base0")], _CHAIN),
        "device_add",
        {"driver": "scsi-hd", "id": "d0", "drive": "base0"},
    ),
    "disk of an unknown driver": (_N0, "device_add", {"driver": "xen-disk", "id": "d0", "drive": "n0"}),
    "disk without id": (_N0, "device_add", {"driver": "virtio-blk-pci", "drive": "n0"}),
    "unplugging what is no disk": (_N0, "device_del", {"id": "scsi0"}),
    "unplugging a drive that a job uses": (
        BlockGraph([_node()], backends=[_device("d0", "n0", "drive0")], jobs=[_job("n0")]),
        "device_del",
        {"id": "d0"},
    ),
    "restart of a destination whose image holds a clean bitmap": (
        BlockGraph([_node(stored=(_stored(),))]),
        "shutdown-and-restart",
        {},
    ),
}


@pytest.mark.parametrize("case", _NOT_SIMULATED)
def test_what_no_query_shows_is_not_simulated(case: str) -> None:
    """Where what QEMU does depends on what is not in the graph, it is said and not guessed."""
    graph, word, arguments = _NOT_SIMULATED[case]
    with pytest.raises(OperationRefusedError, match="BM254"):
        read(word, arguments).applied(graph, _OLD)


def test_an_id_that_some_qemus_take_is_not_simulated_between_them() -> None:
    """10.0 takes an id that 7.2 and 11.1 refuse."""
    with pytest.raises(OperationRefusedError, match="BM254"):
        read("device_add", {"driver": "scsi-hd", "id": "0", "drive": "n0"}).applied(_N0, (10, 0))


def test_an_event_without_a_device_is_refused() -> None:
    """`DEVICE_DELETED` has to say of what."""
    with pytest.raises(OperationRefusedError, match="BM253"):
        read("DEVICE_DELETED", {}).applied(_N0, _NEW)


def test_an_inconsistent_bitmap_is_not_exported() -> None:
    """QEMU refuses it as it refuses one that is busy."""
    node = _node("n0", Bitmap(BitmapName("b0"), 65536, 0, False, False, True, True), stored=(_stored(in_use=True),))  # noqa: FBT003  as QAPI lists them
    with pytest.raises(OperationRefusedError, match="inconsistent"):
        read("block-export-add", {"type": "nbd", "id": "e0", "node-name": "n0", "bitmaps": ["b0"]}).applied(
            BlockGraph([node]), _NEW
        )


def test_a_bitmap_of_another_node_is_freed_by_the_only_export() -> None:
    """Nothing else can keep it busy."""
    graph = BlockGraph([_node(), _node("n1", _bitmap(busy=True))], exports=[_export("e0", "n0")])
    after = read("block-export-del", {"id": "e0"}).applied(graph, _NEW)
    assert not after.nodes[NodeName("n1")].bitmaps[0].busy


def test_a_job_keeps_its_bitmap_busy_when_an_export_ends() -> None:
    """A bitmap that only the job reaches is not the export's."""
    graph = BlockGraph([_node(), _node("n1", _bitmap(busy=True))], exports=[_export("e0", "n0")], jobs=[_job("n1")])
    after = read("block-export-del", {"id": "e0"}).applied(graph, _NEW)
    assert after.nodes[NodeName("n1")].bitmaps[0].busy


def test_a_crash_is_told_bitmap_by_bitmap() -> None:
    """What the image marks as in use turns useless, what it never held is lost, in whatever order they are there."""
    node = _node("n0", _bitmap("b0", recording=True), _bitmap("b1"), stored=(_stored(in_use=True),))
    graph = BlockGraph([node], backends=[_device("d0", "n0")])
    after = read("crash-and-restart", {}).applied(graph, _NEW)
    told = {one.bitmap: one.outcome for one in becomes(graph, after)}
    assert told == {"b0": "turns-useless", "b1": "is-lost"}


def test_what_only_an_export_or_a_job_held_is_not_started_again() -> None:
    """A generated node without a user is in no configuration."""
    nodes = [_node("n0"), _node("#block1"), _node("#block2")]
    graph = BlockGraph(nodes, exports=[_export("e0", "#block1")], jobs=[_job("n0", "#block2")])
    after = read("crash-and-restart", {}).applied(graph, _NEW)
    assert (list(after.nodes), after.exports, after.jobs) == (["n0"], (), ())

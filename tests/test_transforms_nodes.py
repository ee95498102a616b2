"""Nodes, snapshots, filters, bitmaps and transactions: what is not simulated, and what real QEMUs cannot show."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig.diagnostics import CannotRunError
from bitmapmig.graph import Backend, Bitmap, BlockGraph, Edge, Job, Node, StoredBitmap
from bitmapmig.qapi import BitmapName, DeviceName, NodeName
from bitmapmig.transforms import OperationRefusedError, becomes, read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitmapmig.behaviour import Release

_SIZE = 1 << 24


def _bitmap(name: str, *, persistent: bool = False, count: int = 0, granularity: int = 65536) -> Bitmap:
    return Bitmap(
        BitmapName(name),
        granularity,
        count,
        recording=True,
        busy=False,
        persistent=persistent,
        inconsistent=False,
    )


def _node(name: str, driver: str = "qcow2", *bitmaps: Bitmap, **members: Any) -> Node:
    """A node; of a qcow2 one the persistent bitmaps are in its image too."""
    if driver == "qcow2":
        members.setdefault("compat", "1.1")
        stored = (StoredBitmap(one.name, one.granularity, in_use=True) for one in bitmaps if one.persistent)
        members.setdefault("stored", tuple(stored))
    return Node(NodeName(name), driver, virtual_size=_SIZE, bitmaps=bitmaps, **members)


def _edge(parent: str, child: str, role: str = "file") -> Edge:
    return Edge("node", parent, NodeName(child), role)


def _reopen(**options: object) -> dict[str, object]:
    return {"options": [{name.replace("_", "-"): value for name, value in options.items()}]}


def _actions(*actions: tuple[str, dict[str, object]]) -> dict[str, object]:
    return {"actions": [{"type": word, "data": data} for word, data in actions]}


_FILE = {"driver": "file", "filename": "a.qcow2"}
_FMT = _node("fmt0", "qcow2", _bitmap("kept", persistent=True))
_LOCKED = _node("fmt0", "qcow2", read_only=True)
_COPIED = BlockGraph([_FMT, _node("cor0", "copy-on-read")], [_edge("cor0", "fmt0")])
_JOB = Job("job0", "mirror", "running", (NodeName("thr0"), NodeName("n0")))
_FILTER = [_node("thr0", "throttle"), _node("n0", "null-co"), _node("n1", "null-co")]
_LARGE = Node(NodeName("n1"), "null-co", virtual_size=_SIZE * 2)
_ABORTED = _actions(("block-dirty-bitmap-remove", {"node": "fmt0", "name": "kept"}), ("abort", {}))
_PERSISTENT = {"node": "fmt0", "name": "new", "persistent": True}
_EMPTY = {"node": "fmt0", "target": "kept", "bitmaps": []}

#: A graph, a release, a step, and a part of the reason.
_NOT_SIMULATED: Mapping[str, tuple[BlockGraph, Release, str, dict[str, Any], str]] = {
    "driver": (BlockGraph([]), (11, 1), "blockdev-add", {"driver": "quorum", "node-name": "q0"}, "the driver 'quorum'"),
    "option": (
        BlockGraph([_FMT]),
        (11, 1),
        "blockdev-add",
        {"driver": "raw", "node-name": "raw0", "file": "fmt0", "odd": 1},
        "the options odd of raw",
    ),
    "image that is not told": (
        BlockGraph([]),
        (11, 1),
        "blockdev-add",
        {"driver": "qcow2", "node-name": "fmt0", "file": _FILE},
        "what the qcow2 image holds is not said",
    ),
    "second writer beside a guest device, which may have share-rw": (
        BlockGraph(
            [_node("n0", "null-co"), _node("n1", "null-co")],
            backends=[Backend(None, "vd0", NodeName("n0")), Backend(None, "vd1", NodeName("n1"))],
        ),
        (11, 1),
        "qom-set",
        {"path": "/machine/peripheral/vd1", "property": "drive", "value": "n0"},
        "whether both may is not known",
    ),
    "overlay of another format": (
        BlockGraph([_FMT, _node("over0", "qed")]),
        (11, 1),
        "blockdev-snapshot",
        {"node": "fmt0", "overlay": "over0"},
        "an overlay of the format 'qed'",
    ),
    "new overlay of another format": (
        BlockGraph([_FMT]),
        (11, 1),
        "blockdev-snapshot-sync",
        {"node-name": "fmt0", "snapshot-file": "a", "snapshot-node-name": "over0", "format": "qed"},
        "an overlay of the format 'qed'",
    ),
    "existing overlay that is not told": (
        BlockGraph([_FMT]),
        (11, 1),
        "blockdev-snapshot-sync",
        {"node-name": "fmt0", "snapshot-file": "a", "snapshot-node-name": "over0", "mode": "existing"},
        "what the existing image holds is not said",
    ),
    "overlay on a node of no known size": (
        BlockGraph([Node(NodeName("n0"), "nbd")]),
        (11, 1),
        "blockdev-snapshot-sync",
        {"node-name": "n0", "snapshot-file": "a", "snapshot-node-name": "over0"},
        "the size of which is not known",
    ),
    "overlay on itself, of which QEMU dies": (
        BlockGraph([_FMT]),
        (5, 2),
        "blockdev-snapshot",
        {"node": "fmt0", "overlay": "fmt0"},
        "this QEMU dies",
    ),
    "merge of nothing, of which QEMU dies": (
        BlockGraph([_FMT]),
        (7, 2),
        "block-dirty-bitmap-merge",
        _EMPTY,
        "this QEMU dies",
    ),
    "persistent bitmap on a read-only node of a release between": (
        BlockGraph([_LOCKED]),
        (10, 1),
        "block-dirty-bitmap-add",
        _PERSISTENT,
        "whether this release takes one",
    ),
    "refused turn to read-only, which breaks the node": (
        _COPIED,
        (11, 1),
        "blockdev-reopen",
        _reopen(driver="qcow2", node_name="fmt0", file=_FILE, read_only=True),
        "left with its bitmaps read-only",
    ),
    "other file of a format": (
        BlockGraph([_FMT, *_FILTER], [_edge("fmt0", "n0")]),
        (11, 1),
        "blockdev-reopen",
        _reopen(driver="qcow2", node_name="fmt0", file="n1"),
        "another file under the format",
    ),
    "part of a raw node": (
        BlockGraph([_node("raw0", "raw"), _FMT], [_edge("raw0", "fmt0")]),
        (11, 1),
        "blockdev-reopen",
        _reopen(driver="raw", node_name="raw0", file="fmt0", size=512),
        "a part of a raw node",
    ),
    "other child of a node that a job uses": (
        BlockGraph(_FILTER, [_edge("thr0", "n0")], jobs=[_JOB]),
        (11, 1),
        "blockdev-reopen",
        _reopen(driver="throttle", node_name="thr0", throttle_group="g", file="n1"),
        "a node that a job uses",
    ),
    "child of another size below a bitmap": (
        BlockGraph([_node("thr0", "throttle", _bitmap("b0")), _FILTER[1], _LARGE], [_edge("thr0", "n0")]),
        (11, 1),
        "blockdev-reopen",
        _reopen(driver="throttle", node_name="thr0", throttle_group="g", file="n1"),
        "of another size",
    ),
    "child of another size on a release between": (
        BlockGraph([*_FILTER[:2], _LARGE], [_edge("thr0", "n0")]),
        (8, 0),
        "blockdev-reopen",
        _reopen(driver="throttle", node_name="thr0", throttle_group="g", file="n1"),
        "whether this release",
    ),
    "other property": (
        BlockGraph([_FMT]),
        (11, 1),
        "qom-set",
        {"path": "/machine", "property": "usb", "value": True},
        "the property 'usb'",
    ),
    "device that is nowhere": (
        BlockGraph([_FMT]),
        (11, 1),
        "qom-set",
        {"path": "/machine/peripheral/vd0", "property": "drive", "value": "fmt0"},
        "no disk of a guest device",
    ),
    "other disk of a device on a release between": (
        BlockGraph([_FMT], backends=[Backend(None, "vd0", NodeName("fmt0"))]),
        (6, 0),
        "qom-set",
        {"path": "vd0", "property": "drive", "value": "fmt0"},
        "whether this release",
    ),
    "refused removal that takes the stored copy": (
        BlockGraph([_FMT]),
        (11, 1),
        "transaction",
        _ABORTED,
        "stored bitmaps of 'fmt0' go nevertheless",
    ),
}


@pytest.mark.parametrize("case", _NOT_SIMULATED)
def test_what_is_not_known_is_not_simulated(case: str) -> None:
    """Where neither the graph nor a measurement tells what QEMU does, the step is BM254 and says why."""
    graph, release, word, arguments, reason = _NOT_SIMULATED[case]
    with pytest.raises(OperationRefusedError, match="BM254") as raised:
        read(word, arguments).applied(graph, release)
    assert reason in raised.value.diagnostics[0].message


def test_a_refused_transaction_names_its_action() -> None:
    """What is refused is said of the action and of the transaction that it is in."""
    with pytest.raises(OperationRefusedError, match="BM253") as raised:
        read("transaction", _actions(("abort", {}))).applied(BlockGraph([]), (11, 1))
    assert "'abort in a transaction'" in raised.value.diagnostics[0].message


@pytest.mark.parametrize(
    ("step", "after"),
    [
        (("fine", ["coarse"]), 1 << 20),
        (("coarse", ["fine"]), 1 << 20),
        (("fine", ["fine"]), 4096),
        (("clean", ["fine", "clean"]), 65536),
        (("clean", ["whole"]), _SIZE),
    ],
)
def test_merged_bitmaps_have_at_least_the_dirty_bytes_of_the_largest(step: tuple[str, list[str]], after: int) -> None:
    """A granule that is partly dirty is whole in a coarser bitmap, and nothing reaches beyond the end of the disk."""
    bitmaps = (
        _bitmap("fine", count=4096, granularity=4096),
        _bitmap("coarse", count=1 << 20, granularity=1 << 20),
        _bitmap("whole", count=1 << 31, granularity=1 << 31),
        _bitmap("clean"),
    )
    target, sources = step
    arguments = {"node": "fmt0", "target": target, "bitmaps": sources}
    graph = BlockGraph([_node("fmt0", "qcow2", *bitmaps)])
    made = read("block-dirty-bitmap-merge", arguments).applied(graph, (11, 1)).nodes[NodeName("fmt0")].bitmap(target)
    assert made is not None
    assert made.count == after


@pytest.mark.parametrize(
    ("word", "arguments"),
    [
        ("blockdev-add", {"driver": "qcow2", "node-name": "fmt0", "file": _FILE}),
        ("blockdev-snapshot-sync", {"device": "drive0", "snapshot-file": "a", "mode": "existing"}),
    ],
)
def test_what_an_image_holds_is_not_sent_to_qemu(word: str, arguments: dict[str, Any]) -> None:
    """`image` is for the simulation; nor is it sent of an image inside the options of another."""
    image = {"virtual-size": 1, "backing": {"driver": "qcow2", "file": _FILE, "image": {"virtual-size": 1}}}
    assert read(word, {**arguments, "image": image}).arguments == arguments


def test_a_backing_image_inside_options_keeps_nothing_back_from_qemu() -> None:
    """What is inside options goes to QEMU as it was written, but for `image`; null as well."""
    inside = {"driver": "qcow2", "node-name": "base0", "file": "n0", "backing": None}
    arguments = {"driver": "qcow2", "node-name": "fmt0", "file": _FILE, "backing": inside}
    told = {**arguments, "image": {"virtual-size": 1}, "backing": {**inside, "image": {"virtual-size": 1}}}
    assert read("blockdev-add", told).arguments == arguments


def test_the_bitmap_below_a_snapshot_turns_useless() -> None:
    """After a snapshot no write of the guest reaches the bitmaps of what is below."""
    graph = BlockGraph(
        [_node("fmt0", "qcow2", _bitmap("daily")), _node("over0")],
        backends=[Backend(DeviceName("drive0"), "disk0", NodeName("fmt0"))],
    )
    after = read("blockdev-snapshot", {"node": "drive0", "overlay": "over0"}).applied(graph, (11, 1))
    (became,) = becomes(graph, after)
    assert (became.bitmap, became.outcome) == ("daily", "turns-useless")


# graphs that strangers make

_LONG = 3000


def _chain(length: int, role: str, driver: str) -> BlockGraph:
    """Nodes on top of each other, the first below the device `d`; each below the first has a generated name."""
    names = ["top", *(f"#block{number}" for number in range(length))]
    edges = [_edge(above, below, role) for above, below in pairwise(names)]
    nodes = [_node(name, driver, read_only=name != "top") for name in names]
    return BlockGraph(nodes, edges, [Backend(DeviceName("d"), "/machine/peripheral/g/virtio-backend", NodeName("top"))])


@pytest.mark.parametrize(
    ("role", "driver", "steps", "left"),
    [
        ("backing", "qcow2", (("device_del", {"id": "g"}), ("DEVICE_DELETED", {"device": "g"})), 0),
        ("backing", "qcow2", (("block-stream", {"job-id": "j", "device": "d"}),), _LONG + 2),
        ("backing", "qcow2", (("block-commit", {"job-id": "j", "device": "d"}),), _LONG + 2),
        ("backing", "qcow2", (("blockdev-snapshot-sync", {"device": "d", "snapshot-file": "x"}),), _LONG + 3),
        ("backing", "qcow2", (("block-export-add", {"type": "nbd", "id": "e", "node-name": "top"}),), _LONG + 1),
        ("file", "throttle", (("blockdev-snapshot-sync", {"device": "d", "snapshot-file": "x"}),), _LONG + 3),
    ],
)
def test_a_long_chain_is_taken_apart(
    role: str, driver: str, steps: tuple[tuple[str, dict[str, Any]], ...], left: int
) -> None:
    """Nothing goes down a chain of thousands of nodes by recursion."""
    graph = _chain(_LONG, role, driver)
    for word, arguments in steps:
        graph = read(word, arguments).applied(graph, (10, 0))
    assert len(graph.nodes) == left


def test_diamonds_are_gone_through_once() -> None:
    """Nodes that hang on one another twice over have so many ways through them that none is gone twice."""
    names = [f"n{number}" for number in range(60)]
    edges = [_edge(a, b, role) for a, b in pairwise(names) for role in ("file", "backing")]
    graph = BlockGraph(
        [_node(name, "throttle") for name in names], edges, [Backend(DeviceName("d"), None, NodeName("n0"))]
    )
    export = read("block-export-add", {"type": "nbd", "id": "e", "node-name": "n59"}).applied(graph, (10, 0))
    assert len(export.exports) == 1


def test_an_overlay_above_its_node_stays_above_it() -> None:
    """Where the overlay stands on the node through a filter already, that link stays: no circle comes to be."""
    graph = BlockGraph(
        [_node("over0"), _node("thr0", "throttle"), _node("n0", "null-co")],
        [_edge("over0", "thr0"), _edge("thr0", "n0")],
    )
    try:
        after = read("blockdev-snapshot", {"node": "n0", "overlay": "over0"}).applied(graph, (7, 2))
    except OperationRefusedError:
        return
    assert ("file", "n0") in after.children("thr0")


@pytest.mark.parametrize(
    "image",
    [
        {"virtual-size": 1, "bitmaps": [{"name": "a"}, {"name": "b"}, {"name": "a"}]},
        {"virtual-size": -1},
        {"virtual-size": 1, "cluster-size": 0},
        {"virtual-size": 1, "bitmaps": [{"name": "a", "granularity": 0}]},
    ],
)
def test_an_image_that_cannot_be(image: dict[str, object]) -> None:
    """An image has each bitmap once, and nothing in it has less than no size: else no QEMU has that graph."""
    with pytest.raises(CannotRunError) as raised:
        read("blockdev-add", {"driver": "qcow2", "node-name": "n", "file": _FILE, "image": image})
    assert [one.code for one in raised.value.diagnostics] == ["BM252"]

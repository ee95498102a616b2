"""The block graph as values, and the questions that it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bitmapmig.graph import Backend, Bitmap, BlockGraph, Edge, Export, Job, Node, StoredBitmap, Walk
from bitmapmig.qapi import BitmapName, DeviceName, NodeName

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_N = NodeName


def _graph(
    drivers: Mapping[str, str],
    edges: Iterable[tuple[str, str, str]] = (),
    *,
    devices: Mapping[str, str] | None = None,
    guests: Mapping[str, str] | None = None,
    with_bitmaps: Iterable[str] = (),
    unseen: Iterable[str] = (),
) -> BlockGraph:
    """A graph of nodes (name -> driver), edges (parent, role, child), devices and guest devices (name -> root)."""
    marked = set(with_bitmaps)
    bits = (Bitmap(BitmapName("b0"), 65536, 0, recording=True, busy=False, persistent=False, inconsistent=False),)
    return BlockGraph(
        [Node(_N(name), driver, bitmaps=bits if name in marked else ()) for name, driver in drivers.items()],
        [Edge("node", parent, _N(child), role) for parent, role, child in edges],
        [
            *(Backend(DeviceName(name), None, _N(root)) for name, root in (devices or {}).items()),
            *(Backend(None, name, _N(root)) for name, root in (guests or {}).items()),
        ],
        unseen_children=[_N(name) for name in unseen],
    )


_FILTERS = (
    ("throttle", "file"),
    ("copy-on-read", "file"),
    ("blkdebug", "image"),
    ("blklogwrites", "file"),
    ("blkreplay", "image"),
    ("mirror_top", "backing"),
    ("commit_top", "backing"),
    ("backup-top", "backing"),
    ("copy-before-write", "file"),
    ("preallocate", "file"),
    ("compress", "file"),
    ("replication", "file"),
)


@pytest.mark.parametrize(("driver", "role"), _FILTERS)
def test_every_measured_filter_is_walked_through(driver: str, role: str) -> None:
    """QEMU's default walk passes each filter that was measured, by whatever role it holds its child."""
    graph = _graph({"f0": driver, "fmt0": "qcow2", "log0": "file"}, [("f0", role, "fmt0"), ("f0", "log", "log0")])
    assert Walk(_N("fmt0"), (_N("f0"),)) == graph.skip_filters(_N("f0"))


@pytest.mark.parametrize("driver", ["raw", "quorum", "blkverify", "snapshot-access", "qcow2", "luks"])
def test_drivers_with_children_that_are_no_filters_end_the_walk(driver: str) -> None:
    """QEMU does not walk through raw, quorum, blkverify and snapshot-access, nor through formats."""
    graph = _graph({"r0": driver, "p0": "file"}, [("r0", "file", "p0")])
    assert Walk(_N("r0")) == graph.skip_filters(_N("r0"))


@pytest.mark.parametrize(
    ("driver", "children", "expected"),
    [
        ("of-the-future", 1, None),
        ("of-the-future", 0, False),
        ("null-co", 0, False),
        ("throttle", 1, True),
    ],
)
def test_an_unknown_driver_with_one_child_may_be_a_filter(driver: str, children: int, expected: bool | None) -> None:  # noqa: FBT001
    """The flag is in no query, so a driver that is not in the tables is unknown as soon as it has a child."""
    edges = [("x0", "file", f"c{number}") for number in range(children)]
    assert _graph({"x0": driver, "c0": "file"}, edges).is_filter("x0") is expected


def test_an_unknown_driver_ends_the_walk_as_unknown() -> None:
    """A walk that meets a driver of unknown kind says at which node, and gives no end."""
    graph = _graph(
        {"t0": "throttle", "x0": "of-the-future", "fmt0": "qcow2"}, [("t0", "file", "x0"), ("x0", "file", "fmt0")]
    )
    assert Walk(None, (_N("t0"),), unknown=_N("x0")) == graph.skip_filters(_N("t0"))


def test_a_filter_with_a_bitmap_stops_only_the_walk_that_names_bitmaps() -> None:
    """`init_dirty_bitmap_migration` stops at a filter with a bitmap of its own; a user's device name does not."""
    graph = _graph({"t0": "throttle", "fmt0": "qcow2"}, [("t0", "file", "fmt0")], with_bitmaps=["t0"])
    assert Walk(None, (), stopped_by=_N("t0")) == graph.skip_filters(_N("t0"), stop_at_bitmaps=True)
    assert Walk(_N("fmt0"), (_N("t0"),)) == graph.skip_filters(_N("t0"))


def test_a_bitmap_on_the_node_below_does_not_stop_the_walk() -> None:
    """Only filters stop it: a node that is no filter is where the walk ends anyway."""
    graph = _graph({"t0": "throttle", "fmt0": "qcow2"}, [("t0", "file", "fmt0")], with_bitmaps=["fmt0"])
    assert Walk(_N("fmt0"), (_N("t0"),)) == graph.skip_filters(_N("t0"), stop_at_bitmaps=True)


def test_a_device_without_medium_leads_nowhere() -> None:
    """The walk from no root ends on no node."""
    assert Walk(None) == _graph({}).skip_filters(None)


def test_devices_and_guest_devices_of_a_node() -> None:
    """A node is the disk of whatever is above it through filters, and of nothing through a backing link."""
    graph = _graph(
        {"t0": "throttle", "fmt0": "qcow2", "base0": "qcow2"},
        [("t0", "file", "fmt0"), ("fmt0", "backing", "base0")],
        devices={"drive0": "t0", "drive1": "fmt0"},
        guests={"/machine/peripheral/vd0/virtio-backend": "t0", "/machine/peripheral-anon/device[0]": "fmt0"},
    )
    assert graph.devices_of(_N("fmt0")) == ("drive0", "drive1")
    assert graph.guest_devices_of(_N("fmt0")) == ("vd0",)
    assert (graph.devices_of(_N("base0")), graph.guest_devices_of(_N("base0"))) == ((), ())
    assert (graph.devices_of(_N("t0")), graph.guest_devices_of(_N("t0"))) == ((), ())


def test_an_id_that_two_guest_devices_have_is_the_name_of_neither() -> None:
    """Ids are unique in QEMU, so a capture that shows one twice says nothing by it."""
    graph = _graph(
        {"a": "raw", "b": "raw"}, guests={"/machine/peripheral/vd0/x": "a", "/machine/peripheral/vd0/y": "b"}
    )
    assert (graph.guest_device("vd0"), graph.guest_devices_of(_N("a")), graph.guest_devices_of(_N("b"))) == (
        None,
        (),
        (),
    )


@pytest.mark.parametrize(
    ("qdev", "expected"),
    [
        ("/machine/peripheral/vd0/virtio-backend", "vd0"),
        ("/machine/peripheral/usb0/usb0.0/legacy[0]", "usb0"),
        ("sd0", "sd0"),
        ("/machine/peripheral-anon/device[0]/virtio-backend", None),
        ("/machine/unattached/device[3]", None),
        ("/machine/peripheral", None),
        (None, None),
    ],
)
def test_the_id_of_a_guest_device(qdev: str | None, expected: str | None) -> None:
    """Only an id that the user gave counts: QEMU numbers the rest by start order."""
    assert Backend(None, qdev, None).guest_device == expected


def test_generated_names_begin_with_a_hash() -> None:
    """A node-name is auto-generated exactly when it begins with `#`."""
    assert [Node(_N(name), "file").explicit for name in ("a", "#block0", "a#b")] == [True, False, True]


def test_lookups_by_name() -> None:
    """Devices and guest devices are found by name, bitmaps in memory and in the image too; others are None."""
    bits = Bitmap(BitmapName("b0"), 65536, 0, recording=True, busy=False, persistent=False, inconsistent=False)
    kept = StoredBitmap(BitmapName("b1"), 65536, in_use=False)
    node = Node(_N("n0"), "qcow2", bitmaps=(bits,), stored=(kept,))
    graph = _graph({"n0": "qcow2"}, devices={"drive0": "n0"}, guests={"/machine/peripheral/vd0": "n0"})
    assert [bits, None] == [node.bitmap("b0"), node.bitmap("b1")]
    assert [None, kept] == [node.stored_bitmap("b0"), node.stored_bitmap("b1")]
    assert [graph.device(name) is not None for name in ("drive0", "n0")] == [True, False]
    assert [graph.guest_device(name) is not None for name in ("vd0", "drive0")] == [True, False]


_CHAIN = {"t0": "throttle", "fmt0": "qcow2", "file0": "file", "base0": "qcow2", "base1": "qcow2"}
_CHAIN_EDGES = [
    ("t0", "file", "fmt0"),
    ("fmt0", "file", "file0"),
    ("fmt0", "backing", "base0"),
    ("base0", "backing", "base1"),
]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ((), "t0"),
        (("file",), "fmt0"),
        (("file", "backing", "backing"), "base1"),
        (("backing",), None),
        (("file", "backing", "backing", "backing"), None),
    ],
)
def test_a_path_follows_roles_from_the_very_root(path: tuple[str, ...], expected: str | None) -> None:
    """Roles are taken one by one, filters of the user's configuration included; a missing role ends nowhere."""
    assert _graph(_CHAIN, _CHAIN_EDGES).walk(_N("t0"), path) == expected


def test_a_path_steps_over_the_filters_of_jobs() -> None:
    """A mirror's own filter is not in the user's configuration: with it and without, a path means the same."""
    graph = _graph(
        {"#m0": "mirror_top", "fmt0": "qcow2", "#c0": "commit_top", "base0": "qcow2"},
        [("#m0", "backing", "fmt0"), ("fmt0", "backing", "#c0"), ("#c0", "backing", "base0")],
    )
    assert graph.walk(_N("#m0"), ("backing",)) == "base0"


def test_a_path_goes_through_a_role_with_a_dot() -> None:
    """Quorum calls its children `children.0`, `children.1`: a path takes them too."""
    graph = _graph({"q0": "quorum", "a": "raw", "b": "raw", "c": "file"}, [
        ("q0", "children.0", "a"), ("q0", "children.1", "b"), ("b", "file", "c"),
    ])  # fmt: skip
    assert graph.walk(_N("q0"), ("children", "1", "file")) == "c"
    assert graph.walk(_N("q0"), ("children", "2")) is None


def test_a_path_that_is_offered_leads_back() -> None:
    """What `route` says of a node that a device reaches is what `walk` follows to it."""
    graph = _graph(_CHAIN, _CHAIN_EDGES, devices={"drive0": "t0"})
    for name in ("file0", "base0", "base1"):
        route = graph.route(_N(name))
        assert route is not None
        assert (route[0].device, graph.walk(_N("t0"), route[1])) == ("drive0", name)
    assert graph.route(_N("fmt0")) == (graph.device("drive0"), ())


def test_no_route_to_a_node_that_nothing_named_reaches() -> None:
    """A backend without device name and id is nothing that a user could name."""
    graph = _graph({"n0": "raw", "n1": "raw"}, guests={"/machine/peripheral-anon/device[0]": "n0"})
    assert (graph.route(_N("n0")), graph.route(_N("n1"))) == (None, None)


def test_the_nodes_that_guest_writes_pass_through() -> None:
    """From a guest device's root down: through filters and formats, not into backing images, logs and targets."""
    graph = _graph(
        dict.fromkeys(("fmt0", "base0", "orphan", "unused", "target"), "qcow2")
        | {"cbw0": "copy-before-write", "log0": "blklogwrites", "file0": "file", "logfile": "file", "#m": "mirror_top"},
        [
            ("#m", "backing", "cbw0"),
            ("cbw0", "file", "log0"),
            ("cbw0", "target", "target"),
            ("log0", "file", "fmt0"),
            ("log0", "log", "logfile"),
            ("fmt0", "file", "file0"),
            ("fmt0", "backing", "base0"),
        ],
        guests={"/machine/peripheral-anon/device[0]": "#m"},
        devices={"drive1": "unused"},
    )
    assert {"#m", "cbw0", "log0", "fmt0", "file0"} == graph.guest_written


def test_guest_writes_reach_all_children_of_a_quorum_and_a_data_file() -> None:
    """A write goes to each child of a quorum or blkverify node, and into an external data file."""
    graph = _graph(
        {"q0": "quorum", "v0": "blkverify", "b": "qcow2", "raw0": "raw", "test0": "raw", "data0": "file"},
        [
            ("q0", "children.0", "v0"),
            ("q0", "children.1", "b"),
            ("v0", "raw", "raw0"),
            ("v0", "test", "test0"),
            ("b", "data-file", "data0"),
        ],
        guests={"vd0": "q0"},
    )
    assert set(graph.nodes) == graph.guest_written


@pytest.mark.parametrize(("unseen", "known"), [((), True), (("q0",), False), (("idle",), True)])
def test_what_the_guest_writes_is_known_unless_a_written_node_may_hide_children(
    unseen: tuple[str, ...],
    known: bool,  # noqa: FBT001
) -> None:
    """Children that no query shows matter only below what the guest writes to."""
    graph = _graph({"q0": "quorum", "idle": "quorum"}, guests={"vd0": "q0"}, unseen=unseen)
    assert graph.writes_known is known


def test_the_structure_is_shown_sorted() -> None:
    """Edges, children and users come in one order, whatever the order of the input."""
    nodes = [Node(_N(name), "raw") for name in ("b", "a")]
    graph = BlockGraph(
        nodes,
        [Edge("node", "b", _N("a"), "file"), Edge("node", "b", _N("a"), "backing")],
        [Backend(None, "vd0", _N("b")), Backend(DeviceName("d"), None, _N("a"))],
        [Job("j", "mirror", "running", (_N("a"),))],
        [Export("e", "nbd", _N("a"))],
    )
    assert list(graph.nodes) == ["a", "b"]
    assert graph.children("b") == (("backing", "a"), ("file", "a"))
    assert [edge.role for edge in graph.edges()] == ["backing", "file"]
    assert graph.parents("a") == (("backend", "d"), ("export", "e"), ("job", "j"), ("node", "b"))
    assert graph.parents("b") == (("backend", "vd0"),)


@pytest.mark.parametrize(
    ("status", "active"),
    [("running", True), ("ready", True), ("pending", True), ("paused", True), ("concluded", False), ("null", False)],
)
def test_a_job_that_has_concluded_holds_nothing(status: str, active: bool) -> None:  # noqa: FBT001
    """QAPI `JobStatus`: after `concluded` a job has let its nodes go."""
    assert Job("j", "backup", status).active is active


def test_everything_below_a_node() -> None:
    """`below` is the node and all that is reached from it, by whatever role."""
    graph = _graph(_CHAIN, _CHAIN_EDGES)
    assert {"fmt0", "file0", "base0", "base1"} == graph.below(_N("fmt0"))

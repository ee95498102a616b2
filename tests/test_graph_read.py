"""From replies to a block graph: where edges come from, and what a hostile capture can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig import graph
from bitmapmig.diagnostics import CannotRunError
from tests.build import (
    ABSENT,
    Error,
    NodeSpec,
    Part,
    bitmap,
    codes,
    drive,
    export,
    guest,
    job,
    node,
    source,
    stored,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bitmapmig.graph import BlockGraph, Edge
    from tests.build import Capture

#: A disk of every shape: a running mirror, filters, a chain, an external data file, quorum and blkverify.
_DISK = (
    node("#mirror", "mirror_top", backing="t0"),
    node("t0", "throttle", file="fmt0"),
    node("fmt0", "qcow2", file="#file0", backing="base0"),
    node("#file0", "file"),
    node("base0", "qcow2", file="basefile", data_file="data0"),
    node("basefile", "file"),
    node("data0", "raw", file="datafile"),
    node("datafile", "file"),
    node("target", "raw", file="targetfile"),
    node("targetfile", "file"),
    drive("drive0", "#mirror", qdev="/machine/peripheral/vd0/virtio-backend"),
    job("m0", "mirror", main="#mirror", source="t0", target="target"),
)
_QUORUM = (
    node("q0", "quorum", children={"children.0": "v0", "children.1": "b0"}),
    node("v0", "blkverify", raw="r0", test="fmt1"),
    node("r0", "null-co"),
    node("fmt1", "qcow2", file="r1"),
    node("r1", "null-co"),
    node("b0", "null-co"),
    guest("vd1", "q0"),
)


def _read(capture: Capture) -> BlockGraph:
    found, problems = graph.read(capture, "source")
    assert problems == ()
    return found


def _problems(capture: Capture) -> list[str]:
    return codes(graph.read(capture, "source")[1])


def _pairs(edges: Sequence[Edge]) -> set[tuple[str, str]]:
    return {(edge.parent, edge.child) for edge in edges}


@pytest.mark.parametrize("shows", ["debug", "children", "debug children"])
def test_debug_and_children_show_the_same_edges(shows: str) -> None:
    """Edges between nodes are equal from either source, every role of them, and none is guessed."""
    found = _read(source(*_DISK, *_QUORUM, shows=shows))
    expected = {
        (one.name, child, role)
        for one in (*_DISK, *_QUORUM)
        if isinstance(one, NodeSpec)
        for role, child in one.children.items()
    }
    assert {(edge.parent, edge.child, edge.role) for edge in found.edges()} == expected
    assert not any(edge.inferred for edge in found.edges())


def test_edges_from_blockstats_are_inferred_and_sound() -> None:
    """Without both, `query-blockstats` gives edges that are there, marked so; it leaves some out."""
    found = _read(source(*_DISK, *_QUORUM, shows=""))
    there = _pairs(_read(source(*_DISK, *_QUORUM)).edges())
    assert all(edge.inferred for edge in found.edges())
    assert _pairs(found.edges()) == there & {
        ("t0", "fmt0"),
        ("fmt0", "#file0"),
        ("fmt0", "base0"),
        ("base0", "data0"),
        ("data0", "datafile"),
    }


@pytest.mark.parametrize(
    ("disk", "shows", "known"),
    [
        (_DISK, "debug", True),
        (_DISK, "children", True),
        (_QUORUM, "debug", True),
        (_QUORUM, "", False),
        ((node("fmt0", "qcow2", file="file0"), node("file0", "file"), guest("vd0", "fmt0")), "", True),
        ((node("fmt0", "qcow2", data_file="d", file="f"), node("d"), node("f"), guest("vd0", "fmt0")), "", False),
        ((node("x0", "of-the-future", file="f"), node("f"), guest("vd0", "x0")), "", False),
    ],
)
def test_what_guest_writes_reach_is_known_where_all_children_show(
    disk: Sequence[Part],
    shows: str,
    known: bool,  # noqa: FBT001
) -> None:
    """`query-blockstats` hides children of quorum, of an external data file's image, and of drivers that are new."""
    assert _read(source(*disk, shows=shows)).writes_known is known


@pytest.mark.parametrize(("shows", "root"), [("debug", "#mirror"), ("children", "#mirror"), ("", "t0")])
@pytest.mark.parametrize("device", ["drive0", ""])
def test_the_root_above_a_hidden_filter(shows: str, root: str, device: str) -> None:
    """`query-block` hides a mirror's own filter; x-debug shows it, `children` let it be inferred."""
    backend = drive(device, "#mirror", qdev="/machine/peripheral/vd0/virtio-backend")
    found = _read(source(*_DISK[:-2], backend, _DISK[-1], shows=shows))
    assert [one.root for one in found.backends] == [root]
    assert found.guest_devices_of(found.nodes["fmt0"].name) == ("vd0",)  # type: ignore[index]
    assert found.devices_of(found.nodes["fmt0"].name) == (("drive0",) if device else ())  # type: ignore[index]


def test_a_filter_with_a_name_is_shown_and_is_the_root() -> None:
    """A mirror's filter that was given a name is what `query-block` shows."""
    parts = (node("top", "mirror_top", backing="fmt0"), node("fmt0"), drive("drive0", "top"))
    assert [_read(source(*parts, shows=shows)).backends[0].root for shows in ("debug", "children", "")] == ["top"] * 3


def test_the_records_of_nodes() -> None:
    """Bitmaps of jobs, which have no name, are none of the user's; stored ones and the version come from the image."""
    parts = (
        node(
            "fmt0",
            "qcow2",
            [bitmap(None), bitmap("b1", "persistent", "busy", count=5), bitmap("b0", "disabled")],
            stored=["b1", stored("b2", clean=True)],
            compat="0.10",
            ro=True,
        ),
        node("raw0", "raw", size=None, ro=None),
    )
    found = _read(source(*parts)).nodes
    fmt0, raw0 = found.values()
    assert [(one.name, one.persistent, one.busy, one.recording, one.count) for one in fmt0.bitmaps] == [
        ("b0", False, False, False, 0),
        ("b1", True, True, True, 5),
    ]
    assert [(one.name, one.in_use) for one in fmt0.stored or ()] == [("b1", True), ("b2", False)]
    assert (fmt0.compat, fmt0.read_only, fmt0.virtual_size) == ("0.10", True, 16 << 20)
    assert (raw0.stored, raw0.compat, raw0.read_only, raw0.virtual_size) == (None, None, None, None)


@pytest.mark.parametrize("specific", [None, {"type": "qcow2", "data": {"bitmaps": 5}}, {"type": "qcow2", "data": {}}])
def test_an_image_that_does_not_tell_is_not_taken_for_empty(specific: Any) -> None:
    """What bitmaps a qcow2 image stores is unknown where it is not readable; nothing listed means none."""
    record = node("fmt0", "qcow2").record
    record["image"] = {"virtual-size": 5} | ({} if specific is None else {"format-specific": specific})
    found = _read(source(replies={"query-named-block-nodes": [record]})).nodes
    assert [one.stored for one in found.values()] == [() if specific and not specific["data"] else None]


def test_jobs_and_exports_are_users_of_nodes() -> None:
    """x-debug shows what a job holds; exports tell their node themselves."""
    found = _read(source(*_DISK, export("e0", "fmt0")))
    (mirror,) = found.jobs
    assert (mirror.id, mirror.type, mirror.nodes) == ("m0", "mirror", ("#mirror", "t0", "target"))
    assert mirror.targets == ("target",)
    assert ("export", "e0") in found.parents("fmt0")
    assert ("job", "m0") in found.parents("target")


# hostile captures

_A, _B, _C = (node(name, "raw", file=child) for name, child in (("a", "b"), ("b", "c"), ("c", "a")))
_HOSTILE: list[tuple[str, tuple[Part, ...], str]] = [
    ("BM201", (_A, _B, _C, drive("drive0", "a", qdev="vd0")), "a cycle of three"),
    ("BM201", (node("a", "raw", file="a"),), "a node that is its own child"),
    ("BM201", (node("#a", "throttle", file="#b"), node("#b", "throttle", file="#a"), drive("d", "#a")), "of filters"),
    ("BM202", (node("a", "raw", file="nowhere"),), "a child that is not there"),
    ("BM202", (node("a"), export("e0", "nowhere")), "an export of a node that is not there"),
    ("BM202", (node("a"), drive("drive0", "nowhere")), "a medium that is not there"),
    ("BM204", (node("a"), node("a", size=5)), "two nodes of one name"),
    ("BM204", (node("a"), node("b"), drive("d", "a"), drive("d", "b")), "two devices of one name"),
    ("BM204", (node("a"), drive("a", "a")), "a device that is called as a node"),
    ("BM204", (node("a", bitmaps=["b0", bitmap("b0", count=5)]),), "two bitmaps of one name"),
]


@pytest.mark.parametrize(("code", "parts", "what"), _HOSTILE, ids=[row[2] for row in _HOSTILE])
@pytest.mark.parametrize("shows", ["debug", "children", "debug children", ""])
def test_what_no_genuine_capture_has_is_said(code: str, parts: Sequence[Part], what: str, shows: str) -> None:
    """Each is found once, whatever shows the edges; `query-blockstats` cannot show a cycle, nor a missing child."""
    hidden = not shows and (code == "BM201" or what == "a child that is not there")
    found, problems = graph.read(source(*parts, shows=shows), "source")
    assert codes(problems) == ([] if hidden else [code])
    assert set(found.nodes) == {part.name for part in parts if isinstance(part, NodeSpec)}


_FINE: list[tuple[tuple[Part, ...], str]] = [
    ((node("a", "raw", file="c"), node("b", "raw", file="c"), node("c")), "a child that two nodes share"),
    (
        (node("a", "quorum", children={"children.0": "b", "children.1": "b"}), node("b")),
        "a child that one node uses twice",
    ),
    ((node("a", bitmaps=["b0"]), node("b", bitmaps=["b0"])), "bitmaps of one name on two nodes"),
    ((node("a"), drive("d", "a"), drive("e", "a")), "two devices over one node"),
    ((node("a"), drive("", "a"), drive("", "a")), "two anonymous backends"),
    ((node("a"), drive("d", None)), "a device without medium"),
    ((node("a", bitmaps=[bitmap(None), bitmap(None)]),), "two bitmaps of jobs"),
]


@pytest.mark.parametrize("parts", [row[0] for row in _FINE], ids=[row[1] for row in _FINE])
@pytest.mark.parametrize("shows", ["debug", "children", "debug children", ""])
def test_what_only_looks_odd_is_no_finding(parts: Sequence[Part], shows: str) -> None:
    """Sharing, emptiness and namelessness are QEMU's everyday life."""
    assert graph.read(source(*parts, shows=shows), "source")[1] == ()


def test_children_and_debug_that_disagree() -> None:
    """On a QEMU that has both they are equal, so a difference means that the capture is torn."""
    parts = (node("a", "qcow2", file="b"), node("b"), node("c"))
    whole = source(*parts, shows="debug children")
    records = [dict(part.record) for part in parts]
    records[0]["children"] = [{"child": "file", "node-name": "c"}]
    torn = source(*parts, shows="debug", replies={"query-named-block-nodes": records})
    assert [_problems(whole), _problems(torn)] == [[], ["BM203"]]


def test_many_cycles_take_no_longer_than_their_number() -> None:
    """Each of thousands of cycles is found, in time linear in their number."""
    parts = [node(f"n{number}", "raw", file=f"n{number ^ 1}") for number in range(20_000)]
    problems = graph.read(source(*parts, shows="children"), "source")[1]
    assert [one.code for one in problems] == ["BM201"] * 10_000


@pytest.mark.parametrize("shows", ["debug", "children", ""])
def test_a_chain_of_thousands(shows: str) -> None:
    """Neither a backing chain of 2,000 images nor one of filters is too deep, whatever shows it."""
    images = [node(f"i{number}", "qcow2", backing=f"i{number + 1}") for number in range(2000)]
    filters = [node(f"#f{number}", "throttle", file=f"#f{number + 1}") for number in range(2000)] if shows else []
    end = [node("#f2000"), drive("drive1", "#f0", "vd0")] if shows else []
    found = _read(source(*images, node("i2000"), *filters, *end, drive("drive0", "i0"), shows=shows))
    assert len(found.edges()) == len(images) + len(filters)
    if shows:
        assert [str(name) for name, walk in found.default_walks.items() if walk.end == "#f2000"] == ["drive1"]
        assert "#f2000" in found.guest_written


_MALFORMED: list[tuple[str, Any]] = [
    ("query-named-block-nodes", {}),
    ("query-named-block-nodes", [None]),
    ("query-named-block-nodes", [{"drv": "raw"}]),
    ("query-named-block-nodes", [{"node-name": 5, "drv": "raw"}]),
    ("query-named-block-nodes", [{"node-name": "a", "drv": "raw", "ro": "yes"}]),
    ("query-named-block-nodes", [{"node-name": "a", "drv": "raw", "image": {"virtual-size": -1}}]),
    ("query-named-block-nodes", [{"node-name": "a", "drv": "raw", "dirty-bitmaps": [{"name": "b0"}]}]),
    ("query-named-block-nodes", [{"node-name": "a", "drv": "raw", "dirty-bitmaps": [bitmap("b0", granularity=0)]}]),
    ("query-named-block-nodes", [{"node-name": "a", "drv": "raw", "dirty-bitmaps": [bitmap("")]}]),
    ("query-named-block-nodes", [{"node-name": "", "drv": "raw"}]),
    ("query-block", [{"qdev": "vd0"}]),
    ("query-block", 5),
    ("x-debug-query-block-graph", {"nodes": [{"id": "1"}], "edges": []}),
    ("x-debug-query-block-graph", []),
    ("query-jobs", [{"id": "j"}]),
    ("query-block-exports", [{"id": "e"}]),
    ("query-blockstats", [{"node-name": "a", "parent": {"node-name": "b", "parent": {"node-name": 5}}}]),
]


@pytest.mark.parametrize(("command", "reply"), _MALFORMED)
def test_a_reply_of_other_types_is_no_capture(command: str, reply: Any) -> None:
    """Wrong types end the run and say where (BM111): the reply is not what QEMU sends."""
    with pytest.raises(CannotRunError) as caught:
        graph.read(source(node("a"), shows="", replies={command: reply}), "source")
    (found,) = caught.value.diagnostics
    assert (found.code, command in found.message) == ("BM111", True)


@pytest.mark.parametrize("reply", [Error("no"), ABSENT])
@pytest.mark.parametrize("command", ["query-named-block-nodes", "query-block"])
def test_a_query_that_every_decision_needs(command: str, reply: Error) -> None:
    """Without the nodes or the backends nothing can be decided (BM108)."""
    with pytest.raises(CannotRunError) as caught:
        graph.read(source(replies={command: reply}), "source")
    assert [one.code for one in caught.value.diagnostics] == ["BM108"]


@pytest.mark.parametrize("command", ["query-blockstats", "query-jobs", "query-block-exports"])
def test_a_query_that_old_qemus_lack_is_not_needed(command: str) -> None:
    """The graph can be read without."""
    assert set(_read(source(node("a"), replies={command: Error()})).nodes) == {"a"}


def test_members_that_qemu_adds_are_ignored() -> None:
    """A newer QEMU's members change nothing."""
    record = {**node("a").record, "invented": {"in": 2040}, "dirty-bitmaps": [{**bitmap("b0"), "invented": 1}]}
    plain = source(node("a", bitmaps=["b0"]))
    assert _read(source(node("a"), replies={"query-named-block-nodes": [record]})).nodes == _read(plain).nodes

"""The structure of one side in the plan document, the part that the plan depends on, and the fingerprint over it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig import graph, state
from bitmapmig.plans import dump, load
from bitmapmig.plans.fingerprint import identify
from bitmapmig.plans.structure import Structure, relevant, structure
from tests.build import MIB, Part, bitmap, destination, drive, export, guest, job, node, planned, source, stored

if TYPE_CHECKING:
    from collections.abc import Sequence


def _structure(*parts: Part, names: Sequence[str] = ()) -> Structure:
    return structure(graph.read(source(*parts), "source")[0], names)


def test_what_is_in_a_structure() -> None:
    """Nodes with children, bitmaps and stored copies, backends, jobs that hold nodes, exports; not what is usual."""
    n = node("n", "qcow2", [bitmap("b", "disabled", "persistent", count=MIB)], stored=["s"], file="#f", ro=True)
    parts = (n, node("#f", "file", size=None), drive("d", "n", qdev="v"), guest("g", None), export("e", "n"))
    jobs = (job("j", "mirror", main="n"), job("k", "stream", "concluded", main="n"))
    assert json.loads(_structure(*parts, *jobs, names=["z", "n"]).model_dump_json()) == {
        "names": ["n", "z"],
        "nodes": [
            {"name": "#f", "driver": "file"},
            {
                "name": "n",
                "driver": "qcow2",
                "read_only": True,
                "virtual_size": 16 * MIB,
                "compat": "1.1",
                "children": [["file", "#f"]],
                "bitmaps": [{"name": "b", "granularity": 65536, "persistent": True}],
                "stored": [{"name": "s", "granularity": 65536, "in_use": True}],
            },
        ],
        "backends": [{"qdev": "/machine/peripheral/g/virtio-backend"}, {"device": "d", "qdev": "v", "root": "n"}],
        "jobs": [{"id": "j", "type": "mirror", "nodes": ["n"]}],
        "exports": [{"id": "e", "type": "nbd", "node": "n", "writable": False}],
    }


def test_a_structure_can_be_read_again() -> None:
    """What is left out of the JSON comes back as it was: nothing told and nothing there are not the same."""
    whole = _structure(node("a", "qcow2", ro=None), node("b"), node("c", "qcow2", stored=["s"]))
    assert Structure.model_validate_json(whole.model_dump_json()) == whole
    assert [(one.read_only, one.stored is None) for one in whole.nodes] == [
        (None, False),
        (False, True),
        (False, False),
    ]


CHAIN = (
    node("top", "qcow2", backing="mid"),
    node("mid", "qcow2", file="#f", backing="base"),
    node("base", "qcow2"),
    node("#f", "file"),
    node("t", "throttle", file="top"),
    node("beside", "qcow2", backing="base"),
    node("apart", "qcow2"),
    drive("d", "t"),
    drive("e", "apart"),
    drive("f", None),
)


@pytest.mark.parametrize(
    ("parts", "names", "nodes", "devices"),
    [
        ([], [], [], []),
        ([], ["mid"], ["#f", "base", "mid", "t", "top"], ["d"]),
        ([], ["e"], ["apart"], ["e"]),
        ([], ["f"], [], ["f"]),
        ([], ["nowhere"], [], []),
        ([node("mid", "qcow2", ["b"], file="#f", backing="base")], [], ["#f", "base", "mid", "t", "top"], ["d"]),
        ([node("apart", "qcow2", stored=["s"])], [], ["apart"], ["e"]),
        ([node("base", "qcow2", ["b"])], [], ["base", "beside", "mid", "t", "top"], ["d"]),
    ],
)
def test_the_part_that_a_plan_depends_on(
    parts: Sequence[Any], names: Sequence[str], nodes: list[str], devices: list[str]
) -> None:
    """Nodes with bitmaps or stored copies and those that names mean, what is above and below, and its devices."""
    replaced = {one.name for one in parts}
    kept = [one for one in CHAIN if getattr(one, "name", None) not in replaced]
    part = relevant(_structure(*kept, *parts, names=names))
    assert [one.name for one in part.nodes] == nodes
    assert [one.device for one in part.backends] == devices


def test_jobs_and_exports_count_where_they_hold_a_node_that_does() -> None:
    """And a job of which no query shows what it holds counts always."""
    parts = (node("n", bitmaps=["b"]), node("m"), export("x", "n"), export("y", "m"))
    jobs = (job("j", "mirror", main="n", target="m"), job("k", "stream", main="m"), job("l", "create"))
    part = relevant(_structure(*parts, *jobs))
    assert ([one.id for one in part.jobs], [one.id for one in part.exports]) == (["j", "l"], ["x"])


def test_the_names_of_a_plan() -> None:
    """On the destination nodes that bitmaps go to and the aliases that lead there; on the source none is needed."""
    policy = {"map": [{"source": "n", "destination": {"device": "d"}}]}
    plan = planned(source(node("n", bitmaps=["b"])), destination(node("#m"), drive("d", "#m")), policy)
    assert (plan.source.structure.names, plan.destination.structure.names) == ((), ("#m", "d"))


def test_the_names_of_a_plan_with_a_map_on_the_destination() -> None:
    """There QEMU looks up no alias, but the nodes that the map lists."""
    here = source(node("n", bitmaps=["b"]))
    there = destination(node("m"), node("o", bitmaps=["x"]), parameters={"block-bitmap-mapping": []})
    plan = planned(here, there, {"map": [{"source": "n", "destination": "m"}]})
    assert plan.block_bitmap_mapping.destination is not None
    assert plan.destination.structure.names == ("m", "o")


def test_a_structure_is_in_the_plan_document() -> None:
    """Of both sides, and it is there again when the document is read."""
    plan = planned(source(node("n", bitmaps=["b"])), destination(node("n"), node("m")))
    again = load(dump(plan))
    assert [one.name for one in again.source.structure.nodes] == ["n"]
    assert [one.name for one in again.destination.structure.nodes] == ["m", "n"]


# the fingerprint


def _image(**change: Any) -> Part:
    return node("n", "qcow2", **{"bitmaps": ["b0"], "stored": ["s0"], "file": "f", **change})


_BASE: tuple[Part, ...] = (_image(), node("f", "file"), drive("d", "n", qdev="vd0"))
_CHANGES: list[dict[str, Any]] = [
    {"size": MIB},
    {"ro": True},
    {"compat": "0.10"},
    {"stored": []},
    {"stored": [stored("s0", clean=True)]},
    {"bitmaps": ["b1"]},
    {"bitmaps": [bitmap("b0", granularity=512)]},
    *({"bitmaps": [bitmap("b0", flag)]} for flag in ("disabled", "busy", "persistent", "inconsistent")),
]


@pytest.mark.parametrize(
    ("parts", "same"),
    [
        (_BASE, True),
        (_BASE[::-1], True),
        ((_image(bitmaps=[bitmap("b0", count=MIB)]), *_BASE[1:]), True),
        ((_image(bitmaps=[bitmap(None), "b0"]), *_BASE[1:]), True),
        ((_image(), node("f", "file", size=MIB), _BASE[2]), True),
        ((*_BASE, node("x")), True),
        ((*_BASE, node("x"), drive("e", "x")), True),
        ((*_BASE, drive("e", None)), True),
        ((*_BASE, node("x", bitmaps=["b"])), False),
        ((*_BASE, node("x", "throttle", file="n")), False),
        ((*_BASE, job("j", "mirror", main="n")), False),
        ((*_BASE, export("e", "n")), False),
        ((*_BASE, drive("e", "f")), False),
        ((node("n", "qcow2", ["b0"], stored=["s0"], backing="f"), *_BASE[1:]), False),
        ((node("n", "raw", ["b0"], file="f"), *_BASE[1:]), False),
        ((*_BASE[:2], drive("e", "n", qdev="vd0")), False),
        ((*_BASE[:2], drive("d", "n", qdev="vd1")), False),
        ((*_BASE[:2], drive("d", "f", qdev="vd0")), False),
        *(((_image(**change), *_BASE[1:]), False) for change in _CHANGES),
    ],
)  # fmt: skip
def test_the_fingerprint(parts: Sequence[Part], same: bool) -> None:  # noqa: FBT001
    """Equal while what the plan depends on is: not over dirty bytes, lengths of files, other disks and order."""
    captures = [source(*some) for some in (_BASE, parts)]
    of = [identify(state.read(one), graph.read(one, "source")[0]).fingerprint for one in captures]
    assert (of[0] == of[1]) is same


@pytest.mark.parametrize("more", [{"version": (10, 0, 13)}, {"machine": None}, {"replies": {"query-name": {}}}])
def test_the_fingerprint_is_of_one_qemu(more: dict[str, Any]) -> None:
    """Another version, machine type or name is another QEMU, whose fingerprint is another."""
    captures = [source(*_BASE), source(*_BASE, **more)]
    of = [identify(state.read(one), graph.read(one, "source")[0]).fingerprint for one in captures]
    assert of[0] != of[1]

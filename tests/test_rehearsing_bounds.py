"""What is turned away before anything is built for a rehearsal, and what is seen to be built otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given

from bitmapmig.diagnostics import CannotRunError
from bitmapmig.graph import Bitmap, BlockGraph, Edge, Node, StoredBitmap
from bitmapmig.plans import Plan, dump
from bitmapmig.plans import load as loaded
from bitmapmig.qapi import BitmapName, NodeName
from bitmapmig.rehearsing.sameness import check_built
from bitmapmig.rehearsing.sound import check
from bitmapmig.rehearsing.stand import stands
from bitmapmig.throwaway import Built, NotBuiltError, bounds
from bitmapmig.throwaway.words import IMAGES
from tests.build import SIZE, Part, bitmap, destination, drive, node, planned, source
from tests.strategies import World, worlds
from tests.test_cases import CASES, FIXTURES, answer

Document: TypeAlias = dict[str, Any]

_SHARED = {"storage": "shared"}


def _plain() -> Plan:
    """A plan with an image that both sides share."""
    here = (node("n", "qcow2", [bitmap("b", "persistent")], stored=["b"], file="f"), node("f", "file"))
    there = (node("n", "qcow2", stored=["b"], file="f"), node("f", "file"))
    return planned(source(*here, drive("drive0", "n")), destination(*there, drive("drive0", "n")), _SHARED)


def _merging() -> Plan:
    """A plan that merges the bitmaps of a chain."""
    return answer(FIXTURES / "chain-collapsed")


def _refused() -> Plan:
    """A refused plan: the disk is larger on the other side."""
    return planned(source(node("n", bitmaps=["b"])), destination(node("n", size=2 * SIZE)))


def _check(plan: Plan) -> None:
    check(plan, stands(plan, None))


def _of(plan: Plan) -> Document:
    document: Document = json.loads(dump(plan))
    return document


def _nodes(document: Document) -> list[Document]:
    found: list[Document] = document["source"]["structure"]["nodes"]
    return found


def _edited(plan: Plan, edit: Callable[[Document], object]) -> Plan:
    """The plan after somebody has edited its document."""
    document = _of(plan)
    edit(document)
    return loaded(json.dumps(document).encode())


# what is sound


@given(worlds())
def test_a_plan_holds_together(world: World) -> None:
    """Whatever is planned or refused from captures of real QEMUs is not turned away."""
    _check(loaded(dump(world.plan())))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_recorded_plan_holds_together(case: Path) -> None:
    """Nor is any recorded case: with jobs and exports, merges, shared images, and refusals with an attempt."""
    _check(answer(case))


# graphs that are none


def _add(*nodes: Document) -> Callable[[Document], object]:
    return lambda document: _nodes(document).extend(nodes)


def _backend(**words: str) -> Callable[[Document], object]:
    return lambda document: document["source"]["structure"]["backends"].append(words)


def _part(kind: str, *parts: Document) -> Callable[[Document], object]:
    return lambda document: document["source"]["structure"].update({kind: list(parts)})


def _layer(number: int, below: list[int], role: str = "children.{}") -> Document:
    """A node that has others below it."""
    children = [[role.format(at), f"q{one}"] for at, one in enumerate(below)]
    return {"name": f"q{number}", "driver": "quorum", "virtual_size": SIZE, "children": children}


_RING = [_layer(number, [(number + 1) % 3]) for number in range(3)]
_TOPS = [
    {"name": f"t{number}", "driver": "commit_top", "children": [["backing", f"t{1 - number}"]]} for number in range(2)
]
_COMMIT = {"id": "j", "type": "commit", "nodes": ["t0", "t1"]}
_DIAMOND = [_layer(number, [number + 1] * 9) for number in range(39)] + [_layer(39, [])]
_DEEP = [_layer(number, [number + 1], "file") for number in range(bounds.DEPTH)] + [_layer(bounds.DEPTH, [])]

NO_GRAPHS: dict[str, tuple[Callable[[Document], object], str]] = {
    "below itself": (_add(_layer(0, [0])), "'q0': it is below itself"),
    "ring": (_add(*_RING), "'q0': it is below itself"),
    "filters in a ring": (lambda one: (_add(*_TOPS)(one), _part("jobs", _COMMIT)(one)), "'t0': it is below itself"),
    "files in a ring": (lambda one: _nodes(one)[0].update(children=[["file", "n"]]), "it is below itself"),
    "diamonds": (_add(*_DIAMOND), "share so many others"),
    "depth": (_add(*_DEEP), "101 of its nodes are on top of each other"),
    "child": (_add(_layer(0, [1])), "'q0' refers to the node 'q1', which is not there"),
    "root": (_backend(device="d", root="x"), "'d' refers to the node 'x'"),
    "anonymous root": (_backend(root="x"), "'a backend' refers to the node 'x'"),
    "node of a job": (_part("jobs", {"id": "j", "type": "mirror", "nodes": ["x"]}), "'j' refers to the node 'x'"),
    "target of a job": (
        _part("jobs", {"id": "j", "type": "mirror", "nodes": ["n"], "targets": ["x"]}),
        "'x': the job 'j' writes to it, and does not hold it",
    ),
    "node of an export": (_part("exports", {"id": "e", "type": "nbd", "node": "x"}), "'e' refers to the node 'x'"),
    "node twice": (_add({"name": "n", "driver": "raw"}), "the node 'n' is there 2 times"),
    "device twice": (_backend(device="drive0"), "the device 'drive0' is there 2 times"),
    "job twice": (_part("jobs", *[{"id": "j", "type": "mirror"}] * 2), "the job 'j' is there 2 times"),
    "export twice": (_part("exports", *[{"id": "e", "type": "nbd", "node": "n"}] * 2), "the export 'e' is there"),
    "role twice": (
        _add({"name": "q", "driver": "raw", "children": [["file", "n"], ["file", "f"]]}),
        "'q': the child in the role 'file' is there 2 times",
    ),
    "bitmap twice": (lambda one: _nodes(one)[1].update(bitmaps=_nodes(one)[1]["bitmaps"] * 2), "the bitmap 'b' is"),
    "copy twice": (lambda one: _nodes(one)[1].update(stored=_nodes(one)[1]["stored"] * 2), "the stored bitmap 'b' is"),
}


@pytest.mark.parametrize("name", NO_GRAPHS)
def test_what_is_no_graph_is_turned_away(name: str) -> None:
    """Rings, names of nothing, names twice, and what never ends to be walked: with the reason, on either side."""
    edit, reason = NO_GRAPHS[name]
    edited = _edited(_plain(), edit)
    swapped = edited.model_copy(update={"source": edited.destination, "destination": edited.source})
    for plan in (edited, swapped):
        with pytest.raises(NotBuiltError) as raised:
            _check(plan)
        assert reason in str(raised.value)


def test_the_graphs_of_captures_are_looked_at() -> None:
    """A stand whose graph is not that of the document is turned away all the same."""
    made = _plain()
    here, there = stands(made, None)
    ring = BlockGraph([Node(NodeName("x"), "raw")], [Edge("node", "x", NodeName("x"), "file")])
    with pytest.raises(NotBuiltError, match="below itself"):
        check(made, (here, replace(there, graph=ring)))


_HOSTILE: dict[str, tuple[Part, ...]] = {
    "BM201": (node("n", "raw", ["b"], file="m"), node("m", "raw", file="n")),
    "BM202": (node("n", "raw", ["b"], file="gone"),),
    "BM204": (node("n", bitmaps=["b"]), node("n", bitmaps=["b"])),
}


@pytest.mark.parametrize("code", _HOSTILE)
def test_a_capture_that_is_not_genuine_is_not_rebuilt(code: str) -> None:
    """A refusal that says so is the reason: what is left of the graph is none that any QEMU had."""
    made = planned(source(*_HOSTILE[code]), destination(node("n")))
    (found,) = {one.code: one for one in made.refusals if one.code == code}.values()
    with pytest.raises(NotBuiltError) as raised:
        _check(made)
    assert str(raised.value) == next(one.message for one in made.refusals)
    assert found.severity == "refusal"


# plans that contradict themselves


def _attempt(**change: Any) -> Callable[[Document], object]:
    return lambda document: document["attempt"].update(change)


def _merge(**change: Any) -> Callable[[Document], object]:
    return lambda document: document["merges"][0].update(change)


def _bitmap(**change: Any) -> Callable[[Document], object]:
    return lambda document: document["bitmaps"][0].update(change)


def _map(node_name: str) -> list[Document]:
    return [{"node-name": node_name, "alias": "a", "bitmaps": [{"name": "x", "alias": "x"}]}]


ALTERED: dict[str, tuple[Callable[[], Plan], Callable[[Document], object], str]] = {
    "no bitmaps": (_plain, lambda one: one.update(bitmaps=[]), "are not those of the source's nodes"),
    "no nodes": (_plain, lambda one: one["source"].update(structure={}), "are not those of the source's nodes"),
    "bitmap twice": (_plain, lambda one: one["bitmaps"].append(one["bitmaps"][0]), "are not those"),
    "bitmap of nothing": (_plain, _bitmap(node="x"), "are not those of the source's nodes"),
    "other granularity": (_plain, _bitmap(granularity=1 << 20), "are not those of the source's nodes"),
    "other flag": (_plain, _bitmap(recording=False), "are not those of the source's nodes"),
    "goes nowhere": (_plain, _bitmap(destination_node="x"), "the node 'x', which is not there"),
    "shared nothing": (_plain, lambda one: one.update(shared=[{"source": "x", "destination": "n"}]), "to be shared"),
    "shared with nothing": (_plain, lambda one: one.update(shared=[{"source": "n", "destination": "x"}]), "one is not"),
    "merge of nothing": (_merging, _merge(sources=[]), "and nothing of that node"),
    "merge of unknown": (
        _merging,
        _merge(sources=[{"node": "#block1155", "bitmap": "x"}]),
        "what the source does not have",
    ),
    "merge on unknown": (_merging, _merge(node="x"), "and nothing of that node"),
    "merge to unknown": (_merging, _merge(destination_node="x"), "the node 'x'; that is not there"),
    "merge under a name": (_merging, _merge(temporary="daily"), "which is no temporary of one merge"),
    "merge of no granularity": (_merging, _merge(granularity=-(1 << 70)), "which is no temporary of one merge"),
    "merge twice": (_merging, lambda one: one["merges"].append(one["merges"][0]), "no temporary of one merge"),
    "no attempt": (_refused, lambda one: one.update(attempt=None), "exactly where it is none"),
    "attempt of a plan": (_plain, lambda one: one.update(attempt=_of(_refused())["attempt"]), "where it is none"),
    "attempt on unknown": (
        _refused,
        _attempt(block_bitmap_mapping={"source": _map("x"), "destination": None}),
        "has bitmaps of 'x' that are not there",
    ),
    "attempt at unknown": (
        _refused,
        _attempt(block_bitmap_mapping={"source": None, "destination": _map("x")}),
        "has the destination's node 'x', which is not there",
    ),
    "attempt to merge": (
        _refused,
        lambda one: one["attempt"].update(merges=[{**_of(_merging())["merges"][0], "sources": []}]),
        "and nothing of that node",
    ),
}


@pytest.mark.parametrize("name", ALTERED)
def test_a_plan_that_contradicts_itself_is_turned_away(name: str) -> None:
    """What a plan says is about what its structures show, else somebody has edited it; before `travelling` is asked."""
    make, edit, reason = ALTERED[name]
    with pytest.raises(CannotRunError) as raised:
        _check(_edited(make(), edit))
    (found,) = raised.value.diagnostics
    assert found.code == "BM706"
    assert reason in found.message


# bounds


def _one(granularity: int = 65536, size: int = SIZE, *, is_stored: bool = False) -> BlockGraph:
    """A node with a bitmap, in memory or stored."""
    name = BitmapName("b")
    copy = StoredBitmap(name, granularity, in_use=True)
    held = Bitmap(name, granularity, 0, recording=True, busy=False, persistent=False, inconsistent=False)
    bitmaps, copies = ((), (copy,)) if is_stored else ((held,), None)
    return BlockGraph([Node(NodeName("n"), "raw", virtual_size=size, bitmaps=bitmaps, stored=copies)])


@pytest.mark.parametrize("is_stored", [False, True], ids=["memory", "stored"])
@pytest.mark.parametrize("granularity", [-(1 << 70), -512, -1, 0, 1, 256, 513, 65535, 1 << 32, 1 << 70])
def test_a_granularity_that_nothing_has(granularity: int, is_stored: bool) -> None:  # noqa: FBT001
    """A granularity is a power of two, from 512 bytes to 2 GiB."""
    with pytest.raises(NotBuiltError, match=f"'n': the bitmap 'b' has a granularity of {granularity} bytes"):
        bounds.check(_one(granularity, is_stored=is_stored), images=IMAGES)


@pytest.mark.parametrize("granularity", [512, 65536, 1 << 31])
def test_a_granularity_that_qemu_takes(granularity: int) -> None:
    """Both ends of what QEMU takes, and what is between."""
    bounds.check(_one(granularity), images=IMAGES)


@pytest.mark.parametrize("size", [-1, (1 << 62) + 1, 1 << 70, 1 << 80])
def test_a_size_that_nothing_has(size: int) -> None:
    """A size is not negative, and no larger than QEMU takes."""
    with pytest.raises(NotBuiltError, match=f"nothing is {size} bytes large"):
        bounds.check(_one(size=size), images=IMAGES)


def test_what_is_within_the_bounds_is_built() -> None:
    """A chain of the greatest depth, and a base that a hundred chains have in common."""
    names = [NodeName(f"n{number}") for number in range(bounds.DEPTH)]
    chain = [Edge("node", above, below, "file") for above, below in pairwise(names)]
    bounds.check(BlockGraph([Node(name, "raw") for name in names], chain), images=IMAGES)
    tops = [NodeName(f"t{number}") for number in range(100)]
    shared = [Edge("node", top, names[1], "backing") for top in tops]
    bounds.check(BlockGraph([Node(name, "raw") for name in (*names, *tops)], [*chain, *shared]), images=IMAGES)


# what was built


def _node(*bitmaps: Bitmap, name: str = "n", **members: Any) -> Node:
    words: Document = {"driver": "qcow2", "virtual_size": SIZE, "stored": (), "bitmaps": bitmaps} | members
    return Node(NodeName(name), **words)


_HELD = Bitmap(BitmapName("b"), 65536, 0, recording=True, busy=False, persistent=True, inconsistent=False)
_COPY = StoredBitmap(BitmapName("b"), 65536, in_use=True)

UNLIKE: dict[str, tuple[Node, Node]] = {
    "the bitmap 'b' does not come out on it": (_node(_HELD), _node()),
    "its image brings the bitmap 'b', which is not said to be in memory": (_node(), _node(_HELD)),
    "comes out with granularity 512 instead of 65536": (_node(_HELD), _node(replace(_HELD, granularity=512))),
    "comes out with recording False instead of True, busy True instead of False": (
        _node(_HELD),
        _node(replace(_HELD, recording=False, busy=True)),
    ),
    "comes out with inconsistent True instead of False": (_node(_HELD), _node(replace(_HELD, inconsistent=True))),
    "the stored bitmap 'b' of granularity 65536 is not the same": (_node(stored=(_COPY,)), _node()),
    "comes out 512 bytes large instead of": (_node(_HELD), _node(_HELD, virtual_size=512)),
}


@pytest.mark.parametrize("reason", UNLIKE)
def test_a_bitmap_that_comes_out_otherwise_is_told(reason: str) -> None:
    """What a plan document says of bitmaps, and no QEMU makes so, ends the rehearsal by the name of the node."""
    wanted, shown = UNLIKE[reason]
    built = Built({NodeName("n"): NodeName("#block1")}, BlockGraph([replace(shown, name=NodeName("#block1"))]))
    with pytest.raises(NotBuiltError, match=reason) as raised:
        check_built(BlockGraph([wanted]), built)
    assert raised.value.node == "n"


ALIKE: dict[str, tuple[Node, Node]] = {
    "dirty": (_node(_HELD), _node(replace(_HELD, count=65536))),
    "who has the image open": (_node(_HELD, stored=(_COPY,)), _node(_HELD, stored=(replace(_COPY, in_use=False),))),
    "no copies told": (_node(_HELD, stored=(_COPY,)), _node(_HELD, stored=None)),
    "size of a file": (_node(_HELD, driver="file"), _node(_HELD, driver="file", virtual_size=512)),
    "size without bitmaps": (_node(), _node(virtual_size=512)),
}


@pytest.mark.parametrize("what", ALIKE)
def test_what_differs_by_its_nature_is_not_told(what: str) -> None:
    """How dirty a bitmap is, whether a copy is in use, and how long a file is, are no difference."""
    wanted, shown = ALIKE[what]
    check_built(BlockGraph([wanted]), Built({NodeName("n"): NodeName("n")}, BlockGraph([shown])))


def test_the_filter_that_a_version_does_without() -> None:
    """The filter of a job that goes by the name of what it filters is not taken for that."""
    job_filter = _node(name="#f", driver="copy-on-read")
    wanted = BlockGraph([_node(_HELD), job_filter], [Edge("node", "#f", NodeName("n"), "file")])
    names = {NodeName("n"): NodeName("n"), NodeName("#f"): NodeName("n")}
    check_built(wanted, Built(names, BlockGraph([_node(_HELD)])))

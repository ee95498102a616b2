"""What a rehearsal is made from: the plan for other QEMUs, how the stand-ins are to be, and what a plan tells of it."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmapmig import graph, state
from bitmapmig.applying.intake import commands
from bitmapmig.captures import load
from bitmapmig.plans import dump
from bitmapmig.plans import load as loaded
from bitmapmig.plans.mapping import set_capability
from bitmapmig.plans.structure import graph_of, structure
from bitmapmig.qapi import NodeName
from bitmapmig.rehearsing.moved import Place, attempted, moved
from bitmapmig.rehearsing.stand import Stand, machines, stands
from bitmapmig.throwaway import Binary
from bitmapmig.validate import End
from tests.build import MIB, Part, bitmap, destination, drive, guest, node, planned, source, stored
from tests.strategies import World, worlds
from tests.test_cases import CASES, answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hypothesis.strategies import DataObject

    from bitmapmig.captures import Capture
    from bitmapmig.diagnostics import Side
    from bitmapmig.plans import Plan
    from bitmapmig.plans.document import Identity

#: Where a text of a plan document is no node-name, though it may be spelled as one.
_NO_NODES = frozenset(("address", "alias", "bitmap_alias", "by", "node_alias"))
#: What of a plan is about the QEMUs that it was made for.
_OF_OLD = {"source", "destination", "advice", "refusals", "accepted"}

# the same plan for other QEMUs


def _place(identity: Identity, mark: str) -> Place:
    """Where every node has another name."""
    names = {NodeName(one.name): NodeName(f"{mark}{n}") for n, one in enumerate(identity.structure.nodes)}
    return Place(identity.model_copy(update={"endpoint": mark}), names)


def _back(place: Place, identity: Identity) -> Place:
    return Place(identity, {new: old for old, new in place.names.items()})


def _texts(value: Any) -> Iterator[str]:
    """Every text of a document but those that are no node-names."""
    if isinstance(value, dict):
        yield from chain.from_iterable(_texts(one) for key, one in value.items() if key not in _NO_NODES)
    elif isinstance(value, list):
        yield from chain.from_iterable(map(_texts, value))
    elif isinstance(value, str):
        yield value


def _moves(made: Plan) -> None:
    """The plan for other names names no old node, is fit to be carried out, and is the old one with the names back."""
    here, there = _place(made.source, "#here"), _place(made.destination, "there")
    new = moved(made, here, there)
    document = new.model_dump(mode="json", exclude=_OF_OLD)
    assert not {str(name) for name in (*here.names, *there.names)} & set(_texts(document))
    assert (new.source, new.destination, new.provisional, new.residue) == (here.identity, there.identity, False, ())
    back = moved(new, _back(here, made.source), _back(there, made.destination))
    assert back == made.model_copy(update={"provisional": False, "residue": ()})
    # `apply` takes only a plan that tells of the bitmaps of the very QEMUs
    nodes = tuple(one.model_copy(update={"name": here.new(one.name)}) for one in made.source.structure.nodes)
    whole = made.source.structure.model_copy(update={"nodes": nodes})
    renamed = here._replace(identity=here.identity.model_copy(update={"structure": whole}))
    fit = moved(made, renamed, there)
    assert commands(fit) == fit.commands


@given(worlds(sound=True))
def test_a_plan_moves_to_other_nodes(world: World) -> None:
    """Whatever nodes are called elsewhere, all of a plan goes by that, and nothing else of it changes."""
    made = world.plan()
    if made.verdict == "planned":
        _moves(made)


@pytest.mark.parametrize(
    "case",
    [one for one in CASES if json.loads((one / "expected.json").read_text())["verdict"] == "planned"],
    ids=lambda case: case.name,
)
def test_a_recorded_plan_moves_to_other_nodes(case: Path) -> None:
    """And so do merges, maps on the destination, shared images, and a capability that is only turned off."""
    _moves(answer(case))


def test_a_name_that_is_no_node_stays() -> None:
    """Only nodes of the side have other names; what is not said is not said."""
    place = Place(_plan().source, {NodeName("n"): NodeName("m")})
    assert [place.new(one) for one in ("n", "m", "drive0", "", None)] == ["m", "m", "drive0", "", None]


def _plan(policy: dict[str, Any] | None = None, *here: Part) -> Plan:
    return planned(source(*(here or (node("n", bitmaps=["b"]),))), destination(node("n"), node("o")), policy)


def test_what_is_tried_goes_by_the_names_that_are_there() -> None:
    """What a refused plan would have set is set by other node-names under the same aliases, the capability last."""
    made = _plan(None, node("n", bitmaps=["b", bitmap("c", "busy")]))
    assert made.attempt is not None
    found = attempted(made.attempt, Place(made.source, {NodeName("n"): NodeName("#n")}), Place(made.destination, {}))
    bitmaps = [{"name": name, "alias": name} for name in ("b", "c")]
    assert [(one.execute, one.arguments) for one in found.source] == [
        (
            "migrate-set-parameters",
            {"block-bitmap-mapping": [{"node-name": "#n", "alias": "n", "bitmaps": bitmaps}]},
        ),
        ("migrate-set-capabilities", {"capabilities": [{"capability": "dirty-bitmaps", "state": True}]}),
    ]
    assert found.destination == ()


def test_where_nothing_was_to_migrate_the_capability_is_off() -> None:
    """What is tried of a refusal that leaves every bitmap behind is to send none."""
    made = _plan({"map": [{"source": "n", "destination": None}, {"source": "typo", "destination": None}]})
    assert made.attempt is not None
    place = Place(made.source, {})
    assert attempted(made.attempt, place, place).source == (set_capability(state=False),)


# what is tried of a refused plan

_SHORT = (node("n", bitmaps=["b"]), node("m", bitmaps=["c"]))


@pytest.mark.parametrize(
    ("here", "there", "policy", "mapped", "on"),
    [
        ([*_SHORT], [node("n"), node("m", size=MIB)], {}, ["n", "m"], True),
        ([*_SHORT], [node("n"), node("m", bitmaps=["c"])], {}, ["n", "m"], True),
        ([*_SHORT], [node("n")], {}, None, True),
        ([*_SHORT, node("#x", bitmaps=["b"])], [node("n"), node("m")], {}, None, True),
        ([*_SHORT], [node("n", size=MIB)], {"map": [{"source": "m", "destination": None}]}, ["n"], True),
        (
            [*_SHORT],
            [node("n")],
            {"defaults": False, "map": [{"source": one, "destination": None} for one in ("n", "m", "typo")]},
            None,
            False,
        ),
    ],
    ids=["size", "clash", "no-place", "no-address", "left-behind", "nothing"],
)
def test_the_attempt_of_a_refusal(
    here: list[Part],
    there: list[Part],
    policy: dict[str, Any],
    mapped: list[str] | None,
    on: bool,  # noqa: FBT001
) -> None:
    """It has the whole map, or none where a bitmap has no place in one; the plan itself has neither."""
    made = planned(source(*here), destination(*there), policy)
    assert (made.verdict, made.block_bitmap_mapping.source, made.commands.source) == ("refused", None, ())
    assert made.attempt is not None
    told = made.attempt.block_bitmap_mapping.source
    assert (None if told is None else sorted(one.node_name for one in told)) == (mapped and sorted(mapped))
    assert made.attempt.dirty_bitmaps is on


@given(worlds())
def test_a_plan_has_an_attempt_exactly_when_it_is_refused(world: World) -> None:
    """And the document that is read again has it too; its map holds no bitmap that is left behind."""
    made = world.plan()
    assert (made.attempt is not None) == (made.verdict == "refused")
    assert loaded(dump(made)) == made
    if made.attempt is not None:
        mapped = {
            (entry.node_name, one.name)
            for entry in made.attempt.block_bitmap_mapping.source or ()
            for one in entry.bitmaps
        }
        assert not mapped & {(one.node, one.bitmap) for one in made.bitmaps if one.fate == "left-behind"}


# which images both sides have open

_IMAGE = node("n", "qcow2", [bitmap("b", "persistent")], stored=["b"], file="f")
_SAME = (node("n", "qcow2", stored=["b"], file="f"), node("f", "file"), node("m", "qcow2"), drive("d", "m"))


@pytest.mark.parametrize(
    ("policy", "shared"),
    [
        ({"storage": "shared"}, [("m", "m"), ("n", "n")]),
        ({"storage": {"default": "separate", "disks": {"d": "shared"}}}, [("m", "m")]),
        ({"storage": "separate"}, []),
        ({}, []),
    ],
)
def test_shared_images_are_in_the_plan(policy: dict[str, Any], shared: list[tuple[str, str]]) -> None:
    """The nodes with bitmaps whose image both sides have open, as the policy says; what nobody says is not."""
    here = (_IMAGE, node("f", "file"), node("m", "qcow2", ["c"]), drive("d", "m"))
    made = planned(source(*here), destination(*_SAME), policy)
    assert [(one.source, one.destination) for one in made.shared] == shared


# the graph that a document tells


def _told_again(capture: Capture, side: Side) -> None:
    whole = graph.read(capture, side)[0]
    told = structure(whole, ["x"])
    again = structure(graph_of(told), ["x"])
    assert again == told


@given(worlds())
def test_a_structure_gives_the_graph_again(world: World) -> None:
    """The graph of a structure has that structure."""
    here, there = world.captures()
    _told_again(here, "source")
    _told_again(there, "destination")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_recorded_structure_gives_the_graph_again(case: Path) -> None:
    """Also with jobs and exports, and where nodes have no size and backends no medium."""
    _told_again(load((case / "source.json").read_bytes(), "source.json"), "source")
    _told_again(load((case / "destination.json").read_bytes(), "destination.json"), "destination")


# how the stand-ins are to be


def _both(case: Path, made: Plan) -> tuple[tuple[Stand, Stand], tuple[Stand, Stand]]:
    """The stands of a case from its captures, and from its plan document."""
    captures = [load((case / f"{side}.json").read_bytes(), side) for side in ("source", "destination")]
    here, there = captures
    ends = (
        End("source", graph.read(here, "source")[0], state.read(here)),
        End("destination", graph.read(there, "destination")[0], state.read(there)),
    )
    return stands(made, ends), stands(loaded(dump(made)), None)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_document_tells_how_the_stand_ins_are_to_be(case: Path) -> None:
    """What decides something about the bitmaps is the same from the plan document as from the captures.

    But for what was set before: a map that is in force, which what is tried replaces, and a `dirty-bitmaps` left on.
    """
    for whole, told in zip(*_both(case, answer(case)), strict=True):
        assert structure(whole.graph) == structure(told.graph)
        assert (told.side, told.version, told.machine_type) == (whole.side, whole.version, whole.machine_type)
        assert (told.uuid, told.waiting) == (whole.uuid, whole.waiting)
        deciding = {name for name in whole.capabilities if name != "dirty-bitmaps"}
        assert set(told.capabilities) == (deciding if whole.side == "source" else set())


def _ends(here: Capture, there: Capture) -> tuple[End, End]:
    return (
        End("source", graph.read(here, "source")[0], state.read(here)),
        End("destination", graph.read(there, "destination")[0], state.read(there)),
    )


@pytest.mark.parametrize(
    ("here", "there", "options", "waiting"),
    [
        ({}, {}, {}, (False, True)),
        ({}, {"run_state": "running"}, {}, (False, False)),
        ({}, {"run_state": "running"}, {"provisional": True}, (False, True)),
        ({"run_state": "inmigrate"}, {}, {}, (True, True)),
        ({"run_state": "paused"}, {}, {}, (False, True)),
    ],
)
def test_who_waits_for_a_migration(
    here: dict[str, Any], there: dict[str, Any], options: dict[str, Any], waiting: tuple[bool, bool]
) -> None:
    """The stand-in of a side that waits does, also of one that is only like the destination to come."""
    captures = source(node("n", bitmaps=["b"]), **here), destination(node("n"), **there)
    made = planned(*captures, **options)
    for found in (stands(made, _ends(*captures)), stands(made, None)):
        assert (found[0].waiting, found[1].waiting) == waiting


def test_what_was_set_before_is_told_by_captures() -> None:
    """A map in force and the capabilities that decide something; others are not set on a stand-in."""
    in_force = {"block-bitmap-mapping": [{"node-name": "n", "alias": "a", "bitmaps": [{"name": "b", "alias": "c"}]}]}
    captures = (
        source(node("n", bitmaps=["b"]), capabilities=["dirty-bitmaps", "xbzrle"], parameters=in_force),
        destination(node("n")),
    )
    here, there = stands(planned(*captures), _ends(*captures))
    assert (here.capabilities, there.capabilities, there.mapping) == (("dirty-bitmaps",), (), None)
    assert here.mapping is not None
    assert [(one.node_name, one.alias, [(each.name, each.alias) for each in one.bitmaps]) for one in here.mapping] == [
        ("n", "a", [("b", "c")])
    ]


_OLD, _NEW = (7, 2, 22), (10, 0, 13)
_GUEST = (node("n"), guest("vd0", "n"))


@pytest.mark.parametrize(
    ("types", "versions", "parts", "wanted"),
    [
        (("none", "none"), (_OLD, _OLD), (), ("none", "none")),
        (("pc-q35-7.2", "pc-q35-7.2"), (_OLD, _OLD), (), ("none", "none")),
        (("pc-q35-7.2", "pc-q35-7.2"), (_OLD, _OLD), _GUEST, ("pc", "pc")),
        (("pc-q35-7.2", "pc-q35-7.2"), (_NEW, _OLD), (), ("pc-i440fx-7.2", "pc-i440fx-7.2")),
        (("pc-q35-9.2", "pc-q35-9.2"), (_NEW, _OLD), (), ("pc-i440fx-7.2", "pc-i440fx-7.2")),
        (("pc-q35-6.1", None), (_OLD, _NEW), (), ("pc-i440fx-6.1", "pc-i440fx-6.1")),
        ((None, "pc-i440fx-6.1"), (_OLD, _NEW), (), ("pc-i440fx-6.1", "pc-i440fx-6.1")),
        (("pc-q35-07.2", "pc-q35-07.2"), (_NEW, _OLD), (), ("pc-i440fx-7.2", "pc-i440fx-7.2")),
        (("pc-q35-7.2,accel=x",) * 2, (_NEW, _OLD), (), ("none", "none")),
        (("pc-q35-7.2\n",) * 2, (_NEW, _OLD), (), ("none", "none")),
        (("pc-q35-rhel9.4.0",) * 2, (_NEW, _OLD), (), ("none", "none")),
        (("pc-q35-\u0667.2",) * 2, (_NEW, _OLD), (), ("none", "none")),
        (("virt-7.2", "virt-7.2"), (_OLD, _NEW), _GUEST, ("pc-i440fx-7.2", "pc-i440fx-7.2")),
        (("none", "none"), (_NEW, _OLD), (), ("none", "none")),
        ((None, None), (_NEW, _OLD), (), ("none", "none")),
        (("pc-q35-7.2", "pc-i440fx-7.2"), (_OLD, _OLD), (), ("none", "pc")),
        (("pc-q35-7.2", "pc-i440fx-7.2"), (_OLD, _NEW), _GUEST, ("pc", "none")),
    ],
)
def test_the_machines_of_the_stand_ins(
    types: tuple[str | None, str | None], versions: Any, parts: tuple[Part, ...], wanted: tuple[str, str]
) -> None:
    """Equal types stay equal and different ones different; between versions a versioned one, where the user has one."""
    binaries = (Binary(Path("one"), versions[0]), Binary(Path("other"), versions[1]))
    whole = graph.read(source(*parts), "source")[0]
    bare = graph.read(destination(), "destination")[0]
    one = Stand("source", whole, "7.2.22", types[0], None, waiting=False)
    other = Stand("destination", bare, "7.2.22", types[1], None, waiting=True)
    assert machines((one, other), binaries) == wanted


@given(st.data())
def test_a_moved_plan_may_take_the_names_of_others(data: DataObject) -> None:
    """Node-names may be swapped, as generated ones are by chance: each is moved once."""
    names = ["n", "o", "p"]
    made = planned(source(*(node(one, bitmaps=[f"b{one}"]) for one in names)), destination(*map(node, names)))
    shuffled = data.draw(st.permutations(names))
    place = Place(made.source, {NodeName(old): NodeName(new) for old, new in zip(names, shuffled, strict=True)})
    found = moved(made, place, Place(made.destination, {}))
    wanted = {f"b{old}": (new, old) for old, new in zip(names, shuffled, strict=True)}
    assert {one.bitmap: (one.node, one.destination_node) for one in found.bitmaps} == wanted
    mapped = {one.bitmaps[0].name: (one.node_name, one.alias) for one in found.block_bitmap_mapping.source or ()}
    assert mapped == wanted


def test_a_stale_copy_does_not_make_an_image_shared() -> None:
    """Equal images prove nothing: without a word of the policy none is shared."""
    there = node("n", "qcow2", stored=[stored("b", clean=True)], file="f")
    made = planned(source(_IMAGE, node("f", "file")), destination(there, node("f", "file")))
    assert made.shared == ()

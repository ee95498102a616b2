"""What holds of every plan, whatever the two QEMUs and the policy are."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from bitmapmig.captures import Capture, Exchange
from bitmapmig.plans import dump, load
from bitmapmig.policy.model import merged
from tests.build import NodeSpec, bitmap, planned
from tests.qemu_model import Arrived, FailedError, QemuModel
from tests.strategies import World, worlds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.diagnostics import Diagnostic
    from bitmapmig.plans import Plan
    from bitmapmig.plans.document import NodeAlias
    from tests.build import Part

_EVERY = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
_WELL_FORMED = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,254}\Z")


def _model(world: World, plan: Plan | None = None, *, filters: bool = False) -> tuple[QemuModel, QemuModel]:
    """Both sides as QEMU sees them, with the maps of a plan; `filters` takes drivers of unknown kind for filters."""
    unknown = frozenset({"of-the-future"} if filters else ())
    maps = (plan.block_bitmap_mapping.source, plan.block_bitmap_mapping.destination) if plan else (None, None)
    here, there = ([part for disk in side for part in disk.parts()] for side in (world.here, world.there))
    in_force = world.more_there.get("parameters", {}).get("block-bitmap-mapping")
    return (
        QemuModel(here, None if maps[0] is None else [one.model_dump() for one in maps[0]], unknown),
        QemuModel(there, in_force if maps[1] is None else [one.model_dump() for one in maps[1]], unknown),
    )


# the same answer for the same question


def _shuffled(value: Any, dice: random.Random) -> Any:
    """`value` with all its lists and objects in another order: in QEMU's replies none of them has a meaning."""
    if isinstance(value, list):
        return [_shuffled(one, dice) for one in dice.sample(value, len(value))]
    if isinstance(value, dict):
        return {key: _shuffled(value[key], dice) for key in dice.sample(list(value), len(value))}
    return value


def _reordered(capture: Capture, dice: random.Random) -> Capture:
    exchanges = [
        Exchange.model_validate({**one.document, "return": _shuffled(one.return_, dice)}) if one.error is None else one
        for one in capture.exchanges
    ]
    return capture.model_copy(update={"exchanges": tuple(exchanges)})


@_EVERY
@given(worlds(), st.integers())
def test_the_order_of_replies_does_not_matter(world: World, seed: int) -> None:
    """The same bytes, whatever the order of nodes, edges, devices, bitmaps and members.

    But for what is foretold of a refused plan: which of two causes QEMU meets first, is told by the order of its lists.
    """
    dice = random.Random(seed)
    source, destination = (_reordered(one, dice) for one in world.captures())
    made, again = world.plan(), planned(source, destination, world.policy)
    if made.verdict == "refused":
        again = again.model_copy(update={"foretold": made.foretold})
    assert dump(again) == dump(made)


_HASHES = re.compile(r"sha256:[0-9a-f]{64}|bm-[0-9a-f]{16}")


@_EVERY
@given(worlds())
def test_renaming_all_nodes_renames_the_plan_and_nothing_else(world: World) -> None:
    """With every node-name replaced by another, in captures and policy, the plan is the same but for these names."""

    def renamed(text: str) -> str:
        return re.sub(r"(N\d\d)X", r"\1Renamed", text)

    source, destination = (
        Capture.model_validate_json(renamed(one.model_dump_json(by_alias=True, exclude_unset=True)))
        for one in world.captures()
    )
    after = dump(planned(source, destination, json.loads(renamed(json.dumps(world.policy))))).decode()
    assert _HASHES.sub("hash", after) == _HASHES.sub("hash", renamed(dump(world.plan()).decode()))


@_EVERY
@given(worlds())
def test_a_plan_can_be_written_and_read(world: World) -> None:
    """`load(dump(plan))` is the plan."""
    plan = world.plan()
    assert load(dump(plan)) == plan


# every bitmap, every name


def _named_bitmaps(world: World) -> list[tuple[str, str]]:
    return sorted((image.name, one["name"]) for disk in world.here for image in disk.images for one in image.bitmaps)


@_EVERY
@given(worlds())
def test_every_named_bitmap_has_exactly_one_fate(world: World) -> None:
    """Each is in the plan once; what is planned is nowhere refused, and what is in no map says by which entry."""
    plan = world.plan()
    assert sorted((one.node, one.bitmap) for one in plan.bitmaps) == _named_bitmaps(world)
    mapped = {(entry.node_name, one.name) for entry in plan.block_bitmap_mapping.source or () for one in entry.bitmaps}
    if plan.verdict == "planned":
        assert {(one.node, one.bitmap) for one in plan.bitmaps if one.fate == "migrate"} == mapped
        assert {one.fate for one in plan.bitmaps} <= {"migrate", "by-storage", "left-behind"}
    else:
        assert (mapped, plan.residue) == (set(), ())
        assert plan.refusals
    assert all(re.fullmatch(r"(map|deny)\.\d+|allow", one.by) for one in plan.bitmaps if one.fate == "left-behind")


@_EVERY
@given(worlds())
def test_maps_are_one_to_one_both_ways(world: World) -> None:
    """No node, alias, bitmap or bitmap alias twice; of two maps the destination's knows all aliases of the source's."""
    maps = world.plan().block_bitmap_mapping
    for entries in (maps.source or (), maps.destination or ()):
        assert len({one.node_name for one in entries}) == len({one.alias for one in entries}) == len(entries)
        for entry in entries:
            names, aliases = {one.name for one in entry.bitmaps}, {one.alias for one in entry.bitmaps}
            assert len(names) == len(aliases) == len(entry.bitmaps) > 0
    if maps.source and maps.destination:
        assert _aliases(maps.source) <= _aliases(maps.destination)


def _aliases(entries: tuple[NodeAlias, ...]) -> set[tuple[str, str]]:
    return {(entry.alias, one.alias) for entry in entries for one in entry.bitmaps}


@_EVERY
@given(worlds())
def test_every_name_that_is_emitted_is_one_that_qemu_takes(world: World) -> None:
    """Node aliases are well-formed, bitmap aliases not empty, none is longer than 255 bytes, none was generated."""
    plan = world.plan()
    maps = [*(plan.block_bitmap_mapping.source or ()), *(plan.block_bitmap_mapping.destination or ())]
    neutral = [
        entry
        for residue in plan.residue
        for command in residue.commands
        for entry in command.arguments.get("block-bitmap-mapping", ())
    ]
    for entry in [one.model_dump() for one in maps] + neutral:
        assert _WELL_FORMED.match(entry["alias"])
        assert all(1 <= len(one["alias"].encode()) <= 255 for one in entry["bitmaps"])
    for one in plan.bitmaps:
        assert not (one.address or "").startswith("#")
        assert not (one.node_alias or "").startswith("#")
    assert all(
        command.arguments.get("block-bitmap-mapping") != []
        for commands in (plan.commands.source, plan.commands.destination, *(one.commands for one in plan.residue))
        for command in commands
    )


# held against QEMU


@_EVERY
@given(worlds(), st.booleans())
def test_a_plan_arrives(world: World, filters: bool) -> None:  # noqa: FBT001
    """By the model of QEMU every bitmap of a plan arrives where and as the plan says, whatever a new driver may be."""
    plan = world.plan()
    assume(plan.block_bitmap_mapping.source)
    source, destination = _model(world, plan, filters=filters)
    arrived = destination.receives(source.sends())
    event("two maps" if plan.block_bitmap_mapping.destination else "one map")
    expected = {
        (one.destination_node, one.destination_bitmap): (
            (one.node, one.bitmap),
            one.transform.persistent if one.transform else one.persistent,
        )
        for one in plan.bitmaps
        if one.fate == "migrate"
    }
    assert {place: tuple(one) for place, one in arrived.items()} == expected


def _by_itself(source: QemuModel, destination: QemuModel) -> dict[tuple[str, str], Arrived] | None:
    """What arrives with nothing set but the capability; None where not all of it does."""
    try:
        return destination.receives(source.sends())
    except FailedError:
        return None


@_EVERY
@given(worlds(sound=True), st.sampled_from(["qemu", "explicit"]), st.sampled_from(["separate", "unknown"]))
def test_what_qemu_would_do_exactly_by_itself_is_not_refused(world: World, rules: str, storage: str) -> None:
    """Where every bitmap would arrive on the node of its name, below no filter, there is a plan for just that."""
    source, destination = _model(world)
    arrived = _by_itself(source, destination)
    # a filter is no exact place
    assume(arrived is not None and not any(destination.is_filter(node) for node, _ in arrived))
    event(f"{len(arrived or ())} bitmaps")
    plan = planned(*world.captures(), {"resolve": rules, "storage": storage})
    goes = {(one.destination_node, one.destination_bitmap): (one.node, one.bitmap) for one in plan.bitmaps}
    if rules == "qemu":
        assert plan.verdict == "planned"
        assert goes == {place: one.source for place, one in (arrived or {}).items()}
    else:
        # by its own name, where it has one, a bitmap may have no place there
        both = all(node.startswith("#") or destination.lookup(node) for node, _ in _named_bitmaps(world))
        assert plan.verdict == "planned" or not both


def _by_default(model: QemuModel, arrived: dict[str, set[str]]) -> set[tuple[str, str, str, str]] | None:
    """What QEMU sends without a mapping once `arrived` bitmaps are there; None where it sends nothing at all."""
    parts: list[Part] = []
    for part in model.parts:
        if isinstance(part, NodeSpec):
            here = {one["name"]: one for one in model.bitmaps(part.name)}
            there = {name: bitmap(name) for name in arrived.get(part.name, ())}
            parts.append(replace(part, record={**part.record, "dirty-bitmaps": list((there | here).values())}))
        else:
            parts.append(part)
    after = QemuModel(parts)
    try:
        names = after.default_names()
    except FailedError:
        return None
    return {
        (node, names[node], one["name"], one["name"])
        for node in after.nodes
        for one in after.bitmaps(node)
        if not names[node].startswith("#") and len(one["name"].encode()) <= 255
    }


@_EVERY
@given(worlds())
def test_what_stays_set_is_neutral_after_its_commands(world: World) -> None:
    """With the map that the residue sets, QEMU sends what it sends without any map, wherever it sends it at all."""
    # whether a driver of unknown kind takes its device's name, nobody can tell
    assume(all(image.driver != "of-the-future" for disk in (*world.here, *world.there) for image in disk.images))
    plan = world.plan()
    arrived: dict[str, set[str]] = {}
    for one in plan.bitmaps:
        if one.fate == "migrate":
            arrived.setdefault(one.destination_node or "", set()).add(one.destination_bitmap or "")
    for disk in world.there:
        for image in disk.images:
            arrived.setdefault(image.name, set()).update(one["name"] for one in image.stored)
    for residue in plan.residue:
        model = _model(world)[residue.side == "destination"]
        expected = _by_default(model, arrived if residue.side == "destination" else {})
        if residue.what == "block-bitmap-mapping" and expected is not None:
            event(f"{residue.side} {bool(expected)}")
            sent = {
                (entry["node-name"], entry["alias"], one["name"], one["alias"])
                for command in residue.commands
                for entry in command.arguments["block-bitmap-mapping"]
                for one in entry["bitmaps"]
            }
            assert sent == expected


# fragments


def _places(found: tuple[Diagnostic, ...]) -> set[tuple[str, str]]:
    return {(one.code, one.where.model_dump_json()) for one in found}


def _cured(world: World, policy: dict[str, Any]) -> Iterator[tuple[Diagnostic, Plan]]:
    """Each refusal that offers fragments, with the plan after each of them."""
    for one in world.plan(policy).refusals:
        for fragment in one.fragments:
            yield one, world.plan(merged(policy, fragment))


@_EVERY
@given(worlds())
def test_a_fragment_cures_its_finding(world: World) -> None:
    """Merged into the policy it takes the finding away, and brings none about the policy itself."""
    before = _places(world.plan().refusals)
    for one, plan in _cured(world, dict(world.policy)):
        assert (one.code, one.where.model_dump_json()) not in _places(plan.refusals)
        about_policy = {found for found in _places(plan.refusals) if found[0] in ("BM411", "BM412", "BM414")}
        assert about_policy <= before


@_EVERY
@given(worlds())
def test_fragments_lead_to_a_plan(world: World) -> None:
    """Applied one after the other, first things first, they end in a plan or with refusals that no policy can cure."""
    policy, plan = dict(world.policy), world.plan()
    for _ in range(30):
        offered = [one.fragments[0] for one in plan.refusals if one.fragments]
        if not offered:
            break
        policy = merged(policy, offered[0])
        plan = world.plan(policy)
    event(plan.verdict)
    # what is physically so; and an entry for a bitmap without address, which no other entry can outdo
    incurable = {"BM205", "BM411", "BM414", "BM504", "BM505", "BM527", "BM542", "BM543", "BM544", "BM555"}
    nameless = {one.node for one in plan.bitmaps if one.address is None}
    assert {one.code for one in plan.refusals if one.where.node not in nameless} <= incurable

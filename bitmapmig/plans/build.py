"""Situation and findings -> the plan document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitmapmig import codes
from bitmapmig.diagnostics import Diagnostic, Severity, Where, order
from bitmapmig.plans.document import Commands, Fate, Mapping, Plan, PlannedBitmap, SharedImage, Transform
from bitmapmig.plans.fingerprint import identify
from bitmapmig.plans.gate import attempt, foreseen, losses, with_radius
from bitmapmig.plans.mapping import Maps, commands, maps, residue
from bitmapmig.policy import fragment
from bitmapmig.resolve import selector
from bitmapmig.validate import assumptions, by_storage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bitmapmig.diagnostics import Side
    from bitmapmig.pair import Pair
    from bitmapmig.plans.document import Command
    from bitmapmig.policy import Decision
    from bitmapmig.validate import Situation


def build(situation: Situation, found: Sequence[Diagnostic]) -> Plan:
    """The plan, refused where a finding refuses that the policy does not accept.

    What the map would need from a QEMU that does not have it is found here (BM521, BM522, BM601), and what the model of
    QEMU foretells of the whole (BM603).
    """
    taken = set(situation.policy.accept) & set(codes.ACCEPTABLE)
    accepted = tuple(one for one in found if one.severity is Severity.REFUSAL and one.code in taken)
    refusals = [one for one in found if one.severity is Severity.REFUSAL and one not in accepted]
    made = maps(situation)
    to_send = commands(situation, made)
    refusals += _unsupported(situation, made, to_send)
    tried = attempt(situation, made)
    told = foreseen(situation, tried)
    if not refusals:
        refusals += losses(situation, told, accepted)
    refused = bool(refusals)
    if refused:
        to_send = {"source": (), "destination": ()}
    return Plan(
        verdict="refused" if refused else "planned",
        guarantee=not refused and not accepted,
        provisional=situation.provisional,
        resolve=situation.policy.resolve or "explicit",
        source=identify(situation.source.state, situation.before),
        destination=identify(situation.destination.state, situation.destination.graph, _names_there(situation, made)),
        bitmaps=_bitmaps(situation, made, refusals),
        merges=() if refused else tried.merges,
        block_bitmap_mapping=Mapping(source=None, destination=None)
        if refused
        else Mapping(source=made.source, destination=made.destination),
        commands=Commands(destination=to_send["destination"], source=to_send["source"]),
        residue=() if refused else residue(situation, made),
        shared=tuple(_shared(situation)),
        attempt=tried if refused else None,
        foretold=told,
        refusals=tuple(sorted(with_radius(refusals, told), key=order)),
        advice=tuple(one for one in found if one.severity is Severity.ADVICE),
        accepted=accepted,
        assumed_from_version=assumptions(situation) if situation.decisions else (),
    )


def _shared(situation: Situation) -> Iterator[SharedImage]:
    """The nodes with bitmaps whose image both sides have open."""
    images = situation.images
    for node in sorted(images.counterparts):
        there = images.shared(node)
        if there is not None:
            yield SharedImage(source=node, destination=there.name)


def _names_there(situation: Situation, made: Maps) -> Iterator[str]:
    """The names by which nodes of the destination are found: in the plan, and by QEMU in the stream or in its map."""
    yield from (one.destination.name for one in situation.pairs)
    if made.destination is None:
        yield from (entry.alias for entry in made.source or ())
    else:
        yield from (entry.node_name for entry in made.destination)


def _unsupported(situation: Situation, made: Maps, to_send: dict[Side, tuple[Command, ...]]) -> Iterator[Diagnostic]:
    """What the very QEMU that a command is meant for does not take."""
    for end, entries in ((situation.destination, made.destination), (situation.source, made.source)):
        schema = end.state.schema
        if schema is None or entries is None:
            continue
        if "dirty-bitmaps" not in schema.values("migrate-set-capabilities", "capabilities", "capability"):
            continue  # BM520 says all there is to say
        where = Where(side=end.side)
        mapping = ("migrate-set-parameters", "block-bitmap-mapping")
        if not schema.has(*mapping):
            why = "nothing goes where it is planned to"
            yield codes.MAPPING_UNSUPPORTED.at(where, side=end.side, reason=why)
            continue
        changed = [one for one in situation.pairs if one.transform is not None] if end.side == "source" else []
        if changed and not schema.has(*mapping, "bitmaps", "transform", "persistent"):
            for one in changed:
                yield _untransformed(situation, one)
            continue
        for command in to_send[end.side]:
            if command.execute == "transaction":
                continue  # older than the map, and a capture does not keep its types
            for problem in schema.problems(command.model_dump(mode="json"))[:1]:
                yield codes.COMMAND_UNKNOWN_TO_QEMU.at(where, side=end.side, command=command.execute, reason=problem)


def _untransformed(situation: Situation, one: Pair) -> Diagnostic:
    """A source that cannot make a bitmap persistent, or transient, on its way."""
    facts: dict[str, Any] = {"bitmap": one.where.bitmap, "node": one.source.name}
    if one.merge is None:
        return codes.TRANSFORM_UNSUPPORTED.at(one.where, side="source", **facts)
    target = selector(situation.destination.graph, one.destination.name)
    transient = {**target, "bitmap": one.name, "persistent": False}
    fragments = fragment.send(situation.policy, situation.before, one.decision, transient)
    fragments += fragment.leave(situation.policy, situation.before, one.decisions)
    return codes.MERGED_NOT_PERSISTENT.at(one.where, **facts, fragments=fragments)


def _bitmaps(situation: Situation, made: Maps, refusals: Sequence[Diagnostic]) -> tuple[PlannedBitmap, ...]:
    pairs = {(one.source.name, one.bitmap.name): one for one in situation.pairs if not one.merge}
    pairs |= {place: one for one in situation.pairs if one.merge for place in one.merge.places}
    refused = {(one.where.side, one.where.node, one.where.bitmap) for one in refusals if one.where.node}
    aliases = {} if refusals else made.aliases
    found = []
    for decision in situation.decisions:
        place = decision.resolved.node.name, decision.resolved.bitmap.name
        one = pairs.get(place)
        together = [place, *(one.merge.places if one and one.merge else ())]
        places: set[tuple[str | None, str | None, str | None]] = {("source", *each) for each in together}
        places |= {("source", node, None) for node, _ in together}
        if one:
            places |= {("destination", one.destination.name, one.name), ("destination", one.destination.name, None)}
        fate = _fate(situation, decision, refused=not refused.isdisjoint(places))
        if fate == "migrate" and one and one.merge:
            fate = "merged"
        found.append(_bitmap(decision, one, fate, aliases.get(place)))
    return tuple(found)


def _fate(situation: Situation, decision: Decision, *, refused: bool) -> Fate:
    """What becomes of a bitmap; in a refused plan `migrate` is what would become of it but for the others."""
    if decision.action == "refused" or refused:
        return "refused"
    if decision.action in ("migrate", "merge"):
        return "migrate"
    return "by-storage" if by_storage(situation, decision) else "left-behind"


def _bitmap(decision: Decision, one: Pair | None, fate: Fate, aliases: tuple[str, str] | None) -> PlannedBitmap:
    node, bitmap, address = decision.resolved.node, decision.resolved.bitmap, decision.resolved.address
    return PlannedBitmap(
        node=node.name,
        bitmap=bitmap.name,
        address=address.name if address else None,
        address_kind=address.kind if address else None,
        rule=address.rule if address else None,
        fate=fate,
        by=decision.by,
        destination_node=one.destination.name if one else None,
        destination_bitmap=one.name if one else None,
        node_alias=aliases[0] if aliases else None,
        bitmap_alias=aliases[1] if aliases else None,
        transform=Transform(persistent=one.transform) if one and not one.merge and one.transform is not None else None,
        granularity=bitmap.granularity,
        virtual_size=node.virtual_size,
        dirty_bytes=bitmap.count,
        recording=bitmap.recording,
        busy=bitmap.busy,
        persistent=bitmap.persistent,
        inconsistent=bitmap.inconsistent,
    )

"""The last gate of a plan: the model of QEMU must foretell that it does what it says.

The checks before it each look for one thing that is known to go wrong; the model goes through what QEMU does with
everything at once. Where the two differ, one of them is wrong, and nothing is emitted.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from bitmapmig import codes
from bitmapmig.diagnostics import Diagnostic, Severity, Where
from bitmapmig.fate import Foretold, Qemu, foretell
from bitmapmig.plans.document import Attempt, Mapping
from bitmapmig.plans.merging import merges
from bitmapmig.validate import by_storage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Mapping as AnyMapping

    from bitmapmig.fate import ForetoldBitmap
    from bitmapmig.pair import Pair
    from bitmapmig.plans.mapping import Maps
    from bitmapmig.validate import Situation


def attempt(situation: Situation, made: Maps) -> Attempt:
    """What is tried: the maps of a plan; where a bitmap has no place in them, the names that QEMU gives itself.

    The capability is on where anything is to migrate.
    """
    wanted = [one for one in situation.decisions if one.action not in ("leave-behind", "merge")]
    complete = len(wanted) == len(situation.pairs)
    return Attempt(
        block_bitmap_mapping=Mapping(source=made.source, destination=made.destination)
        if complete
        else Mapping(source=None, destination=None),
        merges=merges(situation, made),
        dirty_bitmaps=bool(wanted),
    )


def foreseen(situation: Situation, tried: Attempt) -> Foretold:
    """What QEMU would do with what is tried."""
    source, destination = situation.source, situation.destination
    maps = tried.block_bitmap_mapping
    return foretell(
        Qemu.of(source.graph, source.state, mapping=maps.source, dirty_bitmaps=tried.dirty_bitmaps),
        Qemu.of(destination.graph, destination.state, mapping=maps.destination),
        situation.images,
        provisional=situation.provisional,
    )


def losses(situation: Situation, told: Foretold, accepted: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """BM603 for every bitmap of which something else is foretold than the plan says.

    Where a finding that the policy accepts is what ends the migration, nothing is held against the plan.
    """
    if told.code is not None and told.code in {one.code for one in accepted}:
        return
    fates = {(one.node, one.bitmap): one for one in told.bitmaps}
    for one in situation.pairs:
        fate = fates[one.source.name, one.bitmap.name]
        if fate.outcome != "arrives" or not _as_planned(one, fate):
            yield _loss(fate)
    for decision in situation.decisions:
        fate = fates[decision.resolved.node.name, decision.resolved.bitmap.name]
        if by_storage(situation, decision) and fate.outcome != "by-storage":
            yield _loss(fate)


def _as_planned(one: Pair, fate: ForetoldBitmap) -> bool:
    planned = one.destination.name, one.name, one.persistent
    return planned == (fate.destination_node, fate.destination_bitmap, fate.persistent)


def _loss(fate: ForetoldBitmap) -> Diagnostic:
    where = Where(side="source", node=fate.node, bitmap=fate.bitmap)
    return codes.LOSS_FORETOLD.at(where, bitmap=fate.bitmap, node=fate.node, outcome=fate.outcome, reason=fate.reason)


def with_radius(found: Iterable[Diagnostic], told: Foretold) -> Iterator[Diagnostic]:
    """The findings, with how many other bitmaps go down where what is found takes them along."""
    by_node: defaultdict[str, list[ForetoldBitmap]] = defaultdict(list)
    for fate in told.bitmaps:
        by_node[fate.node].append(fate)
        if fate.destination_node is not None and fate.destination_node != fate.node:
            by_node[fate.destination_node].append(fate)
    for one in found:
        lost = _taken_along(one, by_node)
        if one.severity is Severity.REFUSAL and lost:
            words = f"{lost} other bitmap{'s' if lost > 1 else ''} would be lost with it"
            facts = {**one.facts, "others_lost": lost}
            yield one.model_copy(update={"facts": facts, "message": f"{one.message}; {words}"})
        else:
            yield one


def _taken_along(one: Diagnostic, by_node: AnyMapping[str, list[ForetoldBitmap]]) -> int:
    if one.where.node is None:
        return 0
    fates = by_node.get(one.where.node, ())
    return max((fate.others_lost for fate in fates if fate.code == one.code and _is_about(one, fate)), default=0)


def _is_about(one: Diagnostic, fate: ForetoldBitmap) -> bool:
    return one.where.bitmap in (None, fate.bitmap, fate.destination_bitmap)

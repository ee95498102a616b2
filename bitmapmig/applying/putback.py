"""What was in force before -> in force again, as far as QEMU allows; and in words what each side has now.

A map that was in force is set again. Where none was, a neutral one stands in for it: a map cannot be un-set, and an
empty one would drop everything. What somebody else has set meanwhile is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bitmapmig import codes
from bitmapmig.allowlist import Message, sets_mapping
from bitmapmig.applying.document import SideNow
from bitmapmig.control import CommandRefusedError, UnconfirmedError
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.plans.mapping import neutral, set_capability, set_mapping
from bitmapmig.qapi import NodeName

if TYPE_CHECKING:
    from bitmapmig.control import Control, InForce
    from bitmapmig.diagnostics import Diagnostic
    from bitmapmig.graph import BlockGraph
    from bitmapmig.plans import Plan
    from bitmapmig.plans.document import Command, NodeAlias

_Word = Literal["none", "planned", "before", "neutral", "other"]


@dataclass(frozen=True)
class Aims:
    """What one side had in force before, what it is to have, and the neutral map in place of none."""

    before: InForce
    mapping: tuple[NodeAlias, ...] | None  #: the planned one; None where the plan sets none
    dirty_bitmaps: bool  #: as planned
    neutral: tuple[NodeAlias, ...]

    @property
    def in_force_already(self) -> bool:
        """Whether the planned map was in force before."""
        return self.mapping is not None and self.before.maps(self.mapping)

    @property
    def left_over(self) -> bool:
        """Whether an earlier run left the planned map in force, where it may do harm."""
        return self.in_force_already and not (self.before.maps(self.neutral) and not self.before.dirty_bitmaps)

    def planned(self, now: InForce) -> bool:
        """Whether all is in force that the plan sets, and the rest is as it was."""
        maps = now.maps(self.before.mapping if self.mapping is None else self.mapping)
        return maps and now.dirty_bitmaps == self.dirty_bitmaps

    def word(self, now: InForce, *first: _Word) -> _Word:
        """What the map that is in force is; of two words that are both true the one among `first`."""
        if now.mapping is None:
            return "none"
        true: dict[_Word, bool] = {
            "before": now.maps(self.before.mapping),
            # many a planned map is the neutral one: then it is both, and stands where none was
            "neutral": self.before.mapping is None and bool(self.neutral) and now.maps(self.neutral),
            "planned": self.mapping is not None and now.maps(self.mapping),
        }
        return next((word for word in (*first, *true) if true.get(word)), "other")


def neutral_source(graph: BlockGraph) -> tuple[NodeAlias, ...]:
    """The map of the source that sends what no map would send."""
    return neutral(graph).entries


def neutral_destination(plan: Plan, graph: BlockGraph) -> tuple[NodeAlias, ...]:
    """The map of a waiting destination that takes what no map would take, of the source that was planned for.

    Bitmaps that are there, stored in its images, or planned to arrive, under the default names of its nodes.
    """
    names: dict[NodeName, list[str]] = {
        node.name: [*(one.name for one in node.bitmaps), *(one.name for one in node.stored or ())]
        for node in graph.nodes.values()
    }
    for one in plan.bitmaps:
        if one.destination_node in names and one.destination_bitmap is not None:
            names[NodeName(one.destination_node)].append(one.destination_bitmap)
    return neutral(graph, {node: dict.fromkeys(bitmaps) for node, bitmaps in names.items()}).entries


async def put_back(control: Control, aims: Aims, *, write: bool = True) -> Diagnostic:
    """Set what was in force before, where what is in force is what the plan sets; what the side has now (BM724, BM725).

    Without `write` it only looks. Raises nothing: a side that does not answer is a finding as well.
    """
    try:
        if write:
            for command in _restoring(aims, await control.look()):
                try:
                    await control.send(command)
                except (CommandRefusedError, UnconfirmedError):
                    continue  # what it came to is looked at below
        now = await control.look()
    except CannotRunError as error:
        return unknown(control, error.diagnostics[0].message)
    return told(control, aims, now)


def _restoring(aims: Aims, now: InForce) -> Iterator[Command | Message]:
    # the capability first: without it a map on the source sends nothing
    if now.dirty_bitmaps != aims.before.dirty_bitmaps:
        yield set_capability(state=aims.before.dirty_bitmaps)
    if aims.word(now) != "planned":
        return
    if aims.before.mapping is not None:
        again = Message("migrate-set-parameters", {"block-bitmap-mapping": aims.before.mapping})
        if sets_mapping(again.message):
            yield again
            return
    if aims.neutral:
        yield set_mapping(aims.neutral)


# in words


_MAPS: Mapping[_Word, str] = {
    "none": "no block-bitmap-mapping",
    "planned": "the block-bitmap-mapping of the plan",
    "before": "the block-bitmap-mapping that it had before",
    "neutral": "a neutral block-bitmap-mapping in place of none, because one cannot be un-set",
    "other": "a block-bitmap-mapping that somebody else set",
}


def side_now(control: Control, aims: Aims, now: InForce, *first: _Word) -> SideNow:
    """What is in force on a side, as documents say it."""
    return SideNow(
        side=control.side,
        endpoint=control.endpoint.text,
        block_bitmap_mapping=aims.word(now, *first),
        dirty_bitmaps=now.dirty_bitmaps,
    )


def told(control: Control, aims: Aims, now: InForce) -> Diagnostic:
    """The finding (BM724) that says what a side has now."""
    word = aims.word(now)
    as_before = now.dirty_bitmaps == aims.before.dirty_bitmaps
    has = f"{_MAPS[word]}, dirty-bitmaps {'on' if now.dirty_bitmaps else 'off'}"
    remedy = None
    if as_before and aims.in_force_already and now.maps(aims.mapping):
        said = f"is as it was, with the map of the plan, which was set before: {has}"
        remedy = "run `bitmapmig finish --failed` unless you apply a plan that fits before the migration starts"
    elif as_before and now.maps(aims.before.mapping):
        said = f"is as it was: {has}"
    elif as_before and word == "neutral":
        said = f"is as it was but for the map: it has {has}"
        remedy = "it does what no map does; only a new process has none"
    elif as_before and word == "planned" and not aims.neutral:
        said = f"is as it was but for the map: no other can do what none does here, so it has {has}"
        remedy = "with dirty-bitmaps off the source sends no bitmap, whatever the map; only a new process has none"
    elif aims.planned(now):
        said = f"is as planned: {has}"
        remedy = "it could not be put back: run `bitmapmig finish --failed`, or apply the plan again"
    else:
        said = f"is not as it was: it has {has}"
        remedy = "run `bitmapmig finish --failed`, or plan and apply again"
    return codes.SIDE_NOW.at(
        Where(side=control.side),
        remedy=remedy,
        side=control.side,
        now=said,
        block_bitmap_mapping=word,
        dirty_bitmaps=now.dirty_bitmaps,
    )


def untouched(control: Control) -> Diagnostic:
    """The finding (BM724) for a side on which nothing was set."""
    return codes.SIDE_NOW.at(Where(side=control.side), side=control.side, now="is as it was: nothing was set on it")


def unknown(control: Control, reason: str) -> Diagnostic:
    """The finding (BM725) for a side that was written to and cannot be looked at."""
    return codes.SIDE_UNKNOWN.at(Where(side=control.side), side=control.side, reason=reason)

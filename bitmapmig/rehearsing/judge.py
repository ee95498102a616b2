"""What was foretold and what happened -> what became of every bitmap, and where the model is wrong. Pure.

Everything here goes by the node-names of the stand-ins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from bitmapmig.qapi import NodeName
from bitmapmig.rehearsing.document import Disagreement, Happened, RehearsedBitmap
from bitmapmig.rehearsing.migration import Held

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bitmapmig.diagnostics import Side
    from bitmapmig.fate import Foretold, ForetoldBitmap, LogLine
    from bitmapmig.plans.document import Fate
    from bitmapmig.rehearsing.migration import Aftermath, Ended, Record, Sight

#: What may have happened with a bitmap that was not taken: a copy of it may have come up from an image all the same.
_NOT_SENT: frozenset[Happened] = frozenset(("lost", "left-behind", "stale", "altered"))
#: What may have happened with a bitmap, by what was foretold of it, where the migration completed.
_AGREEING: Mapping[str, frozenset[Happened]] = {
    "arrives": frozenset(("arrived", "misplaced", "leaves-inconsistent")),
    "worthless": frozenset(("arrived", "misplaced")),
    "by-storage": frozenset(("by-storage",)),
    **dict.fromkeys(("dropped", "lost-with-another", "blocks-source", "kills-destination"), _NOT_SENT),
    "lost-at-shutdown": frozenset(("lost-at-shutdown",)),
    "breaks-activation": frozenset(("breaks-activation",)),
}
#: What is as a plan wants it, by the fate that it says.
_AS_PLANNED: Mapping[Fate, frozenset[Happened]] = {
    "migrate": frozenset(("arrived",)),
    "by-storage": frozenset(("by-storage",)),
    # nothing of it is asked for, and what is inconsistent shows that; but a stale copy looks like it, and is wrong
    "left-behind": frozenset(("arrived", "by-storage", "left-behind", "lost-at-shutdown", "altered")),
    "merged": frozenset(("left-behind", "arrived", "by-storage")),
    "refused": frozenset(("arrived", "by-storage")),
}
#: Lines that say what became of a bitmap.
_ABOUT_BITMAPS = re.compile(
    r"[Bb]itmap|Cannot find device=|has no medium|Unknown node alias|Unable to read|Name is longer|Assertion"
)
#: Lines that every failure of the section of bitmaps ends with, whatever was the matter.
_AS_EVER = re.compile(r"error while loading state|failed to save SaveStateEntry")
#: What an image says that holds a bitmap of the name of one that has arrived.
_EXISTS = "Bitmap already exists"


class Wanted(NamedTuple):
    """What the plan says of a bitmap: its fate, and where it goes; None where it says nothing of that."""

    fate: Fate
    node: str | None
    bitmap: str | None


@dataclass(frozen=True)
class Case:
    """One rehearsal.

    `before` and `there` are what source and destination showed before the migration, `after` what the destination shows
    since, None where it is dead or cannot list its nodes. `ended` is None where none was begun; `refused` is what QEMU
    then said to what was to be set, if it refused that. `shared` are the nodes of the source whose image the
    destination has open as well. `log` is what both have printed since it began.
    """

    wanted: Mapping[tuple[str, str], Wanted]
    foretold: Foretold
    before: Sight
    there: Sight
    ended: Ended | None
    after: Sight | None
    aftermath: Aftermath | None
    shared: frozenset[str]
    log: tuple[LogLine, ...]
    refused: str = ""

    @property
    def completed(self) -> bool:
        """Whether the migration brought anything."""
        return self.ended is not None and self.ended.migration == "completes"

    @cached_property
    def sent(self) -> frozenset[tuple[str, str]]:
        """Where bitmaps come by the stream."""
        told = (one for one in self.foretold.bitmaps if one.bitmap_alias is not None)
        return frozenset((one.destination_node or "", one.destination_bitmap or "") for one in told)

    def held_clean(self, place: tuple[str, str]) -> bool:
        """Whether the image of a destination's node holds the bitmap in the end, and did not before."""
        node = self.there.graph.nodes.get(NodeName(place[0]))
        if self.aftermath is None or (node is not None and node.stored_bitmap(place[1]) is not None):
            return False
        return place[1] in self.aftermath.stored.get(place[0], Held()).clean

    @property
    def broken(self) -> bool:
        """Whether an image could not be activated, because it holds a bitmap that has arrived as well."""
        said = self.aftermath.cont if self.aftermath else ""
        return _EXISTS in said or any(_EXISTS in line.text for line in self.log if line.side == "destination")


def bitmaps(case: Case) -> tuple[RehearsedBitmap, ...]:
    """What became of every named bitmap of the source, in the order of the foretelling."""
    return tuple(_bitmap(case, told) for told in case.foretold.bitmaps)


def as_planned(one: RehearsedBitmap, wanted: Wanted) -> bool:
    """Whether the plan's word came true."""
    return one.happened in _AS_PLANNED[wanted.fate]


def disagreements(case: Case, found: tuple[RehearsedBitmap, ...]) -> Iterator[Disagreement]:
    """Where the model is wrong: about the migration, a side, a bitmap, or what is printed."""
    told, ended = case.foretold, case.ended
    if ended is None:
        return
    either = told.source is None and {told.migration, ended.migration} <= {"fails", "destination-dies"}
    if told.migration not in (ended.migration, "unknown") and not either:
        words = f"{told.migration} ({told.reason})" if told.reason else told.migration
        yield Disagreement(what="migration", foretold=words, happened=ended.migration)
    sides: tuple[tuple[Side, str | None, str], ...] = (
        ("source", told.source, ended.source),
        ("destination", told.destination, ended.destination),
    )
    for side, said, was in sides:
        if said not in (None, was):
            yield Disagreement(what="side", side=side, foretold=said or "", happened=was)
    for one in found:
        if one.agrees is False:
            words = f"{one.foretold.outcome} ({one.foretold.reason})"
            happened = f"{one.happened} ({one.reason})"
            yield Disagreement(what="bitmap", node=one.node, bitmap=one.bitmap, foretold=words, happened=happened)
    yield from _lines(case)


def _lines(case: Case) -> Iterator[Disagreement]:
    """Each line that was foretold is in that side's log, and each line there about bitmaps was foretold.

    Where it was not foretold whether a process survives, it may say of which assertion it died.
    """
    sides: tuple[tuple[Side, str | None], ...] = (
        ("source", case.foretold.source),
        ("destination", case.foretold.destination),
    )
    for side, end in sides:
        told = [line.text for line in case.foretold.log if line.side == side]
        log = [line.text for line in case.log if line.side == side]
        for text in told:
            if not any(text in line for line in log):
                yield Disagreement(what="log", side=side, foretold=text, happened="it is not printed")
        for line in log:
            speaks = _ABOUT_BITMAPS.search(line) and not _AS_EVER.search(line)
            if speaks and not any(text in line for text in told) and not (end is None and "Assertion" in line):
                yield Disagreement(what="log", side=side, foretold="no such line", happened=line)


# one bitmap


class _Found(NamedTuple):
    happened: Happened
    reason: str
    place: tuple[str, str] | None = None


def _bitmap(case: Case, told: ForetoldBitmap) -> RehearsedBitmap:
    wanted = case.wanted.get((told.node, told.bitmap), Wanted("migrate", None, None))
    found = _found(case, told, wanted)
    return RehearsedBitmap(
        node=told.node,
        bitmap=told.bitmap,
        fate=wanted.fate,
        foretold=told,
        happened=found.happened,
        reason=found.reason,
        destination_node=found.place[0] if found.place else None,
        destination_bitmap=found.place[1] if found.place else None,
        agrees=_agrees(case, told, found.happened),
        log=_line(case, told, found),
    )


def _agrees(case: Case, told: ForetoldBitmap, happened: Happened) -> bool | None:
    if case.ended is None or "unknown" in (told.outcome, case.foretold.migration):
        return None
    if case.broken and case.after is None and told.outcome == "arrives" and not told.persistent:
        return None  # no image holds it, and nothing else can be asked
    if not case.completed:
        # what is wrong with the bitmap itself is foretold, whatever ended the migration
        return case.foretold.migration != "completes"
    return happened in _AGREEING.get(told.outcome, ())


def _line(case: Case, told: ForetoldBitmap, found: _Found) -> LogLine | None:
    """The line that speaks of the bitmap, where it did not arrive."""
    if found.happened in ("arrived", "by-storage", "left-behind"):
        return None
    names = {told.bitmap, told.bitmap_alias, told.destination_bitmap, told.node_alias} - {None}
    speaking = [line for line in case.log if _ABOUT_BITMAPS.search(line.text) and not _AS_EVER.search(line.text)]
    own = [line for line in speaking if any(f"'{name}'" in line.text for name in names)]
    return next(iter(own or speaking), None)


def _found(case: Case, told: ForetoldBitmap, wanted: Wanted) -> _Found:
    if not case.completed:
        return _Found("not-migrated", _not_completed(case.ended, case.refused))
    if wanted.fate == "merged":
        return _Found("left-behind", "it is merged into a temporary, which migrates in its place")
    place = _place(told, wanted)
    if case.after is None:
        return _unseen(case, place)
    record = case.after.records.get(place)
    # whatever has its name and was not sent has come from an image
    unsent = told.bitmap_alias is None and (record is None or record.bitmap.persistent or place in case.sent)
    if record is None or unsent or place in case.there.records:
        return _by_image(case, told, wanted, place)
    different = _different(case, told, record, place)
    return _Found("altered", different, place) if different else _placed(_kept(case, told, record, place), wanted)


def _unseen(case: Case, place: tuple[str, str]) -> _Found:
    """Where the destination cannot list its nodes any more, its images tell: one that was activated holds its own."""
    if not case.broken:
        return _Found("lost", "the destination cannot list its nodes any more")
    if case.held_clean(place):
        return _Found("arrived", "the image holds it after the shutdown", place)
    return _Found("breaks-activation", "its image could not be activated")


def _placed(found: _Found, wanted: Wanted) -> _Found:
    """What arrived, unless it was to be elsewhere."""
    if found.happened != "arrived" or found.place is None or wanted.bitmap is None:
        return found
    node, bitmap = found.place
    if found.place == (wanted.node, wanted.bitmap):
        return found
    words = f"it is {bitmap!r} on {node!r}, and was to be {wanted.bitmap!r} on {wanted.node!r}"
    return found._replace(happened="misplaced", reason=words)


def _not_completed(ended: Ended | None, refused: str) -> str:
    if ended is None:
        return f"no migration was begun: {refused}" if refused else "no migration was begun"
    words = {
        "refuses": "the commands that begin the migration were refused",
        "failed": "the migration failed on the source",
        "aborts": "the source aborted",
        "completed": "the source says completed, and the destination is dead",
    }[ended.source]
    return f"{words}: {ended.error}" if ended.error else words


def _place(told: ForetoldBitmap, wanted: Wanted) -> tuple[str, str]:
    """Where it is to be found: where the model says, else where the plan wants it, else under its own names."""
    if told.destination_node is not None and told.destination_bitmap is not None:
        return told.destination_node, told.destination_bitmap
    return wanted.node or told.node, wanted.bitmap or told.bitmap


def _different(case: Case, told: ForetoldBitmap, found: Record, place: tuple[str, str]) -> str:
    """What is otherwise on the destination than it is to be; empty where nothing is."""
    before = case.before.records[told.node, told.bitmap]
    wanted = {
        "granularity": (before.bitmap.granularity, found.bitmap.granularity),
        "recording": (told.recording, found.bitmap.recording),
        "persistent": (told.persistent, found.bitmap.persistent),
        "inconsistent": (False, found.bitmap.inconsistent),
    }
    words = [f"{name} is {now} and not {was}" for name, (was, now) in wanted.items() if was != now]
    # QEMU's digest is of a whole bitmap, so one of a larger disk is another though the bits are the same
    sizes = _size(case.before, told.node), _size(case.after, place[0])
    same = before.digest == found.digest if sizes[0] == sizes[1] else before.bitmap.count == found.bitmap.count
    if not same:
        words.append(f"its bits are others ({found.bitmap.count} bytes are dirty, {before.bitmap.count} were)")
    return "; ".join(words)


def _size(sight: Sight | None, name: str) -> int | None:
    """The virtual size of a node, in bytes."""
    node = sight.graph.nodes.get(NodeName(name)) if sight is not None else None
    return None if node is None else node.virtual_size


def _by_image(case: Case, told: ForetoldBitmap, wanted: Wanted, place: tuple[str, str]) -> _Found:
    """It was not in the stream: it may have come with the image, or a stale copy of it."""
    before = case.before.records[told.node, told.bitmap]
    sight = case.aftermath.sight if case.aftermath else None
    if sight is None and case.broken:
        return _Found("breaks-activation", "its image could not be activated", place)
    loaded = None if sight is None else _loaded(case, sight, place)
    if loaded is None or sight is None:
        if wanted.fate == "left-behind":
            return _Found("left-behind", "it is not on the destination, as planned")
        return _Found("lost", "the migration completed, and it is not on the destination")
    return _Found(*_come_up(sight.records[loaded], before, shared=told.node in case.shared), loaded)


def _come_up(found: Record, before: Record, *, shared: bool) -> tuple[Happened, str]:
    """What a bitmap is that has come up from an image."""
    if found.bitmap.inconsistent:
        return "altered", "what comes up from the image is inconsistent"
    if found.digest != before.digest:
        return "stale", "a copy with other bits came up from the destination's image in its place"
    return ("by-storage", "it came with the image that both sides have open") if shared else ("arrived", "it is there")


def _loaded(case: Case, sight: Sight, place: tuple[str, str]) -> tuple[str, str] | None:
    """Where a bitmap of that name is since the images are active, that was neither there before nor sent."""
    known = case.there.records.keys() | case.sent
    new = [one for one in sight.records if one not in known and one[1] == place[1]]
    return next((one for one in sorted(new, key=lambda one: (one[0] != place[0], one))), None)


def _kept(case: Case, told: ForetoldBitmap, found: Record, place: tuple[str, str]) -> _Found:
    """It is there, as it is to be: whether it still is when the guest goes on, and after the shutdown."""
    after = case.aftermath
    if after is None or (case.broken and not case.held_clean(place)):
        return _Found("breaks-activation", (after and after.cont) or "its image could not be activated", place)
    now = after.sight.records.get(place) if after.sight is not None else None
    held = after.stored.get(place[0], Held())
    if now is None or now.bitmap.inconsistent:
        words = "is gone" if now is None else "is inconsistent"
        return _Found("altered", f"it arrived, and {words} once the destination goes on", place)
    # by the name that it had, where both sides have the image open
    if not held.in_use.isdisjoint((place[1], told.bitmap)):
        return _Found(
            "leaves-inconsistent", "it arrived, and its image is left with a copy that is inconsistent", place
        )
    if not found.bitmap.persistent:
        return _Found("arrived", "bits and flags are equal", place)
    if place[1] in held.clean:
        return _Found("arrived", "bits and flags are equal, and the image holds it after the shutdown", place)
    return _Found("lost-at-shutdown", "it arrived, is shown as persistent, and no image holds it afterwards", place)

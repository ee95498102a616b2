"""A migration from beginning to end: where it is stopped first, and what both processes make of it.

Each part of it, sender, loader and switch-over, is gone through whole in its own module; here they are put in the order
in which the two processes come to them.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bitmapmig import codes
from bitmapmig.behaviour import (
    BITS_BEFORE_INACTIVATION,
    HINTS_AT_REMOVAL,
    INACTIVATION_SPELLED_OLD,
    MIRROR_MAY_ABORT,
    PREALLOCATE_WRITES_BEYOND,
    SENDS_FOOTER_OF_FAILED_SECTION,
)
from bitmapmig.fate.loader import Cancelled, Killed, incoming
from bitmapmig.fate.outcome import DestinationEnd, LogLine, MigrationEnd, SourceEnd
from bitmapmig.fate.process import stops
from bitmapmig.fate.sender import Refused, Sent, Unsure, outgoing
from bitmapmig.fate.storage import inactivation, name_in_log
from bitmapmig.fate.switch_over import growing_parent, held_when_stored, obstacles, unstorable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bitmapmig.diagnostics import Code
    from bitmapmig.fate.loader import Loading
    from bitmapmig.fate.process import Stop
    from bitmapmig.fate.qemu import Qemu
    from bitmapmig.graph import Node
    from bitmapmig.qapi import NodeName

_LOAD_FAILED = LogLine(side="destination", text="load of migration failed: ")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a migration ends; `reason` is empty where nothing goes wrong with all of it or with all of its bitmaps."""

    migration: MigrationEnd = "completes"
    source: SourceEnd | None = "completed"
    destination: DestinationEnd | None = "completed"
    reason: str = ""
    code: Code | None = None
    log: tuple[LogLine, ...] = ()


class Course:
    """The course of one migration."""

    def __init__(self, source: Qemu, destination: Qemu | None, *, provisional: bool) -> None:
        self.source, self.destination = source, destination
        self.steps = tuple(outgoing(source))
        self.stream = tuple(step for step in self.steps if isinstance(step, Sent))
        self._loadings = tuple(incoming(destination, self.stream)) if destination else ()
        self._stops = tuple(stops(source, destination, provisional=provisional))

    @cached_property
    def loadings(self) -> Mapping[tuple[NodeName, str], Loading]:
        """What the loader does with each bitmap of the stream, by its node and name on the source."""
        return {(one.sent.node.name, one.sent.bitmap.name): one for one in self._loadings}

    @cached_property
    def ending(self) -> Ending:
        """How it ends, by the first thing that ends it."""
        return next(self._endings())

    def _endings(self) -> Iterator[Ending]:
        begun, first = self._stop("begun"), self._stop("first")
        if begun:
            yield Ending("fails", "refuses", "waiting" if self.destination else None, begun.reason, begun.code)
        if first:
            yield _dies(first)
        if any(isinstance(step, Unsure) for step in self.steps):
            yield Ending("unknown", None, None, "a driver is not known", codes.FILTER_UNKNOWN)
        refused = next((step for step in self.steps if isinstance(step, Refused)), None)
        if refused:
            lines = [LogLine(side="source", text=line) for line in (refused.line, *self._hint(refused))]
            yield self._fails(_about(refused, refused.reason), refused.code, *lines, self._cut_short)
        named_wrong = next((one for one in self._loadings if _goes_by_its_name(one)), None)
        if isinstance(named_wrong, Killed):
            yield _dies(named_wrong)
        dropped = named_wrong if isinstance(named_wrong, Cancelled) else None
        unreadable = next((one for one in self._loadings if isinstance(one, Killed) and one.unreadable), None)
        if dropped and unreadable:
            yield _dies(unreadable._replace(nowhere=None), *_line_of(dropped))  # nodes are not looked up any more
        yield from self._switch_over(dropped)
        yield from self._completion(dropped)
        if self.destination is None:
            yield Ending("unknown", None, None)
        yield Ending(source=self._goes_on)

    def _switch_over(self, dropped: Cancelled | None) -> Iterator[Ending]:
        """What is met when the source hands over; the line about bitmaps that are `dropped` is printed by then."""
        before = _line_of(dropped) if dropped else ()
        # a node stores its bitmaps before it is looked at whether anybody still writes to it
        met = [(self._place(node), 0, ending) for node, ending in self._storing(*before)]
        for node, _ in sorted(self.unstorable):
            met.append((self._place(node), 0, self._not_stored(node, dropped, *before)))
        for obstacle in obstacles(self.source.graph, self.source.state.conduct):
            place = min(map(self._place, obstacle.nodes), default=0)
            status = self._inactivation(-1)
            met.append((place, 1, self._not_handed_over(obstacle.reason, obstacle.code, dropped, *before, status)))
        yield from (ending for *_, ending in sorted(met, key=lambda one: one[:2]))
        late = self._stop("switch-over")
        if late:
            yield _dies(late, *before)

    def _place(self, node: NodeName) -> int:
        """When a node is inactivated."""
        order = inactivation(self.source.graph, self.source.state.conduct)
        return order.get(node, len(order))

    def _not_stored(self, node: NodeName, dropped: Cancelled | None, *before: LogLine) -> Ending:
        """A read-only image is to store what is in no image yet."""
        shown = name_in_log(self.source.graph, node)
        text = f"Lost persistent bitmaps during inactivation of node '{shown}': No write access"
        lines = (*before, LogLine(side="source", text=text), self._inactivation(-errno.EINVAL))
        reason = f"a persistent bitmap that is not sent is to be stored by {node!r}, which is read-only"
        return self._not_handed_over(reason, codes.READ_ONLY_WHEN_STORED, dropped, *lines)

    def _not_handed_over(self, reason: str, code: Code, dropped: Cancelled | None, *log: LogLine) -> Ending:
        """The source does not get its block nodes inactive; the bits may have met the destination before."""
        aborting = None if dropped else self._aborting
        if aborting and BITS_BEFORE_INACTIVATION.harms(self.source.state.conduct):
            return Ending("fails", "failed", "aborts", reason, code, (*log, *_line_of(aborting)))
        return self._fails(reason, code, *log)

    def _storing(self, *before: LogLine) -> Iterator[tuple[NodeName, Ending]]:
        """What the source meets when its images store what is not sent, with the node that stores it."""
        for sent in self.stream:
            above = self.growing(sent)
            if above is not None:
                early = sent.node.driver == "preallocate" and PREALLOCATE_WRITES_BEYOND.harms(self.source.state.conduct)
                text = "hbitmap_set: Assertion" if early else "bdrv_dirty_bitmap_truncate: Assertion"
                line = LogLine(side="source", text=text)
                reason = "a node grows while its bitmap migrates"
                log = (*before, line, _LOAD_FAILED)
                yield above.name, Ending("fails", "aborts", "exits", reason, codes.NODE_GROWS, log)
        for node, _ in sorted(self.held):
            line = LogLine(side="source", text="bdrv_release_dirty_bitmap_locked: Assertion `!bdrv_dirty_bitmap_busy")
            reason = "a persistent bitmap that is not sent is in use when its image stores it"
            log = (*before, line, _LOAD_FAILED)
            yield node, Ending("fails", "aborts", "exits", reason, codes.BUSY_WHEN_STORED, log)

    @cached_property
    def held(self) -> frozenset[tuple[NodeName, str]]:
        """The bitmaps, by node and name, that abort the source when their image stores them."""
        found = held_when_stored(self.source.graph, self.source.state.conduct, self._migrating)
        return frozenset((node.name, bitmap.name) for node, bitmap in found)

    @cached_property
    def unstorable(self) -> frozenset[tuple[NodeName, str]]:
        """The bitmaps, by node and name, that a read-only image is to store."""
        found = unstorable(self.source.graph, self.source.state.conduct, self._migrating)
        return frozenset((node.name, bitmap.name) for node, bitmap in found)

    @property
    def _aborting(self) -> Killed | None:
        return next((one for one in self._loadings if isinstance(one, Killed) and one.aborts), None)

    def _completion(self, dropped: Cancelled | None) -> Iterator[Ending]:
        """What the bits meet, unless bitmaps are `dropped`, and after them the state of the devices."""
        killer = None if dropped else self._aborting
        if killer:
            # while there is more to send, it may notice that nobody takes it any more
            more = killer.sent is not self.stream[-1] or self.source.state.capabilities.get("return-path")
            source = None if more else self._goes_on
            reason = _about(killer.sent, killer.reason)
            yield Ending("destination-dies", source, "aborts", reason, killer.code, _line_of(killer))
        lacking = self._stop("devices")
        if lacking:
            yield _dies(lacking, *(_line_of(dropped) if dropped else ()))
        if dropped:
            reason = _about(dropped.sent, dropped.reason)
            yield Ending(source=self._goes_on, reason=reason, code=dropped.code, log=_line_of(dropped))

    def _hint(self, refused: Refused) -> Iterator[str]:
        if refused.code is codes.BITMAP_INCONSISTENT and HINTS_AT_REMOVAL.harms(self.source.state.conduct):
            yield "Try block-dirty-bitmap-remove to delete this bitmap from disk"

    def _fails(self, reason: str, code: Code | None, *log: LogLine) -> Ending:
        """The source gives up, and the destination exits over what it did not get."""
        if self.destination is None:
            return Ending("fails", "failed", None, reason, code, tuple(line for line in log if line.side == "source"))
        return Ending("fails", "failed", "exits", reason, code, (*log, _LOAD_FAILED))

    @property
    def _goes_on(self) -> SourceEnd | None:
        """What becomes of a source that has handed over: a mirror that still runs may abort it."""
        mirrored = any(job.active and job.type == "mirror" for job in self.source.graph.jobs)
        return None if mirrored and MIRROR_MAY_ABORT.harms(self.source.state.conduct) else "completed"

    def _stop(self, when: str) -> Stop | None:
        return next((stop for stop in self._stops if stop.when == when), None)

    def growing(self, sent: Sent) -> Node | None:
        """The format node because of which the node of the bitmap grows during the switch-over; None without one."""
        return growing_parent(self.source.graph, self.source.state.conduct, sent.node.name, self._migrating)

    @cached_property
    def _migrating(self) -> Mapping[NodeName, frozenset[str]]:
        found: dict[NodeName, set[str]] = {}
        for sent in self.stream:
            found.setdefault(sent.node.name, set()).add(sent.bitmap.name)
        return {node: frozenset(names) for node, names in found.items()}

    @property
    def _cut_short(self) -> LogLine:
        """What the destination makes of a stream that ends where the source refused: never the real cause."""
        footer = SENDS_FOOTER_OF_FAILED_SECTION.harms(self.source.state.conduct)
        text = "check_section_footer: Read section footer failed" if footer else "Unable to read node alias string"
        return LogLine(side="destination", text=text)

    def _inactivation(self, status: int) -> LogLine:
        old = INACTIVATION_SPELLED_OLD.harms(self.source.state.conduct)
        return LogLine(side="source", text=f"bdrv_inactivate_all() failed{f' ({status})' if old else f': {status}'}")


def _goes_by_its_name(one: Loading) -> bool:
    """Whether this goes wrong when the names are loaded, before any bits are."""
    return isinstance(one, Cancelled) or (isinstance(one, Killed) and not one.aborts)


def _dies(cause: Stop | Killed, *before: LogLine) -> Ending:
    """The destination exits; whether the source notices depends on what it still has to send."""
    log = (*before, *_line_of(cause), _LOAD_FAILED)
    reason = _about(cause.sent, cause.reason) if isinstance(cause, Killed) else cause.reason
    return Ending("destination-dies", None, "exits", reason, cause.code, log)


def _about(step: Refused | Sent, reason: str) -> str:
    return f"bitmap {step.bitmap.name!r} on {step.node.name!r}: {reason}"


def _line_of(cause: Stop | Killed | Cancelled) -> tuple[LogLine, ...]:
    lines = [cause.nowhere] if isinstance(cause, Killed) else []
    return tuple(LogLine(side="destination", text=line) for line in (*lines, cause.line) if line)

"""Two sessions with QEMUs on which a plan is set -> how the migration ended that somebody else started.

QEMU has no event for most changes of a block graph, so both sides are looked at again and again, and at once after each
event. What differs from the plan is told while there is still time to act on it. In `pre-switchover` the guest is
stopped and the bitmaps are as they will cross: their digests are taken then, and kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from bitmapmig import codes, recorded
from bitmapmig.allowlist import digest
from bitmapmig.applying.staleness import Seen
from bitmapmig.changes import changes
from bitmapmig.control import CommandRefusedError, Control, InForce, UnconfirmedError
from bitmapmig.diagnostics import CannotRunError, Diagnostic, Where
from bitmapmig.lock import LockLostError
from bitmapmig.qapi import BlockDirtyBitmapSha256

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.captures import Capture
    from bitmapmig.diagnostics import Side
    from bitmapmig.lock import Lock
    from bitmapmig.plans import Plan

#: Seconds between two looks, unless an event comes; and the least that is left between them.
PERIOD, LEAST = 0.2, 0.02
#: Seconds between two looks at the lock.
_LOCK_PERIOD = 2.0
#: Seconds that the destination has to end after the source has.
_SETTLING = 10.0

_OVER = frozenset(("completed", "failed", "cancelled"))
#: When the source's guest is stopped for the switch-over, and its bitmaps are as they cross.
_STOPPED = frozenset(("pre-switchover", "device", "completed"))
#: When a source's graph is still to be that of the plan; after it, nodes are inactivated.
_BEFORE = frozenset((None, "none", "setup", "active", "pre-switchover", "failed", "cancelled"))

#: What keeps a side from being looked at for good.
_ENDS = frozenset(
    one.code for one in (codes.ENDPOINT_UNREACHABLE, codes.MONITOR_LOST, codes.PROCESS_REPLACED, codes.MONITOR_NOT_QMP)
)

_INFO = TypeAdapter(dict[str, Any])


@dataclass
class Watch:
    """What was seen of a migration: `status` is the last that the source said, None where it said none.

    `digests` are SHA-256 by (node, bitmap) of the source; `warn` is called with each finding (BM731, BM734) at once.
    """

    plan: Plan
    warn: Callable[[Diagnostic], None]
    status: str | None = None
    reason: str = ""
    digests: dict[tuple[str, str], str] = field(default_factory=dict)
    warnings: list[Diagnostic] = field(default_factory=list)

    def __post_init__(self) -> None:
        migrating = self.plan.travelling
        self._places = tuple((one.node, one.bitmap) for one in migrating)
        self._arriving = tuple((one.destination_node or "", one.destination_bitmap or "") for one in migrating)
        self._first: dict[str, Any] | None = None
        self._begun = False  #: whether anything was seen that an earlier migration does not explain
        self._told: set[tuple[Side, str]] = set()
        self._silent: set[Side] = set()
        self._unlocked, self._asked = False, 0.0

    @property
    def failed(self) -> bool:
        """Whether the source says that the migration did not complete."""
        return self.status in ("failed", "cancelled")

    async def ended(self, source: Control, destination: Control, lock: Lock, seconds: float | None) -> None:
        """Look until the migration has ended on both sides; a lost `lock` is told, since another may write then.

        Raises `CannotRunError` (BM732) after `seconds`.
        """
        try:
            async with asyncio.timeout(seconds):
                while not await self._source_over(source):
                    # two failures in a row may read the same, but a destination takes one migration in its life
                    self._begun |= await self._destination_over(destination)
                    await self._locked(lock)
                    await asyncio.sleep(LEAST)
                    await source.stirred(PERIOD - LEAST)
        except TimeoutError as error:
            raise CannotRunError(
                codes.MIGRATION_NOT_SEEN.at(Where(), seconds=seconds or 0.0, status=self.status or "none")
            ) from error
        if self.status in (None, "completed"):
            await self._settled(destination)

    async def _locked(self, lock: Lock) -> None:
        """Tell, once, where the lock is not held any more."""
        now = asyncio.get_running_loop().time()
        if self._unlocked or now < self._asked + _LOCK_PERIOD:
            return
        self._asked = now
        try:
            await lock.check()
        except LockLostError as error:
            self._unlocked = True
            for found in error.diagnostics:
                self._say(found)

    async def _settled(self, destination: Control) -> None:
        now = asyncio.get_running_loop().time
        deadline = now() + _SETTLING
        while not await self._destination_over(destination) and now() < deadline:
            await destination.stirred(PERIOD)

    # the source

    async def _source_over(self, control: Control) -> bool:
        """Look at the source; whether its migration has ended, or the source itself has."""
        try:
            capture = await control.capture()
            info = capture.returned("query-migrate", _INFO) or {}
            seen = Seen.of("source", self.plan.source, capture, self.plan.temporaries)
        except CannotRunError as error:
            return self._source_gone(error)
        self._first = info if self._first is None else self._first
        self._begun |= info != self._first
        self.status = info.get("status")
        over = self.status in _OVER and self._begun
        if self.status in _BEFORE and not over:
            changed = changes(self.plan.source, seen.identity, busy=self._places).relevant
            words = [*(one.words for one in changed), *self._removed(seen), *self._unset("source", capture)]
            self._changed("source", words)
        if self.status in _STOPPED and not self.digests and (over or self.status != "completed"):
            await self._take_digests(control)
        if over and self.status != "completed":
            said = str(info.get("error-desc") or "")
            self.reason = f", because {said!r}" if said else ""
        return over

    def _source_gone(self, error: CannotRunError) -> bool:
        if not _gone(error):
            return False
        self.status = None
        return True

    async def _take_digests(self, control: Control) -> None:
        """The digests of what migrates, where the guest does not run before they are all there."""
        taken: dict[tuple[str, str], str] = {}
        try:
            for place in self._places:
                answer = await control.send(digest(*place))
                taken[place] = BlockDirtyBitmapSha256.model_validate(answer).sha256
            after = (await control.capture()).returned("query-migrate", _INFO) or {}
        except (CannotRunError, CommandRefusedError, UnconfirmedError, ValidationError):
            return
        if after.get("status") not in _STOPPED:
            return
        self.digests = taken
        try:
            recorded.save(self.plan, taken)
        except (OSError, CannotRunError) as error:
            self._say(codes.DIGESTS_NOT_KEPT.at(Where(side="source"), reason=_one_line(error)))

    # the destination

    async def _destination_over(self, control: Control) -> bool:
        """Look at the destination; whether the migration has ended there, or it does not answer any more."""
        try:
            capture = await control.capture()
            info = capture.returned("query-migrate", _INFO) or {}
            seen = Seen.of("destination", self.plan.destination, capture)
        except CannotRunError as error:
            if _gone(error) and self.status in (None, "none") and "destination" not in self._silent:
                self._silent.add("destination")
                reason = error.diagnostics[0].message
                self._say(codes.END_SILENT.at(Where(side="destination"), side="destination", reason=reason))
            # a destination that went before anything began takes no migration, and ends none
            return _gone(error) and self.status not in (None, "none")
        over = info.get("status") in _OVER
        if not over:
            changed = changes(self.plan.destination, seen.identity, arriving=self._arriving).relevant
            self._changed("destination", [*(one.words for one in changed), *self._unset("destination", capture)])
        return over

    # what is told

    def _removed(self, seen: Seen) -> Iterator[str]:
        """The temporaries that somebody has removed since."""
        there = {(node.name, one.name) for node in seen.graph.nodes.values() for one in node.bitmaps}
        for node, bitmap in sorted(self.plan.temporaries - there):
            yield f"the temporary bitmap {bitmap!r} on {node!r} is gone"

    def _unset(self, side: Side, capture: Capture) -> Iterator[str]:
        """What somebody has set otherwise since."""
        now, maps = InForce.of(capture), self.plan.block_bitmap_mapping
        planned = maps.source if side == "source" else maps.destination
        if planned is not None and not now.maps(planned):
            yield "the block-bitmap-mapping in force is not the planned one any more"
        elif side == "destination" and planned is None and now.mapping is not None:
            yield "a block-bitmap-mapping was set, and none was planned"
        if side == "source" and planned is not None and not now.dirty_bitmaps:
            yield "dirty-bitmaps is off"

    def _changed(self, side: Side, words: list[str]) -> None:
        """Tell of a changed graph, once for each way in which it has changed."""
        said = "; ".join(words)
        if said and (side, said) not in self._told:
            self._told.add((side, said))
            self._say(codes.GRAPH_CHANGED_SINCE.at(Where(side=side), side=side, changes=said))

    def _say(self, found: Diagnostic) -> None:
        self.warnings.append(found)
        self.warn(found)


def _gone(error: CannotRunError) -> bool:
    """Whether a side that cannot be looked at is gone, rather than at work: it may come to rest again."""
    return error.diagnostics[0].code in _ENDS


def _one_line(error: Exception) -> str:
    return error.diagnostics[0].message if isinstance(error, CannotRunError) else str(error)

"""The bits of one bitmap on both sides -> whether they are equal, and what that rests on.

Equal digests prove it, whatever has happened since. Digests that differ prove the contrary only where nothing can have
set bits: on a bitmap that does not record, on a node that no write has reached, or on a destination that has not run.
That it is paused now does not tell whether it has run (a `system_reset` even makes it `prelaunch` again); what a guest
device has written, its own counters tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitmapmig.graph import Bitmap
    from bitmapmig.plans.document import PlannedBitmap
    from bitmapmig.verifying.document import Proof
    from bitmapmig.verifying.seen import Seen


class Content(NamedTuple):
    """Whether the bits are right, what that rests on, and why, in words; `compared` are digests, or dirty bytes."""

    outcome: Literal["proven", "unproven", "failed"]
    proof: Proof
    reason: str
    compared: tuple[str | int | None, str | int | None] = (None, None)


class _Reference(NamedTuple):
    """What is known of the source's bits at the switch-over."""

    proof: Proof
    digest: str | None
    dirty: int | None


_EQUAL: Mapping[Proof, str] = {
    "digest-of-both": "both sides have the same bits, and the source has not run since",
    "digest-recorded": "it has the bits that were recorded of the source while its guest was stopped",
}

#: Run states of a destination that has been migrated on since, or is being: its guest may have run in between.
_MOVED_ON = frozenset(("finish-migrate", "postmigrate"))


@dataclass(frozen=True)
class Contents:
    """What the bits of bitmaps are compared with: those of both ends, and the recorded digests by (node, bitmap)."""

    source: Seen | None
    destination: Seen
    recorded: Mapping[tuple[str, str], str]

    def compare(self, one: PlannedBitmap, node: str, bitmap: Bitmap) -> Content:
        """The bits of `bitmap`, which is on the destination's `node`, against those of `one` on the source."""
        reference = self._reference(one)
        frozen = self._frozen(node, bitmap)
        found = self.destination.digests.get((node, bitmap.name))
        if reference.digest is None or found is None:
            return _by_count(one, bitmap, reference, frozen)
        compared = reference.digest, found
        if found == reference.digest:
            return Content("proven", reference.proof, _EQUAL[reference.proof], compared)
        if frozen is not None:
            return Content("failed", reference.proof, f"the digests differ, and {frozen}", compared)
        if reference.dirty is not None and bitmap.count <= reference.dirty:
            # writes only add bits: what differs and has not more of them lacks some
            reason = f"the digests differ, and no more bytes are dirty than on the source ({bitmap.count})"
            return Content("failed", reference.proof, reason, compared)
        return _by_count(one, bitmap, reference, frozen)

    def _reference(self, one: PlannedBitmap) -> _Reference:
        """The source's own bits where it has not run on, else what was recorded."""
        place = one.node, one.bitmap
        recorded = self.recorded.get(place)
        if self.source is None or self.source.state.run_state != "postmigrate":
            return _Reference("digest-recorded", recorded, None)
        there = self.source.bitmap(*place)
        dirty = None if there is None else there.count
        if place in self.source.digests:
            return _Reference("digest-of-both", self.source.digests[place], dirty)
        return _Reference("digest-recorded", recorded, dirty)

    def _frozen(self, node: str, bitmap: Bitmap) -> str | None:
        """Why bits that differ cannot be the guest's own writes since; None where they can."""
        there = self.destination
        if not bitmap.recording:
            return "it does not record, so no write has changed it"
        if there.runs or there.state.run_state in _MOVED_ON or node in there.guest_written:
            return None
        certain = {
            "its node is inactive, so the guest has not run": there.inactive,
            "nothing was ever written to its node": there.untouched,
            "no guest device has written to it": there.guest_silent,
        }
        assumed = "which is taken to mean that its guest has not run; QEMU does not tell"
        sure = next((words for words, nodes in certain.items() if node in nodes), None)
        return sure or f"the destination is {there.state.run_state!r}, {assumed}"


def _by_count(one: PlannedBitmap, bitmap: Bitmap, reference: _Reference, frozen: str | None) -> Content:
    """What the number of dirty bytes says: too few is wrong, enough may be right."""
    if reference.dirty is None:
        reason = "granularity and flags are right, its bits cannot be compared"
        if bitmap.count < one.dirty_bytes:
            reason += f"; {bitmap.count} bytes are dirty, and {one.dirty_bytes} were when it was planned"
        return Content("unproven", "flags", reason)
    compared = reference.dirty, bitmap.count
    numbers = f"{bitmap.count} bytes are dirty, {reference.dirty} on the source"
    if bitmap.count < reference.dirty:
        return Content("failed", "count-and-flags", numbers, compared)
    if bitmap.count == reference.dirty:
        return Content("unproven", "count-and-flags", f"{numbers}, which need not be the same bytes", compared)
    if frozen is not None:
        return Content("failed", "count-and-flags", f"{numbers}, and {frozen}", compared)
    return Content("unproven", "count-and-flags", f"{numbers}, and the guest may have written the others", compared)

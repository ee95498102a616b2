"""Plan, both ends, recorded digests and log -> the document: every bitmap with its outcome, and every difference.

Pure. What is there is compared with what was planned; what is not there is asked for its cause. A bitmap is called
proven only where its bits are known to be the source's; that nothing speaks against it is `unproven`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bitmapmig import codes
from bitmapmig.diagnostics import Diagnostic, Severity, Where, order
from bitmapmig.fate.process import UNDER_WAY
from bitmapmig.qapi import NodeName
from bitmapmig.resolve import locate
from bitmapmig.verifying.cause import Causes
from bitmapmig.verifying.content import Content, Contents
from bitmapmig.verifying.document import Difference, Verified, VerifiedBitmap, VerifiedEnd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bitmapmig.diagnostics import Code, Side
    from bitmapmig.graph import Bitmap
    from bitmapmig.plans.document import Plan, PlannedBitmap
    from bitmapmig.verifying.log import LoggedLine
    from bitmapmig.verifying.seen import Seen

_OVER = frozenset(("failed", "cancelled"))


@dataclass(frozen=True)
class Gone:
    """An end that cannot be asked any more: where it was, and why; `disk_lost` where it is there and tells no nodes."""

    endpoint: str
    reason: str
    disk_lost: bool = False


def judge(
    plan: Plan,
    source: Seen | Gone,
    destination: Seen | Gone,
    *,
    recorded: Mapping[tuple[str, str], str] | None = None,
    log: Sequence[LoggedLine] = (),
    strict: bool = False,
) -> Verified:
    """What became of every bitmap of `plan`; with `strict` an unproven one is a failure."""
    whole = list(_migration(source, destination))
    if whole or isinstance(destination, Gone):
        bitmaps = tuple(_unasked(one, log, plan) for one in plan.bitmaps)
        found: list[Diagnostic] = whole
    else:
        judging = _Judging(plan, None if isinstance(source, Gone) else source, destination, recorded, tuple(log))
        bitmaps = judging.bitmaps()
        found = [*judging.found, *_doubts(judging.source, destination)]
    if strict:
        found = [_strict(one) for one in found]
    failures = tuple(sorted((one for one in found if one.severity is Severity.FAILURE), key=order))
    proven = all(one.outcome in ("proven", "left-behind") for one in bitmaps)
    return Verified(
        verdict="failed" if failures else "proven" if proven else "unproven",
        strict=strict,
        source=_end(source),
        destination=_end(destination),
        bitmaps=bitmaps,
        failures=failures,
        advice=tuple(sorted((one for one in found if one.severity is Severity.ADVICE), key=order)),
        log=tuple(log),
    )


def _strict(found: Diagnostic) -> Diagnostic:
    fails = found.code == codes.BITMAP_UNPROVEN.code
    return found.model_copy(update={"severity": Severity.FAILURE}) if fails else found


def _end(end: Seen | Gone) -> VerifiedEnd:
    if isinstance(end, Gone):
        return VerifiedEnd(endpoint=end.endpoint, gone=end.reason)
    state = end.state
    return VerifiedEnd(endpoint=state.endpoint, gone=None, run_state=state.run_state, migration=state.migration.status)


# the migration as a whole


def _migration(source: Seen | Gone, destination: Seen | Gone) -> Iterator[Diagnostic]:
    """Why there is nothing to compare yet, or any more."""
    here = None if isinstance(source, Gone) else source.state
    status = (here.migration.status or "none") if here else None
    if here is not None and status in _OVER:
        now = f"the source is {here.run_state!r} and keeps its bitmaps"
        yield codes.MIGRATION_FAILED.at(Where(side="source"), reason=f"the source says {status!r}", source_now=now)
    elif here is not None and status != "completed":
        reason = f"it is {status!r} on the source" if status in UNDER_WAY else f"the source says {status!r}"
        yield codes.MIGRATION_NOT_COMPLETED.at(Where(side="source"), reason=reason)
    if isinstance(destination, Gone) and destination.disk_lost:
        yield codes.DISK_LOST.at(Where(side="destination"), error=destination.reason)
        return
    if isinstance(destination, Gone):
        now = f"the source is {here.run_state!r}" if here else "the source is gone as well"
        yield codes.DESTINATION_GONE.at(
            Where(side="destination"), endpoint=destination.endpoint, reason=destination.reason, source_now=now
        )
        return
    there = destination.state
    arrived = there.migration.status or "none"
    if arrived in _OVER:
        now = "the source is gone" if here is None else f"the source is {here.run_state!r}"
        reason = f"the destination says {arrived!r}"
        yield codes.MIGRATION_FAILED.at(Where(side="destination"), reason=reason, source_now=now)
    elif status in (None, "completed") and (arrived != "completed" or there.run_state == "inmigrate"):
        reason = f"the destination says {arrived!r}, and its run state is {there.run_state!r}"
        yield codes.MIGRATION_NOT_COMPLETED.at(Where(side="destination"), reason=reason)


def _unasked(one: PlannedBitmap, log: Sequence[LoggedLine], plan: Plan) -> VerifiedBitmap:
    """A bitmap of a migration that has not brought anything."""
    if one.fate == "left-behind":
        return _left_behind(one)
    line = Causes(plan, None, None, log).line(one)
    return _verified(one, Content("unproven", "none", "there is nothing on the destination to compare"), log=line)


def _doubts(source: Seen | None, destination: Seen) -> Iterator[Diagnostic]:
    if source is not None and source.state.run_state != "postmigrate":
        yield codes.SOURCE_RAN_ON.at(Where(side="source"), run_state=source.state.run_state)
    ends: tuple[tuple[Side, Seen | None], ...] = ("source", source), ("destination", destination)
    for side, end in ends:
        if end is not None and end.no_digest is not None:
            yield codes.DIGEST_REFUSED.at(Where(side=side), side=side, error=end.no_digest)


# each bitmap


def _verified(one: PlannedBitmap, compared: Content, **more: Any) -> VerifiedBitmap:  # noqa: ANN401  members of it
    return VerifiedBitmap(
        **{
            "node": one.node,
            "bitmap": one.bitmap,
            "fate": one.fate,
            "destination_node": one.destination_node,
            "destination_bitmap": one.destination_bitmap,
            "outcome": compared.outcome,
            "proof": compared.proof,
            "reason": compared.reason,
            **more,
        }
    )


def _left_behind(one: PlannedBitmap) -> VerifiedBitmap:
    reason = f"left behind, as {one.by} said"
    return _verified(one, Content("unproven", "none", reason), outcome="left-behind")


class _Judging:
    """The bitmaps of a migration that has completed, judged one after the other; `found` is what is to be said."""

    def __init__(
        self,
        plan: Plan,
        source: Seen | None,
        destination: Seen,
        recorded: Mapping[tuple[str, str], str] | None,
        log: tuple[LoggedLine, ...],
    ) -> None:
        self.plan, self.source, self.destination = plan, source, destination
        self.contents = Contents(source, destination, recorded or {})
        self.causes = Causes(plan, source, destination, log)
        self.found: list[Diagnostic] = []

    def bitmaps(self) -> tuple[VerifiedBitmap, ...]:
        """All of them; one that was merged came if what it was merged into did."""
        merged: dict[tuple[str, str], VerifiedBitmap] = {}
        travelling = {(one.node, one.bitmap): one for one in self.plan.travelling}
        for merge in self.plan.merges:
            came = self._bitmap(travelling[merge.place])
            reason = f"merged into {merge.temporary!r} on {merge.node!r}: {came.reason}"
            for one in merge.sources:
                said = {"node": one.node, "bitmap": one.bitmap, "fate": "merged", "reason": reason}
                merged[one.node, one.bitmap] = came.model_copy(update=said)
        return tuple(merged.get((one.node, one.bitmap)) or self._bitmap(one) for one in self.plan.bitmaps)

    def _bitmap(self, one: PlannedBitmap) -> VerifiedBitmap:
        if one.fate == "left-behind":
            return _left_behind(one)
        if one.fate == "by-storage":
            return self._stored(one)
        there = self.destination.bitmap(one.destination_node, one.destination_bitmap)
        if there is None:
            return self._lost(one, one.destination_node or "", one.destination_bitmap or one.bitmap)
        return self._compared(one, one.destination_node or "", there)

    def _compared(self, one: PlannedBitmap, node: str, there: Bitmap) -> VerifiedBitmap:
        size = self.destination.graph.nodes[NodeName(node)].virtual_size
        differences = [*_size(one, size), *_flags(one, there)]
        if differences:
            compared = Content("failed", "flags", "it is there, and not as it was planned")
            return self._failed(one, (node, there.name), codes.BITMAP_ALTERED, compared, tuple(differences))
        compared = self.contents.compare(one, node, there)
        place = {"destination_node": node, "destination_bitmap": there.name}
        if compared.outcome == "failed":
            expected, found = compared.compared
            content = Difference(what="content", expected=expected, found=found)
            return self._failed(one, (node, there.name), codes.CONTENT_DIFFERS, compared, (content,))
        if compared.outcome == "unproven":
            self._unproven(one, compared.reason)
        return _verified(one, compared, **place)

    def _lost(self, one: PlannedBitmap, node: str, name: str) -> VerifiedBitmap:
        compared = Content("failed", "none", "it is not there")
        missing = (Difference(what="presence", expected=True, found=False),)
        return self._failed(one, (node, name), codes.BITMAP_LOST, compared, missing)

    def _failed(
        self,
        one: PlannedBitmap,
        place: tuple[str, str],
        code: Code,
        compared: Content,
        differences: tuple[Difference, ...],
    ) -> VerifiedBitmap:
        node, name = place
        likely, explained = self.causes.likely(one, differences[0])
        line = self.causes.line(one)
        cause = _sentence(likely, line)
        facts: dict[str, Any] = {
            "bitmap": one.bitmap,
            "node": one.node,
            "destination": node,
            "name": name,
            "differences": "; ".join(map(_words, differences)),
            "reason": compared.reason,
            "cause": cause,
            "cure": self._cure(one, explained),
            "log": line.text if line else None,
            "proof": compared.proof,
        }
        self.found.append(code.at(Where(side="destination", node=node, bitmap=name), **facts))
        there = {"destination_node": node, "destination_bitmap": name}
        return _verified(one, compared, differences=differences, cause=likely, log=line, **there)

    def _cure(self, one: PlannedBitmap, explained: str | None) -> str:
        there = self.source is not None and self.source.bitmap(one.node, one.bitmap) is not None
        keeps = "the source still has it: " if there else ""
        more = f" (`bitmapmig explain {explained}` tells about the cause)" if explained else ""
        return f"{keeps}migrate once more with a new plan if you can, else begin with a new full backup{more}"

    def _unproven(self, one: PlannedBitmap, reason: str) -> None:
        where = Where(side="destination", node=one.destination_node, bitmap=one.destination_bitmap)
        self.found.append(codes.BITMAP_UNPROVEN.at(where, bitmap=one.bitmap, node=one.node, reason=reason))

    def _stored(self, one: PlannedBitmap) -> VerifiedBitmap:
        """A bitmap that travels in the shared image: it is loaded when the image is activated, and not before."""
        located = None
        if one.address is not None:
            located = locate(self.destination.graph, "qdev" if one.address_kind == "qdev" else None, one.address).node
        if located is None:
            reason = "it travels in the image, and where that is on the destination is not known"
            self._unproven(one, reason)
            return _verified(one, Content("unproven", "none", reason))
        there = self.destination.bitmap(located, one.bitmap)
        if there is not None:
            return self._compared(one, located, there)
        if located in self.destination.inactive:
            reason = "it is in the image, which is not active yet: it is loaded at `cont`"
            self._unproven(one, reason)
            return _verified(one, Content("unproven", "none", reason), destination_node=located)
        return self._lost(one, located, one.bitmap)


def _size(one: PlannedBitmap, found: int | None) -> Iterator[Difference]:
    """A node of another size has a bitmap of other bits."""
    if None not in (one.virtual_size, found) and one.virtual_size != found:
        yield Difference(what="virtual-size", expected=one.virtual_size, found=found)


def _flags(one: PlannedBitmap, there: Bitmap) -> Iterator[Difference]:
    """What a bitmap is besides its bits, where that is not what was planned."""
    persistent = one.persistent if one.transform is None else one.transform.persistent
    expected: dict[str, tuple[Any, Any]] = {
        "granularity": (one.granularity, there.granularity),
        "recording": (one.recording, there.recording),
        "persistent": (persistent, there.persistent),
        "inconsistent": (False, there.inconsistent),
        "busy": (False, there.busy),
    }
    for what, (wanted, found) in expected.items():
        if wanted != found and not (there.inconsistent and what == "recording"):  # an inconsistent one never records
            yield Difference.model_validate({"what": what, "expected": wanted, "found": found})


def _words(difference: Difference) -> str:
    match difference.what:
        case "virtual-size":
            return f"its node is {difference.found} bytes large, not {difference.expected}"
        case "granularity":
            return f"its granularity is {difference.found}, not {difference.expected}"
        case "recording" | "persistent" | "inconsistent" | "busy" as what:
            return f"it is {what}" if difference.found else f"it is not {what}"
        case _:
            return ""


def _sentence(likely: str | None, line: LoggedLine | None) -> str:
    """The cause as the end of a message: what the log says first, since that is what happened."""
    said = [f"the log says: {line.text!r}"] if line else []
    said += [f"likely cause: {likely}"] if likely else []
    return "".join(f"; {part}" for part in said)

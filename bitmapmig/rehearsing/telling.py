"""What happened in a rehearsal -> its document, by the names of the plan: stand-ins have other generated node-names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bitmapmig import codes
from bitmapmig.diagnostics import Where
from bitmapmig.rehearsing import judge
from bitmapmig.rehearsing.document import Rehearsal, RehearsedEnd, RehearsedMigration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bitmapmig.diagnostics import Diagnostic, Side
    from bitmapmig.fate import ForetoldBitmap, LogLine
    from bitmapmig.plans import Plan
    from bitmapmig.rehearsing.course import Course
    from bitmapmig.rehearsing.document import Disagreement, RehearsedBitmap
    from bitmapmig.rehearsing.rebuilt import End, Pair
    from bitmapmig.verifying import Proof

_GENERATED = re.compile(r"#block\d+")


def told(plan: Plan, pair: Pair, happened: Course, seed: int) -> Rehearsal:
    """What came of it, by the names of the plan."""
    wanted = dict(_wanted(plan, pair))
    case = judge.Case(
        wanted=wanted,
        foretold=happened.foretold,
        before=happened.before,
        there=happened.there,
        ended=happened.ended,
        after=happened.after,
        aftermath=happened.left,
        shared=frozenset(str(pair.source.name(one.source)) for one in pair.shared),
        log=happened.log,
        refused=happened.refused,
    )
    names = _Names(pair)
    found = judge.bitmaps(case)
    proofs = (
        {} if happened.verified is None else {(one.node, one.bitmap): one.proof for one in happened.verified.bitmaps}
    )
    bitmaps = tuple(names.bitmap(one, proofs.get((one.node, one.bitmap))) for one in found)
    failing = [new for old, new in zip(found, bitmaps, strict=True) if _fails(old, wanted)]
    failures = tuple(_failures(happened, failing, names))
    ended = happened.ended
    return Rehearsal(
        outcome="fails" if failures else "survives" if plan.verdict == "planned" else "refused",
        verdict=plan.verdict,
        seed=seed,
        source=_end(pair.source),
        destination=_end(pair.destination),
        migration=ended
        and RehearsedMigration(
            migration=ended.migration,
            source=ended.source,
            destination=ended.destination,
            error=names.text(ended.error, "source"),
        ),
        bitmaps=bitmaps,
        disagreements=tuple(map(names.disagreement, judge.disagreements(case, found))),
        failures=failures,
        advice=tuple(_advice(pair)),
        refusals=plan.refusals,
        verified=happened.verified and happened.verified.verdict,
        log=tuple(map(names.line, happened.log)),
    )


def _wanted(plan: Plan, pair: Pair) -> Iterator[tuple[tuple[str, str], judge.Wanted]]:
    """What the plan says of each bitmap, temporaries among them, by the names of the stand-ins."""
    merged = {(one.node, one.bitmap) for one in plan.bitmaps if one.fate == "merged"}
    travelling = () if plan.attempt else plan.travelling
    for one in (*plan.bitmaps, *(one for one in travelling if (one.node, one.bitmap) not in merged)):
        there = None if one.destination_node is None else str(pair.destination.name(one.destination_node))
        place = str(pair.source.name(one.node)), one.bitmap
        yield place, judge.Wanted(one.fate, there, one.destination_bitmap)


def _fails(one: RehearsedBitmap, wanted: Mapping[tuple[str, str], judge.Wanted]) -> bool:
    plain = wanted.get((one.node, one.bitmap))
    return plain is not None and not judge.as_planned(one, plain)


def _failures(happened: Course, failing: list[RehearsedBitmap], names: _Names) -> Iterator[Diagnostic]:
    """What did not come true of the plan; where the migration did not complete, that and no more."""
    ended = happened.ended
    if ended is None:
        yield from map(names.finding, happened.stopped)
        if happened.refused:
            yield codes.REHEARSAL_COMMAND_REFUSED.at(Where(), error=names.text(happened.refused))
        return
    if ended.migration != "completes":
        said = f", which says {names.text(ended.error, 'source')!r}" if ended.error else ""
        yield codes.REHEARSAL_NOT_MIGRATED.at(Where(), source=ended.source, destination=ended.destination, said=said)
        return
    for one in failing:
        yield codes.REHEARSED_BITMAP_FAILED.at(
            Where(side="source", node=one.node, bitmap=one.bitmap),
            bitmap=one.bitmap,
            node=one.node,
            happened=one.happened,
            reason=one.reason,
        )
    if not failing and happened.verified is not None:
        yield from map(names.finding, happened.verified.failures)


def _advice(pair: Pair) -> Iterator[Diagnostic]:
    """What makes the rehearsal say less than it could."""
    for end in (pair.source, pair.destination):
        if end.qemu.binary.told != end.stand.version:
            yield codes.REHEARSED_ON_ANOTHER.at(
                Where(side=end.side), side=end.side, planned=end.stand.version, found=end.qemu.binary.told
            )


def _end(end: End) -> RehearsedEnd:
    return RehearsedEnd(
        binary=str(end.qemu.binary.path),
        qemu_version=end.qemu.binary.told,
        planned_version=end.stand.version,
        substituted=dict(end.built.substituted),
    )


class _Names:
    """The way back from the names of stand-ins to those of the plan."""

    def __init__(self, pair: Pair) -> None:
        self._source = {str(new): str(old) for old, new in pair.source.built.names.items()}
        self._destination = {str(new): str(old) for old, new in pair.destination.built.names.items()}
        self._folder = f"{pair.source.qemu.folder}/"

    def text(self, text: str, side: Side | None = None) -> str:
        """A text in which a stand-in speaks of generated names; one of both sides is taken for the source's."""
        olds = {
            "source": self._source,
            "destination": self._destination,
            None: self._destination | self._source,
        }[side]
        return _GENERATED.sub(lambda found: olds.get(found[0], found[0]), text.replace(self._folder, ".../"))

    def line(self, line: LogLine) -> LogLine:
        """A line of a log."""
        return line.model_copy(update={"text": self.text(line.text, line.side)})

    def finding(self, found: Diagnostic) -> Diagnostic:
        """A finding of `apply` or `verify`."""
        where, facts = found.where, {**found.facts}
        if where.node is not None:
            where = where.model_copy(update={"node": self.text(where.node, where.side)})
        facts |= {key: self.text(value) for key, value in facts.items() if isinstance(value, str)}
        return found.model_copy(update={"where": where, "facts": facts, "message": self.text(found.message)})

    def disagreement(self, one: Disagreement) -> Disagreement:
        """What was foretold, and what happened."""
        return one.model_copy(
            update={
                "node": one.node and self._source.get(one.node, one.node),
                "foretold": self.text(one.foretold, one.side),
                "happened": self.text(one.happened, one.side),
            }
        )

    def bitmap(self, one: RehearsedBitmap, proof: Proof | None) -> RehearsedBitmap:
        """What became of a bitmap, with what `verify` rests on."""
        there = one.destination_node
        return one.model_copy(
            update={
                "node": self._source.get(one.node, one.node),
                "destination_node": there and self._destination.get(there, there),
                "foretold": self._foretold(one.foretold),
                "reason": self.text(one.reason),
                "proof": proof,
                "log": one.log and self.line(one.log),
            }
        )

    def _foretold(self, one: ForetoldBitmap) -> ForetoldBitmap:
        there = one.destination_node
        return one.model_copy(
            update={
                "node": self._source.get(one.node, one.node),
                "destination_node": there and self._destination.get(there, there),
                "reason": self.text(one.reason),
            }
        )

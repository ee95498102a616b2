"""Verified -> lines: the verdict first, then every bitmap with the proof that it rests on, then what was found."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.text import Text

from bitmapmig.report.escape import escaped, placed
from bitmapmig.report.findings import UNLIMITED, Limits, findings
from bitmapmig.report.layout import columns, counted, prose, table_width

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bitmapmig.verifying import Proof, Verified, VerifiedBitmap, VerifiedEnd

#: The colour of an outcome; in the order in which a list that is cut shows them.
_STYLES = {"failed": "bold red", "unproven": "yellow", "left-behind": "dim", "proven": "green"}
_PROOFS: Mapping[Proof, str] = {
    "digest-of-both": "digest of both sides",
    "digest-recorded": "digest recorded before the switch-over",
    "count-and-flags": "dirty bytes and flags only",
    "flags": "granularity and flags only",
    "none": "none",
}
_INDENT = "  "


def verified_lines(verified: Verified, width: int, limits: Limits = UNLIMITED) -> Iterator[Text]:
    """A verification for people; `width` is in terminal cells."""
    yield from _verdict(verified, width)
    yield Text()
    for side, end in (("source", verified.source), ("destination", verified.destination)):
        yield from prose(_end(end), width, f"  {side:11}  ")
    if verified.bitmaps:
        yield from _heading("Bitmaps")
        yield from _bitmaps(verified, width, limits)
    if verified.failures:
        yield from _heading("What is not as planned")
        yield from findings(verified.failures, width, limits)
    if verified.advice:
        yield from _heading("Advice")
        yield from findings(verified.advice, width, limits)


def _heading(words: str) -> Iterator[Text]:
    yield Text()
    yield Text(words, "bold")


def _verdict(verified: Verified, width: int) -> Iterator[Text]:
    outcomes = Counter(one.outcome for one in verified.bitmaps)
    left = f", {outcomes['left-behind']:,} left behind as planned" if outcomes["left-behind"] else ""
    proven = counted(outcomes["proven"], "bitmap")
    match verified.verdict:
        case "proven":
            words = (
                f"{proven} on the destination, bit for bit{left}" if outcomes["proven"] else f"nothing to prove{left}"
            )
            word, style = "PROVEN", "bold green"
        case "unproven":
            words = f"{outcomes['unproven']:,} may be right and cannot be proven, {outcomes['proven']:,} proven{left}"
            word, style = "NOT PROVEN", "bold yellow"
        case _ if not outcomes["failed"] and not verified.strict:
            words = f"nothing to compare with{left}; see below"
            word, style = "NOT VERIFIED", "bold red"
        case _:
            words = f"{counted(outcomes['failed'], 'bitmap')} failed, {outcomes['unproven']:,} not proven, "
            words += f"{outcomes['proven']:,} proven{left}"
            word, style = "FAILED", "bold red"
    yield from prose(Text.assemble((word, style), f": {words}"), width)


def _end(end: VerifiedEnd) -> str:
    if end.gone is not None:
        return f"{escaped(end.endpoint)}, gone: {escaped(end.gone, backslash=False)}"
    return f"{escaped(end.endpoint)}, {escaped(end.run_state or '')}, migration {escaped(end.migration or 'none')}"


def _bitmaps(verified: Verified, width: int, limits: Limits) -> Iterator[Text]:
    shown: Sequence[VerifiedBitmap] = verified.bitmaps
    if limits.rows is not None and len(shown) > limits.rows:
        order = list(_STYLES)
        shown = sorted(shown, key=lambda one: order.index(one.outcome))[: limits.rows]
    rows = [[Text(title, "dim") for title in ("OUTCOME", "SOURCE", "", "DESTINATION", "PROOF")], *map(_row, shown)]
    if table_width(rows) + len(_INDENT) <= width:
        for line in columns(rows):
            yield Text(_INDENT) + line
    else:
        for one in shown:
            yield from _stacked(one, width)
    if len(shown) < len(verified.bitmaps):
        yield Text(f"  ... and {len(verified.bitmaps) - len(shown):,} more; --all shows them", "dim")


def _row(one: VerifiedBitmap) -> list[Text]:
    destination = _destination(one)
    return [
        Text(one.outcome, _STYLES[one.outcome]),
        Text(placed(one.node, one.bitmap)),
        Text("->" if destination else ""),
        Text(destination),
        Text("" if one.outcome == "left-behind" else _PROOFS[one.proof]),
    ]


def _destination(one: VerifiedBitmap) -> str:
    if one.destination_node is None:
        return ""
    return placed(one.destination_node, one.destination_bitmap or one.bitmap)


def _stacked(one: VerifiedBitmap, width: int) -> Iterator[Text]:
    """A bitmap in two lines or more: what went where, then the proof."""
    begin = Text.assemble(_INDENT, (f"{one.outcome:13}", _STYLES[one.outcome]))
    destination = _destination(one)
    arrow = f" -> {destination}" if destination else ""
    yield from prose(f"{placed(one.node, one.bitmap)}{arrow}", width, begin)
    if one.outcome != "left-behind":
        yield from prose(Text(f"proof: {_PROOFS[one.proof]}", "dim"), width, " " * begin.cell_len)

"""Rehearsal -> lines: where the model is wrong before all else, then the outcome, then every bitmap, then why."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from rich.text import Text

from bitmapmig.report.disagreements import disagreement_lines
from bitmapmig.report.escape import escaped, named, placed
from bitmapmig.report.findings import UNLIMITED, Limits, findings
from bitmapmig.report.harm import (
    STAYING,
    WHOLE,
    harmed,
    printed_lines,
    reason_lines,
    refusal_lines,
    unexplained,
    untold,
)
from bitmapmig.report.layout import columns, counted, prose, table_width

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bitmapmig.fate import LogLine
    from bitmapmig.rehearsing.document import Rehearsal, RehearsedBitmap, RehearsedEnd, RehearsedMigration

_FATES = {"migrate": "migrate", "merged": "merge", "by-storage": "by storage", "left-behind": "left behind"}
_INDENT = "  "
_AGREE = {True: Text("yes", "dim"), False: Text("NO", "bold red"), None: Text("-", "dim")}


def rehearsed_lines(rehearsal: Rehearsal, width: int, limits: Limits = UNLIMITED) -> Iterator[Text]:
    """A rehearsal for people; `width` is in terminal cells."""
    if rehearsal.disagreements:
        yield from disagreement_lines(rehearsal.disagreements, width, limits)
        yield Text()
    yield from prose(_outcome(rehearsal), width)
    yield Text()
    yield from _ends(rehearsal, width)
    if rehearsal.bitmaps:
        yield from _heading("Bitmaps")
        yield from _bitmaps(rehearsal, width, limits)
    if rehearsal.refusals:
        yield from _heading("Refused, and what came of it")
        yield from refusal_lines(rehearsal, width, limits)
    if failures := untold(rehearsal):
        yield from _heading("What is not as planned")
        yield from findings(failures, width, limits)
    if rehearsal.log:
        yield from _heading("What QEMU printed")
        yield from _log(rehearsal.log, width, limits)
    if rehearsal.advice:
        yield from _heading("Advice")
        yield from findings(rehearsal.advice, width, limits)
    yield from _substituted(rehearsal, width, limits)
    yield Text()
    yield from prose(Text(f"--seed {rehearsal.seed} gives the same dirty bits again", "dim"), width)


def _heading(words: str) -> Iterator[Text]:
    yield Text()
    yield Text(words, "bold")


# the outcome


def _outcome(rehearsal: Rehearsal) -> Text:
    meant = [one for one in rehearsal.bitmaps if one.fate not in STAYING]
    others = Counter(one.fate for one in rehearsal.bitmaps)
    behind = "".join(f", {others[fate]:,} {word}" for fate, word in STAYING.items() if others[fate])
    if rehearsal.outcome == "refused":
        words = "this proves nothing, the plan stays refused"
        return Text.assemble(("REFUSED, AND NO HARM SEEN", "bold yellow"), f": {words}")
    whole = sum(one.happened in WHOLE for one in meant)
    if rehearsal.outcome == "survives":
        words = f"{counted(whole, 'bitmap is', 'bitmaps are')} whole on the destination{behind}"
        return Text.assemble(("SURVIVES", "bold green"), f": {words if rehearsal.bitmaps else 'there is no bitmap'}")
    plan = "the refused plan" if rehearsal.verdict == "refused" else "the plan"
    lost = Counter(one.happened for one in rehearsal.bitmaps if harmed(one))
    parts = [f"{count:,} {happened.replace('-', ' ')}" for happened, count in sorted(lost.items())]
    words = f"{plan} brings {whole:,} of {counted(len(meant), 'bitmap')}{behind}"
    return Text.assemble(
        ("DOES NOT SURVIVE", "bold red"), f": {'; '.join((words, ', '.join(parts)) if parts else (words,))}"
    )


def _ends(rehearsal: Rehearsal, width: int) -> Iterator[Text]:
    said = (
        ("source", Text(_end(rehearsal.source))),
        ("destination", Text(_end(rehearsal.destination))),
        ("migration", _migration(rehearsal.migration)),
    )
    for label, words in said:
        yield from prose(words, width, Text.assemble(_INDENT, (f"{label:11}", "cyan"), _INDENT))


def _end(end: RehearsedEnd) -> str:
    instead = "" if end.qemu_version == end.planned_version else f" in place of {escaped(end.planned_version)}"
    return f"QEMU {escaped(end.qemu_version)}{instead}, {escaped(end.binary)}"


def _migration(done: RehearsedMigration | None) -> Text:
    if done is None:
        return Text("none was begun", "bold red")
    ends = done.source, done.destination
    words = f"{done.migration.replace('-', ' ')}: source {ends[0]}, destination {ends[1]}"
    if done.error:
        words += f"; {escaped(done.error)}"
    return Text(words, "" if set(ends) == {"completed"} else "bold red")


# the bitmaps


def _bitmaps(rehearsal: Rehearsal, width: int, limits: Limits) -> Iterator[Text]:
    shown: Sequence[RehearsedBitmap] = rehearsal.bitmaps
    if limits.rows is not None and len(shown) > limits.rows:
        # what is unusual first: it is what a reader looks for
        shown = sorted(shown, key=lambda one: (one.agrees is not False, not harmed(one)))[: limits.rows]
    titles = [Text(title, "dim") for title in ("PLAN", "SOURCE", "", "DESTINATION", "FORETOLD", "HAPPENED", "AGREE")]
    rows = [titles, *(_row(one, rehearsal.verdict) for one in shown)]
    if table_width(rows) + len(_INDENT) <= width:
        for line in columns(rows):
            yield Text(_INDENT) + line
    else:
        for one in shown:
            yield from _stacked(one, rehearsal.verdict, width)
    if len(shown) < len(rehearsal.bitmaps):
        yield Text(f"  ... and {len(rehearsal.bitmaps) - len(shown):,} more; --all shows them", "dim")
    yield from reason_lines(unexplained(rehearsal), width, limits, Text(_INDENT))


def _row(one: RehearsedBitmap, verdict: str) -> list[Text]:
    destination = _destination(one)
    return [
        Text(_fate(one, verdict), "dim" if one.fate in STAYING else ""),
        Text(placed(one.node, one.bitmap)),
        Text("->" if destination else ""),
        Text(destination),
        Text(one.foretold.outcome),
        Text(one.happened, _style(one)),
        _AGREE[one.agrees],
    ]


def _fate(one: RehearsedBitmap, verdict: str) -> str:
    word = _FATES.get(one.fate, one.fate)
    return f"would {word}" if verdict == "refused" and one.fate in ("migrate", "merged") else word


def _destination(one: RehearsedBitmap) -> str:
    """Where it was found afterwards."""
    if one.destination_node is None:
        return ""
    return placed(one.destination_node, one.destination_bitmap or one.bitmap)


def _style(one: RehearsedBitmap) -> str:
    if harmed(one):
        return "bold red"
    return "dim" if one.fate in STAYING else "green"


def _stacked(one: RehearsedBitmap, verdict: str, width: int) -> Iterator[Text]:
    """A bitmap in two lines or more: what it is and where it was found, then what was foretold and what happened."""
    destination = _destination(one)
    arrow = f" -> {destination}" if destination else ""
    yield from prose(Text(f"{placed(one.node, one.bitmap)}{arrow}"), width, _INDENT, "    ")
    words = (
        (f"{_fate(one, verdict)}, foretold ", "dim"),
        one.foretold.outcome,
        (", happened ", "dim"),
        (one.happened, _style(one)),
    )
    line = Text.assemble(*words)
    if one.agrees is False:
        line.append(", they DISAGREE", "bold red")
    yield from prose(line, width, "    ")


# what QEMU printed, and what stood for what


def _log(log: Sequence[LogLine], width: int, limits: Limits) -> Iterator[Text]:
    for side in ("source", "destination"):
        lines = [line for line in log if line.side == side]
        shown = lines if limits.findings is None else lines[: limits.findings]
        for line in shown:
            yield from printed_lines(line, width, _INDENT)
        if len(shown) < len(lines):
            yield Text(
                f"  ... and {counted(len(lines) - len(shown), 'line')} more of the {side}; --all shows them", "dim"
            )


def _substituted(rehearsal: Rehearsal, width: int, limits: Limits) -> Iterator[Text]:
    """What stood for what could not be built as it is; what is alike in several places is said once."""
    ends = (("source", rehearsal.source), ("destination", rehearsal.destination))
    if not any(end.substituted for _, end in ends):
        return
    yield from _heading("What stood for what")
    for side, end in ends:
        alike: defaultdict[str, list[str]] = defaultdict(list)
        for name, words in sorted(end.substituted.items()):
            alike[words].append(named(name))
        for words, names in alike.items():
            shown = names if limits.findings is None else names[: limits.findings]
            more = f" and {len(names) - len(shown):,} more" if len(shown) < len(names) else ""
            line = f"{', '.join(shown)}{more}: {escaped(words, backslash=False)}"
            yield from prose(line, width, Text.assemble(_INDENT, (f"{side:11}", "cyan"), _INDENT))

"""Harm of a rehearsal -> lines: why bitmaps did not come out as planned, beside the refusals that speak of it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from rich.text import Text

from bitmapmig import codes
from bitmapmig.report.escape import escaped, placed
from bitmapmig.report.findings import Limits, findings
from bitmapmig.report.layout import prose

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bitmapmig.diagnostics import Diagnostic
    from bitmapmig.fate import LogLine
    from bitmapmig.plans.document import Fate
    from bitmapmig.rehearsing.document import Happened, Rehearsal, RehearsedBitmap

#: What happened to a bitmap that is there, and whole.
WHOLE: frozenset[Happened] = frozenset(("arrived", "by-storage"))
#: What is not to arrive as itself, in words.
STAYING: Mapping[Fate, str] = {"merged": "merged into others", "left-behind": "left behind as planned"}
#: What happened to a bitmap that was not to arrive, and is worse than not to have it.
_UNWANTED: frozenset[Happened] = frozenset(
    ("altered", "stale", "leaves-inconsistent", "breaks-activation", "misplaced")
)
_HARM = Text.assemble("  ", ("harm    ", "bold red"))


def harmed(one: RehearsedBitmap) -> bool:
    """Whether it was to arrive and did not, or is there in a way in which nobody wants it."""
    return one.happened in _UNWANTED if one.fate in STAYING else one.happened not in WHOLE


def unexplained(rehearsal: Rehearsal) -> list[RehearsedBitmap]:
    """The bitmaps that were harmed, or that the model was wrong about, and of which no refusal speaks."""
    explained = [id(one) for _, about in _causes(rehearsal) for one in about]
    return [one for one in rehearsal.bitmaps if (harmed(one) or one.agrees is False) and id(one) not in explained]


def untold(rehearsal: Rehearsal) -> list[Diagnostic]:
    """The failures that have to be shown: of a refused plan not those that harm to bitmaps tells better."""
    if rehearsal.verdict == "planned":
        return list(rehearsal.failures)
    told = {codes.REHEARSED_BITMAP_FAILED.code}
    if any(map(harmed, rehearsal.bitmaps)):
        told |= {codes.REHEARSAL_NOT_MIGRATED.code, codes.REHEARSAL_COMMAND_REFUSED.code}
    return [one for one in rehearsal.failures if one.code not in told]


def reason_lines(found: Sequence[RehearsedBitmap], width: int, limits: Limits, begin: Text) -> Iterator[Text]:
    """What happened, and why; bitmaps of which the same is so, and the same line speaks, are named together."""
    alike: defaultdict[tuple[Happened, LogLine | None], list[RehearsedBitmap]] = defaultdict(list)
    for one in found:
        alike[one.happened, one.log].append(one)
    few = limits.findings
    after = " " * max(begin.cell_len, 4)
    for number, ((happened, log), several) in enumerate(alike.items()):
        if few is not None and number >= few:
            yield Text(f"  ... and {len(alike) - number:,} more reasons; --all shows them", "dim")
            return
        shown = several if few is None else several[:few]
        names = ", ".join(placed(one.node, one.bitmap) for one in shown)
        names += f" and {len(several) - len(shown):,} more" if len(shown) < len(several) else ""
        reasons = {one.reason for one in several}
        words = f"{names}: {happened.replace('-', ' ')}"
        if len(reasons) == 1:
            words += f", {escaped(reasons.pop(), backslash=False)}"
        yield from prose(words, width, begin, after)
        if log is not None:
            yield from printed_lines(log, width, after)


def printed_lines(line: LogLine, width: int, indent: str) -> Iterator[Text]:
    """A line that a QEMU printed, with its side."""
    begin = Text.assemble(indent, (f"{line.side}: ", "cyan"))
    yield from prose(Text(escaped(line.text), "dim"), width, begin, f"{indent}  ")


def refusal_lines(rehearsal: Rehearsal, width: int, limits: Limits) -> Iterator[Text]:
    """The refusals by code, each with what became of the bitmaps that it is about."""
    for number, (cause, about) in enumerate(_causes(rehearsal)):
        if number:
            yield Text()
        yield from findings(cause, width, limits, offer=False)
        yield from reason_lines([one for one in about if harmed(one)], width, limits, _HARM)


def _causes(rehearsal: Rehearsal) -> list[tuple[list[Diagnostic], list[RehearsedBitmap]]]:
    """The refusals of each code, and the bitmaps that it is about: by their place, or as the model says why."""
    causes: defaultdict[str, list[Diagnostic]] = defaultdict(list)
    for found in rehearsal.refusals:
        causes[found.code].append(found)
    made = []
    for code, cause in causes.items():
        places = {(found.where.node, found.where.bitmap) for found in cause if found.where.side != "destination"}
        about = [
            one
            for one in rehearsal.bitmaps
            if one.foretold.code == code or (one.node, one.bitmap) in places or (one.node, None) in places
        ]
        made.append((cause, about))
    return made

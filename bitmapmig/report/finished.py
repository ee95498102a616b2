"""Finished -> lines: for each side what was set back, and what was left as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from bitmapmig.report.escape import escaped
from bitmapmig.report.findings import UNLIMITED, Limits, findings
from bitmapmig.report.layout import counted, indented, json_lines, prose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.finishing.document import Finished, FinishedEnd

_VERDICTS = {
    "finished": ("FINISHED", "bold green", "nothing is left that the plan has set, but for what is said here"),
    "dry-run": ("DRY RUN", "bold yellow", "nothing was sent"),
    "refused": ("REFUSED", "bold red", "nothing was touched"),
}
_CAPABILITY = {
    "turned-off": "dirty-bitmaps is turned off again",
    "off": "dirty-bitmaps is off already",
    "left-on": "dirty-bitmaps is left on",
}
_MAPPING = {
    "neutralised": "the block-bitmap-mapping is replaced by a neutral one, which does what none does",
    "neutral": "the block-bitmap-mapping is neutral already",
    "left": "the block-bitmap-mapping is left as it is",
    "none": "no block-bitmap-mapping is set",
}


def finished_lines(finished: Finished, width: int, limits: Limits = UNLIMITED) -> Iterator[Text]:
    """What `finish` came to, for people; `width` is in terminal cells."""
    word, style, rest = _VERDICTS[finished.outcome]
    yield from prose(Text.assemble((word, style), f": {rest}"), width)
    if finished.outcome == "refused":
        yield Text()
        yield from findings(finished.refusals, width, limits)
        return
    for side, end in (("source", finished.source), ("destination", finished.destination)):
        yield Text()
        yield from _side(side, end, width, limits)
    if finished.advice:
        yield Text()
        yield Text("Advice", "bold")
        yield from findings(finished.advice, width, limits)


def _side(side: str, end: FinishedEnd, width: int, limits: Limits) -> Iterator[Text]:
    yield from prose(Text.assemble((side, "bold"), f"  {escaped(end.endpoint)}"), width)
    if end.gone is not None:
        yield from prose(f"gone, and with it all that was set: {escaped(end.gone, backslash=False)}", width, "  ")
        return
    yield from prose(_CAPABILITY[end.dirty_bitmaps or "off"], width, "  ")
    yield from prose(_MAPPING[end.block_bitmap_mapping or "none"], width, "  ")
    if end.temporaries:
        words = (
            f"{counted(len(end.temporaries), 'temporary bitmap')} removed: {', '.join(map(escaped, end.temporaries))}"
        )
        yield from prose(words, width, "  ")
    for reason in end.reasons:
        yield from prose(Text(escaped(reason, backslash=False), "yellow"), width, "  ")
    if end.not_in_map:
        few = ", ".join(map(escaped, end.not_in_map[:5])) + (", ..." if len(end.not_in_map) > 5 else "")  # noqa: PLR2004
        words = f"{counted(len(end.not_in_map), 'bitmap')} in no map, QEMU refuses to migrate them by itself: {few}"
        yield from prose(Text(words, "yellow"), width, "  ")
    for command in end.commands:
        lines = json_lines(command.model_dump(mode="json"), width - 4)
        if limits.pasted is not None and len(lines) > limits.pasted:
            yield from prose(Text(f"{command.execute}: {len(lines):,} lines; --all shows them", "dim"), width, "    ")
        else:
            yield from indented(lines, 4)

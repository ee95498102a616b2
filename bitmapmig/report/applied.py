"""Applied -> lines: what was set, or would be, and what each side has now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from bitmapmig.report.escape import escaped
from bitmapmig.report.findings import UNLIMITED, Limits, findings
from bitmapmig.report.finished import finished_lines
from bitmapmig.report.layout import counted, prose
from bitmapmig.report.plan import command_lines
from bitmapmig.report.verified import verified_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.applying.document import Applied, SideNow
    from bitmapmig.plans import Plan
    from bitmapmig.waiting.document import Migrated

_MAPS = {
    "none": "no block-bitmap-mapping",
    "planned": "the block-bitmap-mapping of the plan",
    "before": "a block-bitmap-mapping of before",
    "neutral": "a neutral block-bitmap-mapping",
    "other": "a block-bitmap-mapping of somebody else",
}


def applied_lines(applied: Applied, plan: Plan, width: int, limits: Limits = UNLIMITED) -> Iterator[Text]:
    """What `apply` did, for people; `width` is in terminal cells."""
    yield from prose(_verdict(applied, plan), width)
    yield Text()
    for now in applied.now:
        yield from prose(_now(now), width, Text.assemble("  ", (f"{now.side:11}", "cyan"), "  "))
    if applied.irrelevant:
        yield Text()
        yield Text("Changed since the plan was made, and of no matter to it", "bold")
        for change in applied.irrelevant:
            yield from prose(escaped(change, backslash=False), width, "  ", "    ")
    if applied.outcome == "dry-run":
        yield Text()
        yield Text("Commands, in this order", "bold")
        yield from command_lines("destination", applied.commands.destination, width, limits)
        yield from command_lines("source", applied.commands.source, width, limits)
    elif plan.commands.source or plan.commands.destination:
        words = "Start the migration soon: no event tells when a block graph changes. After it, run `bitmapmig verify` "
        words += "and `bitmapmig finish` with this plan."
        yield Text()
        yield from prose(Text(words, "dim"), width)


def _verdict(applied: Applied, plan: Plan) -> Text:
    if applied.outcome == "dry-run":
        return Text.assemble(("DRY RUN", "bold yellow"), ": the plan fits what is there; nothing was set")
    if not (plan.commands.source or plan.commands.destination):
        return Text.assemble(("APPLIED", "bold green"), ": there is nothing to set")
    return Text.assemble(("APPLIED", "bold green"), ": both sides were set as planned, and read back")


def _now(now: SideNow) -> str:
    made = f", {counted(len(now.temporaries), 'temporary bitmap')}" if now.temporaries else ""
    return f"{_MAPS[now.block_bitmap_mapping]}, dirty-bitmaps {'on' if now.dirty_bitmaps else 'off'}{made}"


def migrated_lines(migrated: Migrated, width: int, limits: Limits = UNLIMITED) -> Iterator[Text]:
    """What `apply --wait-migration` saw, for people; `width` is in terminal cells."""
    if migrated.outcome == "completed" and migrated.verified is None:
        words = ": the migration has completed; what became of the bitmaps could not be found out"
        yield from prose(Text.assemble(("NOT VERIFIED", "bold yellow"), words), width)
    elif migrated.outcome == "completed":
        yield from prose(Text.assemble(("MIGRATED", "bold green"), ": the migration has completed"), width)
    else:
        words = "not as planned" if migrated.verified else "it did not complete"
        yield from prose(Text.assemble(("FAILED", "bold red"), f": {words}"), width)
    for found in (migrated.failures if migrated.verified is None else (), migrated.warnings, migrated.problems):
        if found:
            yield Text()
            yield from findings(found, width, limits)
    if migrated.verified is not None:
        yield Text()
        yield from verified_lines(migrated.verified, width, limits)
    if migrated.finished is not None:
        yield Text()
        yield from finished_lines(migrated.finished, width, limits)

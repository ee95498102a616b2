"""Profile -> lines: what differs from what the model takes for granted before all else, then the sections."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from rich.text import Text

from bitmapmig.report.escape import escaped
from bitmapmig.report.findings import UNLIMITED, Limits
from bitmapmig.report.layout import columns, counted, prose, table_width

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bitmapmig.profile import Answer, Profile

#: What a difference means, by the kind of the answer.
_MEANINGS = {
    "behaviour": "the model can take this: plan with --profile and the file that -o writes",
    "fact": "this is built into the model, which can promise nothing for this QEMU (plan --profile refuses, BM526); "
    "please report this",
    "words": "only the words differ: a cause may not be recognised in a log, no plan is wrong by it",
}
_INDENT = "  "
#: Cells of what stands before an answer.
_LABEL = 10


def profiled_lines(profile: Profile, width: int, limits: Limits = UNLIMITED) -> Iterator[Text]:
    """A behaviour profile for people; `width` is in terminal cells. Without a limit every experiment is listed."""
    differs = [one for one in profile.answers if not one.agrees]
    yield from prose(_verdict(profile, len(differs)), width)
    for one in differs:
        yield Text()
        yield from _difference(one, width)
    yield Text()
    yield from _sections(profile.answers, width)
    if limits.rows is None:
        yield from _everything(profile.answers, width)


def _verdict(profile: Profile, differs: int) -> Text:
    package = f" ({escaped(profile.package)})" if profile.package else ""
    qemu = f"QEMU {escaped(profile.qemu_version)}{package}"
    asked = sum(one.answer is not None for one in profile.answers)
    if differs:
        words = (
            f": {differs:,} of {counted(asked, 'answer')} of {qemu} {'is' if differs == 1 else 'are'} not as assumed"
        )
        return Text.assemble(("DIFFERS", "bold red"), words)
    words = f": {counted(asked, 'answer')} of {qemu}, all of them as the model takes them to be"
    return Text.assemble(("AS ASSUMED", "bold green"), words)


def _difference(one: Answer, width: int) -> Iterator[Text]:
    title = Text.assemble((escaped(one.name), "bold red"), "  ", (escaped(one.behaviour or one.kind), "dim"))
    yield from prose(title, width)
    yield from prose(escaped(one.question, backslash=False), width, _INDENT)
    said = [
        ("assumed", one.assumed),
        ("answered", one.answer or "nothing, the experiment failed"),
        *(("printed", line) for line in one.log),
    ]
    said += [("reason", one.reason)] if one.reason else []
    for label, words in said:
        yield from prose(escaped(words, backslash=label != "printed"), width, _label(label))
    yield from prose(Text(_MEANINGS[one.kind], "dim"), width, _INDENT)


def _label(word: str) -> Text:
    return Text.assemble(_INDENT, (f"{word:{_LABEL}}", "cyan"))


# all of them


def _sections(answers: Sequence[Answer], width: int) -> Iterator[Text]:
    """A line for each section, in their order: how many experiments, and how they ended."""
    sections = _by_section(answers)
    rows = [[Text(title, "dim") for title in ("SECTION", "AS ASSUMED", "DIFFER", "DO NOT APPLY")]]
    for section, of_one in sections.items():
        differ = sum(not one.agrees for one in of_one)
        untold = sum(one.agrees and one.answer is None for one in of_one)
        rows.append(
            [
                Text(escaped(section)),
                Text(f"{len(of_one) - differ - untold:,}"),
                Text(f"{differ:,}" if differ else "", "bold red"),
                Text(f"{untold:,}" if untold else "", "dim"),
            ]
        )
    if table_width(rows) + len(_INDENT) <= width:
        for line in columns(rows):
            yield Text(_INDENT) + line
        return
    for title, *counts in rows[1:]:
        endings = zip(counts, ("as assumed", "differ", "do not apply"), strict=True)
        words = ", ".join(f"{count} {ending}" for count, ending in endings if count)
        yield from prose(f"{title}: {words}", width, _INDENT, "    ")


def _by_section(answers: Sequence[Answer]) -> dict[str, list[Answer]]:
    found: defaultdict[str, list[Answer]] = defaultdict(list)
    for one in answers:
        found[one.section].append(one)
    return found


def _everything(answers: Sequence[Answer], width: int) -> Iterator[Text]:
    for section, of_one in _by_section(answers).items():
        yield Text()
        yield Text(escaped(section), "bold")
        for one in of_one:
            yield from _listed(one, width)


def _listed(one: Answer, width: int) -> Iterator[Text]:
    """An experiment in two lines or more: its name and the question, then the answer."""
    yield from prose(
        Text.assemble((escaped(one.name), "bold"), ": ", escaped(one.question, backslash=False)), width, _INDENT, "    "
    )
    if one.answer is None:
        words = Text(f"does not apply: {escaped(one.reason, backslash=False)}", "dim")
    elif one.agrees:
        words = Text(escaped(one.answer, backslash=False), "green")
    else:
        words = Text(f"{escaped(one.answer, backslash=False)}, NOT {escaped(one.assumed, backslash=False)}", "bold red")
    yield from prose(words, width, "    ", "      ")

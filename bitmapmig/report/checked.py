"""Scenarios that were run -> lines: the verdict, then for each failure what was expected, what is, and the graphs."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, TypeAlias

from rich.text import Text

from bitmapmig.changes import unlike
from bitmapmig.diagnostics import Severity
from bitmapmig.plans.structure import structure
from bitmapmig.report.escape import escaped
from bitmapmig.report.findings import UNLIMITED, Limits, findings
from bitmapmig.report.layout import counted, prose
from bitmapmig.report.structure import structure_lines
from bitmapmig.report.tree import UNICODE, Guides
from bitmapmig.scenarios.checked import counted as counts_of
from bitmapmig.scenarios.update import flow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bitmapmig.diagnostics import Diagnostic, Side
    from bitmapmig.graph import BlockGraph
    from bitmapmig.scenarios.checked import Counts, LiveCounts, OffQemu, Run, UpdatedFile
    from bitmapmig.scenarios.expect import Judged

_INDENT = "  "
#: Nodes of a graph that are drawn unless all are asked for.
_NODES = 40


def checked_lines(
    runs: Sequence[Sequence[Run]],
    found: Sequence[Diagnostic],
    width: int,
    limits: Limits = UNLIMITED,
    guides: Guides = UNICODE,
    *,
    not_live: Sequence[OffQemu] = (),
    updated: Sequence[UpdatedFile] = (),
) -> Iterator[Text]:
    """What `check` found, for people: failures first, the verdict last; `width` is in terminal cells.

    `found` is what could not be read, or written.
    """
    failed = [of_one for of_one in runs if not all(run.passed for run in of_one)]
    for of_one in failed[: limits.findings]:
        yield from _scenario(of_one, width, limits, guides)
        yield Text()
    if limits.findings is not None and len(failed) > limits.findings:
        yield Text(f"... and {counted(len(failed) - limits.findings, 'scenario')} more; --all shows them", "dim")
        yield Text()
    errors = [one for one in found if one.severity is Severity.ERROR]
    yield from _told("What could not be read", errors, width, limits)
    yield from update_lines(updated, [one for one in found if one.severity is Severity.ADVICE], width, limits)
    yield from _not_live(not_live, width, limits)
    yield from prose(_verdict(counts_of(runs, errors, not_live)), width)


def _told(title: str, found: Sequence[Diagnostic], width: int, limits: Limits) -> Iterator[Text]:
    if found:
        yield Text(title, "bold")
        yield from findings(found, width, limits)
        yield Text()


def update_lines(
    updated: Sequence[UpdatedFile], left: Sequence[Diagnostic], width: int, limits: Limits = UNLIMITED
) -> Iterator[Text]:
    """What `--update` has written, and what is `left` of it."""
    for one in updated[: limits.findings]:
        yield from change_lines(one, width, "written: ")
        yield Text()
    if limits.findings is not None and len(updated) > limits.findings:
        yield Text(f"... and {counted(len(updated) - limits.findings, 'file')} more written; --all shows them", "dim")
        yield Text()
    yield from _told("What could not be written", left, width, limits)


def _not_live(not_live: Sequence[OffQemu], width: int, limits: Limits) -> Iterator[Text]:
    if not not_live:
        return
    yield Text("What went over no real QEMU of a version", "bold")
    for one in not_live[: limits.findings]:
        words = Text.assemble((escaped(one.file), "cyan"), f"  not on QEMU {one.qemu}: {escaped(one.reason)}")
        yield from prose(words, width, _INDENT, _INDENT * 2)
    if limits.findings is not None and len(not_live) > limits.findings:
        yield Text(f"{_INDENT}... and {len(not_live) - limits.findings:,} more; --all shows them", "dim")
    yield Text()


def failure_lines(run: Run, one: Judged, width: int, guides: Guides = UNICODE) -> Iterator[Text]:
    """One failed expectation of a run: what was expected, what there is, and the graphs."""
    yield from prose(_when(run, one.expectation.step), width)
    yield from _failure(run, one, width)
    yield from _graphs(run, one.expectation.step, width, Limits(), guides, drawn={})


def _verdict(counts: Counts) -> Text:
    every = f"{counted(counts.scenarios, 'scenario')}, {counted(counts.expectations, 'expectation')}"
    if not counts.scenarios_failed and not counts.unreadable:
        return Text.assemble(("PASSED", "bold green"), f": {every}{_live(counts)}")
    words = f"{counts.scenarios_failed:,} of {counted(counts.scenarios, 'scenario')}, "
    words += f"{counts.expectations_failed:,} of {counted(counts.expectations, 'expectation')}"
    if counts.expectations_not_reached:
        words += f", {counts.expectations_not_reached:,} not reached"
    if counts.unreadable:
        words += f"; {counted(counts.unreadable, 'file')} could not be read"
    return Text.assemble(("FAILED", "bold red"), f": {words}{_live(counts)}")


def _live(counts: Counts) -> str:
    """How many went over real QEMUs, and how many did not."""
    return "".join(f"; {live_words(one)}" for one in counts.live)


def live_words(one: LiveCounts) -> str:
    """How many scenarios went over one real QEMU, and how many did not."""
    words = f"{one.scenarios:,} of {one.scenarios + one.scenarios_not_about:,} on QEMU {one.qemu}"
    if not one.scenarios_not_about:
        return words
    return f"{words}, {counted(one.scenarios_not_about, 'is', 'are')} not about it"


def _scenario(runs: Sequence[Run], width: int, limits: Limits, guides: Guides) -> Iterator[Text]:
    """The failures of one file; versions that fail alike are told once."""
    scenario = runs[0].scenario
    yield from prose(
        Text.assemble(("FAILED ", "bold red"), (escaped(scenario.file), "bold")),
        width,
        "",
        _INDENT,
    )
    yield from prose(Text(escaped(scenario.document.title)), width, _INDENT)
    alike: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if not run.passed:
            alike[json.dumps([run.live, *(_alike(one) for one in run.judged)])].append(run)
    drawn: _Drawn = {}
    for same in alike.values():
        versions = ", ".join(run.version for run in same)
        yield Text()
        how = "on real QEMU" if same[0].live else "as QEMU"
        yield from prose(Text(f"{how} {versions}", "bold"), width, _INDENT)
        yield from _run(same[0], width, limits, guides, drawn)


def _alike(one: Judged) -> list[str]:
    return [one.expectation.key, one.verdict, one.problem.message if one.problem else ""]


def _run(run: Run, width: int, limits: Limits, guides: Guides, drawn: _Drawn) -> Iterator[Text]:
    by_step: defaultdict[int | None, list[Judged]] = defaultdict(list)
    for one in run.judged:
        if one.verdict == "failed":
            by_step[one.expectation.step].append(one)
    for step, failures in by_step.items():
        yield from prose(_when(run, step), width, _INDENT)
        for one in failures:
            yield from _failure(run, one, width)
        yield from _graphs(run, step, width, limits, guides, drawn=drawn)
    missed = sum(one.verdict == "not-reached" for one in run.judged)
    if missed:
        yield from prose(Text(f"{counted(missed, 'expectation')} not reached", "yellow"), width, _INDENT)


def _when(run: Run, step: int | None) -> str:
    if step is None:
        return "at the end"
    if step < 0:
        return "at the start"
    word = run.scenario.document.steps[step].operation[0]
    return f"step {step + 1} of {len(run.scenario.operations)}, {escaped(word)}"


def _failure(run: Run, one: Judged, width: int) -> Iterator[Text]:
    place = run.scenario.where(*one.expectation.keys)
    line = "" if place.line is None else f":{place.line}"
    yield from prose(
        Text.assemble((f"{escaped(run.scenario.file)}{line}", "cyan"), f"  {escaped(one.expectation.key)}"),
        width,
        _INDENT * 2,
        _INDENT * 3,
    )
    assert one.problem is not None  # noqa: S101
    if one.expectation.path:
        yield from prose(_value(one.expectation.expected), width, f"{_INDENT * 3}{'expected':10}")
        yield from prose(_value(one.found), width, f"{_INDENT * 3}{'found':10}")
    words = one.note.removeprefix(": ").removeprefix(", ") if one.expectation.path else one.problem.message
    if words:
        label = Text.assemble(_INDENT * 3, (f"{'':10}" if one.expectation.path else f"{one.problem.code:10}", "red"))
        yield from prose(escaped(words, backslash=False), width, label)


def _value(value: object) -> Text:
    return Text(escaped(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))


#: What was drawn of a file: by step, the versions and their graphs.
_Drawn: TypeAlias = "dict[int | None, list[tuple[str, list[tuple[str, BlockGraph]]]]]"


def _graphs(run: Run, step: int | None, width: int, limits: Limits, guides: Guides, *, drawn: _Drawn) -> Iterator[Text]:
    """The graphs before and after what failed; where another version's are `drawn` and alike, that they are."""
    graphs = list(_pictures(run, step))
    before = drawn.setdefault(step, [])
    for version, others in before:
        if graphs and _same(graphs, others):
            yield Text(f"{_INDENT * 2}the graphs are those of QEMU {version} above", "dim")
            yield Text()
            return
    before.append((run.version, graphs))
    few = Limits(rows=None if limits.rows is None else _NODES)
    for title, graph in graphs:
        yield Text()
        yield Text(f"{_INDENT * 2}{title}", "dim")
        lines = structure_lines(structure(graph), width - len(_INDENT * 3), few, guides)
        yield from (Text(_INDENT * 3) + line for line in lines if line.plain)
    if graphs:
        yield Text()


def _same(graphs: list[tuple[str, BlockGraph]], others: list[tuple[str, BlockGraph]]) -> bool:
    return [title for title, _ in graphs] == [title for title, _ in others] and not any(
        unlike(one, other, counts=True) for (_, one), (_, other) in zip(graphs, others, strict=True)
    )


def _pictures(run: Run, step: int | None) -> Iterator[tuple[str, BlockGraph]]:
    """The graphs before and after one step, or all of them, with their titles; one where nothing has changed."""
    if not run.moments:  # a real QEMU could not be given even the start
        return
    moment = run.moments[-1] if step is None else run.moments[min(step + 1, len(run.moments) - 1)]
    before = run.moments[0].before if step is None else moment.before
    sides: tuple[Side, ...] = ("source",) if step is not None and moment.on == "source" else ("source", "destination")
    for side in sides:
        old, new = before.end(side), moment.after.end(side)
        if old is None or new is None:
            continue
        same = not unlike(old.graph, new.graph, counts=True)
        if same:
            yield side, old.graph
        else:
            yield f"{side} before", old.graph
            yield f"{side} after", new.graph


def change_lines(updated: UpdatedFile, width: int, title: str = "") -> Iterator[Text]:
    """What is written into a file: each value, the old and the new one."""
    yield from prose(Text.assemble(title, (escaped(updated.file), "bold")), width)
    for one in updated.values:
        old, new = escaped(flow(one.was)), escaped(flow(one.value))
        yield from prose(Text.assemble(f"{escaped(one.key)}: ", (old, "red"), " -> ", (new, "green")), width, _INDENT)

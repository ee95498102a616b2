"""Checked -> JUnit XML, which most CI systems show as a list of tests."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from bitmapmig.report.escape import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.diagnostics import Diagnostic
    from bitmapmig.scenarios.checked import Checked, CheckedExpectation, CheckedRun, CheckedScenario


def junit(checked: Checked) -> bytes:
    """JUnit XML: a suite a file, a case an expectation and version, ending with a newline."""
    counts = checked.counts
    totals = _counts(
        counts.expectations, counts.expectations_failed, counts.unreadable, counts.expectations_not_reached
    )
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<testsuites name="bitmapmig" {totals}>']
    for scenario in checked.scenarios:
        lines += _suite(scenario)
    unreadable: defaultdict[str, list[Diagnostic]] = defaultdict(list)
    for error in checked.errors:
        unreadable[error.where.file or ""].append(error)
    for file, errors in unreadable.items():
        lines += _unread(file, errors)
    return ("\n".join([*lines, "</testsuites>"]) + "\n").encode()


def _counts(tests: int, failures: int, errors: int, skipped: int) -> str:
    return f'tests="{tests}" failures="{failures}" errors="{errors}" skipped="{skipped}"'


def _unread(file: str, errors: list[Diagnostic]) -> Iterator[str]:
    """A file that cannot be read, as a case that could not run."""
    name, message = _xml(file), _xml(errors[0].message)
    text = _xml("\n".join(f"{file}:{one.where.line or 1}: {one.code} {one.message}" for one in errors))
    yield f'  <testsuite name="{name}" {_counts(1, 0, 1, 0)}>'
    yield f'    <testcase classname="{name}" name="read">'
    yield f'      <error message="{message}" type="{errors[0].code}">{text}</error>'
    yield "    </testcase>"
    yield "  </testsuite>"


def _suite(scenario: CheckedScenario) -> Iterator[str]:
    every = [one for run in scenario.runs for one in run.expectations]
    failed, missed = (sum(one.verdict == verdict for one in every) for verdict in ("failed", "not-reached"))
    yield f'  <testsuite name="{_xml(scenario.file)}" {_counts(len(every), failed, 0, missed)}>'
    for run in scenario.runs:
        for one in run.expectations:
            yield from _case(scenario, run, one)
    yield "  </testsuite>"


def _case(scenario: CheckedScenario, run: CheckedRun, one: CheckedExpectation) -> Iterator[str]:
    title = _xml(f"{scenario.title} [QEMU {run.qemu}]")
    begin = (
        f'    <testcase classname="{title}" name="{_xml(one.key)}" file="{_xml(scenario.file)}" line="{one.line or 1}"'
    )
    if one.verdict == "passed":
        yield f"{begin}/>"
        return
    yield f"{begin}>"
    if one.problem is not None:
        place = _xml(f"{scenario.file}:{one.line or 1}: {one.problem.message}")
        yield f'      <failure message="{_xml(one.problem.message)}" type="{one.problem.code}">{place}</failure>'
    else:
        yield '      <skipped message="a step before it was not taken"/>'
    yield "    </testcase>"


def _xml(text: str) -> str:
    """Text in XML, with what does not show itself as its escape: XML has no place for most of it."""
    lines = "\n".join(escaped(line, backslash=False) for line in text.split("\n"))
    shown = lines.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return shown.replace('"', "&quot;").replace("\n", "&#10;")

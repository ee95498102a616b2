"""Scenarios that were run -> the document of `bitmapmig check`: every expectation, and what came of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from bitmapmig.diagnostics import Diagnostic
from bitmapmig.scenarios.expect import Verdict, judge
from bitmapmig.scenarios.run import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bitmapmig.scenarios.expect import Judged
    from bitmapmig.scenarios.read import Scenario
    from bitmapmig.scenarios.run import Moment


@dataclass(frozen=True)
class Run:
    """A scenario that was run as one version; `moments` are kept where an expectation failed.

    With `live` it went over real QEMUs of that version.
    """

    scenario: Scenario
    version: str
    judged: tuple[Judged, ...]
    moments: tuple[Moment, ...] = ()
    live: bool = False

    @property
    def passed(self) -> bool:
        """Whether every expectation holds."""
        return all(one.verdict == "passed" for one in self.judged)


def check(scenario: Scenario) -> tuple[Run, ...]:
    """Run a scenario as each of its versions."""
    return tuple(_run(scenario, version) for version in scenario.worlds)


def _run(scenario: Scenario, version: str) -> Run:
    moments = run(scenario, version)
    judged = judge(scenario, moments)
    done = Run(scenario, version, judged)
    return done if done.passed else Run(scenario, version, judged, moments)


class _Part(BaseModel):
    """A part of the document."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CheckedExpectation(_Part):
    """One value that is expected, at `key` and `line` of the file, and what there is.

    A step is an expectation too: that it is `taken`, or refused (`true`, or a part of the reason).
    """

    key: str
    line: int | None
    verdict: Verdict
    expected: JsonValue
    found: JsonValue
    problem: Diagnostic | None


class CheckedRun(_Part):
    """A scenario as one version of QEMU; with `live` on real QEMUs of that version, else simulated."""

    qemu: str
    live: bool
    verdict: Literal["passed", "failed"]
    expectations: tuple[CheckedExpectation, ...]


class OffQemu(_Part):
    """A scenario that did not go over the real QEMU of that version, and why."""

    file: str
    qemu: str
    reason: str


class LiveCounts(_Part):
    """How many scenarios went over a real QEMU of that version, and how many did not, since they are not about it."""

    qemu: str
    scenarios: int
    scenarios_not_about: int


class UpdatedValue(_Part):
    """A value that `--update` has written, and the one before."""

    key: str
    was: JsonValue
    value: JsonValue


class UpdatedFile(_Part):
    """A file that `--update` has changed."""

    file: str
    values: tuple[UpdatedValue, ...]


class CheckedScenario(_Part):
    """One file."""

    file: str
    title: str
    verdict: Literal["passed", "failed"]
    runs: tuple[CheckedRun, ...]


class Counts(_Part):
    """How many there are."""

    scenarios: int
    scenarios_failed: int
    expectations: int
    expectations_failed: int
    expectations_not_reached: int
    unreadable: int
    live: tuple[LiveCounts, ...] = ()


class Checked(_Part):
    """What `bitmapmig check` found; `errors` are of files that could not be read, all others were run.

    `not_live` is what `--live` left out, `updated` what `--update` has written, `not_updated` what it could not write.
    """

    format_version: Literal[1] = 1
    verdict: Literal["passed", "failed", "unreadable"]
    counts: Counts
    scenarios: tuple[CheckedScenario, ...]
    errors: tuple[Diagnostic, ...]
    not_live: tuple[OffQemu, ...] = ()
    updated: tuple[UpdatedFile, ...] = ()
    not_updated: tuple[Diagnostic, ...] = ()


def checked(
    runs: Iterable[Sequence[Run]],
    errors: Sequence[Diagnostic] = (),
    not_live: Sequence[OffQemu] = (),
    updated: Sequence[UpdatedFile] = (),
    not_updated: Sequence[Diagnostic] = (),
) -> Checked:
    """The document of all that was run, file by file."""
    runs = tuple(runs)
    counts = counted(runs, errors, not_live)
    return Checked(
        verdict="unreadable" if errors else "failed" if counts.scenarios_failed else "passed",
        counts=counts,
        scenarios=tuple(_scenario(of_one) for of_one in runs),
        errors=tuple(errors),
        not_live=tuple(not_live),
        updated=tuple(updated),
        not_updated=tuple(not_updated),
    )


def counted(
    runs: Sequence[Sequence[Run]], errors: Sequence[Diagnostic] = (), not_live: Sequence[OffQemu] = ()
) -> Counts:
    """The counts alone, which take no time beside the document."""
    verdicts = Counter(one.verdict for of_one in runs for run in of_one for one in run.judged)
    return Counts(
        scenarios=len(runs),
        scenarios_failed=sum(not all(run.passed for run in of_one) for of_one in runs),
        expectations=verdicts.total(),
        expectations_failed=verdicts["failed"],
        expectations_not_reached=verdicts["not-reached"],
        unreadable=len({one.where.file for one in errors}),
        live=tuple(_live(runs, not_live)),
    )


def _live(runs: Sequence[Sequence[Run]], not_live: Sequence[OffQemu]) -> Iterator[LiveCounts]:
    """For each real QEMU, in the order of their versions, how many went over it."""
    taken = Counter(version for of_one in runs for version in {run.version for run in of_one if run.live})
    left = Counter(version for version, _ in {(one.qemu, one.file) for one in not_live})
    for version in sorted(taken.keys() | left.keys(), key=lambda text: tuple(map(int, text.split(".")))):
        yield LiveCounts(qemu=version, scenarios=taken[version], scenarios_not_about=left[version])


def _scenario(runs: Sequence[Run]) -> CheckedScenario:
    scenario = runs[0].scenario
    return CheckedScenario(
        file=scenario.file,
        title=scenario.document.title,
        verdict="passed" if all(run.passed for run in runs) else "failed",
        runs=tuple(
            CheckedRun(
                qemu=run.version,
                live=run.live,
                verdict="passed" if run.passed else "failed",
                expectations=tuple(_expectation(scenario, one) for one in run.judged),
            )
            for run in runs
        ),
    )


def _expectation(scenario: Scenario, one: Judged) -> CheckedExpectation:
    return CheckedExpectation(
        key=one.expectation.key,
        line=scenario.where(*one.expectation.keys).line,
        verdict=one.verdict,
        expected=one.expectation.expected,
        found=one.found,
        problem=one.problem,
    )

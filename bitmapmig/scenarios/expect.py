"""Moments of a scenario -> for each expectation what there is instead, or that it holds.

An expectation is one value at one place of the file: it is judged, reported and updated by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from bitmapmig import codes
from bitmapmig.captures import printable
from bitmapmig.scenarios.compare import View, words
from bitmapmig.scenarios.expected import ExpectedGraph
from bitmapmig.scenarios.members import Presence
from bitmapmig.scenarios.run import Moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic import JsonValue

    from bitmapmig.diagnostics import Diagnostic
    from bitmapmig.scenarios.read import Scenario

Keys: TypeAlias = "tuple[str | int, ...]"
Verdict: TypeAlias = Literal["passed", "failed", "not-reached"]


@dataclass(frozen=True, slots=True)
class Expectation:
    """One value that is expected: `keys` lead to it in the document, `step` is None at the end.

    Each step is one too: that it is taken, or refused. Then `path` is empty, else what of the graphs or the plan it is
    about. A `step` of -1 is the start.
    """

    keys: Keys
    expected: JsonValue
    step: int | None
    path: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The keys as findings name them."""
        return ".".join(printable(str(key)) for key in self.keys)


@dataclass(frozen=True, slots=True)
class Judged:
    """An expectation and what came of it; `problem` says it where it failed."""

    expectation: Expectation
    verdict: Verdict
    found: JsonValue = None
    problem: Diagnostic | None = None
    note: str = ""  #: why, as the end of a sentence that says what was found
    nowhere: bool = False  #: whether it is about a place that is none at any time


def expectations(scenario: Scenario) -> tuple[Expectation, ...]:
    """Everything that a scenario expects, in the order of its steps, those of the end last."""
    return tuple(_expectations(scenario))


def _expectations(scenario: Scenario) -> Iterator[Expectation]:
    document = scenario.document
    for number, step in enumerate(document.steps):
        last, expected = (step.operation[0], "taken") if step.refused is None else ("refused", step.refused)
        yield Expectation(("steps", number, last), expected, number)
        for path, value in _leaves(step.expect):
            yield Expectation(("steps", number, "expect", *path), value, number, path)
    for path, value in _leaves(document.expect):
        yield Expectation(("expect", *path), value, None, path)


def _leaves(expect: ExpectedGraph) -> Iterator[tuple[tuple[str, ...], JsonValue]]:
    """The values of an expectation, each with the keys that lead to it."""
    written = expect.model_dump(mode="json", exclude_unset=True)
    for key, value in written.items():
        member = key.replace("-", "_")
        if key == "destination":
            yield from (((key, *path), leaf) for path, leaf in _leaves(getattr(expect, member)))
        elif key in ("bitmaps", "nodes"):
            for name, part in getattr(expect, member).items():
                yield from _parts((key, name), part)
        elif isinstance(value, dict):
            yield from (((key, name), leaf) for name, leaf in value.items())
        else:
            yield (key,), value


def _parts(path: tuple[str, ...], part: Presence) -> Iterator[tuple[tuple[str, ...], JsonValue]]:
    if part.absent:
        yield path, "absent"
        return
    for key, leaf in part.model_dump(mode="json", exclude_unset=True).items():
        yield (*path, key), leaf


def judge(scenario: Scenario, moments: Sequence[Moment]) -> tuple[Judged, ...]:
    """What became of each expectation, in the order of `expectations`.

    `moments` begin with the start, then one a step; those that are missing were not reached, be it all of them.
    """
    views: dict[int | None, View | None] = {}
    found = []
    for one in expectations(scenario):
        moment = _moment(moments, one.step)
        if moment is None or (one.step is None and len(moments) <= len(scenario.operations)):
            found.append(Judged(one, "not-reached"))
        elif not one.path:
            found.append(_step(scenario, one, moment))
        elif _stopped(scenario, moment):
            found.append(Judged(one, "not-reached"))
        else:
            if one.step not in views:
                views[one.step] = _view(scenario, moments, moment, one.step)
            view = views[one.step]
            assert view is not None  # noqa: S101
            found.append(_judged(scenario, one, view))
    return tuple(found)


def _moment(moments: Sequence[Moment], step: int | None) -> Moment | None:
    if step is None:
        return moments[-1] if moments else None
    return moments[step + 1] if step + 1 < len(moments) else None


def _view(scenario: Scenario, moments: Sequence[Moment], moment: Moment, step: int | None) -> View:
    ended = len(moments) > len(scenario.operations) and not _stopped(scenario, moments[-1])
    every = moments if ended else ()
    if step is None:
        return View(scenario, moments[0].after, moment.after, moments, every)
    return View(scenario, moment.before, moment.after, [moment], every)


def _stopped(scenario: Scenario, moment: Moment) -> bool:
    """Whether the step of a moment could not be taken although the scenario expects that it is."""
    if moment.refusal is None or moment.step is None:
        return False
    unknown = moment.refusal.code == codes.OPERATION_NOT_SIMULATED.code
    return unknown or scenario.document.steps[moment.step].refused is None


def _step(scenario: Scenario, one: Expectation, moment: Moment) -> Judged:
    """Whether a step is taken, or refused, as expected."""
    assert one.step is not None  # noqa: S101
    step = scenario.document.steps[one.step]
    word, refusal = step.operation[0], moment.refusal
    reason = None if refusal is None else str(refusal.facts.get("reason", refusal.message))
    where = scenario.where(*one.keys)
    if _stopped(scenario, moment):
        return Judged(one, "failed", reason, codes.STEP_REFUSED.at(where, operation=word, reason=reason))
    if step.refused is None or (reason is not None and (step.refused is True or step.refused in reason)):
        return Judged(one, "passed", "taken" if reason is None else reason)
    found = "it is taken" if reason is None else f"the reason is {reason!r}, which does not hold {step.refused!r}"
    return Judged(one, "failed", reason, codes.STEP_NOT_REFUSED.at(where, operation=word, found=found))


def _judged(scenario: Scenario, one: Expectation, view: View) -> Judged:
    found = view.found(one.path)
    expected = one.expected
    if one.path[0] in ("refusals", "advice") and isinstance(expected, list):
        expected = sorted(expected, key=str)
    if _equal(found.value, expected):
        return Judged(one, "passed", found.value)
    said = f"nothing: {found.value}" if found.nowhere else words(found.value) + found.note
    facts: dict[str, Any] = {"key": one.key, "found": said, "expected": words(one.expected)}
    problem = codes.EXPECTATION_FAILED.at(scenario.where(*one.keys), **facts)
    return Judged(one, "failed", found.value, problem, found.note, found.nowhere)


def _equal(found: JsonValue, expected: JsonValue) -> bool:
    """Whether two JSON values are the same: 1 and true are not."""
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(_equal, found, expected))
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(_equal(found[key], expected[key]) for key in found)
    return type(found) is type(expected) and found == expected

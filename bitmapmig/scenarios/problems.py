"""What is wrong with a scenario file -> findings, each with its place in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig import codes
from bitmapmig.documents.origin import where
from bitmapmig.documents.words import SHOWN, predicate, subject, unknown
from bitmapmig.scenarios.document import KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from bitmapmig.diagnostics import Diagnostic, Where
    from bitmapmig.documents.origin import Keys, Origin


class ScenarioMistakes:
    """What can be wrong with a scenario file, whatever it says."""

    def unreadable(self, where: Where, path: str, reason: str) -> Diagnostic:
        """BM261."""
        return codes.SCENARIO_UNREADABLE.at(where, path=path, reason=reason)

    def syntax(self, where: Where, format_: str, reason: str) -> Diagnostic:
        """BM262."""
        return codes.SCENARIO_SYNTAX.at(where, format=format_, reason=reason)

    def key_twice(self, where: Where, key: str) -> Diagnostic:
        """BM263."""
        return codes.SCENARIO_KEY_TWICE.at(where, key=key)

    def invalid(self, where: Where, reason: str) -> Diagnostic:
        """BM264."""
        return codes.SCENARIO_INVALID.at(where, reason=reason)

    def too_large(self, where: Where, reason: str) -> Diagnostic:
        """BM265."""
        return codes.SCENARIO_TOO_LARGE.at(where, reason=reason)


def findings(error: ValidationError, origin: Origin) -> Iterator[Diagnostic]:
    """BM264 for all that `error` says of a document; the last one counts what is not told."""
    problems = error.errors(include_url=False)
    for problem in problems[:SHOWN]:
        yield _finding(problem, origin)
    if len(problems) > SHOWN:
        yield codes.SCENARIO_INVALID.at(where((), origin), reason=f"there are {len(problems) - SHOWN} more problems")


def _finding(problem: ErrorDetails, origin: Origin) -> Diagnostic:
    keys = [*problem["loc"], *problem.get("ctx", {}).get("at", ())]
    if keys and keys[-1] == "[key]":
        keys.pop()
    place = where(keys, origin)
    if problem["type"] == "extra_forbidden":
        return codes.SCENARIO_INVALID.at(place, reason=unknown(str(keys[-1]), _known(keys[:-1])))
    what = problem["ctx"]["reason"] if problem["type"] == "scenario" else predicate(problem)
    return codes.SCENARIO_INVALID.at(place, reason=f"{subject(keys, 'the scenario')} {what}")


def _known(keys: Keys) -> tuple[str, ...]:
    around = tuple(key for key in keys if isinstance(key, str))
    fitting = (
        known
        for pattern, known in KNOWN.items()
        if len(pattern) == len(around) and all(a in ("*", b) for a, b in zip(pattern, around, strict=True))
    )
    return next(fitting, ())

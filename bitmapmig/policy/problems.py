"""pydantic's complaints about a policy document -> findings in plain sentences, each with its place in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitmapmig import codes
from bitmapmig.captures import printable
from bitmapmig.documents.origin import where
from bitmapmig.documents.words import SHOWN, predicate, subject, unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from bitmapmig.diagnostics import Diagnostic, Where
    from bitmapmig.documents.origin import Keys, Origin


class PolicyMistakes:
    """What can be wrong with a policy file, whatever it says."""

    def unreadable(self, where: Where, path: str, reason: str) -> Diagnostic:
        """BM401."""
        return codes.POLICY_UNREADABLE.at(where, path=path, reason=reason)

    def syntax(self, where: Where, format_: str, reason: str) -> Diagnostic:
        """BM402."""
        return codes.POLICY_SYNTAX.at(where, format=format_, reason=reason)

    def key_twice(self, where: Where, key: str) -> Diagnostic:
        """BM403."""
        return codes.POLICY_KEY_TWICE.at(where, key=key)

    def invalid(self, where: Where, reason: str) -> Diagnostic:
        """BM404."""
        return codes.POLICY_INVALID.at(where, reason=reason)

    def too_large(self, where: Where, reason: str) -> Diagnostic:
        """BM407."""
        return codes.POLICY_TOO_LARGE.at(where, reason=reason)


def findings(
    error: ValidationError, document: object, origin: Origin | None, known: Mapping[tuple[str, ...], Iterable[str]]
) -> Iterator[Diagnostic]:
    """BM404, BM405 and BM406 for all that `error` says of `document`; the last one counts what is not told.

    `known` has the keys of every mapping of a policy, by the keys that lead to it.
    """
    # a list is also called too short where it only has entries that are not valid
    problems = [one for one in error.errors(include_url=False) if one["type"] != "too_short" or not one["input"]]
    for problem in problems[:SHOWN]:
        yield _finding(problem, document, origin, known)
    if len(problems) > SHOWN:
        yield codes.POLICY_INVALID.at(where((), origin), reason=f"there are {len(problems) - SHOWN} more problems")


def _finding(
    problem: ErrorDetails, document: object, origin: Origin | None, known: Mapping[tuple[str, ...], Iterable[str]]
) -> Diagnostic:
    context = problem.get("ctx", {})
    keys = [*_written(problem["loc"], document), *context.get("at", ())]
    place = where(keys, origin)
    if problem["type"] == "accept":
        code, acceptable = printable(problem["input"]), ", ".join(codes.ACCEPTABLE)
        return codes.POLICY_ACCEPT.at(place, code=code, acceptable=acceptable, reason=context["reason"])
    if problem["type"] == "extra_forbidden":
        if keys[-1] == "recording":
            return codes.POLICY_RECORDING.at(place)
        around = tuple(key for key in keys[:-1] if isinstance(key, str))
        return codes.POLICY_INVALID.at(place, reason=unknown(str(keys[-1]), tuple(known[around])))
    return codes.POLICY_INVALID.at(place, reason=f"{subject(keys, 'the policy')} {_predicate(problem, keys)}")


def _written(place: Keys, document: object) -> list[str | int]:
    """The keys as they are in the document: without the member that a bare text stands for."""
    keys = list(place)
    if keys[:2] == ["storage", "disks"] and keys[3:] == ["[key]"]:
        keys.pop()
    if keys and keys[-1] in ("any", "default") and isinstance(_value(document, keys[:-1]), str):
        keys.pop()
    return keys


def _value(document: Any, keys: Keys) -> object:  # noqa: ANN401  raw
    for key in keys:
        document = document[key]
    return document


def _predicate(problem: ErrorDetails, keys: Keys) -> str:
    if problem["type"] == "policy":
        return str(problem["ctx"]["reason"])
    if problem["type"] == "too_short":
        return "must not be an empty list, which would allow nothing: leave it out to allow all"
    bare = {"source": "a text or ", "destination": "a text or ", "storage": "a word or "}
    return predicate(problem, bare.get(str(keys[-1]), "") if keys else "")

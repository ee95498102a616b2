"""pydantic's complaints about a policy document -> findings in plain sentences, each with its place in the file."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from bitmapmig import codes
from bitmapmig.captures import printable
from bitmapmig.diagnostics import Diagnostic, Where

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

#: The most problems of one document that are told one by one.
SHOWN = 1000

#: Where a value stands: its line, and the places of what is in it, of a mapping by key, of a list by number.
Place: TypeAlias = "int | tuple[int, Mapping[str, Place] | Sequence[Place]]"
#: What leads to a value in a document: keys of mappings and numbers in sequences.
Keys: TypeAlias = "Sequence[str | int]"


@dataclass(frozen=True, slots=True)
class Origin:
    """The file that a policy was read from; `top` is None where its format tells no lines (TOML)."""

    file: str
    top: Place | None = None

    def line(self, keys: Keys) -> int | None:
        """The line, counted from 1, of the last of nested `keys` that is there; None where not even the first is."""
        place, line = self.top, None
        for key in keys:
            inside = place[1] if isinstance(place, tuple) else ()
            if isinstance(inside, Mapping):
                place = inside.get(str(key))
            else:
                place = inside[int(key)] if str(key).isdecimal() and int(key) < len(inside) else None
            if place is None:
                break
            line = place[0] if isinstance(place, tuple) else place
        return line


def where(keys: Keys, origin: Origin | None) -> Where:
    """The place of `keys`: the nearest line, and a key that shows what does not print."""
    key = ".".join(printable(str(key)) for key in keys) or None
    return Where(file=origin.file, line=origin.line(keys), key=key) if origin else Where(key=key)


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
        return codes.POLICY_INVALID.at(place, reason=_unknown(str(keys[-1]), tuple(known[around])))
    return codes.POLICY_INVALID.at(place, reason=f"{_subject(keys)} {_predicate(problem, keys, context)}")


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


def _subject(keys: Keys) -> str:
    """What a sentence is about: a key, or an entry of a list."""
    if not keys:
        return "the policy"
    last = keys[-1]
    shown = f"{keys[-2]}.{last}" if isinstance(last, int) and len(keys) > 1 else printable(str(last)) or "''"
    return f"`{shown}`"


_PREDICATES = {
    "missing": "is missing",
    "string_too_short": "must not be empty",
    "too_short": "must not be an empty list, which would allow nothing: leave it out to allow all",
    "string_unicode": "holds half of a surrogate pair, which is no text",
    "invalid_key": "is no text, as keys must be",
}
_MAPPINGS = ("model_type", "model_attributes_type", "dict_type", "mapping_type")
_OTHERS = {"bool_type": "true or false", "string_type": "a text", "tuple_type": "a list"}


def _predicate(problem: ErrorDetails, keys: Keys, context: Mapping[str, Any]) -> str:
    kind, found = problem["type"], problem["input"]
    if kind == "policy":
        return str(context["reason"])
    if kind in _PREDICATES:
        return _PREDICATES[kind]
    if kind == "literal_error":
        words = str(context["expected"]).replace("'", "")
        return f"must be {words}, not {shown(found)}{_hint(found, words.replace(' or ', ', ').split(', '))}"
    expected = _OTHERS.get(kind)
    if kind in _MAPPINGS:
        bare = {"source": "a text or ", "destination": "a text or ", "storage": "a word or "}
        expected = f"{bare.get(str(keys[-1]), '') if keys else ''}a mapping"
    if expected is None:
        return f"is not valid: {printable(problem['msg'])}"
    quotes = "text" in expected and isinstance(found, int | float)
    return f"must be {expected}, not {shown(found)}" + ("; put it into quotes, if it is a name" if quotes else "")


def shown(found: object) -> str:
    """A value of a document in words for a sentence."""
    if found is None or isinstance(found, bool):
        return json.dumps(found)
    if isinstance(found, str):
        return f"the text '{printable(found, 80)}'"
    # the decimal text of a huge number takes quadratic time, and Python refuses to make it
    if isinstance(found, float) or (isinstance(found, int) and abs(found) < 10**20):
        return f"the number {found}"
    kinds = {int: "a huge number", dict: "a mapping", list: "a list", tuple: "a list"}
    return kinds.get(type(found), f"a value of the type {type(found).__name__}")


def _unknown(key: str, known: Sequence[str]) -> str:
    return f"unknown key '{printable(key, 80)}'; known here: {', '.join(known)}{_hint(key, known)}"


def _hint(found: object, known: Sequence[str]) -> str:
    """A guess at what was meant, where one is near."""
    near = difflib.get_close_matches(found[:80], known, n=1) if isinstance(found, str) else []
    return f"; did you mean '{near[0]}'?" if near else ""

"""What is wrong with a value of a document, in plain sentences; the source are pydantic's complaints."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING

from bitmapmig.captures import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

    from bitmapmig.documents.origin import Keys

#: The most problems of one document that are told one by one.
SHOWN = 1000


def subject(keys: Keys, whole: str) -> str:
    """What a sentence is about: a key, an entry of a list, or the `whole`."""
    if not keys:
        return whole
    last = keys[-1]
    name = f"{keys[-2]}.{last}" if isinstance(last, int) and len(keys) > 1 else printable(str(last)) or "''"
    return f"`{name}`"


_PREDICATES = {
    "missing": "is missing",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "string_unicode": "holds half of a surrogate pair, which is no text",
    "invalid_key": "is no text, as keys must be",
}
_MAPPINGS = ("model_type", "model_attributes_type", "dict_type", "mapping_type")
_OTHERS = {"bool_type": "true or false", "string_type": "a text", "tuple_type": "a list"}


def predicate(problem: ErrorDetails, bare: str = "") -> str:
    """What is wrong with a value, as the end of a sentence; `bare` is what may stand there beside a mapping."""
    kind, found = problem["type"], problem["input"]
    if kind in _PREDICATES:
        return _PREDICATES[kind]
    if kind == "literal_error":
        words = str(problem["ctx"]["expected"]).replace("'", "")
        return f"must be {words}, not {shown(found)}{hint(found, words.replace(' or ', ', ').split(', '))}"
    expected = f"{bare}a mapping" if kind in _MAPPINGS else _OTHERS.get(kind)
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


def unknown(key: str, known: Sequence[str]) -> str:
    """The sentence about a key that is not known."""
    return f"unknown key '{printable(key, 80)}'; known here: {', '.join(known)}{hint(key, known)}"


def hint(found: object, known: Sequence[str]) -> str:
    """A guess at what was meant, where one is near."""
    near = difflib.get_close_matches(found[:80], known, n=1) if isinstance(found, str) else []
    return f"; did you mean '{near[0]}'?" if near else ""

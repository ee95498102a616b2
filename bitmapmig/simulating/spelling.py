"""A step as a person writes it -> the word of an operation and its arguments.

blockdev-mirror job-id=m0 device=drive0 target=t0 sync=full                as in qmp-shell
{"execute": "block-job-complete", "arguments": {"device": "m0"}}           as QMP
{"BLOCK_JOB_READY": {"device": "m0"}}                                      as in a scenario
"""

from __future__ import annotations

import ast
import json
import math
import re
from typing import TYPE_CHECKING, NamedTuple

from bitmapmig import codes
from bitmapmig.captures import NO_TEXT, printable
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.documents.words import hint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import JsonValue

    from bitmapmig.recipes import RecipeCommand

#: Words, in which quotation marks keep white space together.
_TOKEN = re.compile(r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s"'])+""")
_NAMES = {"true": True, "false": False, "null": None}
_DEEP = "it is nested too deeply"
#: An argument that stands where a step is expected.
_ARGUMENT = re.compile(r"[A-Za-z][\w.-]*=.*", re.DOTALL)
#: How deep arguments may be nested; the options of a block node are a few levels deep.
_LEVELS = 50


class Spelled(NamedTuple):
    """An operation as it was written; `note` and `first` are those of `SimulatedOperation`."""

    word: str
    arguments: dict[str, JsonValue]
    note: str = ""
    first: RecipeCommand | None = None


def spelled(text: str, where: Where) -> Spelled:
    """The operation that `text` says. Raises `CannotRunError` (BM252)."""
    try:
        found = _json(text) if text.lstrip().startswith("{") else _shell(text)
        _check(found.arguments, found.word)
    except ValueError as error:
        word = printable(text.split(maxsplit=1)[0] if text.split() else "")[:80]
        raise malformed(word, str(error), where) from error
    except RecursionError as error:
        raise malformed("a step", _DEEP, where) from error
    return found


def check_word(text: str, stories: Sequence[str], operations: Sequence[str], where: Where) -> None:
    """Raise `CannotRunError` (BM251) for a text that begins with a word that no step has; JSON is not looked at."""
    words = text.split(maxsplit=1)
    if not words or words[0].startswith("{") or words[0] in (*stories, *operations):
        return
    word = printable(words[0])[:80]
    near = hint(word, [*stories, *operations]).removeprefix("; ")
    remedy = f"the stories are: {', '.join(stories)}; the operations are: {', '.join(operations)}"
    unknown = codes.OPERATION_UNKNOWN.at(
        where, operation=word, known=list(operations), stories=list(stories), remedy=f"{near} {remedy}".strip()
    )
    raise CannotRunError(unknown)


def check_whole(text: str, where: Where) -> None:
    """Raise `CannotRunError` (BM252) for an argument that stands alone, as where quotation marks were forgotten."""
    if _ARGUMENT.fullmatch(text):
        word = printable(text.split(maxsplit=1)[0])[:80]
        raise malformed(word, "it is an argument and no step: a step stands in one pair of quotation marks", where)


def check_text(text: str, where: Where) -> None:
    """Raise `CannotRunError` (BM252) for a text that no document can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise malformed("a step", NO_TEXT, where) from error


def _check(value: JsonValue, word: str) -> None:
    """Raise `ValueError` for what no document can hold: half a character, or what is nested without end."""
    waiting: list[tuple[JsonValue, int]] = [(value, 0), (word, 0)]
    while waiting:
        one, depth = waiting.pop()
        if depth > _LEVELS:
            raise ValueError(_DEEP)
        if isinstance(one, str) and any("\ud800" <= character <= "\udfff" for character in one):
            raise ValueError(NO_TEXT)
        if isinstance(one, float) and not math.isfinite(one):
            raise ValueError("it holds a number that is none")
        if isinstance(one, dict):
            waiting += [(key, depth) for key in one]
            waiting += [(inner, depth + 1) for inner in one.values()]
        elif isinstance(one, list):
            waiting += [(inner, depth + 1) for inner in one]


def malformed(word: str, reason: str, where: Where) -> CannotRunError:
    """The error that says why a step is none."""
    remedy = "write a command as qmp-shell takes it, as JSON, or as a story such as 'mirror drive0'"
    return CannotRunError(codes.OPERATION_MALFORMED.at(where, operation=word, reason=printable(reason), remedy=remedy))


def _json(text: str) -> Spelled:
    try:
        read = json.loads(text, object_pairs_hook=_pairs)
    except json.JSONDecodeError as error:
        message = f"it is no JSON: {error}"
        raise ValueError(message) from error
    if "execute" in read:
        left = sorted(read.keys() - {"execute", "arguments", "id"})
        if left:
            message = f"the keys {left} are none of a QMP command"
            raise ValueError(message)
        return _checked(read["execute"], read.get("arguments"))
    if len(read) != 1:
        raise ValueError("it has neither `execute` nor a single key, the word of an operation")
    ((word, arguments),) = read.items()
    return _checked(word, arguments)


def _pairs(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it has a key twice")
    return found


def _checked(word: object, arguments: object) -> Spelled:
    if not isinstance(word, str) or not isinstance(arguments, dict | None):
        raise ValueError("the word of an operation is a text, and its arguments are an object")  # noqa: TRY004
    return Spelled(word, arguments or {})


def _shell(text: str) -> Spelled:
    words = _TOKEN.findall(text)
    if not words or _TOKEN.sub("", text).strip():
        raise ValueError("a quotation mark has no counterpart" if words else "it is empty")
    arguments: dict[str, JsonValue] = {}
    for token in words[1:]:
        key, sign, value = token.partition("=")
        if not sign or not key:
            message = f"{token!r} is not of the form key=value"
            raise ValueError(message)
        _put(arguments, key.split("."), _value(value), key)
    return Spelled(words[0], arguments)


def _put(arguments: dict[str, JsonValue], path: list[str], value: JsonValue, key: str) -> None:
    at = arguments
    for part in path[:-1]:
        inner = at.setdefault(part, {})
        if not isinstance(inner, dict):
            message = f"{key!r} goes into something that has a value already"
            raise ValueError(message)  # noqa: TRY004
        at = inner
    if path[-1] in at:
        message = f"{key!r} is there twice"
        raise ValueError(message)
    at[path[-1]] = value


def _value(text: str) -> JsonValue:
    """A number, `true` or `false`, JSON or what Python writes for it; else the text itself."""
    if re.fullmatch(r"[+-]?[0-9]{1,30}", text):
        return int(text)
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.startswith(("{", "[", '"')):
        try:
            read: JsonValue = json.loads(text)
        except json.JSONDecodeError:
            return _literal(text)
        return read
    return text


def _literal(text: str) -> JsonValue:
    """What Python reads, where it is JSON but for its quotation marks; else the text itself."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
        read = ast.literal_eval(_Named().visit(tree))
        written: JsonValue = json.loads(json.dumps(read))
    except (SyntaxError, ValueError, TypeError, MemoryError):
        return text
    return written


class _Named(ast.NodeTransformer):
    """Takes JSON's own names for Python's."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """One name."""
        return ast.Constant(_NAMES[node.id]) if node.id in _NAMES else node

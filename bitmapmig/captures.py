"""Capture: one QEMU's raw replies to the read-only queries, as one JSON document; read and written here.

Nothing in this module talks to QEMU. A capture is the evidence: the stages after it read typed records out of it and
keep nothing back, so that a stored capture gives the plan that the live QEMU gave.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from bitmapmig import codes
from bitmapmig.diagnostics import CannotRunError, Where

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT_VERSION = 1

#: The reason of BM111 where a text that is no text was sent.
NO_TEXT = "it holds half of a surrogate pair, which is no character"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Query:
    """A read-only command that a capture sends; one that is `needed` must not answer with an error."""

    execute: str
    arguments: tuple[tuple[str, str | bool], ...] = ()
    needed: bool = False

    @property
    def message(self) -> dict[str, Any]:
        """The command as it goes over the wire."""
        words: dict[str, Any] = {"execute": self.execute}
        return words | {"arguments": dict(self.arguments)} if self.arguments else words


#: The structure that is asked for first and once more at the end: if it differs, the capture is torn.
NODES = Query("query-named-block-nodes", (("flat", True),), needed=True)

#: What is asked before anything else where asking for the nodes may do harm.
JOBS = Query("query-jobs")

#: Everything that a capture sends, in this order; the fixed allowlist of the monitor.
QUERIES: tuple[Query, ...] = (
    NODES,
    Query("query-block", needed=True),
    Query("x-debug-query-block-graph"),
    Query("query-blockstats"),
    JOBS,
    Query("query-block-exports"),
    Query("query-version", needed=True),
    Query("query-status", needed=True),
    Query("query-migrate", needed=True),
    Query("query-migrate-capabilities", needed=True),
    Query("query-migrate-parameters", needed=True),
    Query("query-name"),
    Query("query-uuid"),
    Query("query-chardev"),
    Query("query-cpus-fast"),
    Query("qom-get", (("path", "/machine"), ("property", "type"))),
    Query("query-qmp-schema"),
)

#: The same without what is large and what only a plan needs, for whoever looks often.
LOOK = tuple(
    query for query in QUERIES if query.execute not in ("query-qmp-schema", "query-chardev", "query-cpus-fast")
)

#: The commands whose argument types are kept of `query-qmp-schema`, with every type that they use.
SCHEMA_COMMANDS = (
    "migrate",
    "migrate-incoming",
    "migrate-set-capabilities",
    "migrate-set-parameters",
    "query-named-block-nodes",
    "x-debug-block-dirty-bitmap-sha256",
)


class Exchange(BaseModel):
    """One command and what QEMU answered: exactly one of `return` and `error`, as it came."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    execute: str
    arguments: dict[str, Any] = {}
    return_: Any = Field(default=None, alias="return", repr=False)
    error: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _answered_once(self) -> Exchange:
        if ("return_" in self.model_fields_set) == (self.error is not None):
            raise ValueError("exactly one of `return` and `error` must be there")
        return self

    @property
    def document(self) -> dict[str, Any]:
        """The exchange as it stands in a capture document."""
        asked: dict[str, Any] = {"execute": self.execute}
        if self.arguments:
            asked["arguments"] = self.arguments
        return asked | ({"return": self.return_} if self.error is None else {"error": self.error})


class Capture(BaseModel):
    """One QEMU at one moment: where the replies came from, and the replies.

    `process` is an opaque text that is equal for two captures exactly when both are of one process; only a unix socket
    of the same host can tell it. Raises nothing; `load` raises `CannotRunError` (BM110, BM111, BM112).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    endpoint: str
    process: str | None = None
    greeting: dict[str, Any]
    exchanges: tuple[Exchange, ...]

    def returned(self, command: str, kind: TypeAdapter[_T]) -> _T | None:
        """What `command` returned, as `kind`; None where it was not asked or answered with an error.

        Raises `CannotRunError` (BM108) where a needed command failed, and (BM111) where the reply is not a `kind`.
        """
        for exchange in self.exchanges:
            if exchange.execute == command and exchange.error is None:
                return self.parse(command, exchange.return_, kind)
        if any(query.needed and query.execute == command for query in QUERIES):
            answers = [exchange.error for exchange in self.exchanges if exchange.execute == command]
            error = str((answers[0] or {}).get("desc", answers[0])) if answers else "it is not in the capture"
            raise CannotRunError(
                codes.COMMAND_FAILED.at(Where(), command=command, endpoint=self.endpoint, error=printable(error))
            )
        return None

    def parse(self, command: str, raw: object, kind: TypeAdapter[_T]) -> _T:
        """`raw`, a part of what `command` returned, as `kind`. Raises `CannotRunError` (BM111) where it is none."""
        try:
            return kind.validate_python(raw)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, (command, *first["loc"])))
            reason = printable(f"{place}: {first['msg']} ({error.error_count()} in all)")
            raise CannotRunError(
                codes.CAPTURE_MALFORMED.at(Where(key=printable(place)), endpoint=self.endpoint, reason=reason)
            ) from error


def printable(text: str, limit: int = 500) -> str:
    """`text` with what does not print escaped, cut to `limit` characters: for texts that others wrote."""
    shown = text if len(text) <= limit else text[: limit - 3] + "..."
    return repr(shown)[1:-1]


def decode(raw: bytes) -> Any:  # noqa: ANN401  raw JSON
    """The JSON value in `raw`, which is UTF-8.

    Stricter than `json.loads`, so that whatever is taken can be written again and read by others: no NaN, no number
    beyond a double, no half of a surrogate pair. Raises `ValueError`, for that half `UnicodeEncodeError`; its text may
    hold what was sent: print it escaped.
    """
    try:
        value = json.loads(raw.decode(), parse_constant=_no_number, parse_float=_finite)
        if _SURROGATE.search(raw):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _no_number(text: str) -> NoReturn:
    msg = f"{text} is no JSON"
    raise ValueError(msg)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        msg = f"the number {text[:20]} is too large"
        raise ValueError(msg)
    return number


def too_deep(endpoint: str) -> CannotRunError:
    """The finding (BM111) for a reply that Python's JSON cannot walk to its bottom."""
    return CannotRunError(codes.CAPTURE_MALFORMED.at(Where(), endpoint=endpoint, reason="it is nested too deeply"))


def load(raw: bytes, path: str) -> Capture:
    """The capture in `raw`, which was read from `path`.

    Raises `CannotRunError`: BM110 where it is no JSON, BM111 where it is no capture, BM112 where it is of a later
    version.
    """
    try:
        document = decode(raw)
    except UnicodeEncodeError as error:
        malformed = codes.CAPTURE_MALFORMED.at(Where(file=path), endpoint=path, reason=NO_TEXT)
        raise CannotRunError(malformed) from error
    except ValueError as error:
        reason = printable(f"no JSON: {error}")
        raise CannotRunError(codes.CAPTURE_UNREADABLE.at(Where(file=path), path=path, reason=reason)) from error
    if isinstance(document, dict):
        found = document.get("format_version")
        if isinstance(found, int) and found != FORMAT_VERSION:
            version = codes.CAPTURE_VERSION.at(Where(file=path), path=path, found=found, known=FORMAT_VERSION)
            raise CannotRunError(version)
    try:
        return Capture.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        reason = printable(f"{place}: {first['msg']}")
        raise CannotRunError(
            codes.CAPTURE_MALFORMED.at(Where(file=path, key=printable(place)), endpoint=path, reason=reason)
        ) from error


def dump(capture: Capture) -> bytes:
    """The capture as its document: JSON with one line a reply, ending with a newline.

    Raises `CannotRunError` (BM111) where a reply is nested too deeply to be written.
    """
    head = {name: getattr(capture, name) for name in ("format_version", "endpoint", "process", "greeting")}
    try:
        lines = [json.dumps(exchange.document) for exchange in capture.exchanges]
    except RecursionError as error:
        raise too_deep(capture.endpoint) from error
    body = ",\n".join(lines)
    return f'{json.dumps(head)[:-1]}, "exchanges": [\n{body}\n]}}\n'.encode()


def schema_closure(schema: object, commands: Iterable[str] = SCHEMA_COMMANDS) -> list[Any]:
    """The entries of `query-qmp-schema` that the arguments of `commands` are made of, in QEMU's order.

    Of a `schema` that is not what QEMU sends, what looks like an entry; whoever reads it then finds what is missing.
    """
    entries = [entry for entry in _items(schema) if isinstance(entry, dict) and isinstance(entry.get("name"), str)]
    by_name = {entry["name"]: entry for entry in entries}
    wanted: set[str] = set()
    waiting = [name for name in commands if name in by_name]
    while waiting:
        name = waiting.pop()
        if name in wanted or name not in by_name:
            continue
        wanted.add(name)
        entry = by_name[name]
        parts = [part for key in ("members", "variants") for part in _items(entry.get(key)) if isinstance(part, dict)]
        uses = [entry.get("arg-type"), entry.get("element-type"), *(part.get("type") for part in parts)]
        waiting += [use for use in uses if isinstance(use, str)]
    return [entry for entry in entries if entry["name"] in wanted]


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


_STRUCTURE = ("node-name", "drv", "ro", "active", "file", "backing_file", "backing_file_depth", "children")
_BITMAP_STRUCTURE = ("name", "granularity", "recording", "busy", "persistent", "inconsistent")


def structure(nodes: object) -> tuple[str, ...]:
    """What of the reply `nodes` to `query-named-block-nodes` stays equal while the block graph does.

    That is names, drivers, sizes, children and bitmaps with their flags and stored copies, whatever the order of the
    nodes; not how dirty a bitmap is, nor statistics. Takes any JSON value.
    """
    return tuple(sorted(json.dumps(_node_structure(record), sort_keys=True) for record in _items(nodes)))


def _node_structure(record: object) -> object:
    if not isinstance(record, dict):
        return record
    image = _members(record.get("image"), ("virtual-size", "format-specific"))
    specific = _members(image.get("format-specific"), ("type", "data"))
    data = _members(specific.get("data"), ("compat", "bitmaps", "data-file"))
    bitmaps = [_members(bitmap, _BITMAP_STRUCTURE) for bitmap in _items(record.get("dirty-bitmaps"))]
    return [_members(record, _STRUCTURE), image.get("virtual-size"), specific.get("type"), data, bitmaps]


def _members(record: object, names: Iterable[str]) -> dict[str, Any]:
    """The members of `record` that are among `names`; none where it is no object."""
    return {name: record[name] for name in names if name in record} if isinstance(record, dict) else {}

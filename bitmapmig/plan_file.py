"""Path -> Plan: the document that `bitmapmig plan -o FILE` wrote, read with findings where it is none.

Reading and judging are two things: a refused plan and a provisional one are read like any other.
"""

from __future__ import annotations

import sys

from bitmapmig import codes, json_document
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.json_document import AnotherVersionError, MalformedError, UnreadableError
from bitmapmig.plans import Plan

#: Bytes of the largest plan that is read. 50,000 bitmaps take 60 MB.
FILE_LIMIT = 1 << 28

#: What stands for standard input where a file is asked for.
STANDARD_INPUT = "-"

_FORMAT_VERSION = 1


def read(path: str) -> Plan:
    """The plan in the file `path`, or on standard input for `-`.

    Raises `CannotRunError`: BM701 where it cannot be read or is no JSON, BM702 where it is no plan, BM703 where it is
    of another version.
    """
    shown = path.encode(errors="backslashreplace").decode()
    try:
        raw = _standard_input() if path == STANDARD_INPUT else json_document.read(path, FILE_LIMIT)
    except UnreadableError as error:
        raise _unreadable(shown, error.reason) from error
    return parse(raw, shown)


def parse(raw: bytes, path: str) -> Plan:
    """The plan in `raw`, which was read from `path`. Raises as `read` does."""
    try:
        return json_document.parse(raw, Plan, _FORMAT_VERSION)
    except UnreadableError as error:
        raise _unreadable(path, error.reason) from error
    except AnotherVersionError as error:
        version = codes.PLAN_VERSION.at(Where(file=path), path=path, found=error.found, known=_FORMAT_VERSION)
        raise CannotRunError(version) from error
    except MalformedError as error:
        malformed = codes.PLAN_MALFORMED.at(Where(file=path, key=error.place), path=path, reason=error.reason)
        raise CannotRunError(malformed) from error


def _standard_input() -> bytes:
    """Raises `UnreadableError`."""
    try:
        return json_document.bounded(sys.stdin.buffer, FILE_LIMIT)
    except AttributeError as error:  # what Python has for a standard input that is closed
        raise UnreadableError("standard input is closed") from error


def _unreadable(path: str, reason: str) -> CannotRunError:
    return CannotRunError(codes.PLAN_UNREADABLE.at(Where(file=path), path=path, reason=reason))

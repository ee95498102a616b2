"""Path -> Plan: the document that `bitmapmig plan -o FILE` wrote, read with findings where it is none.

Reading and judging are two things: a refused plan and a provisional one are read like any other.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from bitmapmig import codes
from bitmapmig.captures import decode, printable
from bitmapmig.diagnostics import CannotRunError, Where
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
        if path == STANDARD_INPUT:
            raw = _bounded(sys.stdin.buffer)
        else:
            with Path(path).open("rb") as file:
                raw = _bounded(file)
    except AttributeError as error:  # what Python has for a standard input that is closed
        raise _unreadable(shown, "standard input is closed") from error
    except (OSError, ValueError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise _unreadable(shown, printable(reason)) from error
    if len(raw) > FILE_LIMIT:
        raise _unreadable(shown, f"it is larger than {FILE_LIMIT} bytes")
    return parse(raw, shown)


def parse(raw: bytes, path: str) -> Plan:
    """The plan in `raw`, which was read from `path`. Raises as `read` does."""
    where = Where(file=path)
    try:
        document = decode(raw)
    except ValueError as error:  # half of a surrogate pair among them, whose text holds what was read
        reason = "it is no text" if isinstance(error, UnicodeError) else f"no JSON: {error}"
        raise _unreadable(path, printable(reason)) from error
    if isinstance(document, dict):
        found = document.get("format_version")
        if isinstance(found, int) and found != _FORMAT_VERSION:
            version = codes.PLAN_VERSION.at(where, path=path, found=found, known=_FORMAT_VERSION)
            raise CannotRunError(version)
    try:
        return Plan.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = printable(".".join(map(str, first["loc"])) or "the document")
        reason = printable(f"{place}: {first['msg']} ({error.error_count()} in all)")
        malformed = codes.PLAN_MALFORMED.at(Where(file=path, key=place), path=path, reason=reason)
        raise CannotRunError(malformed) from error


def _bounded(file: IO[bytes]) -> bytes:
    """All of `file`, but not more than one byte over `FILE_LIMIT`; it may be a pipe."""
    chunks: list[bytes] = []
    left = FILE_LIMIT + 1
    while left > 0 and (chunk := file.read(min(left, 1 << 20))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def _unreadable(path: str, reason: str) -> CannotRunError:
    return CannotRunError(codes.PLAN_UNREADABLE.at(Where(file=path), path=path, reason=reason))

"""Bytes of a file -> one of the JSON documents that this tool writes, or why they are none.

Which document it is, and by which code a mistake is told, is the matter of the module that asks.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, TypeVar

from pydantic import BaseModel, ValidationError

from bitmapmig.captures import decode, printable

_CHUNK = 1 << 20

_Model = TypeVar("_Model", bound=BaseModel)


class NoDocumentError(Exception):
    """What was read is no such document; `reason` is printable, whatever was read."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnreadableError(NoDocumentError):
    """It cannot be opened or read, is larger than allowed, is no text, or is no JSON."""


class AnotherVersionError(NoDocumentError):
    """It says that it is of the format version `found`."""

    def __init__(self, found: int) -> None:
        super().__init__(f"format_version {found}")
        self.found = found


class MalformedError(NoDocumentError):
    """It does not fit the model, first of all at `place`."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place


def read(path: str, limit: int) -> bytes:
    """The bytes of the file `path`. Raises `UnreadableError`, also where they are more than `limit`."""
    try:
        with Path(path).open("rb") as file:
            return bounded(file, limit)
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        raise _unreadable(error) from error


def bounded(file: IO[bytes], limit: int) -> bytes:
    """All of `file`, which may be a pipe. Raises `UnreadableError`, also where it is more than `limit` bytes."""
    chunks: list[bytes] = []
    left = limit + 1
    try:
        while left > 0 and (chunk := file.read(min(left, _CHUNK))):
            chunks.append(chunk)
            left -= len(chunk)
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise _unreadable(error) from error
    if left <= 0:
        msg = f"it is larger than {limit} bytes"
        raise UnreadableError(msg)
    return b"".join(chunks)


def _unreadable(error: OSError | ValueError) -> UnreadableError:
    reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return UnreadableError(printable(reason))


def parse(raw: bytes, model: type[_Model], version: int) -> _Model:
    """The document in `raw`. Raises `NoDocumentError`, as what it is; `version` is the only one that is known."""
    try:
        document = decode(raw)
    except ValueError as error:  # half of a surrogate pair among them, whose text holds what was read
        reason = "it is no text" if isinstance(error, UnicodeError) else f"no JSON: {error}"
        raise UnreadableError(printable(reason)) from error
    if isinstance(document, dict):
        found = document.get("format_version")
        if isinstance(found, int) and found != version:
            raise AnotherVersionError(found)
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = printable(".".join(map(str, first["loc"])) or "the document")
        raise MalformedError(place, printable(f"{first['msg']} ({error.error_count()} in all)")) from error

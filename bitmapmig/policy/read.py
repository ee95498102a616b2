"""A policy file -> `Policy`, or all that is wrong with it, each by file, line and key.

TOML has no null: there it is `destination = false`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bitmapmig.diagnostics import CannotRunError
from bitmapmig.documents import read as documents
from bitmapmig.documents.read import MAX_BYTES, Format
from bitmapmig.policy.model import Policy
from bitmapmig.policy.problems import PolicyMistakes

if TYPE_CHECKING:
    from pathlib import Path

    from bitmapmig.documents.read import Document

__all__ = ["MAX_BYTES", "Format", "parse", "read"]


def read(path: str | Path) -> Policy:
    """The policy in the file at `path`, in the format that its suffix tells.

    Raises `CannotRunError`: BM401 where the file cannot be read, else what `parse` raises.
    """
    return _policy(documents.read(path, PolicyMistakes()))


def parse(raw: bytes, name: str, format_: Format) -> Policy:
    """The policy in `raw`, which findings call `name`; an empty YAML or TOML document is `Policy()`.

    Raises `CannotRunError` with every problem that was found: BM402 to BM407, in the order of the file.
    """
    return _policy(documents.parse(raw, name, format_, PolicyMistakes()))


def _policy(document: Document) -> Policy:
    if document.origin.top is None:  # TOML
        _with_null(document.value)
    found = list(document.found)
    try:
        policy = Policy.parse(document.value, document.origin)
        if not found:
            return policy
    except CannotRunError as error:
        found += error.diagnostics
    raise CannotRunError(*sorted(found, key=lambda one: one.where.line or math.inf))


def _with_null(document: dict[str, object]) -> None:
    entries = document.get("map")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("destination") is False:
            entry["destination"] = None

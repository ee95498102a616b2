"""Both sides, decisions and pairs -> everything that would fail, lose or kill, before anything is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig.validate import bitmaps, convergence, ends, layers, storage
from bitmapmig.validate.ends import assumptions
from bitmapmig.validate.situation import End, Situation
from bitmapmig.validate.storage import by_storage

if TYPE_CHECKING:
    from bitmapmig.diagnostics import Diagnostic

__all__ = ["End", "Situation", "assumptions", "by_storage", "validate"]


def validate(situation: Situation) -> tuple[Diagnostic, ...]:
    """Every finding of every check; where the source has no named bitmap, whether the migration itself fails."""
    if not situation.decisions:
        return tuple(ends.without_bitmaps(situation))
    checks = (ends, bitmaps, storage, convergence, layers)
    return tuple(found for check in checks for found in check.check(situation))

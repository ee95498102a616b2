"""What `apply` did -> a document, and the exceptions for what it did not do; each says what both sides have now."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from bitmapmig.diagnostics import BitmapmigError, CannotRunError, Side
from bitmapmig.plans.document import Commands


class _Part(BaseModel):
    """A part of the document: frozen, unknown members refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SideNow(_Part):
    """What one side has in force, read back from it.

    `block_bitmap_mapping` is `none`, `planned` or `before` (what was in force when `apply` began); `neutral`, which
    does what none does and stands where none was, because a map cannot be un-set; or `other`, which somebody else set.
    `temporaries` are the bitmaps that the plan has made there.
    """

    side: Side
    endpoint: str
    block_bitmap_mapping: Literal["none", "planned", "before", "neutral", "other"]
    dirty_bitmaps: bool
    temporaries: tuple[str, ...] = ()


class Applied(_Part):
    """What came of `apply`: `applied`, or the commands that would be sent (`dry-run`, `script`).

    `commands` are sent in the order destination, source. `now` is what each side has in force, for `script` nothing.
    `irrelevant` are the differences of the block graphs from those that were planned for, in words, none of which
    matters to the plan. `script` is the text that carries the plan out, where one was asked for.
    """

    format_version: Literal[1] = 1
    outcome: Literal["applied", "dry-run", "script"]
    commands: Commands
    now: tuple[SideNow, ...] = ()
    irrelevant: tuple[str, ...] = ()
    script: str | None = None


class StaleError(BitmapmigError):
    """The plan does not fit what is there any more (BM711 to BM714); nothing is set, or it was put back."""


class NotAppliedError(CannotRunError):
    """The plan could not be carried out (BM721 to BM725); what was set before was put back, as far as QEMU allows."""


class ApplyInterruptedError(BitmapmigError):
    """`apply` was told to stop (BM726); what was set before was put back, as far as QEMU allows."""

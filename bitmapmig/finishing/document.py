"""What `finish` did -> its document, and the exception for what it does not do."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from bitmapmig.diagnostics import BitmapmigError, Diagnostic
from bitmapmig.plans.document import Command


class _Part(BaseModel):
    """A part of the document: frozen, unknown members refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FinishedEnd(_Part):
    """One side: `gone` says why it cannot be asked; then nothing is known of what is set there, and nothing was done.

    `dirty_bitmaps` is what became of the capability: `turned-off`, `off` already, or `left-on`. `block_bitmap_mapping`
    is what became of the map: `neutralised`, `neutral` already, `left` as it is, or there is `none`. `commands` were
    sent, with `dry-run` they would be; they remove these `temporaries` (`node/name`). `reasons` say what was left and
    why, in words. `not_in_map` are the bitmaps (`node/name`) that no map can hold: QEMU refuses to migrate them by
    itself, under the map it drops them silently.
    """

    endpoint: str
    gone: str | None
    dirty_bitmaps: Literal["turned-off", "off", "left-on"] | None = None
    block_bitmap_mapping: Literal["neutralised", "neutral", "left", "none"] | None = None
    temporaries: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()
    reasons: tuple[str, ...] = ()
    not_in_map: tuple[str, ...] = ()


class Finished(_Part):
    """The document of `finish`: what each side has now, read back from it; with `dry-run` what it would have.

    Where it is `refused`, nothing was touched, and `refusals` say why.
    """

    format_version: Literal[1] = 1
    outcome: Literal["finished", "dry-run", "refused"]
    source: FinishedEnd
    destination: FinishedEnd
    refusals: tuple[Diagnostic, ...] = ()
    advice: tuple[Diagnostic, ...] = ()


class FinishRefused(BitmapmigError):  # noqa: N818  it is an answer, not an error
    """Nothing was touched, because a migration is under way, or there was none that completed (BM901 to BM903).

    `finished` is the document that says so.
    """

    def __init__(self, finished: Finished) -> None:
        """Carry the document; the text of the exception is its refusals, a line each."""
        super().__init__(*finished.refusals)
        self.finished = finished

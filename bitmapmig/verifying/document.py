"""What a verification came to -> its document, and the exception that carries it."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue

from bitmapmig.diagnostics import BitmapmigError, Diagnostic
from bitmapmig.verifying.log import LoggedLine

#: What a verdict rests on, the strongest first. `digest-of-both`: SHA-256 of the bits on the source, which has not run
#: since, and on the destination. `digest-recorded`: the source's was taken at `pre-switchover`. `count-and-flags`: as
#: many dirty bytes as the source has, or more where a guest may have written since, and equal flags. `flags`: only
#: granularity and flags. `none`: nothing could be compared.
Proof: TypeAlias = Literal["digest-of-both", "digest-recorded", "count-and-flags", "flags", "none"]


class _Part(BaseModel):
    """A part of the document: frozen, unknown members refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Difference(_Part):
    """What was expected of a bitmap and what was found; of `content` these are digests, or dirty bytes."""

    what: Literal[
        "presence", "virtual-size", "granularity", "recording", "persistent", "inconsistent", "busy", "content"
    ]
    expected: JsonValue
    found: JsonValue


class VerifiedBitmap(_Part):
    """One bitmap of the plan: `proven`, `unproven` (it may be right), `failed`, or `left-behind` as the plan said.

    `proof` is what that rests on, `reason` says so in words. `cause` is why it failed, as far as can be told, and `log`
    the line of the destination's log that shows it.
    """

    node: str
    bitmap: str
    fate: Literal["migrate", "merged", "by-storage", "left-behind"]
    destination_node: str | None
    destination_bitmap: str | None
    outcome: Literal["proven", "unproven", "failed", "left-behind"]
    proof: Proof
    reason: str
    differences: tuple[Difference, ...] = ()
    cause: str | None = None
    log: LoggedLine | None = None


class VerifiedEnd(_Part):
    """One side as it was found: `gone` says why it cannot be asked; then nothing else is known of it.

    `migration` is the status of `query-migrate`, `run_state` that of `query-status`.
    """

    endpoint: str
    gone: str | None
    run_state: str | None = None
    migration: str | None = None


class Verified(_Part):
    """The document of `verify`.

    `verdict` is `proven` where every bitmap is, `failed` where `failures` say so, else `unproven`: nothing speaks
    against it, and that is all. With `strict` that fails as well. `log` are the lines that were recognised.
    """

    format_version: Literal[1] = 1
    verdict: Literal["proven", "unproven", "failed"]
    strict: bool
    source: VerifiedEnd
    destination: VerifiedEnd
    bitmaps: tuple[VerifiedBitmap, ...]
    failures: tuple[Diagnostic, ...]
    advice: tuple[Diagnostic, ...]
    log: tuple[LoggedLine, ...]


class VerificationFailed(BitmapmigError):  # noqa: N818  it is an answer, not an error
    """Bitmaps did not arrive as planned: `verified` is the document, with each difference."""

    def __init__(self, verified: Verified) -> None:
        """Carry the document; the text of the exception is its failures, a line each."""
        super().__init__(*verified.failures)
        self.verified = verified

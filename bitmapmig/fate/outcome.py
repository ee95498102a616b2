"""What a migration comes to: as a whole, for each bitmap, and in the logs."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from bitmapmig.diagnostics import Side

Outcome: TypeAlias = Literal[
    "arrives",
    "by-storage",
    "sent",
    "dropped",
    "lost-with-another",
    "blocks-source",
    "kills-destination",
    "breaks-activation",
    "lost-at-shutdown",
    "worthless",
    "unknown",
]

MigrationEnd: TypeAlias = Literal["completes", "fails", "destination-dies", "unknown"]
SourceEnd: TypeAlias = Literal["completed", "failed", "refuses", "aborts"]
DestinationEnd: TypeAlias = Literal["completed", "exits", "aborts", "waiting"]

#: Whether the bitmap is there, whole and worth something, once the destination has run and was shut down.
WHOLE: frozenset[Outcome] = frozenset(("arrives", "by-storage"))


class _Part(BaseModel):
    """A part of the document: frozen, unknown members refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LogLine(_Part):
    """What a line that QEMU prints to standard error holds, after the name of the program."""

    side: Side
    text: str


class ForetoldBitmap(_Part):
    """What becomes of one named bitmap of the source.

    `arrives`: whole. `by-storage`: in the image that both sides share, not in the stream. `sent`: it is put into the
    stream, and no destination is known. `dropped`: not sent, or not taken, and both sides say `completed`.
    `lost-with-another`: nothing is wrong with it, another one or the migration as a whole takes it down.
    `blocks-source`: QEMU refuses to send it, and with it everything. `kills-destination`: the destination exits or
    aborts over it. `breaks-activation`: it arrives, then its image, or one before it, cannot be activated.
    `lost-at-shutdown`: it arrives, is shown as persistent, and is never stored. `worthless`: it arrives where the guest
    writes and comes from where no guest write reached it. `unknown`: a driver is not known.

    What is wrong with the bitmap itself counts, even where something else is met first. `code` explains it (`bitmapmig
    explain`). `others_lost` is how many other bitmaps go down with it. Aliases are its names in the stream, where it is
    sent; `destination_node` and `destination_bitmap` where the destination puts it, with `recording`, `persistent` and
    `granularity` (bytes) as they are there.
    """

    node: str
    bitmap: str
    outcome: Outcome
    reason: str
    code: str | None = None
    others_lost: int = 0
    node_alias: str | None = None
    bitmap_alias: str | None = None
    destination_node: str | None = None
    destination_bitmap: str | None = None
    recording: bool
    persistent: bool
    granularity: int


class Foretold(_Part):
    """What a migration would come to, begun now with what is set, or proposed to be set, on both sides.

    `source` is what becomes of it there: `completed` or `failed` as `query-migrate` says, `refuses` where the commands
    that begin it are refused, `aborts` where the process dies. `destination`: `completed`, or its process `exits` or
    `aborts`, or `waiting` where nothing reaches it. None where either may happen, or no destination is known.
    `log` are the lines about it, in their order on each side. `reason` and `code` say why, where it does not complete
    for a reason that lies in no bitmap.
    """

    migration: MigrationEnd
    source: SourceEnd | None
    destination: DestinationEnd | None
    reason: str = ""
    code: str | None = None
    log: tuple[LogLine, ...]
    bitmaps: tuple[ForetoldBitmap, ...]

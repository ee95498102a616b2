"""What a rehearsal came to -> its document: what QEMU did with every bitmap, beside what the model foretold."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from bitmapmig.diagnostics import Diagnostic, Side
from bitmapmig.fate import DestinationEnd, ForetoldBitmap, LogLine, MigrationEnd, SourceEnd
from bitmapmig.plans.document import Fate
from bitmapmig.verifying import Proof

#: What QEMU did with a bitmap.
#: `arrived`: on the destination, with the bits and flags that it was to have, and, where persistent, in the
#: image after the shutdown. `by-storage`: the same, by way of the image that both sides have open.
#: `left-behind`: as the plan says; in place of it a merged one migrates, where that is planned.
#: `misplaced`: it arrived, and elsewhere than it was to be.
#: `altered`: it is there, and not as it was to be. `lost`: the migration completed without it.
#: `stale`: in its place a copy with other bits came up that the destination's image held.
#: `leaves-inconsistent`: it arrived, and its image is left with a copy that is inconsistent.
#: `lost-at-shutdown`: it arrived as persistent, and no image holds it afterwards.
#: `breaks-activation`: its image could not be activated. `not-migrated`: the migration did not complete.
Happened: TypeAlias = Literal[
    "arrived",
    "by-storage",
    "left-behind",
    "misplaced",
    "altered",
    "leaves-inconsistent",
    "lost",
    "stale",
    "lost-at-shutdown",
    "breaks-activation",
    "not-migrated",
]


class _Part(BaseModel):
    """A part of the document: frozen, unknown members refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RehearsedEnd(_Part):
    """One side: the program that stood for it, and what of the graph could not be built as it is.

    `qemu_version` is the program's, `planned_version` that of the QEMU which it stands for. `substituted` says of a
    node, a job or an export what stood for it.
    """

    binary: str
    qemu_version: str
    planned_version: str
    substituted: dict[str, str]


class RehearsedBitmap(_Part):
    """One named bitmap of the source, by its names in the plan; `destination_*` where it was found afterwards.

    `fate` is the plan's. `foretold` is the model's, for the very QEMUs of the rehearsal. `agrees` is whether that is
    what happened, None where it cannot be told; `reason` says what happened in words, `log` is the line of a QEMU that
    speaks of it. `proof` is what the verdict of `verify` on it rests on.
    """

    node: str
    bitmap: str
    fate: Fate
    foretold: ForetoldBitmap
    happened: Happened
    reason: str
    destination_node: str | None = None
    destination_bitmap: str | None = None
    agrees: bool | None
    proof: Proof | None = None
    log: LogLine | None = None


class RehearsedMigration(_Part):
    """What became of the migration, in the words of `Foretold`; `error` is what QEMU said over QMP, if anything."""

    migration: MigrationEnd
    source: SourceEnd
    destination: DestinationEnd
    error: str = ""


class Disagreement(_Part):
    """The model foretold one thing and QEMU did another: of the migration, a side, a bitmap, or a line of a log."""

    what: Literal["migration", "side", "bitmap", "log"]
    side: Side | None = None
    node: str | None = None
    bitmap: str | None = None
    foretold: str
    happened: str


class Rehearsal(_Part):
    """The document of `rehearse`.

    `outcome`: `survives` where everything that the plan says came true; `fails` where something did not, `failures` say
    what; `refused` where a refused plan was rehearsed and nothing went wrong in it, which makes it no plan.
    `disagreements` are where the model is wrong, whatever the outcome. `seed` gives the same dirty bits again. `log`
    are the lines that both QEMUs printed since the migration began, in their order on each side. `verified` is what
    `verify` says of the migrated pair, None where it was not asked. `refusals` are those of the plan.
    """

    format_version: Literal[1] = 1
    outcome: Literal["survives", "fails", "refused"]
    verdict: Literal["planned", "refused"]
    seed: int
    source: RehearsedEnd
    destination: RehearsedEnd
    migration: RehearsedMigration | None
    bitmaps: tuple[RehearsedBitmap, ...]
    disagreements: tuple[Disagreement, ...]
    failures: tuple[Diagnostic, ...]
    advice: tuple[Diagnostic, ...]
    refusals: tuple[Diagnostic, ...]
    verified: Literal["proven", "unproven", "failed"] | None
    log: tuple[LogLine, ...]

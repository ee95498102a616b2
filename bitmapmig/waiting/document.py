"""What `apply --wait-migration` saw -> its document, and the exception for a migration that did not bring the plan."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from bitmapmig.applying.document import Applied
from bitmapmig.diagnostics import BitmapmigError, Diagnostic
from bitmapmig.finishing.document import Finished
from bitmapmig.verifying import Verified


class Migrated(BaseModel):
    """The document of `apply --wait-migration`.

    `outcome` is `completed`, or `failed` where the migration did not complete or what it brought is not as planned;
    `failures` then say why. `warnings` are what changed while it was waited for. `recorded` is how many digests of the
    source's bitmaps were taken while its guest was stopped. `verified` is None where the migration did not complete
    or could not be verified, and `finished` where the ends could not be cleaned; `problems` say why either could not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    outcome: Literal["completed", "failed"]
    applied: Applied
    recorded: int
    warnings: tuple[Diagnostic, ...] = ()
    verified: Verified | None = None
    finished: Finished | None = None
    failures: tuple[Diagnostic, ...] = ()
    problems: tuple[Diagnostic, ...] = ()


class MigrationFailed(BitmapmigError):  # noqa: N818  it is an answer, not an error
    """The migration did not bring what was planned; `migrated` is the document."""

    def __init__(self, migrated: Migrated) -> None:
        """Carry the document; the text of the exception is its failures, a line each."""
        super().__init__(*migrated.failures)
        self.migrated = migrated

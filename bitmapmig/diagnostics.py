"""What was found -> a value that says where, why and what to do.

Every finding of every stage has a line in `bitmapmig.codes`; this module holds the types that such a line and its
findings have. Messages are formatted from the facts, names in them are quoted with `repr`, so that a hostile name
cannot write to a terminal from inside a message.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Side = Literal["source", "destination"]


class Severity(StrEnum):
    """What a finding does: an error ends the run (exit 2), a refusal refuses the plan (exit 3), advice only speaks.

    A failure is about a migration that did not bring what was planned (exit 5). What is stale is a plan that does not
    fit what is there any more (exit 4).
    """

    ERROR = "error"
    FAILURE = "failure"
    STALE = "stale"
    REFUSAL = "refusal"
    ADVICE = "advice"


class Where(BaseModel):
    """The place of a finding: in a block graph (side, node, bitmap), or in a file (file, line, key)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: Side | None = None
    node: str | None = None
    bitmap: str | None = None
    file: str | None = None
    line: int | None = None  #: counted from 1
    key: str | None = None


class Diagnostic(BaseModel):
    """One finding. `facts` is for machines, `message` and `remedy` are for people, `fragments` are policies.

    Each of `fragments` is one alternative: merged into the policy (lists appended, scalars replaced) it cures this
    finding.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    name: str
    severity: Severity
    where: Where
    message: str
    facts: dict[str, JsonValue]
    remedy: str
    fragments: tuple[dict[str, JsonValue], ...] = ()
    documentation: str


@dataclass(frozen=True, slots=True)
class Code:
    """One line of the table of codes: the stable number, the kebab-case name, and the templates of its texts."""

    code: str
    name: str
    severity: Severity
    message: str
    remedy: str
    acceptable: bool = False  #: whether a policy may `accept` it

    @property
    def documentation(self) -> str:
        """The page that explains this code, relative to the project."""
        return f"docs/codes/{self.code}.md"

    def at(
        self,
        where: Where,
        *,
        fragments: Iterable[Mapping[str, Any]] = (),
        remedy: str | None = None,
        **facts: Any,  # noqa: ANN401  JSON values, checked by Diagnostic
    ) -> Diagnostic:
        """Make the finding of this code at `where`; `remedy` replaces the template where one case has a better cure."""
        return Diagnostic(
            code=self.code,
            name=self.name,
            severity=self.severity,
            where=where,
            message=self.message.format(**{name: _words(fact) for name, fact in facts.items()}),
            facts=facts,
            remedy=remedy or self.remedy.format(**facts),
            fragments=tuple(dict(fragment) for fragment in fragments),
            documentation=self.documentation,
        )


def _words(fact: object) -> object:
    """A fact as a message says it: a list of names as `'a', 'b'`."""
    if isinstance(fact, list) and all(isinstance(one, str) for one in fact):
        return ", ".join(map(repr, fact))
    return fact


class BitmapmigError(Exception):
    """The root of what this package raises: findings that end what was asked for."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        """Keep the findings; the text of the exception is their messages, a line each."""
        super().__init__("\n".join(f"{found.code} {found.message}" for found in diagnostics))
        self.diagnostics = diagnostics


class CannotRunError(BitmapmigError):
    """Nothing could be decided: unusable input, or a QEMU that cannot be reached or does not answer as QEMU does."""


def order(found: Diagnostic) -> tuple[str, ...]:
    """The key that sorts findings: by code, then by place, then by text."""
    place = found.where
    key = (found.code, place.side or "", place.node or "", place.bitmap or "", place.file or "")
    return (*key, f"{place.line or 0:09}", place.key or "", found.message)

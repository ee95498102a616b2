"""What an experiment is: a question about bitmaps, what QEMU is taken to answer, and how to ask it.

Answers are few and short, and the same words throughout, so that two profiles can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bitmapmig.behaviour import Behaviour, Version
    from bitmapmig.selftest.lab import Lab

# what becomes of a bitmap, or of the migration that it is in

ARRIVES = "arrives"  #: the bitmap is on the destination, with the bits that it had
DROPPED = "dropped"  #: the migration completes without it
FAILS = "migration fails"  #: the source gives up
EXITS = "destination exits"
ABORTS = "destination aborts"
SOURCE_ABORTS = "source aborts"
MIGRATE_REFUSED = "migrate is refused"
LOST = "lost at shutdown"  #: it is shown as persistent, and no image holds it afterwards
STORED = "stored"
INCONSISTENT = "inconsistent"

# what becomes of a command, or of whoever asks

REFUSED = "refused"
ACCEPTED = "accepted"
YES, NO = "yes", "no"


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """The answer of an experiment that this QEMU cannot be put to, and why."""

    reason: str


Run: TypeAlias = "Callable[[Lab], Awaitable[str | NotApplicable]]"


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment; `name` is its own for ever, since profiles are compared by it.

    `usual` is the answer that the model takes for granted. With a `behaviour`, a switch of the model, it is the answer
    of releases on which that does no harm, and `harmful` is that of the others. `words` says that it is only about what
    is printed.
    """

    name: str
    section: str
    question: str
    usual: str
    run: Run
    behaviour: Behaviour | None = None
    harmful: str = ""
    words: bool = False

    def __post_init__(self) -> None:
        if (self.behaviour is None) != (not self.harmful):
            message = f"{self.name}: a behaviour, and only that, has a harmful answer"
            raise ValueError(message)

    @property
    def kind(self) -> Literal["behaviour", "fact", "words"]:
        """What depends on the answer, as `Answer` says it."""
        if self.words:
            return "words"
        return "fact" if self.behaviour is None else "behaviour"

    def assumed(self, version: Version) -> str:
        """What the model takes the answer of a QEMU of that version to be."""
        return self.harmful if self.behaviour is not None and self.behaviour.assumed(version) else self.usual

    def harms(self, answer: str) -> bool:
        """Whether that answer says that the behaviour harms: one that nobody expects is taken for harm as well."""
        return answer != self.usual

"""What a QEMU program answered to the experiments of `selftest` -> its behaviour profile, a document.

Distributors patch QEMU, and most of what it does with bitmaps is in no query. A profile says what this very build does;
`plan --profile` takes its answers in place of the table by version (`bitmapmig.behaviour`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from bitmapmig import codes
from bitmapmig.behaviour import BY_NAME
from bitmapmig.diagnostics import CannotRunError, Diagnostic, Where

if TYPE_CHECKING:
    from bitmapmig.state import State


class _Part(BaseModel):
    """A part of the document: frozen, unknown members refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Answer(_Part):
    """One experiment: what was asked, what the model takes the answer to be, and what QEMU answered.

    `section` groups experiments. `kind`: a `behaviour` is a switch of the model, by the name of `behaviour` in
    `bitmapmig.behaviour`; a `fact` is built into the model; `words` are only what is printed. `answer` is None where
    the experiment does not apply to this QEMU. `reason` says why it does not, or that there were two answers. `log` are
    lines of QEMU that belong to the answer.
    """

    name: str
    section: str
    question: str
    kind: Literal["behaviour", "fact", "words"]
    behaviour: str | None = None
    assumed: str
    answer: str | None
    agrees: bool
    reason: str = ""
    log: tuple[str, ...] = ()


class Profile(_Part):
    """The document of `selftest`: which build of QEMU it is, and its answers.

    `qemu_version` and `package` are what `query-version` says. `behaviours` is name -> whether it harms, for each
    switch of the model that was tried. `differs` are the names of the experiments whose answers are not what the model
    takes for granted.
    """

    format_version: Literal[1] = 1
    qemu_version: str
    package: str
    behaviours: dict[str, bool]
    answers: tuple[Answer, ...]
    differs: tuple[str, ...]

    @property
    def program(self) -> str:
        """Of which QEMU it is, in words."""
        return f"{self.qemu_version} ({self.package})" if self.package else self.qemu_version

    @property
    def differing(self) -> Mapping[str, Answer]:
        """The facts that are built into the model and are none on this QEMU, by the name of the experiment."""
        return {name: answer for name, answer in self._facts.items() if not answer.agrees}

    @property
    def _facts(self) -> Mapping[str, Answer]:
        return {one.name: one for one in self.answers if one.kind == "fact" and one.answer is not None}

    def is_of(self, state: State) -> bool:
        """Whether it is a profile of the program that runs there, as far as that says what it is."""
        return (self.qemu_version, self.package) == (state.version_text, state.package)

    def contradicts(self, other: Profile) -> Iterator[str]:
        """The behaviours and the experiments of which the two say different things."""
        for name in self.behaviours.keys() & other.behaviours.keys():
            if self.behaviours[name] != other.behaviours[name]:
                yield name
        for name in self._facts.keys() & other._facts.keys():
            if self._facts[name].agrees != other._facts[name].agrees:
                yield name


class Known(NamedTuple):
    """What profiles say of one QEMU: `State.measured`, and the facts that are none there."""

    measured: Mapping[str, bool]
    differing: tuple[Answer, ...]


def known(profiles: Sequence[Profile], source: State, destination: State) -> tuple[Known, Known]:
    """What the profiles say of both ends. A behaviour that this version does not know is nobody's business here.

    Raises `CannotRunError` with each profile that is of neither end (BM134), and with each two that contradict each
    other (BM135).
    """
    findings = [*_of_another(profiles, source, destination), *_contradictions(profiles)]
    if findings:
        raise CannotRunError(*findings)
    return _known(profiles, source), _known(profiles, destination)


def _known(profiles: Iterable[Profile], state: State) -> Known:
    own = [one for one in profiles if one.is_of(state)]
    said = {name: harms for one in own for name, harms in one.behaviours.items() if name in BY_NAME}
    differing = {name: answer for one in own for name, answer in one.differing.items()}
    return Known(dict(sorted(said.items())), tuple(answer for _, answer in sorted(differing.items())))


def _of_another(profiles: Iterable[Profile], source: State, destination: State) -> Iterator[Diagnostic]:
    for one in profiles:
        if not one.is_of(source) and not one.is_of(destination):
            here, there = source.program, destination.program
            yield codes.PROFILE_OF_ANOTHER_QEMU.at(Where(), profile=one.program, source=here, destination=there)


def _contradictions(profiles: Iterable[Profile]) -> Iterator[Diagnostic]:
    for one, other in combinations(profiles, 2):
        about = sorted(one.contradicts(other)) if one.program == other.program else []
        if about:
            yield codes.PROFILES_CONTRADICT.at(Where(), profile=one.program, about=about)

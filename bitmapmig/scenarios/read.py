"""A scenario file -> `Scenario`, with the captures and the policy that it names; or all that is wrong with it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from pydantic import ValidationError

from bitmapmig import captures, codes, policy, state, transforms
from bitmapmig import graph as graphs
from bitmapmig.captures import printable
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.documents.file import plain
from bitmapmig.documents.origin import where
from bitmapmig.documents.read import Format, encodable
from bitmapmig.documents.read import parse as parse_document
from bitmapmig.documents.read import read as read_document
from bitmapmig.policy.read import read as read_policy
from bitmapmig.scenarios import start
from bitmapmig.scenarios.document import ScenarioDocument
from bitmapmig.scenarios.problems import ScenarioMistakes, findings
from bitmapmig.scenarios.profiles import measured, profile
from bitmapmig.scenarios.run import World
from bitmapmig.validate import End

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bitmapmig.captures import Capture
    from bitmapmig.diagnostics import Diagnostic, Side
    from bitmapmig.documents.origin import Origin
    from bitmapmig.documents.read import Document
    from bitmapmig.graph import BlockGraph
    from bitmapmig.policy import Policy
    from bitmapmig.resolve import RuleSet
    from bitmapmig.scenarios.document import Start
    from bitmapmig.state import State
    from bitmapmig.transforms import Operation

#: Bytes of the largest capture that is read.
_CAPTURE_LIMIT = 1 << 28


@dataclass(frozen=True)
class Scenario:
    """A scenario that can be run: its document, and what that leads to. `worlds` has the two QEMUs of each version."""

    file: str
    document: ScenarioDocument
    origin: Origin
    operations: tuple[Operation, ...]
    policy: Policy
    worlds: Mapping[str, World]

    @property
    def of_any_version(self) -> bool:
        """Whether nothing in it tells of a version: it says none, and begins with no capture."""
        return _of_any_version(self.document)

    @property
    def rules(self) -> RuleSet:
        """The rule set that gives addresses."""
        return self.policy.resolve or "explicit"

    def where(self, *keys: str | int) -> Where:
        """The place of a key in the file."""
        return where(keys, self.origin)


def _of_any_version(document: ScenarioDocument) -> bool:
    sides = [side for side in (document.start, document.destination) if side is not None]
    return document.qemu is None and all(side.qemu is None and side.capture is None for side in sides)


def read(path: str | Path, version: str | None = None) -> Scenario:
    """The scenario in the file at `path`, in the format that its suffix tells.

    One that is about no version of its own (`Scenario.of_any_version`) behaves like `version`, one of `measured`.

    Raises `CannotRunError` with every problem that was found: BM261 to BM265, BM251 and BM252 of steps, BM401 to BM407
    of a policy, BM110 to BM112 of captures.
    """
    return _Reading(read_document(path, ScenarioMistakes()), Path(path).parent, version).scenario()


def parse(raw: bytes, name: str, format_: Format, folder: Path) -> Scenario:
    """The scenario in `raw`, which findings call `name`; what it names is relative to `folder`. Raises as `read`."""
    return _Reading(parse_document(raw, name, format_, ScenarioMistakes()), folder).scenario()


class _Reading:
    """One scenario while it is read; gathers findings as it goes."""

    def __init__(self, read: Document, folder: Path, version: str | None = None) -> None:
        self.version = version
        self.raw = read.value
        self.origin = read.origin
        self.folder = folder
        self.found = list(read.found)

    def scenario(self) -> Scenario:
        try:
            document = ScenarioDocument.model_validate(self.raw)
        except ValidationError as error:
            self.found += findings(error, self.origin)
            self._stop()
        operations = tuple(self._operations(document))
        wishes = self._policy(document)
        worlds = {}
        try:
            worlds = self._worlds(document)
        except CannotRunError as error:
            self.found += error.diagnostics
        if not self.found and not document.steps and not document.expect.says_something:
            reason = "the scenario expects nothing: it has neither a step nor a value in `expect`"
            self.found.append(codes.SCENARIO_INVALID.at(where((), self.origin), reason=reason))
        if self.found:
            self._stop()
        return Scenario(self.origin.file, document, self.origin, operations, wishes, worlds)

    def _stop(self) -> NoReturn:
        raise CannotRunError(*sorted(self.found, key=lambda one: one.where.line or math.inf))

    def _operations(self, document: ScenarioDocument) -> Iterator[Operation]:
        for number, step in enumerate(document.steps):
            word, arguments = step.operation
            place = where(("steps", number, word), self.origin)
            if arguments is not None and not isinstance(arguments, dict):
                reason = "they must be a mapping"
                self.found.append(codes.OPERATION_MALFORMED.at(place, operation=word, reason=reason))
                continue
            try:
                yield transforms.read(word, arguments or {}, place)
            except CannotRunError as error:
                self.found += error.diagnostics

    def _policy(self, document: ScenarioDocument) -> Policy:
        wishes = policy.Policy()
        try:
            if isinstance(document.policy, str):
                wishes = read_policy(self.folder / document.policy)
            elif document.policy is not None:
                wishes = policy.Policy.parse(document.policy, self.origin.below(("policy",)))
        except CannotRunError as error:
            self.found += error.diagnostics
        return wishes if document.resolve is None else wishes.model_copy(update={"resolve": document.resolve})

    # the two QEMUs

    def _refuse_at(self, side: str) -> start.Refuse:
        def refuse(reason: str, *keys: str) -> NoReturn:
            raise CannotRunError(codes.SCENARIO_INVALID.at(where((side, *keys), self.origin), reason=printable(reason)))

        return refuse

    def _worlds(self, document: ScenarioDocument) -> dict[str, World]:
        source = _Side(self, "source", document.start, "start")
        there = (
            None if document.destination is None else _Side(self, "destination", document.destination, "destination")
        )
        if document.qemu is not None:
            for number, version in enumerate(document.qemu):
                self._measured(version, "qemu", number)
        default = source.captured.version if source.captured else None
        wanted = self.version if _of_any_version(document) else None
        versions = document.qemu or (_release(default) if default else wanted or measured()[-1],)
        return {version: self._world(document, version, source, there) for version in versions}

    @staticmethod
    def _world(document: ScenarioDocument, version: str, source: _Side, there: _Side | None) -> World:
        here = End("source", source.graph, source.state(version))
        if there is None or document.destination is None:
            return World(here, None, source.found)
        if document.destination.like is None:
            return World(
                here, End("destination", there.graph, there.state(version, here.state)), (*source.found, *there.found)
            )
        shared = document.destination.storage == "shared"
        alike = start.like(source.graph, here.state.version[:2], shared=shared)
        return World(here, End("destination", alike, there.state(version, here.state)), source.found)

    def _measured(self, version: str, *keys: str | int) -> None:
        if version not in measured():
            reason = f"{version!r} is no version that was measured: those are {', '.join(measured())}"
            raise CannotRunError(codes.SCENARIO_INVALID.at(where(keys, self.origin), reason=reason))

    def captured(self, path: str, side: Side, *keys: str) -> _Captured:
        """What the capture at `path`, relative to the file, tells of that side.

        Raises `CannotRunError` (BM108, BM110 to BM112) at `keys`, which name it: a capture has no lines to look at.
        """
        file = self.folder / path
        place = where(keys, self.origin)
        try:
            changed = file.stat()
            return _read_capture(str(file), (changed.st_mtime_ns, changed.st_size), side)
        except OSError as error:
            reason = printable(error.strerror or str(error))
            unreadable = codes.CAPTURE_UNREADABLE.at(place, path=encodable(str(file)), reason=reason)
            raise CannotRunError(unreadable) from error
        except CannotRunError as error:
            raise CannotRunError(*(one.model_copy(update={"where": place}) for one in error.diagnostics)) from error


class _Captured(NamedTuple):
    """What a capture tells; `found` is what is wrong with its graph."""

    graph: BlockGraph
    found: tuple[Diagnostic, ...]
    state: State


@lru_cache(maxsize=64)
def _capture(path: str, _changed: tuple[int, int]) -> Capture:
    raw = plain(path, _CAPTURE_LIMIT)
    if len(raw) > _CAPTURE_LIMIT:
        raise OSError(None, f"it is larger than {_CAPTURE_LIMIT} bytes")
    return captures.load(raw, encodable(path))


@lru_cache(maxsize=128)
def _read_capture(path: str, changed: tuple[int, int], side: Side) -> _Captured:
    capture = _capture(path, changed)
    return _Captured(*graphs.read(capture, side), state.read(capture))


def _release(version: tuple[int, int, int]) -> str:
    return f"{version[0]}.{version[1]}"


class _Side:
    """One of the two QEMUs while it is put together."""

    def __init__(self, reading: _Reading, side: Side, said: Start, key: str) -> None:
        self.side = side
        self.said = said
        self.refuse = reading._refuse_at(key)  # noqa: SLF001  of this module
        self.captured: State | None = None
        self.found: tuple[Diagnostic, ...] = ()
        if said.qemu is not None:
            reading._measured(said.qemu, key, "qemu")  # noqa: SLF001  of this module
        if said.capture is not None:
            self.graph, self.found, self.captured = reading.captured(said.capture, side, key, "capture")
        else:
            self.graph = start.graph(said, self.refuse, 100 if side == "source" else 500)

    def state(self, version: str, other: State | None = None) -> State:
        """The state of this side where the scenario behaves like `version`; its machine is that of `other`."""
        version = self.said.qemu or version
        captured = self.captured
        if captured is not None and _release(captured.version) == version:
            return start.said(self.said, captured, self.refuse)
        if version not in measured():
            self.refuse(f"the capture is of QEMU {version}, which was not measured: say `qemu` as well", "capture")
        idle = profile(version)
        if other is not None:
            idle = replace(idle, machine_type=other.machine_type)
        return start.state(self.said, idle, self.side, self.refuse)

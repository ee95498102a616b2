"""Capture -> State: everything about one QEMU besides its block graph that planning depends on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from pydantic import TypeAdapter

from bitmapmig import introspect
from bitmapmig.behaviour import Conduct
from bitmapmig.introspect import Schema
from bitmapmig.qapi import (
    ChardevInfo,
    CpuInfoFast,
    MigrateParameters,
    MigrationCapabilityStatus,
    MigrationInfo,
    NameInfo,
    StatusInfo,
    UuidInfo,
    VersionInfo,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitmapmig.captures import Capture

_VERSION = TypeAdapter(VersionInfo)
_STATUS = TypeAdapter(StatusInfo)
_MIGRATION = TypeAdapter(MigrationInfo)
_CAPABILITIES = TypeAdapter(tuple[MigrationCapabilityStatus, ...])
_PARAMETERS = TypeAdapter(MigrateParameters)
_NAME = TypeAdapter(NameInfo)
_UUID = TypeAdapter(UuidInfo)
_CHARDEVS = TypeAdapter(tuple[ChardevInfo, ...])
_CPUS = TypeAdapter(tuple[CpuInfoFast, ...])
_TEXT = TypeAdapter(str)

_T = TypeVar("_T")

_NIL_UUID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class State:
    """One QEMU process at one moment.

    `version` is (major, minor, micro); `machine_type` is the name that `-machine` takes, `run_state` a QAPI `RunState`;
    `machine_type` and `schema` are None where QEMU did not tell them. `monitors` and `threads` are what a process shows
    of itself on its host: character devices, and thread ids of its processors. `package` is what the distributor calls
    its build, and `measured` what a profile says of that (`behaviour.Conduct`); no capture has it.
    """

    endpoint: str
    process: str | None
    version: tuple[int, int, int]
    machine_type: str | None
    run_state: str
    migration: MigrationInfo
    capabilities: Mapping[str, bool]
    parameters: MigrateParameters
    schema: Schema | None
    name: str | None = None
    uuid: str | None = None
    monitors: tuple[tuple[str, str], ...] = ()
    threads: tuple[int, ...] = ()
    package: str = ""
    measured: Mapping[str, bool] = field(default_factory=dict)

    @property
    def conduct(self) -> Conduct:
        """By what it is known how it behaves."""
        return Conduct(self.version, self.measured)

    @property
    def version_text(self) -> str:
        """The version as QEMU prints it."""
        return ".".join(map(str, self.version))

    @property
    def program(self) -> str:
        """Which build of QEMU it is, in words."""
        return f"{self.version_text} ({self.package})" if self.package else self.version_text


def read(capture: Capture) -> State:
    """The state in a capture. Raises `CannotRunError` (BM108, BM111) where a needed reply failed or is malformed."""
    program = _needed(capture, "query-version", _VERSION)
    version = program.qemu
    machine = capture.returned("qom-get", _TEXT)
    name = capture.returned("query-name", _NAME)
    uuid = capture.returned("query-uuid", _UUID)
    capabilities = _needed(capture, "query-migrate-capabilities", _CAPABILITIES)
    return State(
        endpoint=capture.endpoint,
        process=capture.process,
        version=(version.major, version.minor, version.micro),
        machine_type=machine.removesuffix("-machine") if machine else None,
        run_state=_needed(capture, "query-status", _STATUS).status,
        migration=_needed(capture, "query-migrate", _MIGRATION),
        capabilities={one.capability: one.state for one in capabilities},
        parameters=_needed(capture, "query-migrate-parameters", _PARAMETERS),
        schema=introspect.read(capture),
        name=name.name if name else None,
        uuid=uuid.UUID if uuid and uuid.UUID != _NIL_UUID else None,
        monitors=tuple(sorted((one.label, one.filename) for one in capture.returned("query-chardev", _CHARDEVS) or ())),
        threads=tuple(sorted(cpu.thread_id for cpu in capture.returned("query-cpus-fast", _CPUS) or ())),
        package=program.package,
    )


def _needed(capture: Capture, command: str, kind: TypeAdapter[_T]) -> _T:
    """What a needed query returned: `Capture.returned` raises rather than give None for those."""
    found = capture.returned(command, kind)
    assert found is not None  # noqa: S101
    return found

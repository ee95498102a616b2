"""A path -> a QEMU program: what runs at all is asked first what it is."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bitmapmig import codes
from bitmapmig.captures import printable
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.throwaway.child import end, tied

#: Seconds in which a program must have told its version.
PATIENCE = 10.0

#: The names of the operator's own QEMU, where none is named: in the order in which they are tried.
DEFAULTS = ("qemu-system-x86_64", "qemu-kvm", "/usr/libexec/qemu-kvm", "qemu-system-aarch64")

#: Bytes of what a program says of itself that are read.
SAYING = 1 << 16

_VERSION = re.compile(rb"QEMU emulator version (\d{1,4})\.(\d{1,4})\.(\d{1,4})\b")


@dataclass(frozen=True, slots=True)
class Binary:
    """A QEMU program: `version` is (major, minor, micro), as the program itself tells it."""

    path: Path
    version: tuple[int, int, int]

    @classmethod
    def of(cls, path: str | Path) -> Self:
        """The QEMU at `path`, or of that name on PATH. Raises `CannotRunError` (BM121) where it is none."""
        found = shutil.which(path)
        if found is None:
            raise not_qemu(path, "there is no such program, or it may not be run")
        found = os.path.abspath(found)  # noqa: PTH100  as it is named: a program may go by that
        said = _said(found)
        version = _VERSION.match(said)
        if version is None:
            raise not_qemu(path, f"asked for its version it says {printable(said[:100].decode(errors='replace'))!r}")
        major, minor, micro = map(int, version.groups())
        return cls(Path(found), (major, minor, micro))

    @classmethod
    def default(cls) -> Self:
        """The operator's own QEMU: the first of `DEFAULTS` that is one. Raises `CannotRunError` (BM121) without any."""
        for name in DEFAULTS:
            with suppress(CannotRunError):
                return cls.of(name)
        names = ", ".join(DEFAULTS)
        raise not_qemu(DEFAULTS[0], f"none of {names} is one here", "name a QEMU program with --qemu")

    @classmethod
    def chosen(cls, named: Binary | str | Path | None) -> Binary:
        """The program that is meant: one that is known, one by its path or name, or for None the default.

        Raises as `of` and `default` do.
        """
        if named is None:
            return cls.default()
        return named if isinstance(named, Binary) else cls.of(named)

    @property
    def told(self) -> str:
        """The version as QEMU prints it."""
        return ".".join(map(str, self.version))

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor version."""
        return self.version[:2]


def not_qemu(path: str | Path, reason: str, remedy: str | None = None) -> CannotRunError:
    """The finding (BM121) for a program that is no QEMU, with a `remedy` of its own or the usual one."""
    text = str(path).encode(errors="backslashreplace").decode()
    return CannotRunError(codes.BINARY_NOT_QEMU.at(Where(), path=text, reason=reason, remedy=remedy))


def _said(path: str) -> bytes:
    """What the program prints when it is asked for its version: at most `SAYING` bytes, in at most `PATIENCE` s."""
    deadline = time.monotonic() + PATIENCE
    said = b""
    try:
        process = tied((path, "--version"), folder=Path("/"), output=subprocess.PIPE, errors=subprocess.DEVNULL)
    except OSError as error:
        raise not_qemu(path, error.strerror or str(error)) from error
    with process:
        assert process.stdout is not None  # noqa: S101
        try:
            while len(said) < SAYING:
                ready, _, _ = select.select((process.stdout,), (), (), max(0.0, deadline - time.monotonic()))
                chunk = os.read(process.stdout.fileno(), SAYING) if ready else b""
                if not chunk:
                    break
                said += chunk
        finally:
            end(process, PATIENCE)
    return said

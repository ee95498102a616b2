"""A path -> a QEMU program: what runs at all is asked first what it is."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bitmapmig import codes
from bitmapmig.captures import printable
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.throwaway.child import tied

#: Seconds in which a program must have told its version.
PATIENCE = 10.0

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
        said = _said(found)
        version = _VERSION.match(said)
        if version is None:
            raise not_qemu(path, f"asked for its version it says {printable(said[:100].decode(errors='replace'))!r}")
        major, minor, micro = map(int, version.groups())
        return cls(Path(found).absolute(), (major, minor, micro))

    @property
    def told(self) -> str:
        """The version as QEMU prints it."""
        return ".".join(map(str, self.version))

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor version."""
        return self.version[:2]


def not_qemu(path: str | Path, reason: str) -> CannotRunError:
    """The finding (BM121) for a program that is no QEMU."""
    text = str(path).encode(errors="backslashreplace").decode()
    return CannotRunError(codes.BINARY_NOT_QEMU.at(Where(), path=text, reason=reason))


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
            process.kill()
    return said

"""Bytes -> a file that is there whole, or as it was before."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bitmapmig import atomic, codes
from bitmapmig.diagnostics import CannotRunError, Where

#: What stands for standard output where the name of a file is asked for.
STANDARD_OUTPUT = "-"
#: Where the system shows what is open, and devices.
_OPENED = (("/", "dev"), ("/", "proc"))


def write(path: str, raw: bytes) -> None:
    """Write `raw` to the file `path`, whatever is there; a device or a pipe is written to as it is.

    Raises `CannotRunError` (BM001); then the file is as it was.
    """
    shown = path.encode(errors="backslashreplace").decode()
    try:
        _write(Path(path), raw)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links that lead to themselves, up to 3.12
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise CannotRunError(codes.FILE_NOT_WRITTEN.at(Where(file=shown), path=shown, reason=reason)) from error


def _write(path: Path, raw: bytes) -> None:
    if path.absolute().parts[:2] in _OPENED:
        # /dev/stdout and its like: what is open already is written on with, never replaced
        with path.open("ab", buffering=0) as file:
            file.write(raw)
        return
    target = path.resolve()  # a link stays a link
    mode = _mode(target)
    if mode is not None and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        target.write_bytes(raw)
        return
    if mode is not None and stat.S_ISDIR(mode):
        raise IsADirectoryError(None, "it is a folder")
    atomic.replace(target, raw, _allowed() if mode is None else stat.S_IMODE(mode))


def _mode(path: Path) -> int | None:
    """The type and the permissions of what is there; None where nothing is."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _allowed() -> int:
    """The permissions of a new file."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask

"""Bytes -> a file that is there whole, or as it was: written beside, kept on disk, then given its name."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def replace(target: Path, raw: bytes, mode: int) -> None:
    """Make `raw` the content of `target`, a new file with the permissions `mode`. Raises `OSError`."""
    # a short name of its own, because the target's may be as long as names can be
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".bitmapmig-", delete=False) as file:
        try:
            os.fchmod(file.fileno(), mode)
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(target)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    _keep(target.parent)


def _keep(folder: Path) -> None:
    """Make the new name outlive a power cut, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

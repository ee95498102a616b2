"""A path that a document or a folder names -> the bytes of the file there, which must be a plain one.

Who writes the path may be a stranger: a FIFO would be waited for without end, and to open a device can do something.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


def plain(path: str | Path, limit: int) -> bytes:
    """What the file holds, of a larger one `limit` + 1 bytes. Raises `OSError`, also for what is no plain file."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise OSError(None, "it is no plain file")
        # what takes the place of the file in this moment is not waited for
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123  a descriptor
            return file.read(limit + 1)
    except ValueError as error:  # a NUL character in the path
        raise OSError(None, str(error)) from error

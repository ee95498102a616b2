"""A folder of one's own for sockets and images, removed at the end; what a killed run has left is removed by the next.

Whoever holds the lock in a folder uses it. The kernel frees it with the process.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bitmapmig import codes
from bitmapmig.captures import printable
from bitmapmig.diagnostics import CannotRunError, Where

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "bitmapmig-throwaway-"

_LOCK, _UNLOCKED = "in-use", "new"
#: Bytes of a path that leave room for the name of a socket (unix(7): 108 in all).
_ROOM = 60


@contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder that only this user can enter (mode 0700); it is removed in the end, with all that is in it.

    Raises `CannotRunError` (BM001) where none can be made.
    """
    with ExitStack() as stack:
        try:
            folder = _made(stack)
        except OSError as error:
            found = codes.FILE_NOT_WRITTEN.at(
                Where(),
                path="a folder for throw-away QEMUs",
                reason=printable(error.strerror or str(error)),
                remedy="let the environment variable TMPDIR name a folder that you may write to",
            )
            raise CannotRunError(found) from error
        yield folder


def _made(stack: ExitStack) -> Path:
    """A new folder, locked until `stack` ends, which removes it. Raises `OSError`."""
    parent = Path(tempfile.gettempdir())
    if len(os.fsencode(parent)) > _ROOM:
        parent = Path("/tmp")  # noqa: S108  the folder that is made in it is unique and private
    _sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    lock = stack.enter_context((folder / _UNLOCKED).open("wb"))
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / _UNLOCKED).rename(folder / _LOCK)  # so that nobody finds it free
    return folder


def _sweep(parent: Path) -> None:
    """Remove folders of this user whose lock is free: their process was killed. One without a lock may be in making."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                continue
            handle = os.open(folder / _LOCK, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)

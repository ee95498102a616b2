"""The lock of one host: flock(2) on a file in the state directory, which the kernel frees however its holder ends.

Two files for a lock: `NAME.lock`, on which the lock is, and `NAME.json`, which says who has it and is itself locked by
its writer for as long as he lives. So what a dead holder left behind is never taken for the word of a living one.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from bitmapmig import state_directory
from bitmapmig.lock.holder import Holder, name_of

if TYPE_CHECKING:
    from bitmapmig.state_directory import Directory

#: How often a lock file is opened anew that was removed just then; each time, another had his turn.
_TRIES = 100


class HostLock:
    """A `Backend` that excludes the processes of one user on one host."""

    pause = 0.05

    def __init__(self, key: str, holder: Holder) -> None:
        self._file = f"{name_of(key)}.lock"
        self._signature = f"{name_of(key)}.json"
        self._as = holder
        self._kept = ExitStack()  #: frees all that is held
        self._directory: Directory | None = None
        self._descriptor: int | None = None

    async def start(self) -> None:
        """Nothing to do: each try opens the state directory, which may come and go while one waits."""

    async def take(self) -> bool:
        """Take it if it is free. Raises `CannotRunError` (BM756)."""
        with ExitStack() as stack:
            directory = stack.enter_context(state_directory.opened())
            try:
                descriptor = self._locked(directory)
                if descriptor is None:
                    return False
                self._directory, self._descriptor = directory, descriptor
                stack.callback(os.close, descriptor)
                stack.callback(self._remove)
                stack.callback(os.close, self._sign(directory))
            except OSError as error:
                raise state_directory.unusable(directory.path, error) from error
            self._kept = stack.pop_all()
        return True

    def _locked(self, directory: Directory) -> int | None:
        """A descriptor that holds the lock on what bears its name after the lock was taken, too; None where it is held.

        A lock file is removed when its lock is freed, so one that was opened before may be nobody's by now.
        """
        for _ in range(_TRIES):
            descriptor = directory.open(self._file, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            if directory.holds(self._file, descriptor):
                return descriptor
            os.close(descriptor)
        return None

    def _sign(self, directory: Directory) -> int:
        """Say who has the lock; the descriptor whose lock tells that he still lives."""
        temporary, descriptor = directory.create(self._signature, self._as.from_now().model_dump_json().encode())
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            directory.replace(temporary, self._signature)
        except BaseException:
            os.close(descriptor)
            directory.remove(temporary)
            raise
        return descriptor

    async def holder(self) -> Holder | None:
        """Who signed and still lives."""
        with state_directory.opened() as directory:
            try:
                descriptor = directory.open(self._signature, os.O_RDONLY)
            except OSError:
                return None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return Holder.read(state_directory.read(descriptor))
            except OSError:
                return None
            finally:
                os.close(descriptor)
            return None

    async def lost(self) -> str | None:
        """Whether the file is still in place: the kernel takes no lock away, but another file has another lock."""
        if self._directory is None or self._descriptor is None:
            return "it was not taken"
        if self._directory.holds(self._file, self._descriptor):
            return None
        return f"its file {str(self._directory.path / self._file)!r} was removed or replaced"

    async def end(self) -> None:
        """Remove the files, then free the lock, so that nobody finds the name of a holder who is gone."""
        self._kept.close()
        self._directory = self._descriptor = None

    def _remove(self) -> None:
        # only what is still ours: after a loss, another may have put his own in its place
        if self._directory is not None and self._descriptor is not None:
            with suppress(OSError):
                if self._directory.holds(self._file, self._descriptor):
                    self._directory.remove(self._signature)
                    self._directory.remove(self._file)

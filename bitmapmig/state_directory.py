"""Environment -> the folder that keeps what must outlive one run: locks, and what `apply` recorded for `verify`.

    $XDG_STATE_HOME/bitmapmig     where that variable holds an absolute path
    /run/bitmapmig                as root
    ~/.local/state/bitmapmig      else

Whoever may write there could take a lock away or forge a record: a folder that is a symbolic link, another user's, or
writable by others is refused, and files in it are opened without following links.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from bitmapmig import codes
from bitmapmig.diagnostics import CannotRunError, Where

if TYPE_CHECKING:
    from collections.abc import Iterator

_RUN = Path("/run")
_NAME = "bitmapmig"
#: Bytes of the largest file that is read.
_LIMIT = 1 << 20
#: A FIFO in place of a file must not stop whoever opens it.
_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

#: Where `elsewhere` puts the state directory.
_ELSEWHERE: ContextVar[Path | None] = ContextVar("elsewhere", default=None)


def state_directory() -> Path:
    """The state directory, made with mode 0700 if it is missing. Raises `CannotRunError` (BM756)."""
    with opened() as directory:
        return directory.path


@contextmanager
def opened() -> Iterator[Directory]:
    """The state directory, held open, so that what is done in it is done in that very folder. Raises BM756."""
    path = _path()
    try:
        descriptor = _opened(path)
    except OSError as error:
        raise unusable(path, error) from error
    try:
        yield Directory(path, descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Directory:
    """An open state directory. All that goes wrong in it is an `OSError`; names have no folders in them."""

    path: Path
    descriptor: int

    def open(self, name: str, flags: int) -> int:
        """A descriptor of the plain file `name`, which this user owns; with `O_CREAT`, of mode 0600."""
        descriptor = os.open(name, flags | _SAFE, 0o600, dir_fd=self.descriptor)
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
            return descriptor
        os.close(descriptor)
        message = f"{name} in it is no plain file of this user"
        raise OSError(message)

    def create(self, name: str, content: bytes) -> tuple[str, int]:
        """A new file with `content` beside `name`, for `replace`; its name and its descriptor."""
        temporary = f".{name}.{token_hex(8)}"
        descriptor = self.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            while content:
                content = content[os.write(descriptor, content) :]
        except BaseException:
            os.close(descriptor)
            self.remove(temporary)
            raise
        return temporary, descriptor

    def replace(self, temporary: str, name: str) -> None:
        """Give the file `temporary` the name `name`, at once for all who look."""
        os.rename(temporary, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def remove(self, name: str) -> None:
        """Remove the file `name` if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def holds(self, name: str, descriptor: int) -> bool:
        """Whether `name` is still the file behind `descriptor`, and this folder still the one at its path."""
        try:
            named = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
            folder = self.path.lstat()
        except OSError:
            return False
        same_folder = os.path.samestat(folder, os.fstat(self.descriptor))
        return same_folder and os.path.samestat(named, os.fstat(descriptor))


def unusable(path: Path, error: OSError) -> CannotRunError:
    """What to raise where `error` keeps the state directory `path` from serving."""
    reason = error.strerror or str(error)
    return CannotRunError(codes.STATE_DIRECTORY_UNUSABLE.at(Where(), path=str(path), reason=reason))


def read(descriptor: int) -> bytes:
    """The first MiB of an open file."""
    return os.pread(descriptor, _LIMIT, 0)


@contextmanager
def elsewhere(folder: Path) -> Iterator[None]:
    """Let the state directory be in `folder` meanwhile, for this task: what is done there is nobody else's business."""
    token = _ELSEWHERE.set(folder)
    try:
        yield
    finally:
        _ELSEWHERE.reset(token)


def _path() -> Path:
    folder = _ELSEWHERE.get()
    if folder is not None:
        return folder / _NAME
    # the XDG Base Directory Specification: a relative path is to be ignored
    named = os.environ.get("XDG_STATE_HOME", "")
    if Path(named).is_absolute():
        return Path(named) / _NAME
    if os.geteuid() == 0:
        return _RUN / _NAME
    try:
        return Path.home() / ".local" / "state" / _NAME
    except RuntimeError as error:
        raise unusable(Path("~/.local/state") / _NAME, OSError(str(error))) from error


def _opened(path: Path) -> int:
    with suppress(FileExistsError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _SAFE)
    except NotADirectoryError as error:
        if path.is_symlink():
            raise OSError("it is a symbolic link") from error
        raise
    found = os.fstat(descriptor)
    fault = None
    if found.st_uid != os.geteuid():
        fault = f"it belongs to the user {found.st_uid}"
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        fault = "others than its owner may write to it"
    if fault:
        os.close(descriptor)
        raise OSError(fault)
    return descriptor

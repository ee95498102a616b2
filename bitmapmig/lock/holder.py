"""Who holds a lock: the values that name him, and the two errors that speak of him."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import socket
from datetime import UTC, datetime
from typing import Annotated, Protocol, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from bitmapmig.diagnostics import BitmapmigError, CannotRunError, Diagnostic

_Short = Annotated[str, Field(max_length=256)]


class Holder(BaseModel):
    """A process that holds a lock, or wants to. What comes from a lock was written by another: show it quoted."""

    # a later version may say more
    model_config = ConfigDict(frozen=True, extra="ignore")

    pid: int
    user: _Short
    host: _Short
    since: AwareDatetime  #: when it took the lock
    purpose: _Short  #: what it holds the lock for: the command

    @classmethod
    def here(cls, purpose: str) -> Self:
        """This process, from now on."""
        return cls(pid=os.getpid(), user=_user(), host=socket.gethostname()[:256], since=_now(), purpose=purpose)

    def from_now(self) -> Self:
        """The same, from now on."""
        return self.model_copy(update={"since": _now()})

    @classmethod
    def read(cls, document: str | bytes) -> Self | None:
        """The holder whom a JSON document names; None where it names none."""
        try:
            return cls.model_validate_json(document)
        except ValidationError:
            return None

    def __str__(self) -> str:
        since = self.since.isoformat(timespec="seconds")
        return f"process {self.pid} of {self.user!r} on {self.host!r} since {since}, for {self.purpose!r}"


class LockHeldError(BitmapmigError):
    """Another has the lock (BM751); `holder` is None where the lock does not tell who."""

    def __init__(self, finding: Diagnostic, holder: Holder | None) -> None:
        super().__init__(finding)
        self.holder = holder


class LockLostError(CannotRunError):
    """The lock is not held any more, or whether it is cannot be proven (BM752): another may write now."""


class Backend(Protocol):
    """One kind of lock, on one key. Every method may raise `CannotRunError`, but for `lost` and `end`."""

    pause: float  #: seconds between two tries to take it

    async def start(self) -> None:
        """Get ready, in bounded time."""

    async def take(self) -> bool:
        """Take the lock if it is free; whether it is held now."""

    async def holder(self) -> Holder | None:
        """Who holds it now; None where that cannot be told."""

    async def lost(self) -> str | None:
        """Why the lock that was taken is not, or not provably, held any more; None while it is."""

    async def end(self) -> None:
        """Free what was taken, in bounded time, also what an interrupted `take` may have taken."""


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def name_of(key: str) -> str:
    """The name of the lock on `key`, fit for files, paths and keys of any store: a UUID is itself, all else a digest.

    Different keys have different names.
    """
    if _UUID.fullmatch(key):
        return f"bitmapmig-{key}"
    return f"bitmapmig-sha256-{hashlib.sha256(key.encode(errors='surrogatepass')).hexdigest()}"


def _now() -> datetime:
    return datetime.now(UTC)


def _user() -> str:
    user = os.geteuid()
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # of a container, say
        return str(user)

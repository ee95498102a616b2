"""Key -> held lock: tries until the time is over, and gives back whatever happens in between."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from bitmapmig import codes
from bitmapmig.diagnostics import Where
from bitmapmig.lock.cluster import ClusterLock
from bitmapmig.lock.holder import Backend, Holder, LockHeldError, LockLostError
from bitmapmig.lock.host import HostLock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: How often, and how many seconds apart, a lock is asked for its holder: one who has just taken it is still signing.
_LOOKS, _APART = 5, 0.05
_UNNAMED = "another process; the lock does not tell which"


class Lock:
    """A lock that was taken. It may be lost at any time: `check` before each command that writes."""

    def __init__(self, key: str, backend: Backend) -> None:
        self._key = key
        self._backend = backend
        self._lost: str | None = None

    async def check(self) -> None:
        """Prove that the lock is held, and keep it alive; takes 5 seconds at most.

        Raises `LockLostError` (BM752) where it is lost or that cannot be proven, and from then on always.
        """
        if self._lost is None:
            self._lost = await self._backend.lost()
        if self._lost is not None:
            raise LockLostError(codes.LOCK_LOST.at(Where(), key=_text(self._key), reason=self._lost))


@asynccontextmanager
async def held(
    key: str,
    *,
    url: str | None = None,
    timeout: float = 0.0,  # noqa: ASYNC109  that it is over is an answer, not an exception of asyncio
    holder: Holder,
) -> AsyncIterator[Lock]:
    """Hold the lock on `key`, any text, as `holder`: in the state directory, or in the service at `url`.

    Waits `timeout` seconds for another to free it; 0 tries once. Raises `LockHeldError` (BM751), and `CannotRunError`
    (BM753 to BM756) where there can be no lock. An interrupted wait leaves nothing held.
    """
    backend: Backend = HostLock(key, holder) if url is None else ClusterLock(key, url, holder)
    try:
        await _take(backend, key, timeout)
        yield Lock(key, backend)
    finally:
        await backend.end()


async def _take(backend: Backend, key: str, seconds: float) -> None:
    now = asyncio.get_running_loop().time
    await backend.start()
    deadline = now() + seconds
    while not await backend.take():
        left = deadline - now()
        if left <= 0:
            holder = await _holder(backend)
            facts = holder and holder.model_dump(mode="json")
            by = str(holder or _UNNAMED)
            finding = codes.LOCK_HELD.at(Where(), key=_text(key), by=by, holder=facts, waited=seconds)
            raise LockHeldError(finding, holder)
        await asyncio.sleep(min(backend.pause, left))


async def _holder(backend: Backend) -> Holder | None:
    for _ in range(_LOOKS):
        found = await backend.holder()
        if found is not None:
            return found
        await asyncio.sleep(_APART)
    return None


def _text(key: str) -> str:
    """`key` without lone surrogates, so that it is text."""
    return key.encode(errors="backslashreplace").decode()

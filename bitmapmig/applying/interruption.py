"""Work that may be told to end -> its end: cut off where that is harmless, else left to come to an end by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_T = TypeVar("_T")


class Stop:
    """Tells a running `apply` to end, from a signal handler: both QEMUs are then as they were, or as planned."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._event = asyncio.Event()

    def now(self, reason: str) -> None:
        """End soon; `reason` is what is said to have interrupted. Once told, telling it again changes nothing."""
        self.reason = self.reason or reason
        self._event.set()

    async def wait(self) -> None:
        """Return once it is told."""
        await self._event.wait()

    def check(self) -> None:
        """Raise `StoppedError` where it was told."""
        if self.reason:
            raise StoppedError


class StoppedError(Exception):
    """The end was asked for before the work was done."""


async def until_stopped(work: Coroutine[Any, Any, _T], stop: Stop, harmless: Callable[[], bool]) -> _T:
    """What `work` comes to. Once `stop` is told it is cut off if that is `harmless` then; else it is to look by itself.

    Raises `StoppedError` where it was cut off. Where this task is cancelled, the same is done before it ends.
    """
    working, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    cancelled: asyncio.CancelledError | None = None
    ending = False
    while not working.done():
        try:
            await asyncio.wait({working} if ending else {working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError as error:
            cancelled = error
            stop.now("cancellation")
        if stop.reason and not ending:
            ending = True
            if harmless():
                working.cancel()
    stopped.cancel()
    if cancelled is not None:
        raise cancelled from (None if working.cancelled() else working.exception())
    if working.cancelled():
        raise StoppedError
    return working.result()

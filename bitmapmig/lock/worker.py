"""Calls that block -> awaitable ones: a thread that makes them one after the other, and beats in between.

All calls of a coordinator are made in one thread, because locks may be bound to theirs. The thread is a daemon: a call
that never returns must not keep the process from ending, as one of an executor would.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Result = TypeVar("_Result")


class Worker:
    """One thread. Every `interval` seconds, between the other calls, it calls `beat`, which may raise to no effect."""

    def __init__(self, beat: Callable[[], object], interval: float) -> None:
        self._beat = beat
        self._interval = interval
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._run, name="bitmapmig-lock", daemon=True).start()

    async def do(self, call: Callable[[], _Result], seconds: float) -> _Result:
        """Make the call and await its result for `seconds`, then raise `TimeoutError`.

        The call is made even if nobody awaits it any more, so that those after it find what it did.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Result] = loop.create_future()

        def job() -> None:
            try:
                result = call()
            except Exception as error:  # noqa: BLE001  it is raised where the result is awaited
                _to(loop, _fail, answer, error)
            else:
                _to(loop, _succeed, answer, result)

        self._jobs.put(job)
        async with asyncio.timeout(seconds):
            return await answer

    def finish(self) -> None:
        """End the thread when it has made the calls that it was given."""
        self._jobs.put(None)

    def _run(self) -> None:
        due = time.monotonic() + self._interval
        while True:
            try:
                job = self._jobs.get(timeout=max(0, due - time.monotonic()))
            except Empty:
                job = self._beaten
                due = time.monotonic() + self._interval
            if job is None:
                return
            job()

    def _beaten(self) -> None:
        with suppress(Exception):
            self._beat()


def _to(loop: asyncio.AbstractEventLoop, settle: Callable[..., None], *words: object) -> None:
    with suppress(RuntimeError):  # the loop has ended: nobody waits
        loop.call_soon_threadsafe(settle, *words)


def _succeed(answer: asyncio.Future[_Result], result: _Result) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[_Result], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)

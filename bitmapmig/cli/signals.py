"""SIGINT and SIGTERM -> an end in order: at once where nothing was begun, else whoever is at work is told to end."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self, TypeVar

from rich.text import Text

from bitmapmig import codes
from bitmapmig.applying.document import ApplyInterruptedError
from bitmapmig.cli import exits
from bitmapmig.cli.screen import NotWrittenError
from bitmapmig.diagnostics import Where

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from types import FrameType, TracebackType

    from bitmapmig.cli.screen import Screen

_T = TypeVar("_T")

_WATCHED = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """Takes both signals while it is entered; `err` is where it says that it has."""

    def __init__(self, err: Screen) -> None:
        """Take none yet."""
        self.first: str | None = None
        self._err = err
        self._before: dict[signal.Signals, object] = {}
        self._raises = False
        self._tell: Callable[[str], None] | None = None

    def __enter__(self) -> Self:
        for number in _WATCHED:
            self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _received(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        again = self.first is not None
        self.first = self.first or name
        if self._tell is not None:
            self._tell(f"{name} again" if again else name)
        elif self._raises:
            raise KeyboardInterrupt

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Where nothing was begun yet: a signal ends what goes on at once. Raises `ApplyInterruptedError`."""
        self._raises = True
        try:
            yield
        except KeyboardInterrupt as error:
            outcome = "nothing was set, both QEMUs are as they were"
            found = codes.APPLY_INTERRUPTED.at(Where(), signal=self.first or "", outcome=outcome)
            raise ApplyInterruptedError(found) from error
        finally:
            self._raises = False

    @contextmanager
    def told_to(self, stop: Callable[[str], None]) -> Iterator[None]:
        """Where a loop is at work: a signal calls `stop` with its name, and says so; a further one is only said."""
        loop = asyncio.get_running_loop()

        def tell(said: str) -> None:
            if not said.endswith("again"):
                stop(said)
                words = "ending in order; what each side has then is said"
            else:
                words = "still at it; what was begun is not cut short"
            with suppress(NotWrittenError):  # it ends in order all the same
                self._err.lines([Text(f"bitmapmig: {said}: {words}")])

        # the handler may interrupt anything, a write to the screen too; the loop does one thing after the other
        def soon(said: str) -> None:
            loop.call_soon_threadsafe(tell, said)

        self._tell = soon
        if self.first is not None:
            tell(self.first)
        try:
            yield
        finally:
            self._tell = None

    def too_late(self, what: str) -> int | None:
        """The exit code where a signal came and nothing was left to end: `what` is so, which is said; else None."""
        if self.first is None:
            return None
        with suppress(NotWrittenError):
            self._err.lines([Text(f"bitmapmig: {self.first} came too late to change anything: {what}")])
        return exits.INTERRUPTED


def ended_in_order(coroutine: Coroutine[object, object, _T]) -> _T:
    """Run `coroutine`; SIGINT and SIGTERM cancel it, so that it ends what it has begun. Raises `KeyboardInterrupt`."""
    try:
        return asyncio.run(_cancelled_by_sigterm(coroutine))
    except asyncio.CancelledError as error:
        raise KeyboardInterrupt from error


async def _cancelled_by_sigterm(coroutine: Coroutine[object, object, _T]) -> _T:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # SIGINT is asyncio's own matter
    return await coroutine

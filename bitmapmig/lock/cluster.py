"""The lock of a cluster: a coordination service behind a URL, by way of tooz, which is an optional extra."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

from bitmapmig import codes
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.lock import address
from bitmapmig.lock.coordinator import Coordinator
from bitmapmig.lock.holder import Holder, name_of
from bitmapmig.lock.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_Result = TypeVar("_Result")

#: The first version that writes the name of a lock in Redis as all later ones do.
_TOOZ = 9


class ClusterLock:
    """A `Backend` that excludes every process which uses the same service. Raises `CannotRunError` (BM753)."""

    pause = 0.1

    def __init__(self, key: str, url: str, holder: Holder) -> None:
        self._address = address.parse(url)
        self._as = holder
        self._coordinator = Coordinator(self._address, name_of(key))
        self._worker: Worker | None = None
        self._silent = False

    async def start(self) -> None:
        """Connect, and keep beating. Raises `CannotRunError` (BM754, BM755)."""
        package = _missing(self._address.scheme.packages)
        if package is not None:
            raise CannotRunError(codes.LOCK_EXTRA_MISSING.at(Where(), url=self._address.shown, package=package))
        self._worker = Worker(self._coordinator.beat, self._address.lease / 3)
        # importing the driver takes its time, too
        await self._ask(self._coordinator.start, patience=2)

    async def take(self) -> bool:
        """Take it if it is free. Raises `CannotRunError` (BM755)."""
        return await self._ask(partial(self._coordinator.take, self._as))

    async def holder(self) -> Holder | None:
        """Who joined the lock's group last."""
        return await self._ask(self._coordinator.holder)

    async def lost(self) -> str | None:
        """Whether the service confirms it; what cannot be confirmed in time may be another's by now."""
        try:
            if await self._do(self._coordinator.beat):
                return None
        except _FailedError as error:
            return f"{self._address.shown!r} does not confirm it: {error}"
        if self._address.folder is not None:
            return f"its file in {self._address.folder!r} was removed or replaced"
        return f"{self._address.shown!r} has given it away or forgotten it"

    async def end(self) -> None:
        """Free it. A service that was silent is not waited for: there, the lock ends with its lease."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        try:
            await worker.do(self._coordinator.end, 0 if self._silent else address.PATIENCE)
        except TimeoutError:
            pass
        finally:
            worker.finish()

    async def _ask(self, call: Callable[[], _Result], patience: int = 1) -> _Result:
        try:
            return await self._do(call, patience)
        except _FailedError as error:
            finding = codes.LOCK_UNAVAILABLE.at(Where(), url=self._address.shown, reason=str(error))
            raise CannotRunError(finding) from error

    async def _do(self, call: Callable[[], _Result], patience: int = 1) -> _Result:
        seconds = patience * address.PATIENCE
        if self._worker is None:
            raise _FailedError("it is not connected")
        try:
            return await self._worker.do(call, seconds)
        except TimeoutError as error:
            self._silent = True
            message = f"no answer within {seconds:g} s"
            raise _FailedError(message) from error
        except Exception as error:  # each driver has its own
            raise _FailedError(_words(error)) from error


class _FailedError(Exception):
    """What was asked of the service was not answered; the text says why."""


def _missing(packages: Iterable[str]) -> str | None:
    """The first of the packages that is not there; a tooz that calls its locks otherwise excludes nobody."""
    for package in packages:
        if find_spec(package) is None:
            return package
    return None if int(version("tooz").partition(".")[0]) >= _TOOZ else f"tooz>={_TOOZ}"


def _words(error: Exception) -> str:
    """What an error of a driver says, in one line without control characters."""
    cause = error if isinstance(error, OSError) else error.__cause__  # a driver may hide what the system said
    text = getattr(cause, "strerror", None) or str(error) or type(error).__name__
    return " ".join(repr(text)[1:-1].split())[:300]

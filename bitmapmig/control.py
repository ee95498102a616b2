"""Endpoint -> one QEMU under control: a session that may read and set, and that looks again where it was lost.

A command whose answer does not come may have run or not. Nothing here guesses: whoever sent it reconnects and looks.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import TypeAdapter

from bitmapmig import codes
from bitmapmig.allowlist import READING, WRITING, Message, reads_digest
from bitmapmig.captures import LOOK, QUERIES, Capture, printable
from bitmapmig.collect import collect_on, on_side
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.monitor import connected
from bitmapmig.qapi import MigrateParameters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from bitmapmig.diagnostics import Side
    from bitmapmig.endpoint import Endpoint
    from bitmapmig.monitor import Monitor
    from bitmapmig.plans.document import Command, NodeAlias

PARAMETERS = next(query for query in QUERIES if query.execute == "query-migrate-parameters")
CAPABILITIES = next(query for query in QUERIES if query.execute == "query-migrate-capabilities")

_T = TypeVar("_T")

_PARAMETERS = TypeAdapter(dict[str, Any])
_SHAPE = TypeAdapter(MigrateParameters)
_CAPABILITIES = TypeAdapter(list[dict[str, Any]])


class CommandRefusedError(Exception):
    """QEMU answered a command with an error, and did nothing; the text is its reason, printable."""


class UnconfirmedError(Exception):
    """The answer to a command did not come: it may have run or not. The text is the reason."""


@dataclass(frozen=True, slots=True)
class InForce:
    """What is set on a QEMU: `block-bitmap-mapping` as JSON, None where there is none, and `dirty-bitmaps`."""

    mapping: list[Any] | None
    dirty_bitmaps: bool

    @classmethod
    def of(cls, capture: Capture) -> Self:
        """What a capture shows to be set. Raises `CannotRunError` (BM108, BM111)."""
        capture.returned(PARAMETERS.execute, _SHAPE)  # so that what is compared below is a map
        parameters = capture.returned(PARAMETERS.execute, _PARAMETERS) or {}
        capabilities = capture.returned(CAPABILITIES.execute, _CAPABILITIES) or []
        mapping = parameters.get("block-bitmap-mapping")
        on = any(one.get("capability") == "dirty-bitmaps" and one.get("state") is True for one in capabilities)
        return cls(mapping if isinstance(mapping, list) else None, on)

    @property
    def named(self) -> frozenset[tuple[str, str]]:
        """The bitmaps, as (node, bitmap), that the mapping lists."""
        return frozenset(
            (str(entry.get("node-name")), str(one.get("name")))
            for entry in self.mapping or ()
            for one in entry.get("bitmaps") or ()
        )

    def maps(self, entries: Iterable[NodeAlias] | list[Any] | None) -> bool:
        """Whether the mapping is the one that `entries` say, whatever their order."""
        if entries is None or self.mapping is None:
            return entries is None and self.mapping is None
        return _normal(self.mapping) == _normal(entries)


def _normal(entries: Iterable[NodeAlias] | list[Any]) -> list[str]:
    """The entries of a mapping as texts that are equal exactly where the entries are, sorted."""
    found = [entry if isinstance(entry, dict) else entry.model_dump(mode="json") for entry in entries]
    listed = [{**entry, "bitmaps": sorted(map(_text, entry.get("bitmaps") or ()))} for entry in found]
    return sorted(map(_text, listed))


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)


class Control:
    """A session with one side; `timeout` bounds connecting and each answer, in seconds."""

    def __init__(self, side: Side, endpoint: Endpoint, timeout: float) -> None:
        self.side = side
        self.endpoint = endpoint
        self._timeout = timeout
        self._stack = AsyncExitStack()
        self._monitor: Monitor | None = None
        self._process: str | None = None

    async def open(self) -> Monitor:
        """The session, a new one where the last has ended.

        Raises `CannotRunError` (BM102 to BM107), and BM715 where another process answers now than did at first.
        """
        if self._monitor is None:
            allowed = (*READING, reads_digest, *WRITING)
            session = connected(self.endpoint, allowed, timeout=self._timeout)
            self._monitor = await self._stack.enter_async_context(session)
            process = self._monitor.process.identity if self._monitor.process else None
            self._process = self._process or process
            if process != self._process:
                await self.close()
                raise CannotRunError(codes.PROCESS_REPLACED.at(Where(side=self.side), endpoint=self.endpoint.text))
        return self._monitor

    async def close(self) -> None:
        """End the session, if there is one."""
        self._monitor = None
        await self._stack.aclose()

    async def capture(self) -> Capture:
        """A capture of this side as far as a plan that is made needs it; once more where the session was lost.

        Raises `CannotRunError` (BM102 to BM109, BM111, BM113), whose findings name the side.
        """
        return await self._again(lambda monitor: collect_on(self.endpoint, monitor, LOOK))

    async def look(self) -> InForce:
        """What is set on this side, and nothing else. Raises as `capture` does."""

        async def asked(monitor: Monitor) -> InForce:
            exchanges = await monitor.ask((PARAMETERS, CAPABILITIES))
            told = Capture(endpoint=self.endpoint.text, greeting={}, exchanges=exchanges)
            return InForce.of(told)

        return await self._again(asked)

    async def _again(self, act: Callable[[Monitor], Awaitable[_T]]) -> _T:
        """What `act` gives on the session; on a new one, where the one at hand turns out to be lost."""
        held = self._monitor is not None
        try:
            return await act(await self.open())
        except CannotRunError as error:
            await self.close()
            if not held or error.diagnostics[0].code != codes.MONITOR_LOST.code:
                raise CannotRunError(*on_side(self.side, error)) from error
        return await self._again(act)

    async def stirred(self, seconds: float) -> None:
        """Wait for an event of this side, at most `seconds`; where there is no session, just so long."""
        if self._monitor is None:
            await asyncio.sleep(seconds)
        else:
            await self._monitor.stirred(seconds)

    async def send(self, command: Command | Message) -> Any:  # noqa: ANN401  raw JSON
        """What QEMU returns.

        Raises `CommandRefusedError`, and `UnconfirmedError` where the session is over; `CannotRunError` where there was
        none to send anything over.
        """
        message = Message(command.execute, command.arguments)
        monitor = await self.open()
        try:
            (answer,) = await monitor.ask((message,))
        except CannotRunError as error:
            await self.close()
            raise UnconfirmedError(error.diagnostics[0].message) from error
        if answer.error is not None:
            raise CommandRefusedError(printable(str(answer.error["desc"])))
        return answer.return_

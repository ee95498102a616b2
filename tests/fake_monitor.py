"""A QMP server that answers from a table and can be made to misbehave at any step.

For what no real QEMU can be made to do. That it does what a real one does where nothing else is asked of it, is
checked against real ones in tests/live/test_collect.py, and of what can be set in tests/live/test_apply.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bitmapmig.captures import Capture

GREETING = {"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}

#: The step of a session before any command.
GREETED = "greeting"

#: What is done in place of an honest answer; gets the connection and the line that an honest QEMU would send.
Fault: TypeAlias = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]


class QmpError(dict[str, Any]):
    """An answer that is an error."""

    def __init__(self, desc: str, kind: str = "GenericError") -> None:
        super().__init__({"class": kind, "desc": desc})


@dataclass
class Settings:
    """What of a QEMU can be set: `block-bitmap-mapping`, and the capability `dirty-bitmaps`."""

    mapping: list[Any] | None = None
    dirty_bitmaps: bool = False

    def over(self, answers: Mapping[str, Any]) -> dict[str, Any]:
        """`answers`, with commands that set something and queries that show it."""
        capabilities = [one for one in answers["query-migrate-capabilities"] if one["capability"] != "dirty-bitmaps"]
        parameters = {**answers["query-migrate-parameters"]}
        parameters.pop("block-bitmap-mapping", None)

        def shown(_arguments: Mapping[str, Any]) -> dict[str, Any]:
            return parameters | ({} if self.mapping is None else {"block-bitmap-mapping": self.mapping})

        return {
            **answers,
            "query-migrate-parameters": shown,
            "query-migrate-capabilities": lambda _: [
                *capabilities,
                {"capability": "dirty-bitmaps", "state": self.dirty_bitmaps},
            ],
            "migrate-set-parameters": self._set_mapping,
            "migrate-set-capabilities": self._set_capabilities,
        }

    def _set_mapping(self, arguments: Mapping[str, Any]) -> Any:
        mapping = arguments["block-bitmap-mapping"]
        for entry in mapping:
            if entry["alias"].startswith("#"):
                said = f"The node alias '{entry['alias']}' is not well-formed"
                return QmpError(f"Invalid mapping given for block-bitmap-mapping: {said}")
        self.mapping = mapping
        return {}

    def _set_capabilities(self, arguments: Mapping[str, Any]) -> Any:
        for one in arguments["capabilities"]:
            if one["capability"] == "dirty-bitmaps":
                self.dirty_bitmaps = one["state"]
        return {}


class Turns(tuple[Any, ...]):
    """One answer after the other, the last of them for ever."""

    __slots__ = ()


def answers_of(capture: Capture) -> dict[str, Any]:
    """What the QEMU of a capture answers."""
    return {
        one.execute: one.return_ if one.error is None else QmpError(one.error["desc"], one.error["class"])
        for one in capture.exchanges
    }


async def hang(_writer: asyncio.StreamWriter, _line: bytes) -> None:
    """Say nothing more."""
    await asyncio.Event().wait()


async def close(writer: asyncio.StreamWriter, _line: bytes) -> None:
    """Close the connection."""
    writer.close()
    raise ConnectionAbortedError


async def halve(writer: asyncio.StreamWriter, line: bytes) -> None:
    """Send half of the answer, then close the connection."""
    writer.write(line[: len(line) // 2])
    await close(writer, line)


def instead(*lines: bytes) -> Fault:
    """Send these bytes in place of the answer."""

    async def fault(writer: asyncio.StreamWriter, _line: bytes) -> None:
        writer.writelines(lines)

    return fault


def before(*messages: Mapping[str, Any]) -> Fault:
    """Send these messages, then the answer."""

    async def fault(writer: asyncio.StreamWriter, line: bytes) -> None:
        writer.writelines([_line(message) for message in messages])
        writer.write(line)

    return fault


def flood(size: int, chunk: bytes = b"x" * (1 << 16)) -> Fault:
    """Send `size` bytes of `chunk` over and over, as fast as they are taken."""

    async def fault(writer: asyncio.StreamWriter, _line: bytes) -> None:
        for _ in range(size // len(chunk)):
            writer.write(chunk)
            await writer.drain()

    return fault


def once(fault: Fault) -> Fault:
    """The fault when the step is first reached, honesty from then on."""
    reached = False

    async def first(writer: asyncio.StreamWriter, line: bytes) -> None:
        nonlocal reached
        if reached:
            writer.write(line)
        else:
            reached = True
            await fault(writer, line)

    return first


def _line(message: Any) -> bytes:
    return json.dumps(message).encode() + b"\r\n"


async def _messages(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """The JSON values that arrive, which nothing need separate."""
    decoder, text = json.JSONDecoder(), ""
    while arrived := await reader.read(1 << 16):
        text += arrived.decode()
        while text := text.lstrip():
            try:
                message, end = decoder.raw_decode(text)
            except json.JSONDecodeError:
                break  # the rest has yet to arrive
            text = text[end:]
            yield message


@dataclass
class FakeMonitor:
    """Serves any number of clients; `received` is every message that they sent.

    An answer may be a function of the arguments. `at` is called with the place of each message among all that were
    received, from 1, and with the message, before it has any effect; where it raises `ConnectionError` the connection
    ends, and the message has none. `faults` are by step: `GREETED`, or the name of a command; `faults_at` are by place.
    `hold` keeps all answers after the negotiation back until so many commands have arrived, as a QEMU that is busy
    does.
    """

    answers: Mapping[str, Any]
    faults: Mapping[str, Fault] = field(default_factory=dict)
    greeting: Any = field(default_factory=lambda: GREETING)
    hold: int = 0
    at: Callable[[int, dict[str, Any]], None] = lambda _place, _message: None
    faults_at: Mapping[int, Fault] = field(default_factory=dict)
    received: list[dict[str, Any]] = field(default_factory=list)
    _served: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def unix(self, path: Path) -> AsyncIterator[str]:
        """Serve on a unix socket; its endpoint."""
        server = await asyncio.start_unix_server(self._accept, path)
        async with self._until_left(server):
            yield f"unix:{path}"

    @asynccontextmanager
    async def tcp(self, host: str = "127.0.0.1") -> AsyncIterator[str]:
        """Serve on a free TCP port; its endpoint."""
        server = await asyncio.start_server(self._accept, host, 0)
        port = server.sockets[0].getsockname()[1]
        async with self._until_left(server):
            yield f"tcp:[{host}]:{port}" if ":" in host else f"tcp:{host}:{port}"

    @asynccontextmanager
    async def _until_left(self, server: asyncio.Server) -> AsyncIterator[None]:
        try:
            yield
        finally:
            server.close()
            for task in self._served:
                task.cancel()
            await asyncio.gather(*self._served, return_exceptions=True)
            self._served.clear()
            await server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._served.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._say(writer, GREETED, self.greeting)
            held: list[tuple[str | int, dict[str, Any]]] = []
            async for message in _messages(reader):
                self.received.append(message)
                place = len(self.received)
                self.at(place, message)
                command = message["execute"]
                step = place if place in self.faults_at else command
                held.append((step, self._answer(message) | {"id": message.get("id")}))
                if command == "qmp_capabilities" or len(held) >= self.hold:
                    for answered, answer in held:
                        await self._say(writer, answered, answer)
                    held.clear()
        except ConnectionError:
            pass  # the client has left, or a fault has closed
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def _answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        command = message["execute"]
        if command == "qmp_capabilities":
            return {"return": {}}
        if command not in self.answers:
            return {"error": QmpError(f"The command {command} has not been found", "CommandNotFound")}
        answer = self.answers[command]
        if isinstance(answer, Turns):
            asked = sum(one["execute"] == command for one in self.received)
            answer = answer[min(asked, len(answer)) - 1]
        if callable(answer):
            answer = answer(message.get("arguments", {}))
        return {"error": answer} if isinstance(answer, QmpError) else {"return": answer}

    async def _say(self, writer: asyncio.StreamWriter, step: str | int, message: Any) -> None:
        fault = self.faults_at.get(step) if isinstance(step, int) else self.faults.get(step)
        if fault is None:
            writer.write(_line(message))
        else:
            await fault(writer, _line(message))
        await writer.drain()

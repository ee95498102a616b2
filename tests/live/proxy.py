"""A monitor's client on one side, its QEMU on the other: what passes is counted, and may be stopped or cut.

For what happens at a certain message of a session with a real QEMU, or between a message and its answer.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.live.qemu import Qemu


class Cut(Exception):  # noqa: N818  it is what is asked for
    """Ends the connection; raised by a hook."""


@dataclass
class Proxy:
    """Passes on whatever is sent to a QEMU, over TCP, so that each side may be one process.

    `sent` is called with each message before it reaches QEMU, `answered` with the message and QEMU's answer before that
    reaches the client; either may raise `Cut`.
    """

    qemu: Qemu
    sent: Callable[[dict[str, Any]], None] = lambda _message: None
    answered: Callable[[dict[str, Any]], None] = lambda _message: None
    _served: set[asyncio.Task[None]] = field(default_factory=set)
    _clients: list[asyncio.StreamWriter] = field(default_factory=list)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """Serve; the endpoint."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        try:
            yield f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in self._served:
                task.cancel()
            await asyncio.gather(*self._served, return_exceptions=True)
            for client in self._clients:
                client.close()
                with suppress(ConnectionError):
                    await client.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.append(writer)
        self._served.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_unix_connection(self.qemu.socket, limit=1 << 26)
        except OSError:  # QEMU is gone
            writer.close()
            return
        self._clients.append(back)
        waiting: dict[Any, dict[str, Any]] = {}

        async def forth() -> None:
            decoder, text = json.JSONDecoder(), ""
            while arrived := await reader.read(1 << 16):
                text += arrived.decode()
                while text := text.lstrip():
                    try:
                        message, end = decoder.raw_decode(text)
                    except json.JSONDecodeError:
                        break  # the rest has yet to arrive
                    text = text[end:]
                    self.sent(message)
                    waiting[message.get("id")] = message
                    back.write(json.dumps(message).encode())
            raise Cut

        async def answers() -> None:
            while line := await there.readline():
                message = waiting.pop(json.loads(line).get("id"), None)
                if message is not None:
                    self.answered(message)
                writer.write(line)
            raise Cut

        try:
            with suppress(Cut, ConnectionError, ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(forth())
                    group.create_task(answers())
        finally:
            back.close()
            writer.close()

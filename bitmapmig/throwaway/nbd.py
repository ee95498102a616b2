"""Writes -> the NBD server of a throw-away QEMU: many in one go, each of them acknowledged.

A write is how dirty bits come to be. The human monitor can write as well, one line for each write, and tells nobody
when that fails. The words are those of the NBD protocol, of which this is what it takes to write: the fixed newstyle
handshake with `NBD_OPT_EXPORT_NAME`, `NBD_CMD_WRITE`, `NBD_CMD_WRITE_ZEROES`, and simple replies.
"""

from __future__ import annotations

import asyncio
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bitmapmig.peer import connect_unix

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: Seconds in which all writes of one call must be done.
PATIENCE = 60.0

_GREETING = struct.Struct(">8s8sH")
_OPTION = struct.Struct(">I8sII")
_EXPORT = struct.Struct(">QH")
_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")

_INIT_MAGIC, _OPTION_MAGIC = b"NBDMAGIC", b"IHAVEOPT"
_REQUEST_MAGIC, _REPLY_MAGIC = 0x25609513, 0x67446698
_FIXED_NEWSTYLE = _NO_ZEROES = 1
_WRITE, _DISCONNECT, _WRITE_ZEROES = 1, 2, 6


class NotWrittenError(Exception):
    """What was to be written is not, and why."""


@dataclass(frozen=True, slots=True)
class Write:
    """`length` bytes at `offset`: zeroes, or `data`, which is then as long."""

    offset: int
    length: int
    data: bytes | None = None


async def write(socket: Path, export: str, writes: Sequence[Write]) -> None:
    """Write to an export, whose name is a short one of ours. Raises `NotWrittenError`."""
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(sock=await connect_unix(str(socket)))
            try:
                await _shake_hands(reader, writer, export.encode())
                await asyncio.gather(_send(writer, writes), _acknowledged(reader, len(writes)))
                # no sooner: QEMU does not answer one who leaves
                writer.write(_request(_DISCONNECT, 0, 0, 0))
                await writer.drain()
            finally:
                writer.close()
    except TimeoutError as error:
        msg = f"not within {PATIENCE:g} s"
        raise NotWrittenError(msg) from error
    except (OSError, EOFError) as error:
        raise NotWrittenError(str(error)) from error


async def _shake_hands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, export: bytes) -> None:
    magic, option_magic, flags = _GREETING.unpack(await reader.readexactly(_GREETING.size))
    if (magic, option_magic) != (_INIT_MAGIC, _OPTION_MAGIC) or not flags & _FIXED_NEWSTYLE:
        raise NotWrittenError("what listens there is no NBD server")
    client = _FIXED_NEWSTYLE | _NO_ZEROES << 1
    writer.write(_OPTION.pack(client, _OPTION_MAGIC, 1, len(export)) + export)
    await reader.readexactly(_EXPORT.size)


async def _send(writer: asyncio.StreamWriter, writes: Sequence[Write]) -> None:
    for handle, one in enumerate(writes):
        writer.write(_request(_WRITE_ZEROES if one.data is None else _WRITE, handle, one.offset, one.length))
        if one.data is not None:
            writer.write(one.data)
        await writer.drain()


def _request(kind: int, handle: int, offset: int, length: int) -> bytes:
    return _REQUEST.pack(_REQUEST_MAGIC, 0, kind, handle, offset, length)


async def _acknowledged(reader: asyncio.StreamReader, count: int) -> None:
    for _ in range(count):
        magic, error, _handle = _REPLY.unpack(await reader.readexactly(_REPLY.size))
        if magic != _REPLY_MAGIC:
            raise NotWrittenError("the NBD server does not keep to its protocol")
        if error:
            raise NotWrittenError(os.strerror(error))

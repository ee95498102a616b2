"""An address -> a connected socket, and what this host's kernel knows of the far end.

Which process listens there, whether it runs, and whether it serves another client: QMP itself tells none of this. All
of it is best effort: where the kernel does not say (another system, another host, another namespace), the answer is
None or no, and never an exception.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PROC = Path("/proc")
#: Seconds between two tries to connect to a socket whose queue of clients is full.
_PAUSE = 0.02


async def connect_unix(path: str) -> socket.socket:
    """A socket that is connected to the unix socket `path`; waits while its queue of clients is full.

    asyncio itself takes a full queue for an established connection. Raises `OSError`.
    """
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(0)
    try:
        while True:
            try:
                connection.connect(path)
            except BlockingIOError:
                await asyncio.sleep(_PAUSE)
            else:
                return connection
    except BaseException:
        connection.close()
        raise


async def connect_tcp(host: str, port: int) -> socket.socket:
    """A socket that is connected to the first address of `host` that takes it. Raises `OSError`, `UnicodeError`."""
    loop = asyncio.get_running_loop()
    failure = OSError("the name has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(0)
        try:
            await loop.sock_connect(connection, address)
        except BaseException as error:
            connection.close()
            if not isinstance(error, OSError):
                raise
            failure = error
        else:
            return connection
    raise failure


def reason(error: OSError | UnicodeError) -> str:
    """Why connecting failed, in the system's own words."""
    number = getattr(error, "errno", None) or 0
    # asyncio puts a text of its own in their place; those of name resolution have negative numbers
    return os.strerror(number) if number > 0 else getattr(error, "strerror", None) or str(error)


@dataclass(frozen=True, slots=True)
class Process:
    """The process that listens on a socket: `identity` is its own for ever, across hosts and restarts."""

    pid: int
    identity: str


def process(connected: socket.socket) -> Process | None:
    """The process that called `listen` on the far end of a connected unix socket.

    That is QEMU, unless another program (libvirt, systemd) opened the socket and passed it on.
    """
    if sys.platform != "linux":
        return None
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, _, _ = struct.unpack("3i", credentials)
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        started = _stat(pid)[19]
    except (OSError, IndexError):
        return None
    return Process(pid, f"{boot} {pid} {started}")


def stopped(pid: int) -> bool:
    """Whether the process is stopped by a signal or a debugger, so that its monitor cannot answer."""
    try:
        return _stat(pid)[0] in ("T", "t")
    except (OSError, IndexError):
        return False


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, the state, on; the name before it may hold anything."""
    return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()


def held(path: str) -> bool:
    """Whether the listener on the unix socket `path` serves a client now. Close what was connected to it before asking.

    The kernel lists its unix sockets over netlink (sock_diag(7), unix_diag): an accepted connection bears the name and
    the inode of the listener's file, and names the socket of its client. One that waits to be accepted is not listed.
    """
    if sys.platform != "linux":
        return False
    try:
        inode = Path(path).stat().st_ino
        name = Path(path).resolve().name
        return any(
            connection.get(_VFS, b"")[:4] == struct.pack("=I", inode & 0xFFFFFFFF)
            and Path(os.fsdecode(connection.get(_NAME, b"").rstrip(b"\0"))).name == name
            and any(connection.get(_PEER, b""))  # zero once the client is gone
            for connection in _connections()
        )
    except OSError:
        return False


# linux/netlink.h, linux/sock_diag.h, linux/unix_diag.h
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x301
_DONE, _ERROR = 3, 2
_NAME, _VFS, _PEER = 0, 1, 2
_SHOW = 1 << _NAME | 1 << _VFS | 1 << _PEER
_ESTABLISHED = 1
_HEADER = struct.Struct("=IHHII")
_MESSAGE = struct.Struct("=BBBBIII")
_ATTRIBUTE = struct.Struct("=HH")


def _connections() -> Iterator[Mapping[int, bytes]]:
    """The attributes of each established unix socket of this network namespace. Raises `OSError`."""
    query = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, 1 << _ESTABLISHED, 0, _SHOW, 0xFFFFFFFF, 0xFFFFFFFF)
    header = _HEADER.pack(_HEADER.size + len(query), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(1)
        kernel.send(header + query)
        while True:
            answer = kernel.recv(1 << 18)
            while answer:
                length, kind, *_ = _HEADER.unpack_from(answer)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    raise OSError("sock_diag refused")
                yield dict(_attributes(answer[_HEADER.size + _MESSAGE.size : length]))
                answer = answer[_aligned(length) :]


def _attributes(packed: bytes) -> Iterator[tuple[int, bytes]]:
    while packed:
        length, kind = _ATTRIBUTE.unpack_from(packed)
        yield kind, packed[_ATTRIBUTE.size : length]
        packed = packed[_aligned(length) :]


def _aligned(length: int) -> int:
    """Netlink pads to four bytes."""
    return length + 3 & ~3

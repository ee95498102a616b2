"""Text -> Endpoint: where a QEMU, or a capture of one, is to be found. One table holds the schemes."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bitmapmig import codes
from bitmapmig.diagnostics import CannotRunError, Where

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """A QMP monitor on a unix socket of this host."""

    path: str


@dataclass(frozen=True, slots=True)
class TcpSocket:
    """A QMP monitor on TCP; `host` is a name or an address, IPv6 without its brackets."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class CaptureFile:
    """A stored capture."""

    path: str


@dataclass(frozen=True, slots=True)
class StandardInput:
    """A stored capture that is piped in."""


Place: TypeAlias = UnixSocket | TcpSocket | CaptureFile | StandardInput


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One side of a migration: the place, and its spelling in messages and documents, which prints as it is."""

    text: str
    place: Place

    @property
    def live(self) -> bool:
        """Whether a QEMU answers there, rather than a stored capture."""
        return isinstance(self.place, UnixSocket | TcpSocket)


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to spell an endpoint: what stands before the colon, how it goes on, and what reads the rest.

    `read` raises `ValueError` with the reason where the rest is malformed.
    """

    name: str
    syntax: str
    read: Callable[[str], Place]


def _unix(rest: str) -> UnixSocket:
    if not rest:
        raise ValueError("no path follows")
    return UnixSocket(rest)


def _tcp(rest: str) -> TcpSocket:
    host, colon, port = rest.rpartition(":")
    if not colon:
        raise ValueError("no port follows")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 address is written in brackets, as tcp:[::1]:4444")
    if not host:
        raise ValueError("no host follows")
    if not (port.isascii() and port.isdigit() and len(port) <= len("65535") and 0 < int(port) < 1 << 16):
        raise ValueError("the port is no number from 1 to 65535")
    return TcpSocket(host, int(port))


#: Every scheme there is. A text that begins with none of them is a path.
SCHEMES: tuple[Scheme, ...] = (
    Scheme("unix", "unix:PATH", _unix),
    Scheme("tcp", "tcp:HOST:PORT", _tcp),
)

_STANDARD_INPUT = "-"


def parse(text: str) -> Endpoint:
    """The endpoint that `text` spells; a bare path is a socket or a capture file, told apart by what is there.

    Raises `CannotRunError` (BM101) where it is malformed.
    """
    if "\0" in text:
        raise _malformed(text, "it holds a null character")
    if text == _STANDARD_INPUT:
        return Endpoint(text, StandardInput())
    name, colon, rest = text.partition(":")
    for scheme in SCHEMES:
        if colon and name == scheme.name:
            try:
                return Endpoint(_printable(text), scheme.read(rest))
            except ValueError as error:
                raise _malformed(text, str(error)) from error
    return _bare(text)


def _bare(text: str) -> Endpoint:
    if not text:
        raise _malformed(text, "it is empty")
    try:
        mode = Path(text).stat().st_mode
    except OSError:
        name, colon, _ = text.partition(":")
        if colon and name.isalnum():
            known = ", ".join(scheme.syntax for scheme in SCHEMES)
            reason = f"there is no such path, and no scheme {name!r} among {known}"
            raise _malformed(text, reason) from None
        mode = 0  # reading the file says what is amiss
    if stat.S_ISSOCK(mode):
        return Endpoint(f"unix:{_printable(text)}", UnixSocket(text))
    return Endpoint(_printable(text), CaptureFile(text))


def _printable(text: str) -> str:
    """`text` without the lone surrogates that Python has in place of bytes that are no UTF-8, so that it is text."""
    return text.encode(errors="backslashreplace").decode()


def _malformed(text: str, reason: str) -> CannotRunError:
    return CannotRunError(codes.ENDPOINT_MALFORMED.at(Where(), endpoint=_printable(text), reason=reason))

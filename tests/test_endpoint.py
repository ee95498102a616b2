"""How endpoints are spelled."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from bitmapmig.diagnostics import CannotRunError
from bitmapmig.endpoint import SCHEMES, CaptureFile, Endpoint, Scheme, StandardInput, TcpSocket, UnixSocket, parse

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {
    "unix:/run/source.qmp": UnixSocket("/run/source.qmp"),
    "unix:source.qmp": UnixSocket("source.qmp"),
    "unix:a:b": UnixSocket("a:b"),
    "unix:-": UnixSocket("-"),
    "tcp:localhost:4444": TcpSocket("localhost", 4444),
    "tcp:10.0.0.1:1": TcpSocket("10.0.0.1", 1),
    "tcp:[::1]:65535": TcpSocket("::1", 65535),
    "tcp:[fe80::1%eth0]:4444": TcpSocket("fe80::1%eth0", 4444),
    "-": StandardInput(),
    "missing.json": CaptureFile("missing.json"),
    "./odd:name": CaptureFile("./odd:name"),
}

BAD = {
    "": "it is empty",
    "unix:": "no path follows",
    "unix:a\0b": "it holds a null character",
    "tcp:": "no port follows",
    "tcp:localhost": "no port follows",
    "tcp::4444": "no host follows",
    "tcp:[]:4444": "no host follows",
    "tcp:::1:4444": "an IPv6 address is written in brackets, as tcp:[::1]:4444",
    "tcp:localhost:": "the port is no number from 1 to 65535",
    "tcp:localhost:0": "the port is no number from 1 to 65535",
    "tcp:localhost:65536": "the port is no number from 1 to 65535",
    "tcp:localhost:-1": "the port is no number from 1 to 65535",
    "tcp:localhost:٤٤": "the port is no number from 1 to 65535",
    f"tcp:localhost:{'9' * 5000}": "the port is no number from 1 to 65535",
    "tcp:localhost:4444,server=on": "the port is no number from 1 to 65535",
    "ssh:host": "there is no such path, and no scheme 'ssh' among unix:PATH, tcp:HOST:PORT",
}


@pytest.mark.parametrize(("text", "place"), GOOD.items())
def test_good(text: str, place: object) -> None:
    """Each spelling names its place, and is kept for messages."""
    assert (text, place) == (parse(text).text, parse(text).place)


@pytest.mark.parametrize(("text", "reason"), BAD.items())
def test_bad(text: str, reason: str) -> None:
    """What is malformed is BM101, with the reason."""
    with pytest.raises(CannotRunError) as caught:
        parse(text)
    (found,) = caught.value.diagnostics
    assert ("BM101", {"endpoint": text, "reason": reason}) == (found.code, found.facts)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_syntax_of_schemes(scheme: Scheme) -> None:
    """What help says of a scheme begins with its name, and what follows is what it reads."""
    example = scheme.syntax.replace("HOST", "localhost").replace("PORT", "4444").removeprefix(f"{scheme.name}:")
    assert example != scheme.syntax
    assert scheme.read(example) == parse(f"{scheme.name}:{example}").place


def test_bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare path is a monitor where a socket is, and a capture where anything else is, or nothing."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("qmp")
        (tmp_path / "link").symlink_to("qmp")
        (tmp_path / "ssh:capture").touch()
        assert Endpoint("unix:qmp", UnixSocket("qmp")) == parse("qmp")
        assert UnixSocket("link") == parse("link").place
        assert CaptureFile("ssh:capture") == parse("ssh:capture").place
        assert CaptureFile(".") == parse(".").place


def test_file_name_that_is_no_text() -> None:
    """A name with bytes that are no UTF-8 is used as it is, and shown as text."""
    name = b"unix:/run/\xff.qmp".decode(errors="surrogateescape")
    assert Endpoint("unix:/run/\\udcff.qmp", UnixSocket(name[len("unix:") :])) == parse(name)


@pytest.mark.parametrize(("text", "live"), {"unix:a": True, "tcp:a:1": True, "-": False, "a.json": False}.items())
def test_live(text: str, live: bool) -> None:  # noqa: FBT001  a column of the table
    """Monitors are live, captures are not."""
    assert parse(text).live is live

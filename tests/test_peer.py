"""What the kernel tells of the far end of a socket."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from bitmapmig import peer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_queue_that_empties(tmp_path: Path) -> None:
    """Connecting waits for a place in a queue that is full at first."""
    path = str(tmp_path / "qmp")

    async def wait_for_it() -> bytes:
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
            listener.bind(path)
            listener.listen(0)
            first.connect(path)
            connecting = asyncio.create_task(peer.connect_unix(path))
            await asyncio.sleep(0.1)
            assert not connecting.done()
            listener.accept()[0].close()
            with await connecting, listener.accept()[0] as accepted:
                connecting.result().sendall(b"here")
                return accepted.recv(4)

    assert asyncio.run(wait_for_it()) == b"here"


def test_held_name_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to a socket of the same name in another folder does not make this one held."""
    listeners = []
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("qmp")
        listener.listen()
        listeners.append(listener)
    with listeners[0], listeners[1], socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "one" / "qmp"))
        assert not peer.held(str(tmp_path / "one" / "qmp"))
        accepted, _ = listeners[0].accept()
        with accepted:
            assert [peer.held(str(tmp_path / folder / "qmp")) for folder in ("one", "other")] == [True, False]
            client.close()
            assert not peer.held(str(tmp_path / "one" / "qmp"))


@pytest.mark.parametrize("missing", ["nothing", "file"])
def test_held_by_nobody(missing: str, tmp_path: Path) -> None:
    """Where no socket is, nobody holds it."""
    (tmp_path / "file").touch()
    assert not peer.held(str(tmp_path / missing))


@contextmanager
def connection(path: Path) -> Iterator[socket.socket]:
    """A connection to a socket on which this process listens."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(path))
        listener.listen()
        client.connect(str(path))
        yield client


def test_process(tmp_path: Path) -> None:
    """The process that listens is known by its number and by when it was started."""
    with connection(tmp_path / "one") as one, connection(tmp_path / "other") as other:
        found = peer.process(one)
        assert found == peer.process(other)
    assert found is not None
    assert (found.pid, str(os.getpid()) in found.identity) == (os.getpid(), True)


def test_process_that_the_kernel_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc no process is known, and none is known to be stopped."""
    monkeypatch.setattr(peer, "_PROC", tmp_path)
    with connection(tmp_path / "qmp") as connected:
        assert peer.process(connected) is None
    assert not peer.stopped(os.getpid())


def test_stopped() -> None:
    """A process is stopped after SIGSTOP, and no more after SIGCONT."""
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            told = []
            for number, flag in ((signal.SIGSTOP, os.WUNTRACED), (signal.SIGCONT, os.WCONTINUED)):
                child.send_signal(number)
                os.waitpid(child.pid, flag)
                told.append(peer.stopped(child.pid))
        finally:
            child.kill()
    assert told == [True, False]


def test_reason() -> None:
    """A failure is told in the system's words, whichever of Python's ways it came."""
    told = [
        peer.reason(error)
        for error in (
            ConnectionRefusedError(111, "Connect call failed ('::1', 1)"),
            socket.gaierror(-2, "Name or service not known"),
            OSError("AF_UNIX path too long"),
            UnicodeError("label too long"),
        )
    ]
    assert told == ["Connection refused", "Name or service not known", "AF_UNIX path too long", "label too long"]

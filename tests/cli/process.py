"""The command as a process of its own: in a pipe, on a terminal, and before a monitor that says nothing."""

from __future__ import annotations

import os
import pty
import re
import select
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COMMANDS = (
    *("capture", "preview", "plan", "apply", "verify", "finish", "rehearse", "selftest"),
    *("check", "simulate", "explain", "schema", "completion"),
)
PROGRAM = (sys.executable, "-m", "bitmapmig")
ROOT = Path(__file__).parent.parent.parent


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a process that is to find this package."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **(more or {})}


def run(*words: str, stdin: bytes = b"", more: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    """The command as a process of its own, with `more` in its environment."""
    return subprocess.run([*PROGRAM, *words], input=stdin, capture_output=True, env=environment(more), check=False)


def on_terminal(*words: str, more: Mapping[str, str] | None = None) -> tuple[int, str]:
    """The exit code of the command on a terminal of 80 columns, and all that it writes there."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, *words], stdin=follower, stdout=follower, stderr=follower, env=environment(more)
    ) as process:
        os.close(follower)
        said = b""
        while select.select([leader], [], [], 30)[0]:
            try:
                part = os.read(leader, 65536)
            except OSError:  # how Linux tells that the other end is closed
                break
            if not part:
                break
            said += part
        os.close(leader)
        code = process.wait()
    return code, said.decode()


ESCAPE = re.compile("\x1b\\[[0-9;?]*[A-Za-z]")


@contextmanager
def silent_monitor(path: str = "silent.qmp") -> Iterator[threading.Event]:
    """A socket that takes connections and says nothing; the event is set once somebody is connected."""
    connected, over = threading.Event(), threading.Event()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        server.settimeout(20)

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connected.set()
                over.wait(20)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield connected
        finally:
            over.set()
            thread.join()

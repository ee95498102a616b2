"""A real QEMU that says that it is another version of QEMU: started as a program, by what `claiming` writes.

It owns the monitors' sockets, since whoever starts a QEMU looks for the process that listens there, and passes on what
comes; the version is another in whatever QEMU says of it, and nothing else is. It ends as the real one ends.
Nothing but the standard library is imported, and little of that, because it is started some hundred times.
"""

from __future__ import annotations

import errno
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

#: What a monitor says of the version.
_TOLD = re.compile(rb'"qemu": \{[^{}]*\}, "package": "[^"]*"')
_PACKAGE = "claims to be another"


def claiming(real: Path, version: str, folder: Path) -> Path:
    """Write a program into `folder` that is the QEMU `real` and claims to be `version`; its path."""
    path = folder / "qemu-system-other"
    words = " ".join(f"'{word}'" for word in (sys.executable, "-IS", __file__, real, version))
    path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    path.chmod(0o755)
    return path


def main(real: str, version: str, *words: str) -> None:
    """Be that QEMU."""
    if words == ("--version",):
        print(f"QEMU emulator version {version} ({_PACKAGE})")
        return
    own = [number for number, word in enumerate(words) if word.startswith("unix:") and words[number - 1] == "-qmp"]
    names = [words[number].removeprefix("unix:").partition(",")[0] for number in own]
    behind = list(words)
    for number, name in zip(own, names, strict=True):
        behind[number] = words[number].replace(f"unix:{name}", f"unix:{name}.real")
    process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", real, *behind])
    while not all(Path(f"{name}.real").is_socket() for name in names):
        if process.poll() is not None:
            _end_as(process.returncode)
        time.sleep(0.001)
    _Between(process, version).pass_on(names)


def _end_as(status: int) -> None:
    """End with that exit status, or by that signal."""
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


class _Between:
    """Between the clients of monitors and the QEMU behind."""

    def __init__(self, process: subprocess.Popen[bytes], version: str) -> None:
        major, minor, micro = version.split(".")
        said = f'"qemu": {{"micro": {micro}, "minor": {minor}, "major": {major}}}, "package": "{_PACKAGE}"'
        self._told = said.encode()
        self._process = process
        self._selector = selectors.DefaultSelector()
        self._rest: dict[socket.socket, bytes] = {}

    def pass_on(self, names: list[str]) -> None:
        """Serve until QEMU ends."""
        for name in names:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(name)
            listener.listen()
            self._selector.register(listener, selectors.EVENT_READ, name)
        while True:
            for key, _ in self._selector.select(0.01):
                if isinstance(key.data, str):
                    self._accept(key.fileobj, key.data)  # type: ignore[arg-type]
                else:
                    self._move(key.fileobj, key.data)  # type: ignore[arg-type]
            if self._process.poll() is not None:
                _end_as(self._process.returncode)

    def _accept(self, listener: socket.socket, name: str) -> None:
        client, _ = listener.accept()
        there = socket.socket(socket.AF_UNIX)
        while there.connect_ex(f"{name}.real") == errno.ECONNREFUSED and self._process.poll() is None:
            time.sleep(0.001)  # it is bound, and not listening yet
        self._rest[there] = b""
        self._selector.register(client, selectors.EVENT_READ, there)
        self._selector.register(there, selectors.EVENT_READ, client)

    def _move(self, one: socket.socket, other: socket.socket) -> None:
        """Pass on what has come from one side; a side that has closed closes the other."""
        try:
            arrived = one.recv(1 << 16)
            if one in self._rest:  # it is QEMU that speaks: a line at a time
                *lines, self._rest[one] = (self._rest[one] + arrived).split(b"\n")
                other.sendall(b"".join(_TOLD.sub(self._told, line) + b"\n" for line in lines))
            else:
                other.sendall(arrived)
        except ConnectionError:
            arrived = b""
        if not arrived:
            for end in (one, other):
                self._selector.unregister(end)
                end.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

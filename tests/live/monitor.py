"""A small synchronous QMP client, and how long a test waits for anything."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

T = TypeVar("T")

#: Seconds until something that takes milliseconds is held to have failed; machines under load are slow.
PATIENCE = 20.0


#: How the error begins where QEMU has not understood a message as a command.
_NOT_UNDERSTOOD = ("QMP input", "JSON parse error")


class QmpError(Exception):
    """QEMU answered a command with an error; `desc` is its text."""

    def __init__(self, command: str, desc: str) -> None:
        super().__init__(f"{command}: {desc}")
        self.desc = desc


class QemuGoneError(Exception):
    """The process ended, or closed its monitor, while it was spoken to."""


def until(condition: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Ask `condition` again and again until it gives something true; that. Raises `TimeoutError`, which says `what`."""
    deadline = time.monotonic() + seconds
    pause = 0.001
    while not (found := condition()):
        if time.monotonic() > deadline:
            message = f"{what} within {seconds:g} s"
            raise TimeoutError(message)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    return found


class Monitor:
    """A synchronous QMP client of one unix socket."""

    def __init__(self, path: Path, seconds: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(seconds)
        self._lines = self._socket.makefile("rb")
        try:
            until(lambda: self._connected(path), "the monitor takes no connection", seconds)
            self.greeting = self._read()
        except BaseException:
            self.close()
            raise

    def _connected(self, path: Path) -> bool:
        try:
            self._socket.connect(str(path))
        except ConnectionRefusedError:  # bound, and not listening yet
            return False
        return True

    def _read(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except ConnectionError as error:
            raise QemuGoneError("the monitor is closed") from error
        if not line:
            raise QemuGoneError("the monitor is closed")
        read: dict[str, Any] = json.loads(line)
        return read

    def execute(self, command: str, arguments: Mapping[str, Any], events: list[dict[str, Any]]) -> Any:
        """Run a command; its return value. Events go to `events`. Raises `QmpError`, `QemuGoneError`.

        A message that QEMU has not understood, of which it has done nothing, is sent once more: in a few of tens of
        thousands QEMU reads other letters than were sent.
        """
        try:
            return self._answered(command, arguments, events)
        except QmpError as error:
            if not error.desc.startswith(_NOT_UNDERSTOOD):
                raise
        return self._answered(command, arguments, events)

    def _answered(self, command: str, arguments: Mapping[str, Any], events: list[dict[str, Any]]) -> Any:
        message = {"execute": command, "arguments": arguments}
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except ConnectionError as error:
            raise QemuGoneError(command) from error
        while True:
            reply = self._read()
            if "event" in reply:
                events.append(reply)
            elif "error" in reply:
                raise QmpError(command, reply["error"]["desc"])
            elif "return" in reply:
                return reply["return"]

    def close(self) -> None:
        """End the connection."""
        self._lines.close()
        self._socket.close()

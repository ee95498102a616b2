"""A session with a throw-away QEMU: everything may be sent, events are kept; and the two ways in which it says no."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from bitmapmig.captures import printable
from bitmapmig.monitor import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qemu.qmp import Message as Received

#: Events that are kept.
EVENTS = 10_000


class QemuRefusedError(Exception):
    """QEMU answered `command` with an error; `desc` is its text, `number` says which of several commands it was."""

    def __init__(self, command: str, desc: str, number: int = 0) -> None:
        super().__init__(f"{command}: {printable(desc)}")
        self.command = command
        self.desc = desc
        self.number = number


class QemuGoneError(Exception):
    """The process has ended, or closed its monitor; `log` is the end of what it printed to standard error."""

    def __init__(self, name: str, log: str) -> None:
        super().__init__(
            f"the throw-away QEMU {name!r} has ended: {printable(log.strip()[-300:]) or 'it said nothing'}"
        )
        self.log = log


class Recording(Session):
    """A session that may send everything, and keeps events until they are taken."""

    def __init__(self) -> None:
        super().__init__((lambda _: True,))
        self.kept: deque[dict[str, Any]] = deque(maxlen=EVENTS)

    async def _on_message(self, msg: Received) -> None:
        if "event" in msg:
            self.kept.append(dict(msg))
        await super()._on_message(msg)

    def take(self, name: str, data: Mapping[str, Any]) -> dict[str, Any] | None:
        """The oldest event `name` that has these `data`, which is kept no more; None where there is none."""
        for number, event in enumerate(self.kept):
            if event["event"] == name and data.items() <= event.get("data", {}).items():
                del self.kept[number]
                return event
        return None

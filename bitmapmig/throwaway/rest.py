"""Throw-away QEMUs of which one migrates to the other -> when each has come to rest, and what it has printed."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from bitmapmig.allowlist import Message
from bitmapmig.throwaway.session import QemuGoneError

if TYPE_CHECKING:
    from bitmapmig.throwaway.process import Throwaway

#: Seconds that a migration may take; it takes a tenth of one.
SECONDS = 30.0

_OVER = frozenset(("completed", "failed", "cancelled"))
#: What begins a line of a log: the program, by whatever name it was started.
_PROGRAM = re.compile(r"\A(?:\S*/)?[^\s/:]{1,255}: (?=\S)")


async def at_rest(qemu: Throwaway) -> dict[str, Any] | None:
    """What `query-migrate` says when the migration is over on this side; None where the process has ended.

    A destination is at rest once it has taken the run state that comes after it. Raises `TimeoutError`.
    """
    deadline = asyncio.get_running_loop().time() + SECONDS
    pause = 0.002
    while asyncio.get_running_loop().time() < deadline:
        try:
            info, status = await qemu.execute_all((Message("query-migrate"), Message("query-status")))
        except QemuGoneError:
            await qemu.wait()
            return None
        if info.get("status") in _OVER and not (qemu.incoming and status["status"] == "inmigrate"):
            found: dict[str, Any] = info
            return found
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.02)
    message = f"the migration did not end on the {qemu.name} within {SECONDS:g} s"
    raise TimeoutError(message)


def printed(qemu: Throwaway, since: int = 0) -> tuple[str, ...]:
    """The lines that it has printed, from character `since` of its log on, with nothing of this host in them."""
    return lines(qemu.log()[since:], f"{qemu.folder}/")


def lines(log: str, folder: str) -> tuple[str, ...]:
    """The lines of a log without the name of the program, and with `...` for its private folder."""
    log = log.replace(folder, ".../")
    return tuple(_PROGRAM.sub("", line) for line in log.splitlines() if line.strip())

"""Processes that want one lock, for the tests of locks.

    python -m tests.contender hold KEY URL        takes the lock, prints `held`, and keeps it until its input ends
    python -m tests.contender compete FOLDER URL  many processes take turns; prints what they did as JSON

An empty URL is the lock of this host.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitmapmig.lock import Holder, held

if TYPE_CHECKING:
    from collections.abc import Sequence

PROCESSES, ROUNDS = 16, 3
_KEY = "contest"


async def _hold(key: str, url: str | None) -> None:
    async with held(key, url=url, holder=Holder.here("hold")):
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def _turns(folder: Path, url: str | None, *, dies: bool) -> None:
    """Count up in a file that nothing but the lock guards; one process is killed between reading and writing."""
    counter, inside = folder / "counter", folder / "inside"
    for _ in range(ROUNDS):
        async with held(_KEY, url=url, timeout=60, holder=Holder.here("compete")) as lock:
            await lock.check()
            try:
                inside.touch(exist_ok=False)
            except FileExistsError:
                (folder / f"overlap-{os.getpid()}").touch()
            value = int(counter.read_text())
            await asyncio.sleep(0.002)
            if dies:
                inside.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            counter.write_text(str(value + 1))
            with suppress(FileNotFoundError):
                inside.unlink()


def _compete(folder: Path, url: str | None) -> dict[str, Any]:
    (folder / "counter").write_text("0")
    if url:  # once for all
        import_module(f"tooz.drivers.{url.partition(':')[0]}")
    children = []
    for number in range(PROCESSES):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                asyncio.run(_turns(folder, url, dies=number == PROCESSES // 2))
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    overlaps = len(list(folder.glob("overlap-*")))
    return {"count": int((folder / "counter").read_text()), "overlaps": overlaps, "ends": sorted(ends)}


#: What `compete` prints where the lock is one.
FAIR = {"count": (PROCESSES - 1) * ROUNDS, "overlaps": 0, "ends": [-signal.SIGKILL, *[0] * (PROCESSES - 1)]}


def _main(words: Sequence[str]) -> None:
    command, first, url = words
    if command == "hold":
        asyncio.run(_hold(first, url or None))
    else:
        print(json.dumps(_compete(Path(first), url or None)))


if __name__ == "__main__":
    _main(sys.argv[1:])

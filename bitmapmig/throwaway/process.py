"""A QEMU program -> a throw-away process of it, spoken to over QMP; it ends with its `async with`, or with us.

It has no guest, no network and no file of anybody: only a private folder. No name that came from elsewhere is on its
command line. Two monitors: one is held here, the other is free for `collect`, `apply` and the like.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from bitmapmig import codes
from bitmapmig.allowlist import Message
from bitmapmig.captures import LOOK, NODES, QUERIES, printable
from bitmapmig.collect import collect, collect_on
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.endpoint import Endpoint, UnixSocket
from bitmapmig.graph import read
from bitmapmig.monitor import Monitor
from bitmapmig.peer import connect_unix
from bitmapmig.throwaway import child
from bitmapmig.throwaway.binary import Binary, not_qemu
from bitmapmig.throwaway.folder import private_folder
from bitmapmig.throwaway.session import QemuGoneError, QemuRefusedError, Recording

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from bitmapmig.captures import Capture, Exchange, Query
    from bitmapmig.graph import BlockGraph

_T = TypeVar("_T")

#: Seconds until a start is held to have failed, at the first attempt and at the second: 5.2 hangs in a few of
#: thousands of starts.
STARTS = (5.0, 15.0)

#: Seconds until anything else that takes milliseconds is held to have failed.
PATIENCE = 20.0

#: Bytes of the log that are kept in mind.
LOG = 1 << 20

_SAFE = re.compile("[A-Za-z][A-Za-z0-9._-]{0,40}")

#: What tells the block graph.
_STRUCTURE = (
    NODES,
    *(query for query in QUERIES if query.execute in ("query-block", "x-debug-query-block-graph", "query-jobs")),
    *(query for query in QUERIES if query.execute == "query-block-exports"),
)

#: A machine has 8 MiB, and no firmware ever runs in it, because it is paused.
_ALWAYS = ("-nodefaults", "-no-user-config", "-display", "none", "-m", "8")
#: Even code that is made to run by a flaw of QEMU cannot start a program.
_SANDBOX = ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")


class Throwaway:
    """One running throw-away QEMU; made by `running`."""

    def __init__(self, binary: Binary, folder: Path, name: str, *, incoming: bool, machine: str) -> None:
        self.binary = binary
        self.folder = folder
        self.name = name
        self.incoming = incoming  #: whether it was started to wait for a migration
        self.machine = machine
        #: the monitor that is free, as `endpoint.parse` reads it
        self.endpoint = f"unix:{folder / f'{name}.qmp'}"
        #: the socket of its NBD server, in its folder, while one runs
        self.nbd: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._session = Recording()
        self._monitor: Monitor | None = None

    # the process

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None  # noqa: S101
        return self._process.pid

    @property
    def status(self) -> int | None:
        """None while the process lives, then its exit status; a signal that ended it is negative."""
        return None if self._process is None else child.status(self._process)

    def log(self) -> str:
        """What QEMU has printed to standard error so far; of a long log, its end."""
        with (self.folder / f"{self.name}.log").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG))
            return file.read().decode(errors="replace")

    async def wait(self, seconds: float = PATIENCE) -> int:
        """Wait until the process has ended; its `status`. Raises `TimeoutError`."""
        await self.until(lambda: self.status is not None, "end", seconds)
        return self.status or 0

    async def quit(self) -> int:
        """Let QEMU shut down in order, which stores persistent bitmaps; its exit status."""
        with suppress(QemuGoneError):
            await self.execute("quit")
        return await self.wait()

    async def kill(self) -> None:
        """End the process at once, as a crash does: nothing is stored."""
        if self._monitor is not None:
            await self._monitor.end()
        self._kill()

    def _kill(self) -> None:
        if self._process is not None:
            child.end(self._process, PATIENCE)

    # the monitor

    async def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401  raw JSON
        """What a QMP command returns. Raises `QemuRefusedError`, `QemuGoneError`."""
        (answer,) = await self.execute_all((Message(command, arguments or {}),))
        return answer

    async def execute_all(self, messages: Sequence[Message]) -> list[Any]:
        """What each of several commands returns; all are sent in one go, so those after a refused one run as well.

        Raises for the first that was refused.
        """
        answers = await self.answers(messages)
        for number, answer in enumerate(answers):
            if answer.error is not None:
                raise QemuRefusedError(answer.execute, str(answer.error.get("desc")), number)
        return [answer.return_ for answer in answers]

    async def answers(self, messages: Sequence[Message]) -> Sequence[Exchange]:
        """The answer to each of several commands, which may be an error; all are sent in one go.

        Raises `QemuGoneError`.
        """
        assert self._monitor is not None  # noqa: S101
        try:
            return await self._monitor.ask(messages)
        except CannotRunError as error:
            raise await self._gone(error) from error

    async def human(self, line: str) -> str:
        """What a line of the human monitor prints; never to be made of a name that came from elsewhere unchecked."""
        return str(await self.execute("human-monitor-command", {"command-line": line})).strip()

    async def event(self, name: str, seconds: float = PATIENCE, **data: object) -> dict[str, Any]:
        """The data of the first event `name` that has these `data` (`_` stands for `-`); waits for it.

        It is taken: who asks again waits for another one. Raises `TimeoutError`, `QemuGoneError`.
        """
        wanted = {key.replace("_", "-"): value for key, value in data.items()}
        event = await self.until(lambda: self._session.take(name, wanted), f"send {name} {wanted}", seconds)
        assert event is not None  # noqa: S101
        told: dict[str, Any] = event.get("data", {})
        return told

    async def until(self, condition: Callable[[], _T], what: str, seconds: float = PATIENCE) -> _T:
        """Wait until `condition` gives something true; that. Raises `TimeoutError`, `QemuGoneError`."""
        pause = 0.001
        deadline = asyncio.get_running_loop().time() + seconds
        while not (found := condition()):
            if what != "end" and self.status is not None:
                raise QemuGoneError(self.name, self.log())
            if asyncio.get_running_loop().time() > deadline:
                message = f"the throw-away QEMU {self.name!r} did not {what} within {seconds:g} s"
                raise TimeoutError(message)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.02)
        return found

    async def graph(self) -> BlockGraph:
        """The block graph as it is now. Raises `CannotRunError`, `QemuGoneError`."""
        return read(await self.look(_STRUCTURE), "source")[0]

    async def look(self, queries: Sequence[Query] = LOOK) -> Capture:
        """A capture that tells no more than `queries` ask, over the monitor that is held here.

        Raises `CannotRunError`, `QemuGoneError`.
        """
        assert self._monitor is not None  # noqa: S101
        end = Endpoint(self.endpoint, UnixSocket(self.endpoint))
        try:
            return await collect_on(end, self._monitor, queries)
        except CannotRunError as error:
            gone = await self._gone(error)
            if self.status is None:
                raise
            raise gone from error

    async def _gone(self, error: CannotRunError) -> QemuGoneError:
        """What `error` means where the process ends; it is waited for, since its monitor closes before."""
        with suppress(TimeoutError):
            await self.wait(1)
        return QemuGoneError(self.name, self.log() or str(error))

    async def captured(self) -> Capture:
        """A capture, over the free monitor. Raises `CannotRunError`."""
        return await collect(self.endpoint)

    # starting

    async def start(self, words: tuple[str, ...], seconds: float) -> bool:
        """Start the process and begin to speak to it, which `running` does; False where it did not answer in time.

        Raises `QemuGoneError`, `OSError`, `CannotRunError`.
        """
        private, free = (self.folder / f"{self.name}.{kind}" for kind in ("own", "qmp"))
        for path in (private, free):
            path.unlink(missing_ok=True)
        monitors = [word for path in (free, private) for word in ("-qmp", f"unix:{path.name},server=on,wait=off")]
        deadline = asyncio.get_running_loop().time() + seconds
        with (self.folder / f"{self.name}.log").open("wb") as log:
            command = (str(self.binary.path), *words, *monitors)
            self._process = child.tied(command, folder=self.folder, output=subprocess.DEVNULL, errors=log)
        try:
            await self.until(private.is_socket, "start", seconds)
            connection = await self._connected(private, deadline)
            return await self._begin(private, connection, deadline)
        except TimeoutError:
            return False
        except CannotRunError as error:
            if not _not_qemu(error):
                with suppress(TimeoutError):
                    await self.wait(1)
                    raise QemuGoneError(self.name, self.log()) from error
            raise

    async def _connected(self, path: Path, deadline: float) -> socket.socket:
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    return await connect_unix(str(path))
            except ConnectionRefusedError as error:  # bound, and not listening yet, or gone already
                if self.status is not None:
                    raise QemuGoneError(self.name, self.log()) from error
                if asyncio.get_running_loop().time() > deadline:
                    raise TimeoutError from error
                await asyncio.sleep(0.001)

    async def _begin(self, path: Path, connection: socket.socket, deadline: float) -> bool:
        self._session = Recording()
        end = Endpoint(f"unix:{path}", UnixSocket(str(path)))
        self._monitor = Monitor(end, self._session, connection, PATIENCE)
        process = self._monitor.process
        if process is not None and process.pid != self.pid:
            os.kill(process.pid, signal.SIGKILL)  # it listens in our own private folder, so the starter has started it
            raise not_qemu(self.binary.path, "it starts QEMU as another process instead of becoming it (exec)")
        return await self._monitor.begin(deadline, 1)


@asynccontextmanager
async def running(
    binary: Binary,
    *,
    folder: Path | None = None,
    name: str = "source",
    incoming: bool = False,
    machine: str = "none",
    paused: bool = True,
    uuid: UUID | None = None,
) -> AsyncIterator[Throwaway]:
    """A throw-away QEMU of `binary`, alive inside the `async with`.

    `folder` is a private one (`private_folder`) that several may share, each under a `name` of its own; by default it
    has one to itself. With `incoming` it waits for a migration. `machine` is the name of a machine type without options
    (`machine_for`), `uuid` what the VM is to have. Raises `CannotRunError`: BM121 where the program is no
    QEMU after all, BM122 where it does not start.
    """
    for word in (name, machine):
        if not _SAFE.fullmatch(word):
            message = f"{word!r} cannot be on a command line"
            raise ValueError(message)
    with ExitStack() as stack:
        found = Throwaway(
            binary, folder or stack.enter_context(private_folder()), name, incoming=incoming, machine=machine
        )
        words = (
            "-machine",
            machine,
            *_ALWAYS,
            *(("-S",) if paused else ()),
            *(("-incoming", "defer") if incoming else ()),
            *(("-uuid", str(UUID(int=uuid.int))) if uuid is not None else ()),
        )
        try:
            await _started(found, words)
            yield found
        finally:
            await found.kill()


async def _started(found: Throwaway, words: tuple[str, ...]) -> None:
    """Start it, once more where it hangs; without a sandbox where this QEMU was built without."""
    reason = ""
    for sandbox in (_SANDBOX, ()):
        for seconds in STARTS:
            try:
                if await found.start((*words, *sandbox), seconds):
                    return
                reason = f"it did not answer within {seconds:g} s"
            except QemuGoneError as error:
                reason = error.log.strip()[-500:]
                break
            except OSError as error:
                reason = error.strerror or str(error)
                break
            except CannotRunError as error:
                if _not_qemu(error):
                    raise
                reason = error.diagnostics[0].message
            await found.kill()
        if "sandbox" not in reason:
            break
    path = str(found.binary.path)
    raise CannotRunError(codes.QEMU_NOT_STARTED.at(Where(), path=path, reason=printable(reason) or "it said nothing"))


def _not_qemu(error: CannotRunError) -> bool:
    return error.diagnostics[0].code == codes.BINARY_NOT_QEMU.code

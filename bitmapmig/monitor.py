"""Endpoint -> QMP session that can send nothing but the messages of a fixed list (see `allowlist`).

The list is enforced where bytes leave for the socket, on whole messages, arguments included; whoever holds a session
cannot get another command past it. All that can go wrong on the way to an answer becomes a `CannotRunError` here.
"""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from qemu.qmp import ConnectError, ExecuteError, Message, QMPClient, QMPError, Runstate
from qemu.qmp.error import ProtocolError

from bitmapmig import codes, peer
from bitmapmig.captures import NO_TEXT, Exchange, Query, decode, printable
from bitmapmig.diagnostics import CannotRunError, Code, Where
from bitmapmig.endpoint import Endpoint, TcpSocket, UnixSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from bitmapmig.allowlist import Allowed

#: Bytes of the longest reply that is taken. 50,000 nodes take 40 MB.
REPLY_LIMIT = 64 * 1024 * 1024

#: Bytes of all that one session reads: the largest replies, the nodes twice, with room to spare.
SESSION_LIMIT = 256 << 20

#: Ends the negotiation: without out-of-band execution, which no query needs.
_NEGOTIATION = Query("qmp_capabilities")


class Question(Protocol):
    """What can be asked: a `captures.Query`, or an `allowlist.Message`."""

    @property
    def execute(self) -> str:
        """The name of the command."""

    @property
    def message(self) -> dict[str, Any]:
        """The command as it goes over the wire."""


class ForbiddenMessageError(Exception):
    """A message that is not on the session's list was about to be sent, which is a bug in this package."""


class _NoQmpError(Exception):
    """The peer sent something that is no QMP message."""


class _NoTextError(Exception):
    """The peer sent a name that is no text."""


class _TooLongError(Exception):
    """The peer sent a line longer than `REPLY_LIMIT`."""


#: All that ends a session from the far side, or from the list.
_CAUSES = (QMPError, OSError, EOFError, _NoQmpError, _NoTextError, _TooLongError, ForbiddenMessageError)


class Session(QMPClient):
    """A QMP client that sends `allowed` messages only, and of events keeps only that there was one.

    Nothing is negotiated on connecting: whoever connects executes `qmp_capabilities` itself, because only then a second
    greeting, which a QEMU that is still starting may send, is told apart from the answer.
    """

    def __init__(self, allowed: Iterable[Allowed]) -> None:
        super().__init__(readbuflen=REPLY_LIMIT)
        self.negotiate = False
        self.stirred = asyncio.Event()
        self._received = 0
        listed = (_NEGOTIATION.message, *allowed)
        self._messages = frozenset(_canonical(one) for one in listed if not callable(one))
        self._shapes = tuple(one for one in listed if callable(one))

    def _do_send(self, msg: Message) -> None:
        words = {key: value for key, value in msg.items() if key != "id"}
        if _canonical(words) not in self._messages and not any(shape(words) for shape in self._shapes):
            raise ForbiddenMessageError(_canonical(words))
        # made anew from what was checked: `msg` may keep bytes of its own
        super()._do_send(Message({**words, "id": msg.get("id")}))

    async def _do_recv(self) -> Message:
        try:
            line = await self._readline()
        except ValueError as error:  # the stream's way to say that its limit is reached
            raise _TooLongError from error
        self._received += len(line)
        if self._received > SESSION_LIMIT:
            raise _TooLongError
        if not line.endswith(b"\n"):
            raise EOFError
        try:
            words = decode(line)
        except UnicodeEncodeError as error:
            raise _NoTextError from error
        except ValueError as error:
            reason = f"{_excerpt(line)} ({printable(str(error))})"
            raise _NoQmpError(reason) from error
        if not isinstance(words, dict) or not isinstance(words.get("id"), str | int | None):
            raise _NoQmpError(_excerpt(line))
        return Message(words, eager=False)

    async def _on_message(self, msg: Message) -> None:
        # the default keeps every event for ever
        if "event" in msg:
            self.stirred.set()
        else:
            await super()._on_message(msg)

    # the defaults print every message in full, whether it is logged or not

    def _cb_inbound(self, msg: Message) -> Message:
        return msg

    def _cb_outbound(self, msg: Message) -> Message:
        return msg


def _canonical(message: Mapping[str, Any]) -> str:
    """`message` as text that is equal for equal JSON only: to Python, 1 and true are equal."""
    return json.dumps(message, sort_keys=True)


def _excerpt(line: bytes) -> str:
    return printable(line[:200].decode(errors="replace").strip(), 80)


class Monitor:
    """A session with one QEMU; each answer may take `timeout` seconds after the one before."""

    def __init__(self, endpoint: Endpoint, session: Session, connection: socket.socket, timeout: float) -> None:
        self.process = peer.process(connection) if isinstance(endpoint.place, UnixSocket) else None
        self._endpoint = endpoint
        self._session = session
        self._connection = connection
        self._timeout = timeout

    @property
    def greeting(self) -> dict[str, Any] | None:
        """The greeting as QEMU sent it; None until then."""
        found = self._session.greeting
        if found is None:
            return None
        return {"QMP": {"version": dict(found.QMP.version), "capabilities": list(found.QMP.capabilities)}}

    async def stirred(self, seconds: float) -> bool:
        """Wait for an event of QEMU that came after the last call, at most `seconds`; whether there was one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._session.stirred.wait()
        found = self._session.stirred.is_set()
        self._session.stirred.clear()
        return found

    async def begin(self, deadline: float, share: float) -> bool:
        """Await the greeting until `deadline`, and negotiate in a `share` of what is left; False where time runs out.

        `deadline` is by the clock of the event loop. Raises `CannotRunError` (BM105 to BM107).
        """
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout_at(deadline):
                await self._session.connect(self._connection)
            async with asyncio.timeout((deadline - now()) * share):
                (negotiated,) = await self.ask((_NEGOTIATION,))
        except TimeoutError:
            return False
        except ConnectError as error:
            raise self._failure(error.exc, "the greeting") from error
        except AssertionError as error:  # how the library takes it that the far end closes right after the greeting
            raise self._failure(await self.end() or EOFError(), "'qmp_capabilities'") from error
        if negotiated.error is not None:
            reason = f"it refuses qmp_capabilities: {printable(str(negotiated.error['desc']))}"
            raise _error(self._endpoint, codes.MONITOR_NOT_QMP, reason=reason)
        return True

    async def ask(self, queries: Sequence[Question]) -> tuple[Exchange, ...]:
        """Send all `queries` without waiting in between; the answers in the same order, errors of QEMU among them.

        Raises `CannotRunError` (BM104 to BM107, BM111) where an answer does not come or is none.
        """
        tasks = [asyncio.create_task(self._session.execute_msg(Message(query.message))) for query in queries]
        try:
            return tuple([await self._answer(query, task) for query, task in zip(queries, tasks, strict=True)])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, query: Question, task: asyncio.Task[object]) -> Exchange:
        try:
            async with asyncio.timeout(self._timeout):
                returned = await task
        except TimeoutError:
            awaited = f"answer {query.execute!r}"
            raise _error(self._endpoint, codes.MONITOR_SILENT, awaited=awaited, seconds=self._timeout) from None
        except ExecuteError as error:
            return Exchange.model_validate(query.message | {"error": error.received["error"]})
        except ProtocolError as error:
            raise self._failure(error, repr(query.execute)) from error
        except QMPError as error:
            # the session has ended by itself, and only its end says why
            raise self._failure(await self.end() or error, repr(query.execute)) from error
        return Exchange.model_validate(query.message | {"return": returned})

    async def end(self) -> Exception | None:
        """End the session; what had ended it already, if anything had."""
        with suppress(OSError):  # so that a peer that does not read cannot hold it up
            self._connection.shutdown(socket.SHUT_RDWR)
        try:
            if self._session.runstate is not Runstate.IDLE:
                await self._session.disconnect()
        except _CAUSES as cause:
            return cause
        finally:
            self._connection.close()
        return None

    def _failure(self, cause: Exception, awaited: str) -> Exception:
        """What to raise when `cause` kept the answer to `awaited` from coming."""
        if isinstance(cause, ForbiddenMessageError):
            return cause
        if isinstance(cause, _TooLongError):
            return _error(self._endpoint, codes.REPLY_TOO_LARGE, limit=REPLY_LIMIT)
        if isinstance(cause, _NoTextError):
            return _error(self._endpoint, codes.CAPTURE_MALFORMED, reason=NO_TEXT)
        if isinstance(cause, _NoQmpError):
            return _error(self._endpoint, codes.MONITOR_NOT_QMP, reason=f"it sent {cause}")
        if isinstance(cause, ProtocolError):
            # not its own text, which holds all that was sent
            reason = printable(str(getattr(cause, "exc", cause).args[0]))
            return _error(self._endpoint, codes.MONITOR_NOT_QMP, reason=reason)
        reason = printable(str(cause)) or "it was closed"
        return _error(self._endpoint, codes.MONITOR_LOST, awaited=awaited, reason=reason)


@asynccontextmanager
async def connected(
    endpoint: Endpoint,
    allowed: Iterable[Allowed],
    *,
    timeout: float = 10.0,  # noqa: ASYNC109  it bounds each answer as well
) -> AsyncIterator[Monitor]:
    """A session with the QEMU at `endpoint` that can send the messages and shapes `allowed`, and nothing else.

    Connecting, greeting and negotiation together take at most `timeout` seconds, and so does each answer. Raises
    `CannotRunError` (BM102 to BM107).
    """
    monitor = await _begun(endpoint, tuple(allowed), timeout)
    try:
        yield monitor
    finally:
        await monitor.end()


async def _begun(endpoint: Endpoint, allowed: Sequence[Allowed], seconds: float) -> Monitor:
    """A negotiated session, at the second attempt if need be.

    A QEMU 5.2 that is still starting may greet and then say nothing, or close, or not understand; a new connection goes
    well. One that does not greet has its time to do so on one connection: each leaves a place in the queue taken.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    greeted = False
    process: peer.Process | None = None
    for share in (0.5, 1):
        connection = await _connection(endpoint, deadline, seconds)
        if connection is None:
            break
        monitor = Monitor(endpoint, Session(allowed), connection, seconds)
        begun = False
        try:
            begun = await monitor.begin(deadline, share)
        except CannotRunError:
            if share == 1:
                raise
        finally:
            greeted, process = monitor.greeting is not None, monitor.process
            if not begun:
                await monitor.end()
        if begun:
            return monitor
        if asyncio.get_running_loop().time() >= deadline:
            break
    raise _silence(endpoint, seconds, process, greeted=greeted)


def _silence(endpoint: Endpoint, seconds: float, process: peer.Process | None, *, greeted: bool) -> CannotRunError:
    """Why a monitor that could be connected to does not answer, as far as the kernel tells."""
    awaited = f"answer {_NEGOTIATION.execute!r}" if greeted else "greet"
    if process is not None and peer.stopped(process.pid):
        remedy = f"process {process.pid} is stopped: let it go on (kill -CONT {process.pid}), then try again"
        return _error(endpoint, codes.MONITOR_SILENT, awaited=awaited, seconds=seconds, remedy=remedy)
    if not greeted and isinstance(endpoint.place, UnixSocket) and peer.held(endpoint.place.path):
        return _error(endpoint, codes.MONITOR_HELD)
    return _error(endpoint, codes.MONITOR_SILENT, awaited=awaited, seconds=seconds)


async def _connection(endpoint: Endpoint, deadline: float, seconds: float) -> socket.socket | None:
    """A connected socket; None where a unix socket's queue of clients was full until `deadline`. Raises BM102."""
    place = endpoint.place
    try:
        async with asyncio.timeout_at(deadline):
            if isinstance(place, UnixSocket):
                return await peer.connect_unix(place.path)
            if isinstance(place, TcpSocket):
                return await peer.connect_tcp(place.host, place.port)
    except TimeoutError as error:
        if isinstance(place, UnixSocket):
            return None
        reason = f"no connection within {seconds:g} s"
        raise _error(endpoint, codes.ENDPOINT_UNREACHABLE, reason=reason) from error
    except (OSError, UnicodeError) as error:
        raise _error(endpoint, codes.ENDPOINT_UNREACHABLE, reason=printable(peer.reason(error))) from error
    raise _error(endpoint, codes.ENDPOINT_UNREACHABLE, reason="it is no monitor, but a stored capture")


def _error(endpoint: Endpoint, code: Code, *, remedy: str | None = None, **facts: Any) -> CannotRunError:  # noqa: ANN401
    return CannotRunError(code.at(Where(), endpoint=endpoint.text, remedy=remedy, **facts))

"""Endpoint -> Capture: asks a QEMU all that a plan needs, or reads what was asked before."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from bitmapmig import codes
from bitmapmig.allowlist import READING
from bitmapmig.behaviour import LISTING_AFTER, Version
from bitmapmig.captures import (
    JOBS,
    NODES,
    QUERIES,
    Capture,
    Exchange,
    load,
    printable,
    schema_closure,
    structure,
    too_deep,
)
from bitmapmig.diagnostics import CannotRunError, Diagnostic, Side, Where
from bitmapmig.endpoint import CaptureFile, Endpoint, StandardInput, UnixSocket, parse
from bitmapmig.json_document import UnreadableError, bounded
from bitmapmig.monitor import connected
from bitmapmig.qapi import Greeting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bitmapmig.captures import Query
    from bitmapmig.monitor import Monitor

#: How often a capture is taken until the block graph has stood still from its first query to its last.
ATTEMPTS = 3

#: Bytes of the largest stored capture that is read. 50,000 nodes take 50 MB.
FILE_LIMIT = 1 << 30

_GREETING = TypeAdapter(Greeting)


async def collect(endpoint: Endpoint | str, *, timeout: float = 10.0) -> Capture:  # noqa: ASYNC109  of each step
    """The capture of the QEMU at `endpoint`, or the one that is stored there.

    `timeout` is in seconds: connecting takes at most so long, and so does each answer. A stored capture is read without
    letting other tasks run. Raises `CannotRunError` (BM101 to BM113).
    """
    found = parse(endpoint) if isinstance(endpoint, str) else endpoint
    if isinstance(found.place, CaptureFile | StandardInput):
        return load(_read(found), found.text)
    async with connected(found, READING, timeout=timeout) as monitor:
        return await collect_on(found, monitor)


async def collect_both(
    source: Endpoint | str,
    destination: Endpoint | str,
    *,
    timeout: float = 10.0,  # noqa: ASYNC109  of each step
) -> tuple[Capture, Capture]:
    """Both sides' captures, taken at the same time. Where both are one socket, one capture stands for both.

    Raises as `collect` does, with the findings of both sides, each of which names its side; BM101 where both are to be
    read from standard input.
    """
    ends = _parsed({"source": source, "destination": destination})
    if one_monitor(ends["source"], ends["destination"]):
        ends.pop("destination")  # it serves one client at a time
    taken: dict[Side, Capture] = {}
    findings: list[Diagnostic] = []

    async def take(side: Side, end: Endpoint) -> None:
        try:
            taken[side] = await collect(end, timeout=timeout)
        except CannotRunError as error:
            findings.extend(on_side(side, error))

    # reading a file blocks all else, so no monitor is connected meanwhile
    for side, end in ends.items():
        if not end.live:
            await take(side, end)
    async with asyncio.TaskGroup() as group:
        for side, end in ends.items():
            if end.live:
                group.create_task(take(side, end))
    if findings:
        raise CannotRunError(*sorted(findings, key=lambda found: found.where.side == "destination"))
    return taken["source"], taken.get("destination", taken["source"])


def _parsed(ends: dict[Side, Endpoint | str]) -> dict[Side, Endpoint]:
    parsed: dict[Side, Endpoint] = {}
    findings: list[Diagnostic] = []
    for side, end in ends.items():
        try:
            parsed[side] = parse(end) if isinstance(end, str) else end
        except CannotRunError as error:
            findings += on_side(side, error)
    if not findings and all(isinstance(end.place, StandardInput) for end in parsed.values()):
        reason = "standard input can be one side only"
        findings.append(codes.ENDPOINT_MALFORMED.at(Where(side="destination"), endpoint="-", reason=reason))
    if findings:
        raise CannotRunError(*findings)
    return parsed


def one_monitor(source: Endpoint, destination: Endpoint) -> bool:
    """Whether both are one socket, which serves one client at a time."""
    if isinstance(source.place, UnixSocket) and isinstance(destination.place, UnixSocket):
        try:
            return Path(source.place.path).samefile(destination.place.path)
        except OSError:
            return False
    return source.live and source.place == destination.place


def on_side(side: Side, error: CannotRunError) -> Iterable[Diagnostic]:
    """The findings of `error`, each of which names the side."""
    for found in error.diagnostics:
        yield found.model_copy(update={"where": found.where.model_copy(update={"side": side})})


# from a QEMU


async def collect_on(endpoint: Endpoint, monitor: Monitor, queries: Sequence[Query] = QUERIES) -> Capture:
    """The capture of the QEMU that `monitor`, a session with `endpoint`, is connected to.

    `queries` begin with `captures.NODES`; fewer than all give a capture that tells less, for whoever looks often.
    Raises `CannotRunError` (BM104 to BM109, BM111, BM113).
    """
    version = _version(monitor)
    deadly = [type_ for type_, listing in LISTING_AFTER.items() if listing.assumed(version)]
    if deadly:
        await _check_concluded(endpoint, monitor, deadly)
    for _ in range(ATTEMPTS):
        *exchanges, again = await monitor.ask((*queries, NODES))
        _check_errors(endpoint, (*exchanges, again))
        if not _stood_still(endpoint, exchanges[0].return_, again.return_):
            continue
        return Capture(
            endpoint=endpoint.text,
            process=_process(monitor, exchanges),
            greeting=monitor.greeting or {},
            exchanges=tuple(map(_reduced, exchanges)),
        )
    raise CannotRunError(codes.GRAPH_CHANGING.at(Where(), endpoint=endpoint.text, attempts=ATTEMPTS))


def _version(monitor: Monitor) -> Version:
    """The version in the greeting; one that cannot be read is taken for the oldest."""
    try:
        found = _GREETING.validate_python(monitor.greeting).QMP.version.qemu
    except ValidationError:
        return (0, 0, 0)
    return (found.major, found.minor, found.micro)


async def _check_concluded(endpoint: Endpoint, monitor: Monitor, deadly: Sequence[str]) -> None:
    """Raise `CannotRunError` (BM113) where the first query of the nodes would kill this QEMU."""
    (answer,) = await monitor.ask((JOBS,))
    for job in answer.return_ if isinstance(answer.return_, list) else ():
        if isinstance(job, dict) and job.get("type") in deadly and job.get("status") == "concluded":
            name = printable(str(job.get("id")))
            raise CannotRunError(
                codes.CAPTURE_WOULD_KILL.at(Where(), endpoint=endpoint.text, type=str(job["type"]), job=name)
            )


def _stood_still(endpoint: Endpoint, first: object, last: object) -> bool:
    try:
        return first == last or structure(first) == structure(last)
    except RecursionError as error:
        raise too_deep(endpoint.text) from error


def _check_errors(endpoint: Endpoint, exchanges: Sequence[Exchange]) -> None:
    """Raise `CannotRunError` (BM108) where QEMU answered a needed query with an error."""
    needed = {query.execute for query in QUERIES if query.needed}
    failed = {one.execute: one.error for one in exchanges if one.error is not None and one.execute in needed}
    if failed:
        raise CannotRunError(
            *(
                codes.COMMAND_FAILED.at(
                    Where(), command=command, endpoint=endpoint.text, error=printable(str(error["desc"]))
                )
                for command, error in failed.items()
            )
        )


def _reduced(exchange: Exchange) -> Exchange:
    """Of QEMU's schema, hundreds of KB, the part that decisions need; any other exchange as it is."""
    if exchange.execute != "query-qmp-schema" or exchange.error is not None:
        return exchange
    return Exchange.model_validate({"execute": exchange.execute, "return": schema_closure(exchange.return_)})


def _process(monitor: Monitor, exchanges: Iterable[Exchange]) -> str | None:
    """`Capture.process`. Threads are in it because one manager may have opened the sockets of several QEMUs."""
    if monitor.process is None:
        return None
    cpus = next((one.return_ for one in exchanges if one.execute == "query-cpus-fast"), None)
    records = [cpu for cpu in cpus if isinstance(cpu, dict)] if isinstance(cpus, list) else []
    threads = sorted(str(cpu.get("thread-id")) for cpu in records)
    return hashlib.sha256(" ".join((monitor.process.identity, *threads)).encode()).hexdigest()


# from a file


def _read(endpoint: Endpoint) -> bytes:
    """The bytes of a stored capture. Raises `CannotRunError` (BM110)."""
    try:
        if isinstance(endpoint.place, CaptureFile):
            with Path(endpoint.place.path).open("rb") as file:
                return bounded(file, FILE_LIMIT)
        return bounded(sys.stdin.buffer, FILE_LIMIT)
    except FileNotFoundError as error:
        raise _unreadable(endpoint, "there is no such file or socket") from error
    except OSError as error:
        raise _unreadable(endpoint, error.strerror or str(error)) from error
    except AttributeError as error:  # what Python has for a standard input that is closed
        raise _unreadable(endpoint, "standard input is closed") from error
    except UnreadableError as error:
        raise _unreadable(endpoint, error.reason) from error


def _unreadable(endpoint: Endpoint, reason: str) -> CannotRunError:
    return CannotRunError(codes.CAPTURE_UNREADABLE.at(Where(file=endpoint.text), path=endpoint.text, reason=reason))

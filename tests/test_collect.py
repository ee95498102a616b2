"""Captures from fake monitors that do what no real QEMU can be made to do, and from files."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import time
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig import collect as module
from bitmapmig.captures import NODES, QUERIES, Capture, dump, load
from bitmapmig.collect import collect, collect_both
from bitmapmig.diagnostics import CannotRunError, Diagnostic
from tests import fake_monitor
from tests.fake_monitor import GREETED, FakeMonitor, QmpError, Turns, answers_of

if TYPE_CHECKING:
    from collections.abc import Coroutine

RECORDED = Path(__file__).parent / "captures" / "qemu-7.2.json"
ANSWERS = answers_of(load(RECORDED.read_bytes(), "recorded"))

#: Seconds that are waited for what does not come.
SOON = 0.3

EVENT = {"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 0}}


def qmp(tmp_path: Path) -> Path:
    """Where fakes listen."""
    return tmp_path / "fake.qmp"


async def fake_capture(fake: FakeMonitor, path: Path, seconds: float = 10.0) -> Capture:
    """The capture of a fake."""
    async with fake.unix(path) as endpoint:
        return await collect(endpoint, timeout=seconds)


def taken(fake: FakeMonitor, tmp_path: Path) -> Capture:
    """The capture of a fake on a unix socket."""
    return asyncio.run(fake_capture(fake, qmp(tmp_path)))


def findings(act: Coroutine[Any, Any, object]) -> tuple[Diagnostic, ...]:
    """What `act` raises; its messages print."""
    with pytest.raises(CannotRunError) as caught:
        asyncio.run(act)
    assert all(found.message.isprintable() for found in caught.value.diagnostics)
    return caught.value.diagnostics


def finding(act: Coroutine[Any, Any, object]) -> Diagnostic:
    """The one thing that `act` raises."""
    (found,) = findings(act)
    return found


def greeting(*release: int) -> dict[str, Any]:
    """The greeting of a QEMU of that version."""
    made = deepcopy(fake_monitor.GREETING)
    version = dict(zip(("major", "minor", "micro"), release, strict=True))
    made["QMP"]["version"] = {"qemu": version, "package": ""}
    return made


#: Of a version that needs not be asked for its jobs before all else.
AT_ONCE = greeting(10, 0, 13)


# what is asked, and how


def test_commands_are_pipelined(tmp_path: Path) -> None:
    """All queries are under way before the first is answered, the nodes first and last."""
    fake = FakeMonitor(ANSWERS, hold=len(QUERIES) + 1, greeting=AT_ONCE)
    capture = taken(fake, tmp_path)
    asked = [{key: value for key, value in message.items() if key != "id"} for message in fake.received]
    assert asked == [{"execute": "qmp_capabilities"}, *(query.message for query in QUERIES), NODES.message]
    assert [query.execute for query in QUERIES] == [one.execute for one in capture.exchanges]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_tcp(host: str, tmp_path: Path) -> None:
    """Over TCP, IPv4 and IPv6, the capture is that of the unix socket, but for where it came from."""

    async def over_tcp() -> Capture:
        async with FakeMonitor(ANSWERS).tcp(host) as endpoint:
            found = await collect(endpoint)
            assert found.endpoint == endpoint
            return found

    by_unix, by_tcp = taken(FakeMonitor(ANSWERS), tmp_path), asyncio.run(over_tcp())
    assert by_tcp.process is None
    assert by_tcp == by_unix.model_copy(update={"endpoint": by_tcp.endpoint, "process": None})


def test_errors_are_kept(tmp_path: Path) -> None:
    """An error to a query that is not needed is part of the capture."""
    refused = QmpError("the command is unstable")
    capture = taken(FakeMonitor(ANSWERS | {"x-debug-query-block-graph": refused}), tmp_path)
    errors = {one.execute: one.error for one in capture.exchanges if one.error is not None}
    assert errors == {"x-debug-query-block-graph": refused}
    assert load(dump(capture), "stored") == capture


def test_errors_to_needed_queries(tmp_path: Path) -> None:
    """Errors to queries that are needed end the capture, with all that QEMU said."""
    broken = {"query-block": QmpError("\x1b[2J"), NODES.execute: QmpError("Block device node0 is ejected")}
    found = findings(fake_capture(FakeMonitor(ANSWERS | broken), qmp(tmp_path)))
    assert [(one.code, one.facts["command"], one.facts["error"]) for one in found] == [
        ("BM108", NODES.execute, "Block device node0 is ejected"),
        ("BM108", "query-block", "\\x1b[2J"),
    ]


@pytest.mark.parametrize(
    ("release", "job", "kills"),
    [
        ((5, 2, 0), {"type": "backup", "status": "concluded"}, True),
        ((6, 2, 0), {"type": "backup", "status": "concluded"}, True),
        ((7, 2, 22), {"type": "backup", "status": "concluded"}, False),
        ((5, 2, 0), {"type": "backup", "status": "running"}, False),
        ((5, 2, 0), {"type": "mirror", "status": "concluded"}, False),
        ((5, 2, 0), {"type": "stream", "status": "concluded"}, False),
        ((7, 2, 22), {"type": "stream", "status": "concluded"}, True),
        ((9, 2, 0), {"type": "stream", "status": "concluded"}, True),
        ((10, 0, 13), {"type": "stream", "status": "concluded"}, False),
    ],
)
def test_capture_that_would_kill(
    release: tuple[int, int, int], job: dict[str, str], tmp_path: Path, *, kills: bool
) -> None:
    """A QEMU that would die with a job that has ended is asked for its jobs and nothing else (BM113)."""
    said = greeting(*release)
    fake = FakeMonitor(ANSWERS | {"query-jobs": [{"id": "backup0", **job}]}, greeting=said)
    if kills:
        assert [one.code for one in findings(fake_capture(fake, qmp(tmp_path)))] == ["BM113"]
        assert {one["execute"] for one in fake.received} <= {"qmp_capabilities", "query-jobs"}
    else:
        assert taken(fake, tmp_path).greeting == said


# captures that are torn


def nodes_with(**members: Any) -> list[Any]:
    """The recorded nodes, the first of them with other members."""
    first, *rest = ANSWERS[NODES.execute]
    return [first | members, *rest]


def test_torn_once(tmp_path: Path) -> None:
    """Where the graph changed meanwhile, the whole capture is taken again."""
    before, after = ANSWERS[NODES.execute], nodes_with(drv="raw")
    fake = FakeMonitor(ANSWERS | {NODES.execute: Turns((before, after))})
    capture = taken(fake, tmp_path)
    assert capture.exchanges[0].return_ == after
    assert [message["execute"] for message in fake.received].count("query-block") == 2


def test_torn_each_time(tmp_path: Path) -> None:
    """A graph that does not come to rest is BM109."""
    changing = Turns(nodes_with(drv=f"driver{i}") for i in range(6))
    fake = FakeMonitor(ANSWERS | {NODES.execute: changing}, greeting=AT_ONCE)
    found = finding(fake_capture(fake, qmp(tmp_path)))
    assert (found.code, found.facts["attempts"]) == ("BM109", 3)
    assert len(fake.received) == 1 + 3 * (len(QUERIES) + 1)


def test_statistics_tear_nothing(tmp_path: Path) -> None:
    """What changes while the guest runs does not have a capture taken again."""
    fake = FakeMonitor(ANSWERS | {NODES.execute: Turns(nodes_with(iops=i) for i in range(6))}, greeting=AT_ONCE)
    taken(fake, tmp_path)
    assert len(fake.received) == 1 + len(QUERIES) + 1


# the process


def test_process_of_a_manager(tmp_path: Path) -> None:
    """Sockets that one process opened are one process's only while the threads of processors are the same."""
    one, other = ([{"thread-id": number}] for number in (7, 8))
    taken_from = [
        taken(FakeMonitor(ANSWERS | {"query-cpus-fast": cpus}), tmp_path).process for cpus in (one, one, other)
    ]
    assert taken_from[0] is not None
    assert taken_from[0] == taken_from[1] != taken_from[2]


@pytest.mark.parametrize("cpus", [None, 1, {"thread-id": 1}, [1], [{"thread-id": {}}]])
def test_process_with_odd_processors(cpus: Any, tmp_path: Path) -> None:
    """Whatever a peer says of its processors, there is a process."""
    assert taken(FakeMonitor(ANSWERS | {"query-cpus-fast": cpus}), tmp_path).process


# both sides


def test_both_at_once(tmp_path: Path) -> None:
    """Both sides are asked at the same time: here neither answers before the other is asked."""

    async def both() -> tuple[Capture, Capture]:
        barrier = asyncio.Barrier(2)

        async def together(writer: asyncio.StreamWriter, line: bytes) -> None:
            await barrier.wait()
            writer.write(line)

        fakes = [FakeMonitor(ANSWERS, {"query-block": together}) for _ in range(2)]
        async with fakes[0].unix(qmp(tmp_path)) as source, fakes[1].tcp() as destination:
            captures = await collect_both(source, destination)
            assert [capture.endpoint for capture in captures] == [source, destination]
            return captures

    source, destination = asyncio.run(both())
    assert source.exchanges == destination.exchanges


def test_findings_of_both_sides(tmp_path: Path) -> None:
    """What is wrong with each side is told, with the side; the source comes first, however long it took."""
    fake = FakeMonitor(ANSWERS, {GREETED: fake_monitor.hang})

    async def both() -> object:
        async with fake.unix(qmp(tmp_path)) as silent:
            return await collect_both(silent, str(tmp_path / "missing"), timeout=SOON)

    assert [(one.code, one.where.side) for one in findings(both())] == [("BM104", "source"), ("BM110", "destination")]
    malformed = findings(collect_both("tcp:", "unix:"))
    assert [(one.code, one.where.side) for one in malformed] == [("BM101", "source"), ("BM101", "destination")]


def test_standard_input_twice() -> None:
    """Standard input can be one side only."""
    found = finding(collect_both("-", "-"))
    assert (found.code, found.where.side) == ("BM101", "destination")


def test_one_monitor_on_both_sides(tmp_path: Path) -> None:
    """A monitor that both sides name, as they may spell it, is asked once."""
    (tmp_path / "link").symlink_to(qmp(tmp_path))

    async def both() -> None:
        fake = FakeMonitor(ANSWERS)
        async with fake.unix(qmp(tmp_path)) as endpoint, fake.tcp() as by_tcp:
            for ends in ((endpoint, str(tmp_path / "link")), (by_tcp, by_tcp)):
                source, destination = await collect_both(*ends)
                assert source is destination
        assert [message["execute"] for message in fake.received].count("query-block") == 2

    asyncio.run(both())


def test_slow_file_beside_a_monitor(tmp_path: Path) -> None:
    """While a capture is slowly piped in, no monitor is kept waiting and no time runs out."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("wb") as file:
            time.sleep(2 * SOON)
            file.write(RECORDED.read_bytes())

    async def both() -> tuple[Capture, Capture]:
        async with FakeMonitor(ANSWERS).unix(qmp(tmp_path)) as endpoint:
            return await collect_both(endpoint, str(pipe), timeout=SOON)

    writer = threading.Thread(target=write)
    writer.start()
    source, destination = asyncio.run(both())
    writer.join()
    assert source.exchanges == destination.exchanges


# files


def test_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stored capture is read from a file, from a named pipe and from standard input, and keeps its endpoint."""
    stored = RECORDED.read_bytes()
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(stored,))
    writer.start()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stored)))
    captures = [asyncio.run(collect(end)) for end in (str(RECORDED), str(tmp_path / "pipe"), "-")]
    writer.join()
    assert [dump(capture) for capture in captures] == [stored] * 3
    assert {capture.endpoint for capture in captures} == {"unix:source.qmp"}


def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read is BM110 with the reason."""
    monkeypatch.setattr(module, "FILE_LIMIT", 1 << 16)
    monkeypatch.setattr("sys.stdin", None)
    (tmp_path / "cut.json").write_bytes(RECORDED.read_bytes()[:1000])
    (tmp_path / "large.json").write_bytes(b"[" + b" " * (1 << 16))
    reasons = {
        str(tmp_path / "missing"): "there is no such file or socket",
        str(tmp_path): "Is a directory",
        str(tmp_path / "cut.json" / "below"): "Not a directory",
        "/proc/self/mem": "Input/output error",
        str(tmp_path / "cut.json"): "no JSON: ",
        str(tmp_path / "large.json"): "it is larger than 65536 bytes",
        "/dev/zero": "it is larger than 65536 bytes",
        "-": "standard input is closed",
    }
    for endpoint, reason in reasons.items():
        found = finding(collect(endpoint))
        assert (found.code, reason in found.message) == ("BM110", True), found.message

"""Sessions with fake monitors that do what no real QEMU can be made to do."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from qemu.qmp import Message, QMPError

from bitmapmig.captures import NODES, QUERIES, Exchange, Query
from bitmapmig.diagnostics import CannotRunError, Diagnostic
from bitmapmig.endpoint import parse
from bitmapmig.monitor import REPLY_LIMIT, ForbiddenMessageError, Session, connected
from tests import fake_monitor
from tests.fake_monitor import GREETED, FakeMonitor, Fault

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from pathlib import Path

BLOCK = Query("query-block")
NAME = Query("query-name")
ASKED = (NODES, BLOCK, NAME)
ANSWERS = {NODES.execute: [], BLOCK.execute: [], NAME.execute: {"name": "vm"}}

#: Seconds that are waited for what does not come.
SOON = 0.3

EVENT = {"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 0}}


def qmp(tmp_path: Path) -> Path:
    """Where fakes listen."""
    return tmp_path / "fake.qmp"


async def asked(endpoint: str, seconds: float = 10.0) -> tuple[Exchange, ...]:
    """What is answered at an endpoint."""
    async with connected(parse(endpoint), [query.message for query in ASKED], timeout=seconds) as monitor:
        return await monitor.ask(ASKED)


async def fake_asked(fake: FakeMonitor, tmp_path: Path, seconds: float = 10.0) -> tuple[Exchange, ...]:
    """What a fake answers."""
    async with fake.unix(qmp(tmp_path)) as endpoint:
        return await asked(endpoint, seconds)


def finding(act: Coroutine[Any, Any, object]) -> Diagnostic:
    """The one thing that `act` raises; its message prints."""
    with pytest.raises(CannotRunError) as caught:
        asyncio.run(act)
    (found,) = caught.value.diagnostics
    assert found.message.isprintable()
    return found


# the allowlist


@pytest.mark.parametrize(
    "message",
    [
        {"execute": "quit"},
        {"execute": "query-block", "arguments": {"extra": 1}},
        {"execute": NODES.execute, "arguments": {"flat": False}},
        {"execute": NODES.execute, "arguments": {"flat": 1}},
        {"execute": NODES.execute},
        {"execute": "qom-get", "arguments": {"path": "/machine", "property": "dumpdtb"}},
        {"exec-oob": "query-block"},
        {"execute": "query-block", "control": {}},
    ],
    ids=json.dumps,
)
def test_unlisted_messages_are_not_sent(message: dict[str, Any], tmp_path: Path) -> None:
    """What differs from the list in a command, in an argument or in its type never reaches the wire."""
    fake = FakeMonitor(ANSWERS)

    async def send() -> None:
        async with fake.unix(qmp(tmp_path)):
            session = Session([query.message for query in QUERIES])
            await session.connect(str(qmp(tmp_path)))
            await session.execute("qmp_capabilities")
            with pytest.raises(QMPError):
                await session.execute_msg(Message(message))
            with pytest.raises(ForbiddenMessageError):
                await session.disconnect()

    asyncio.run(send())
    assert [one["execute"] for one in fake.received] == ["qmp_capabilities"]


def test_another_list(tmp_path: Path) -> None:
    """A session takes any fixed list of messages, and each of them with exactly its arguments."""
    writing = Query("block-dirty-bitmap-add", (("node", "disk"), ("name", "daily")))
    fake = FakeMonitor({"block-dirty-bitmap-add": {}})

    async def send(*queries: Query) -> tuple[object, ...]:
        async with fake.unix(qmp(tmp_path)) as endpoint, connected(parse(endpoint), [writing.message]) as session:
            return tuple(one.return_ for one in await session.ask(queries))

    assert asyncio.run(send(writing, writing)) == ({}, {})
    with pytest.raises(ForbiddenMessageError):
        asyncio.run(send(Query("block-dirty-bitmap-add", (("node", "disk"), ("name", "other")))))
    with pytest.raises(ForbiddenMessageError):
        asyncio.run(send(NODES))


# peers that misbehave


LINE = b'{"return": {}}\r\n'

FAULTS: Mapping[str, tuple[str, Fault, str, str]] = {
    "no greeting": (GREETED, fake_monitor.hang, "BM104", "did not greet within"),
    "greets in halves": (GREETED, fake_monitor.halve, "BM106", "while the greeting was awaited: it was closed"),
    "closes before it greets": (GREETED, fake_monitor.close, "BM106", "while the greeting was awaited: it was closed"),
    "a human monitor": (GREETED, fake_monitor.instead(b"QEMU 7.2 monitor\r\n(qemu) "), "BM105", "QEMU 7.2 monitor"),
    "a guest agent": (GREETED, fake_monitor.instead(b'{"error": {}}\n'), "BM105", "'QMP' member"),
    "no object": (GREETED, fake_monitor.instead(b"[]\n"), "BM105", "it sent []"),
    "escapes": (GREETED, fake_monitor.instead(b"\x1b[2J\x00\n"), "BM105", "it sent \\x1b[2J\\x00"),
    "no UTF-8": (GREETED, fake_monitor.instead(b"\xff\xfe\n"), "BM105", "it sent \ufffd\ufffd"),
    "no end of line": (GREETED, fake_monitor.flood(1 << 30), "BM107", f"longer than {REPLY_LIMIT} bytes"),
    "no negotiation": ("qmp_capabilities", fake_monitor.hang, "BM104", "did not answer 'qmp_capabilities' within"),
    "negotiation closes": ("qmp_capabilities", fake_monitor.close, "BM106", "while 'qmp_capabilities' was awaited"),
    "silence": ("query-block", fake_monitor.hang, "BM104", "did not answer 'query-block' within"),
    "closes": ("query-block", fake_monitor.close, "BM106", "while 'query-block' was awaited: it was closed"),
    "half an answer": ("query-block", fake_monitor.halve, "BM106", "while 'query-block' was awaited: it was closed"),
    "garbage": ("query-block", fake_monitor.instead(b"<html>\n"), "BM105", "it sent <html>"),
    "invalid UTF-8": ("query-block", fake_monitor.instead(b'{"return": "\xff"}\n'), "BM105", "\ufffd"),
    "NaN": ("query-block", fake_monitor.instead(b'{"return": NaN}\n'), "BM105", "NaN"),
    "lone surrogate": ("query-block", fake_monitor.instead(b'{"return": "\\ud800"}\n'), "BM111", "surrogate"),
    "nested too deeply": ("query-block", fake_monitor.instead(b"[" * 100_000 + b"\n"), "BM105", "it sent [[[["),
    "parse error": ("query-block", fake_monitor.instead(b'{"error": {}}\n'), "BM105", "parser failure"),
    "wrong ids": ("query-block", fake_monitor.instead(LINE, b'{"return": {}, "id": 7}\n'), "BM104", "'query-block'"),
    "1 GB": ("query-block", fake_monitor.flood(1 << 30), "BM107", f"longer than {REPLY_LIMIT} bytes"),
    "endless events": (
        "query-block",
        fake_monitor.flood(1 << 40, (json.dumps(EVENT).encode() + b"\n") * 1000),
        "BM104",
        "did not answer 'query-block' within",
    ),
}


@pytest.mark.parametrize(("step", "fault", "code", "told"), FAULTS.values(), ids=FAULTS)
def test_faults(step: str, fault: Fault, code: str, told: str, tmp_path: Path) -> None:
    """A peer that misbehaves ends the capture soon, with a finding that says what it did."""
    seconds = SOON if code == "BM104" else 20
    began = time.monotonic()
    found = finding(fake_asked(FakeMonitor(ANSWERS, {step: fault}), tmp_path, seconds))
    assert (found.code, told in found.message) == (code, True), found.message
    assert time.monotonic() - began < 10


def test_memory_is_bounded(tmp_path: Path) -> None:
    """A reply without end takes no more memory than a few times the longest reply that is taken."""
    fake = FakeMonitor(ANSWERS, {"query-block": fake_monitor.flood(1 << 30)})
    tracemalloc.start()
    try:
        assert finding(fake_asked(fake, tmp_path)).code == "BM107"
        assert tracemalloc.get_traced_memory()[1] < 4 * REPLY_LIMIT
    finally:
        tracemalloc.stop()


def error_answer(error: Any) -> Fault:
    """An answer to the first command after the negotiation that has this as its error."""
    return fake_monitor.instead(json.dumps({"error": error, "id": "__qmp#00001"}).encode() + b"\n")


@pytest.mark.parametrize("error", [None, [], {}, {"class": 1, "desc": "x"}, {"class": "x"}, {"desc": 1, "class": "x"}])
def test_malformed_errors(error: Any, tmp_path: Path) -> None:
    """An error that is none is no QMP."""
    fake = FakeMonitor(ANSWERS, {NODES.execute: error_answer(error)})
    assert finding(fake_asked(fake, tmp_path)).code == "BM105"


def test_refused_negotiation(tmp_path: Path) -> None:
    """A peer that does not take `qmp_capabilities` is no QMP monitor; what it says is escaped."""
    refusal = json.dumps({"error": {"class": "x", "desc": "\x1b"}, "id": "__qmp#00000"}).encode() + b"\n"
    fake = FakeMonitor(ANSWERS, {"qmp_capabilities": fake_monitor.instead(refusal)})
    found = finding(fake_asked(fake, tmp_path))
    assert (found.code, found.facts["reason"]) == ("BM105", "it refuses qmp_capabilities: \\x1b")


HARMLESS: Mapping[str, tuple[str, Fault]] = {
    "event before the negotiation is answered": ("qmp_capabilities", fake_monitor.before(EVENT)),
    "event in between": ("query-block", fake_monitor.before(EVENT, EVENT)),
    "second greeting": ("qmp_capabilities", fake_monitor.before(fake_monitor.GREETING)),
    "answers to nobody": ("query-block", fake_monitor.before({"return": {}, "id": "other"}, {"return": {}})),
    "an error to somebody else": ("query-block", fake_monitor.before({"error": {}, "id": 1})),
    "silent negotiation, once": ("qmp_capabilities", fake_monitor.once(fake_monitor.hang)),
    "closed negotiation, once": ("qmp_capabilities", fake_monitor.once(fake_monitor.close)),
    "garbled negotiation, once": ("qmp_capabilities", fake_monitor.once(fake_monitor.instead(b'{"error": {}}\n'))),
}


@pytest.mark.parametrize(("step", "fault"), HARMLESS.values(), ids=HARMLESS)
def test_harmless(step: str, fault: Fault, tmp_path: Path) -> None:
    """What a QEMU in order, or one that is still starting, may do does not change the capture."""
    plain = asyncio.run(fake_asked(FakeMonitor(ANSWERS), tmp_path))
    assert plain == asyncio.run(fake_asked(FakeMonitor(ANSWERS, {step: fault}), tmp_path, 2))


def test_slow_answers(tmp_path: Path) -> None:
    """The time for an answer begins when the one before has come."""

    async def late(writer: asyncio.StreamWriter, line: bytes) -> None:
        await asyncio.sleep(SOON)
        writer.write(line)

    faults = dict.fromkeys([query.execute for query in ASKED], late)
    exchanges = asyncio.run(fake_asked(FakeMonitor(ANSWERS, faults), tmp_path, 2 * SOON))
    assert list(ANSWERS.values()) == [one.return_ for one in exchanges]


def test_large_reply(tmp_path: Path) -> None:
    """A reply of 50 MB is taken whole."""
    nodes = [{"node-name": f"node{i}", "filler": "x" * 1000} for i in range(50_000)]
    assert len(json.dumps(nodes)) > 50_000_000
    exchanges = asyncio.run(fake_asked(FakeMonitor(ANSWERS | {NODES.execute: nodes}), tmp_path))
    assert exchanges[0].return_ == nodes


def test_cancelled(tmp_path: Path) -> None:
    """A session that is cancelled while an answer is awaited, or a greeting, leaves nothing behind."""

    async def cancel(step: str) -> None:
        async with FakeMonitor(ANSWERS, {step: fake_monitor.hang}).unix(qmp(tmp_path)) as endpoint:
            task = asyncio.create_task(asked(endpoint))
            await asyncio.sleep(SOON)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            others = asyncio.all_tasks() - {asyncio.current_task()}
            assert [str(getattr(one.get_coro(), "__qualname__", one)) for one in others] == ["FakeMonitor._serve"]

    for step in (GREETED, "qmp_capabilities", BLOCK.execute):
        asyncio.run(cancel(step))


def test_no_logging(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """What a peer sends does not reach standard error by way of logging."""
    finding(fake_asked(FakeMonitor(ANSWERS, {GREETED: fake_monitor.instead(b"\x1b[2J\n")}), tmp_path))
    assert capfd.readouterr() == ("", "")
    assert "\x1b" not in caplog.text


# where nobody answers


def test_nobody_listens(tmp_path: Path) -> None:
    """A socket without a listener, a missing one, a file, a refused port and an impossible host cannot be reached."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(qmp(tmp_path)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "file").touch()
    reasons = {
        f"unix:{qmp(tmp_path)}": "Connection refused",
        f"unix:{tmp_path}/missing": "No such file or directory",
        f"unix:{tmp_path}/file": "Connection refused",
        f"unix:/{'x' * 200}": "AF_UNIX path too long",
        f"tcp:127.0.0.1:{port}": "Connection refused",
        f"tcp:{'x' * 64}:1": "label too long",
    }
    for endpoint, reason in reasons.items():
        found = finding(asked(endpoint))
        assert (found.code, reason in str(found.facts["reason"])) == ("BM102", True), found.message


def test_stored_capture(tmp_path: Path) -> None:
    """There is no session with a stored capture."""
    assert finding(asked(str(tmp_path / "capture.json"))).code == "BM102"


def test_full_queue(tmp_path: Path) -> None:
    """A listener that takes nobody is silent; one that has taken another client is held."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(qmp(tmp_path)))
        listener.listen(0)
        first.connect(str(qmp(tmp_path)))
        assert finding(asked(f"unix:{qmp(tmp_path)}", SOON)).code == "BM104"
        accepted, _ = listener.accept()
        with accepted, socket.socket(socket.AF_UNIX) as second:
            second.connect(str(qmp(tmp_path)))
            assert finding(asked(f"unix:{qmp(tmp_path)}", SOON)).code == "BM103"


def test_unanswered_over_tcp() -> None:
    """A host that does not take the connection cannot be reached; one that says nothing is silent."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        endpoint = "tcp:{}:{}".format(*listener.getsockname())
        assert finding(asked(endpoint, SOON)).code == "BM104"
        found = finding(asked(endpoint, SOON))  # the one before has left its place in the queue taken
    assert (found.code, found.facts["reason"]) == ("BM102", "no connection within 0.3 s")

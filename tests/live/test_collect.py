"""Captures of real QEMUs, of every version that is found.

Run as a program, it records the captures in tests/captures anew: `python -m tests.live.test_collect`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bitmapmig import peer
from bitmapmig.captures import NODES, QUERIES, Capture, Query, dump, load
from bitmapmig.collect import collect, collect_both
from bitmapmig.diagnostics import CannotRunError, Diagnostic
from bitmapmig.endpoint import parse
from bitmapmig.graph import read
from bitmapmig.monitor import ForbiddenMessageError, connected
from tests.fake_monitor import FakeMonitor, answers_of
from tests.live.monitor import QemuGoneError
from tests.live.qemu import Binary, Qemu, binaries

if TYPE_CHECKING:
    from collections.abc import Iterator

CAPTURES = Path(__file__).parents[1] / "captures"
#: The versions of which a capture is recorded: without and with `children` in the records of nodes.
RECORDED = {(7, 2): "qemu-7.2.json", (11, 1): "qemu-11.1.json"}
RECORDED_BINARIES = [binary for binary in binaries() if binary.release in RECORDED]
#: The versions that know `-compat unstable-input=reject`.
REJECTING = [binary for binary in binaries() if binary.release >= (7, 2)]

#: Seconds that are waited for what does not come.
SOON = 0.5

every = pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)


@contextmanager
def started(binary: Binary, *words: str, name: str = "source") -> Iterator[Qemu]:
    """A QEMU with something of everything that a block graph can hold."""
    device = ("-drive", "if=none,id=drive0,driver=null-co,size=1M,read-zeroes=on")
    with Qemu(binary, "-object", "throttle-group,id=group", *device, *words, name=name) as qemu:
        for image in ("base", "disk", "copy"):
            binary.image("create", "-q", "-f", "qcow2", f"{image}.qcow2", "1M", folder=qemu.folder)
            file = {"driver": "file", "filename": f"{image}.qcow2"}
            backing = "base" if image == "disk" else None
            qemu.qmp("blockdev-add", driver="qcow2", node_name=image, file=file, backing=backing)
        qemu.qmp("blockdev-add", driver="throttle", node_name="limit", throttle_group="group", file="disk")
        for null in ("null0", "null1"):
            qemu.qmp("blockdev-add", driver="null-co", node_name=null, size=1 << 20, read_zeroes=True)
        qemu.qmp("blockdev-add", driver="quorum", node_name="quorum", vote_threshold=1, children=["null0", "null1"])
        qemu.qmp("block-dirty-bitmap-add", node="disk", name="daily", persistent=True)
        qemu.qmp("block-dirty-bitmap-add", node="disk", name="weekly", granularity=1 << 17)
        qemu.qmp("block-dirty-bitmap-add", node="quorum", name="off", disabled=True)
        qemu.qmp("nbd-server-start", addr={"type": "unix", "data": {"path": "nbd.sock"}})
        qemu.qmp("block-export-add", id="export0", type="nbd", node_name="quorum")
        mirror = {"sync": "full", "filter_node_name": "mirror-top"}
        qemu.qmp("blockdev-mirror", job_id="mirror0", device="limit", target="copy", **mirror)
        qemu.wait_event("BLOCK_JOB_READY", device="mirror0")
        yield qemu


def taken(endpoint: str, seconds: float = 10.0) -> Capture:
    """The capture of an endpoint."""
    return asyncio.run(collect(endpoint, timeout=seconds))


def refusal(endpoint: str, seconds: float = SOON) -> Diagnostic:
    """The one finding that ends the capture of an endpoint."""
    with pytest.raises(CannotRunError) as caught:
        taken(endpoint, seconds)
    (found,) = caught.value.diagnostics
    return found


@contextmanager
def client(qemu: Qemu) -> Iterator[int]:
    """Another client, which the monitor serves; the pid of the QEMU that it is connected to."""
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(qemu.socket))
        assert b"QMP" in other.recv(4096)
        process = peer.process(other)
        assert process is not None
        yield process.pid


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(capture: Capture, *but: str) -> list[object]:
    """The exchanges of a capture, without those of the commands `but`."""
    return [exchange for exchange in capture.exchanges if exchange.execute not in but]


@every
def test_everything_is_answered(binary: Binary) -> None:
    """Each query of the list is known to each QEMU, and the graph in its answers is sound."""
    with started(binary) as qemu:
        capture = taken(qemu.endpoint)
        assert capture.greeting == qemu.greeting
    assert [query.execute for query in QUERIES] == [one.execute for one in capture.exchanges if one.error is None]
    graph, found = read(capture, "source")
    assert found == ()
    assert {"disk", "base", "copy", "limit", "quorum", "mirror-top"} <= set(graph.nodes)


@every
def test_replay(binary: Binary) -> None:
    """A capture that is written and read again is the live one, and so is its next document."""
    with started(binary) as qemu:
        capture = taken(qemu.endpoint)
    assert capture == load(dump(capture), "capture.json")
    assert dump(capture) == dump(load(dump(capture), "capture.json"))


@every
def test_spellings(binary: Binary) -> None:
    """Over a unix socket, by its bare path and over TCP the same QEMU gives the same capture."""
    port = free_port()
    with started(binary, "-qmp", f"tcp:127.0.0.1:{port},server=on,wait=off") as qemu:
        by_scheme, by_path = taken(qemu.endpoint), taken(str(qemu.socket))
        by_tcp = taken(f"tcp:127.0.0.1:{port}")
    assert by_scheme == by_path
    # QEMU shows in them who is connected
    assert answers(by_scheme, "query-chardev") == answers(by_tcp, "query-chardev")
    assert (by_tcp.endpoint, by_tcp.process) == (f"tcp:127.0.0.1:{port}", None)


@pytest.mark.parametrize("binary", REJECTING, ids=lambda binary: binary.version)
def test_unstable_input_rejected(binary: Binary) -> None:
    """A QEMU that takes no unstable command is captured all the same; its refusal is kept."""
    with started(binary, "-compat", "unstable-input=reject") as qemu:
        capture = taken(qemu.endpoint)
    refused = {one.execute: one.error["desc"] for one in capture.exchanges if one.error is not None}
    assert list(refused) == ["x-debug-query-block-graph"]
    assert "disabled by policy" in refused["x-debug-query-block-graph"]
    graph, found = read(capture, "source")
    assert (found, "disk" in graph.nodes) == ((), True)


@every
def test_fake_is_like_the_real_one(binary: Binary, tmp_path: Path) -> None:
    """The fake monitor with a real QEMU's answers gives that QEMU's capture."""
    with started(binary) as qemu:
        real = taken(qemu.endpoint)

    async def replayed() -> Capture:
        async with FakeMonitor(answers_of(real), greeting=real.greeting).unix(tmp_path / "fake.qmp") as endpoint:
            return await collect(endpoint)

    faked = asyncio.run(replayed())
    assert real == faked.model_copy(update={"endpoint": real.endpoint, "process": real.process})


@every
def test_process(binary: Binary) -> None:
    """Two monitors of one QEMU are seen to be one process, those of two QEMUs to be two."""
    with Qemu(binary, "-qmp", "unix:second.qmp,server=on,wait=off") as qemu, Qemu(binary, name="destination") as other:
        second = qemu.folder / "second.qmp"
        same = asyncio.run(collect_both(qemu.endpoint, str(second)))
        different = asyncio.run(collect_both(qemu.endpoint, other.endpoint))
    assert same[0].process is not None
    assert same[0].process == same[1].process == different[0].process
    assert different[1].process not in (None, different[0].process)


@every
def test_both_sides_are_one_socket(binary: Binary) -> None:
    """One socket on both sides is asked once, rather than found to be held by ourselves."""
    with Qemu(binary) as qemu:
        source, destination = asyncio.run(collect_both(qemu.endpoint, str(qemu.socket), timeout=5))
    assert source == destination


@every
def test_held(binary: Binary) -> None:
    """A monitor that serves another client is said to be held, however many wait for it."""
    with Qemu(binary) as qemu, client(qemu), socket.socket(socket.AF_UNIX) as queued:
        assert refusal(qemu.endpoint).code == "BM103"
        queued.connect(str(qemu.socket))
        assert refusal(qemu.endpoint).code == "BM103"


@every
def test_held_over_tcp(binary: Binary) -> None:
    """Over TCP a held monitor cannot be told from a silent one, and the remedy says so."""
    port = free_port()
    with (
        Qemu(binary, "-qmp", f"tcp:127.0.0.1:{port},server=on,wait=off"),
        socket.create_connection(("127.0.0.1", port)) as other,
    ):
        assert b"QMP" in other.recv(4096)
        found = refusal(f"tcp:127.0.0.1:{port}")
    assert found.code == "BM104"
    assert "another client may hold the monitor" in found.remedy


@every
def test_held_for_a_while(binary: Binary) -> None:
    """Once the other client has left, the capture that waited is taken."""

    async def wait_for_it(qemu: Qemu) -> Capture:
        with client(qemu):
            waiting = asyncio.create_task(collect(qemu.endpoint))
            await asyncio.sleep(SOON)
        return await waiting

    with Qemu(binary) as qemu:
        assert asyncio.run(wait_for_it(qemu)).greeting == qemu.greeting


@every
def test_stopped(binary: Binary) -> None:
    """A QEMU that is stopped by a signal is said to be stopped, not held, whoever was its client."""
    with Qemu(binary) as qemu:
        with client(qemu) as pid:
            os.kill(pid, signal.SIGSTOP)
            found = refusal(qemu.endpoint)
        assert (found.code, f"kill -CONT {pid}" in found.remedy) == ("BM104", True)
        assert refusal(qemu.endpoint).code == "BM104"
        os.kill(pid, signal.SIGCONT)
        assert taken(qemu.endpoint).greeting == qemu.greeting


@every
def test_stopped_in_between(binary: Binary) -> None:
    """A QEMU that stops answering is said to be silent, with the command that it did not answer."""

    async def ask(qemu: Qemu) -> None:
        async with connected(parse(qemu.endpoint), [NODES.message], timeout=SOON) as monitor:
            assert monitor.process is not None
            os.kill(monitor.process.pid, signal.SIGSTOP)
            await monitor.ask((NODES,))

    with Qemu(binary) as qemu, pytest.raises(CannotRunError, match="did not answer 'query-named-block-nodes'"):
        asyncio.run(ask(qemu))


@every
def test_killed(binary: Binary) -> None:
    """A QEMU that dies while it is asked is lost; one that is dead cannot be reached."""

    async def ask(qemu: Qemu) -> None:
        async with connected(parse(qemu.endpoint), [NODES.message]) as monitor:
            assert monitor.process is not None
            os.kill(monitor.process.pid, signal.SIGSTOP)
            asking = asyncio.create_task(monitor.ask((NODES,)))
            await asyncio.sleep(SOON / 10)
            os.kill(monitor.process.pid, signal.SIGKILL)
            await asking

    with Qemu(binary) as qemu:
        with pytest.raises(CannotRunError, match="while 'query-named-block-nodes' was awaited"):
            asyncio.run(ask(qemu))
        qemu.wait()
        assert refusal(qemu.endpoint).code == "BM102"


@every
def test_only_listed_messages_reach_it(binary: Binary) -> None:
    """`quit` is not on the list, so a QEMU that a session tries to send it to lives on."""

    async def ask(qemu: Qemu) -> None:
        async with connected(parse(qemu.endpoint), [query.message for query in QUERIES]) as monitor:
            await monitor.ask((Query("quit"),))

    with Qemu(binary) as qemu:
        with pytest.raises(ForbiddenMessageError):
            asyncio.run(ask(qemu))
        assert qemu.qmp("query-status")
        assert qemu.status is None


def record(binary: Binary) -> Capture:
    """A capture in which nothing tells where it was recorded."""
    with started(binary) as qemu:
        return taken(qemu.endpoint).model_copy(update={"endpoint": f"unix:{qemu.socket.name}", "process": None})


def outline(value: object) -> object:
    """Which members a reply has, and of which types; not their values, nor how many items an array has."""
    if isinstance(value, dict):
        return {name: outline(inner) for name, inner in sorted(value.items())}
    if isinstance(value, list):
        return sorted({repr(outline(inner)) for inner in value})
    return type(value).__name__


@pytest.mark.parametrize("binary", RECORDED_BINARIES, ids=lambda binary: binary.version)
def test_recorded_captures_are_genuine(binary: Binary) -> None:
    """The captures that tests without QEMU use are what QEMU answers."""
    recorded = load((CAPTURES / RECORDED[binary.release]).read_bytes(), "recorded")
    fresh = record(binary)
    assert [outline(one.document) for one in fresh.exchanges] == [outline(one.document) for one in recorded.exchanges]


@pytest.mark.parametrize("binary", binaries(), ids=lambda one: one.version)
@pytest.mark.parametrize(("job", "deadly"), [("backup", (5, 2)), ("stream", (7, 2))])
def test_capture_that_would_kill(binary: Binary, job: str, deadly: tuple[int, int], tmp_path: Path) -> None:
    """With such a job that has ended and is not dismissed this version dies of being asked for its nodes; it is not."""
    for name in ("base", "disk0", "target0"):
        binary.image("create", "-f", "qcow2", f"{name}.qcow2", "16M", folder=tmp_path)
    binary.image("rebase", "-u", "-b", "base.qcow2", "-F", "qcow2", "disk0.qcow2", folder=tmp_path)
    with Qemu(binary, folder=tmp_path) as qemu:
        for name in ("disk0", "target0"):
            qemu.qmp(
                "blockdev-add", driver="qcow2", node_name=name, file={"driver": "file", "filename": f"{name}.qcow2"}
            )
        target = {"target": "target0", "sync": "full"} if job == "backup" else {}
        qemu.qmp(f"block{'dev' * bool(target)}-{job}", job_id="job0", device="disk0", auto_dismiss=False, **target)
        qemu.wait_event("JOB_STATUS_CHANGE", id="job0", status="concluded")
        if binary.release != deadly:
            assert asyncio.run(collect(qemu.endpoint)).exchanges
            return
        with pytest.raises(CannotRunError) as caught:
            asyncio.run(collect(qemu.endpoint))
        assert [one.code for one in caught.value.diagnostics] == ["BM113"]
        assert qemu.qmp("query-status")["status"]
        with pytest.raises(QemuGoneError):
            qemu.nodes()
        assert qemu.wait() < 0


if __name__ == "__main__":
    CAPTURES.mkdir(exist_ok=True)
    for found in RECORDED_BINARIES:
        (CAPTURES / RECORDED[found.release]).write_bytes(dump(record(found)))

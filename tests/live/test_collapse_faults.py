"""Chains that collapse, and `apply` is cut off, stopped or killed: what it says is so, and nothing stays for good."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig import temporaries as notes
from bitmapmig.applying.applier import apply
from bitmapmig.applying.document import ApplyInterruptedError, NotAppliedError
from bitmapmig.applying.interruption import Stop
from bitmapmig.diagnostics import BitmapmigError, CannotRunError
from bitmapmig.finishing.finisher import finish
from bitmapmig.plans import Refused, dump
from bitmapmig.policy import Policy
from tests.build import codes
from tests.cli.process import PROGRAM, environment
from tests.live.chain import ends, expected, made, temporaries, written
from tests.live.migration import migrate
from tests.live.proxy import Cut, Proxy
from tests.live.qemu import Binary, Qemu, binaries

if TYPE_CHECKING:
    from pathlib import Path

    from bitmapmig.plans import Plan

every = pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)
newest = pytest.mark.parametrize("binary", binaries()[-1:], ids=lambda binary: binary.version)

WRITING = ("transaction", "migrate-set-parameters", "migrate-set-capabilities")


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks and notes go to a folder of the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def state(source: Qemu, planned: Plan) -> str:
    """Whether the source is as planned, or as before with a neutral map; else what it has."""
    mapping = source.qmp("query-migrate-parameters").get("block-bitmap-mapping")
    on = {one["capability"]: one["state"] for one in source.qmp("query-migrate-capabilities")}["dirty-bitmaps"]
    there = set(temporaries(source))
    listed = {one["name"] for entry in mapping or () for one in entry["bitmaps"]}
    if on and there == {one.temporary for one in planned.merges} and there <= listed:
        return "as planned"
    if not on and not there and listed <= {"daily", "other"}:
        return "as before"
    return repr((mapping, on, there))


def noted(tmp_path: Path) -> list[Path]:
    """The notes of temporaries that are there."""
    return list(tmp_path.glob("bitmapmig/temporaries-*.json"))


def arrives(binary: Binary, source: Qemu, destination: Qemu) -> None:
    """A migration brings what was written to all layers."""
    outcome = migrate(source, destination)
    assert (outcome.source, outcome.destination) == ("completed", "completed"), outcome
    assert outcome.bitmaps is not None
    assert outcome.bitmaps[destination.root("drive0"), "daily"].digest == expected(binary, written())


# cut off


async def cut(source: Qemu, planned: Plan, number: int, *, after: bool) -> tuple[BitmapmigError | None, list[str]]:
    """`apply` over a connection to the source that ends at one message; what it raises, and the messages."""
    passed: list[str] = []

    def hook(message: dict[str, Any]) -> None:
        passed.append(message["execute"])
        if len(passed) == number:
            raise Cut

    hooks: dict[str, Any] = {"answered" if after else "sent": hook}
    async with Proxy(source, **hooks).served() as here:
        try:
            await apply(planned, source=here)
        except BitmapmigError as error:
            return error, passed
    return None, passed


@pytest.mark.parametrize("after", [False, True], ids=["before-effect", "after-effect"])
@every
def test_cut_at_each_message(binary: Binary, tmp_path: Path, *, after: bool) -> None:
    """A connection to the source that is lost at any message: it goes on or puts back, and what it says is so."""
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        _, passed = asyncio.run(cut(source, planned, 0, after=after))
        asyncio.run(finish(planned, failed=True))
        first = passed.index("transaction") + 1
        outcomes = {}
        for number in (2, first - 1, *range(first, first + 5), len(passed)):
            planned = made(source, destination)
            error, _ = asyncio.run(cut(source, planned, number, after=after))
            said = "as planned" if error is None else "as before"
            assert state(source, planned) == said, (number, error)
            assert error is None or "BM742" not in codes(error.diagnostics)
            assert len(noted(tmp_path)) == (error is None)
            outcomes[number] = said
            asyncio.run(finish(planned, failed=True))
            assert (temporaries(source), noted(tmp_path)) == ([], [])
    writing = {outcomes[number] for number in range(first, first + len(WRITING))}
    assert writing == ({"as planned"} if after else {"as before"})


@pytest.mark.parametrize("after", [False, True], ids=["before-effect", "after-effect"])
@newest
def test_cut_in_merging_anew(binary: Binary, *, after: bool) -> None:
    """Merging anew can be done twice, so a lost answer to it is no reason to stop."""
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        _, passed = asyncio.run(cut(source, planned, 0, after=after))
        source.write("drive0", 5 << 20)
        error, _ = asyncio.run(cut(source, planned, passed.index("transaction") + 1, after=after))
        assert (error, state(source, planned)) == (None, "as planned")
        outcome = migrate(source, destination)
        assert outcome.bitmaps is not None
        assert outcome.bitmaps[destination.root("drive0"), "daily"].digest == expected(binary, written(80))


@every
def test_refused_by_qemu(binary: Binary, tmp_path: Path) -> None:
    """A transaction that QEMU refuses, because a bitmap went in the last moment, leaves nothing behind."""

    async def refused(source: Qemu, planned: Plan) -> BitmapmigError:
        def hook(message: dict[str, Any]) -> None:
            if message["execute"] == "transaction":
                source.qmp("block-dirty-bitmap-remove", node=planned.merges[0].sources[0].node, name="daily")

        async with Proxy(source, sent=hook).served() as here:
            with pytest.raises(NotAppliedError) as caught:
                await apply(planned, source=here)
        return caught.value

    with ends(binary) as (source, destination):
        planned = made(source, destination)
        found = asyncio.run(refused(source, planned)).diagnostics
        assert codes(found) == ["BM721", "BM724"]
        assert "'daily' not found" in found[0].message
        assert (temporaries(source), noted(tmp_path)) == ([], [])


# stopped


@every
def test_stopped_at_each_writing(binary: Binary, tmp_path: Path) -> None:
    """Told to stop at each message that sets something, it removes what it has made."""

    async def stopped(source: Qemu, planned: Plan, command: str) -> None:
        stop = Stop()

        def hook(message: dict[str, Any]) -> None:
            if message["execute"] == command:
                stop.now("test")

        async with Proxy(source, sent=hook).served() as here:
            with pytest.raises(ApplyInterruptedError):
                await apply(planned, source=here, stop=stop)

    with ends(binary) as (source, destination):
        for command in WRITING:
            planned = made(source, destination)
            asyncio.run(stopped(source, planned, command))
            assert (state(source, planned), noted(tmp_path)) == ("as before", [])
        asyncio.run(apply(made(source, destination)))
        arrives(binary, source, destination)


@newest
def test_lost_lock(binary: Binary, tmp_path: Path) -> None:
    """A lock that is lost once the temporary is there: nothing more is written, and what stays is said and noted."""

    async def lost(source: Qemu, planned: Plan) -> BitmapmigError:
        def hook(message: dict[str, Any]) -> None:
            if message["execute"] == "transaction":
                for lock in tmp_path.glob("bitmapmig/*.lock"):
                    lock.unlink()

        async with Proxy(source, answered=hook).served() as here:
            with pytest.raises(BitmapmigError) as caught:
                await apply(planned, source=here)
        return caught.value

    with ends(binary) as (source, destination):
        planned = made(source, destination)
        found = asyncio.run(lost(source, planned)).diagnostics
        assert {"BM742", "BM752"} <= set(codes(found))
        assert (len(temporaries(source)), len(noted(tmp_path))) == (1, 1)
        asyncio.run(apply(planned))
        assert state(source, planned) == "as planned"


# killed


async def killed(source: Qemu, planned: Plan, command: str) -> int:
    """`apply` as a process that is killed when QEMU has done a command; its exit code."""
    process: asyncio.subprocess.Process | None = None

    def hook(message: dict[str, Any]) -> None:
        if message["execute"] == command and process is not None:
            os.kill(process.pid, signal.SIGKILL)
            raise Cut

    path = source.folder / "plan.json"
    path.write_bytes(dump(planned))
    async with Proxy(source, answered=hook).served() as here:
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, "apply", str(path), "--source", here, env=environment(), stderr=subprocess.DEVNULL
        )
        return await process.wait()


@pytest.mark.parametrize("command", WRITING)
@every
def test_killed(binary: Binary, tmp_path: Path, command: str) -> None:
    """After SIGKILL the temporary is noted; the same plan can be applied, and arrives."""
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        assert asyncio.run(killed(source, planned, command)) == -signal.SIGKILL
        assert (len(temporaries(source)), len(noted(tmp_path))) == (1, 1)
        asyncio.run(apply(planned))
        assert state(source, planned) == "as planned"
        arrives(binary, source, destination)


@every
def test_killed_and_given_up(binary: Binary, tmp_path: Path) -> None:
    """After SIGKILL a new plan is refused because of what was left, until `finish --failed` has removed it."""
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        asyncio.run(killed(source, planned, "transaction"))
        with pytest.raises(Refused) as caught:
            made(source, destination)
        assert codes(caught.value.diagnostics) == ["BM576"]
        asyncio.run(finish(planned, failed=True))
        assert (temporaries(source), noted(tmp_path)) == ([], [])
        again = made(source, destination)
        assert again.merges == planned.merges


@newest
def test_left_by_another_plan(binary: Binary, tmp_path: Path) -> None:
    """What the apply of one plan has left, that of another removes, which knows it from the note alone."""
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        other = made(source, destination, Policy.parse({"version": 1, "deny": [{"bitmap": "daily"}]}))
        asyncio.run(killed(source, planned, "transaction"))
        assert (len(temporaries(source)), len(noted(tmp_path))) == (1, 1)
        asyncio.run(apply(other))
        assert (temporaries(source), noted(tmp_path)) == ([], [])
        outcome = migrate(source, destination)
        assert outcome.bitmaps is not None
        assert [name for _, name in outcome.bitmaps] == ["other"]


@newest
def test_needed_by_the_map_of_another_plan(binary: Binary) -> None:
    """A temporary that the map in force names is not removed by those whose map it is not."""
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        other = made(source, destination, Policy.parse({"version": 1, "deny": [{"bitmap": "*"}]}))
        asyncio.run(apply(planned))
        done = asyncio.run(finish(other, failed=True))
        assert (done.source.block_bitmap_mapping, done.source.temporaries) == ("left", ())
        assert any(planned.merges[0].temporary in reason for reason in done.source.reasons)
        assert state(source, planned) == "as planned"
        arrives(binary, source, destination)


@newest
def test_not_noted(binary: Binary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it cannot be noted that bitmaps are about to be made, none is made."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(notes, "save", full)
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        with pytest.raises(CannotRunError) as caught:
            asyncio.run(apply(planned))
        assert "BM741" in codes(caught.value.diagnostics)
        assert state(source, planned) == "as before"

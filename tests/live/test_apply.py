"""Plans carried out on real QEMUs: set, edited in between, cut off, and interrupted by real signals."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig.applying.applier import apply
from bitmapmig.applying.document import NotAppliedError, StaleError
from bitmapmig.applying.scripts import script
from bitmapmig.collect import collect, collect_both
from bitmapmig.control import Control
from bitmapmig.diagnostics import BitmapmigError, CannotRunError
from bitmapmig.endpoint import parse
from bitmapmig.monitor import connected
from bitmapmig.planner import plan
from bitmapmig.plans import dump
from tests.build import codes
from tests.cli.process import PROGRAM, environment
from tests.fake_monitor import FakeMonitor, Settings, answers_of
from tests.live.migration import migrate
from tests.live.proxy import Cut, Proxy
from tests.live.qemu import Binary, Qemu, binaries
from tests.live.scenes.scene import null

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bitmapmig.plans import Plan

every = pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)
newest = pytest.mark.parametrize("binary", binaries()[-1:], ids=lambda binary: binary.version)

#: A name that only a map on both sides can say, with what might end a quotation.
LONG = 'it\'s "$(quit)" [{=}] # ' + "b" * 280
WRITING = ("migrate-set-parameters", "migrate-set-capabilities")


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks go to a folder of the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@contextmanager
def ends(binary: Binary) -> Iterator[tuple[Qemu, Qemu]]:
    """A source with bitmaps on two nodes, and a destination that waits."""
    words = [*null("n0"), *null("n1"), *null("target"), "-object", "throttle-group,id=group"]
    with (
        Qemu(binary, *words, name="source") as source,
        Qemu(binary, *words, name="destination", folder=source.folder, incoming=True) as destination,
    ):
        for node, name in (("n0", "daily"), ("n1", LONG)):
            source.qmp("block-dirty-bitmap-add", node=node, name=name)
            source.write(node, 0, 1 << 20)
        yield source, destination


def made(source: Qemu, destination: Qemu) -> Plan:
    """The plan for both."""
    return plan(*asyncio.run(collect_both(source.endpoint, destination.endpoint)))


def in_force(qemu: Qemu) -> tuple[Any, bool]:
    """What is set on a QEMU: the map, with node-names and bitmaps sorted, and the capability."""
    mapping = qemu.qmp("query-migrate-parameters").get("block-bitmap-mapping")
    on = {one["capability"]: one["state"] for one in qemu.qmp("query-migrate-capabilities")}
    return mapping, on["dirty-bitmaps"]


def says(mapping: Any) -> Any:
    """Which bitmaps a map lists, under which aliases."""
    if mapping is None:
        return None
    return {
        (entry["node-name"], entry["alias"], one["name"], one["alias"]) for entry in mapping for one in entry["bitmaps"]
    }


def state(source: Qemu, destination: Qemu, planned: Plan) -> str:
    """Whether both are as planned, or as before, with neutral maps in place of none; else what they have."""
    maps = planned.block_bitmap_mapping.model_dump(mode="json")
    (here, on), (there, other) = in_force(source), in_force(destination)
    neutral = {
        "source": {("n0", "n0", "daily", "daily")},
        "destination": {("n0", "n0", "daily", "daily")},
    }
    if (says(here), on, says(there), other) == (says(maps["source"]), True, says(maps["destination"]), False):
        return "as planned"
    if (
        not on
        and not other
        and says(here) in (None, neutral["source"])
        and says(there) in (None, neutral["destination"])
    ):
        return "as before"
    return repr((here, on, there, other))


# when all goes well


@every
def test_applied_and_migrated(binary: Binary) -> None:
    """What is applied is in force on both sides, and a migration then brings every bitmap."""
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        done = asyncio.run(apply(planned))
        assert [one.block_bitmap_mapping for one in done.now] == ["planned", "planned"]
        assert state(source, destination, planned) == "as planned"
        outcome = migrate(source, destination)
        assert (outcome.source, outcome.destination) == ("completed", "completed")
        assert outcome.bitmaps is not None
        there = {place: one.digest for place, one in outcome.bitmaps.items()}
        assert there == {place: one.digest for place, one in source.bitmaps().items()}


@newest
def test_scripts(binary: Binary) -> None:
    """The lines for qmp-shell, and what virsh would send, set what `apply` sets."""
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        parts = script(planned, "qmp").split("# on the source")
        for qemu, lines in zip((destination, source), parts, strict=True):
            spoken = "".join(f"{line}\n" for line in lines.splitlines() if line.startswith("migrate-"))
            done = subprocess.run(
                [Path(sys.executable).with_name("qmp-shell"), str(qemu.socket)],
                input=spoken,
                capture_output=True,
                text=True,
                check=True,
                env=environment({"HOME": str(qemu.folder)}),
            )
            assert done.stdout.count('{"return": {}') == spoken.count("\n"), done.stdout
        assert state(source, destination, planned) == "as planned"
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        parts = script(planned, "virsh").split("# on the source")
        for qemu, lines in zip((destination, source), parts, strict=True):
            for line in lines.splitlines():
                if line.startswith("virsh"):
                    command = json.loads(shlex.split(line)[-1])
                    qemu.execute(command["execute"], command["arguments"])
        assert state(source, destination, planned) == "as planned"


# edited between plan and apply


EDITS: dict[str, tuple[Callable[[Qemu, Qemu], object], str]] = {
    "bitmap added": (lambda s, _: s.qmp("block-dirty-bitmap-add", node="n0", name="new"), "'new' was added"),
    "bitmap removed": (lambda s, _: s.qmp("block-dirty-bitmap-remove", node="n0", name="daily"), "is gone"),
    "bitmap disabled": (lambda s, _: s.qmp("block-dirty-bitmap-disable", node="n0", name="daily"), "'daily'"),
    "filter added": (
        lambda s, _: s.qmp("blockdev-add", driver="throttle", node_name="t0", throttle_group="group", file="n0"),
        "'t0'",
    ),
    "bitmap there": (lambda _, d: d.qmp("block-dirty-bitmap-add", node="n0", name="daily"), "'daily'"),
    "job": (
        lambda s, _: s.qmp("blockdev-mirror", job_id="j0", device="n0", target="target", sync="none"),
        "'j0'",
    ),
    "map set": (
        lambda _, d: d.qmp(
            "migrate-set-parameters",
            block_bitmap_mapping=[{"node-name": "n0", "alias": "other", "bitmaps": []}],
        ),
        "",
    ),
    "no longer waiting": (lambda _, d: d.quit(), ""),
}


@pytest.mark.parametrize("edit", EDITS)
@every
def test_edited(binary: Binary, edit: str) -> None:
    """A real change between plan and apply is told, and nothing is set; but for what the plan sets anyway."""
    act, words = EDITS[edit]
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        act(source, destination)
        if edit == "map set":
            asyncio.run(apply(planned))
            assert state(source, destination, planned) == "as planned"
            return
        with pytest.raises(BitmapmigError) as caught:
            asyncio.run(apply(planned, timeout=2))
        assert in_force(source) == (None, False)
        if edit == "no longer waiting":
            assert codes(caught.value.diagnostics) == ["BM102"]
            return
        assert in_force(destination) == (None, False)
        assert isinstance(caught.value, StaleError)
        (found,) = caught.value.diagnostics
        assert (found.code, words in found.message) == ("BM712", True), found.message


@every
def test_irrelevant_change(binary: Binary) -> None:
    """A node that no bitmap depends on does not make a plan stale, and is told."""
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        source.qmp("blockdev-add", driver="null-co", node_name="scratch")
        done = asyncio.run(apply(planned))
        assert len(done.irrelevant) == 1
        assert "'scratch'" in done.irrelevant[0]


# cut off


@pytest.mark.parametrize("after", [False, True], ids=["before-effect", "after-effect"])
@every
def test_cut_in_mid_command(binary: Binary, *, after: bool) -> None:
    """A connection lost in the middle of each command that sets something: it looks, and what it says is so."""

    async def cut(source: Qemu, destination: Qemu, planned: Plan, number: int) -> BitmapmigError | None:
        count = 0

        def hook(message: dict[str, Any]) -> None:
            nonlocal count
            if message["execute"] in WRITING:
                count += 1
                if count == number:
                    raise Cut

        hooks: dict[str, Any] = {"answered" if after else "sent": hook}
        first, second = Proxy(source, **hooks), Proxy(destination, **hooks)
        async with first.served() as here, second.served() as there:
            try:
                await apply(planned, source=here, destination=there)
            except NotAppliedError as error:
                return error
        return None

    for number in (1, 2, 3):
        with ends(binary) as (source, destination):
            planned = made(source, destination)
            error = asyncio.run(cut(source, destination, planned, number))
            if after:
                assert (error, state(source, destination, planned)) == (None, "as planned")
            else:
                assert error is not None
                assert (error.diagnostics[0].code, state(source, destination, planned)) == ("BM723", "as before")
                assert "has not done it" in error.diagnostics[0].message


@every
def test_killed_in_mid_command(binary: Binary) -> None:
    """A source that dies of a command: it is said that nothing is known of it, and the destination is put back."""

    async def kill(source: Qemu, destination: Qemu, planned: Plan) -> BitmapmigError:
        def hook(message: dict[str, Any]) -> None:
            if message["execute"] in WRITING:
                source.kill()

        async with Proxy(source, sent=hook).served() as here, Proxy(destination).served() as there:
            with pytest.raises(NotAppliedError) as caught:
                await apply(planned, source=here, destination=there, timeout=2)
        return caught.value

    with ends(binary) as (source, destination):
        planned = made(source, destination)
        found = asyncio.run(kill(source, destination, planned)).diagnostics
        assert codes(found) == ["BM723", "BM724", "BM725"]
        assert says(in_force(destination)[0]) == {("n0", "n0", "daily", "daily")}


@newest
def test_another_process_answers(binary: Binary) -> None:
    """Where a connection was lost and another process answers now, nothing is sent to that one."""

    async def look(first: Qemu) -> None:
        control = Control("source", parse(first.endpoint), 5)
        try:
            await control.look()
            first.kill()
            with Qemu(binary, name="source", folder=first.folder):
                await control.look()
        finally:
            await control.close()

    with Qemu(binary, name="source") as first, pytest.raises(CannotRunError) as caught:
        asyncio.run(look(first))
    (found,) = caught.value.diagnostics
    assert (found.code, found.where.side) == ("BM715", "source")


# interrupted


async def interrupted(
    source: Qemu, destination: Qemu, planned: Plan, place: int, number: signal.Signals
) -> tuple[int, str, int]:
    """`apply` as a process that gets a signal at one message: its exit code, what it says, and how many there were."""
    count = 0
    process: asyncio.subprocess.Process | None = None

    def hook(_message: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        if count == place and process is not None:
            os.kill(process.pid, number)

    path = source.folder / "plan.json"
    path.write_bytes(dump(planned))
    async with Proxy(source, sent=hook).served() as here, Proxy(destination, sent=hook).served() as there:
        words = ("apply", str(path), "--source", here, "--destination", there)
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, *words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        _, said = await process.communicate()
    return process.returncode or 0, " ".join(said.decode().split()), count


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@every
def test_signals(binary: Binary, number: signal.Signals) -> None:
    """A real signal, in reading and at each message from the first that sets something on, leaves all as it says."""
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        code, said, count = asyncio.run(interrupted(source, destination, planned, 0, number))
        assert (code, said, state(source, destination, planned)) == (0, "", "as planned")
    reading = (count - len(WRITING) - 1 - 2) // 2
    places = [1, 2, reading, *range(reading + 3, reading + 8), count - 1, count]
    for place in places:
        with ends(binary) as (source, destination):
            planned = made(source, destination)
            code, said, _ = asyncio.run(interrupted(source, destination, planned, place, number))
            assert (code, number.name in said) == (130, True), said
            expected = "as planned" if "both QEMUs are as planned" in said else "as before"
            assert state(source, destination, planned) == expected, (place, said)


@newest
def test_killed_ourselves(binary: Binary) -> None:
    """After SIGKILL in the middle the lock is free, the next plan says what is set, and can be applied."""
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        _, _, count = asyncio.run(interrupted(source, destination, planned, 0, signal.SIGKILL))
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        place = (count - 5) // 2 + 5
        code, _, _ = asyncio.run(interrupted(source, destination, planned, place, signal.SIGKILL))
        assert (code, in_force(destination)[0] is None) == (-signal.SIGKILL, False)
        again = made(source, destination)
        assert "BM561" in codes(again.advice)
        asyncio.run(apply(again))
        assert state(source, destination, again) == "as planned"


# the fake is like the real one


@every
def test_fake_is_like_the_real_one(binary: Binary) -> None:
    """What is set on the fake monitor shows in its queries as it does in a real QEMU's, and so do refusals."""
    good = [{"node-name": "n0", "alias": "a", "bitmaps": [{"name": "daily", "alias": "b"}]}]
    bad = [{"node-name": "n0", "alias": "#a", "bitmaps": []}]
    messages: list[dict[str, Any]] = [
        {"execute": "migrate-set-parameters", "arguments": {"block-bitmap-mapping": good}},
        {"execute": "migrate-set-parameters", "arguments": {"block-bitmap-mapping": bad}},
        {
            "execute": "migrate-set-capabilities",
            "arguments": {"capabilities": [{"capability": "dirty-bitmaps", "state": True}]},
        },
        {"execute": "query-migrate-parameters"},
        {"execute": "query-migrate-capabilities"},
    ]

    class Asked:
        def __init__(self, message: dict[str, Any]) -> None:
            self.execute: str = message["execute"]
            self.message = message

    async def answers(endpoint: str) -> list[Any]:
        async with connected(parse(endpoint), messages) as monitor:
            exchanges = [(await monitor.ask((Asked(message),)))[0] for message in messages]
        return [one.error or normal(one.return_) for one in exchanges]

    def normal(value: Any) -> Any:
        return sorted(value, key=lambda one: str(one["capability"])) if isinstance(value, list) else value

    async def both(qemu: Qemu) -> tuple[list[Any], list[Any]]:
        fake = FakeMonitor(Settings().over(answers_of(await collect(qemu.endpoint))))
        async with fake.tcp() as endpoint:
            return await answers(qemu.endpoint), await answers(endpoint)

    with ends(binary) as (source, _):
        real, faked = asyncio.run(both(source))
    assert real == faked
    assert "not well-formed" in real[1]["desc"]

"""`bitmapmig apply` before fakes: what it prints, its exit codes, and real signals at every step."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig import schemas
from bitmapmig.applying.document import Applied
from bitmapmig.applying.scripts import Dialect
from bitmapmig.cli import main
from bitmapmig.cli.parser import SCRIPTS
from bitmapmig.plans import dump
from tests import fake_monitor
from tests.build import destination, node, planned
from tests.cli.process import PROGRAM, environment, run
from tests.fake_pair import UUID, End, Pair, here, there

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTILE = 'it\'s "$(quit)" `id`; \\ \n\x1b[2J \u202e # -'
NIL = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks go to a folder of the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@contextmanager
def served(pair: Pair) -> Iterator[list[str]]:
    """Both fakes in a thread of their own; the words of `apply` that lead to them."""
    Path("plan.json").write_bytes(dump(pair.made))
    loop, ready = asyncio.new_event_loop(), threading.Event()
    words = ["apply", "plan.json"]

    async def serve() -> None:
        async with pair.served() as (first, second):
            words.extend(["--source", first, "--destination", second])
            over = asyncio.Event()
            pair.over = lambda: loop.call_soon_threadsafe(over.set)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait(10)
    try:
        yield words
    finally:
        pair.over()
        thread.join()
        loop.close()


def test_applied(capsys: pytest.CaptureFixture[str]) -> None:
    """What was set is told, as text and as the one document of the schema."""
    pair = Pair()
    with served(pair) as words:
        assert main(words) == 0
        said = capsys.readouterr()
        assert said.out.startswith("APPLIED: both sides were set as planned")
        assert "source       the block-bitmap-mapping of the plan, dirty-bitmaps on" in said.out
        assert main([*words, "--format", "json"]) == 0
        document = json.loads(capsys.readouterr().out)
    assert Applied.model_validate(document).outcome == "applied"
    assert document["commands"] == pair.made.commands.model_dump(mode="json")
    assert "applied" in schemas.NAMES


def test_what_cannot_be_written() -> None:
    """Where the answer cannot be written, standard error says that all was set; a notice stops nothing."""
    pair = Pair()
    program = " ".join(PROGRAM)
    with served(pair) as words:
        command = f"{program} {' '.join(words)} > /dev/full"
        done = subprocess.run(["bash", "-c", command], capture_output=True, env=environment(), check=False)
        assert (done.returncode, pair.as_planned) == (2, True)
        assert b"BM001" in done.stderr
        assert b"bitmapmig: both QEMUs are as planned" in done.stderr
        command = f"{program} {' '.join(words)} --wait-migration --wait-timeout 1 --format json 2> /dev/full"
        done = subprocess.run(["bash", "-c", command], capture_output=True, env=environment(), check=False)
    assert [one["code"] for one in json.loads(done.stdout)["errors"]] == ["BM732"]


def test_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run prints the commands, and sends none."""
    pair = Pair()
    with served(pair) as words:
        assert main([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("DRY RUN")
    assert '"execute": "migrate-set-capabilities"' in said
    assert pair.source.written == []


def test_stale(capsys: pytest.CaptureFixture[str]) -> None:
    """A stale plan is exit code 4, and what changed is told; with JSON in one document."""
    pair = Pair(End(here("daily")), End(there()), planned(here(), there()))
    with served(pair) as words:
        assert main(words) == 4
        assert "STALE" in capsys.readouterr().err
        assert main([*words, "--format", "json"]) == 4
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert error["code"] == "BM712"
    assert "bitmap 'bbbbb" in error["message"]


def test_not_a_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no plan, and a plan that is not to be applied, could not be run; each has its finding."""
    plan = dump(planned(here(), there()))
    ends = {
        b"": "BM701",
        b"\xff": "BM701",
        b'"\\ud800"': "BM701",
        b"[" * 100_000: "BM701",
        b"[]": "BM702",
        b"{}": "BM702",
        b'{"format_version": 7}': "BM703",
        b'{"format_version": "\x1b"}': "BM701",
        b'{"format_version": "\\u001b", "\\u001b": 1}': "BM702",
        plan.replace(b'"verdict": "planned"', b'"verdict": "maybe"'): "BM702",
        plan.replace(b'"alias": "n0"', b'"alias": "n9"', 1): "BM706",
        dump(planned(here(), there(), provisional=True)): "BM705",
        dump(planned(here(), destination(node("other")))): "BM704",
        plan: "BM102",
    }
    for raw, code in ends.items():
        (tmp_path / "file").write_bytes(raw)
        assert main(["apply", str(tmp_path / "file")]) == 2
        said = capsys.readouterr().err
        assert code in said, said
        assert "\x1b" not in said
    for path in ("nosuch", ".", "nul\0"):
        assert main(["apply", path]) == 2
        assert "BM701" in capsys.readouterr().err


def test_from_standard_input() -> None:
    """A plan can be piped in."""
    plan = dump(planned(here(), there()))
    done = run("apply", "-", "--script", "qmp", stdin=plan)
    assert (done.returncode, b"migrate-set-parameters" in done.stdout) == (0, True)
    assert run("apply", "-", "--script", "qmp").returncode == 2


# signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_signal_at_every_step(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    """A signal at any message ends it with 130; both sides are as before or as planned, and it says which."""
    pair, place, said = Pair(), 0, ""
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    while True:
        place += 1
        pair, sent = Pair(), threading.Event()

        def at(now: int, _message: dict[str, Any], place: int = place, sent: threading.Event = sent) -> None:
            if now == place:
                sent.set()
                os.kill(os.getpid(), number)

        pair.at(at)
        with served(pair) as words:
            code = main(words)
        said = capsys.readouterr().err
        if not sent.is_set():
            break
        assert code == 130, (place, said)
        assert number.name in said
        if "both QEMUs are as planned" in said:
            assert pair.as_planned, place
        else:
            assert pair.as_before, (place, said)
            assert ("as they were" in said) or said.count("is as it was") == 2, said
    assert place > 40
    assert (code, said, pair.as_planned) == (0, "", True)
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_second_signal(capsys: pytest.CaptureFixture[str]) -> None:
    """A second signal changes nothing, and is said to have come."""
    pair = Pair()

    def at(_place: int, message: dict[str, Any]) -> None:
        if pair.source.written and message in pair.source.fake.received:
            os.kill(os.getpid(), signal.SIGINT)

    pair.at(at)
    with served(pair) as words:
        assert main(words) == 130
    assert "SIGINT again: still at it" in capsys.readouterr().err
    assert pair.as_before


def test_signal_while_a_side_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    """A signal does not wait for a side that says nothing, as long as nothing was set."""
    pair = Pair()
    pair.source.fake.faults = {"query-block": fake_monitor.hang}
    pair.at(lambda _, message: os.kill(os.getpid(), signal.SIGTERM) if message["execute"] == "query-block" else None)
    with served(pair) as words:
        assert main([*words, "--timeout", "60"]) == 130
    assert "nothing was set, both QEMUs are as they were" in " ".join(capsys.readouterr().err.split())


# scripts


def test_dialects() -> None:
    """The command line knows the dialects that there are."""
    assert Dialect.__args__ == SCRIPTS  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("names", "domain"),
    [
        ({"query-name": {"name": HOSTILE}}, "DOMAIN"),
        ({"query-name": {}}, "DOMAIN"),
        ({"query-name": {"name": "it's $(quit) `id`; \\ # ü"}}, "it's $(quit) `id`; \\ # ü"),
        ({"query-name": {"name": "-f"}}, "-f"),
        ({"query-name": {"name": HOSTILE}, "query-uuid": {"UUID": UUID}}, UUID),
    ],
)
def test_virsh(names: dict[str, Any], domain: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What a shell makes of the lines for virsh is the plan's commands, the VM's uuid or name, and nothing else."""
    made = {"replies": {"query-uuid": {"UUID": NIL}, **names}}
    pair = Pair(End(here(HOSTILE, "b0", **made)), End(there(**made)))
    Path("plan.json").write_bytes(dump(pair.made))
    assert main(["apply", "plan.json", "--script", "virsh"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.isprintable() for line in lines)
    words = [shlex.split(line) for line in lines if not line.startswith("#")]
    assert {tuple(one[:2]) for one in words} == {("virsh", "qemu-monitor-command")}
    assert {one[-2] for one in words} == {domain}
    assert {tuple(one[2:-2]) for one in words} == {("--domain",) if domain == "-f" else ()}
    assert [json.loads(one[-1]) for one in words] == [one.model_dump(mode="json") for one in pair.made.commands.source]


def test_script_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """With JSON the script is a member of the one document."""
    Path("plan.json").write_bytes(dump(Pair(End(here(HOSTILE))).made))
    assert main(["apply", "plan.json", "--script", "qmp", "--format", "json"]) == 0
    document = Applied.model_validate_json(capsys.readouterr().out)
    assert document.outcome == "script"
    assert "migrate-set-parameters block-bitmap-mapping=[" in (document.script or "")

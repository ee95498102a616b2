"""A plan that is applied and waited for, through a real migration that somebody else starts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any, Self

import pytest

from bitmapmig import recorded
from bitmapmig.collect import collect_both
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.planner import plan
from bitmapmig.plans import dump
from bitmapmig.verifying.verifier import verify
from bitmapmig.waiting.document import Migrated, MigrationFailed
from bitmapmig.waiting.migrator import apply_and_wait
from tests.build import codes
from tests.cli.process import PROGRAM, environment
from tests.live.migration import set_capability
from tests.live.monitor import until
from tests.live.qemu import Binary, Qemu, binaries
from tests.live.scenes.scene import null
from tests.live.test_apply import in_force

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bitmapmig.diagnostics import Diagnostic
    from bitmapmig.plans import Plan

every = pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks and digests go to a folder of the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


class Scene:
    """A source with a bitmap, and a destination that waits."""

    def __init__(self, binary: Binary) -> None:
        words = [*null("n0"), "-object", "throttle-group,id=group"]
        self.source = Qemu(binary, *words, name="source")
        self.destination = Qemu(binary, *words, name="destination", folder=self.source.folder, incoming=True)

    def __enter__(self) -> Self:
        self.source.__enter__()
        self.destination.__enter__()
        self.source.qmp("block-dirty-bitmap-add", node="n0", name="daily")
        self.source.write("n0", 0, 1 << 20)
        both = asyncio.run(collect_both(self.source.endpoint, self.destination.endpoint))
        self.plan: Plan = plan(*both)
        return self

    def __exit__(self, *_: object) -> None:
        self.destination.__exit__(None, None, None)
        self.source.__exit__(None, None, None)

    @property
    def uri(self) -> str:
        """Where the migration goes."""
        return f"unix:{self.source.folder / 'migration'}"

    def listen(self) -> None:
        """Let the destination listen for the migration."""
        self.destination.qmp("migrate-incoming", uri=self.uri)

    def status(self) -> str:
        """What the source says of the migration."""
        return str(self.source.qmp("query-migrate").get("status"))

    def migrate(self) -> None:
        """Start the migration."""
        self.listen()
        self.source.qmp("migrate", uri=self.uri)

    def waited(self, act: Callable[[list[Diagnostic]], object], seconds: float = 30) -> Migrated:
        """Apply, do what another does in the meantime, and wait; `act` gets the warnings so far."""
        warnings: list[Diagnostic] = []

        async def run() -> Migrated:
            ready = asyncio.Event()
            waiting = asyncio.create_task(
                apply_and_wait(self.plan, wait_timeout=seconds, applied=lambda _: ready.set(), warn=warnings.append)
            )
            started = asyncio.create_task(ready.wait())
            await asyncio.wait({waiting, started}, return_when=asyncio.FIRST_COMPLETED)
            started.cancel()
            if not waiting.done():
                await asyncio.to_thread(act, warnings)
            return await waiting

        return asyncio.run(run())


@every
def test_completed(binary: Binary) -> None:
    """A migration that completes is verified, and both ends are clean afterwards."""
    with Scene(binary) as scene:
        done = scene.waited(lambda _: scene.migrate())
        assert (done.outcome, done.warnings, done.failures, done.problems) == ("completed", (), (), ())
        assert done.verified is not None
        assert done.verified.verdict == "proven"
        assert done.finished is not None
        assert (in_force(scene.source)[1], in_force(scene.destination)[1]) == (False, False)


@every
def test_pre_switchover(binary: Binary) -> None:
    """At `pre-switchover` the digests are taken and kept: a later `verify` proves by them, once the source is gone."""
    with Scene(binary) as scene:
        set_capability(scene.source, "pause-before-switchover")

        def migrate(_: list[Diagnostic]) -> None:
            scene.migrate()
            until(lambda: scene.status() == "pre-switchover", "there was no pre-switchover")
            until(lambda: recorded.load(scene.plan), "nothing was recorded")
            scene.source.qmp("migrate-continue", state="pre-switchover")

        done = scene.waited(migrate)
        assert (done.outcome, done.recorded, done.warnings) == ("completed", 1, ())
        assert recorded.load(scene.plan) == {("n0", "daily"): scene.source.digest("n0", "daily")}
        scene.source.quit()
        later = asyncio.run(verify(scene.plan))
        assert [(one.outcome, one.proof) for one in later.bitmaps] == [("proven", "digest-recorded")]


@every
def test_graph_changes_meanwhile(binary: Binary) -> None:
    """A change of either graph is warned of at once, and once; a bitmap that did not arrive fails the verification."""
    with Scene(binary) as scene:

        def spoil(warnings: list[Diagnostic]) -> None:
            scene.destination.qmp("block-dirty-bitmap-add", node="n0", name="another")
            until(lambda: len(warnings) == 1, "there was no warning about the destination")
            scene.source.qmp("block-dirty-bitmap-remove", node="n0", name="daily")
            scene.source.qmp("block-dirty-bitmap-add", node="n0", name="new")
            until(lambda: len(warnings) > 1, "there was no warning about the source")
            scene.migrate()

        with pytest.raises(MigrationFailed) as caught:
            scene.waited(spoil)
        done = caught.value.migrated
        sides = [one.where.side for one in done.warnings]
        assert (codes(done.warnings), sides.count("destination"), "source" in sides) == (["BM731"], 1, True)
        assert done.verified is not None
        assert (done.verified.verdict, done.outcome) == ("failed", "failed")
        assert "BM804" in codes(done.failures)


@every
def test_failed(binary: Binary) -> None:
    """A migration that fails or is cancelled is told, and what was set is cleaned up."""
    with Scene(binary) as scene:
        set_capability(scene.source, "pause-before-switchover")

        def cancel(_: list[Diagnostic]) -> None:
            scene.migrate()
            until(lambda: scene.status() == "pre-switchover", "there was no pre-switchover")
            scene.source.qmp("migrate_cancel")

        with pytest.raises(MigrationFailed) as caught:
            scene.waited(cancel)
        done = caught.value.migrated
        assert (codes(done.failures), done.verified) == (["BM733"], None)
        assert done.finished is not None
        assert done.finished.source.dirty_bitmaps == "turned-off"
        assert in_force(scene.source)[1] is False


@every
def test_timeout(binary: Binary) -> None:
    """Where no migration comes, that is said after the time, and all stays set."""
    with Scene(binary) as scene:
        with pytest.raises(CannotRunError) as caught:
            scene.waited(lambda _: None, seconds=0.6)
        assert codes(caught.value.diagnostics) == ["BM732"]
        assert in_force(scene.source)[1] is True


async def spoken(scene: Scene, *words: str, act: Callable[[int], object]) -> tuple[int, str, str]:
    """`apply --wait-migration` as a process; `act` is called with its pid once all is set."""
    path = scene.source.folder / "plan.json"
    path.write_bytes(dump(scene.plan))
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *("apply", str(path), "--wait-migration", *words),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    said = await process.stderr.readline()
    await asyncio.to_thread(act, process.pid)
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), (said + err).decode()


@every
def test_command_line(binary: Binary) -> None:
    """The command says when the migration may start, and at the end gives its document."""
    with Scene(binary) as scene:
        code, out, err = asyncio.run(spoken(scene, "--format", "json", act=lambda _: scene.migrate()))
        assert (code, "waiting for the migration" in err) == (0, True), err
        assert Migrated.model_validate(json.loads(out)).outcome == "completed"
    with Scene(binary) as scene:
        code, out, _ = asyncio.run(spoken(scene, act=lambda _: scene.migrate()))
        assert (code, out.startswith("MIGRATED")) == (0, True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@every
def test_signal_while_waiting(binary: Binary, number: signal.Signals) -> None:
    """A signal ends the waiting; both sides stay as planned, and it says so."""
    with Scene(binary) as scene:
        act: Any = lambda pid: os.kill(pid, number)  # noqa: E731
        code, out, err = asyncio.run(spoken(scene, act=act))
        assert (code, out) == (130, "")
        assert "all is set as planned" in " ".join(err.split())
        assert in_force(scene.source)[1] is True

"""What `finish` leaves on real QEMUs: nothing that loses a bitmap at the next migration, or hangs a savevm."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig.cli import main
from bitmapmig.collect import collect_both
from bitmapmig.endpoint import parse
from bitmapmig.finishing.document import Finished, FinishRefused
from bitmapmig.finishing.finisher import finish
from bitmapmig.lock import Holder, held
from bitmapmig.planner import plan
from bitmapmig.plans import Plan, dump
from bitmapmig.policy import Policy
from bitmapmig.whereabouts import vm
from tests.live.migration import carry_out, entry, migrate, set_capability, set_mapping
from tests.live.monitor import until
from tests.live.qemu import Binary, Qemu, binaries
from tests.live.scenes import ALL
from tests.live.scenes.scene import Scene, Stage, drive, null, scene
from tests.live.test_hops import SCENES
from tests.live.test_scenes import answer

if TYPE_CHECKING:
    from pathlib import Path

every_qemu = pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is recorded and locked stays in this test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@scene()
def one_disk(stage: Stage) -> None:
    """A disk with a bitmap on either side, nothing set before."""
    stage.start_source(*null("n0"))
    stage.start_destination(*null("n0"))
    stage.bitmap("n0", "b0")


@scene()
def mapped_before(stage: Stage) -> None:
    """The destination has a map in force, so that the plan has one for it as well."""
    one_disk.build(stage)
    set_mapping(stage.destination, [entry("n0", "stale", {"other": "other"})])


def finished(made: Plan, **options: Any) -> Finished:
    """What `finish` says, whether it raises it or returns it."""
    try:
        return asyncio.run(finish(made, **options))
    except FinishRefused as refused:
        return refused.finished


def migrated(stage: Stage, made: Plan) -> None:
    """Carry the plan out."""
    outcome = carry_out(json.loads(dump(made)), stage.source, stage.destination)
    assert (outcome.source, outcome.destination) == ("completed", "completed"), outcome


def in_force(qemu: Qemu) -> tuple[Any, bool]:
    """The map and the capability that are set on a QEMU."""
    capabilities = {one["capability"]: one["state"] for one in qemu.qmp("query-migrate-capabilities")}
    return qemu.qmp("query-migrate-parameters").get("block-bitmap-mapping"), capabilities["dirty-bitmaps"]


NEUTRAL = [entry("n0", "n0", {"b0": "b0"})]


@every_qemu
def test_after_a_migration(binary: Binary) -> None:
    """Both ends are clean, read back, and a second time finds nothing to do; a dry run changes nothing."""
    with mapped_before.on(binary) as stage:
        made = answer(mapped_before, stage)
        migrated(stage, made)
        stage.destination.qmp("block-dirty-bitmap-add", node="n0", name="later")
        before = in_force(stage.source), in_force(stage.destination)
        dry = finished(made, dry_run=True)
        assert (in_force(stage.source), in_force(stage.destination)) == before
        done = finished(made)
        assert done.outcome == "finished"
        assert dry == done.model_copy(update={"outcome": "dry-run"})
        assert (done.source.dirty_bitmaps, done.source.block_bitmap_mapping) == ("turned-off", "neutral")
        assert (done.destination.dirty_bitmaps, done.destination.block_bitmap_mapping) == ("off", "neutralised")
        assert in_force(stage.source) == (NEUTRAL, False)
        assert in_force(stage.destination) == ([entry("n0", "n0", {"b0": "b0", "later": "later"})], False)
        again = finished(made)
        assert (again.source.commands, again.destination.commands) == ((), ())
        assert (again.source.dirty_bitmaps, again.destination.block_bitmap_mapping) == ("off", "neutral")


def onwards(stage: Stage) -> None:
    """Migrate the destination to a third QEMU like it, as somebody does who knows nothing of the plan."""
    there = stage.destination.bitmaps()
    words = [word for word in stage.destination.words if not word.startswith("unix:destination")]
    words.remove("-qmp")
    own = words[words.index("none", words.index("-display")) + 1 :]
    own = [word for word in own if word not in ("-S", "-incoming", "defer")]
    with Qemu(stage.destination.binary, *own, name="third", folder=stage.folder, incoming=True) as third:
        stage.destination.qmp("cont")
        set_capability(stage.destination)
        last = migrate(stage.destination, third)
        assert (last.source, last.destination) == ("completed", "completed"), last
        digests = sorted((name, record.digest) for (_, name), record in (last.bitmaps or {}).items())
        assert digests == sorted((name, record.digest) for (_, name), record in there.items())


@pytest.mark.parametrize("cleaned", [False, True], ids=["as-left", "finished"])
@pytest.mark.parametrize("name", SCENES)
@every_qemu
def test_third_hop(binary: Binary, name: str, *, cleaned: bool) -> None:
    """Source -> destination -> third keeps every bitmap, whether `finish` was run in between or not."""
    played: Scene = next(one for one in ALL if one.name == name)
    with played.on(binary) as stage:
        made = answer(played, stage)
        migrated(stage, made)
        if cleaned:
            assert finished(made).outcome == "finished"
        onwards(stage)


@pytest.mark.parametrize("cleaned", [False, True], ids=["forecast", "finished"])
@every_qemu
def test_bitmaps_added_since(binary: Binary, *, cleaned: bool) -> None:
    """A bitmap that was added after the migration survives the next one; under the plan's own forecast it is lost."""
    with mapped_before.on(binary) as stage:
        made = answer(mapped_before, stage)
        migrated(stage, made)
        stage.destination.qmp("block-dirty-bitmap-add", node="n0", name="later")
        if cleaned:
            finished(made)
            onwards(stage)
            return
        for left in made.residue:
            for command in left.commands if left.side == "destination" else ():
                stage.destination.execute(command.execute, command.arguments)
        with pytest.raises(AssertionError, match="later"):
            onwards(stage)


@scene()
def savable(stage: Stage) -> None:
    """A drive that a snapshot can be saved in, with a bitmap."""
    stage.start_source(*drive("d0", stage.image("a.qcow2"), "node-name=n0"))
    stage.start_destination(*drive("d0", stage.image("b.qcow2"), "node-name=n0"))
    stage.bitmap("n0", "b0", through="d0")


@pytest.mark.parametrize("cleaned", [False, True], ids=["as-left", "finished"])
@every_qemu
def test_savevm(binary: Binary, *, cleaned: bool) -> None:
    """After `finish` a savevm on the source returns; without it, the monitor is dead."""
    with savable.on(binary) as stage:
        made = answer(savable, stage)
        migrated(stage, made)
        stage.destination.kill()
        stage.source.qmp("cont")
        if cleaned:
            assert finished(made).source.dirty_bitmaps == "turned-off"
            assert stage.source.hmp("savevm one") == ""
            return
        assert stage.source._monitor is not None  # noqa: SLF001  a hang shall not last as long as tests are patient
        stage.source._monitor._socket.settimeout(2)  # noqa: SLF001
        with pytest.raises(TimeoutError):
            stage.source.hmp("savevm one")


@every_qemu
def test_after_a_failure(binary: Binary) -> None:
    """A failed migration is finished only when told so; a destination that died is said to be gone."""
    with one_disk.on(binary) as stage:
        made = answer(one_disk, stage)
        stage.source.qmp("block-dirty-bitmap-add", node="n0", name="late")
        stage.destination.qmp("block-dirty-bitmap-add", node="n0", name="b0")
        for side, qemu in (("destination", stage.destination), ("source", stage.source)):
            for command in getattr(made.commands, side):
                qemu.execute(command.execute, command.arguments)
        outcome = migrate(stage.source, stage.destination)
        assert outcome.exit == 1
        if outcome.source == "failed":  # it may have said `completed` before the destination died
            assert [one.code for one in finished(made).refusals] == ["BM902"]
            assert in_force(stage.source)[1]
        done = finished(made, failed=True)
        assert (done.outcome, done.destination.gone) == ("finished", "Connection refused")
        assert in_force(stage.source) == ([entry("n0", "n0", {"b0": "b0", "late": "late"})], False)


@every_qemu
def test_source_gone(binary: Binary) -> None:
    """After success the source may be ended: then the destination is cleaned; with neither there, it is refused."""
    with mapped_before.on(binary) as stage:
        made = answer(mapped_before, stage)
        migrated(stage, made)
        stage.source.kill()
        done = finished(made)
        assert (done.source.gone, done.source.commands) == ("Connection refused", ())
        assert in_force(stage.destination) == (NEUTRAL, False)
        stage.destination.kill()
        assert [one.code for one in finished(made).refusals] == ["BM903"]


@every_qemu
def test_given_up_before_it_began(binary: Binary) -> None:
    """An applied plan without a migration is undone with --failed; what `plan` said of the ends is then gone."""
    with one_disk.on(binary) as stage:
        made = answer(one_disk, stage)
        for command in made.commands.source:
            stage.source.execute(command.execute, command.arguments)
        stage.source.qmp("block-dirty-bitmap-add", node="n0", name="late")
        assert [one.code for one in finished(made).refusals] == ["BM902", "BM902"]
        unclean = {one.code: one for one in answer(one_disk, stage).advice}
        assert "drops 1 bitmap without a word" in unclean["BM561"].message
        assert "with 2 bitmaps there, a savevm never returns" in unclean["BM562"].message
        assert all("bitmapmig finish --failed PLAN" in unclean[code].remedy for code in ("BM561", "BM562"))
        assert finished(made, failed=True).outcome == "finished"
        left = {one.code: one for one in answer(one_disk, stage).advice}
        assert set(left) & {"BM561", "BM562"} == {"BM561"}
        assert "it is neutral, and does what none does" in left["BM561"].message
        # and the new plan arrives
        migrated(stage, answer(one_disk, stage))


@every_qemu
def test_migration_under_way(binary: Binary) -> None:
    """While a migration pauses before its switch-over nothing is touched, not even with --failed."""
    with one_disk.on(binary) as stage:
        made = answer(one_disk, stage)
        set_capability(stage.source, "pause-before-switchover")
        for command in made.commands.source:
            stage.source.execute(command.execute, command.arguments)
        uri = f"unix:{stage.folder / 'migration'}"
        stage.destination.qmp("migrate-incoming", uri=uri)
        stage.source.qmp("migrate", uri=uri)
        until(lambda: stage.source.qmp("query-migrate").get("status") == "pre-switchover", "it did not pause")
        before = in_force(stage.source)
        for failed in (False, True):
            refused = finished(made, failed=failed)
            assert "BM901" in {one.code for one in refused.refusals}
        assert in_force(stage.source) == before
        stage.source.qmp("migrate_cancel")
        until(lambda: stage.source.qmp("query-migrate").get("status") == "cancelled", "it was not cancelled")
        until(lambda: stage.destination.status is not None, "the destination did not end")
        assert finished(made, failed=True).source.dirty_bitmaps == "turned-off"


@every_qemu
def test_what_was_there_before_stays(binary: Binary) -> None:
    """A capability that was on before stays on, which is said; what somebody else has set since is left alone."""
    with one_disk.on(binary) as stage:
        set_capability(stage.source)
        made = answer(one_disk, stage)
        migrated(stage, made)
        set_capability(stage.destination)
        set_mapping(stage.destination, [entry("n0", "libvirt", {"b0": "libvirt-b0"})])
        done = finished(made)
        assert (done.source.dirty_bitmaps, in_force(stage.source)[1]) == ("left-on", True)
        assert "was on before the plan" in done.source.reasons[0]
        assert (done.destination.dirty_bitmaps, done.destination.block_bitmap_mapping) == ("left-on", "left")
        assert [one.code for one in done.advice] == ["BM905", "BM904"]
        assert in_force(stage.destination) == ([entry("n0", "libvirt", {"b0": "libvirt-b0"})], True)


@every_qemu
def test_nothing_was_to_migrate(binary: Binary) -> None:
    """Where everything was left behind the plan set nothing, and nothing is changed."""
    with one_disk.on(binary) as stage:
        captures = asyncio.run(collect_both(stage.source.endpoint, stage.destination.endpoint))
        made = plan(*captures, Policy.parse({"version": 1, "deny": [{"bitmap": "*"}], "storage": "separate"}))
        migrated(stage, made)
        done = finished(made)
        assert (done.source.commands, done.destination.commands) == ((), ())
        assert (done.source.block_bitmap_mapping, done.source.dirty_bitmaps) == ("none", "off")


@every_qemu
def test_command(binary: Binary, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit codes: 3 where it is refused, 6 where another holds the lock, 0 where it is done; JSON is one document."""
    path = tmp_path / "plan.json"
    with one_disk.on(binary) as stage:
        made = answer(one_disk, stage)
        path.write_bytes(dump(made))
        assert main(["finish", str(path), "--format", "json"]) == 3
        assert Finished.model_validate_json(capsys.readouterr().out).outcome == "refused"
        assert main(["finish", str(path)]) == 3
        assert capsys.readouterr().out.startswith("REFUSED: nothing was touched\n")
        migrated(stage, made)

        async def locked() -> int:
            key = await vm(made, parse(stage.source.endpoint))
            async with held(key, holder=Holder.here("test")):
                return await asyncio.to_thread(main, ["finish", str(path)])

        assert asyncio.run(locked()) == 6
        assert "BM751" in capsys.readouterr().err
        assert main(["finish", str(path), "--dry-run"]) == 0
        assert capsys.readouterr().out.startswith("DRY RUN: nothing was sent\n")
        assert main(["finish", str(path)]) == 0
        assert "dirty-bitmaps is turned off again" in capsys.readouterr().out
        assert in_force(stage.source) == (NEUTRAL, False)

"""What makes an end clean again, and what is said where that goes wrong; on hand-built captures and fakes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig import graph
from bitmapmig.control import InForce
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.finishing.cleaning import cleaning
from bitmapmig.finishing.document import Finished, FinishRefused
from bitmapmig.finishing.finisher import finish
from bitmapmig.lock import Holder, LockHeldError, held
from tests.build import bitmap, destination, drive, node, planned, source
from tests.fake_monitor import FakeMonitor, QmpError, Settings, answers_of, close

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bitmapmig.captures import Capture
    from bitmapmig.diagnostics import Side
    from bitmapmig.plans import Plan


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is locked stays in this test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def entry(name: str, alias: str, *bitmaps: str, **renamed: str) -> dict[str, Any]:
    """An entry of a map: bitmaps under their own names, and renamed ones."""
    names = {**{one: one for one in bitmaps}, **renamed}
    return {"node-name": name, "alias": alias, "bitmaps": [{"name": one, "alias": a} for one, a in names.items()]}


_STALE = {"parameters": {"block-bitmap-mapping": [entry("n0", "stale", "b0")]}}


def both_mapped(**more: Any) -> Plan:
    """A plan with a map on either side."""
    return planned(source(node("n0", bitmaps=["b0"]), **more), destination(node("n0"), **_STALE))


# what is to be done


@pytest.mark.parametrize(
    ("mapping", "word", "expected"),
    [
        (None, "none", None),
        ("planned", "neutralised", [entry("n0", "d0", "b0", "b1"), entry("n1", "n1", "s0")]),
        ([entry("n0", "d0", "b0", "b1"), entry("n1", "n1", "s0")], "neutral", None),
        ([entry("n1", "n1", "s0"), entry("n0", "d0", "b1", "b0")], "neutral", None),
        ([entry("n0", "d0", "b0")], "neutralised", [entry("n0", "d0", "b0", "b1"), entry("n1", "n1", "s0")]),
        ([entry("gone", "gone", "b9")], "neutralised", [entry("n0", "d0", "b0", "b1"), entry("n1", "n1", "s0")]),
        ([entry("n0", "libvirt", "b0")], "left", None),
        ([entry("n0", "d0", b0="libvirt-b0")], "left", None),
        ([], "left", None),
        ([entry("n0", "d0")], "left", None),
    ],
)
def test_map(mapping: Any, word: str, expected: list[dict[str, Any]] | None) -> None:
    """The plan's map, and an earlier neutral one, become neutral for the graph as it is now; another's is left."""
    plan = both_mapped()
    own = plan.block_bitmap_mapping.destination
    assert own is not None
    now = [one.model_dump(mode="json") for one in own] if mapping == "planned" else mapping
    parts = (node("n0", "qcow2", bitmaps=["b0", "b1"]), node("n1", "qcow2", stored=["s0"]), drive("d0", "n0"))
    there = graph.read(destination(*parts), "destination")[0]
    found = cleaning(plan, "destination", there, InForce(now, dirty_bitmaps=False), endpoint="e", waiting=False)
    assert found.end.block_bitmap_mapping == word
    sent = [command.arguments["block-bitmap-mapping"] for command in found.commands]
    assert sent == ([] if expected is None else [expected])
    assert [one.code for one in found.advice] == (["BM904"] if word == "left" else [])
    assert not found.differences(InForce(expected, dirty_bitmaps=False), there) or expected is None


def test_map_of_a_side_that_waits() -> None:
    """Where the destination still waits, its neutral map takes what is planned to come."""
    there = graph.read(destination(node("n0"), drive("d0", "n0")), "destination")[0]
    now = InForce([entry("n0", "d0", "b9")], dirty_bitmaps=False)
    found = cleaning(both_mapped(), "destination", there, now, endpoint="e", waiting=True)
    assert found.commands[0].arguments == {"block-bitmap-mapping": [entry("n0", "d0", "b0")]}


def test_no_bitmap_to_list() -> None:
    """Without any bitmap there is no neutral map, so the one in force stays, and that is said."""
    there = graph.read(destination(node("n0")), "destination")[0]
    now = InForce([entry("n0", "n0", "b0")], dirty_bitmaps=False)
    found = cleaning(both_mapped(), "destination", there, now, endpoint="e", waiting=False)
    assert (found.end.block_bitmap_mapping, found.commands) == ("left", ())
    assert "an empty one would drop whatever comes" in found.end.reasons[0]


def test_bitmaps_in_no_map() -> None:
    """What QEMU refuses to migrate by itself can be in no map, and is named."""
    parts = (node("n0", bitmaps=["b0"]), node("#auto", bitmaps=["lost"]))
    there = graph.read(source(*parts), "source")[0]
    found = cleaning(both_mapped(), "source", there, InForce([entry("n0", "n0", "b0")], dirty_bitmaps=False),
                     endpoint="e", waiting=False)  # fmt: skip
    assert found.end.not_in_map == ("#auto/lost",)


@pytest.mark.parametrize(
    ("side", "on_before", "on_now", "word", "said"),
    [
        ("source", False, False, "off", []),
        ("source", False, True, "turned-off", []),
        ("source", True, True, "left-on", []),
        ("source", True, False, "off", []),
        ("destination", False, True, "left-on", ["BM905"]),
        ("destination", True, True, "left-on", []),
    ],
)
def test_capability(side: Side, on_before: bool, on_now: bool, word: str, said: list[str]) -> None:  # noqa: FBT001
    """It is turned off exactly where the plan is what turned it on; where it is left on, that is said."""
    on = {"capabilities": ["dirty-bitmaps"]} if on_before else {}
    here, there = (on, {}) if side == "source" else ({}, on)
    plan = planned(source(node("n0", bitmaps=["b0"]), **here), destination(node("n0"), **there))
    (left,) = [one for one in plan.residue if one.what == "dirty-bitmaps"]
    assert bool(left.commands) is (side == "destination" or not on_before)
    end = graph.read(source(node("n0", bitmaps=["b0"])), side)[0]
    found = cleaning(plan, side, end, InForce(None, dirty_bitmaps=on_now), endpoint="e", waiting=False)
    assert found.end.dirty_bitmaps == word
    assert [one.code for one in found.advice] == said
    assert bool(found.end.reasons) is (word == "left-on" and not said)


# doing it

_COMPLETED = {"migration": {"status": "completed"}}


def after(run_state: str, **more: Any) -> Capture:
    """A side after the migration."""
    return source(node("n0", bitmaps=["b0", bitmap("later")]), **{"run_state": run_state, **_COMPLETED, **more})


class Ends:
    """Two fakes with the plan's settings, the migration over."""

    def __init__(self, **migration: str) -> None:
        self.plan = both_mapped()
        maps = self.plan.block_bitmap_mapping
        self.settings: dict[str, Settings] = {}
        self.fakes: dict[str, FakeMonitor] = {}
        for side, run_state in (("source", "postmigrate"), ("destination", "paused")):
            mapping = [one.model_dump(mode="json") for one in getattr(maps, side)]
            self.settings[side] = Settings(mapping, dirty_bitmaps=side == "source")
            capture = after(run_state, migration={"status": migration.get(side, "completed")})
            self.fakes[side] = FakeMonitor(self.settings[side].over(answers_of(capture)))

    def finish(self, **options: Any) -> Finished:
        """What `finish` comes to."""
        return asyncio.run(self._finish(options))

    async def _finish(self, options: dict[str, Any]) -> Finished:
        async with self.fakes["source"].tcp() as first, self.fakes["destination"].tcp() as second:
            return await finish(self.plan, source=first, destination=second, timeout=2, **options)

    def failing(self, **options: Any) -> list[tuple[str, str | None]]:
        """The codes and sides with which it could not be done."""
        with pytest.raises(CannotRunError) as error:
            self.finish(**options)
        return [(one.code, one.where.side) for one in error.value.diagnostics]

    def clean(self, side: str) -> bool:
        """Whether a side has a neutral map and the capability off."""
        now = self.settings[side]
        return (now.mapping, now.dirty_bitmaps) == ([entry("n0", "n0", "b0", "later")], False)


def test_both_ends() -> None:
    """Both are cleaned, the capability first, and nothing is sent the second time."""
    ends = Ends()
    done = ends.finish()
    assert ends.clean("source")
    assert ends.clean("destination")
    assert [command.execute for command in done.source.commands] == [
        "migrate-set-capabilities",
        "migrate-set-parameters",
    ]
    again = ends.finish()
    assert (again.source.commands, again.destination.commands) == ((), ())


def test_dry_run() -> None:
    """The same is said, nothing is sent, and no lock is taken."""
    ends = Ends()

    async def locked() -> Finished:
        async with held(ends.plan.source.uuid or ends.plan.source.name or "", holder=Holder.here("test")):
            return await ends._finish({"dry_run": True})  # noqa: SLF001

    said = asyncio.run(locked())
    assert not ends.clean("source")
    done = ends.finish()
    assert (said.outcome, done.outcome) == ("dry-run", "finished")
    assert (said.source.commands, said.destination.commands) == (done.source.commands, done.destination.commands)


def test_lock() -> None:
    """Another who holds the lock of the VM keeps everything from being touched."""
    ends = Ends()

    async def locked() -> None:
        async with held(ends.plan.source.uuid or ends.plan.source.name or "", holder=Holder.here("test")):
            await ends._finish({})  # noqa: SLF001

    with pytest.raises(LockHeldError):
        asyncio.run(locked())
    assert not ends.clean("source")


@pytest.mark.parametrize(
    ("migration", "failed", "expected"),
    [
        ({"source": "active"}, False, ["BM901"]),
        ({"source": "active"}, True, ["BM901"]),
        ({"destination": "postcopy-active"}, True, ["BM901"]),
        ({"source": "failed"}, False, ["BM902"]),
        ({"source": "cancelled", "destination": "failed"}, False, ["BM902", "BM902"]),
    ],
)
def test_refused(migration: dict[str, str], failed: bool, expected: list[str]) -> None:  # noqa: FBT001
    """While a migration is under way, and without --failed where none completed, nothing is touched."""
    ends = Ends(**migration)
    before = ends.settings["source"].mapping
    with pytest.raises(FinishRefused) as refused:
        ends.finish(failed=failed)
    assert [one.code for one in refused.value.finished.refusals] == expected
    assert (ends.settings["source"].mapping, ends.settings["source"].dirty_bitmaps) == (before, True)


def test_given_up() -> None:
    """With --failed, a migration that failed is cleaned up after."""
    ends = Ends(source="failed", destination="failed")
    assert ends.finish(failed=True).outcome == "finished"
    assert ends.clean("source")


# going wrong


def test_command_refused() -> None:
    """A command that QEMU refuses is told with its side; the other side is cleaned all the same."""
    ends = Ends()
    fake = ends.fakes["destination"]
    fake.answers = {**fake.answers, "migrate-set-parameters": QmpError("no")}
    assert ends.failing() == [("BM721", "destination")]
    assert ends.clean("source")


def test_set_and_not_there() -> None:
    """What was set and is not there when it is read back is told."""
    ends = Ends()
    fake = ends.fakes["source"]
    fake.answers = {**fake.answers, "migrate-set-capabilities": {}}
    assert ends.failing() == [("BM722", "source")]
    assert ends.clean("destination")


def test_connection_lost() -> None:
    """A connection that is lost in mid-command is made again, and what came of the command is looked at."""
    ends = Ends()
    ends.fakes["source"].faults = {"migrate-set-parameters": close}
    ends.finish()
    assert ends.clean("source")


@pytest.mark.parametrize("side", ["source", "destination"])
def test_another_vm(side: str) -> None:
    """A VM that is not the plan's is not touched, and neither is the other end."""
    ends = Ends()
    fake = ends.fakes[side]
    fake.answers = {**fake.answers, "query-name": {"name": "other"}}
    assert ends.failing() == [("BM711", side)]
    assert not ends.clean("source")
    assert not ends.clean("destination")


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: planned(source(node("n0", bitmaps=["b0"])), destination(node("n1"))), "BM704"),
        (lambda: planned(source(node("n0", bitmaps=["b0"])), destination(node("n0")), provisional=True), "BM705"),
    ],
)
def test_plans_that_were_never_applied(make: Callable[[], Plan], code: str) -> None:
    """A refusal and a provisional plan have set nothing."""
    with pytest.raises(CannotRunError) as error:
        asyncio.run(finish(make()))
    assert [one.code for one in error.value.diagnostics] == [code]

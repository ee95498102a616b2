"""`apply` on two fakes: what it sets, and what it leaves wherever it is stopped, cut off or refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig import recorded
from bitmapmig.applying.applier import apply
from bitmapmig.applying.document import Applied, ApplyInterruptedError, NotAppliedError, StaleError
from bitmapmig.applying.intake import commands
from bitmapmig.applying.interruption import Stop
from bitmapmig.diagnostics import BitmapmigError, CannotRunError
from bitmapmig.lock import Holder, LockHeldError, LockLostError, held
from bitmapmig.plans.document import Commands
from bitmapmig.plans.document import Mapping as Maps
from tests import fake_monitor
from tests.build import bitmap, codes, drive, job, node, planned
from tests.build import destination as make_destination
from tests.build import source as make_source
from tests.fake_monitor import QmpError, Settings, Turns
from tests.fake_pair import LONG, UUID, WITH_UUID, WRITING, End, Pair, here, there

if TYPE_CHECKING:
    from pathlib import Path

#: Seconds that are waited for what does not come.
SOON = 0.3


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks go to a folder of the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def failure(pair: Pair, **options: Any) -> BitmapmigError:
    """What `apply` raises."""
    with pytest.raises(BitmapmigError) as caught:
        asyncio.run(pair.applied(**options))
    assert all(one.message.isprintable() for one in caught.value.diagnostics)
    return caught.value


def messages(pair: Pair) -> int:
    """How many messages a run sends in all, when all goes well."""
    asyncio.run(pair.applied())
    return len(pair.source.fake.received) + len(pair.destination.fake.received)


# when all goes well


def test_sets_what_the_plan_says() -> None:
    """The destination is set first, then the source, map before capability; the answer says what each has."""
    pair, order = Pair(), []
    pair.at(lambda _, message: order.append(message["execute"]) if message["execute"] in WRITING else None)
    done = asyncio.run(pair.applied())
    assert order == ["migrate-set-parameters", "migrate-set-parameters", "migrate-set-capabilities"]
    assert (pair.destination.written, pair.as_planned) == (["migrate-set-parameters"], True)
    assert [(one.side, one.block_bitmap_mapping, one.dirty_bitmaps) for one in done.now] == [
        ("destination", "planned", False),
        ("source", "planned", True),
    ]
    assert (done.outcome, done.commands) == ("applied", pair.made.commands)


def test_again() -> None:
    """A plan that is applied can be applied again; nothing changes."""
    pair = Pair()
    asyncio.run(pair.applied())
    asyncio.run(pair.applied())
    assert pair.as_planned


def test_digests_of_an_earlier_attempt() -> None:
    """What was recorded of a migration that did not come to its end is forgotten: it would accuse the next one."""
    pair = Pair()
    recorded.save(pair.made, {("n0", "daily"): "a" * 64})
    asyncio.run(pair.applied(dry_run=True))
    assert recorded.load(pair.made)
    asyncio.run(pair.applied())
    assert recorded.load(pair.made) is None


def test_dry_run() -> None:
    """A dry run compares, shows the commands and sets nothing."""
    pair = Pair()
    done = asyncio.run(pair.applied(dry_run=True))
    assert (pair.source.written, pair.destination.written) == ([], [])
    assert (done.outcome, done.commands) == ("dry-run", pair.made.commands)
    assert [one.block_bitmap_mapping for one in done.now] == ["none", "none"]


def test_nothing_to_migrate() -> None:
    """A plan without bitmaps sets nothing, and turns the capability off only where the plan says so."""
    pair = Pair(End(make_source(node("n0"))), End(make_destination(node("n0"))))
    assert asyncio.run(pair.applied()).commands.source == ()
    left = {"deny": [{"bitmap": "*"}]}
    on = make_source(node("n0", bitmaps=["b0"]), capabilities=["dirty-bitmaps"])
    end = End(on, Settings(dirty_bitmaps=True))
    pair = Pair(end, End(make_destination(node("n0"))), planned(on, make_destination(node("n0")), left))
    done = asyncio.run(pair.applied())
    assert (pair.source.written, pair.source.now) == (["migrate-set-capabilities"], (None, False))
    assert done.now[1].dirty_bitmaps is False


# wherever it is stopped


def endings(kind: str, place: int) -> tuple[Pair, Applied | BaseException]:
    """A pair, and what came of a run in which something happens at one message."""
    pair, stop = Pair(), Stop()

    def at(now: int, _message: dict[str, Any]) -> None:
        if now == place and kind == "stopped":
            stop.now("SIGTERM")
        if now == place and kind == "cut before":
            raise ConnectionAbortedError

    async def run() -> Applied:
        if kind == "cancelled":
            return await cancelled(pair, place)
        return await pair.applied(stop=stop)

    pair.at(at)
    if kind == "cut after":
        cut_after(pair, place)
    try:
        return pair, asyncio.run(run())
    except (BitmapmigError, asyncio.CancelledError) as error:
        return pair, error


def cut_after(pair: Pair, place: int) -> None:
    """The connection ends in place of the answer to one message, which has had its effect."""

    def at(now: int, _message: dict[str, Any]) -> None:
        if now == place:
            for end in pair.ends:
                if end.fake.received and end.fake.received[-1] is _message:
                    end.fake.faults_at = {len(end.fake.received): fake_monitor.close}

    pair.at(at)


async def cancelled(pair: Pair, place: int) -> Applied:
    """Cancel the task that applies at one message."""
    task = asyncio.ensure_future(pair.applied())

    def at(now: int, _message: dict[str, Any]) -> None:
        if now == place:
            task.cancel()

    pair.at(at)
    return await task


@pytest.mark.parametrize("kind", ["stopped", "cancelled", "cut before", "cut after"])
def test_stopped_anywhere(kind: str) -> None:
    """Wherever it is interrupted or cut off, both sides are as planned or as before, and it says which."""
    outcomes = set()
    count = messages(Pair())
    for place in range(1, count + 1):
        pair, came = endings(kind, place)
        what = f"{kind} at {place} of {count}: {came}"
        outcomes.add(type(came).__name__)
        if isinstance(came, Applied):
            assert pair.as_planned, what
        elif isinstance(came, asyncio.CancelledError):
            assert pair.as_planned or pair.as_before, what
        else:
            assert pair.as_before, what
            assert isinstance(came, BitmapmigError)
            assert "BM725" not in codes(came.diagnostics), what
    expected = {
        "stopped": {"ApplyInterruptedError"},
        "cancelled": {"CancelledError"},
        "cut before": {"Applied", "NotAppliedError", "CannotRunError"},
        "cut after": {"Applied", "CannotRunError"},
    }
    assert outcomes == expected[kind]


@pytest.mark.parametrize("fault", [fake_monitor.hang, fake_monitor.halve, fake_monitor.instead(b"<html>\n")])
def test_answers_that_do_not_come(fault: fake_monitor.Fault) -> None:
    """A command that is not answered, whose effect is there when it is looked at, counts; the run goes on."""
    for command in WRITING:
        pair = Pair()
        pair.source.fake.faults = {command: fake_monitor.once(fault)}
        asyncio.run(pair.applied(timeout=SOON))
        assert pair.as_planned


def test_gone_for_good() -> None:
    """Where a side does not answer any more, it is said to be unknown, and the other side is put back."""
    pair = Pair()

    def at(_place: int, message: dict[str, Any]) -> None:
        if pair.source.written and message is pair.source.fake.received[-1]:
            raise ConnectionAbortedError

    pair.at(at)
    found = failure(pair, timeout=SOON).diagnostics
    assert codes(found) == ["BM723", "BM724", "BM725"]
    assert "could not be asked again" in found[0].message
    assert [one.where.side for one in found] == ["source", "source", "destination"]
    assert pair.as_before


# refused, or changed by somebody else


@pytest.mark.parametrize("command", WRITING)
def test_second_side_refuses(command: str) -> None:
    """Where the source refuses, what was set on the destination and on it is put back, and each is described."""
    pair = Pair()
    pair.source.fake.answers = {**pair.source.fake.answers, command: QmpError("\x1bno")}
    error = failure(pair)
    assert isinstance(error, NotAppliedError)
    first, *sides = error.diagnostics
    assert (first.code, first.facts["command"], first.facts["error"]) == ("BM721", command, "\\x1bno")
    assert [(one.where.side, one.facts["block_bitmap_mapping"], one.facts["dirty_bitmaps"]) for one in sides] == [
        ("source", "none" if command == WRITING[0] else "neutral", False),
        ("destination", "neutral", False),
    ]


def test_what_was_set_before_is_set_again() -> None:
    """A map and a capability that were in force are in force again."""
    mapping = [{"node-name": "n0", "alias": "old", "bitmaps": [{"name": "daily", "alias": "x"}]}]
    parts = {"parameters": {"block-bitmap-mapping": mapping}, "capabilities": ["dirty-bitmaps"]}
    pair = Pair(
        End(here(**parts), Settings(mapping, dirty_bitmaps=True)),
        End(there(**parts), Settings(mapping, dirty_bitmaps=True)),
    )
    stop = Stop()
    pair.at(lambda _, one: stop.now("SIGINT") if one["execute"] == "migrate-set-capabilities" else None)
    error = failure(pair, stop=stop)
    assert isinstance(error, ApplyInterruptedError)
    assert pair.before == (pair.source.now, pair.destination.now) == ((mapping, True), (mapping, True))
    assert all(one.message.count("is as it was: ") == 1 for one in error.diagnostics[1:])


def test_somebody_else_sets_it() -> None:
    """A map that another sets in between is found when it is read back, and left alone."""
    pair = Pair()
    foreign = [{"node-name": "n0", "alias": "theirs", "bitmaps": []}]

    def at(_place: int, message: dict[str, Any]) -> None:
        if message["execute"] == "migrate-set-capabilities":
            pair.source.settings.mapping = foreign

    pair.at(at)
    found = failure(pair).diagnostics
    assert (codes(found), found[0].facts["differences"]) == (["BM722", "BM724"], "block-bitmap-mapping")
    assert pair.source.now == (foreign, False)
    assert "somebody else set" in found[1].message


def test_graph_changes_while_it_is_set() -> None:
    """A graph that changes between the look and the last command makes the plan stale; what was set is put back."""
    pair = Pair()
    changed = fake_monitor.answers_of(here(LONG, "daily", "new"))
    shown = {name: changed[name] for name in ("query-named-block-nodes", "x-debug-query-block-graph")}

    def at(_place: int, message: dict[str, Any]) -> None:
        if message["execute"] == "migrate-set-capabilities":
            pair.source.fake.answers = {**pair.source.fake.answers, **shown}

    pair.at(at)
    error = failure(pair)
    assert isinstance(error, StaleError)
    assert codes(error.diagnostics) == ["BM712", "BM724"]
    assert pair.as_before


# stale plans


STALE: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "another uuid": ({"replies": {"query-uuid": {"UUID": UUID[::-1]}}}, {}, ["BM711"]),
    "another version": ({"version": (8, 0, 0)}, {}, ["BM711"]),
    "another machine": ({}, {"machine": "pc-q35-6.2"}, ["BM711"]),
    "destination does not wait": ({}, {"run_state": "running"}, ["BM713"]),
    "source migrates": ({"migration": {"status": "active"}}, {}, ["BM713"]),
    "blocked": ({"migration": {"blocked-reasons": ["x"]}}, {}, ["BM713"]),
}


@pytest.mark.parametrize(("first", "second", "found"), STALE.values(), ids=STALE)
def test_stale(first: dict[str, Any], second: dict[str, Any], found: list[str]) -> None:
    """What is another QEMU now, or would not do what the plan says, makes it stale; nothing is set."""
    plan = planned(here(), there())
    pair = Pair(End(here(**first)), End(there(**second)), plan)
    error = failure(pair)
    assert isinstance(error, StaleError)
    assert codes(error.diagnostics) == found
    assert (pair.source.written, pair.destination.written) == ([], [])


def test_stale_by_storage() -> None:
    """A bitmap that travels in the shared image is lost as well where the migration does not complete any more."""
    parts = (
        node("n0", "qcow2", bitmaps=[bitmap("daily", "persistent")], stored=["daily"], file="f0"),
        node("f0", "file"),
    )
    here, there = make_source(*parts), make_destination(node("n0", "qcow2", stored=["daily"], file="f0"), parts[1])
    plan = planned(here, there, {"storage": "shared", "deny": [{"bitmap": "*"}]})
    assert [one.fate for one in plan.bitmaps] == ["by-storage"]
    asyncio.run(Pair(End(here), End(there), plan).applied())
    running = make_destination(node("n0", "qcow2", stored=["daily"], file="f0"), parts[1], run_state="running")
    assert codes(failure(Pair(End(here), End(running), plan)).diagnostics) == ["BM713"]


GRAPHS: dict[str, Any] = {
    "bitmap removed": [node("n0", bitmaps=[LONG]), drive("drive0", "n0", "disk0")],
    "bitmap added": [node("n0", bitmaps=[LONG, "daily", "new"]), drive("drive0", "n0", "disk0")],
    "bitmap busy": [node("n0", bitmaps=[LONG, bitmap("daily", "busy")]), drive("drive0", "n0", "disk0")],
    "granularity": [node("n0", bitmaps=[LONG, bitmap("daily", granularity=4096)]), drive("drive0", "n0", "disk0")],
    "resized": [node("n0", bitmaps=[LONG, "daily"], size=1 << 30), drive("drive0", "n0", "disk0")],
    "filter inserted": [
        node("n0", bitmaps=[LONG, "daily"]),
        node("t0", "throttle", file="n0"),
        drive("drive0", "t0", "disk0"),
    ],
    "job": [
        node("n0", bitmaps=[LONG, "daily"]),
        drive("drive0", "n0", "disk0"),
        job("j0", "commit", **{"main node": "n0"}),
    ],
}


@pytest.mark.parametrize("parts", GRAPHS.values(), ids=GRAPHS)
def test_edited_graph(parts: list[Any]) -> None:
    """A graph that was edited in what matters is not the one that was planned for; nothing is set."""
    pair = Pair(End(make_source(*parts, **WITH_UUID)), End(there()), planned(here(), there()))
    error = failure(pair)
    assert isinstance(error, StaleError)
    assert "BM712" in codes(error.diagnostics)
    assert (pair.source.written, pair.destination.written) == ([], [])


def test_stale_after_it_was_applied() -> None:
    """A plan that was applied and is stale now is said to be in force still."""
    plan = planned(here(), there())
    old = Pair(plan=plan)
    asyncio.run(old.applied())
    pair = Pair(End(here(LONG), old.source.settings), End(there(), old.destination.settings), plan)
    found = failure(pair).diagnostics
    assert [(one.code, one.where.side) for one in found] == [
        ("BM712", "source"),
        ("BM724", "destination"),
        ("BM724", "source"),
    ]
    assert "finish --failed" in found[1].remedy


# what is not applied at all


def test_refused_and_provisional(tmp_path: Path) -> None:
    """A refusal, a plan against a destination of the like, and an edited one are never applied."""
    refused = planned(here(), make_destination(node("other")))
    provisional = planned(here(), there(), provisional=True)
    made = planned(here(), there())
    other = made.block_bitmap_mapping.source
    assert other is not None
    edited = made.model_copy(update={"commands": made.commands.model_copy(update={"source": ()})})
    maps = made.block_bitmap_mapping.model_copy(update={"source": other[:0]})
    emptied = made.model_copy(update={"block_bitmap_mapping": maps})
    for plan, code in ((refused, "BM704"), (provisional, "BM705"), (edited, "BM706"), (emptied, "BM706")):
        with pytest.raises(CannotRunError) as caught:
            asyncio.run(apply(plan, source=f"unix:{tmp_path}/nosuch", destination=f"unix:{tmp_path}/neither"))
        assert codes(caught.value.diagnostics) == [code]


def test_a_plan_that_is_silent_about_a_bitmap() -> None:
    """Each bitmap of the source has a fate; where one was edited out, map and commands too, nothing is sent."""
    made = planned(here("daily"), there())
    nothing = {
        "commands": Commands(source=(), destination=()),
        "block_bitmap_mapping": Maps(source=None, destination=None),
    }
    (one,) = made.bitmaps
    apart = one.model_copy(update={"node_alias": None, "bitmap_alias": None})
    for bitmaps, update in (
        ((), nothing),
        ((apart.model_copy(update={"fate": "refused"}),), nothing),
        ((apart,), nothing),
        ((one, one), {}),
        ((one.model_copy(update={"fate": "left-behind"}),), {}),
    ):
        with pytest.raises(CannotRunError) as caught:
            commands(made.model_copy(update={"bitmaps": bitmaps, **update}))
        assert codes(caught.value.diagnostics) == ["BM706"]


def test_what_is_no_map_when_it_is_read_back() -> None:
    """A reply that shows no map, when it is looked at again, is not taken for one: what is set is not known."""
    spoilt: tuple[Any, ...] = ([1], [{"node-name": "n0", "alias": "a", "bitmaps": 5}], {}, "x")
    for mapping in spoilt:
        pair = Pair()
        shown = pair.source.fake.answers["query-migrate-parameters"]
        answers = Turns((shown, {"block-bitmap-mapping": mapping}))
        pair.source.fake.answers = {**pair.source.fake.answers, "query-migrate-parameters": answers}
        assert codes(failure(pair).diagnostics) == ["BM111", "BM724", "BM725"]
        assert pair.destination.now[1] is False


def test_endpoints(tmp_path: Path) -> None:
    """Both ends must be monitors, and two of them; what is wrong with either is told at once."""
    made = planned(here(), there())
    capture = tmp_path / "capture.json"
    capture.touch()
    ends = {
        (str(capture), "nonsense:1"): ["BM101", "BM707"],
        ("tcp:127.0.0.1:1", "tcp:127.0.0.1:1"): ["BM714"],
        (f"unix:{tmp_path}/a", f"unix:{tmp_path}/b"): ["BM102"],
    }
    for (first, second), found in ends.items():
        with pytest.raises(BitmapmigError) as caught:
            asyncio.run(apply(made, source=first, destination=second))
        assert codes(caught.value.diagnostics) == found


# the lock


def test_lock_is_held_by_another() -> None:
    """While another holds the lock on the VM's uuid nothing is sent at all, not even a query."""
    pair = Pair()

    async def run() -> None:
        async with held(UUID, holder=Holder.here("test")):
            await pair.applied()

    with pytest.raises(LockHeldError):
        asyncio.run(run())
    assert pair.source.fake.received == pair.destination.fake.received == []


def test_lock_is_lost(tmp_path: Path) -> None:
    """A lost lock stops the next command; without it nothing is put back, and what each side has is said."""
    pair = Pair()

    def at(_place: int, _message: dict[str, Any]) -> None:
        if pair.destination.written:
            for path in (tmp_path / "bitmapmig").iterdir():
                path.unlink()

    pair.at(at)
    error = failure(pair)
    assert isinstance(error, LockLostError)
    assert (pair.destination.written, pair.source.written) == (["migrate-set-parameters"], [])
    assert codes(error.diagnostics) == ["BM724", "BM752"]
    assert "as planned" in error.diagnostics[2].message

"""Rehearsals on real QEMUs: what they say where something is wrong, and that they leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig import behaviour, plans
from bitmapmig.behaviour import Behaviour
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.fate import Foretold, LogLine, foretell
from bitmapmig.rehearsing import course, migration, rehearse, rehearser
from bitmapmig.throwaway import Binary, Throwaway, rest
from tests.build import Part, bitmap, destination, drive, node, planned, source, stored
from tests.live.qemu import binaries
from tests.live.test_rehearse_fixtures import programs, recorded_on, rehearsed
from tests.test_cases import FIXTURES, answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitmapmig.plans import Plan
    from bitmapmig.rehearsing import Rehearsal
    from bitmapmig.rehearsing.migration import Sight

#: Two disks: a transient bitmap on one, a persistent one in the image of the other.
HERE: tuple[Part, ...] = (
    node("n", bitmaps=["b0"]),
    node("q", "qcow2", [bitmap("b1", "persistent")], stored=["b1"], file="f"),
    node("f", "file"),
    drive("drive0", "n"),
    drive("drive1", "q"),
)
THERE: tuple[Part, ...] = (
    node("n"),
    node("q", "qcow2", file="f"),
    node("f", "file"),
    drive("drive0", "n"),
    drive("drive1", "q"),
)
SEPARATE = {"storage": "separate"}


@pytest.fixture(params=binaries(), ids=lambda binary: binary.version)
def qemu(request: pytest.FixtureRequest) -> Binary:
    """Each QEMU that is there."""
    return Binary.of(request.param.path)


@pytest.fixture
def newest() -> Binary:
    """One QEMU, for what does not depend on its version."""
    return Binary.of(binaries()[-1].path)


@pytest.fixture(autouse=True)
def left(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """What a rehearsal has left: files where it may make folders, state that is kept, processes; always nothing."""
    with tempfile.TemporaryDirectory(prefix="bitmapmig-") as name:
        rooms = [Path(name, "tmp"), Path(name, "state")]
        for room in rooms:
            room.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(rooms[0]))
        monkeypatch.setenv("XDG_STATE_HOME", str(rooms[1]))
        before = children()

        def found() -> list[str]:
            files = [str(path) for room in rooms for path in room.iterdir()]
            return files + [f"process {pid}" for pid in children() - before]

        yield found
        assert found() == []


def children() -> set[int]:
    """The processes that this one has started and not reaped."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(folder.name))
    return found


def version(binary: Binary) -> dict[str, Any]:
    """What makes a capture one of this version."""
    return {"version": binary.version}


def plan_for(
    binary: Binary, policy: Mapping[str, Any] = SEPARATE, here: tuple[Part, ...] = HERE, there: tuple[Part, ...] = THERE
) -> Plan:
    """The plan of two hand-built ends of the version of a program."""
    return planned(source(*here, **version(binary)), destination(*there, **version(binary)), policy)


def run(made: Plan, binary: Binary, **options: Any) -> Rehearsal:
    """The rehearsal on this program on both sides."""
    return asyncio.run(rehearse(made, binary, binary, **{"seed": 1, **options}))


def codes_of(made: Plan, binary: Binary, **options: Any) -> list[str]:
    """The codes by which a rehearsal says that it cannot be."""
    with pytest.raises(CannotRunError) as raised:
        run(made, binary, **options)
    return [one.code for one in raised.value.diagnostics]


def happened(found: Rehearsal) -> dict[str, str]:
    """What became of the bitmaps, by name."""
    return {one.bitmap: one.happened for one in found.bitmaps}


def image(name: str, backing: str = "", **members: Any) -> tuple[Part, ...]:
    """A qcow2 node and its file."""
    below = {"file": f"{name}-file"} | ({"backing": backing} if backing else {})
    return node(name, "qcow2", children=below, **members), node(f"{name}-file", "file", ro=members.get("ro", False))


def layers() -> Iterator[Part]:
    """A -drive disk of three layers with a bitmap of one name on each."""
    for name, backing in (("#top", "#middle"), ("#middle", "#base"), ("#base", "")):
        yield from image(name, backing, bitmaps=["daily"], ro=name != "#top")
    yield drive("drive0", "#top")


# what survives


def test_a_plan_survives(qemu: Binary) -> None:
    """A transient and a persistent bitmap arrive, as foretold; nothing is left, and no state of `apply` is kept."""
    said: list[str] = []
    found = run(plan_for(qemu), qemu, says=said.append)
    assert (found.outcome, found.disagreements, found.advice) == ("survives", (), ())
    assert happened(found) == {"b0": "arrived", "b1": "arrived"}
    assert said[0] == "rebuilding both block graphs"
    assert said[-1] == "shutting down, and looking into the images"


def test_merged_bitmaps_arrive_as_one(qemu: Binary) -> None:
    """The temporary of a chain arrives in place of what is merged into it."""
    made = plan_for(qemu, {"collapse": True}, tuple(layers()), (*image("#flat"), drive("drive0", "#flat")))
    found = run(made, qemu)
    assert (found.outcome, found.disagreements) == ("survives", ())
    assert [one.happened for one in found.bitmaps if one.bitmap == "daily"] == ["left-behind"] * 3
    (merge,) = made.merges
    (temporary,) = [one for one in found.bitmaps if one.bitmap == merge.temporary]
    assert (temporary.happened, temporary.destination_bitmap) == ("arrived", "daily")


def test_a_seed_gives_the_same_bits(newest: Binary, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the seed of an earlier rehearsal every bitmap is as it was then, and without it is not."""
    seen: list[list[str | None]] = []
    honest = migration.look

    async def looking(found: Throwaway) -> Sight:
        sight = await honest(found)
        if found.name == "source":
            seen.append([one.digest for _, one in sorted(sight.records.items())])
        return sight

    monkeypatch.setattr(course, "look", looking)
    made = plan_for(newest)
    first = run(made, newest, seed=None)
    again = run(made, newest, seed=first.seed)
    other = run(made, newest, seed=first.seed ^ 1)
    assert len(seen) == 3
    assert seen[0] == seen[1] != seen[2]
    assert first == again
    assert other.seed != first.seed


def test_another_version_is_said() -> None:
    """A program of another version than the plan's is advice, on each side where it is one."""
    if len(binaries()) < 2:
        pytest.skip("one QEMU cannot be another")
    one, other = (Binary.of(binaries()[n].path) for n in (0, -1))
    found = asyncio.run(rehearse(plan_for(one), one, other, seed=1))
    assert [(said.code, said.where.side) for said in found.advice] == [("BM854", "destination")]
    assert (found.outcome, found.source.planned_version) == ("survives", one.told)
    assert (found.destination.planned_version, found.destination.qemu_version) == (one.told, other.told)


# where something is wrong


def _lying(change: Callable[[Foretold], Foretold]) -> Callable[..., Foretold]:
    return lambda *of_the_pair: change(foretell(*of_the_pair))


def _of_first(told: Foretold, **change: Any) -> Foretold:
    first, *rest = told.bitmaps
    return told.model_copy(update={"bitmaps": (first.model_copy(update=change), *rest)})


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        (lambda told: _of_first(told, outcome="dropped"), [("bitmap", None, "b0")]),
        (lambda told: _of_first(told, recording=False), [("bitmap", None, "b0")]),
        (lambda told: told.model_copy(update={"source": "aborts"}), [("side", "source", None)]),
        (
            lambda told: told.model_copy(update={"log": (LogLine(side="destination", text="Cannot find device="),)}),
            [("log", "destination", None)],
        ),
        (
            lambda told: told.model_copy(update={"migration": "fails", "destination": "exits"}),
            [("migration", None, None), ("side", "destination", None)],
        ),
    ],
    ids=["bitmap", "flag", "side", "log", "migration"],
)
def test_a_wrong_model_is_told(
    newest: Binary,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Foretold], Foretold],
    differing: list[tuple[str, str | None, str | None]],
) -> None:
    """Where QEMU does otherwise than the model says, each difference is told, also of a plan that survives."""
    monkeypatch.setattr(course, "foretell", _lying(change))
    found = run(plan_for(newest), newest)
    assert [(one.what, one.side, one.bitmap) for one in found.disagreements] == differing
    # a bitmap that is not as the model says is not as it is to be
    assert found.outcome == ("fails" if "recording" in found.disagreements[0].happened else "survives")


def test_a_plan_by_a_wrong_model_does_not_survive(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is planned because the model knows no better fails in the rehearsal, and the model is told to be wrong."""
    case = FIXTURES / "backup-running"
    if not set(recorded_on(case)) <= set(programs()):
        pytest.skip("the QEMU that it was recorded on is not there")
    of_jobs = behaviour.JOBS
    monkeypatch.setitem(of_jobs, "backup", Behaviour(of_jobs["backup"].name, frozenset()))
    made = answer(case)
    assert made.verdict == "planned"
    found = asyncio.run(rehearsed(case, made, whole=True))
    assert (found.outcome, [one.code for one in found.failures]) == ("fails", ["BM852"])
    assert [(one.what, one.side) for one in found.disagreements] == [
        ("migration", None),
        ("side", "source"),
        ("side", "destination"),
        ("bitmap", None),
    ]
    assert found.disagreements[0].foretold == "completes"


def _other_alias(document: str) -> str:
    return document.replace('"alias": "n"', '"alias": "x"', 1)


def _other_node(document: str) -> str:
    """All that is set, in one accord, and not where the plan says that it goes."""
    return document.replace('"alias": "n"', '"alias": "q"').replace('"node_alias": "n"', '"node_alias": "q"')


@pytest.mark.parametrize(
    ("edit", "code"), [(_other_alias, "BM706"), (_other_node, "BM713")], ids=["one-word", "throughout"]
)
def test_an_edited_plan_is_stopped(newest: Binary, edit: Callable[[str], str], code: str) -> None:
    """`apply` does not set a plan that was edited into a wrong one, and no migration is begun."""
    here = (HERE[0], drive("drive0", "n"))
    there = (node("n"), node("q"), drive("drive0", "n"))
    document = plans.dump(plan_for(newest, {}, here, there)).decode()
    assert edit(document) != document
    found = run(plans.load(edit(document).encode()), newest)
    assert (found.outcome, found.migration) == ("fails", None)
    assert [one.code for one in found.failures] == [code]
    assert happened(found) == {"b0": "not-migrated"}


def test_a_refused_plan_is_not_rehearsed_unasked(newest: Binary) -> None:
    """A refusal is rehearsed with `anyway` alone; then it shows the harm."""
    made = plan_for(newest, SEPARATE, HERE, (node("n"),))
    assert made.verdict == "refused"
    assert codes_of(made, newest) == ["BM704"]
    found = run(made, newest, anyway=True)
    assert (found.outcome, happened(found)) == ("fails", {"b0": "lost", "b1": "lost"})


def test_what_cannot_be_built_is_said(newest: Binary) -> None:
    """A device name that must not be in a line of the monitor ends it, and the node is named."""
    here = (node("n", bitmaps=["b0"]), drive("a b", "n"))
    assert codes_of(plan_for(newest, {}, here, (node("n"),)), newest) == ["BM123"]


def test_captures_say_what_a_document_does_not(newest: Binary) -> None:
    """A map that is in force on the destination is set there from captures, and gets in the way as it would."""
    in_force = {"block-bitmap-mapping": [{"node-name": "n", "alias": "other", "bitmaps": []}]}
    here = source(node("n", bitmaps=["b0"]), **version(newest))
    there = destination(node("n"), parameters=in_force, **version(newest))
    # as if the map in force had not been seen
    blind = planned(here, destination(node("n"), **version(newest)))
    found = run(blind, newest, captures=(here, there))
    assert (found.outcome, found.disagreements) == ("fails", ())
    assert run(planned(here, there), newest, captures=(here, there)).outcome == "survives"


# what ends early


def _end(waiting: bool) -> None:  # noqa: FBT001
    """Kill the destination, or the source, by its pid."""
    for pid in children():
        if (b"-incoming" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")) is waiting:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("waiting", [False, True], ids=["source", "destination"])
@pytest.mark.parametrize("moment", ["applying the plan", "migrating"])
def test_a_qemu_that_is_killed(qemu: Binary, moment: str, waiting: bool) -> None:  # noqa: FBT001
    """What somebody else kills is no harm of the plan: the rehearsal came to no end, and nothing is left."""

    def says(what: str) -> None:
        if what == moment:
            _end(waiting)

    assert codes_of(plan_for(qemu), qemu, says=says) == ["BM851"]


@pytest.mark.parametrize("waiting", [False, True], ids=["source", "destination"])
def test_a_qemu_that_is_killed_while_it_migrates(
    newest: Binary,
    monkeypatch: pytest.MonkeyPatch,
    waiting: bool,  # noqa: FBT001
) -> None:
    """Nor is it what a migration does to a process, where that dies of a signal which QEMU never sends itself."""
    honest = Throwaway.execute

    async def execute(found: Throwaway, command: str, arguments: Any = None) -> Any:
        answered = await honest(found, command, arguments)
        if command == "migrate":
            _end(waiting)
        return answered

    monkeypatch.setattr(Throwaway, "execute", execute)
    assert codes_of(plan_for(newest), newest) == ["BM851"]


@pytest.mark.parametrize(
    "moment", ["rebuilding both block graphs", "applying the plan", "migrating", "verifying", "shutting down"]
)
def test_a_rehearsal_that_is_cancelled(newest: Binary, moment: str, left: Callable[[], list[str]]) -> None:
    """Cancelled at any moment it ends its processes and removes its folder, before the cancellation is over."""

    async def cancelled() -> None:
        def says(what: str) -> None:
            if what.startswith(moment):
                task.cancel()

        task = asyncio.create_task(rehearse(plan_for(newest), newest, newest, says=says))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert left() == []

    asyncio.run(cancelled())


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.15])
def test_a_rehearsal_that_takes_too_long(newest: Binary, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time is bounded, whatever it is doing when that is over."""
    monkeypatch.setattr(rehearser, "SECONDS", seconds)
    assert codes_of(plan_for(newest), newest) == ["BM851"]


def test_a_migration_that_takes_too_long(newest: Binary, monkeypatch: pytest.MonkeyPatch) -> None:
    """The migration has a bound of its own, which is said."""
    monkeypatch.setattr(rest, "SECONDS", 0.0)
    with pytest.raises(CannotRunError, match=r"BM851 .* the migration did not end on the source within 0 s"):
        run(plan_for(newest), newest)


def test_two_rehearsals_side_by_side(newest: Binary) -> None:
    """Each has its own folder, processes and state."""
    made = plan_for(newest)

    async def both() -> list[Rehearsal]:
        return await asyncio.gather(*(rehearse(made, newest, newest, seed=1) for _ in range(2)))

    one, other = asyncio.run(both())
    assert one == other
    assert one.outcome == "survives"


def test_a_stale_copy_is_told_from_the_bitmap(newest: Binary) -> None:
    """A clean copy in the destination's image that comes up in place of what is left behind has other bits."""
    there = (*THERE[:1], node("q", "qcow2", stored=[stored("b1", clean=True)], file="f"), *THERE[2:])
    policy = {**SEPARATE, "map": [{"source": {"node-name": "q", "bitmap": "b1"}, "destination": None}]}
    made = plan_for(newest, policy, HERE, there)
    assert [one.code for one in made.refusals] == ["BM544"]
    found = run(made, newest, anyway=True)
    assert (happened(found), found.disagreements) == ({"b0": "arrived", "b1": "stale"}, ())

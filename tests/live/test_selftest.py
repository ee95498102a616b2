"""The experiments of `selftest` on every QEMU that is there, and on one that is not what it says it is."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING

import pytest

from bitmapmig import behaviour
from bitmapmig.behaviour import MEASURED
from bitmapmig.selftest import EXPERIMENTS, Experiment, NotApplicable, profile_of, run
from bitmapmig.selftest.end import null
from bitmapmig.throwaway import Binary as Program
from bitmapmig.throwaway import QemuRefusedError
from tests.live.other_qemu import claiming
from tests.live.qemu import Binary, binaries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from pathlib import Path

    from bitmapmig.profile import Answer, Profile
    from bitmapmig.selftest.lab import Lab

#: All experiments are made twice in one test, on a host that may be busy.
pytestmark = pytest.mark.timeout(300)

#: What 5.2 has not got: the filters that the behaviours are about, and what these would be seen by.
_NOT_THERE = {
    (5, 2): {
        behaviour.FILTERS["copy-before-write"].name,
        behaviour.PREALLOCATE_BELOW_FORMAT.name,
        behaviour.PREALLOCATE_WRITES_BEYOND.name,
    },
    (7, 2): {behaviour.PREALLOCATE_WRITES_BEYOND.name},
}
_ALL = pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)


@cache
def profile(binary: Binary) -> Profile:
    """The profile of a QEMU."""
    return asyncio.run(profile_of(Program.of(binary.path)))


def silent(profile: Profile) -> Profile:
    """The profile without the lines of logs, in which names are that QEMU generates."""
    answers = tuple(answer.model_copy(update={"log": ()}) for answer in profile.answers)
    return profile.model_copy(update={"answers": answers})


def told(profile: Profile, names: Collection[str]) -> list[tuple[str, str, str | None, str, tuple[str, ...]]]:
    """All that is known of some answers, for whoever reads of a failure."""
    return [(one.name, one.assumed, one.answer, one.reason, one.log) for one in profile.answers if one.name in names]


@_ALL
def test_a_qemu_does_what_the_model_takes_it_to_do(binary: Binary) -> None:
    """Every measured QEMU answers each experiment as the model says, and each that applies to it is answered."""
    assert profile(binary).qemu_version == binary.version
    assert told(profile(binary), profile(binary).differs) == []
    untried = {one.name for one in profile(binary).answers if one.answer is None}
    assert all(one.reason for one in profile(binary).answers if one.name in untried)
    assert len(EXPERIMENTS) - len(untried) >= 100


@_ALL
def test_every_behaviour_is_tried(binary: Binary) -> None:
    """A profile says of each switch of the model whether it harms: all that this QEMU has, and as the table has it."""
    tried = {one.name: one.assumed(Program.of(binary.path).version) for one in behaviour.ALL}
    for name in _NOT_THERE.get(binary.release, ()):
        del tried[name]
    assert profile(binary).behaviours == tried


@_ALL
def test_a_profile_is_the_same_when_it_is_made_again(binary: Binary) -> None:
    """Nothing but the lines of logs is another the second time."""
    again = asyncio.run(profile_of(Program.of(binary.path)))
    assert silent(again).model_dump_json() == silent(profile(binary)).model_dump_json()


@_ALL
def test_a_qemu_that_is_not_what_it_says_is_found_out(binary: Binary, tmp_path: Path) -> None:
    """Of a QEMU that claims another version just those behaviours differ in which the two do, as they really are."""
    real, claimed = Program.of(binary.path), neighbour(binary.release)
    found = asyncio.run(profile_of(Program.of(claiming(binary.path, claimed, tmp_path))))
    assert found.qemu_version == claimed != binary.version
    version = tuple(map(int, claimed.split(".")))
    tried = [one for one in behaviour.ALL if one.name in found.behaviours]
    assert found.behaviours == {one.name: one.assumed(real.version) for one in tried}
    other = {one.name for one in tried if one.assumed(real.version) != one.assumed((version[0], version[1], 0))}
    assert other
    wanted = [one.name for one in found.answers if one.behaviour in other]
    assert told(found, {*found.differs} ^ {*wanted}) == []


def neighbour(release: tuple[int, int]) -> str:
    """A version of the next release that was measured; of the one before where there is no next."""
    known = (*(one for one in MEASURED if one > release), *(one for one in MEASURED[::-1] if one < release))
    return "{}.{}.0".format(*known[0])


# experiments that go wrong


class Tried:
    """An experiment that goes wrong the first `times` in a way of its own, and then says yes."""

    def __init__(self, wrong: Callable[[Lab], Awaitable[str | NotApplicable]], times: int = 1) -> None:
        self.wrong, self.times, self.calls = wrong, times, 0

    async def __call__(self, lab: Lab) -> str | NotApplicable:
        """Be made."""
        self.calls += 1
        return await self.wrong(lab) if self.calls <= self.times else "yes"


async def refused(lab: Lab) -> str:
    """QEMU refuses a command."""
    source = await lab.start("source")
    await source.add(null("disk0"), null("disk0"))
    return "yes"


async def killed(lab: Lab) -> str:
    """QEMU dies."""
    source = await lab.start("source")
    await source.qemu.kill()
    await source.nodes()
    return "yes"


async def misread(lab: Lab) -> str:
    """A reply lacks what is looked for."""
    source = await lab.start("source")
    return str((await source.do("query-status"))["no such member"])


async def endless(lab: Lab) -> str:
    """What is waited for never comes."""
    await (await lab.start("source")).migrating("completed")
    return "yes"


async def inapplicable(_lab: Lab) -> NotApplicable:
    """The QEMU has not got it."""
    return NotApplicable("it has no such thing")


async def unlisted(_lab: Lab) -> str:
    """A driver is not on the list of those that the QEMU was built with, as Red Hat's is."""
    raise QemuRefusedError("blockdev-add", "Driver 'blkverify' is not whitelisted")


async def other(_lab: Lab) -> str:
    """The answer is another."""
    return "no"


def answers(*tried: Tried, says: Callable[[str], None] = lambda _: None) -> tuple[Answer, ...]:
    """What comes of these on the newest QEMU."""
    table = [Experiment(f"{n}", "section", "What?", "yes", one) for n, one in enumerate(tried)]
    program = Program.of(binaries()[-1].path)
    return asyncio.run(profile_of(program, experiments=table, says=says)).answers


@pytest.mark.parametrize(
    ("wrong", "patience", "reason"),
    [
        (refused, 10.0, "blockdev-add: "),
        (killed, 10.0, "the throw-away QEMU 'source' has ended: "),
        (misread, 10.0, "what it says is not understood: KeyError("),
        (endless, 1.0, "it was not over within 1 s"),
    ],
)
def test_an_experiment_that_fails_is_made_once_more(
    wrong: Callable[[Lab], Awaitable[str]], patience: float, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been chance; what fails twice has no answer but a reason, and does not agree."""
    monkeypatch.setattr(run, "PATIENCE", patience)
    once, twice = Tried(wrong), Tried(wrong, times=2)
    first, second = answers(once, twice)
    assert (once.calls, first.answer, first.agrees, first.reason) == (2, "yes", True, "")
    assert (twice.calls, second.answer, second.agrees) == (2, None, False)
    assert second.reason.startswith(reason)


@pytest.mark.parametrize(
    ("times", "answer", "agrees", "reason"),
    [
        (2, "no", False, ""),
        (1, "no", False, "it answers now this, now that: first no, then yes"),
    ],
)
def test_an_answer_that_differs_is_asked_for_once_more(times: int, answer: str, agrees: bool, reason: str) -> None:  # noqa: FBT001
    """Two equal answers count; one that the QEMU gives only now and then does as well, and the reason says so."""
    tried = Tried(other, times=times)
    (found,) = answers(tried)
    assert (tried.calls, found.answer, found.agrees, found.reason) == (2, answer, agrees, reason)


def test_what_does_not_apply_is_not_tried_again() -> None:
    """An experiment that this QEMU cannot be put to has no answer, for a reason."""
    tried = Tried(inapplicable), Tried(unlisted)
    without, lacking = answers(*tried)
    assert [one.calls for one in tried] == [1, 1]
    assert (without.answer, without.agrees, without.reason) == (None, True, "it has no such thing")
    assert (lacking.answer, lacking.agrees) == (None, True)
    assert "not whitelisted" in lacking.reason


def test_it_says_how_far_it_is() -> None:
    """Each experiment that is over is told of."""
    said: list[str] = []
    answers(Tried(other), Tried(inapplicable), says=said.append)
    assert said == ["1 of 2 experiments", "2 of 2 experiments"]

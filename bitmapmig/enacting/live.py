"""A scenario that real QEMUs went through -> a run as any other, in which reality is to be what was simulated."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from bitmapmig import codes
from bitmapmig.captures import printable
from bitmapmig.enacting.enact import enact
from bitmapmig.scenarios.checked import Run
from bitmapmig.scenarios.expect import Expectation, Judged, judge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.enacting.enact import Enacted
    from bitmapmig.scenarios.read import Scenario
    from bitmapmig.throwaway import Binary

#: What is expected of reality.
_AS_SIMULATED = "as simulated"


async def live(scenario: Scenario, binary: Binary) -> Run | None:
    """The scenario on throw-away QEMUs of `binary`; None where it is not about that version.

    Every expectation is judged by what is captured, and each step, and the start, is held against its simulation.
    Raises `CannotRunError` where the program does not start at all.
    """
    version = ".".join(map(str, binary.release))
    if version not in scenario.worlds:
        return None
    enacted = await enact(scenario, version, binary)
    found = (*judge(scenario, enacted.moments), *_alike(scenario, enacted, binary.told))
    return Run(scenario, binary.told, found, enacted.moments, live=True)


def _alike(scenario: Scenario, enacted: Enacted, version: str) -> Iterator[Judged]:
    """For the start and each step that was taken: whether reality is as simulated."""
    differences: defaultdict[int, list[str]] = defaultdict(list)
    for one in enacted.differences:
        step = -1 if one.step is None else one.step
        differences[step] += [f"{one.side}: {words}" for words in one.words]
    reached = max(len(enacted.moments) - 1, *(step + 1 for step in differences), 0)
    for step in range(-1, reached):
        expectation = Expectation(_keys(scenario, step), _AS_SIMULATED, step)
        words = differences.get(step)
        if words:
            where = scenario.where(*expectation.keys)
            said = printable("; ".join(words), 2000)
            problem = codes.REALITY_DIFFERS.at(where, version=version, differences=said)
            yield Judged(expectation, "failed", list(words), problem)
        elif step < len(enacted.moments) - 1:
            yield Judged(expectation, "passed", _AS_SIMULATED)
    if enacted.stopped is not None:
        step = min(len(enacted.moments) - 1, len(scenario.operations) - 1)
        expectation = Expectation(_keys(scenario, step), _AS_SIMULATED, step)
        where = scenario.where(*expectation.keys)
        problem = codes.NOT_ENACTED.at(where, version=version, reason=printable(enacted.stopped, 2000))
        yield Judged(expectation, "failed", None, problem)


def _keys(scenario: Scenario, step: int) -> tuple[str | int, ...]:
    return ("start",) if step < 0 else ("steps", step, scenario.operations[step].word)

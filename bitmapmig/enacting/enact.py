"""A scenario on real QEMUs: the same steps, the same expectations, and where reality is not what was simulated.

A job that has little to copy may have ended where it is simulated to run on. Where a later step says that it ends, what
is there is not compared before that step, and is taken to be what is simulated.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bitmapmig import codes
from bitmapmig.changes import unlike
from bitmapmig.enacting.stage import Stage
from bitmapmig.enacting.words import NotEnactedError
from bitmapmig.scenarios.run import Moment, World, run
from bitmapmig.throwaway import NotBuiltError, QemuGoneError, QemuRefusedError, private_folder
from bitmapmig.transforms.jobs import at_rest

if TYPE_CHECKING:
    from bitmapmig.diagnostics import Side
    from bitmapmig.graph import BlockGraph
    from bitmapmig.scenarios.read import Scenario
    from bitmapmig.throwaway import Binary

#: Seconds that a QEMU has to come to rest after a step.
_REST = 10.0
#: Statuses of a job that does nothing any more but end.
_ENDING = ("waiting", "pending", "aborting", "concluded", "null")


@dataclass(frozen=True, slots=True)
class Difference:
    """What is otherwise on a real QEMU after step number `step` (from 0; None at the start), in words."""

    step: int | None
    side: Side
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Enacted:
    """A scenario as real QEMUs have gone through it.

    `moments` are as those of `scenarios.run`, with the graphs that were captured. `stopped` is why it was not enacted
    to its end; a difference may be why as well.
    """

    moments: tuple[Moment, ...]
    differences: tuple[Difference, ...]
    stopped: str | None = None


async def enact(scenario: Scenario, version: str, binary: Binary) -> Enacted:
    """Go through a scenario on throw-away QEMUs of `binary`, whose version is `version`.

    Raises `CannotRunError` where the program does not start at all.
    """
    enacting = _Enacting(run(scenario, version))
    with private_folder() as folder:
        async with AsyncExitStack() as stack:
            sides: tuple[Side, ...] = ("source", "destination")
            stages: dict[Side, Stage] = {
                side: Stage(binary, folder, side, stack, plugs=enacting.plugs(side))
                for side in sides
                if enacting.simulated[0].after.end(side) is not None
            }
            try:
                await enacting.go(stages)
            except (NotBuiltError, NotEnactedError, QemuGoneError, TimeoutError) as error:
                enacting.stopped = str(error)
    return Enacted(tuple(enacting.moments), tuple(enacting.differences), enacting.stopped)


class _Enacting:
    """A scenario while it is enacted."""

    def __init__(self, simulated: tuple[Moment, ...]) -> None:
        self.simulated = simulated
        self.moments: list[Moment] = []
        self.differences: list[Difference] = []
        self.stopped: str | None = None

    def plugs(self, side: Side) -> bool:
        """Whether a step plugs a guest device into that side."""
        return any(
            one.on == side and one.operation is not None and one.operation.word == "device_add"
            for one in self.simulated
        )

    async def go(self, stages: dict[Side, Stage]) -> None:
        """Begin, and take the steps as long as reality goes along."""
        world = self.simulated[0].after
        for side, stage in stages.items():
            end = world.end(side)
            assert end is not None  # noqa: S101
            await stage.begin(end.graph)
            world = await self._looked(None, side, stage, world)
        self.moments.append(Moment(None, world, world))
        for moment in self.simulated[1:]:
            before = world
            if not await self._taken(moment, stages[moment.on]):
                return
            if moment.refusal is None:
                world = await self._looked(moment.step, moment.on, stages[moment.on], moment.after, world)
            real = Moment(moment.step, before, world, moment.operation, moment.on, moment.refusal)
            self.moments.append(real)

    async def _taken(self, moment: Moment, stage: Stage) -> bool:
        """Take one step; whether it came to what was simulated, as far as taking and refusing go."""
        before, after = moment.before.end(moment.on), moment.after.end(moment.on)
        if moment.refusal is not None and moment.refusal.code == codes.OPERATION_NOT_SIMULATED.code:
            raise NotEnactedError(moment.refusal.message)
        assert moment.operation is not None  # noqa: S101
        assert before is not None  # noqa: S101
        assert after is not None  # noqa: S101
        try:
            await stage.do(moment.operation, before.graph, after.graph)
        except QemuRefusedError as error:
            if moment.refusal is None:
                self._differs(moment.step, moment.on, (f"QEMU refuses the step: {error.desc}",))
            return moment.refusal is not None
        if moment.refusal is not None:
            self._differs(moment.step, moment.on, ("QEMU takes the step, which was simulated to be refused",))
        return moment.refusal is None

    async def _looked(
        self, step: int | None, side: Side, stage: Stage, simulated: World, real: World | None = None
    ) -> World:
        """`real`, or the simulated world, with what is there on one side; a difference is noted."""
        end = simulated.end(side)
        assert end is not None  # noqa: S101
        if not at_rest(end.graph):
            # a real job may be past this moment already
            return (real or simulated).changed(side, end.graph)
        seen, words = await _looked_at(stage, end.graph, self._awaited(step, side))
        self._differs(step, side, words)
        return (real or simulated).changed(side, seen)

    def _awaited(self, step: int | None, side: Side) -> frozenset[str]:
        """The jobs on one side of which a step after `step` says how far they are."""
        later = self.simulated[1 if step is None else step + 2 :]
        told = [one.operation for one in later if one.on == side and one.operation is not None]
        events = [one.arguments for one in told if one.kind == "event"]
        return frozenset(str(arguments[key]) for arguments in events for key in ("device", "id") if key in arguments)

    def _differs(self, step: int | None, side: Side, words: tuple[str, ...]) -> None:
        if words:
            self.differences.append(Difference(step, side, words))


async def _looked_at(
    stage: Stage, simulated: BlockGraph, awaited: frozenset[str]
) -> tuple[BlockGraph, tuple[str, ...]]:
    """What is there, and what is otherwise about it, once nothing is or the time is over.

    `awaited` are the jobs that may have ended already.
    """
    running = {job.id for job in simulated.jobs if job.status == "running"} & awaited
    deadline = asyncio.get_running_loop().time() + _REST
    while True:
        seen = await stage.seen(simulated)
        if running - {job.id for job in seen.jobs if job.status not in _ENDING}:
            return simulated, ()
        words = unlike(simulated, seen)
        if not words or asyncio.get_running_loop().time() > deadline:
            return seen, words
        await asyncio.sleep(0.02)

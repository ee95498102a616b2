"""Scenario -> the block graphs after each of its steps: one moment follows another, until a step cannot be taken.

`Moment` is all that an expectation is judged by, so whoever takes the same steps on real QEMUs makes moments of what it
captures, and judges them in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bitmapmig import codes
from bitmapmig.transforms import OperationRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.behaviour import Release
    from bitmapmig.diagnostics import Diagnostic, Side
    from bitmapmig.graph import BlockGraph
    from bitmapmig.scenarios.read import Scenario
    from bitmapmig.transforms import Operation
    from bitmapmig.validate import End


@dataclass(frozen=True)
class World:
    """Both QEMUs at one time; `found` is what is wrong with the captures that they come from."""

    source: End
    destination: End | None
    found: tuple[Diagnostic, ...] = ()

    def end(self, side: Side) -> End | None:
        """One of the two."""
        return self.source if side == "source" else self.destination

    def changed(self, side: Side, graph: BlockGraph) -> World:
        """The same with another graph on one side."""
        if side == "source":
            return replace(self, source=replace(self.source, graph=graph))
        assert self.destination is not None  # noqa: S101
        return replace(self, destination=replace(self.destination, graph=graph))


@dataclass(frozen=True)
class Moment:
    """What there is after step number `step` (from 0; None at the start), and what there was right before.

    `refusal` is why the step was not taken; then nothing has changed. Where it says so although the scenario does not
    expect it, no moment follows.
    """

    step: int | None
    before: World
    after: World
    operation: Operation | None = None
    on: Side = "source"
    refusal: Diagnostic | None = None


def run(scenario: Scenario, version: str) -> tuple[Moment, ...]:
    """The moments of a scenario that behaves like `version`: the start, then one a step.

    A step that is refused as expected changes nothing and is followed by the next one; the last moment is that of a
    step that is refused against expectation, where there is one.
    """
    return tuple(_moments(scenario, scenario.worlds[version]))


def _moments(scenario: Scenario, world: World) -> Iterator[Moment]:
    yield Moment(None, world, world)
    for number, (step, operation) in enumerate(zip(scenario.document.steps, scenario.operations, strict=True)):
        before, refusal = world, None
        end = before.end(step.on)
        assert end is not None  # noqa: S101
        try:
            world = before.changed(step.on, operation.applied(end.graph, release(end)))
        except OperationRefusedError as error:
            refusal = error.diagnostics[0]
        yield Moment(number, before, world, operation, step.on, refusal)
        if refusal is not None and (step.refused is None or refusal.code == codes.OPERATION_NOT_SIMULATED.code):
            return


def release(end: End) -> Release:
    """The (major, minor) that the operations of one side behave like."""
    return end.state.version[:2]

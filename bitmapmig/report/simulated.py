"""Simulation -> lines: the steps, the graph before and after, what became of each bitmap, and what would keep it."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from bitmapmig.report.beside import MARK, beside
from bitmapmig.report.escape import escaped, named, placed
from bitmapmig.report.findings import UNLIMITED, Limits, findings
from bitmapmig.report.layout import counted, prose
from bitmapmig.report.structure import structure_lines
from bitmapmig.report.tree import UNICODE, Guides

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bitmapmig.plans.structure import Structure
    from bitmapmig.recipes import RecipeBitmap, RecipeCommand, RecipeEvent, Result
    from bitmapmig.simulating import (
        Simulated,
        SimulatedOperation,
        SimulatedPlan,
        SimulatedRecipe,
        SimulatedVerdict,
    )
    from bitmapmig.simulating.document import Hold
    from bitmapmig.transforms import Becoming
    from bitmapmig.transforms.becoming import Outcome

_OUTCOMES: dict[Outcome, tuple[str, str]] = {
    "is-lost": ("is lost", "bold red"),
    "turns-useless": ("turns useless", "bold red"),
    "turns-busy": ("turns busy", "yellow"),
    "moves": ("moves", "yellow"),
    "changes": ("changes", "yellow"),
    "is-new": ("is new", "green"),
    "stays": ("stays", "green"),
}
_COUNTED: dict[Outcome, str] = {
    "is-lost": "lost",
    "turns-useless": "useless",
    "turns-busy": "busy",
    "moves": "moved",
    "changes": "changed",
    "is-new": "new",
    "stays": "unchanged",
}
_RESULTS: dict[Result, tuple[str, str]] = {
    "exact": ("kept, exactly", "green"),
    "superset": ("kept, and more", "yellow"),
    "stays": ("stays", "green"),
    "lost": ("cannot be kept", "bold red"),
}
_HOLDS: dict[Hold, tuple[str, str]] = {
    "holds": ("the plan holds", "bold green"),
    "stale": ("the plan is stale: plan again after these steps", "bold yellow"),
    "refused": ("a plan after these steps is refused", "bold red"),
    "mended": ("only after these steps can it be planned", "bold green"),
}


class _Room(NamedTuple):
    """What the lines have to fit: `width` is in terminal cells."""

    width: int
    limits: Limits
    guides: Guides


def simulated_lines(
    made: Simulated, width: int, limits: Limits = UNLIMITED, guides: Guides = UNICODE
) -> Iterator[Text]:
    """A simulation for people; `width` is in terminal cells. Commands to be pasted are never folded."""
    room = _Room(width, limits, guides)
    yield from _verdict(made, width)
    yield from _steps(made, room)
    yield from _both(made.before, made.after, "After", room)
    yield from _bitmaps(made.bitmaps, width, limits)
    if made.plan is not None:
        yield from _plan(made.plan, width, limits)
    for recipe in made.recipes:
        yield from _recipe(recipe, width)


def _heading(words: str) -> Iterator[Text]:
    yield Text()
    yield Text(words, "bold")


def _verdict(made: Simulated, width: int) -> Iterator[Text]:
    count = Counter(one.outcome for one in made.bitmaps)
    parts = [f"{number:,} {_COUNTED[outcome]}" for outcome in _OUTCOMES if (number := count[outcome])]
    words = f"{counted(len(made.bitmaps), 'bitmap')}{': ' if parts else ''}{', '.join(parts)}"
    if made.refusal is not None:
        refused = next(n for n, step in enumerate(made.steps, 1) if any(one.refusal for one in step.operations))
        words = f"step {refused} of {len(made.steps)}, nothing after it was taken; until then {words}"
    title = ("REFUSED", "bold red") if made.verdict == "refused" else ("SIMULATED", "bold green")
    yield from prose(Text.assemble(title, f": {words}"), width)
    like = f"QEMU {escaped(made.qemu_version)}"
    if not made.qemu_version.startswith(f"{made.release}."):
        like += f", as if it were {escaped(made.release)}"
    yield from prose(f"{like}, {escaped(made.endpoint)}", width, "  ")
    if made.remark:
        yield from prose(escaped(made.remark, backslash=False), width, "  ")
    if made.refusal is not None:
        yield Text()
        yield from findings([made.refusal], width)


# the steps


def _steps(made: Simulated, room: _Room) -> Iterator[Text]:
    yield from _heading("Steps")
    before = made.before
    for number, step in enumerate(made.steps, 1):
        state = "" if step.operations else "  not taken"
        yield from prose(Text.assemble(escaped(step.given), (state, "dim")), room.width, f"  {number}. ", "     ")
        for one in step.operations:
            if one.note:
                yield Text(f"     # {escaped(one.note)}", "dim")
            if one.first is not None:
                yield Text(f"     {_sent(one.first)}", "dim")
            yield Text.assemble("     ", ("" if one.refusal is None else "refused: ", "red"), (_command(one), "dim"))
            if one.structure is not None:
                yield from _after_each(one, before, room)
                before = one.structure


def _after_each(one: SimulatedOperation, before: Structure, room: _Room) -> Iterator[Text]:
    if one.structure is None or one.structure == before:
        yield Text("     the graph stays as it is", "dim")
    else:
        yield from _both(before, one.structure, f"After {escaped(one.operation)}", room)
    for became in one.bitmaps:
        yield from _became(became, room.width, "     ")
    yield Text()


def _both(before: Structure, after: Structure, title: str, room: _Room) -> Iterator[Text]:
    """Two graphs beside one another, or one below the other; once where both look alike."""
    lines = [structure_lines(one, room.width - MARK, room.limits, room.guides) for one in (before, after)]
    if [line.plain for line in lines[0]] == [line.plain for line in lines[1]]:
        yield from _heading(f"Before and {title[:1].lower()}{title[1:]}")
        yield from (Text.assemble(" " * MARK, line) for line in lines[0])
        return
    yield from beside(lines[0], lines[1], ("Before", title), room.width)


def _command(one: SimulatedOperation) -> str:
    """An operation as it is sent, in one line; an event as one that is waited for."""
    if one.kind == "event":
        return f"# wait for {escaped(one.operation)} {_json(one.arguments)}"
    if one.kind == "process":
        return f"# {escaped(one.operation)}"
    return _json({"execute": one.operation, **({"arguments": one.arguments} if one.arguments else {})})


def _sent(command: RecipeCommand) -> str:
    return _json(command.model_dump(mode="json", exclude_defaults=True))


def _json(value: object) -> str:
    """JSON on one line, ASCII only."""
    return json.dumps(value).replace("\x7f", "\\u007f")


# the bitmaps


def _bitmaps(bitmaps: Sequence[Becoming], width: int, limits: Limits) -> Iterator[Text]:
    if not bitmaps:
        return
    yield from _heading("Bitmaps")
    order = list(_OUTCOMES)
    shown = sorted(bitmaps, key=lambda one: order.index(one.outcome))
    for one in shown[: limits.rows]:
        yield from _became(one, width, "  ")
    if limits.rows is not None and len(shown) > limits.rows:
        yield Text(f"  ... and {len(shown) - limits.rows:,} more; --all shows them", "dim")


def _became(one: Becoming, width: int, indent: str) -> Iterator[Text]:
    word, style = _OUTCOMES[one.outcome]
    line = Text.assemble(placed(one.node, one.bitmap), " ", (word, style), f": {escaped(one.reason, backslash=False)}")
    yield from prose(line, width, indent, f"{indent}  ")


# the plan


def _plan(plan: SimulatedPlan, width: int, limits: Limits) -> Iterator[Text]:
    yield from _heading(f"A plan for {escaped(plan.destination)}")
    words, style = _HOLDS[plan.outcome]
    yield from prose(Text(words, style), width, "  ")
    for when, verdict in (("before", plan.before), ("after", plan.after), ("after, by the recipes", plan.followed)):
        if verdict is not None:
            yield from prose(f"{when}: {_planned(verdict)}", width, "  ", "    ")
    if plan.after.refusals:
        yield from findings(plan.after.refusals, width, limits)


def _planned(verdict: SimulatedVerdict) -> str:
    causes = sorted({one.code for one in verdict.refusals})
    advice = sorted({one.code for one in verdict.advice})
    migrating = counted(verdict.migrating, "bitmap migrates", "bitmaps migrate")
    words = f"refused: {', '.join(causes)}" if causes else f"planned, {migrating}"
    return f"{words}{'; advice: ' if advice else ''}{', '.join(advice)}"


# the recipes


def _recipe(recipe: SimulatedRecipe, width: int) -> Iterator[Text]:
    yield from _heading(f"How to do step {recipe.step}, {escaped(recipe.operation)}, for the bitmaps' sake")
    for one in recipe.bitmaps:
        yield from prose(_kept(one), width, "  ", "    ")
    if recipe.remark:
        yield from prose(Text(escaped(recipe.remark, backslash=False), "dim"), width, "  ")
    for step in recipe.steps:
        if step.note:
            yield Text(f"# {escaped(step.note)}", "dim")
        wait = "" if step.after is None else f"wait for {_event(step.after)}, then: "
        yield from prose(Text(f"{wait}{escaped(step.does, backslash=False)}", "dim"), width, "# ", "# ")
        yield Text(_sent(step.command))


def _kept(one: RecipeBitmap) -> Text:
    word, style = _RESULTS[one.result]
    moved = f" on {named(one.kept_on)}" if one.kept_on is not None and one.kept_on != one.node else ""
    line = Text.assemble(placed(one.node, one.bitmap), " ", (word, style), moved)
    return line.append(f": {escaped(one.reason, backslash=False)}")


def _event(event: RecipeEvent) -> str:
    data = f" {_json(event.data)}" if event.data else ""
    return f"{event.event}{data}"

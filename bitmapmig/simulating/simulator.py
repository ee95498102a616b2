"""Steps taken one after the other, on the graph of a capture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bitmapmig import codes, graph, state, transforms
from bitmapmig.behaviour import MEASURED
from bitmapmig.diagnostics import BitmapmigError, CannotRunError, Diagnostic, Severity, Where
from bitmapmig.planner import plan_between
from bitmapmig.plans.structure import structure
from bitmapmig.policy import Policy
from bitmapmig.recipes import RecipeCommand, RecipeStep
from bitmapmig.simulating.document import (
    Hold,
    Simulated,
    SimulatedOperation,
    SimulatedPlan,
    SimulatedRecipe,
    SimulatedStep,
    SimulatedVerdict,
)
from bitmapmig.simulating.keeping import CANCELLING, COMPLETING, Keeping, job_of
from bitmapmig.simulating.spelling import Spelled, check_text, check_whole, check_word, spelled
from bitmapmig.simulating.stories import STORIES, story
from bitmapmig.transforms import OperationRefusedError, becomes
from bitmapmig.validate import End

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bitmapmig.behaviour import Release
    from bitmapmig.captures import Capture
    from bitmapmig.graph import BlockGraph
    from bitmapmig.plans import Plan
    from bitmapmig.resolve import RuleSet
    from bitmapmig.state import State
    from bitmapmig.transforms import Operation


@dataclass(frozen=True, slots=True)
class _Options:
    """What `simulate` takes besides the capture and the steps."""

    release: Release | None
    rules: RuleSet | None
    each: bool
    destination: Capture | None
    policy: Policy
    provisional: bool

    @property
    def addresses(self) -> RuleSet:
        """The rule set that gives addresses."""
        return self.rules or self.policy.resolve or "explicit"


def simulate(
    capture: Capture,
    steps: Sequence[str],
    *,
    release: Release | None = None,
    rules: RuleSet | None = None,
    each: bool = False,
    destination: Capture | None = None,
    policy: Policy | None = None,
    provisional: bool = False,
) -> Simulated:
    """What the steps, in any of the three spellings, would do to the QEMU of `capture`, until one is refused.

    It behaves like QEMU `release` (major, minor), else like its own; `rules` give addresses. With `each` the document
    has the graph after each operation. With a `destination` it says whether a plan by `policy` still holds.

    Raises `CannotRunError`: BM251, BM252 and BM254 for a step that cannot be simulated, with its place; BM108 and BM111
    for a capture that cannot be evaluated, and what is found wrong with the graph of a capture that is not genuine.
    """
    options = _Options(release, rules, each, destination, policy or Policy(), provisional)
    for number, text in enumerate(steps, 1):
        check_whole(text, Where(key=f"step {number}"))
    before, found = graph.read(capture, "source")
    if any(one.severity is Severity.REFUSAL for one in found):
        raise CannotRunError(*found)
    now = state.read(capture)
    run = _Run(before, release or now.version[:2], options)
    for number, text in enumerate(steps, 1):
        run.take(number, text)
    recipes, followed = run.keeping()
    return Simulated(
        verdict="refused" if run.refused else "simulated",
        endpoint=now.endpoint,
        qemu_version=now.version_text,
        release=_dotted(run.release),
        remark=_unmeasured(run.release),
        resolve=options.addresses,
        steps=tuple(run.steps),
        before=structure(before),
        after=structure(run.graph),
        bitmaps=becomes(before, run.graph, options.addresses),
        recipes=tuple(recipes),
        followed=structure(followed) if followed is not None and recipes else None,
        plan=_planned((before, run.graph, followed if recipes else None), now, options),
    )


@dataclass(frozen=True, slots=True)
class _Taken:
    """An operation of step `number` that was taken."""

    number: int
    operation: Operation
    spelling: Spelled


class _Run:
    """The steps so far."""

    def __init__(self, start: BlockGraph, release: Release, options: _Options) -> None:
        self.graph = self._start = start
        self.release = release
        self.options = options
        self.steps: list[SimulatedStep] = []
        self.refused = False
        self._taken: list[_Taken] = []

    def take(self, number: int, text: str) -> None:
        """Take a step, or none after one that was refused; what cannot be read is an error all the same."""
        where = Where(key=f"step {number}")
        check_text(text, where)
        if self.refused:
            self.steps.append(SimulatedStep(given=text))
            return
        told = story(text, self.graph, where)
        if told is None:
            check_word(text, tuple(STORIES), sorted(transforms.OPERATIONS), where)
        spellings = (spelled(text, where),) if told is None else told
        done: list[SimulatedOperation] = []
        for one in spellings:
            done.append(self._operate(number, one, where))
            if done[-1].refusal is not None:
                break
        self.steps.append(SimulatedStep(given=text, operations=tuple(done)))

    def _operate(self, number: int, one: Spelled, where: Where) -> SimulatedOperation:
        operation = transforms.read(one.word, one.arguments, where)
        before = self.graph
        self._taken.append(_Taken(number, operation, one))
        told = SimulatedOperation(
            operation=operation.word,
            kind=operation.kind,
            arguments=operation.arguments,
            note=one.note,
            first=one.first,
        )
        try:
            self.graph = operation.applied(before, self.release)
        except OperationRefusedError as error:
            found = [_placed(diagnostic, where) for diagnostic in error.diagnostics]
            if any(diagnostic.code == codes.OPERATION_NOT_SIMULATED.code for diagnostic in found):
                raise CannotRunError(*found) from error
            self.refused = True
            self._taken.pop()
            return told.model_copy(update={"refusal": found[0]})
        became = becomes(before, self.graph, self.options.addresses)
        return told.model_copy(
            update={
                "bitmaps": tuple(one for one in became if one.outcome != "stays"),
                "structure": structure(self.graph) if self.options.each else None,
            }
        )

    def keeping(self) -> tuple[list[SimulatedRecipe], BlockGraph | None]:
        """A recipe for each operation that has one, and the graph after all steps where they are followed.

        The graph is None, and no more recipes are made, where a recipe stands in the way of a later step.
        """
        completed = self._jobs(COMPLETING)
        keeping = Keeping(self._start, self.release, self._jobs(CANCELLING) - completed)
        found: list[SimulatedRecipe] = []
        earlier: list[_Taken] = []
        for taken in self._taken:
            earlier = [one for one in earlier if one.number == taken.number]
            made = keeping.recipe(taken.operation)
            if made is None:
                earlier.append(taken)
            else:
                steps = (*_preparing(earlier), *made.steps) if made.steps else ()
                found.append(SimulatedRecipe(step=taken.number, **{**dict(made), "steps": steps}))
                earlier = []
            try:
                keeping.take(taken.operation, made)
            except BitmapmigError:
                return found, None
        return found, keeping.graph

    def _jobs(self, words: frozenset[str]) -> frozenset[str]:
        """The ids of the jobs to which one of the commands was given."""
        return frozenset(str(job_of(taken.operation)) for taken in self._taken if taken.operation.word in words)


def _preparing(earlier: Iterable[_Taken]) -> Iterator[RecipeStep]:
    """The commands that a step of the user has before an operation, as steps of its recipe."""
    for taken in earlier:
        operation, spelling = taken.operation, taken.spelling
        if operation.kind == "command":
            command = RecipeCommand(execute=operation.word, arguments=operation.arguments)
            yield RecipeStep(note=spelling.note, command=command, does="make what the operation needs")


def _unmeasured(release: Release) -> str:
    """What was measured, where `release` was not."""
    if release in MEASURED:
        return ""
    *most, last = map(_dotted, MEASURED)
    return f"what operations do was measured on QEMU {', '.join(most)} and {last}, and not on {_dotted(release)}"


def _dotted(release: Release) -> str:
    return ".".join(map(str, release))


def _placed(found: Diagnostic, where: Where) -> Diagnostic:
    """A finding about a graph, at a step."""
    return found.model_copy(update={"where": found.where.model_copy(update={"key": where.key})})


def _planned(
    graphs: tuple[BlockGraph, BlockGraph, BlockGraph | None], now: State, options: _Options
) -> SimulatedPlan | None:
    """Whether a plan for the destination is still one: `graphs` before, after, and after with recipes followed."""
    if options.destination is None:
        return None
    there, found = graph.read(options.destination, "destination")
    destination = End("destination", there, state.read(options.destination))
    if options.release is not None:
        now = replace(now, version=(*options.release, 0))
    policy = options.policy.model_copy(update={"resolve": options.addresses})
    plans = [
        plan_between(End("source", one, now), destination, policy, found, provisional=options.provisional)
        for one in graphs
        if one is not None
    ]
    first, last, *kept = map(_verdict, plans)
    return SimulatedPlan(
        outcome=_outcome(first, last),
        destination=destination.state.endpoint,
        before=first,
        after=last,
        followed=kept[0] if kept else None,
    )


def _verdict(made: Plan) -> SimulatedVerdict:
    return SimulatedVerdict(
        verdict=made.verdict,
        migrating=sum(made.verdict == "planned" and one.fate in ("migrate", "by-storage") for one in made.bitmaps),
        fingerprint=made.source.fingerprint,
        refusals=made.refusals,
        advice=made.advice,
        commands=made.commands,
    )


def _outcome(first: SimulatedVerdict, last: SimulatedVerdict) -> Hold:
    if last.verdict == "refused":
        return "refused"
    if first.verdict == "refused":
        return "mended"
    return "holds" if (first.fingerprint, first.commands) == (last.fingerprint, last.commands) else "stale"

"""What a simulation comes to: the graph before and after, what became of each bitmap, and what would have kept it."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue

from bitmapmig.diagnostics import Diagnostic
from bitmapmig.plans.document import Commands
from bitmapmig.plans.structure import Structure
from bitmapmig.recipes import Recipe, RecipeCommand
from bitmapmig.resolve import RuleSet
from bitmapmig.transforms import Becoming


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SimulatedOperation(_Part):
    """One QMP command, QMP event or end of a process; `refusal` says why QEMU would not do it, then nothing follows.

    `structure` is the graph after it, where each was asked for; `bitmaps` are those of which something became. `note`
    is what has to be done before, outside of QEMU: a command for a shell. `first` is a QMP command that is sent before
    and changes no block graph.
    """

    operation: str
    kind: Literal["command", "event", "process"]
    arguments: dict[str, JsonValue]
    note: str = ""
    first: RecipeCommand | None = None
    refusal: Diagnostic | None = None
    bitmaps: tuple[Becoming, ...] = ()
    structure: Structure | None = None


class SimulatedStep(_Part):
    """A step as it was given, and the operations that it stands for; none where it was not come to."""

    given: str
    operations: tuple[SimulatedOperation, ...] = ()


class SimulatedRecipe(Recipe):
    """A recipe for an operation of step number `step`, counted from 1.

    Its `steps` begin with what that step does before the operation, such as opening the target of a mirror.
    """

    step: int


class SimulatedVerdict(_Part):
    """What comes of planning at one moment: how many bitmaps migrate, in the stream or in a shared image.

    `fingerprint` is over what of the source the plan depends on.
    """

    verdict: Literal["planned", "refused"]
    migrating: int
    fingerprint: str
    refusals: tuple[Diagnostic, ...]
    advice: tuple[Diagnostic, ...]
    commands: Commands


#: `holds`: the same plan; `stale`: another one has to be made; `refused`: none can be; `mended`: only now one can be.
Hold: TypeAlias = Literal["holds", "stale", "refused", "mended"]


class SimulatedPlan(_Part):
    """Whether the plan that was made before the steps is one for what is there after them.

    `followed` is what comes of planning after the steps where the recipes were followed.
    """

    outcome: Hold
    destination: str
    before: SimulatedVerdict
    after: SimulatedVerdict
    followed: SimulatedVerdict | None = None


class Simulated(_Part):
    """The whole document. `release` is the QEMU that was simulated; `after` is where the steps have led so far.

    `verdict` is `refused` where QEMU would refuse an operation. `followed` is the graph after the steps where the
    recipes are followed; None without recipes, and where a recipe stands in the way of a later step. `remark` says on
    which releases was measured what operations do, where `release` is none of them.
    """

    format_version: Literal[1] = 1
    verdict: Literal["simulated", "refused"]
    endpoint: str
    qemu_version: str
    release: str
    remark: str = ""
    resolve: RuleSet
    steps: tuple[SimulatedStep, ...]
    before: Structure
    after: Structure
    bitmaps: tuple[Becoming, ...]
    recipes: tuple[SimulatedRecipe, ...]
    followed: Structure | None = None
    plan: SimulatedPlan | None = None

    @property
    def refusal(self) -> Diagnostic | None:
        """Why QEMU would refuse an operation."""
        found = (one.refusal for step in self.steps for one in step.operations)
        return next((one for one in found if one is not None), None)

"""The same steps with every recipe followed: the graph on which the next recipe builds.

The steps of a recipe are taken where its events come. What the story does with a job that a recipe looks after is left
to the recipe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig import transforms
from bitmapmig.recipes import recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bitmapmig.behaviour import Release
    from bitmapmig.graph import BlockGraph
    from bitmapmig.recipes import Recipe, RecipeEvent, RecipeStep
    from bitmapmig.transforms import Operation

#: Words by which a job is asked to complete, or to end otherwise.
COMPLETING = frozenset(("block-job-complete", "job-complete"))
CANCELLING = frozenset(("block-job-cancel", "job-cancel"))
_READY, _COMPLETED = "BLOCK_JOB_READY", "BLOCK_JOB_COMPLETED"
#: What a recipe can only mend afterwards.
_MENDED = "crash-and-restart"


class Keeping:
    """A graph with the recipes followed so far; `cancelled` are the jobs that end without having been completed."""

    def __init__(self, start: BlockGraph, release: Release, cancelled: frozenset[str]) -> None:
        self.graph = start
        self._release = release
        self._cancelled = cancelled
        #: by job what is left of its recipe
        self._left: dict[str, list[RecipeStep]] = {}

    def recipe(self, operation: Operation) -> Recipe | None:
        """The recipe of an operation that comes now; none for a job that has one, or is cancelled later."""
        job = job_of(operation)
        if job is not None and (job in self._left or job in self._cancelled):
            return None
        return recipe(self.graph, operation.word, operation.arguments)

    def take(self, operation: Operation, made: Recipe | None) -> None:
        """Do an operation by its recipe, where it has one.

        Raises `BitmapmigError` where the graph in which bitmaps were kept does not allow it.
        """
        job = job_of(operation)
        if job is not None and job in self._left:
            self._go_on(operation, job)
            return
        steps = list(made.steps) if made is not None else []
        if operation.word == _MENDED or not steps:
            self._apply(operation)
        left = self._run(steps, operation)
        if job is not None and left:
            self._left[job] = left
        if steps and operation.word != _MENDED and not any(_does(step, operation.word) for step in steps):
            self._apply(operation)

    def _go_on(self, operation: Operation, job: str) -> None:
        """A job that a recipe looks after is told something, or tells something."""
        left = self._left[job]
        if operation.word == _READY:
            self._apply(operation)
            if left[0].after is not None and left[0].after.event == _READY:
                left[0] = left[0].model_copy(update={"after": None})
        elif operation.word in COMPLETING:
            self._left[job] = self._run(left)
        elif operation.word == _COMPLETED:
            del self._left[job]
            self._finish(left, operation)
        else:
            del self._left[job]
            self._apply(operation)

    def _finish(self, left: Sequence[RecipeStep], ended: Operation) -> None:
        """Take all that is left, and let the job end."""
        over = False
        for step in left:
            if step.after is not None and step.after.event == _COMPLETED:
                self._apply(ended)
                over = True
            elif step.after is not None:
                self._tell(step.after)
            self._step(step)
        if not over:
            self._apply(ended)

    def _run(self, steps: Sequence[RecipeStep], operation: Operation | None = None) -> list[RecipeStep]:
        """Take the steps before which nothing is waited for; those that are left."""
        for number, step in enumerate(steps):
            if step.after is not None:
                return list(steps[number:])
            self._step(step, operation)
        return []

    def _step(self, step: RecipeStep, operation: Operation | None = None) -> None:
        command = step.command
        if operation is not None and command.execute == operation.word != "transaction":
            # what is not sent to QEMU, such as what an image holds, is in the operation alone
            new = {key: value for key, value in command.arguments.items() if key not in operation.arguments}
            self._apply(operation.model_copy(update={key.replace("-", "_"): value for key, value in new.items()}))
        else:
            self._apply(transforms.read(command.execute, command.arguments))

    def _tell(self, event: RecipeEvent) -> None:
        self._apply(transforms.read(event.event, event.data))

    def _apply(self, operation: Operation) -> None:
        self.graph = operation.applied(self.graph, self._release)


def job_of(operation: Operation) -> str | None:
    """The id of the job that an operation begins, asks for something, or tells of."""
    arguments = operation.arguments
    if operation.kind == "event" or operation.word in COMPLETING | CANCELLING:
        return str(arguments.get("device") or arguments.get("id"))
    if "job_id" in type(operation).model_fields:
        return str(arguments.get("job-id") or arguments.get("device"))
    return None


def _does(step: RecipeStep, word: str) -> bool:
    """Whether a step does the operation itself, alone or in a transaction."""
    command = step.command
    listed = command.arguments.get("actions") if command.execute == "transaction" else None
    actions = listed if isinstance(listed, list) else []
    return command.execute == word or any(isinstance(one, dict) and one.get("type") == word for one in actions)

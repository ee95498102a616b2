"""What a recipe is: QMP commands in order, when each is sent, and what each bitmap is afterwards."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue

#: `exact` is bit for bit what was written, `superset` that and more; `lost` has no way, `stays` needs none.
Result: TypeAlias = Literal["exact", "superset", "stays", "lost"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RecipeEvent(_Part):
    """A QMP event that is waited for: its name, and members that its data have."""

    event: str
    data: dict[str, str] = {}


class RecipeCommand(_Part):
    """A QMP command as it goes over the wire."""

    execute: str
    arguments: dict[str, JsonValue] = {}


class RecipeStep(_Part):
    """A command; `after` is what is waited for before it is sent, `does` says in words what it is for.

    `note` is what has to be done before it, outside of QEMU: a command for a shell.
    """

    after: RecipeEvent | None = None
    note: str = ""
    command: RecipeCommand
    does: str


class RecipeBitmap(_Part):
    """What becomes of a bitmap that is at `node` before: it is at `kept_on` afterwards, under its own name.

    `reason` is a sentence without its full stop.
    """

    node: str
    bitmap: str
    result: Result
    kept_on: str | None = None
    reason: str


class Recipe(_Part):
    """How one operation is done so that bitmaps keep their content: the operation itself is among the steps.

    Without steps there is nothing to do, or no way: `bitmaps` say which. `remark` is what a person should know.
    """

    operation: str
    bitmaps: tuple[RecipeBitmap, ...]
    steps: tuple[RecipeStep, ...] = ()
    remark: str = ""

"""An operation on a graph -> the QMP commands, in order, that do it so that each bitmap keeps its content.

Each recipe was followed on real QEMUs, and the bits compared with those of what was really written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from pydantic import JsonValue

from bitmapmig.recipes.commit import commit
from bitmapmig.recipes.document import Recipe, RecipeBitmap, RecipeCommand, RecipeEvent, RecipeStep, Result
from bitmapmig.recipes.ending import crashed, deleted, restarted, unplugged
from bitmapmig.recipes.jobs import backup, completed
from bitmapmig.recipes.layers import stream
from bitmapmig.recipes.mirror import mirrored
from bitmapmig.recipes.snapshot import snapshot, transacted

if TYPE_CHECKING:
    from bitmapmig.graph import BlockGraph

__all__ = [
    "RECIPES",
    "Recipe",
    "RecipeBitmap",
    "RecipeCommand",
    "RecipeEvent",
    "RecipeStep",
    "Result",
    "recipe",
]

_Maker: TypeAlias = Callable[["BlockGraph", str, Mapping[str, JsonValue]], Recipe | None]

#: What there are recipes for, by the word of the operation.
RECIPES: Mapping[str, _Maker] = {
    "blockdev-mirror": mirrored,
    "drive-mirror": mirrored,
    "block-job-complete": completed,
    "job-complete": completed,
    "blockdev-snapshot": snapshot,
    "blockdev-snapshot-sync": snapshot,
    "transaction": transacted,
    "block-commit": commit,
    "block-stream": stream,
    "blockdev-backup": backup,
    "drive-backup": backup,
    "device_del": unplugged,
    "blockdev-del": deleted,
    "shutdown-and-restart": restarted,
    "crash-and-restart": crashed,
}


def recipe(graph: BlockGraph, word: str, arguments: Mapping[str, JsonValue]) -> Recipe | None:
    """How an operation that is about to be done to `graph` is done instead, for the sake of the bitmaps.

    None where no bitmap is concerned, or where the operation does nothing to any. The operation must be one that QEMU
    does not refuse.
    """
    maker = RECIPES.get(word)
    return None if maker is None else maker(graph, word, arguments)

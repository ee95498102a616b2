"""Commits: what the layers hold is merged into the base while the job waits, before the layers go.

The base records what the job copies into it, which are whole clusters of the layers and not what was written. So its
own content is set aside before the job starts, and put back when nothing is copied any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig.recipes.actions import (
    Action,
    add,
    event,
    free_name,
    job_id,
    lookup,
    merge,
    one,
    step,
    stores,
    transaction,
    usable,
)
from bitmapmig.recipes.document import Recipe, RecipeBitmap, RecipeStep, Result
from bitmapmig.recipes.layers import TOGETHER, images_below

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from bitmapmig.graph import Bitmap, BlockGraph, Node

_COPIED = "with whole clusters of the layers, which the job copies: what was written is in it, and more"


def commit(graph: BlockGraph, word: str, arguments: Mapping[str, JsonValue]) -> Recipe | None:
    """The recipe of `block-commit`, of the active layer or of those below it."""
    root = lookup(graph, arguments.get("device"))
    images = images_below(graph, root) if root is not None else []
    names = [str(node.name) for node in images]
    if "top" in arguments or "base" in arguments or not images:
        return None  # images by their file names, which no graph tells
    top, base = arguments.get("top-node", names[0]), arguments.get("base-node", names[-1])
    if top not in names or base not in names or names.index(str(top)) >= names.index(str(base)):
        return None
    layers = images[names.index(str(top)) : names.index(str(base))]
    active = top == names[0]
    kept = _Kept(layers, images[names.index(str(base))], active=active)
    for name in sorted({bitmap.name for node in (*layers, kept.base) for bitmap in node.bitmaps}):
        kept.keep(name)
    if not kept.told:
        return None
    return Recipe(
        operation=word,
        bitmaps=tuple(kept.told),
        steps=_steps(kept, word, arguments) if kept.during else (),
        remark=TOGETHER if kept.during else "",
    )


def _steps(kept: _Kept, word: str, arguments: Mapping[str, JsonValue]) -> tuple[RecipeStep, ...]:
    identity = job_id(arguments)
    steps: list[RecipeStep] = []
    if kept.before:
        steps.append(transaction(kept.before, "prepare the bitmaps of the base, before the job writes to it"))
    steps.append(step(word, {**arguments, "auto-finalize": False}, "start the commit so that it waits before its end"))
    if kept.active:
        ready = event("BLOCK_JOB_READY", device=identity)
        steps.append(
            step("block-job-complete", {"device": identity}, "end the copying, once you want the pivot", ready)
        )
    pending = event("BLOCK_JOB_PENDING", id=identity)
    steps.append(transaction(kept.during, "merge what the layers hold into the bitmaps of the base", pending))
    steps.append(step("block-job-finalize", {"id": identity}, "let the job end, and the layers go"))
    return tuple(steps)


class _Kept:
    """The bitmaps of a base and of the layers above it, by name; `layers` have the top first."""

    def __init__(self, layers: list[Node], base: Node, *, active: bool) -> None:
        self.layers = layers
        self.base = base
        self.active = active
        self.before: list[Action] = []
        self.during: list[Action] = []
        self.told: list[RecipeBitmap] = []

    def keep(self, name: str) -> None:
        """Find out what becomes of the bitmaps of that name, and what is to be done."""
        base, held = self.base, [(node, bitmap) for node in self.layers if (bitmap := node.bitmap(name))]
        own = base.bitmap(name)
        obstacle = self._obstacle(own, held)
        if obstacle is not None:
            for node, bitmap in [*held, *([(base, own)] if own else [])]:
                self._tell(node, bitmap, "lost", obstacle)
        elif own is None:
            self._brought(name, held)
        else:
            self._joined(own, held)

    def _obstacle(self, own: Bitmap | None, held: list[tuple[Node, Bitmap]]) -> str | None:
        for node, bitmap in [*held, *([(self.base, own)] if own else [])]:
            if why := usable(bitmap):
                return f"the one of {node.name!r} cannot be used: {why}"
            if node.virtual_size != self.base.virtual_size:
                return f"{node.name!r} and {self.base.name!r} have different virtual sizes: such bitmaps are not merged"
        if own is None and self.base.stored_bitmap(held[0][1].name):
            return f"the image of {self.base.name!r} holds one of that name that is not loaded"
        return None

    def _brought(self, name: str, held: list[tuple[Node, Bitmap]]) -> None:
        """The base has none of that name: it gets one."""
        base, like = self.base, held[0][1]
        persistent = like.persistent and stores(base)
        sources: list[tuple[str, str]] = [(node.name, bitmap.name) for node, bitmap in held]
        gap = next((node for node in self.layers[: self.layers.index(held[-1][0])] if node.bitmap(name) is None), None)
        self.during.append(add(base.name, like, persistent=persistent, recording=like.recording))
        result: Result = "exact"
        reason = "made on the base while the job waits, with what the layers hold"
        if gap is not None and like.recording:
            # what was written to that layer is in no bitmap, but the job copies it
            recorder = free_name(base, name)
            self.before.append(add(base.name, like, name=recorder, persistent=False, recording=True))
            sources.append((base.name, recorder))
            result = "superset"
            reason = f"made on the base, {_COPIED} ({gap.name!r} has no bitmap of that name)"
        self.during.append(merge(base.name, name, sources))
        if result == "superset":
            self.during.append(one("remove", base.name, sources[-1][1]))
        if like.persistent and not persistent:
            reason += f"; no longer persistent, because {base.name!r} stores no bitmaps"
        for node, bitmap in held:
            self._tell(node, bitmap, result, reason)

    def _joined(self, own: Bitmap, held: list[tuple[Node, Bitmap]]) -> None:
        """The base has one of that name: what the layers hold comes to it."""
        base, name = self.base, own.name
        sources = [(node.name, bitmap.name) for node, bitmap in held]
        if len(held) < len(self.layers):
            self._recorded(own, held)
            return
        if own.recording:
            aside = free_name(base, name)
            self.before += [
                add(base.name, own, name=aside, persistent=False, recording=False),
                merge(base.name, aside, [(base.name, name)]),
            ]
            self.during += [
                one("clear", base.name, name),
                merge(base.name, name, [(base.name, aside), *sources]),
                one("remove", base.name, aside),
            ]
        else:
            self.during.append(merge(base.name, name, sources))
        recording = held[0][1].recording
        if self.active and recording != own.recording:
            self.during.append(one("enable" if recording else "disable", base.name, name))
        reason = "merged into the one of the base while the job waits, without what the job copied"
        for node, bitmap in [*held, (base, own)]:
            self._tell(node, bitmap, "exact", reason)

    def _recorded(self, own: Bitmap, held: list[tuple[Node, Bitmap]]) -> None:
        """A layer has no bitmap of that name: what the job copies is all that is known of what was written to it."""
        base = self.base
        if not own.recording:
            lost = f"the one of {base.name!r} does not record, and not every layer has one: it stays as it is"
            for node, bitmap in held:
                self._tell(node, bitmap, "lost", lost)
            self._tell(base, own, "stays", "it does not record, so that nothing is to be added")
            return
        if held:
            self.during.append(merge(base.name, own.name, [(node.name, bitmap.name) for node, bitmap in held]))
        for node, bitmap in [*held, (base, own)]:
            self._tell(node, bitmap, "superset", f"the one of the base goes on recording, {_COPIED}")

    def _tell(self, node: Node, bitmap: Bitmap, result: Result, reason: str) -> None:
        kept_on = None if result == "lost" else self.base.name
        self.told.append(
            RecipeBitmap(node=node.name, bitmap=bitmap.name, result=result, kept_on=kept_on, reason=reason)
        )

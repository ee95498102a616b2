"""Nodes and processes that end: what is in memory alone is made persistent before.

A bitmap cannot be made persistent as it is. Another one records meanwhile, so that no write is missed while the first
is removed and made anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig.recipes.actions import (
    Action,
    add,
    free_name,
    held,
    lookup,
    merge,
    one,
    single,
    stores,
    transaction,
    usable,
)
from bitmapmig.recipes.document import Recipe, RecipeBitmap, RecipeStep

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import JsonValue

    from bitmapmig.graph import Bitmap, BlockGraph, Node


def restarted(graph: BlockGraph, word: str, _arguments: Mapping[str, JsonValue]) -> Recipe | None:
    """The recipe of a clean shutdown and a new start."""
    return _ending(word, graph.nodes.values())


def unplugged(graph: BlockGraph, word: str, arguments: Mapping[str, JsonValue]) -> Recipe | None:
    """The recipe of `device_del`: the nodes of a `-drive` end with the device, those of `-blockdev` stay."""
    name = str(arguments.get("id"))
    paths = (backend for backend in graph.backends if (backend.qdev or "").removesuffix("/virtio-backend") == name)
    backend = graph.guest_device(name) or next(paths, None)
    if backend is None or backend.root is None:
        return None
    nodes = [graph.nodes[name] for name in sorted(graph.below(backend.root))]
    made = _ending(word, [node for node in nodes if not held(graph, node.name)])
    reason = "its node stays, and no write reaches it until a device uses it again"
    staying = [_stays(node, bitmap, reason) for node in nodes if held(graph, node.name) for bitmap in node.bitmaps]
    if not staying:
        return made
    if made is None:
        return Recipe(operation=word, bitmaps=tuple(staying))
    return made.model_copy(update={"bitmaps": (*made.bitmaps, *staying)})


def deleted(graph: BlockGraph, word: str, arguments: Mapping[str, JsonValue]) -> Recipe | None:
    """The recipe of `blockdev-del`."""
    root = lookup(graph, arguments.get("node-name"))
    if root is None:
        return None
    below = [name for name in sorted(graph.below(root)) if name == root or not held(graph, name)]
    return _ending(word, [graph.nodes[name] for name in below])


def _ending(word: str, nodes: Iterable[Node]) -> Recipe | None:
    told: list[RecipeBitmap] = []
    first: list[Action] = []
    between: list[Action] = []
    last: list[Action] = []
    for node in nodes:
        for bitmap in node.bitmaps:
            told.append(_told(node, bitmap))
            if told[-1].result == "exact":
                meanwhile = free_name(node, bitmap.name)
                source, kept = [(node.name, bitmap.name)], [(node.name, meanwhile)]
                first += [add(node.name, bitmap, name=meanwhile, persistent=False), merge(*kept[0], source)]
                between.append(one("remove", node.name, bitmap.name))
                last += [add(node.name, bitmap, persistent=True), merge(*source[0], kept)]
                last.append(one("remove", node.name, meanwhile))
    if not told:
        return None
    steps: tuple[RecipeStep, ...] = ()
    if first:
        steps = (
            transaction(first, "let another bitmap record what the first holds, and go on"),
            *(single(action, "remove the one that is in memory alone") for action in between),
            transaction(last, "make it anew, persistent, with what the other has recorded"),
        )
    return Recipe(operation=word, bitmaps=tuple(told), steps=steps)


def _told(node: Node, bitmap: Bitmap) -> RecipeBitmap:
    place = {"node": node.name, "bitmap": bitmap.name}
    if bitmap.persistent and ((stores(node) and not node.read_only) or node.holds_read_only(bitmap)):
        reason = "it is persistent: it is stored in its image when the image is closed"
        if bitmap.inconsistent:
            reason = "it is inconsistent, and stays so: remove it, and make a full backup"
        return _stays(node, bitmap, reason)
    obstacle = usable(bitmap)
    if not stores(node):
        obstacle = f"it is in memory alone, and {node.name!r} stores no bitmaps: a full backup is needed afterwards"
    elif node.read_only:
        obstacle = f"it is in memory alone, and {node.name!r} is read-only, so that nothing is stored in its image"
    elif node.stored_bitmap(bitmap.name) is not None:
        obstacle = "the image holds one of that name that is not loaded"
    if obstacle is not None:
        return RecipeBitmap(**place, result="lost", reason=obstacle)
    return RecipeBitmap(
        **place, result="exact", kept_on=node.name, reason="made persistent before, without missing a write"
    )


def _stays(node: Node, bitmap: Bitmap, reason: str) -> RecipeBitmap:
    return RecipeBitmap(node=node.name, bitmap=bitmap.name, result="stays", kept_on=node.name, reason=reason)


def crashed(graph: BlockGraph, word: str, _arguments: Mapping[str, JsonValue]) -> Recipe | None:
    """What is left to do after a crash: no recipe keeps a bitmap from it."""
    told: list[RecipeBitmap] = []
    again: list[RecipeStep] = []
    for node in graph.nodes.values():
        devices = graph.devices_of(node.name)
        name = node.name if node.explicit else devices[0] if len(devices) == 1 else None
        for bitmap in node.bitmaps:
            reason = "it is in memory alone, and ends with the process"
            stored = bitmap.persistent and node.stored_bitmap(bitmap.name) is not None
            if bitmap.persistent:
                reason = "its image has never stored it, so that it ends with the process"
            if stored:
                reason = "what is stored of it is inconsistent: no command reads it, it can only be removed"
            if node.holds_read_only(bitmap):
                reason = "the image is read-only, so that what is stored of it is as it was"
                told.append(_stays(node, bitmap, reason))
                continue
            told.append(RecipeBitmap(node=node.name, bitmap=bitmap.name, result="lost", reason=reason))
            if name is not None and stored:
                again += [
                    single(one("remove", name, bitmap.name), "after the new start: remove the inconsistent one"),
                    single(add(name, bitmap, persistent=True), "make it anew; it records from now on"),
                ]
    if not told:
        return None
    remark = "What was written before is in no bitmap: make a full backup of each disk before you rely on a new one."
    return Recipe(operation=word, bitmaps=tuple(told), steps=tuple(again), remark=remark)

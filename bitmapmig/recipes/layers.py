"""Streams: what the layers hold is merged into the one on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig.qapi import NodeName
from bitmapmig.recipes.actions import Action, lookup, merge, step, transaction, usable
from bitmapmig.recipes.document import Recipe, RecipeBitmap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from bitmapmig.graph import BlockGraph, Node

#: What merging layers means where they do not all begin with the same backup.
TOGETHER = (
    "What comes of it is all that the layers hold together: where a backup has cleared the bitmap of the top alone, "
    "the bits of those below come back."
)


def stream(graph: BlockGraph, word: str, arguments: Mapping[str, JsonValue]) -> Recipe | None:
    """The recipe of `block-stream`: what the layers below hold is merged into the top before they go.

    Nothing writes to those layers, and what the job copies into the top leaves its bitmaps as they are.
    """
    top = lookup(graph, arguments.get("device"))
    if top is None or "base" in arguments:
        return None  # a base by its file name, which no graph tells
    layers = _layers(graph, top, arguments)
    if layers is None:
        return None
    above, *below = layers
    told: list[RecipeBitmap] = []
    actions: list[Action] = []
    for name in sorted({bitmap.name for node in below for bitmap in node.bitmaps}):
        told += _gathered(name, above, below, actions)
    if not told:
        return None
    steps = (
        transaction(actions, "merge what the layers below hold into the bitmaps of the top"),
        step(word, arguments, "start the stream"),
    )
    return Recipe(
        operation=word,
        bitmaps=tuple(told),
        steps=steps if actions else (),
        remark=TOGETHER if actions else "",
    )


def _layers(graph: BlockGraph, top: NodeName, arguments: Mapping[str, JsonValue]) -> list[Node] | None:
    """The images from `top` down to what is streamed last, without filters; None where the end is not among them."""
    images = images_below(graph, top)
    names = [node.name for node in images]
    if "base-node" in arguments:
        base = NodeName(str(arguments["base-node"]))
        return images[: names.index(base)] if base in names[1:] else None
    if "bottom" in arguments:
        bottom = NodeName(str(arguments["bottom"]))
        return images[: names.index(bottom) + 1] if bottom in names else None
    return images


def images_below(graph: BlockGraph, top: NodeName) -> list[Node]:
    """The images of a backing chain from `top` down, without the filters between them."""
    found: list[Node] = []
    at: NodeName | None = graph.skip_filters(top).end
    while at is not None:
        found.append(graph.nodes[at])
        at = graph.skip_filters(dict(graph.children(at)).get("backing")).end
    return found


def _gathered(name: str, above: Node, below: list[Node], actions: list[Action]) -> list[RecipeBitmap]:
    """What becomes of the bitmaps of one name in the layers that are streamed."""
    holders = [(node, bitmap) for node in below if (bitmap := node.bitmap(name))]
    into = above.bitmap(name)
    told: list[RecipeBitmap] = []
    sources: list[tuple[str, str]] = []
    for node, bitmap in holders:
        obstacle = usable(bitmap)
        if into is None:
            obstacle = (
                f"{above.name!r} has no bitmap of that name, so what was written since it is on top is in none: "
                "a full backup is needed"
            )
        elif usable(into):
            obstacle = f"the one of {above.name!r} cannot be changed: {usable(into)}"
        elif above.virtual_size != node.virtual_size:
            obstacle = f"{above.name!r} has another virtual size, and bitmaps of different sizes are not merged"
        elif lacking := [one.name for one in below[: below.index(node)] if one.bitmap(name) is None]:
            obstacle = f"what was written while {lacking[0]!r} was on top is in no bitmap of that name"
        if obstacle is None:
            sources.append((node.name, name))
            reason = "merged into the one of the top before the stream begins"
            told.append(RecipeBitmap(node=node.name, bitmap=name, result="exact", kept_on=above.name, reason=reason))
        else:
            told.append(RecipeBitmap(node=node.name, bitmap=name, result="lost", reason=obstacle))
    if sources:
        actions.append(merge(above.name, name, sources))
    return told

"""Snapshots: each bitmap goes on in the overlay.

Everything is one transaction, in which the overlay is on top before its bitmaps are made and the old ones are merged
into them, so that no write of the guest comes in between. An overlay that `blockdev-snapshot-sync` makes has no users
but those of its node: where there are none it ends with the command, and nothing can be made on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig.graph import Node
from bitmapmig.qapi import NodeName
from bitmapmig.recipes.actions import Action, add, in_use, lookup, merge, stores, transaction, unnamed, usable
from bitmapmig.recipes.document import Recipe, RecipeBitmap, RecipeStep, Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic import JsonValue

    from bitmapmig.graph import Bitmap, BlockGraph

_WORDS = ("blockdev-snapshot", "blockdev-snapshot-sync")
_REMARK = (
    "The old ones stay in the layer below as they were at the snapshot. Without the merges each layer has only what "
    "was written while it was on top, and all of them together are the record."
)


def snapshot(graph: BlockGraph, word: str, arguments: Mapping[str, JsonValue]) -> Recipe | None:
    """The recipe of `blockdev-snapshot` or `blockdev-snapshot-sync`."""
    return _recipe(graph, word, [{"type": word, "data": dict(arguments)}])


def transacted(graph: BlockGraph, word: str, arguments: Mapping[str, JsonValue]) -> Recipe | None:
    """The recipe of a transaction that takes snapshots; what else it does is left as it is."""
    listed = arguments.get("actions")
    return _recipe(
        graph, word, [dict(one) for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    )


def _recipe(graph: BlockGraph, word: str, given: Sequence[Action]) -> Recipe | None:
    carrying = _Carrying(graph, given)
    actions = [carrying.named(one) for one in given]
    if not carrying.told:
        return None
    steps: tuple[RecipeStep, ...] = ()
    if carrying.added:
        does = "take the snapshot, and make each bitmap on the overlay with what the old one holds, at one moment"
        steps = (transaction([*actions, *carrying.added], does),)
    return Recipe(operation=word, bitmaps=tuple(carrying.told), steps=steps, remark=_REMARK if steps else "")


class _Carrying:
    """Bitmaps on their way to overlays: `added` are the actions for them."""

    def __init__(self, graph: BlockGraph, given: Sequence[Action]) -> None:
        self.graph = graph
        self.added: list[Action] = []
        self.told: list[RecipeBitmap] = []
        self._names: list[str] = []
        #: bitmaps that the transaction makes itself, by node and name
        self._made = {
            (data.get("node"), data.get("name"))
            for one in given
            if one["type"] == "block-dirty-bitmap-add" and isinstance(data := one.get("data"), dict)
        }

    def named(self, one: Action) -> Action:
        """A snapshot, its overlay with a node-name; its bitmaps are taken along. Any other action as it is."""
        data = one.get("data")
        if one.get("type") not in _WORDS or not isinstance(data, dict):
            return one
        taken = dict(data)
        if one["type"] == "blockdev-snapshot":
            root, overlay = lookup(self.graph, taken.get("node")), self.graph.nodes.get(_name(taken.get("overlay")))
        else:
            root, overlay = lookup(self.graph, taken.get("device") or taken.get("node-name")), None
        if root is None or (overlay is None and one["type"] == "blockdev-snapshot"):
            return one
        if overlay is None:
            name = str(taken.setdefault("snapshot-node-name", unnamed(self.graph, "overlay", self._names)))
            self._names.append(name)
            driver = str(taken.get("format", "qcow2"))
            size = self.graph.nodes[root].virtual_size
            overlay = Node(NodeName(name), driver, virtual_size=size, compat="1.1" if driver == "qcow2" else None)
            if not in_use(self.graph, root):
                self.told += self._left_alone(root)
                return one
        for node in (self.graph.nodes[at] for at in self.graph.chain(root)):
            for bitmap in node.bitmaps:
                if (overlay.name, bitmap.name) not in self._made:
                    self.told.append(self._carried(node, bitmap, overlay))
        return {"type": one["type"], "data": taken}

    def _left_alone(self, root: NodeName) -> Iterator[RecipeBitmap]:
        """The bitmaps of a node that nothing uses: no overlay stays."""
        reason = (
            f"nothing uses {root!r}, so nothing keeps its overlay: that ends at once, and {root!r} is left read-only; "
            "for an overlay that stays, open one with blockdev-add and take a blockdev-snapshot into it"
        )
        for node in (self.graph.nodes[at] for at in self.graph.chain(root)):
            for bitmap in node.bitmaps:
                place = {"node": node.name, "bitmap": bitmap.name}
                yield RecipeBitmap(**place, result="stays", kept_on=node.name, reason=reason)

    def _carried(self, node: Node, bitmap: Bitmap, overlay: Node) -> RecipeBitmap:
        obstacle = usable(bitmap)
        if overlay.bitmap(bitmap.name) or any(
            (told.kept_on, told.bitmap) == (overlay.name, bitmap.name) for told in self.told
        ):
            obstacle = f"the overlay {overlay.name!r} has a bitmap of that name already"
        if obstacle is not None:
            return RecipeBitmap(node=node.name, bitmap=bitmap.name, result="lost", reason=obstacle)
        persistent = bitmap.persistent and stores(overlay)
        self.added.append(add(overlay.name, bitmap, persistent=persistent))
        result: Result = "exact"
        reason = "made on the overlay in the transaction of the snapshot, with what the old one holds"
        if overlay.virtual_size == node.virtual_size:
            self.added.append(merge(overlay.name, bitmap.name, [(node.name, bitmap.name)]))
        else:
            result = "stays"
            reason = (
                "made on the overlay, empty: the virtual sizes differ, and bitmaps of different sizes are not merged; "
                "the old one stays below, and both together are the record"
            )
        if bitmap.persistent and not persistent:
            reason += f"; no longer persistent, because {overlay.name!r} stores no bitmaps"
        return RecipeBitmap(node=node.name, bitmap=bitmap.name, result=result, kept_on=overlay.name, reason=reason)


def _name(value: object) -> NodeName:
    return NodeName(str(value))

"""A graph and a state -> what QEMU would do with each bitmap by itself, with nothing set that is not set already.

Sources: `init_dirty_bitmap_migration` and `add_bitmaps_to_list` on the source, `dirty_bitmap_load_header` and
`bdrv_lookup_bs` on the destination.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from bitmapmig.qapi import DeviceName
from bitmapmig.resolve import resolve
from bitmapmig.validate.bitmaps import read_only

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitmapmig.graph import Bitmap, BlockGraph, Node
    from bitmapmig.resolve import Resolved
    from bitmapmig.state import State

_NAME_LIMIT = 255  #: bytes of a bitmap's name in the migration stream


class Unaided(BaseModel):
    """Under which names QEMU would send a bitmap by itself, were `dirty-bitmaps` on, and where that would lead.

    Names only: what else keeps a bitmap from arriving, as sizes that differ, is for planning to find.
    `fails` makes the whole migration fail; `dropped` drops every bitmap of the VM, and both sides say `completed`;
    `unknown` depends on a driver that is not known. `destination_node` is where the bitmap would arrive.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: Literal["sent", "not-sent", "dropped", "fails", "unknown"]
    reason: str
    node_alias: str | None = None
    bitmap_alias: str | None = None
    destination_node: str | None = None


class QemuItself:
    """One QEMU as it would migrate, or take a migration, without a plan."""

    def __init__(self, graph: BlockGraph, state: State) -> None:
        """Take one side's graph and state."""
        self._graph = graph
        mapping = state.parameters.block_bitmap_mapping
        #: the mapping in force: node-name -> node alias and, by bitmap name, bitmap aliases
        self._mapping: Mapping[str, tuple[str, Mapping[str, str]]] | None = (
            None
            if mapping is None
            else {entry.node_name: (entry.alias, {one.name: one.alias for one in entry.bitmaps}) for entry in mapping}
        )

    @cached_property
    def _resolved(self) -> Mapping[tuple[str, str], Resolved]:
        return {(one.node.name, one.bitmap.name): one for one in resolve(self._graph, "qemu")}

    def sends(self, node: Node, bitmap: Bitmap, destination: QemuItself | None = None) -> Unaided:
        """What becomes of a bitmap of this side, and of it on `destination` where that is known."""
        left = self._without_mapping(node, bitmap) if self._mapping is None else self._mapped(node, bitmap)
        if destination is None or left.node_alias is None or left.bitmap_alias is None:
            return left
        there = destination.takes(left.node_alias, left.bitmap_alias)
        if there is None:
            return left.model_copy(update={"outcome": "dropped", "reason": "the destination does not know this name"})
        return left.model_copy(update={"destination_node": there})

    def takes(self, node_alias: str, bitmap_alias: str) -> str | None:
        """The node that a bitmap arrives on under these names; None where there is none."""
        if self._mapping is None:
            backend = self._graph.device(DeviceName(node_alias))
            if backend is not None:
                return backend.root  # filter or not
            return node_alias if node_alias in self._graph.nodes else None
        for node, (alias, bitmaps) in self._mapping.items():
            if alias == node_alias:
                return node if bitmap_alias in bitmaps.values() and node in self._graph.nodes else None
        return None

    def _mapped(self, node: Node, bitmap: Bitmap) -> Unaided:
        mapping = self._mapping or {}
        if node.name not in mapping:
            return Unaided(outcome="not-sent", reason="the mapping in force does not have its node")
        if (state := _unusable(node, bitmap)) is not None:
            return Unaided(outcome="fails", reason=state)
        alias, bitmaps = mapping[node.name]
        if bitmap.name not in bitmaps:
            return Unaided(outcome="not-sent", reason="the mapping in force does not list it")
        reason = "by the mapping in force"
        return Unaided(outcome="sent", reason=reason, node_alias=alias, bitmap_alias=bitmaps[bitmap.name])

    def _without_mapping(self, node: Node, bitmap: Bitmap) -> Unaided:
        if (state := _unusable(node, bitmap)) is not None:
            return Unaided(outcome="fails", reason=state)
        if len(bitmap.name.encode()) > _NAME_LIMIT:
            return Unaided(outcome="fails", reason=f"its name is longer than {_NAME_LIMIT} bytes")
        found = self._resolved[node.name, bitmap.name]
        if found.address is None:
            return _unnamed(found)
        _, name, rule = found.address
        return Unaided(outcome="sent", reason=rule, node_alias=name, bitmap_alias=bitmap.name)


def _unnamed(found: Resolved) -> Unaided:
    """What becomes of a bitmap that QEMU has no name for."""
    match found.problem.code if found.problem else None:
        case "BM302":
            return Unaided(outcome="fails", reason="several devices end on its node, and QEMU meets it once for each")
        case "BM207":
            return Unaided(outcome="unknown", reason="a driver above its node may or may not be a filter")
        case _:
            return Unaided(outcome="fails", reason="its node has no name but a generated one")


def _unusable(node: Node, bitmap: Bitmap) -> str | None:
    """Why QEMU refuses to send the bitmap, whatever its name (`bdrv_dirty_bitmap_check`)."""
    states = {
        "it is inconsistent": bitmap.inconsistent,
        "it is in use by another operation": bitmap.busy,
        "it is read-only": read_only(node, bitmap),
    }
    return next((words for words, true in states.items() if true), None)

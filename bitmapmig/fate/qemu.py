"""One side of a migration: its graph, its state, and what is set on it, or proposed to be set."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

from bitmapmig.qapi import NodeName

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bitmapmig.graph import BlockGraph, Node
    from bitmapmig.state import State

Sharing: TypeAlias = Literal["shared", "separate", "unknown"]


class _Transform(Protocol):
    @property
    def persistent(self) -> bool | None: ...


class _BitmapEntry(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def alias(self) -> str: ...
    @property
    def transform(self) -> _Transform | None: ...


class _NodeEntry(Protocol):
    """QAPI `BitmapMigrationNodeAlias`, as a query shows it or as a plan proposes it."""

    @property
    def node_name(self) -> str: ...
    @property
    def alias(self) -> str: ...
    @property
    def bitmaps(self) -> Sequence[_BitmapEntry]: ...


class Mapped(NamedTuple):
    """The other name of a bitmap, and what becomes of its `persistent` where the map says so."""

    name: str
    persistent: bool | None


class MappedNode(NamedTuple):
    """The other name of a node, and its bitmaps by the name that is looked up."""

    name: str
    bitmaps: Mapping[str, Mapped]


@dataclass(frozen=True)
class Qemu:
    """One side. `mapping` None means that no `block-bitmap-mapping` is set, which is not the empty one.

    `dirty_bitmaps` is the capability; only the source's counts.
    """

    graph: BlockGraph
    state: State
    mapping: tuple[_NodeEntry, ...] | None
    dirty_bitmaps: bool

    @classmethod
    def of(
        cls,
        graph: BlockGraph,
        state: State,
        *,
        mapping: Iterable[_NodeEntry] | None = None,
        dirty_bitmaps: bool | None = None,
    ) -> Qemu:
        """A side as it is, with `mapping` and `dirty_bitmaps` in place of what is in force, where they are given."""
        entries = state.parameters.block_bitmap_mapping if mapping is None else tuple(mapping)
        on = state.capabilities.get("dirty-bitmaps", False) if dirty_bitmaps is None else dirty_bitmaps
        return cls(graph, state, entries, on)

    # `construct_alias_map`: a sender looks up names and finds aliases, a loader the other way round

    @cached_property
    def by_name(self) -> Mapping[str, MappedNode]:
        """Node-name -> node alias, and bitmap name -> bitmap alias."""
        return {
            entry.node_name: MappedNode(
                entry.alias, {one.name: Mapped(one.alias, _persistent(one)) for one in entry.bitmaps}
            )
            for entry in self.mapping or ()
        }

    @cached_property
    def by_alias(self) -> Mapping[str, MappedNode]:
        """Node alias -> node-name, and bitmap alias -> bitmap name."""
        return {
            entry.alias: MappedNode(
                entry.node_name, {one.alias: Mapped(one.name, _persistent(one)) for one in entry.bitmaps}
            )
            for entry in self.mapping or ()
        }


def _persistent(entry: _BitmapEntry) -> bool | None:
    return None if entry.transform is None else entry.transform.persistent


@dataclass(frozen=True)
class Images:
    """What is known of storage: the destination node that stands for a source node, and whether they share an image."""

    counterparts: Mapping[NodeName, Node] = field(default_factory=dict)
    sharing: Mapping[NodeName, Sharing] = field(default_factory=dict)

    def shared(self, node: NodeName) -> Node | None:
        """The destination node that has the image of `node` open as well; None where there is none."""
        return self.counterparts.get(node) if self.sharing.get(node) == "shared" else None

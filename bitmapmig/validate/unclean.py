"""One end -> what is set on it already, by an earlier attempt or another tool, and what that does if it is left so.

A map in force is the outgoing map of the next migration, and on a side that waits also the incoming map of this one.
Sources: QEMU's `construct_alias_map`, `add_bitmaps_to_list`, `dirty_bitmap_load_header`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitmapmig import codes
from bitmapmig.diagnostics import Where
from bitmapmig.graph import with_bitmaps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bitmapmig.diagnostics import Diagnostic, Side
    from bitmapmig.graph import BlockGraph
    from bitmapmig.qapi import BitmapMigrationNodeAlias
    from bitmapmig.state import State


def mapping_in_force(side: Side, graph: BlockGraph, state: State) -> Iterator[Diagnostic]:
    """BM561 where a map is in force: what it would lose, or that it is neutral."""
    mapping = state.parameters.block_bitmap_mapping
    if mapping is None:
        return
    lost, renamed = _lost(graph, mapping), _renamed(graph, mapping)
    effects = []
    if state.run_state == "inmigrate":
        listed = sum(len(entry.bitmaps) for entry in mapping)
        effects.append(f"it takes {_counted(listed)}, those that it lists; any other drops all that arrive")
    if lost:
        effects.append(f"as it is, the next migration drops {_counted(len(lost))} without a word")
    if renamed:
        effects.append(f"it sends {_counted(len(renamed))} under names of its own, over which another side drops all")
    harmless = not effects
    if harmless:
        effects.append(
            "it is neutral, and does what none does" if with_bitmaps(graph) else "there is no bitmap to lose"
        )
    facts: dict[str, Any] = {"effect": "; ".join(effects), "lost": lost, "renamed": renamed, "harmless": harmless}
    remedy = "nothing is to be done: the plan replaces it" if harmless else None
    yield codes.MAPPING_IN_FORCE.at(Where(side=side), side=side, remedy=remedy, **facts)


def capability_left_on(side: Side, graph: BlockGraph, state: State) -> Iterator[Diagnostic]:
    """BM562 where `dirty-bitmaps` is on."""
    if state.capabilities.get("dirty-bitmaps"):
        count = sum(len(bitmaps) for _, bitmaps in with_bitmaps(graph))
        effect = f"with {_counted(count)} there, a savevm never returns" if count else "there is no bitmap yet"
        yield codes.CAPABILITY_LEFT_ON.at(Where(side=side), side=side, effect=effect, bitmaps=count)


def _counted(count: int) -> str:
    return f"{count:,} bitmap" if count == 1 else f"{count:,} bitmaps"


def _lost(graph: BlockGraph, mapping: Sequence[BitmapMigrationNodeAlias]) -> list[str]:
    """The bitmaps (`node/name`) that the map does not list."""
    listed = {(entry.node_name, one.name) for entry in mapping for one in entry.bitmaps}
    return [
        f"{node.name}/{one.name}"
        for node, bitmaps in sorted(with_bitmaps(graph), key=lambda found: found[0].name)
        for one in sorted(bitmaps, key=lambda bitmap: bitmap.name)
        if (node.name, one.name) not in listed
    ]


def _renamed(graph: BlockGraph, mapping: Sequence[BitmapMigrationNodeAlias]) -> list[str]:
    """The bitmaps (`node/name`) that the map sends under other names than QEMU would by itself."""
    return sorted(
        f"{entry.node_name}/{one.name}"
        for entry in mapping
        for one in entry.bitmaps
        if entry.node_name in graph.nodes
        and graph.nodes[entry.node_name].bitmap(one.name) is not None
        and (str(entry.alias) != _default_name(graph, entry) or str(one.alias) != one.name)
    )


def _default_name(graph: BlockGraph, entry: BitmapMigrationNodeAlias) -> str:
    return next(iter(graph.devices_of(entry.node_name)), entry.node_name)

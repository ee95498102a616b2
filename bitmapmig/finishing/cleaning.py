"""A plan, and what one side has now -> what makes that side clean: what to send, and what is left as it is. Pure.

A map cannot be un-set, so it is replaced by the one that does what no map does, made for the graph as it is now. What
the plan did not set is somebody else's and stays. Sources: QEMU's `construct_alias_map`, `qmp_migrate_set_parameters`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bitmapmig import codes
from bitmapmig.diagnostics import Where
from bitmapmig.finishing.document import FinishedEnd
from bitmapmig.graph import without
from bitmapmig.plans.mapping import Neutral, default_name, neutral, set_capability, set_mapping
from bitmapmig.plans.merging import remove
from bitmapmig.qapi import NodeName

if TYPE_CHECKING:
    from collections.abc import Collection

    from bitmapmig.control import InForce
    from bitmapmig.diagnostics import Diagnostic, Side
    from bitmapmig.graph import BlockGraph
    from bitmapmig.plans import Plan
    from bitmapmig.plans.document import Command, NodeAlias


@dataclass(frozen=True)
class Cleaning:
    """What is to be done on one side: `commands` in order, after which `mapping` and `dirty_bitmaps` are in force.

    `mapping` is None where the one in force is left as it is; `removed` are the temporaries that are gone then, `kept`
    those that are not.
    """

    end: FinishedEnd
    mapping: tuple[NodeAlias, ...] | None
    dirty_bitmaps: bool
    advice: tuple[Diagnostic, ...]
    removed: frozenset[tuple[str, str]] = frozenset()
    kept: frozenset[tuple[str, str]] = frozenset()

    @property
    def commands(self) -> tuple[Command, ...]:
        """What is to be sent."""
        return self.end.commands

    def differences(self, now: InForce, graph: BlockGraph) -> str:
        """What is not clean of a side that has this in force, in words; empty where all is."""
        stay = {
            one.name for node in graph.nodes.values() for one in node.bitmaps if (node.name, one.name) in self.removed
        }
        wrong = {
            "dirty-bitmaps": now.dirty_bitmaps != self.dirty_bitmaps,
            "block-bitmap-mapping": self.mapping is not None and not now.maps(self.mapping),
            f"temporary bitmaps {', '.join(sorted(stay))}": bool(stay),
        }
        return " and ".join(what for what, differs in wrong.items() if differs)


def cleaning(
    plan: Plan,
    side: Side,
    graph: BlockGraph,
    now: InForce,
    *,
    endpoint: str,
    waiting: bool,
    temporaries: Collection[tuple[str, str]] = (),
) -> Cleaning:
    """What makes one side clean again; `waiting` where it is still to receive a migration.

    `temporaries` are bitmaps to be removed where they are there.
    """
    there = {(str(node.name), str(one.name)) for node in graph.nodes.values() for one in node.bitmaps}
    found = frozenset(there.intersection(temporaries))
    capability, on, reasons, advice = _capability(plan, side, now)
    mapping = _mapping(plan, side, without(graph, found), now, waiting=waiting)
    # what a map names that stays in force would be lost at its migration, without a word
    needed = found & now.named if mapping.word == "left" else frozenset()
    if needed:
        reasons = (*reasons, f"the map that stays names the temporary bitmaps {_listed(needed)}, so they stay")
    removed = found - needed
    # the capability first: it is what does most harm
    commands = (set_capability(state=False),) if capability == "turned-off" else ()
    if mapping.word == "neutralised":
        commands = (*commands, set_mapping(mapping.neutral.entries))
    commands = (*commands, *(remove(*place) for place in sorted(removed)))
    end = FinishedEnd(
        endpoint=endpoint,
        gone=None,
        dirty_bitmaps=capability,
        block_bitmap_mapping=mapping.word,
        temporaries=tuple(sorted(f"{node}/{bitmap}" for node, bitmap in removed)),
        commands=commands,
        reasons=(*reasons, *mapping.reasons),
        not_in_map=mapping.neutral.left_out if mapping.word in ("neutralised", "neutral") else (),
    )
    entries = mapping.neutral.entries if mapping.word == "neutralised" else None
    return Cleaning(end, entries, on, (*advice, *mapping.advice), removed, needed)


def _listed(places: Collection[tuple[str, str]]) -> str:
    return ", ".join(repr(bitmap) for _, bitmap in sorted(places))


# the capability


def _capability(
    plan: Plan, side: Side, now: InForce
) -> tuple[Literal["turned-off", "off", "left-on"], bool, tuple[str, ...], tuple[Diagnostic, ...]]:
    """What becomes of `dirty-bitmaps`, whether it is on afterwards, and what is to be said."""
    if not now.dirty_bitmaps:
        return "off", False, (), ()
    left = next((left for left in plan.residue if (left.side, left.what) == (side, "dirty-bitmaps")), None)
    if left is not None and set_capability(state=False) in left.commands:
        return "turned-off", False, (), ()
    if left is not None or _was_on(plan, side):
        reason = "dirty-bitmaps was on before the plan, and stays on: a savevm while there is a bitmap never returns"
        return "left-on", True, (reason,), ()
    return "left-on", True, (), (codes.CAPABILITY_OF_ANOTHER.at(Where(side=side), side=side),)


def _was_on(plan: Plan, side: Side) -> bool:
    return any(one.code == codes.CAPABILITY_LEFT_ON.code and one.where.side == side for one in plan.advice)


# the map


@dataclass(frozen=True)
class _Mapping:
    word: Literal["neutralised", "neutral", "left", "none"]
    neutral: Neutral
    reasons: tuple[str, ...] = ()
    advice: tuple[Diagnostic, ...] = ()


def _mapping(plan: Plan, side: Side, graph: BlockGraph, now: InForce, *, waiting: bool) -> _Mapping:
    made = neutral(graph, _names(plan, side, graph, waiting=waiting))
    if now.mapping is None:
        return _Mapping("none", made)
    planned = getattr(plan.block_bitmap_mapping, side)
    if not (planned is not None and now.maps(planned)) and not _plain(graph, now.mapping):
        return _Mapping("left", made, advice=(codes.MAPPING_OF_ANOTHER.at(Where(side=side), side=side),))
    if not made.entries:
        reason = "the map stays: there is no bitmap that another could list, and an empty one would drop whatever comes"
        return _Mapping("left", made, reasons=(reason,))
    return _Mapping("neutral" if now.maps(made.entries) else "neutralised", made)


def _names(plan: Plan, side: Side, graph: BlockGraph, *, waiting: bool) -> dict[NodeName, list[str]]:
    """What a neutral map lists: bitmaps in memory and in images, and on a side that waits the planned ones."""
    names: dict[NodeName, dict[str, None]] = {
        node.name: dict.fromkeys((*(one.name for one in node.bitmaps), *(one.name for one in node.stored or ())))
        for node in graph.nodes.values()
    }
    if waiting and side == "destination":
        for planned in plan.bitmaps:
            if planned.destination_node in names and planned.destination_bitmap is not None:
                names[NodeName(planned.destination_node)][planned.destination_bitmap] = None
    return {node: list(found) for node, found in names.items()}


def _plain(graph: BlockGraph, mapping: list[Any]) -> bool:
    """Whether a map gives every node its default name and every bitmap its own: an earlier neutral one, perhaps.

    One that lists nothing, or a node without bitmaps, is none: such a map is for dropping what comes.
    """
    return bool(mapping) and all(_plain_entry(graph, entry) for entry in mapping)


def _plain_entry(graph: BlockGraph, entry: dict[str, Any]) -> bool:
    node = graph.nodes.get(NodeName(str(entry.get("node-name"))))
    alias = default_name(graph, node) if node is not None else entry.get("node-name")
    bitmaps = entry.get("bitmaps") or ()
    return entry.get("alias") == alias and bool(bitmaps) and all(map(_same, bitmaps))


def _same(bitmap: dict[str, Any]) -> bool:
    return bitmap.get("alias") == bitmap.get("name") and not bitmap.get("transform")

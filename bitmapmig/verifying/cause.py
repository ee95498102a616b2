"""A bitmap that did not arrive -> the likely cause: what the log says, else what the model of QEMU says of both ends.

The model is asked what a migration would come to with what is set on both sides now, as though none had happened. That
is what happened, unless somebody changed something since; so a cause is always called likely.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from bitmapmig.fate import Qemu, foretell
from bitmapmig.graph import BlockGraph, with_bitmaps
from bitmapmig.qapi import MigrationInfo
from bitmapmig.verifying.log import LoggedLine, showing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bitmapmig.fate import ForetoldBitmap
    from bitmapmig.graph import Node
    from bitmapmig.plans.document import Plan, PlannedBitmap
    from bitmapmig.verifying.document import Difference
    from bitmapmig.verifying.seen import Seen


class Causes:
    """Both ends, the plan and the log, asked for the cause of one difference after the other."""

    def __init__(self, plan: Plan, source: Seen | None, destination: Seen | None, log: Sequence[LoggedLine]) -> None:
        self._plan, self._source, self._destination, self._log = plan, source, destination, log

    def line(self, one: PlannedBitmap) -> LoggedLine | None:
        """The line of the log that shows what became of a bitmap."""
        names = (one.node_alias, one.node, one.destination_node, one.address)
        return showing(self._log, names, (one.bitmap_alias, one.bitmap, one.destination_bitmap))

    def likely(self, one: PlannedBitmap, difference: Difference) -> tuple[str | None, str | None]:
        """Why a bitmap is not there as planned, in words, and the code that explains it; None where nothing tells."""
        seen = self._elsewhere(one) if difference.what == "presence" else self._confused(one, difference)
        if seen is not None:
            return seen, None
        unseen = self._unseen
        if unseen is not None:
            return unseen, None
        told = self._now.get((one.node, one.bitmap))
        if told is None:
            return "the source has no such bitmap any more", None
        if told.outcome not in ("arrives", "by-storage"):
            more = f", and it takes {told.others_lost} more with it" if told.others_lost else ""
            return f"by what is set on both sides now, it is `{told.outcome}`: {told.reason}{more}", told.code
        place = told.destination_node, told.destination_bitmap
        if told.outcome == "arrives" and place != (one.destination_node, one.destination_bitmap):
            return f"by what is set on both sides now, it goes to {place[0]!r} as {place[1]!r}", None
        outcome = self._foretold.get((one.node, one.bitmap), told.outcome)
        return f"it was foretold as `{outcome}`, and still is by what is set now: something has changed since", None

    @property
    def _unseen(self) -> str | None:
        """Why what was set during the migration cannot be seen; None where it can.

        With the capability off and a map in force, which is neutral, the source looks as `finish` leaves it.
        """
        if self._source is None or self._destination is None:
            return "what was set on both sides cannot be seen any more"
        state = self._source.state
        if not state.capabilities.get("dirty-bitmaps") and state.parameters.block_bitmap_mapping:
            return "what was set on the source has been cleaned up since"
        return None

    def _elsewhere(self, one: PlannedBitmap) -> str | None:
        """Where on the destination a bitmap of that name is, other than where one was planned."""
        places = self._unplanned.get(one.destination_bitmap or one.bitmap)
        return f"a bitmap of that name is on {', '.join(map(repr, places))}" if places else None

    @cached_property
    def _unplanned(self) -> Mapping[str, list[str]]:
        """The nodes of the destination's bitmaps that nobody planned, by name."""
        planned = {(one.destination_node, one.destination_bitmap) for one in self._plan.bitmaps}
        found: defaultdict[str, list[str]] = defaultdict(list)
        for node in self._destination.graph.nodes.values() if self._destination else ():
            for one in node.bitmaps:
                if (node.name, one.name) not in planned:
                    found[one.name].append(node.name)
        return found

    def _confused(self, one: PlannedBitmap, difference: Difference) -> str | None:
        """Whose bits a bitmap has in place of its own."""
        if difference.what != "content":
            return None
        places = self._owners.get(str(difference.found), ())
        others = [f"{name!r} on {node!r}" for node, name in places if (node, name) != (one.node, one.bitmap)]
        # many have the same bits where they have none
        return f"it has the bits of {others[0]}" if len(others) == 1 else None

    @cached_property
    def _owners(self) -> Mapping[str, list[tuple[str, str]]]:
        """The source's bitmaps by the digest of their bits."""
        found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for place, digest in self._source.digests.items() if self._source else ():
            found[digest].append(place)
        return found

    @cached_property
    def _foretold(self) -> Mapping[tuple[str, str], str]:
        """What the plan said of each bitmap."""
        return {(told.node, told.bitmap): told.outcome for told in self._plan.foretold.bitmaps}

    @cached_property
    def _now(self) -> Mapping[tuple[str, str], ForetoldBitmap]:
        """What QEMU would do with what is set now, by node and bitmap of the source."""
        if self._source is None or self._destination is None:
            return {}
        here, there = self._plan.source.measured, self._plan.destination.measured
        ready = replace(self._source.state, run_state="running", migration=MigrationInfo(), measured=here)
        waiting = replace(self._destination.state, run_state="inmigrate", migration=MigrationInfo(), measured=there)
        arrived = {(one.destination_node, one.destination_bitmap) for one in self._plan.bitmaps}
        emptied = _without(self._destination.graph, arrived)
        told = foretell(Qemu.of(self._source.graph, ready), Qemu.of(emptied, waiting))
        return {(one.node, one.bitmap): one for one in told.bitmaps}


def _without(graph: BlockGraph, arrived: set[tuple[str | None, str | None]]) -> BlockGraph:
    """The graph as it was before these bitmaps arrived."""
    return BlockGraph(
        [_emptied(node, arrived) for node in graph.nodes.values()],
        graph.edges(),
        graph.backends,
        graph.jobs,
        graph.exports,
        unseen_children=graph.unseen_children,
        listing={node.name: [one.name for one in bitmaps] for node, bitmaps in with_bitmaps(graph)},
    )


def _emptied(node: Node, arrived: set[tuple[str | None, str | None]]) -> Node:
    return replace(node, bitmaps=tuple(one for one in node.bitmaps if (node.name, one.name) not in arrived))

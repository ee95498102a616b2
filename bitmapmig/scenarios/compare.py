"""Two worlds, before and after -> the values that expectations are about."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from bitmapmig.captures import printable
from bitmapmig.planner import plan_between
from bitmapmig.resolve import locate, resolve
from bitmapmig.scenarios.expected import PLANNED
from bitmapmig.scenarios.members import Place, place
from bitmapmig.transforms import becomes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic import JsonValue

    from bitmapmig.diagnostics import Side
    from bitmapmig.graph import Bitmap, BlockGraph
    from bitmapmig.plans import Plan
    from bitmapmig.qapi import NodeName
    from bitmapmig.resolve import Resolved
    from bitmapmig.scenarios.read import Scenario
    from bitmapmig.scenarios.run import Moment, World
    from bitmapmig.transforms import Becoming

#: What is found where there is nothing of that name.
ABSENT = "absent"
#: The longest value that a message quotes.
_QUOTED = 300


class Found(NamedTuple):
    """A value, and what is said of it besides; with `nowhere` the place is none at any time of the scenario."""

    value: JsonValue
    note: str = ""
    nowhere: bool = False


def words(value: JsonValue) -> str:
    """A value in a sentence: a text in quotes, all else as JSON."""
    return f"'{printable(value, _QUOTED)}'" if isinstance(value, str) else printable(json.dumps(value), _QUOTED)


@dataclass(frozen=True)
class View:
    """What an expectation can look at: the worlds, and the moments over which a bitmap may have been lost.

    `every` is all moments of the scenario; none where it did not reach its end.
    """

    scenario: Scenario
    before: World
    after: World
    over: Sequence[Moment]
    every: Sequence[Moment] = ()

    def found(self, path: tuple[str, ...]) -> Found:
        """What there is at a path such as `bitmaps`, `fmt0/daily`, `address`."""
        if path[0] == "destination":
            return self._destination.found(path[1:])
        if path[0] in PLANNED:
            return Found(self._planned(path))
        return self._source.found(path)

    @cached_property
    def _source(self) -> _GraphView:
        return self._of("source")

    @cached_property
    def _destination(self) -> _GraphView:
        return self._of("destination")

    def _of(self, side: Side) -> _GraphView:
        before, after = self.before.end(side), self.after.end(side)
        assert before is not None  # noqa: S101
        assert after is not None  # noqa: S101
        return _GraphView(self.scenario, before.graph, after.graph, side, self.over, self.every)

    # the plan

    @cached_property
    def plan(self) -> Plan:
        """The plan between the two sides as they are now."""
        assert self.after.destination is not None  # noqa: S101
        said = self.scenario
        return plan_between(
            self.after.source,
            self.after.destination,
            said.policy,
            self.after.found,
            provisional=said.document.provisional,
            strict=said.document.strict,
        )

    def _planned(self, path: tuple[str, ...]) -> JsonValue:
        made, told = self.plan, self.plan.foretold
        match path:
            case ("map", side):
                entries = getattr(made.block_bitmap_mapping, side)
                return None if entries is None else [one.model_dump(mode="json") for one in entries]
            case ("fates", text):
                return next((one.fate for one in made.bitmaps if self._meant(text, one.node, one.bitmap)), ABSENT)
            case ("foretold", text):
                return next((one.outcome for one in told.bitmaps if self._meant(text, one.node, one.bitmap)), ABSENT)
            case _:
                pass
        whole: dict[str, JsonValue] = {
            "plan": made.verdict,
            "refusals": [*sorted({one.code for one in made.refusals})],
            "advice": [*sorted({one.code for one in made.advice})],
            "migration": told.migration,
        }
        return whole[path[0]]

    def _meant(self, text: str, node: str, bitmap: str) -> bool:
        meant = place(text)
        return meant.bitmap == bitmap and _node(self.after.source.graph, meant) == node


@dataclass(frozen=True)
class _GraphView:
    """One side, before and after."""

    scenario: Scenario
    before: BlockGraph
    after: BlockGraph
    side: Side
    over: Sequence[Moment]
    every: Sequence[Moment]

    def found(self, path: tuple[str, ...]) -> Found:
        match path:
            case ("bitmaps", text, *members):
                return self._bitmap(place(text), *members)
            case ("nodes", name, *members):
                return Found(self._node(name, *members))
            case ("devices", name):
                backend = self.after.device(name)
                return Found(ABSENT if backend is None else backend.root)
            case ("guest-devices", name):
                backend = self.after.guest_device(name)
                return Found(ABSENT if backend is None else backend.root)
            case ("jobs", name):
                return Found(next((job.status for job in self.after.jobs if job.id == name), ABSENT))
            case _:
                gone = [words for moment in self.over for words in _lost(moment, self.side)]
                return Found(not gone, f": {'; '.join(gone)}" if gone else "")

    def _bitmap(self, meant: Place, member: str = "") -> Found:
        if member == "becomes":
            one = self._becoming(meant)
            return (
                self._no_bitmap(meant) if one is None else Found(one.outcome, f", since {printable(one.reason, _LONG)}")
            )
        node = _node(self.after, meant)
        bitmap = None if node is None else self.after.nodes[node].bitmap(meant.bitmap)
        if node is None or bitmap is None:
            return self._no_bitmap(meant)
        if not member:
            return Found(_members(bitmap))
        if member not in ("address", "rule"):
            return Found(_members(bitmap)[member])
        address = self._resolved[node, bitmap.name].address
        return Found(None if address is None else address.name if member == "address" else address.kind)

    def _no_bitmap(self, meant: Place) -> Found:
        """Why there is no bitmap at a place; where it is none on any side at any time, its name is a mistake."""
        if _is_place(self.after, meant):
            return Found(ABSENT)
        said = printable(":".join((meant.name, ".".join(meant.roles))) if meant.roles else meant.name)
        worlds = (world for moment in self.every for world in (moment.before, moment.after))
        ends = (end for world in worlds for end in (world.source, world.destination) if end is not None)
        if not self.every or any(_is_place(end.graph, meant) for end in ends):
            return Found(ABSENT, f", since there is no node or device '{said}'")
        return Found(f"there is no node or device '{said}' at any time", nowhere=True)

    def _becoming(self, meant: Place) -> Becoming | None:
        """What became of the bitmap that is, or else was, at a place."""
        for graph in (self.before, self.after):
            node = _node(graph, meant)
            if node is not None and graph.nodes[node].bitmap(meant.bitmap) is not None:
                return self._becomings.get((node, meant.bitmap))
        return None

    @cached_property
    def _resolved(self) -> Mapping[tuple[str, str], Resolved]:
        return {(one.node.name, one.bitmap.name): one for one in resolve(self.after, self.scenario.rules)}

    @cached_property
    def _becomings(self) -> Mapping[tuple[str, str], Becoming]:
        return {(one.node, one.bitmap): one for one in becomes(self.before, self.after, self.scenario.rules)}

    def _node(self, name: str, member: str = "") -> JsonValue:
        node = next((one for one in self.after.nodes.values() if one.name == name), None)
        if node is None:
            return ABSENT
        children = dict(self.after.children(name))
        known: dict[str, JsonValue] = {
            "driver": node.driver,
            "size": node.virtual_size,
            "read-only": node.read_only,
            "file": children.get("file"),
            "backing": children.get("backing"),
        }
        return known[member] if member else known


#: The longest reason that a note quotes.
_LONG = 500


def _members(bitmap: Bitmap) -> dict[str, JsonValue]:
    return {
        "recording": bitmap.recording,
        "busy": bitmap.busy,
        "persistent": bitmap.persistent,
        "inconsistent": bitmap.inconsistent,
        "granularity": bitmap.granularity,
        "dirty": bitmap.count,
    }


def _node(graph: BlockGraph, meant: Place) -> NodeName | None:
    """The node at a place: by node-name or device, else by guest device."""
    found = locate(graph, None, meant.name, meant.roles)
    return found.node or locate(graph, "qdev", meant.name, meant.roles).node


def _is_place(graph: BlockGraph, meant: Place) -> bool:
    """Whether a place is one, be it that of a device without a medium."""
    if meant.roles:
        return _node(graph, meant) is not None
    return meant.name in graph.nodes or bool(graph.device(meant.name) or graph.guest_device(meant.name))


def _lost(moment: Moment, side: Side) -> Iterator[str]:
    """What a step lost on one side, in words: bitmaps that are gone, or of no use any more.

    What the step itself removes by name is not lost.
    """
    before, after = moment.before.end(side), moment.after.end(side)
    if before is None or after is None or moment.operation is None or before.graph is after.graph:
        return
    removed = set(_removed(moment.operation.word, moment.operation.arguments))
    for one in becomes(before.graph, after.graph):
        if one.outcome not in ("is-lost", "turns-useless"):
            continue
        if one.outcome == "is-lost" and any(
            name == one.bitmap and _node(before.graph, Place(node, (), name)) == one.node for node, name in removed
        ):
            continue
        yield printable(f"{one.node}/{one.bitmap} {one.outcome.replace('-', ' ')}, since {one.reason}", _LONG)


def _removed(word: str, arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The bitmaps that an operation removes, by the node or device that it names."""
    if word == "block-dirty-bitmap-remove":
        yield str(arguments["node"]), str(arguments["name"])
    if word == "transaction":
        for action in arguments.get("actions", ()):
            yield from _removed(str(action.get("type")), action.get("data", {}))

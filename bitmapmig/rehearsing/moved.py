"""A plan -> the same plan for other QEMUs: other identities, and other generated node-names. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from bitmapmig.plans.document import Commands, Mapping, MergeSource
from bitmapmig.plans.mapping import set_capability, set_mapping
from bitmapmig.plans.merging import merge_commands
from bitmapmig.qapi import NodeName

if TYPE_CHECKING:
    import collections.abc
    from collections.abc import Iterable

    from bitmapmig.plans import Plan
    from bitmapmig.plans.document import Attempt, Command, Identity, Merge, NodeAlias

_Name = TypeVar("_Name", str, str | None)


class Place(NamedTuple):
    """Where a side of a plan goes: who is there, and the node-names that other nodes have there."""

    identity: Identity
    names: collections.abc.Mapping[NodeName, NodeName]

    def new(self, name: _Name) -> _Name:
        """What a node of the plan is called there."""
        return self.names.get(NodeName(name), name) if name else name


def moved(plan: Plan, source: Place, destination: Place) -> Plan:
    """The plan for the QEMUs of `source` and `destination`, with the same aliases, fit to be applied and verified."""
    maps = _mapping(plan.block_bitmap_mapping, source, destination)
    merges = tuple(_merge(one, source, destination) for one in plan.merges)
    shared = [
        one.model_copy(update={"source": source.new(one.source), "destination": destination.new(one.destination)})
        for one in plan.shared
    ]
    told = [
        one.model_copy(update={"node": source.new(one.node), "destination_node": destination.new(one.destination_node)})
        for one in plan.foretold.bitmaps
    ]
    return plan.model_copy(
        update={
            "provisional": False,
            "source": source.identity,
            "destination": destination.identity,
            "bitmaps": tuple(
                one.model_copy(
                    update={"node": source.new(one.node), "destination_node": destination.new(one.destination_node)}
                )
                for one in plan.bitmaps
            ),
            "merges": merges,
            "block_bitmap_mapping": maps,
            "commands": _commands(maps, merges, off=bool(plan.commands.source)),
            "residue": (),
            "shared": tuple(shared),
            "foretold": plan.foretold.model_copy(update={"bitmaps": tuple(told)}),
        }
    )


def attempted(attempt: Attempt, source: Place, destination: Place) -> Commands:
    """What sets what a refused plan would have set."""
    maps = _mapping(attempt.block_bitmap_mapping, source, destination)
    merges = tuple(_merge(one, source, destination) for one in attempt.merges)
    made = _commands(maps, merges, off=False)
    capability = set_capability(state=attempt.dirty_bitmaps)
    rest = tuple(one for one in made.source if one != capability)
    return Commands(destination=made.destination, source=(*rest, capability))


def _commands(maps: Mapping, merges: Iterable[Merge], *, off: bool) -> Commands:
    """What sets the maps; without one nothing, or with `off` what turns the capability off."""
    there: tuple[Command, ...] = () if maps.destination is None else (set_mapping(maps.destination),)
    if maps.source is None:
        return Commands(destination=there, source=(set_capability(state=False),) if off else ())
    here = (*merge_commands(merges), set_mapping(maps.source), set_capability(state=True))
    return Commands(destination=there, source=here)


def _mapping(maps: Mapping, source: Place, destination: Place) -> Mapping:
    return Mapping(source=_entries(maps.source, source), destination=_entries(maps.destination, destination))


def _entries(entries: tuple[NodeAlias, ...] | None, place: Place) -> tuple[NodeAlias, ...] | None:
    if entries is None:
        return None
    return tuple(one.model_copy(update={"node_name": place.new(one.node_name)}) for one in entries)


def _merge(one: Merge, source: Place, destination: Place) -> Merge:
    sources = tuple(MergeSource(node=source.new(each.node), bitmap=each.bitmap) for each in one.sources)
    return one.model_copy(
        update={
            "node": source.new(one.node),
            "sources": sources,
            "destination_node": destination.new(one.destination_node),
        }
    )

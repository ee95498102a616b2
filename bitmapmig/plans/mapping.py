"""Pairs -> the map of each side, the commands that set it, and what these leave set.

A map on the source alone is preferred: there the alias of a node is the destination's own name for it. The parameter
serves both directions, so a map that is left on a destination becomes its outgoing one at the next hop, which then
loses everything; it is emitted only where the source's alone cannot say what is meant. Sources: QEMU's
`construct_alias_map`, `dirty_bitmap_load_header`, QAPI `BitmapMigrationNodeAlias`.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bitmapmig.plans.document import BitmapAlias, Command, NodeAlias, Residue, Transform
from bitmapmig.plans.merging import leftovers, merge_commands, merges
from bitmapmig.qapi import BitmapName, byte_length

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bitmapmig.diagnostics import Side
    from bitmapmig.graph import BlockGraph, Node
    from bitmapmig.pair import Pair
    from bitmapmig.qapi import NodeName
    from bitmapmig.validate import Situation

ALIAS_LIMIT = 255  #: bytes, of node and bitmap aliases
_WELL_FORMED = re.compile(r"[A-Za-z][A-Za-z0-9._-]*\Z")


@dataclass(frozen=True, slots=True)
class Maps:
    """The map of each side, in QAPI's types, and the aliases by (source node, bitmap); None where none is set."""

    source: tuple[NodeAlias, ...] | None
    destination: tuple[NodeAlias, ...] | None

    @property
    def aliases(self) -> dict[tuple[str, str], tuple[str, str]]:
        """The node and bitmap alias of each bitmap of the source, by node-name and bitmap."""
        return {
            (entry.node_name, bitmap.name): (entry.alias, bitmap.alias)
            for entry in self.source or ()
            for bitmap in entry.bitmaps
        }


def well_formed(alias: str) -> bool:
    """Whether QEMU takes `alias` as a node alias (`id_wellformed`, and its length)."""
    return bool(_WELL_FORMED.match(alias)) and byte_length(alias) <= ALIAS_LIMIT


def maps(situation: Situation) -> Maps:
    """The maps that send each pair where it belongs; None on both sides where nothing is to migrate."""
    if not situation.pairs:
        return Maps(None, None)
    groups = [pairs for _, pairs in sorted(situation.pairs_of.items())]
    direct = {pairs[0].source.name: _name_there(situation, pairs[0].destination) for pairs in groups}
    if situation.destination.state.parameters.block_bitmap_mapping is None and all(
        direct[one.source.name] and byte_length(one.name) <= ALIAS_LIMIT for one in situation.pairs
    ):
        entries = [_entry(pairs[0].source.name, direct[pairs[0].source.name] or "", pairs) for pairs in groups]
        return Maps(tuple(entries), None)
    aliases = _node_aliases(situation, groups)
    source = [_entry(pairs[0].source.name, aliases[pairs[0].source.name], pairs, short=True) for pairs in groups]
    mapped = {pairs[0].destination.name: aliases[pairs[0].source.name] for pairs in groups}
    return Maps(tuple(source), tuple(_destination_entries(situation, mapped)))


def _destination_entries(situation: Situation, mapped: dict[NodeName, str]) -> Iterator[NodeAlias]:
    """The destination's map: nodes that bitmaps arrive on under the aliases in `mapped`, and whatever else has bitmaps.

    What does not arrive now would be dropped at the next hop, where this is the outgoing map, if it were not in it.
    """
    graph = situation.destination.graph
    arriving = {(one.destination.name, one.name) for one in situation.pairs}
    for node, names in sorted(_bitmaps_after(situation).items()):
        alias = mapped.get(node) or default_name(graph, graph.nodes[node])
        if node not in mapped and (alias in mapped.values() or not well_formed(alias)):
            continue
        listed = sorted(name for name in names if (node, name) in arriving or byte_length(name) <= ALIAS_LIMIT)
        if listed:
            bitmaps = tuple(BitmapAlias(name=name, alias=_bitmap_alias(BitmapName(name))) for name in listed)
            yield NodeAlias(node_name=node, alias=alias, bitmaps=bitmaps)


def _name_there(situation: Situation, node: Node) -> str | None:
    """A name that, without a map on the destination, means `node` there: its own, or a device whose very root it is."""
    if node.explicit:
        return node.name if well_formed(node.name) else None
    graph = situation.destination.graph
    roots = [backend.device for backend in graph.backends if backend.device and backend.root == node.name]
    return next((device for device in roots if device and well_formed(device)), None)


def _entry(node: NodeName, alias: str, pairs: Sequence[Pair], *, short: bool = False) -> NodeAlias:
    return NodeAlias(
        node_name=node,
        alias=alias,
        bitmaps=tuple(
            BitmapAlias(
                name=one.bitmap.name,
                alias=_bitmap_alias(one.name) if short else one.name,
                transform=None if one.transform is None else Transform(persistent=one.transform),
            )
            for one in pairs
        ),
    )


def _bitmap_alias(name: BitmapName) -> str:
    return name if byte_length(name) <= ALIAS_LIMIT else _hashed(name)


def _node_aliases(situation: Situation, groups: Sequence[Sequence[Pair]]) -> dict[NodeName, str]:
    """An alias for each source node: the default name of the destination node, so that the map left there does no harm.

    Where that is no usable alias, the address on the source; else a hash.
    """
    wanted: dict[NodeName, str] = {}
    for pairs in groups:
        address = pairs[0].decision.resolved.address
        names = [default_name(situation.destination.graph, pairs[0].destination), address.name if address else ""]
        usable = next((name for name in names if well_formed(name)), None)
        wanted[pairs[0].source.name] = usable or _hashed(names[1] or names[0])
    used = Counter(wanted.values())
    return {node: alias if used[alias] == 1 else _hashed(f"{node}\0{alias}") for node, alias in wanted.items()}


def default_name(graph: BlockGraph, node: Node) -> str:
    """The name under which QEMU, without a map, sends the bitmaps of `node`: a device, else the node-name."""
    return next(iter(graph.devices_of(node.name)), node.name)


def _hashed(name: str) -> str:
    return f"bm-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


# commands


def set_mapping(entries: Iterable[NodeAlias]) -> Command:
    """`migrate-set-parameters` with the whole map; a list replaces the one in force."""
    mapping = [entry.model_dump(mode="json") for entry in entries]
    return Command(execute="migrate-set-parameters", arguments={"block-bitmap-mapping": mapping})


def set_capability(*, state: bool) -> Command:
    """`migrate-set-capabilities` for `dirty-bitmaps`."""
    capability: dict[str, Any] = {"capability": "dirty-bitmaps", "state": state}
    return Command(execute="migrate-set-capabilities", arguments={"capabilities": [capability]})


def commands(situation: Situation, found: Maps) -> dict[Side, tuple[Command, ...]]:
    """What sets the maps, and the capability on the source alone: the destination's does not count.

    Where everything is left behind and the capability is on, it is turned off: else QEMU would send by its own rules.
    """
    if found.source is None:
        on = situation.decisions and situation.source.state.capabilities.get("dirty-bitmaps")
        return {"destination": (), "source": (set_capability(state=False),) if on else ()}
    merging = merge_commands(merges(situation, found))
    return {
        "destination": () if found.destination is None else (set_mapping(found.destination),),
        "source": (*merging, set_mapping(found.source), set_capability(state=True)),
    }


def residue(situation: Situation, found: Maps) -> tuple[Residue, ...]:
    """What stays set after the migration, with the commands that make it harmless; the destination's first."""
    if found.source is None:
        return ()
    left = []
    if found.destination is not None:
        after = _bitmaps_after(situation)
        left.append(_neutral(situation.destination.graph, after, "destination"))
    left.append(_neutral(situation.before, None, "source"))
    left += leftovers(merges(situation, found))
    return (*left, _capability(on_before=situation.source.state.capabilities.get("dirty-bitmaps", False)))


def _capability(*, on_before: bool) -> Residue:
    """The source's capability, with the command that turns it off again exactly where the plan is what turns it on."""
    begin = "the capability was on before, and stays on" if on_before else "the capability stays on"
    return Residue(
        side="source",
        what="dirty-bitmaps",
        message=f"{begin}; with it on, a later savevm never returns",
        commands=() if on_before else (set_capability(state=False),),
    )


def _bitmaps_after(situation: Situation) -> dict[NodeName, list[str]]:
    """The bitmaps of each destination node once the migration is over: its own, arrived ones, those in its image."""
    after = {node.name: _names(node) for node in situation.destination.graph.nodes.values()}
    for one in situation.pairs:
        after[one.destination.name].append(one.name)
    for node, names in after.items():
        stored = situation.destination.graph.nodes[node].stored or ()
        names += [name for name in dict.fromkeys(bitmap.name for bitmap in stored) if name not in names]
    return after


def _names(node: Node) -> list[str]:
    return [bitmap.name for bitmap in node.bitmaps]


@dataclass(frozen=True, slots=True)
class Neutral:
    """The map that does what no map does, and the bitmaps (`node/name`) that no map can do it for."""

    entries: tuple[NodeAlias, ...]
    left_out: tuple[str, ...]


def neutral(graph: BlockGraph, bitmaps: Mapping[NodeName, Iterable[str]] | None = None) -> Neutral:
    """Every node of `graph` under its default name, with all its bitmaps under their own; or with those in `bitmaps`.

    What QEMU by itself would refuse to migrate, for want of a usable name, cannot be in it. Where there are no entries,
    there is no neutral map: an empty one drops everything.
    """
    listed = bitmaps if bitmaps is not None else {node.name: _names(node) for node in graph.nodes.values()}
    entries: list[NodeAlias] = []
    left_out: list[str] = []
    for node, names in sorted((node, sorted(names)) for node, names in listed.items()):
        alias = default_name(graph, graph.nodes[node])
        usable = [name for name in names if well_formed(alias) and byte_length(name) <= ALIAS_LIMIT]
        left_out += [f"{node}/{name}" for name in names if name not in usable]
        if usable:
            aliases = tuple(BitmapAlias(name=name, alias=name) for name in usable)
            entries.append(NodeAlias(node_name=node, alias=alias, bitmaps=aliases))
    return Neutral(tuple(entries), tuple(left_out))


def _neutral(graph: BlockGraph, bitmaps: Mapping[NodeName, Iterable[str]] | None, side: Side) -> Residue:
    """The map that stays in force, with the command that makes it neutral; the message names what cannot be in it."""
    made = neutral(graph, bitmaps)
    message = "the map stays in force and becomes the outgoing one of the next migration; it cannot be un-set"
    if made.left_out:
        left_out = list(made.left_out)
        message += f"; QEMU by itself refuses to migrate {left_out}, and any map would drop them without a word"
    commands = (set_mapping(made.entries),) if made.entries else ()
    return Residue(side=side, what="block-bitmap-mapping", message=message, commands=commands)

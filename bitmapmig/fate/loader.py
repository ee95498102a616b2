"""A stream of bitmaps and a destination -> what its loader does, as `dirty_bitmap_load` and its parts do it.

The names of all bitmaps come first, in the stream's order (`dirty_bitmap_load_header`, `dirty_bitmap_load_start`), and
their bits after the switch-over (`dirty_bitmap_load_bits`). What is not found cancels: everything is dropped, and the
rest of the stream is read and forgotten. What is in the way ends the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from bitmapmig import codes
from bitmapmig.behaviour import NODE_NAMES_SPELLED_OLD, READ_ONLY_NODE_KILLS
from bitmapmig.qapi import DeviceName, NodeName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bitmapmig.diagnostics import Code
    from bitmapmig.fate.qemu import Qemu
    from bitmapmig.fate.sender import Sent
    from bitmapmig.graph import Node

#: Granules in one piece of a serialized bitmap (`hbitmap_serialization_align`).
_PIECE = 64


class Loaded(NamedTuple):
    """The bitmap is created on `node` as `name`."""

    sent: Sent
    node: Node
    name: str
    persistent: bool


class Cancelled(NamedTuple):
    """The name leads nowhere: every bitmap of the VM is dropped (`cancel_incoming_locked`)."""

    sent: Sent
    line: str
    reason: str
    code: Code


class Killed(NamedTuple):
    """The process ends: it exits over a name, or aborts over the bits, where the others have been created already.

    An alias that is `unreadable` ends it even where everything is dropped by then; `nowhere` is the line about its
    node, where that leads nowhere too.
    """

    sent: Sent
    line: str
    reason: str
    code: Code | None
    aborts: bool = False
    unreadable: bool = False
    nowhere: str | None = None


Loading: TypeAlias = Loaded | Cancelled | Killed


class _NowhereError(Exception):
    """A name in the stream leads to nothing: the line that QEMU prints, why, and the code that explains it."""

    def __init__(self, line: str, reason: str, code: Code) -> None:
        super().__init__(line)
        self.line, self.reason, self.code = line, reason, code


def incoming(destination: Qemu, stream: Iterable[Sent]) -> Iterator[Loading]:
    """What the loader does with each bitmap of `stream`, as though all before it had gone well."""
    created: set[tuple[NodeName, str]] = set()
    for sent in stream:
        yield _load(destination, sent, created)


def _load(destination: Qemu, sent: Sent, created: set[tuple[NodeName, str]]) -> Loading:
    try:
        node = _node(destination, sent.node_alias)
        name, persistent = _bitmap(destination, node, sent) if sent.bitmap_alias else ("", False)
    except _NowhereError as nowhere:
        if not sent.bitmap_alias:
            return _unreadable(sent, nowhere.line)
        return Cancelled(sent, nowhere.line, nowhere.reason, nowhere.code)
    if not sent.bitmap_alias:
        return _unreadable(sent, None)
    return _start(destination, sent, Loaded(sent, node, name, persistent), created)


def _unreadable(sent: Sent, nowhere: str | None) -> Killed:
    line = "Unable to read bitmap alias string"
    return Killed(sent, line, "its alias is empty", None, unreadable=True, nowhere=nowhere)


def _node(destination: Qemu, alias: str) -> Node:
    """`dirty_bitmap_load_header`: the node that an alias of the stream means."""
    graph, node = destination.graph, alias
    device = ""
    if destination.mapping is not None:
        entry = destination.by_alias.get(alias)
        if entry is None:
            reason = f"the mapping of the destination does not have the node alias {alias!r}"
            line = f"Error: Unknown node alias '{alias}'"
            raise _NowhereError(line, reason, codes.MAPPING_IN_FORCE)
        node = entry.name
    else:
        device = alias
        backend = graph.device(DeviceName(alias))
        if backend is not None:
            if backend.root is None:
                reason = f"device {alias!r} of the destination has no medium"
                line = f"Device '{alias}' has no medium"
                raise _NowhereError(line, reason, codes.DESTINATION_EMPTY)
            return graph.nodes[backend.root]  # filter or not
    found = graph.nodes.get(NodeName(node))
    if found is None:
        line = f"Cannot find device='{device}' nor node-name='{node}'"
        if NODE_NAMES_SPELLED_OLD.harms(destination.state.conduct):
            line = f"Cannot find device={device} nor node_name={node}"
        raise _NowhereError(line, f"the destination has nothing of the name {node!r}", codes.DESTINATION_MISSING)
    return found


def _bitmap(destination: Qemu, node: Node, sent: Sent) -> tuple[str, bool]:
    """`dirty_bitmap_load_header`: the name that a bitmap gets, and whether it becomes persistent."""
    if destination.mapping is None:
        return sent.bitmap_alias, sent.persistent
    mapped = destination.by_alias[sent.node_alias].bitmaps.get(sent.bitmap_alias)
    if mapped is None:
        line = f"Error: Unknown bitmap alias '{sent.bitmap_alias}' on node '{node.name}' (alias '{sent.node_alias}')"
        reason = f"the mapping of the destination does not have the bitmap alias {sent.bitmap_alias!r}"
        raise _NowhereError(line, reason, codes.MAPPING_IN_FORCE)
    return mapped.name, sent.persistent if mapped.persistent is None else mapped.persistent


def _start(destination: Qemu, sent: Sent, loaded: Loaded, created: set[tuple[NodeName, str]]) -> Loading:
    """`dirty_bitmap_load_start`, and what `dirty_bitmap_load_bits` comes to."""
    node, name = loaded.node, loaded.name
    if node.bitmap(name) is not None or (node.name, name) in created:
        line = f"Bitmap with the same name ('{name}') already exists on destination"
        reason = f"{node.name!r} on the destination has a bitmap {name!r} already"
        return Killed(sent, line, reason, codes.BITMAP_ALREADY_THERE)
    if loaded.persistent and node.read_only and READ_ONLY_NODE_KILLS.harms(destination.state.conduct):
        line = f"Cannot make migrated bitmap '{name}' persistent on read-only node '{node.name}'"
        return Killed(sent, line, "its node on the destination is read-only", codes.DESTINATION_READ_ONLY)
    created.add((node.name, name))
    if not _bits_fit(sent, node):
        here, there = sent.node.virtual_size, node.virtual_size
        reason = f"its node is {here} bytes large, {node.name!r} on the destination {there} bytes"
        return Killed(sent, "serialization_chunk: Assertion", reason, codes.SIZES_DIFFER, aborts=True)
    return loaded


def _bits_fit(sent: Sent, node: Node) -> bool:
    """Whether the assertions of `serialization_chunk` hold on a node whose size may differ.

    They do for an equal number of granules, and on a larger node where the source's bits are whole pieces.
    """
    here, there, granularity = sent.node.virtual_size, node.virtual_size, sent.bitmap.granularity
    if here is None or there is None or here == there:
        return True
    granules, room = -(-here // granularity), -(-there // granularity)
    return granules == room or (granules < room and here % (_PIECE * granularity) == 0)

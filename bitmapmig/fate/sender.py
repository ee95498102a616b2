"""A source -> its stream of bitmaps, as `init_dirty_bitmap_migration` and `add_bitmaps_to_list` make it.

Everything is gone through as QEMU does, in its order, but not only up to the first refusal: whoever reads the steps
takes the first that refuses for what QEMU would print.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from bitmapmig import codes
from bitmapmig.graph import with_bitmaps
from bitmapmig.qapi import byte_length

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bitmapmig.diagnostics import Code
    from bitmapmig.fate.qemu import MappedNode, Qemu
    from bitmapmig.graph import Bitmap, Node
    from bitmapmig.qapi import NodeName

#: Bytes of a bitmap's name in the stream, where its length has one byte.
NAME_LIMIT = 255


class Sent(NamedTuple):
    """The bitmap is put into the stream."""

    node: Node
    bitmap: Bitmap
    node_alias: str
    bitmap_alias: str
    persistent: bool
    reason: str


class Skipped(NamedTuple):
    """The bitmap is not sent; the migration goes on."""

    node: Node
    bitmap: Bitmap
    reason: str
    code: Code | None = None


class Refused(NamedTuple):
    """The bitmap is not sent, and the whole migration fails with this line."""

    node: Node
    bitmap: Bitmap
    line: str
    reason: str
    code: Code | None = None


class Unsure(NamedTuple):
    """Under which name the bitmap is sent depends on a driver that is not known."""

    node: Node
    bitmap: Bitmap
    reason: str
    code: Code


Step: TypeAlias = Sent | Skipped | Refused | Unsure


def outgoing(source: Qemu) -> Iterator[Step]:
    """What becomes of each bitmap on the source, in the order in which QEMU comes to them.

    A bitmap below two devices is met twice.
    """
    if not source.dirty_bitmaps:
        for node, bitmaps in with_bitmaps(source.graph):
            for bitmap in bitmaps:
                yield Skipped(node, bitmap, "the capability dirty-bitmaps is off")
        return
    bitmaps_of = {node.name: bitmaps for node, bitmaps in with_bitmaps(source.graph)}
    handled: set[NodeName] = set()
    if source.mapping is None:
        yield from _below_devices(source, bitmaps_of, handled)
    for name, bitmaps in bitmaps_of.items():
        if name not in handled:
            yield from _add_bitmaps(source, source.graph.nodes[name], bitmaps)


def _below_devices(
    source: Qemu, bitmaps_of: Mapping[NodeName, Sequence[Bitmap]], handled: set[NodeName]
) -> Iterator[Step]:
    """The first node below each named backend that is no filter: its bitmaps go by the name of the device."""
    graph = source.graph
    for backend in graph.listed_backends:
        device = backend.device
        if device is None:
            continue
        walk = graph.default_walks[device]
        if walk.unknown is not None:
            driver = graph.nodes[walk.unknown].driver
            reason = f"whether {driver!r}, the driver of {walk.unknown!r}, is a filter is not known"
            for name in graph.chain(walk.unknown):
                for bitmap in bitmaps_of.get(name, ()):
                    yield Unsure(graph.nodes[name], bitmap, reason, codes.FILTER_UNKNOWN)
                handled.add(name)
        elif walk.end is not None and walk.end in bitmaps_of:
            node, bitmaps = graph.nodes[walk.end], bitmaps_of[walk.end]
            if walk.end in handled:
                for bitmap in bitmaps:  # in the stream already, under the first device, and marked as busy
                    reason = f"its node is met again below device {device!r}"
                    yield Refused(node, bitmap, _IN_USE.format(bitmap.name), reason, codes.BACKENDS_SHARE_NODE)
            else:
                handled.add(walk.end)
                yield from _add_bitmaps(source, node, bitmaps, device)


def _add_bitmaps(source: Qemu, node: Node, bitmaps: Sequence[Bitmap], device: str | None = None) -> Iterator[Step]:
    """`add_bitmaps_to_list`: a node under its own name, or that of `device`, or the one that the map gives it."""
    entry: MappedNode | None = None
    if source.mapping is not None:
        entry = source.by_name.get(node.name)
        if entry is None:
            for bitmap in bitmaps:
                yield Skipped(node, bitmap, "the mapping of the source does not have its node")
            return
    alias = entry.name if entry else device or node.name
    if alias.startswith("#"):
        line = f"Bitmap '{bitmaps[0].name}' in a node with auto-generated name '{alias}' can't be migrated"
        for bitmap in bitmaps:
            yield Refused(node, bitmap, line, "its node has no name but a generated one", codes.ADDRESS_MISSING)
        return
    for bitmap in bitmaps:
        yield _add_bitmap(node, bitmap, alias, entry, device)


def _add_bitmap(node: Node, bitmap: Bitmap, alias: str, entry: MappedNode | None, device: str | None) -> Step:
    unusable = _check(node, bitmap)
    if unusable is not None:
        return unusable
    if entry is None:
        if byte_length(bitmap.name) > NAME_LIMIT:
            shown = device or node.name
            line = f"Cannot migrate bitmap '{bitmap.name}' on node '{shown}': Name is longer than {NAME_LIMIT} bytes"
            return Refused(node, bitmap, line, f"its name is longer than {NAME_LIMIT} bytes")
        reason = f"by default, as device {device!r}" if device else "by default, under its node-name"
        return Sent(node, bitmap, alias, bitmap.name, bitmap.persistent, reason)
    mapped = entry.bitmaps.get(bitmap.name)
    if mapped is None:
        return Skipped(node, bitmap, "the mapping of the source does not list it")
    if "\ufffd" in bitmap.name:
        return Skipped(node, bitmap, "its name is not valid UTF-8, so no mapping matches it", codes.NAME_GARBLED)
    persistent = bitmap.persistent if mapped.persistent is None else mapped.persistent
    return Sent(node, bitmap, alias, mapped.name, persistent, "by the mapping of the source")


_IN_USE = "Bitmap '{}' is currently in use by another operation and cannot be used"


def _check(node: Node, bitmap: Bitmap) -> Refused | None:
    """`bdrv_dirty_bitmap_check` with `BDRV_BITMAP_DEFAULT`, for every bitmap of the node, listed or not."""
    if bitmap.busy:
        line = _IN_USE.format(bitmap.name)
        return Refused(node, bitmap, line, "it is in use by another operation", codes.BITMAP_BUSY)
    if node.holds_read_only(bitmap):
        line = f"Bitmap '{bitmap.name}' is readonly and cannot be modified"
        return Refused(node, bitmap, line, "it is read-only", codes.BITMAP_READ_ONLY)
    if bitmap.inconsistent:
        line = f"Bitmap '{bitmap.name}' is inconsistent and cannot be used"
        return Refused(node, bitmap, line, "it is inconsistent", codes.BITMAP_INCONSISTENT)
    return None

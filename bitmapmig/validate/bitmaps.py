"""Can each bitmap travel from its node to the paired one: states, sizes, names, guest writes.

Sources: QEMU's `add_bitmaps_to_list` and `bdrv_dirty_bitmap_check` on the source, `dirty_bitmap_load_start` on the
destination.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitmapmig import codes
from bitmapmig.diagnostics import Diagnostic, Where
from bitmapmig.fate.switch_over import growing_parent, held_when_stored, unstorable
from bitmapmig.policy import fragment
from bitmapmig.validate.situation import facts_of, incomplete

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.diagnostics import Code
    from bitmapmig.graph import Bitmap, Node
    from bitmapmig.pair import Pair
    from bitmapmig.validate.situation import Situation

NODE_NAME_LIMIT = 31  #: bytes; QEMU's node-names are shorter than 32 (`BlockDriverState.node_name`)
BITMAP_NAME_LIMIT = 1023  #: bytes (`BDRV_BITMAP_MAX_NAME_SIZE`)


_UNLISTED = ", and though left behind, it is on a node whose bitmaps migrate"


def check(situation: Situation) -> Iterator[Diagnostic]:
    """Findings about bitmaps and their nodes (BM205, BM206, BM531 to BM542, BM550 to BM555)."""
    for _, pairs in sorted(situation.pairs_of.items()):
        yield from _states(situation, pairs)
        targets = {one.destination.name: one for one in pairs}
        for _, one in sorted(targets.items()):
            yield from _sizes(situation, one)
            yield from _writes(situation, [pair for pair in pairs if pair.destination.name == one.destination.name])
        for one in pairs:
            yield from _names(situation, one)
            yield from _growth(situation, one)
    yield from _held(situation)
    yield from _not_stored(situation)


def _untold(node: Node, bitmap: Bitmap) -> str | None:
    """The member of the node's record without which it is not known whether the bitmap is read-only."""
    if not bitmap.persistent or node.driver != "qcow2":
        return None
    if node.stored is None:
        return None if node.read_only is False else "image.format-specific"
    return "ro" if node.read_only is None and node.stored_bitmap(bitmap.name) else None


def travels(one: Pair) -> bool:
    """Whether node and sizes allow the bitmap to travel at all."""
    usable = all(_unusable(one.source, bitmap) is None for bitmap in one.source.bitmaps)
    return usable and one.source.virtual_size == one.destination.virtual_size


def _states(situation: Situation, pairs: tuple[Pair, ...]) -> Iterator[Diagnostic]:
    """What `bdrv_dirty_bitmap_check` refuses, on every bitmap of a mapped node, listed in the map or not."""
    node = pairs[0].source
    listed = {one.bitmap.name for one in pairs}
    merged = {one.where.bitmap for one in pairs if one.merge}
    for bitmap in node.bitmaps:
        code = _unusable(node, bitmap)
        if code is None:
            member = _untold(node, bitmap)
            if member is not None:
                yield incomplete("source", node, member)
            continue
        alone = bitmap.name in listed and len(listed) == 1
        leave = fragment.leave(
            situation.policy, situation.source.graph, [each for one in pairs for each in one.decisions]
        )
        yield code.at(
            Where(side="source", node=node.name, bitmap=bitmap.name),
            bitmap=bitmap.name,
            node=node.name,
            listed=bitmap.name in listed | merged,
            unlisted="" if bitmap.name in listed | merged else _UNLISTED,
            what="it" if alone else "all bitmaps of the node",
            fragments=leave,
        )


def _unusable(node: Node, bitmap: Bitmap) -> Code | None:
    if bitmap.inconsistent:
        return codes.BITMAP_INCONSISTENT
    if bitmap.busy:
        return codes.BITMAP_BUSY
    return codes.BITMAP_READ_ONLY if node.holds_read_only(bitmap) else None


def _sizes(situation: Situation, one: Pair) -> Iterator[Diagnostic]:
    here, there = one.source.virtual_size, one.destination.virtual_size
    if here is None:
        yield incomplete("source", one.source, "image.virtual-size")
    elif there is None:
        yield incomplete("destination", one.destination, "image.virtual-size")
    elif here != there:
        sizes: dict[str, Any] = {"source": here, "destination": there}
        names: dict[str, Any] = {"node": one.source.name, "destination_node": one.destination.name}
        decisions = [each for pair in situation.pairs_of[one.source.name] for each in pair.decisions]
        leave = fragment.leave(situation.policy, situation.source.graph, decisions)
        yield codes.SIZES_DIFFER.at(Where(side="source", node=one.source.name), **names, **sizes, fragments=leave)


def _writes(situation: Situation, pairs: list[Pair]) -> Iterator[Diagnostic]:
    """A bitmap that no guest write reaches must not come up on a disk that the guest writes to."""
    one = pairs[0]
    source, destination = situation.source.graph, situation.destination.graph
    if one.source.name in source.guest_written:
        return
    used = one.destination.name in destination.guest_written
    if not used and destination.writes_known:
        return  # no disk of the guest on the other side either
    leave = fragment.leave(situation.policy, source, [each for pair in pairs for each in pair.decisions])
    if used and source.writes_known:
        for pair in pairs:
            yield codes.BITMAP_UNWRITTEN.at(pair.where, **facts_of(pair), fragments=leave)
        return
    unknown = situation.source if not source.writes_known else situation.destination
    node = one.source if unknown is situation.source else one.destination
    reason = "QEMU shows neither `children` nor x-debug-query-block-graph, and a disk of the guest has several children"
    yield codes.WRITE_PATH_UNKNOWN.at(
        Where(side=unknown.side, node=node.name), node=node.name, reason=reason, fragments=leave
    )


def _growth(situation: Situation, one: Pair) -> Iterator[Diagnostic]:
    """Bitmaps that a format stores when it is inactivated make its file grow, which a migrating bitmap forbids."""
    source = situation.source
    above = growing_parent(source.graph, source.state.conduct, one.source.name, situation.migrating)
    if above is not None:
        leave = fragment.leave(situation.policy, situation.source.graph, one.decisions)
        names = {"node": one.source.name, "parent": above.name, "bitmap": one.where.bitmap}
        yield codes.NODE_GROWS.at(one.where, **names, fragments=leave)


def _held(situation: Situation) -> Iterator[Diagnostic]:
    """What stays behind must not be in use when its image stores it; where a node's bitmaps migrate, BM532 says it."""
    source = situation.source
    for node, bitmap in held_when_stored(source.graph, source.state.conduct, situation.migrating):
        if node.name not in situation.pairs_of:
            where = Where(side="source", node=node.name, bitmap=bitmap.name)
            yield codes.BUSY_WHEN_STORED.at(where, bitmap=bitmap.name, node=node.name)


def _not_stored(situation: Situation) -> Iterator[Diagnostic]:
    """What stays behind and is in no image yet must be on a node that can store it."""
    source = situation.source
    for node, bitmap in unstorable(source.graph, source.state.conduct, situation.migrating):
        where = Where(side="source", node=node.name, bitmap=bitmap.name)
        yield codes.READ_ONLY_WHEN_STORED.at(where, bitmap=bitmap.name, node=node.name)
    for name, decisions in sorted(situation.decisions_of.items()):
        node = source.graph.nodes[name]
        stays = name not in situation.pairs_of and any(one.resolved.bitmap.persistent for one in decisions)
        if stays and node.driver == "qcow2" and node.read_only is None:
            yield incomplete("source", node, "ro")


def _names(situation: Situation, one: Pair) -> Iterator[Diagnostic]:
    there = one.destination.bitmap(one.name)
    if there is not None:
        facts: dict[str, Any] = {"destination": one.destination.name, "name": one.name}
        # left behind on shared storage it would come in the image, and meet the same
        stays = not one.bitmap.persistent or situation.sharing(one.source.name) != "shared"
        leave = fragment.leave(situation.policy, situation.source.graph, one.decisions) if stays else ()
        where = Where(side="destination", node=one.destination.name, bitmap=one.name)
        yield codes.BITMAP_ALREADY_THERE.at(where, **facts, fragments=leave)
    if "\ufffd" in one.bitmap.name:
        leave = fragment.leave(situation.policy, situation.source.graph, one.decisions)
        yield codes.NAME_GARBLED.at(one.where, bitmap=one.bitmap.name, node=one.source.name, fragments=leave)
    length = len(one.name.encode())
    if length > BITMAP_NAME_LIMIT:
        yield codes.NAME_IMPOSSIBLE.at(
            one.where, kind="bitmap name", name=one.name, length=length, limit=BITMAP_NAME_LIMIT
        )
    for side, node in (("source", one.source), ("destination", one.destination)):
        length = len(node.name.encode())
        if length > NODE_NAME_LIMIT:
            where = Where(side="source" if side == "source" else "destination", node=node.name)
            yield codes.NAME_IMPOSSIBLE.at(
                where, kind="node-name", name=node.name, length=length, limit=NODE_NAME_LIMIT
            )

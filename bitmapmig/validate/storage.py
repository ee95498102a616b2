"""What the images hold and can hold: persistence, stored copies, shared storage.

A destination that waits has not loaded the bitmaps stored in its images; they come up when it activates them. On shared
storage the stored copies are the source's own, marked `in-use` while it runs; on separate storage they are copies that
tell of another time. Sources: `qcow2_load_dirty_bitmaps`, `qcow2_co_can_store_new_dirty_bitmap`, measured.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from bitmapmig import codes
from bitmapmig.behaviour import BARE_NODES_STAY_INACTIVE
from bitmapmig.diagnostics import Diagnostic, Where
from bitmapmig.policy import fragment
from bitmapmig.resolve import selector
from bitmapmig.validate.bitmaps import read_only, travels
from bitmapmig.validate.situation import disk, facts_of, incomplete

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.graph import Bitmap, Node
    from bitmapmig.pair import Pair
    from bitmapmig.policy import Decision
    from bitmapmig.validate.situation import Situation

#: The largest bitmap that qcow2 stores, in bytes of bits (`BME_MAX_PHYS_SIZE`).
_STORED_LIMIT = 512 << 20
_BITS = 8


def check(situation: Situation) -> Iterator[Diagnostic]:
    """Findings about images (BM205, BM416, BM543 to BM549, BM565)."""
    yield from _disks(situation)
    for node, counterpart in sorted(situation.counterparts.items()):
        here = situation.source.graph.nodes[node]
        if counterpart.driver == "qcow2" and counterpart.stored is None:
            yield incomplete("destination", counterpart, "image.format-specific")
            continue
        contradiction = _contradiction(here, counterpart)
        if situation.sharing(node) == "shared" and contradiction:
            yield codes.STORAGE_CONTRADICTED.at(
                Where(side="source", node=node),
                node=node,
                destination=counterpart.name,
                what=contradiction,
                fragments=[_storage(situation, here, "separate")],
            )
            continue
        may_be_shared = situation.sharing(node) != "separate" and not contradiction
        for one in situation.pairs_of.get(node, ()):
            yield from _persistence(situation, one)
            yield from _arrival(situation, one, may_be_shared=may_be_shared)
        for decision in situation.decisions_of[node]:
            yield from _stale(situation, decision, counterpart)
    yield from _left_over(situation)


def by_storage(situation: Situation, decision: Decision) -> bool:
    """Whether a bitmap that the map leaves out still travels, in the image that both sides share."""
    node, bitmap = decision.resolved.node, decision.resolved.bitmap
    counterpart = situation.counterparts.get(node.name)
    return (
        decision.action == "leave-behind"
        and bitmap.persistent
        and not bitmap.inconsistent
        and counterpart is not None
        and situation.sharing(node.name) == "shared"
        and (node.stored_bitmap(bitmap.name) is not None if node.read_only else _no_store(node, bitmap) is None)
    )


def _disks(situation: Situation) -> Iterator[Diagnostic]:
    for name in situation.policy.storage.disks:
        if disk(situation.source.graph, name) is None:
            yield codes.STORAGE_DISK_MISSING.at(situation.policy.where(f"storage.disks.{name}"), disk=name)


def _contradiction(here: Node, there: Node) -> str | None:
    """In what two nodes differ that would be equal if both had one image open."""
    if here.virtual_size != there.virtual_size:
        return "size"
    if (here.driver, here.compat) != (there.driver, there.compat):
        return "format"
    if here.stored is not None and here.stored != there.stored:
        return "stored bitmaps"
    return None


def _storage(situation: Situation, node: Node, word: str) -> dict[str, Any]:
    """The fragment that says what the storage of one disk is."""
    if not situation.policy.storage.disks and situation.policy.storage.default == "unknown":
        return {"storage": word}
    named = selector(situation.source.graph, node.name)
    # a path cannot be said there, and the whole disk is not meant
    name = node.name if "path" in named else named.get("node-name") or named.get("device") or named["qdev"]
    return {"storage": {"disks": {name: word}}}


def _persistence(situation: Situation, one: Pair) -> Iterator[Diagnostic]:
    """A persistent bitmap must go where it can be stored."""
    if not one.persistent:
        return
    there = one.destination
    if there.read_only is None:
        yield incomplete("destination", there, "ro")
        return
    if there.driver == "qcow2" and there.compat is None:
        yield incomplete("destination", there, "image.format-specific.data.compat")
        return
    reason = _no_store(there, one.bitmap) or _never_active(situation, there)
    if not (reason or there.read_only):
        return
    fragments = (*_transient(situation, one), *_leave(situation, one))
    if reason:
        yield codes.PERSISTENCE_IMPOSSIBLE.at(one.where, **facts_of(one), reason=reason, fragments=fragments)
    else:
        yield codes.DESTINATION_READ_ONLY.at(one.where, **facts_of(one), fragments=fragments)


def _never_active(situation: Situation, there: Node) -> str | None:
    """Why the image is not activated after the migration, so that nothing is stored in it; None where it is."""
    end = situation.destination
    roots = [backend.root for backend in end.graph.backends if backend.root is not None]
    if not roots or not BARE_NODES_STAY_INACTIVE.harms(end.state.version):
        return None
    if any(there.name in end.graph.below(root) for root in roots):
        return None
    return f"QEMU {end.state.version_text} does not activate it after a migration, since no device is above it"


def _transient(situation: Situation, one: Pair) -> tuple[fragment.Fragment, ...]:
    """The fragment that makes the bitmap transient on its way, where nothing else keeps it from travelling."""
    schema = situation.source.state.schema
    mapping = ("migrate-set-parameters", "block-bitmap-mapping", "bitmaps", "transform", "persistent")
    if not travels(one) or schema is None or not schema.has(*mapping):
        return ()
    target = {**selector(situation.destination.graph, one.destination.name), "bitmap": one.name, "persistent": False}
    return fragment.send(situation.policy, situation.source.graph, one.decision, target)


def _no_store(node: Node, bitmap: Bitmap) -> str | None:
    """Why the image of a node cannot store a bitmap like this one; None where it can."""
    if node.driver != "qcow2":
        return f"its driver is {node.driver!r}"
    if node.compat == "0.10":
        return "it is a qcow2 image of version 2 (compat=0.10)"
    granules = (node.virtual_size or 0) / bitmap.granularity
    if granules / _BITS > _STORED_LIMIT:
        return f"a bitmap of granularity {bitmap.granularity} is too large for qcow2 on a disk of this size"
    return None


def _arrival(situation: Situation, one: Pair, *, may_be_shared: bool) -> Iterator[Diagnostic]:
    """What the image that the bitmap arrives on holds already."""
    there = one.destination
    stored = there.stored_bitmap(one.name)
    if stored is not None and not stored.in_use and there.bitmap(one.name) is None:
        where = Where(side="destination", node=there.name, bitmap=one.name)
        holds = "holds a clean stored bitmap"
        yield codes.BITMAP_STORED_THERE.at(where, destination=there.name, name=one.name, holds=holds)
    if may_be_shared:
        yield from _arrival_on_shared(situation, one)


def _arrival_on_shared(situation: Situation, one: Pair) -> Iterator[Diagnostic]:
    there, node = one.destination, one.source
    sharing = situation.sharing(node.name)
    own = there.stored_bitmap(one.bitmap.name)
    renamed = one.name != one.bitmap.name
    if own is not None and own.in_use and (renamed or not one.persistent):
        change = f"renames it to {one.name!r}" if renamed else "makes it transient"
        facts: dict[str, Any] = {"bitmap": one.bitmap.name, "node": node.name}
        if sharing == "shared":
            leave = _leave(situation, one)
            yield codes.STORED_COPY_ORPHANED.at(one.where, **facts, change=change, fragments=leave)
        else:
            harm = f"the policy {change}, which on shared storage leaves an inconsistent copy behind"
            yield _unless_separate(situation, one, harm)
    other = node.bitmap(one.name)
    if renamed and other is not None and other.persistent and not _migrates(situation, node, other.name):
        # the source stores what the map leaves out; the name is taken when the destination loads the image
        if sharing == "shared":
            where = Where(side="destination", node=there.name, bitmap=one.name)
            holds, leave = "is to hold the source's own", _leave(situation, one)
            yield codes.BITMAP_STORED_THERE.at(
                where, destination=there.name, name=one.name, holds=holds, fragments=leave
            )
        else:
            harm = f"on shared storage the source's own {one.name!r} comes up in the image"
            yield _unless_separate(situation, one, harm)


def _unless_separate(situation: Situation, one: Pair, harm: str) -> Diagnostic:
    """BM546 where a bitmap arrives as the policy says on separate storage only; `harm` is what happens on shared."""
    return codes.STORAGE_UNKNOWN.at(
        one.where,
        bitmap=one.bitmap.name,
        node=one.source.name,
        shared=harm,
        separate="on separate storage it arrives as the policy says",
        fragments=[_storage(situation, one.source, "separate"), *_leave(situation, one)],
    )


def _leave(situation: Situation, one: Pair) -> tuple[fragment.Fragment, ...]:
    return fragment.leave(situation.policy, situation.source.graph, [one.decision])


def _migrates(situation: Situation, node: Node, bitmap: str) -> bool:
    return any(one.bitmap.name == bitmap for one in situation.pairs_of.get(node.name, ()))


def _stale(situation: Situation, decision: Decision, counterpart: Node) -> Iterator[Diagnostic]:
    """A clean stored copy of what does not arrive under its name comes up on the destination and looks healthy."""
    node, bitmap = decision.resolved.node, decision.resolved.bitmap
    copy = counterpart.stored_bitmap(bitmap.name)
    if copy is None or copy.in_use or counterpart.bitmap(bitmap.name) is not None:
        return
    if any(one.name == bitmap.name for one in situation.pairs_of.get(node.name, ())):
        return  # another bitmap arrives under that name: BM543
    where = Where(side="source", node=node.name, bitmap=bitmap.name)
    facts: dict[str, Any] = {"bitmap": bitmap.name, "node": node.name}
    sharing = situation.sharing(node.name)
    # an image that is open read-only keeps its copies clean: on shared storage this one is the bitmap itself
    same_image = read_only(node, bitmap) and node.stored == counterpart.stored
    if same_image and sharing == "shared":
        return
    if same_image and sharing == "unknown":
        yield codes.STORAGE_UNKNOWN.at(
            where,
            **facts,
            shared="on shared storage it travels in the image",
            separate="on separate storage a stale copy of it comes up, looking healthy",
            fragments=[_storage(situation, node, "shared")],
        )
        return
    yield codes.STORED_COPY_STALE.at(where, **facts, destination=counterpart.name)


def _left_over(situation: Situation) -> Iterator[Diagnostic]:
    """Stored bitmaps of the destination's images that nothing of the source replaces or answers for."""
    answered: defaultdict[str, set[str]] = defaultdict(set)
    for one in situation.pairs:
        answered[one.destination.name].add(one.name)
    for node, counterpart in situation.counterparts.items():
        answered[counterpart.name].update(bitmap.name for bitmap in situation.source.graph.nodes[node].bitmaps)
    for there in situation.destination.graph.nodes.values():
        left = sorted(
            stored.name
            for stored in there.stored or ()
            if stored.name not in answered[there.name] and there.bitmap(stored.name) is None
        )
        if left:
            where = Where(side="destination", node=there.name)
            yield codes.STORED_COPY_LEFT.at(where, destination=there.name, bitmaps=left)

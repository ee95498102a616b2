"""What the images hold and can hold: persistence, stored copies, shared storage.

A destination that waits has not loaded the bitmaps stored in its images; they come up when it activates them. On shared
storage the stored copies are the source's own, marked `in-use` while it runs; on separate storage they are copies that
tell of another time. Sources: `qcow2_load_dirty_bitmaps`, `qcow2_co_can_store_new_dirty_bitmap`, measured.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from bitmapmig import codes
from bitmapmig.diagnostics import Diagnostic, Where
from bitmapmig.fate.storage import in_the_image, in_the_way, never_active, no_store
from bitmapmig.policy import fragment
from bitmapmig.resolve import selector
from bitmapmig.validate.bitmaps import travels
from bitmapmig.validate.situation import disk, facts_of, incomplete

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.graph import Node
    from bitmapmig.pair import Pair
    from bitmapmig.policy import Decision
    from bitmapmig.validate.situation import Situation


def check(situation: Situation) -> Iterator[Diagnostic]:
    """Findings about images (BM205, BM416, BM542 to BM549, BM556, BM565)."""
    yield from _disks(situation)
    for node, counterpart in sorted(situation.counterparts.items()):
        here = situation.source.graph.nodes[node]
        if counterpart.driver == "qcow2" and counterpart.stored is None:
            yield incomplete("destination", counterpart, "image.format-specific")
            continue
        collapses = any(one.merge for one in situation.pairs_of.get(node, ()))
        # one image that is open on both sides has its backing chain on both
        contradiction = "backing chain" if collapses else _contradiction(here, counterpart)
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
            name = decision.resolved.bitmap.name
            if by_storage(situation, decision) and in_the_way(counterpart, name):
                where = Where(side="destination", node=counterpart.name, bitmap=name)
                yield codes.BITMAP_ALREADY_THERE.at(where, destination=counterpart.name, name=name)
    yield from _left_over(situation)


def by_storage(situation: Situation, decision: Decision) -> bool:
    """Whether a bitmap that the map leaves out still travels, in the image that both sides share."""
    node, bitmap = decision.resolved.node, decision.resolved.bitmap
    counterpart = situation.counterparts.get(node.name)
    return (
        decision.action == "leave-behind"
        and counterpart is not None
        and situation.sharing(node.name) == "shared"
        and in_the_image(situation.source.graph, situation.source.state.conduct, node, bitmap)
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
    end = situation.destination
    reason = no_store(there, one.bitmap) or never_active(end.graph, end.state, there)
    if not (reason or there.read_only):
        return
    fragments = (*_transient(situation, one), *_leave(situation, one))
    if reason:
        yield codes.PERSISTENCE_IMPOSSIBLE.at(one.where, **facts_of(one), reason=reason, fragments=fragments)
    else:
        yield codes.DESTINATION_READ_ONLY.at(one.where, **facts_of(one), fragments=fragments)


def _transient(situation: Situation, one: Pair) -> tuple[fragment.Fragment, ...]:
    """The fragment that makes the bitmap transient on its way, where nothing else keeps it from travelling."""
    schema = situation.source.state.schema
    mapping = ("migrate-set-parameters", "block-bitmap-mapping", "bitmaps", "transform", "persistent")
    if not travels(one) or schema is None or not schema.has(*mapping):
        return ()
    target = {**selector(situation.destination.graph, one.destination.name), "bitmap": one.name, "persistent": False}
    return fragment.send(situation.policy, situation.source.graph, one.decision, target)


def _arrival(situation: Situation, one: Pair, *, may_be_shared: bool) -> Iterator[Diagnostic]:
    """What the image that the bitmap arrives on holds already."""
    there = one.destination
    stored = there.stored_bitmap(one.name)
    if stored is not None and not stored.in_use and there.bitmap(one.name) is None:
        where = Where(side="destination", node=there.name, bitmap=one.name)
        holds = "holds a clean stored bitmap"
        yield codes.BITMAP_STORED_THERE.at(where, destination=there.name, name=one.name, holds=holds)
    unusable = tuple(_superseded(situation, one))
    yield from unusable
    # what goes wrong in both cases does not depend on the storage
    if may_be_shared and (situation.sharing(one.source.name) == "shared" or not unusable):
        yield from _arrival_on_shared(situation, one)


def _superseded(situation: Situation, one: Pair) -> Iterator[Diagnostic]:
    """A stored copy that is in use is replaced only by a persistent bitmap of its name; else it stays, unusable.

    On storage that is not shared too: an image that was copied while a QEMU had it open holds such copies.
    """
    there, node, own = one.destination, one.source, one.bitmap.name
    arriving = {other.name for other in situation.pairs if other.destination == there and other.persistent}
    if situation.sharing(node.name) == "shared":
        # a copy of another name is the source's too, which stores it anew unless it migrates itself
        if own not in arriving and _unusable(there, own):
            change = f"renames it to {one.name!r}" if one.name != own else "makes it transient"
            facts: dict[str, Any] = {"bitmap": own, "node": node.name}
            yield codes.STORED_COPY_ORPHANED.at(one.where, **facts, change=change, fragments=_leave(situation, one))
        return
    for name in dict.fromkeys((own, one.name)):
        if name not in arriving and _unusable(there, name):
            what = "what arrives as that is transient" if name == one.name else f"{name!r} arrives as {one.name!r}"
            where = Where(side="destination", node=there.name, bitmap=name)
            leave = _leave(situation, one)
            yield codes.STORED_COPY_UNUSABLE.at(where, destination=there.name, name=name, what=what, fragments=leave)


def _unusable(there: Node, name: str) -> bool:
    """Whether the image holds a copy of that name that is in use, and not by this QEMU itself."""
    copy, loaded = there.stored_bitmap(name), there.bitmap(name)
    return copy is not None and copy.in_use and (loaded is None or loaded.inconsistent)


def _arrival_on_shared(situation: Situation, one: Pair) -> Iterator[Diagnostic]:
    there, node = one.destination, one.source
    sharing = situation.sharing(node.name)
    renamed = one.name != one.bitmap.name
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
    return fragment.leave(situation.policy, situation.source.graph, one.decisions)


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
    same_image = node.holds_read_only(bitmap) and node.stored == counterpart.stored
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
        # what is left behind is answered for by BM544, but for a copy that is in use in an image of its own
        separate = situation.sharing(node) == "separate"
        own = (one.resolved.bitmap.name for one in situation.decisions_of[node] if one.action == "leave-behind")
        unusable = {name for name in own if separate and _unusable(counterpart, name)}
        names = {bitmap.name for bitmap in situation.source.graph.nodes[node].bitmaps}
        answered[counterpart.name].update(names - unusable)
    for there in situation.destination.graph.nodes.values():
        left = sorted(
            stored.name
            for stored in there.stored or ()
            if stored.name not in answered[there.name] and there.bitmap(stored.name) is None
        )
        if left:
            where = Where(side="destination", node=there.name)
            yield codes.STORED_COPY_LEFT.at(where, destination=there.name, bitmaps=left)

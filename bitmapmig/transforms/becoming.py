"""Two graphs, before and after -> what became of each bitmap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from bitmapmig.resolve import RuleSet, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.graph import Bitmap, BlockGraph
    from bitmapmig.resolve import Resolved

Outcome: TypeAlias = Literal["stays", "moves", "is-lost", "turns-useless", "turns-busy", "changes", "is-new"]


class Becoming(BaseModel):
    """What became of one bitmap, with the address that it had and has now; `reason` is the end of a sentence.

    `moves` is another address: the bitmap is where it was, and what leads there is not. `turns-useless` is there, and
    is no longer a record of what the guest writes. `changes` are its own members: recording, persistent, granularity,
    and whether QEMU holds it read-only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    node: str
    bitmap: str
    outcome: Outcome
    reason: str
    address_before: str | None
    address_after: str | None


def becomes(before: BlockGraph, after: BlockGraph, rules: RuleSet = "explicit") -> tuple[Becoming, ...]:
    """What became of every bitmap of either graph, by node and name.

    Both are of one QEMU: a node of one name is the same node in both, a generated name too.
    """
    old, new = _addresses(before, rules), _addresses(after, rules)
    places = sorted(old.keys() | new.keys())
    return tuple(_one(before, after, old.get(place), new.get(place)) for place in places)


def _addresses(graph: BlockGraph, rules: RuleSet) -> dict[tuple[str, str], Resolved]:
    return {(one.node.name, one.bitmap.name): one for one in resolve(graph, rules)}


def _one(before: BlockGraph, after: BlockGraph, old: Resolved | None, new: Resolved | None) -> Becoming:
    known = new or old
    assert known is not None  # noqa: S101
    outcome, reason = _outcome(before, after, old, new)
    return Becoming(
        node=known.node.name,
        bitmap=known.bitmap.name,
        outcome=outcome,
        reason=reason,
        address_before=_name(old),
        address_after=_name(new),
    )


def _name(resolved: Resolved | None) -> str | None:
    return resolved.address.name if resolved is not None and resolved.address is not None else None


def _outcome(before: BlockGraph, after: BlockGraph, old: Resolved | None, new: Resolved | None) -> tuple[Outcome, str]:
    if old is None:
        return "is-new", "it was not there before"
    node, was = old.node.name, old.bitmap
    if new is None and node in after.nodes:
        return "is-lost", f"the node {node!r} is there, and has no bitmap of that name any more"
    if new is None:
        return "is-lost", f"the node {node!r} is gone, and its bitmaps with it"
    unreached = node in before.guest_written and node not in after.guest_written and after.writes_known
    changed = ", ".join((*_changed(was, new.bitmap), *_held(old, new)))
    told: tuple[tuple[bool, Outcome, str], ...] = (
        (
            new.bitmap.inconsistent and not was.inconsistent,
            "turns-useless",
            f"{was.name!r} was in use when its image was last open, and is inconsistent now",
        ),
        (unreached, "turns-useless", f"no write of the guest reaches {node!r} any more"),
        (new.bitmap.busy and not was.busy, "turns-busy", "something uses it"),
        (_name(old) != _name(new), "moves", f"its address is {_words(new)} now, {_words(old)} before"),
        (bool(changed), "changes", changed),
    )
    return next(((outcome, reason) for is_so, outcome, reason in told if is_so), ("stays", "nothing changes for it"))


def _words(resolved: Resolved) -> str:
    return repr(resolved.address.name) if resolved.address is not None else "none"


def _held(old: Resolved, new: Resolved) -> Iterator[str]:
    before, now = (one.node.holds_read_only(one.bitmap) for one in (old, new))
    if before != now:
        yield "QEMU holds it read-only now" if now else "no longer read-only"


def _changed(old: Bitmap, new: Bitmap) -> Iterator[str]:
    if old.busy and not new.busy:
        yield "no longer busy"
    for member, yes, no in (
        ("recording", "records again", "no longer records"),
        ("persistent", "persistent now", "no longer persistent"),
    ):
        if getattr(old, member) != getattr(new, member):
            yield yes if getattr(new, member) else no
    if old.granularity != new.granularity:
        yield f"granularity {new.granularity} instead of {old.granularity}"
    if old.count and not new.count:
        yield "clean now"

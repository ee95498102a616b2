"""An end as it was planned, and the same end now -> what changed, in words, and whether the plan depends on it.

Both structures are taken apart into facts. Every fact that differs is told by a change: first what several facts make
together (a filter inserted above a node, an overlay put on top), then what is left, fact by fact. A change is relevant
where one of its facts is in the relevant part of either structure, so that there is a relevant change exactly while the
fingerprints differ: a fact that comes to be relevant without a change of its own does so by another one that changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from bitmapmig.changes.facts import Half, facts
from bitmapmig.changes.kinds import KINDS, Change, change
from bitmapmig.changes.recognise import PATTERNS, Told, Way
from bitmapmig.changes.single import bitmaps, exports, jobs, single
from bitmapmig.plans.fingerprint import WHICH
from bitmapmig.plans.structure import relevant

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from typing import TypeAlias

    from bitmapmig.changes.facts import Key, Value
    from bitmapmig.plans.document import Identity
    from bitmapmig.plans.structure import Structure, StructureNode

    Place: TypeAlias = tuple[str, str]

_ORDER = {kind: position for position, kind in enumerate(KINDS)}
#: Roles by which a node holds the file that its image is in; its length is no size of a disk.
_FILE_ROLES = ("file", "data-file")


class Changes(BaseModel):
    """What changed on one side: what the plan depends on, and what it does not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    relevant: tuple[Change, ...]
    irrelevant: tuple[Change, ...]

    @property
    def words(self) -> str:
        """All of it in one line, the irrelevant last and marked; empty where nothing changed."""
        said = [one.words for one in self.relevant]
        said += [f"irrelevant: {one.words}" for one in self.irrelevant]
        return "; ".join(said)


def changes(
    before: Identity, now: Identity, *, busy: Collection[Place] = (), arriving: Collection[Place] = ()
) -> Changes:
    """What is different `now`, identified with the `names` of the structure `before`; else raises ValueError.

    The relevant changes are empty exactly when the fingerprints are equal. For a watcher: of the bitmaps in `busy`, as
    (node, bitmap), it does not count whether they are busy, as they are while they migrate; those in `arriving` do not
    count at all, as on a destination while they come in.
    """
    # as sets: those of a document that was edited may be in any order
    if set(before.structure.names) != set(now.structure.names):
        msg = "the structures are about different names"
        raise ValueError(msg)
    told = list(_which(before, now))
    here, there = (_without(one.structure, busy, arriving) for one in (before, now))
    found = _compared(here, there)
    told += found[0]
    return Changes(relevant=_sorted(told), irrelevant=_sorted(found[1]))


def differences(before: Structure, now: Structure) -> tuple[Change, ...]:
    """All that is different between two structures, whatever a plan depends on; how large a file is does not count."""
    return _sorted([one for found in _compared(before, now) for one in found])


def _which(before: Identity, now: Identity) -> Iterator[Change]:
    for member in WHICH:
        was, is_ = getattr(before, member), getattr(now, member)
        if was != is_:
            yield change(f"{member.replace('_', '-')}-changed", before=was, now=is_)


def _sorted(told: list[Change]) -> tuple[Change, ...]:
    return tuple(sorted(told, key=lambda one: (_ORDER[one.kind], one.words)))


def _without(whole: Structure, busy: Collection[Place], arriving: Collection[Place]) -> Structure:
    """The structure without what a watcher does not count."""
    touched = {node for node, _ in (*busy, *arriving)}
    if not touched:
        return whole

    def of(node: StructureNode) -> StructureNode:
        kept = [one for one in node.bitmaps if (node.name, one.name) not in arriving]
        still = [one.model_copy(update={"busy": False}) if (node.name, one.name) in busy else one for one in kept]
        return node.model_copy(update={"bitmaps": tuple(still)})

    return whole.model_copy(update={"nodes": tuple(of(one) if one.name in touched else one for one in whole.nodes)})


def _compared(before: Structure, now: Structure) -> tuple[list[Change], list[Change]]:
    """The changes between two structures, relevant and irrelevant."""
    halves = Half(before), Half(now)
    names = halves[0].nodes.keys() | halves[1].nodes.keys()
    touched = {name for name in names if halves[0].nodes.get(name) != halves[1].nodes.get(name)}
    old, new = facts(before, touched), facts(now, touched)
    differing = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    if not differing:
        return [], []
    depends = facts(relevant(before), touched).keys() | facts(relevant(now), touched).keys()
    differing -= {key for key in differing - depends if key[0] == "size" and _file(halves, key[1])}
    found: tuple[list[Change], list[Change]] = [], []
    for one in _told(halves, frozenset(differing), old, new):
        found[one.keys.isdisjoint(depends)].append(one.change)
    return found


def _file(halves: tuple[Half, Half], node: str) -> bool:
    """Whether a node that no bitmap is on is the file of an image, which grows as the guest writes."""
    return all(node in half.nodes for half in halves) and any(
        role in _FILE_ROLES for half in halves for _, role in half.parents.get(node, ())
    )


def _told(
    halves: tuple[Half, Half], left: frozenset[Key], old: Mapping[Key, Value], new: Mapping[Key, Value]
) -> Iterator[Told]:
    for pattern in (*PATTERNS, bitmaps, jobs, exports):
        forth, back = Way(*halves, left, forward=True), Way(*halves[::-1], left, forward=False)
        found = [one for way in (forth, back) for one in pattern(way)]
        yield from found
        left = left.difference(*(one.keys for one in found))
    yield from single(Way(*halves, left, forward=True), old, new)

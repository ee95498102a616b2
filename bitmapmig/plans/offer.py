"""A refusal, and the plan if chains were merged -> the refusal, which offers that where it cures something.

The top of a chain may lack a place on the destination, since it has another name there; then nothing is merged, and the
cure is the place of the top together with `collapse: true`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from bitmapmig import codes
from bitmapmig.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bitmapmig.collapse import Chain
    from bitmapmig.diagnostics import Diagnostic
    from bitmapmig.plans.document import Plan

Fragment: TypeAlias = dict[str, Any]

_COLLAPSE: Fragment = {"collapse": True}
#: Findings of a bitmap that goes nowhere as things are.
_NOWHERE = frozenset(one.code for one in (codes.DESTINATION_MISSING, codes.DESTINATION_EMPTY))
_PLACELESS = _NOWHERE | frozenset(
    one.code for one in (codes.ADDRESS_MISSING, codes.BACKENDS_SHARE_NODE, codes.FILTER_UNKNOWN, codes.BITMAP_UNCOVERED)
)
#: Why the bitmaps of a chain cannot be merged; their first fragment leaves all of them behind.
_UNMERGEABLE = frozenset(
    one.code
    for one in (
        codes.LAYER_LACKS_BITMAP,
        codes.LAYER_SIZE_DIFFERS,
        codes.MERGED_NOT_RECORDING,
        codes.LAYER_BITMAP_UNUSABLE,
        codes.BITMAP_INCONSISTENT,
        codes.BITMAP_BUSY,
        codes.BITMAP_READ_ONLY,
        codes.NAME_GARBLED,
    )
)


def places(refused: Plan, chains: Iterable[Chain]) -> dict[str, Fragment]:
    """The map entries that give the bitmaps of each chain's top a place, by the top; only where there is one.

    An entry is for the whole node where all its bitmaps lack a place and go to the same one, else for each bitmap.
    """
    found: dict[str, Fragment] = {}
    for top in sorted({chain.top for chain in chains}):
        placeless = [one for one in refused.refusals if _is_of(one, top) and one.code in _NOWHERE]
        entries = [entry for one in placeless if (entry := _entry(one)) is not None]
        if not entries:
            continue
        here = sum(one.node == top for one in refused.bitmaps)
        first = entries[0]
        if len(entries) == here and all(one["destination"] == first["destination"] for one in entries):
            node = {key: value for key, value in first["source"].items() if key != "bitmap"}
            entries = [{**first, "source": node}]
        found[top] = {"map": entries}
    return found


def merging(policy: Policy, placed: Mapping[str, Fragment]) -> Policy:
    """The policy with `collapse: true`, and with the entries of `places`."""
    entries = [entry for fragment in placed.values() for entry in fragment["map"]]
    return policy.model_copy(
        update={"collapse": True, "map": (*policy.map, *Policy.parse({"version": 1, "map": entries}).map)}
    )


def offered(
    refused: Plan, merged: Plan, policy: Policy, chains: Iterable[Chain], placed: Mapping[str, Fragment]
) -> Plan:
    """`refused` with a policy fragment in front of those of each finding that is cured by it.

    `merged` is the plan by the policy of `merging`. What cures is to merge, together with the place of the top; where
    merging is refused, to leave the bitmaps of that name on the whole chain behind, since one layer's alone would take
    along what only it has recorded. For what is about a node of the destination, it is offered where nothing new would
    be found.
    """
    offer = _Offer(refused, merged, policy, chains, placed)
    return refused.model_copy(update={"refusals": tuple(map(offer.mended, refused.refusals))})


class _Offer:
    """What is known of both plans, by place."""

    def __init__(
        self, refused: Plan, merged: Plan, policy: Policy, chains: Iterable[Chain], placed: Mapping[str, Fragment]
    ) -> None:
        self._collapse = {} if policy.collapse else _COLLAPSE
        self._placed = placed
        self._left, self._before = {_key(one) for one in merged.refusals}, {_key(one) for one in refused.refusals}
        self._fates = {(one.node, one.bitmap): one.fate for one in merged.bitmaps}
        chains = tuple(chains)
        self._tops: dict[tuple[str, str], str] = {
            (node, chain.name): chain.top for chain in chains for node in chain.nodes
        }
        self._merging = {
            chain.top
            for chain in chains
            if any(self._fates.get((node, chain.name)) == "merged" for node in chain.nodes)
        }
        self._problems = dict(self._found_by_merging(merged, chains))

    def _found_by_merging(self, merged: Plan, chains: Iterable[Chain]) -> Iterator[tuple[tuple[str, str], Diagnostic]]:
        """What keeps the bitmaps of a chain from being merged, by the place of each."""
        problems: dict[tuple[str | None, str | None], Diagnostic] = {}
        for one in merged.refusals:
            if one.code in _UNMERGEABLE and one.fragments and _key(one) not in self._before:
                problems.setdefault((one.where.node, one.where.bitmap), one)
        for chain in chains:
            here = [problems[node, chain.name] for node in chain.nodes if (node, chain.name) in problems]
            yield from (((node, chain.name), here[0]) for node in chain.nodes if here)

    def mended(self, one: Diagnostic) -> Diagnostic:
        """The finding, with its cure in front where it has one."""
        if one.where.side != "source" or one.where.bitmap is None:
            cured = "merged" in self._fates.values() and self._left <= self._before and _key(one) not in self._left
            return _first(one, self._collapse) if cured else one
        place = one.where.node or "", one.where.bitmap
        top = self._tops.get(place, place[0])
        if self._cured(one, place, top):
            return self._cure(one, top)
        problem = self._problems.get(place)
        if problem is not None and one.code in _PLACELESS:
            why = f"it cannot be merged with the others of the chain ({problem.code}): leave all of them behind, or "
            return _first(one, problem.fragments[0], why)
        return one

    def _cured(self, one: Diagnostic, place: tuple[str, str], top: str) -> bool:
        if _key(one) in self._left:
            return False
        if self._fates.get(place) == "merged":
            return True
        return one.code in _NOWHERE and place[0] in self._placed and top in self._merging

    def _cure(self, one: Diagnostic, top: str) -> Diagnostic:
        place = self._placed.get(top, {})
        if place and one.where.node == top:
            # the entry for this bitmap alone is in it
            one = one.model_copy(update={"fragments": one.fragments[1:]})
        why = f"give the bitmap on {top!r} a place, and this one is merged into it; or " if place else ""
        return _first(one, {**self._collapse, **place}, why if one.where.node != top else "")


def _first(one: Diagnostic, fragment: Fragment, why: str = "") -> Diagnostic:
    """The finding with a fragment in front, and `why` before its remedy."""
    if not fragment:
        return one
    return one.model_copy(update={"fragments": (fragment, *one.fragments), "remedy": why + one.remedy})


def _entry(one: Diagnostic) -> Fragment | None:
    """The map entry of the first cure of a finding, where that gives the bitmap a place."""
    entries = one.fragments[0].get("map") if one.fragments else None
    if not isinstance(entries, list) or len(entries) != 1:
        return None
    (entry,) = entries
    return entry if isinstance(entry, dict) and entry.get("destination") is not None else None


def _is_of(one: Diagnostic, node: str) -> bool:
    return one.where.side == "source" and one.where.node == node and one.where.bitmap is not None


def _key(one: Diagnostic) -> tuple[str, str | None, str | None, str | None]:
    return one.code, one.where.side, one.where.node, one.where.bitmap

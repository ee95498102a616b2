"""Two captures and a policy -> the plan, or the refusal: the stages from graph to plan, in their order.

Pure: the same input gives the same plan, whatever the order of QEMU's replies. Every stage is run as far as it can be,
so that a refusal lists everything that is wrong.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from bitmapmig import graph, profile, state
from bitmapmig.collapse import chains, collapse
from bitmapmig.diagnostics import Diagnostic, Severity, order
from bitmapmig.pair import destination_of, pair
from bitmapmig.plans import build, merging, offered, places
from bitmapmig.plans.document import Plan, Refused
from bitmapmig.policy import Policy, decide
from bitmapmig.resolve import resolve
from bitmapmig.validate import End, Situation, validate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bitmapmig.captures import Capture
    from bitmapmig.diagnostics import Side
    from bitmapmig.profile import Profile


def plan(
    source: Capture,
    destination: Capture,
    policy: Policy | None = None,
    *,
    provisional: bool = False,
    strict: bool = False,
    profiles: Sequence[Profile] = (),
) -> Plan:
    """The plan that takes every bitmap of `source` where `policy` wants it on `destination`.

    With `provisional` the destination is one of its like: that it waits for a migration is not asked for. With `strict`
    advice refuses as well. What `profiles` say of the QEMU of an end is taken in place of what is assumed of its
    version. Raises `Refused`, with the refused plan on it, and `CannotRunError` where a capture cannot be evaluated at
    all (BM108, BM111), or a profile is of neither QEMU (BM134) or contradicts another (BM135).
    """
    ends: list[End] = []
    found: list[Diagnostic] = []
    states = state.read(source), state.read(destination)
    known = profile.known(profiles, *states)
    for (side, capture), own, of in zip(_sides(source, destination), states, known, strict=True):
        read, problems = graph.read(capture, side)
        ends.append(End(side, read, replace(own, measured=of.measured), of.differing))
        found += problems
    made = plan_between(ends[0], ends[1], policy or Policy(), found, provisional=provisional, strict=strict)
    if made.verdict == "refused":
        raise Refused(made)
    return made


def _sides(source: Capture, destination: Capture) -> tuple[tuple[Side, Capture], ...]:
    return ("source", source), ("destination", destination)


def plan_between(
    source: End,
    destination: End,
    policy: Policy,
    found: Iterable[Diagnostic] = (),
    *,
    provisional: bool = False,
    strict: bool = False,
) -> Plan:
    """As `plan`, between two sides that are read or simulated already; the plan where it is refused as well.

    `found` is what is wrong with the two themselves.
    """
    found = tuple(found)
    made = _made(source, destination, policy, found, provisional=provisional, strict=strict)
    if made.verdict == "planned":
        return made
    found_chains = tuple(chains(source.graph))
    if not found_chains:
        return made
    again = partial(_made, source, destination, found=found, provisional=provisional, strict=strict)
    merged = made if policy.collapse else again(merging(policy, {}))
    placed = places(merged, found_chains)
    if placed:
        merged = again(merging(policy, placed))
    return made if merged is made else offered(made, merged, policy, found_chains, placed)


def _made(
    source: End, destination: End, policy: Policy, found: tuple[Diagnostic, ...], *, provisional: bool, strict: bool
) -> Plan:
    resolved = resolve(source.graph, policy.resolve or "explicit")
    decisions, found_by_policy = decide(policy, source.graph, resolved)
    there = partial(destination_of, policy, source=source.graph, destination=destination.graph)
    collapsed = collapse(
        policy, source.graph, decisions, found_by_policy, destination=destination.graph, destination_of=there
    )
    pairs, found_in_pairs = pair(policy, collapsed.decisions, collapsed.graph, destination.graph, collapsed.merges)
    situation = Situation(
        source=replace(source, graph=collapsed.graph),
        destination=destination,
        policy=policy,
        decisions=collapsed.decisions,
        pairs=pairs,
        provisional=provisional,
        untouched=source.graph,
    )
    every = (*found, *collapsed.found, *found_in_pairs, *validate(situation))
    if strict:
        every = tuple(one.model_copy(update={"severity": Severity.REFUSAL}) for one in every)
    return build(situation, _unique(every))


def _unique(found: tuple[Diagnostic, ...]) -> tuple[Diagnostic, ...]:
    """The findings in their order, each once: two stages may meet the same cause."""
    kept: dict[tuple[str, ...], Diagnostic] = {}
    for one in sorted(found, key=order):
        kept.setdefault(order(one), one)
    return tuple(kept.values())

"""Two captures and a policy -> the plan, or the refusal: the stages from graph to plan, in their order.

Pure: the same input gives the same plan, whatever the order of QEMU's replies. Every stage is run as far as it can be,
so that a refusal lists everything that is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig import graph, state
from bitmapmig.diagnostics import Diagnostic, Severity, order
from bitmapmig.pair import pair
from bitmapmig.plans import build
from bitmapmig.plans.document import Plan, Refused
from bitmapmig.policy import Policy, decide
from bitmapmig.resolve import resolve
from bitmapmig.validate import End, Situation, validate

if TYPE_CHECKING:
    from bitmapmig.captures import Capture


def plan(
    source: Capture,
    destination: Capture,
    policy: Policy | None = None,
    *,
    provisional: bool = False,
    strict: bool = False,
) -> Plan:
    """The plan that takes every bitmap of `source` where `policy` wants it on `destination`.

    With `provisional` the destination is one of its like: that it waits for a migration is not asked for. With `strict`
    advice refuses as well. Raises `Refused`, with the refused plan on it, and `CannotRunError` where a capture cannot
    be evaluated at all (BM108, BM111).
    """
    made = _plan(source, destination, policy or Policy(), provisional=provisional, strict=strict)
    if made.verdict == "refused":
        raise Refused(made)
    return made


def _plan(source: Capture, destination: Capture, policy: Policy, *, provisional: bool, strict: bool) -> Plan:
    source_graph, found_on_source = graph.read(source, "source")
    destination_graph, found_on_destination = graph.read(destination, "destination")
    resolved = resolve(source_graph, policy.resolve or "explicit")
    decisions, found_by_policy = decide(policy, source_graph, resolved)
    pairs, found_in_pairs = pair(policy, decisions, source_graph, destination_graph)
    situation = Situation(
        source=End("source", source_graph, state.read(source)),
        destination=End("destination", destination_graph, state.read(destination)),
        policy=policy,
        decisions=decisions,
        pairs=pairs,
        provisional=provisional,
    )
    found = (*found_on_source, *found_on_destination, *found_by_policy, *found_in_pairs, *validate(situation))
    if strict:
        found = tuple(one.model_copy(update={"severity": Severity.REFUSAL}) for one in found)
    return build(situation, _unique(found))


def _unique(found: tuple[Diagnostic, ...]) -> tuple[Diagnostic, ...]:
    """The findings in their order, each once: two stages may meet the same cause."""
    kept: dict[tuple[str, ...], Diagnostic] = {}
    for one in sorted(found, key=order):
        kept.setdefault(order(one), one)
    return tuple(kept.values())

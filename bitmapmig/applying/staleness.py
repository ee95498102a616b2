"""A plan and two fresh captures -> what has changed since, as far as the plan depends on it. Pure.

Three things are asked, each of which may have changed while the other two stand: which QEMUs these are, how their block
graphs hang together, and what the model of QEMU foretells with the planned maps set.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bitmapmig import codes, graph, state
from bitmapmig.applying.document import StaleError
from bitmapmig.changes import changes
from bitmapmig.diagnostics import Where
from bitmapmig.fate import Qemu, foretell
from bitmapmig.graph import Bitmap
from bitmapmig.plans.fingerprint import WHICH, identify
from bitmapmig.qapi import BitmapName, NodeName

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bitmapmig.captures import Capture
    from bitmapmig.changes import Changes
    from bitmapmig.diagnostics import Diagnostic, Side
    from bitmapmig.fate import ForetoldBitmap
    from bitmapmig.graph import BlockGraph
    from bitmapmig.plans import Plan
    from bitmapmig.plans.document import Identity, PlannedBitmap
    from bitmapmig.state import State


@dataclass(frozen=True)
class Seen:
    """One side, freshly captured: its graph, its state, and its identity as a plan made now would have it.

    `own` is the graph without temporaries, which do not count in the identity.
    """

    graph: BlockGraph
    own: BlockGraph
    state: State
    identity: Identity
    findings: tuple[Diagnostic, ...]

    @classmethod
    def of(cls, side: Side, planned: Identity, capture: Capture, temporaries: Collection[tuple[str, str]] = ()) -> Seen:
        """Read a capture; what the plan has from a profile holds on. Raises `CannotRunError` (BM108, BM111)."""
        found_graph, findings = graph.read(capture, side)
        found_state = replace(state.read(capture), measured=planned.measured)
        own = graph.without(found_graph, temporaries)
        return cls(found_graph, own, found_state, identify(found_state, own, planned.structure.names), findings)


def check(plan: Plan, source: Seen, destination: Seen) -> tuple[str, ...]:
    """The differences that do not matter, in words. Raises `StaleError` (BM711 to BM714) with all that do."""
    sides: tuple[tuple[Side, Identity, Seen], ...] = (
        ("source", plan.source, source),
        ("destination", plan.destination, destination),
    )
    found: list[Diagnostic] = []
    if source.state.process is not None and source.state.process == destination.state.process:
        found.append(codes.ENDS_ARE_ONE.at(Where()))
    irrelevant: list[str] = []
    for side, planned, seen in sides:
        changed = changes(planned, seen.identity)
        another = list(_another(side, planned, seen.identity))
        found += another or _outdated(side, planned, seen, changed)
        irrelevant += [f"{side}: {one.words}" for one in changed.irrelevant]
    if not found:
        found += _defeated(plan, source, destination)
    if found:
        raise StaleError(*found)
    return tuple(irrelevant)


def _another(side: Side, planned: Identity, now: Identity) -> Iterator[Diagnostic]:
    # another build of the same version need not behave as the one whose profile the plan was made with
    members = [name for name in (*WHICH, "package") if getattr(planned, name) != getattr(now, name)]
    if members:
        said = [f"{name} is {getattr(now, name)!r}, planned {getattr(planned, name)!r}" for name in members]
        yield codes.ANOTHER_QEMU.at(Where(side=side), side=side, differences="; ".join(said))


def _outdated(side: Side, planned: Identity, seen: Seen, changed: Changes) -> Iterator[Diagnostic]:
    yield from seen.findings
    # both say the same of a genuine plan; of one whose fingerprint was edited it is not known what changed
    if changed.relevant or planned.fingerprint != seen.identity.fingerprint:
        words = changed.words or "its fingerprint differs"
        details = [one.model_dump(mode="json") for one in changed.relevant]
        yield codes.PLAN_STALE.at(Where(side=side), side=side, changes=words, relevant=details)


def _defeated(plan: Plan, source: Seen, destination: Seen) -> Iterator[Diagnostic]:
    """What the model foretells, with the planned maps set, of a bitmap that is planned to arrive, unless it arrives.

    The graphs are those that were planned for, so what may have changed is the rest: what runs, waits, and is set.
    Where the policy accepted a finding, the same fate as was foretold with the plan is taken.
    """
    maps = plan.block_bitmap_mapping
    told = foretell(
        Qemu.of(
            _merged(plan, source.graph),
            source.state,
            mapping=maps.source,
            dirty_bitmaps=None if maps.source is None else True,
        ),
        Qemu.of(destination.graph, destination.state, mapping=maps.destination),
    )
    fates = {(one.node, one.bitmap): one for one in told.bitmaps}
    before = {(one.node, one.bitmap): one.outcome for one in plan.foretold.bitmaps} if plan.accepted else {}
    stored = (one for one in plan.bitmaps if one.fate == "by-storage")
    for one in (*plan.travelling, *stored):
        fate = fates.get((one.node, one.bitmap))
        if fate is None:
            continue
        outcome: str = fate.outcome
        reason, code = fate.reason, fate.code
        if one.fate == "by-storage":
            # what is in the image, the graphs tell; here it counts that the migration completes as it would have
            if told.migration == plan.foretold.migration:
                continue
            outcome, reason, code = "lost-with-another", told.reason, told.code
        elif _as_planned(one, fate) or before.get((one.node, one.bitmap)) == fate.outcome:
            continue
        where = Where(side="source", node=one.node, bitmap=one.bitmap)
        yield codes.PLAN_DEFEATED.at(
            where, bitmap=one.bitmap, node=one.node, outcome=outcome, reason=reason, explained_by=code
        )


def _merged(plan: Plan, there: BlockGraph) -> BlockGraph:
    """The graph with the temporaries of the plan: those that are there as they are, the others as they will be."""
    added: defaultdict[NodeName, list[Bitmap]] = defaultdict(list)
    for one in plan.merges:
        node = there.nodes.get(NodeName(one.node))
        if node is not None and node.bitmap(one.temporary) is None:
            added[node.name].append(
                Bitmap(
                    name=BitmapName(one.temporary),
                    granularity=one.granularity,
                    count=one.dirty_bytes,
                    recording=True,
                    busy=False,
                    persistent=False,
                    inconsistent=False,
                )
            )
    return graph.with_added(there, added) if added else there


def _as_planned(planned: PlannedBitmap, fate: ForetoldBitmap) -> bool:
    persistent = planned.persistent if planned.transform is None else planned.transform.persistent
    there = planned.destination_node, planned.destination_bitmap, persistent
    return fate.outcome == "arrives" and there == (fate.destination_node, fate.destination_bitmap, fate.persistent)

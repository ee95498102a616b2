"""One side of a plan -> how its stand-in is to be: the graph to build, and what is set on the QEMU besides.

What is told apart by names of the user's, machine types and uuids, is told apart by others of ours: that they differ is
what counts. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bitmapmig import codes
from bitmapmig.fate.process import not_waiting
from bitmapmig.plans.structure import graph_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from bitmapmig.diagnostics import Side
    from bitmapmig.graph import BlockGraph
    from bitmapmig.plans import Plan
    from bitmapmig.plans.document import Identity
    from bitmapmig.qapi import BitmapMigrationNodeAlias
    from bitmapmig.throwaway import Binary
    from bitmapmig.validate import End

#: The capabilities that decide something about bitmaps; others are not set on a stand-in.
_DECIDING = ("background-snapshot", "dirty-bitmaps", "validate-uuid")
#: The refusals by which a plan document tells that a capability was on at the source.
_TOLD_BY = {"BM523": "background-snapshot", "BM525": "validate-uuid"}

_VERSIONED = re.compile(r"pc-(?:i440fx|q35)-([0-9]{1,2})\.([0-9]{1,2})")


@dataclass(frozen=True)
class Stand:
    """One side as it is to be.

    `waiting` is whether it waits for a migration. `mapping` is what is in force there before anything is set, None for
    none. `measured` is what a profile said of QEMU `version` of `package` when the plan was made.
    """

    side: Side
    graph: BlockGraph
    version: str
    machine_type: str | None
    uuid: str | None
    waiting: bool
    mapping: tuple[BitmapMigrationNodeAlias, ...] | None = None
    capabilities: Collection[str] = ()
    package: str = ""
    measured: Mapping[str, bool] = field(default_factory=dict)


def stands(plan: Plan, ends: tuple[End, End] | None) -> tuple[Stand, Stand]:
    """Both sides: as they were captured, or as far as the plan document tells."""
    if ends is None:
        return _told("source", plan.source, plan), _told("destination", plan.destination, plan)
    return _captured(ends[0], plan.source, plan), _captured(ends[1], plan.destination, plan)


def _captured(end: End, identity: Identity, plan: Plan) -> Stand:
    state = end.state
    return Stand(
        side=end.side,
        graph=end.graph,
        version=state.version_text,
        machine_type=state.machine_type,
        uuid=state.uuid,
        # a destination that is only like the one to come is taken to wait, as the plan does
        waiting=state.run_state == "inmigrate"
        if end.side == "source"
        else plan.provisional or _accepted(plan) or not_waiting(state) is None,
        mapping=state.parameters.block_bitmap_mapping,
        capabilities=tuple(name for name in _DECIDING if state.capabilities.get(name)),
        package=identity.package,
        measured=identity.measured,
    )


def _accepted(plan: Plan) -> bool:
    """Whether the policy says that the destination will wait by then."""
    return any(one.code == codes.DESTINATION_NOT_WAITING.code for one in plan.accepted)


def _told(side: Side, identity: Identity, plan: Plan) -> Stand:
    refused = {one.code: one for one in plan.refusals}
    source = side == "source"
    waits = "BM511" in refused and refused["BM511"].facts.get("run_state") == "inmigrate"
    return Stand(
        side=side,
        graph=graph_of(identity.structure),
        version=identity.qemu_version,
        machine_type=identity.machine_type,
        uuid=identity.uuid,
        waiting=waits if source else "BM512" not in refused,
        capabilities=tuple(name for code, name in _TOLD_BY.items() if source and code in refused),
        package=identity.package,
        measured=identity.measured,
    )


def machines(stands: tuple[Stand, Stand], binaries: tuple[Binary, Binary]) -> tuple[str, str]:
    """The machine type of each stand-in: equal where those of the sides are, and different where they differ.

    A versioned one where the programs differ in version, as far as the user's is, since nothing else goes downward; one
    that both programs have.
    """
    guests = any(backend.qdev for stand in stands for backend in stand.graph.backends)
    types = stands[0].machine_type, stands[1].machine_type
    if None not in types and types[0] != types[1]:
        return ("pc", "none") if any(one.qdev for one in stands[0].graph.backends) else ("none", "pc")
    releases = sorted(binary.release for binary in binaries)
    found = _VERSIONED.fullmatch(types[0] or types[1] or "")
    if releases[0] != releases[1] and found is not None:
        major, minor = min((int(found[1]), int(found[2])), releases[0])
        one = f"pc-i440fx-{major}.{minor}"
    elif releases[0] != releases[1] and guests:
        one = f"pc-i440fx-{releases[0][0]}.{releases[0][1]}"
    else:
        one = "pc" if guests else "none"
    return one, one

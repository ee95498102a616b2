"""Can these two processes migrate at all: run states, versions, machine types, features, jobs.

Sources: QEMU's `migrate_prepare`, `qmp_migrate_incoming`, `vmstate_configuration`, `bdrv_inactivate_all`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bitmapmig import codes
from bitmapmig.behaviour import (
    BLOCKERS_UNTOLD,
    BLOCKING_FORMATS,
    FILTERS,
    JOBS,
    PREALLOCATE_BELOW_FORMAT,
    Version,
    downward_fails,
)
from bitmapmig.diagnostics import Diagnostic, Where
from bitmapmig.graph import NOT_FILTERS
from bitmapmig.qapi import NodeName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.graph import BlockGraph, Job, Node
    from bitmapmig.validate.situation import End, Situation

_NO_SOURCE = {
    "inmigrate": "it is waiting for a migration itself",
    "postmigrate": "it has been migrated already",
    "finish-migrate": "a migration is being completed",
    "save-vm": "a snapshot of the VM is being saved",
    "restore-vm": "a snapshot of the VM is being restored",
    "colo": "it is part of a COLO pair",
}
_MIGRATION_UNDER_WAY = frozenset(
    (
        "setup",
        "cancelling",
        "active",
        "postcopy-active",
        "postcopy-device",
        "postcopy-paused",
        "postcopy-recover",
        "postcopy-recover-setup",
        "colo",
        "pre-switchover",
        "device",
        "wait-unplug",
    )
)
_VERSIONED = re.compile(r".*-\d+\.\d+\Z")


def check(situation: Situation) -> Iterator[Diagnostic]:
    """Findings about the two processes (BM511 to BM525, BM561, BM562, BM564, BM602)."""
    yield from _source_able(situation.source)
    if not situation.provisional:
        yield from _destination_waiting(situation.destination)
    yield from _same_process(situation)
    yield from _versions(situation)
    yield from _features(situation)
    yield from _in_force(situation)
    yield from _jobs(situation)


def _source_able(source: End) -> Iterator[Diagnostic]:
    state, where = source.state, Where(side="source")
    if state.run_state in _NO_SOURCE:
        yield codes.SOURCE_NOT_ABLE.at(where, reason=_NO_SOURCE[state.run_state], run_state=state.run_state)
    elif state.migration.status in _MIGRATION_UNDER_WAY:
        yield codes.SOURCE_NOT_ABLE.at(where, reason="a migration is under way", migration=state.migration.status)
    formats = [node for node in source.graph.nodes.values() if node.driver in BLOCKING_FORMATS]
    if formats and BLOCKERS_UNTOLD.harms(state.version) and not state.migration.blocked_reasons:
        reasons = [f"the {node.driver} format of {node.name!r} does not support live migration" for node in formats]
        yield codes.MIGRATION_BLOCKED.at(where, reasons=reasons)
    if state.migration.blocked_reasons:
        yield codes.MIGRATION_BLOCKED.at(where, reasons=sorted(state.migration.blocked_reasons))
    elif state.migration.blocked:
        yield codes.MIGRATION_BLOCKED.at(where, reasons=["QEMU does not say why"])


def _destination_waiting(destination: End) -> Iterator[Diagnostic]:
    state, where = destination.state, Where(side="destination")
    if state.run_state != "inmigrate":
        yield codes.DESTINATION_NOT_WAITING.at(where, reason=f"its run state is {state.run_state!r}")
    elif state.migration.status not in (None, "none", "setup"):
        yield codes.DESTINATION_NOT_WAITING.at(where, reason=f"its migration is {state.migration.status!r} already")


def _same_process(situation: Situation) -> Iterator[Diagnostic]:
    source, destination = situation.source.state, situation.destination.state
    where = Where(side="destination")
    if source.process and destination.process:
        if source.process == destination.process:
            yield codes.SAME_PROCESS.at(where, reason="one process serves both sockets")
    elif source.monitors and (source.monitors, source.threads) == (destination.monitors, destination.threads):
        # the peers of a monitor's connection are in its name, so no second process has an equal list
        yield codes.SAME_PROCESS.at(where, reason="both have the same character devices and threads")


def _versions(situation: Situation) -> Iterator[Diagnostic]:
    source, destination = situation.source.state, situation.destination.state
    machines = source.machine_type, destination.machine_type
    where = Where(side="destination")
    if None not in machines and machines[0] != machines[1]:
        yield codes.MACHINE_TYPES_DIFFER.at(where, source=machines[0], destination=machines[1])
        return
    if not downward_fails(source.version, destination.version):
        return
    versions: dict[str, Any] = {"source": source.version_text, "destination": destination.version_text}
    if None in machines:
        side = "source" if machines[0] is None else "destination"
        yield codes.MACHINE_TYPE_UNKNOWN.at(where, side=side, **versions)
    elif not _VERSIONED.match(machines[0] or ""):
        yield codes.VERSION_DOWNWARD.at(where, **versions, machine=machines[0])


def _features(situation: Situation) -> Iterator[Diagnostic]:
    if not situation.pairs:
        return  # nothing is sent, so nothing is needed
    for end in situation.ends:
        where = Where(side=end.side)
        if end.state.schema is None:
            yield codes.SCHEMA_MISSING.at(where, side=end.side)
        elif "dirty-bitmaps" not in end.state.schema.values("migrate-set-capabilities", "capabilities", "capability"):
            yield codes.DIRTY_BITMAPS_UNSUPPORTED.at(where, side=end.side)
    source, destination = situation.source.state, situation.destination.state
    uuids = source.uuid, destination.uuid
    if source.capabilities.get("validate-uuid") and None not in uuids and uuids[0] != uuids[1]:
        yield codes.UUIDS_DIFFER.at(Where(side="destination"), source=source.uuid, destination=destination.uuid)
    if situation.source.state.capabilities.get("background-snapshot"):
        yield codes.CAPABILITY_CONFLICT.at(Where(side="source"), capability="background-snapshot")


def _in_force(situation: Situation) -> Iterator[Diagnostic]:
    for end in situation.ends:
        if situation.pairs and end.state.parameters.block_bitmap_mapping is not None:
            yield codes.MAPPING_IN_FORCE.at(Where(side=end.side), side=end.side)
        if end.state.capabilities.get("dirty-bitmaps"):
            yield codes.CAPABILITY_LEFT_ON.at(Where(side=end.side), side=end.side)


def _jobs(situation: Situation) -> Iterator[Diagnostic]:
    graph, version = situation.source.graph, situation.source.state.version
    where = Where(side="source")
    owned: set[NodeName] = set()
    for job in graph.jobs:
        if not job.active:
            continue
        owned.update(job.nodes)
        if job.type in JOBS and JOBS[job.type].harms(version) and _holds_a_disk(graph, job, version):
            yield codes.JOB_STOPS_SWITCH_OVER.at(where, type=job.type, job=job.id)
        if job.type == "mirror":
            mirrored = set(job.nodes) - set(job.targets)
            written = sorted(
                f"{one.source.name}/{one.bitmap.name}" for one in situation.pairs if one.source.name in mirrored
            )
            if written:
                yield codes.MIRROR_PIVOT_LOSES.at(where, job=job.id, bitmaps=written)
    yield from _exports_and_filters(graph, version, owned)


def _exports_and_filters(graph: BlockGraph, version: Version, owned: set[NodeName]) -> Iterator[Diagnostic]:
    """Writers and filters that keep block nodes from being inactivated; those of a job in `owned` go with the job."""
    where = Where(side="source")
    for export in graph.exports:
        if export.writable is not False:
            place = where.model_copy(update={"node": export.node})
            yield codes.EXPORT_STOPS_SWITCH_OVER.at(place, export=export.id, node=export.node)
    for node in graph.nodes.values():
        if _preallocates_for_a_format(graph, node) and PREALLOCATE_BELOW_FORMAT.harms(version):
            place = where.model_copy(update={"node": node.name})
            yield codes.FILTER_STOPS_SWITCH_OVER.at(place, driver=node.driver, node=node.name)
        if node.driver in FILTERS and node.name not in owned and FILTERS[node.driver].harms(version):
            place = where.model_copy(update={"node": node.name})
            yield codes.FILTER_STOPS_SWITCH_OVER.at(place, driver=node.driver, node=node.name)


def _preallocates_for_a_format(graph: BlockGraph, node: Node) -> bool:
    """Whether this is a preallocate filter below a format; above one, or below raw or quorum, it does no harm."""
    if node.driver != "preallocate":
        return False
    above = [graph.nodes[NodeName(name)] for kind, name in graph.parents(node.name) if kind == "node"]
    return any(parent.driver in NOT_FILTERS - {"raw", "quorum"} for parent in above)


def _holds_a_disk(graph: BlockGraph, job: Job, version: Version) -> bool:
    """Whether a backend is above what the job holds; without one some jobs do no harm.

    Measured: from 7.2 on a backup and an active commit fail the switch-over only below a device or a drive.
    """
    intermediate = any(graph.nodes[node].driver == "commit_top" for node in job.nodes)
    if job.type not in ("backup", "commit") or intermediate or version[:2] < (7, 2) or not job.nodes:
        return True
    return any(backend.root is not None and graph.below(backend.root) & set(job.nodes) for backend in graph.backends)


def assumptions(situation: Situation) -> tuple[str, ...]:
    """The behaviours that were taken from the table by version, because no query shows them; sorted."""
    graph = situation.source.graph
    used = {JOBS[job.type].name for job in graph.jobs if job.active and job.type in JOBS}
    used |= {FILTERS[node.driver].name for node in graph.nodes.values() if node.driver in FILTERS}
    if any(_preallocates_for_a_format(graph, node) for node in graph.nodes.values()):
        used.add(PREALLOCATE_BELOW_FORMAT.name)
    if any(node.driver in BLOCKING_FORMATS for node in graph.nodes.values()):
        used.add(BLOCKERS_UNTOLD.name)
    versions: tuple[Version, Version] = (situation.source.state.version, situation.destination.state.version)
    if versions[0][:2] > versions[1][:2]:
        used.add("migration-to-an-older-version")
    return tuple(sorted(used))

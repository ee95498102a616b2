"""Can these two processes migrate at all: run states, versions, machine types, features, jobs.

Sources: QEMU's `migrate_prepare`, `qmp_migrate_incoming`, `vmstate_configuration`, `bdrv_inactivate_all`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitmapmig import codes
from bitmapmig.behaviour import (
    BARE_NODES_PASSED_OVER,
    BLOCKERS_UNTOLD,
    BLOCKING_FORMATS,
    FILTERS,
    JOBS,
    PREALLOCATE_BELOW_FORMAT,
    downward_fails,
)
from bitmapmig.diagnostics import Diagnostic, Where
from bitmapmig.fate import Qemu, foretell
from bitmapmig.fate.process import blockers, not_waiting, source_unable, uuids_fail, versioned, virtio_disks
from bitmapmig.fate.storage import bare_beside_others
from bitmapmig.fate.switch_over import obstacles, preallocates_for_a_format
from bitmapmig.graph import Export, Job, Node
from bitmapmig.validate.unclean import capability_left_on, mapping_in_force

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.validate.situation import End, Situation


def check(situation: Situation) -> Iterator[Diagnostic]:
    """Findings about the two processes (BM511 to BM528, BM561, BM562, BM564, BM602)."""
    yield from _source_able(situation.source)
    if not situation.provisional:
        yield from _destination_waiting(situation.destination)
    yield from _same_process(situation)
    yield from _versions(situation)
    yield from _guest_devices(situation)
    yield from _features(situation)
    yield from _in_force(situation)
    yield from _switch_over(situation)
    yield from _model(situation)


def without_bitmaps(situation: Situation) -> Iterator[Diagnostic]:
    """BM528 where nothing is to migrate but the VM: no bitmap can be lost, so it is no refusal."""
    source, destination = (Qemu.of(end.graph, end.state, dirty_bitmaps=False) for end in situation.ends)
    told = foretell(source, destination, provisional=situation.provisional)
    if told.migration in ("fails", "destination-dies") and told.code is not None:
        where = Where(side="source")
        yield codes.MIGRATION_FORETOLD_TO_FAIL.at(where, reason=told.reason, explained_by=told.code)


def _source_able(source: End) -> Iterator[Diagnostic]:
    state, where = source.state, Where(side="source")
    unable = source_unable(state)
    if unable is not None:
        status = state.migration.status
        yield codes.SOURCE_NOT_ABLE.at(where, reason=unable, run_state=state.run_state, migration=status)
    reasons = blockers(source.graph, state)
    if reasons:
        yield codes.MIGRATION_BLOCKED.at(where, reasons=list(reasons))


def _destination_waiting(destination: End) -> Iterator[Diagnostic]:
    why = not_waiting(destination.state)
    if why is not None:
        yield codes.DESTINATION_NOT_WAITING.at(Where(side="destination"), reason=why)


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
    elif not versioned(machines[0]):
        yield codes.VERSION_DOWNWARD.at(where, **versions, machine=machines[0])


def _guest_devices(situation: Situation) -> Iterator[Diagnostic]:
    """A destination that lacks devices, also one of its like: what is planned for it would not be for the other."""
    here, there = (virtio_disks(end.graph) for end in situation.ends)
    if len(here) > len(there):
        gone = here - there
        lacking = sorted({one.guest_device or one.qdev for one in situation.source.graph.backends if one.qdev in gone})
        yield codes.GUEST_DEVICES_MISSING.at(
            Where(side="destination"), source=len(here), destination=len(there), lacking=lacking
        )


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
    if uuids_fail(source, destination):
        yield codes.UUIDS_DIFFER.at(Where(side="destination"), source=source.uuid, destination=destination.uuid)
    if situation.source.state.capabilities.get("background-snapshot"):
        yield codes.CAPABILITY_CONFLICT.at(Where(side="source"), capability="background-snapshot")


def _in_force(situation: Situation) -> Iterator[Diagnostic]:
    for end in situation.ends:
        if situation.pairs:
            yield from mapping_in_force(end.side, end.graph, end.state)
        yield from capability_left_on(end.side, end.graph, end.state)


def _switch_over(situation: Situation) -> Iterator[Diagnostic]:
    graph, state = situation.source.graph, situation.source.state
    where = Where(side="source")
    for obstacle in obstacles(graph, state.conduct):
        match obstacle.cause:
            case Job(id=name, type=kind):
                yield codes.JOB_STOPS_SWITCH_OVER.at(where, type=kind, job=name)
            case Export(id=name, node=node):
                place = where.model_copy(update={"node": node})
                yield codes.EXPORT_STOPS_SWITCH_OVER.at(place, export=name, node=node)
            case Node(name=node, driver=driver):
                place = where.model_copy(update={"node": node})
                yield codes.FILTER_STOPS_SWITCH_OVER.at(place, driver=driver, node=node)
    for job in graph.jobs:
        if not job.active or job.type != "mirror":
            continue
        mirrored = set(job.nodes) - set(job.targets)
        lost = sorted(f"{one.source.name}/{one.bitmap.name}" for one in situation.pairs if one.source.name in mirrored)
        if lost:
            yield codes.MIRROR_PIVOT_LOSES.at(where, job=job.id, bitmaps=lost)


def _model(situation: Situation) -> Iterator[Diagnostic]:
    """What a profile says of an end that the model has no place for."""
    for end in situation.ends:
        if end.differing:
            said = [
                f"{one.name!r} ({one.question!r}): assumed {one.assumed!r}, answered {one.answer!r}"
                for one in end.differing
            ]
            yield codes.MODEL_DOES_NOT_FIT.at(
                Where(side=end.side),
                side=end.side,
                qemu=end.state.program,
                differences="; ".join(said),
                experiments=[one.name for one in end.differing],
            )


def assumptions(situation: Situation) -> tuple[str, ...]:
    """The behaviours that were taken from the table by version, because no query and no profile shows them; sorted."""
    graph, here, there = situation.source.graph, situation.source.state, situation.destination.state
    used = {JOBS[job.type].name for job in graph.jobs if job.active and job.type in JOBS}
    used |= {FILTERS[node.driver].name for node in graph.nodes.values() if node.driver in FILTERS}
    if any(preallocates_for_a_format(graph, node) for node in graph.nodes.values()):
        used.add(PREALLOCATE_BELOW_FORMAT.name)
    if any(node.driver in BLOCKING_FORMATS for node in graph.nodes.values()):
        used.add(BLOCKERS_UNTOLD.name)
    used -= here.measured.keys()
    bare = any(
        one.persistent and bare_beside_others(situation.destination.graph, one.destination) for one in situation.pairs
    )
    if bare and BARE_NODES_PASSED_OVER.name not in there.measured:
        used.add(BARE_NODES_PASSED_OVER.name)
    if here.version[:2] > there.version[:2]:
        used.add("migration-to-an-older-version")
    return tuple(sorted(used))

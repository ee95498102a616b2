"""What makes a migration of the whole VM fail, whatever its bitmaps: run states, blockers, machines, versions.

Sources: `migrate_prepare`, `qmp_migrate_incoming`, `migrate_caps_check`, `configuration_post_load`,
`loadvm_process_command`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from bitmapmig import codes
from bitmapmig.behaviour import BLOCKERS_UNTOLD, BLOCKING_FORMATS, downward_fails
from bitmapmig.diagnostics import Side

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.diagnostics import Code
    from bitmapmig.fate.qemu import Qemu
    from bitmapmig.graph import BlockGraph
    from bitmapmig.state import State

#: Run states in which `migrate` is refused, or comes to nothing good, and why.
NO_SOURCE = {
    "inmigrate": "it is waiting for a migration itself",
    "postmigrate": "it has been migrated already",
    "finish-migrate": "a migration is being completed",
    "save-vm": "a snapshot of the VM is being saved",
    "restore-vm": "a snapshot of the VM is being restored",
    "colo": "it is part of a COLO pair",
}
#: What `query-migrate` says while a migration is under way (QAPI `MigrationStatus`).
UNDER_WAY = frozenset(
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
#: How the `qdev` of a virtio-blk device ends: the part of it that is the same on PCI and on CCW.
_VIRTIO_DISK = "/virtio-backend"
#: The end of the line about state that no device is there for, which names the place of the device on its bus.
_NO_SUCH_DEVICE = "Make sure that your current VM setup matches your saved VM setup"


class Stop(NamedTuple):
    """Why a migration fails as a whole.

    It is refused when it is `begun`, or fails at the `first` section, at the `switch-over`, or at the state of
    `devices`, which comes after the bits of the bitmaps.
    """

    when: Literal["begun", "first", "switch-over", "devices"]
    reason: str
    code: Code
    side: Side = "source"
    line: str | None = None


def stops(source: Qemu, destination: Qemu | None, *, provisional: bool) -> Iterator[Stop]:
    """What stops the migration, in the order in which QEMU meets it, as far as the sides are known.

    With `provisional` it is not held against the destination that it does not wait.
    """
    here = source.state
    if source.dirty_bitmaps and here.capabilities.get("background-snapshot"):
        reason = "the capability background-snapshot is on as well"
        yield Stop("begun", reason, codes.CAPABILITY_CONFLICT)
    why = not_waiting(destination.state) if destination and not provisional else None
    if why is not None:
        reason = f"the destination is not waiting: {why}"
        yield Stop("begun", reason, codes.DESTINATION_NOT_WAITING, "destination")
    why = source_unable(here)
    if why is not None:
        yield Stop("begun", f"the source cannot start a migration: {why}", codes.SOURCE_NOT_ABLE)
    for reason in blockers(source.graph, here):
        yield Stop("begun", reason, codes.MIGRATION_BLOCKED)
    if destination is not None:
        yield from _between(here, destination.state)
        disks = len(virtio_disks(source.graph)), len(virtio_disks(destination.graph))
        if disks[0] > disks[1]:
            reason = f"the source has {disks[0]} virtio-blk devices and the destination {disks[1]}"
            yield Stop("devices", reason, codes.GUEST_DEVICES_MISSING, "destination", _NO_SUCH_DEVICE)


def _between(here: State, there: State) -> Iterator[Stop]:
    """What the destination does not take from this source."""
    machines = here.machine_type, there.machine_type
    if None not in machines and machines[0] != machines[1]:
        line = f"Machine type received is '{machines[0]}' and local is '{machines[1]}'"
        yield Stop("first", "the machine types differ", codes.MACHINE_TYPES_DIFFER, "destination", line)
    if uuids_fail(here, there):
        line = f"UUID received is {here.uuid} and local is {there.uuid}"
        yield Stop("first", "the uuids differ", codes.UUIDS_DIFFER, "destination", line)
    if downward_fails(here.version, there.version) and not versioned(here.machine_type):
        reason = f"QEMU {there.version_text} does not know what {here.version_text} sends"
        yield Stop("switch-over", reason, codes.VERSION_DOWNWARD, "destination", "MIG_CMD 0xb unknown")


def not_waiting(state: State) -> str | None:
    """Why a QEMU does not take a migration; None where it waits for one."""
    if state.run_state != "inmigrate":
        return f"its run state is {state.run_state!r}"
    if state.migration.status not in (None, "none", "setup"):
        return f"its migration is {state.migration.status!r} already"
    return None


def source_unable(state: State) -> str | None:
    """Why a QEMU cannot start a migration; None where it can."""
    if state.run_state in NO_SOURCE:
        return NO_SOURCE[state.run_state]
    return "a migration is under way" if state.migration.status in UNDER_WAY else None


def blockers(graph: BlockGraph, state: State) -> tuple[str, ...]:
    """Why the source refuses to migrate at all, as it says itself, or as its formats tell where it does not say."""
    if state.migration.blocked_reasons:
        return tuple(sorted(state.migration.blocked_reasons))
    if state.migration.blocked:
        return ("QEMU does not say why",)
    if not BLOCKERS_UNTOLD.harms(state.conduct):
        return ()
    formats = [node for node in graph.nodes.values() if node.driver in BLOCKING_FORMATS]
    return tuple(f"the {node.driver} format of {node.name!r} does not support live migration" for node in formats)


def uuids_fail(source: State, destination: State) -> bool:
    """Whether the destination exits over the uuid; only the source's capability `validate-uuid` counts."""
    uuids = source.uuid, destination.uuid
    return bool(source.capabilities.get("validate-uuid")) and None not in uuids and uuids[0] != uuids[1]


def virtio_disks(graph: BlockGraph) -> frozenset[str]:
    """The virtio-blk devices of the guest, by `qdev`.

    Each sends state of its own, which fails where there is no such device at that place of the bus; places are in no
    query, so only that there are fewer on the destination is certain to fail. Of other devices `qdev` does not tell the
    kind: what lacks a SCSI disk fails, what lacks an IDE disk or a floppy does not. Source:
    `qemu_loadvm_section_start_full`.
    """
    return frozenset(one.qdev for one in graph.backends if one.qdev is not None and one.qdev.endswith(_VIRTIO_DISK))


def versioned(machine_type: str | None) -> bool:
    """Whether a machine type means the same in every version of QEMU, as `pc-q35-7.2` does."""
    return machine_type is not None and bool(_VERSIONED.match(machine_type))

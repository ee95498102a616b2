"""What storage operations do to a block graph: pure functions from a graph to the one that QEMU has afterwards.

One operation is one class, in one phase: the command that begins it, the event that ends it. Each was run on real QEMUs
and compared; where versions differ, the class says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from bitmapmig import codes
from bitmapmig.captures import printable
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.transforms import (
    backup,
    bitmaps,
    commit,
    devices,
    exports,
    filters,
    jobs,
    mirror,
    nodes,
    process,
    snapshot,
    speed,
    stream,
    transaction,
)
from bitmapmig.transforms.becoming import Becoming, becomes
from bitmapmig.transforms.draft import Draft, OperationRefusedError
from bitmapmig.transforms.operation import Operation

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OPERATIONS", "Becoming", "Draft", "Operation", "OperationRefusedError", "becomes", "read"]

#: Every operation by its word.
OPERATIONS: Mapping[str, type[Operation]] = {
    one.word: one
    for one in (
        bitmaps.BlockDirtyBitmapAdd,
        bitmaps.BlockDirtyBitmapRemove,
        bitmaps.BlockDirtyBitmapClear,
        bitmaps.BlockDirtyBitmapEnable,
        bitmaps.BlockDirtyBitmapDisable,
        bitmaps.BlockDirtyBitmapMerge,
        nodes.BlockdevAdd,
        nodes.BlockdevDel,
        snapshot.BlockdevSnapshot,
        snapshot.BlockdevSnapshotSync,
        filters.BlockdevReopen,
        filters.XBlockdevReopen,
        filters.QomSet,
        transaction.Transaction,
        mirror.BlockdevMirror,
        mirror.DriveMirror,
        backup.BlockdevBackup,
        backup.DriveBackup,
        commit.BlockCommit,
        stream.BlockStream,
        speed.BlockJobSetSpeed,
        jobs.BlockJobComplete,
        jobs.JobComplete,
        jobs.BlockJobCancel,
        jobs.JobCancel,
        jobs.JobFinalize,
        jobs.BlockJobFinalize,
        jobs.JobDismiss,
        jobs.BlockJobDismiss,
        jobs.BlockJobReady,
        jobs.BlockJobPending,
        jobs.BlockJobCompleted,
        jobs.BlockJobCancelled,
        exports.BlockExportAdd,
        exports.BlockExportDel,
        exports.BlockExportDeleted,
        exports.NbdServerStart,
        exports.NbdServerStop,
        exports.NbdServerAdd,
        exports.NbdServerRemove,
        process.ShutdownAndRestart,
        process.CrashAndRestart,
        process.Incoming,
        devices.DeviceAdd,
        devices.DeviceDel,
        devices.DeviceDeleted,
    )
}


def read(word: str, arguments: Mapping[str, object], where: Where | None = None) -> Operation:
    """The operation that `word` and its arguments say; findings are placed at `where`.

    Raises `CannotRunError`: BM251 where there is no such operation, BM252 where its arguments do not fit it.
    """
    where = where or Where()
    kind = OPERATIONS.get(word)
    if kind is None:
        known = sorted(OPERATIONS)
        remedy = codes.OPERATION_UNKNOWN.remedy.format(known=", ".join(known))
        raise CannotRunError(codes.OPERATION_UNKNOWN.at(where, operation=word, known=known, remedy=remedy))
    try:
        return kind.model_validate(dict(arguments))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        reasons = (f"{'.'.join(map(str, one['loc'])) or 'the arguments'}: {one['msg']}" for one in found)
        reason = printable("; ".join(reasons))
        raise CannotRunError(codes.OPERATION_MALFORMED.at(where, operation=word, reason=reason)) from error

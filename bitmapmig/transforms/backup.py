"""`blockdev-backup` and `drive-backup`: a disk is copied as it was when the job began, while the guest writes to it.

    drive0 -> fmt0                                  before, and after
    drive0 -> copy-before-write -> fmt0             while it runs; up to 6.1 the filter is `backup-top`
                      '-- target --> target

Sources: `do_backup_common`, `do_drive_backup` in `blockdev.c`, `backup_job_create`, `backup_cleanup_sync_bitmap` in
`block/backup.c`, `bdrv_cbw_append`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bitmapmig.graph import Job, Orders
from bitmapmig.qapi import BitmapName, NodeName
from bitmapmig.transforms import chain, opening, starting
from bitmapmig.transforms.operation import Arguments, Operation

if TYPE_CHECKING:
    from bitmapmig.transforms.draft import Draft

OnError = Literal["report", "ignore", "enospc", "stop", "auto"]
Mode = Literal["on-success", "never", "always"]
#: The last release whose filter is the older one.
_BACKUP_TOP = (6, 1)
#: The last measured release that does not know an argument.
_UNKNOWN = {"x_perf": (5, 2), "discard_source": (7, 2), "on_cbw_error": (10, 0)}
_NOT_COMPRESSING = ("file", "null-aio", "null-co", "raw")


@dataclass(frozen=True, slots=True)
class BackupOrders(Orders):
    """What a backup was told: the bitmap of the source that it works with, and when that becomes clean."""

    bitmap: BitmapName | None = None
    mode: Mode | None = None


class Perf(Arguments):
    """QAPI `BackupPerf`."""

    use_copy_range: bool | None = None
    max_workers: int | None = None
    max_chunk: int | None = None
    min_cluster_size: int | None = None


class _Backup(Operation):
    """What both commands take; what only says how fast or how careful the job is changes nothing here."""

    job_id: str | None = None
    device: str
    target: str
    sync: Literal["top", "full", "none", "incremental", "bitmap"]
    speed: int | None = None
    bitmap: str | None = None
    bitmap_mode: Mode | None = None
    compress: bool = False
    on_source_error: OnError | None = None
    on_target_error: OnError | None = None
    on_cbw_error: Literal["break-guest-write", "break-snapshot"] | None = None
    filter_node_name: str | None = None
    discard_source: bool | None = None
    x_perf: Perf | None = None
    auto_finalize: bool = True
    auto_dismiss: bool = True

    def source(self, draft: Draft) -> NodeName:
        """The node that is copied, which may have nodes above it; no job may hold it."""
        for argument, release in _UNKNOWN.items():
            if argument in self.model_fields_set and draft.release <= release:
                draft.refuse(f"{argument.replace('_', '-')} is not known")
        source = draft.lookup(self.device)
        starting.free(draft, source)
        return source

    def begin(self, draft: Draft, source: NodeName, target: NodeName) -> None:
        """Put the filter in and let the job run."""
        identity = starting.job_id(draft, self.job_id, source)
        sizes = draft.nodes[source].virtual_size, draft.nodes[target].virtual_size
        if sizes[0] != sizes[1]:
            draft.refuse(f"source and target have different sizes: {sizes[0]} and {sizes[1]} bytes", node=target)
        orders = self._orders(draft, source)
        starting.remember_holders(draft)
        old = draft.release <= _BACKUP_TOP
        driver, role = ("backup-top", "backing") if old else ("copy-before-write", "file")
        above = starting.put_filter(draft, source, driver, self.filter_node_name, role, target=target)
        draft.change(above, read_only=False)
        if orders.bitmap is not None:
            draft.change_bitmap(source, orders.bitmap, busy=True)
        starting.begin(draft, Job(identity, "backup", "running", (above, target), (target,), orders))

    def _orders(self, draft: Draft, source: NodeName) -> BackupOrders:
        """The orders of the job, once the bitmap is in order (`do_backup_common`)."""
        mode, by_bitmap = self.bitmap_mode, self.sync in ("incremental", "bitmap")
        if by_bitmap and self.bitmap is None:
            draft.refuse(f"the sync mode {self.sync!r} needs a bitmap", node=source)
        if self.sync == "incremental":
            if mode not in (None, "on-success"):
                draft.refuse("with the sync mode 'incremental' the bitmap-mode is 'on-success'", node=source)
            mode = "on-success"
        name = None
        if self.bitmap is not None:
            name = self._checked(draft, source, self.bitmap, mode)
            if mode is None:
                draft.refuse("with a bitmap a bitmap-mode is needed", node=source, bitmap=name)
            if self.sync == "none" or (mode == "never" and not by_bitmap):
                draft.refuse(f"sync {self.sync!r} does nothing for a bitmap of mode {mode!r}", source, name)
        elif mode is not None:
            draft.refuse("a bitmap-mode is given, and no bitmap", node=source)
        return BackupOrders(
            auto_finalize=self.auto_finalize, auto_dismiss=self.auto_dismiss, bitmap=name, mode=mode if name else None
        )

    @staticmethod
    def _checked(draft: Draft, source: NodeName, name: str, mode: Mode | None) -> BitmapName:
        bitmap = draft.bitmap(source, name)
        if mode != "never" and draft.nodes[source].holds_read_only(bitmap):
            draft.refuse(f"the bitmap {name!r} is read-only", node=source, bitmap=name)
        if bitmap.busy:
            draft.refuse(f"the bitmap {name!r} is in use by another operation", node=source, bitmap=name)
        if bitmap.inconsistent:
            draft.refuse(f"the bitmap {name!r} is inconsistent", node=source, bitmap=name)
        return bitmap.name


class BlockdevBackup(_Backup):
    """Copy a disk as it is now, or what a bitmap says has changed in it, to a node that is there.

    Bitmaps stay on their nodes and record as before, below the filter. The `bitmap` that the job works with is busy
    until it has ended, so that no migration can begin; it still says that it records. What it holds then follows from
    `bitmap-mode`: with `on-success` (and `sync: incremental`) it is clean but for what the guest has written since the
    job began, and keeps all where the job was cancelled or failed; with `never` it keeps all; with `always` a job that
    was cancelled leaves in it what it has not copied, how much that is no graph tells. Bitmaps of the target record
    what the job writes; how dirty that makes them is not simulated.

    The filter is `copy-before-write` with the disk as `file`, on 5.2 `backup-top` with the disk as `backing`; where no
    more is said 5.2, 7.2, 10.0 and 11.1 are alike.
    """

    word: ClassVar[str] = "blockdev-backup"

    def act(self, draft: Draft) -> None:
        """Source: `qmp_blockdev_backup`."""
        source = self.source(draft)
        target = draft.lookup(self.target)
        if source == target:
            draft.refuse(f"{source!r} is both source and target", node=source)
        starting.free(draft, target)
        if draft.nodes[target].read_only:
            draft.refuse(f"{target!r} is read-only", node=target)
        if target in draft.below(source):
            draft.refuse(f"{target!r} is below {source!r}, which lets nobody write to it", node=target)
        other = chain.alone(draft, target)
        if other is not None:
            draft.refuse(f"{other} lets nobody else write to {target!r}", node=target)
        driver = draft.nodes[target].driver
        if self.compress and driver in _NOT_COMPRESSING:
            draft.refuse(f"the driver {driver!r} does not compress", node=target)
        if self.compress and driver != "qcow2":
            draft.not_simulated(f"whether the driver {driver!r} compresses", node=target)
        self.begin(draft, source, target)


class DriveBackup(_Backup):
    """Copy a disk to an image that the command opens, and by `mode` creates; the rest is as for `blockdev-backup`.

    The target is an auto-named node that ends with the job. A new image has no bitmaps; while the job runs its backing
    image is with `sync: none` the source itself, with `top` that of the source, opened once more in nodes of its own,
    else there is none. An image that is there already is simulated for raw only: what is in others no graph tells.
    """

    word: ClassVar[str] = "drive-backup"
    format: str | None = None
    mode: Literal["existing", "absolute-paths"] = "absolute-paths"

    def act(self, draft: Draft) -> None:
        """Source: `do_drive_backup`."""
        source = self.source(draft)
        driver = opening.driver(draft, source, self.format, new=self.mode != "existing")
        backing = None
        if self.sync == "none":
            backing = source
        elif self.sync == "top":
            backing = _backing_below(draft, source)
        if backing is not None and self.mode == "existing":
            backing = None
        if backing is not None and driver == "raw":
            draft.refuse("a raw image has no backing image")
        if self.compress and driver in _NOT_COMPRESSING:
            draft.refuse(f"the driver {driver!r} does not compress")
        target = opening.opened(draft, source, self.target, driver)
        if backing is not None:
            below = backing if self.sync == "none" else opening.anew(draft, backing)
            draft.link(target, "backing", below)
        self.begin(draft, source, target)


def _backing_below(draft: Draft, source: NodeName) -> NodeName | None:
    """The next image of the chain, filters skipped (`bdrv_backing_chain_next`)."""
    below = chain.next_below(draft, chain.skip_filters(draft, source))
    return None if below is None else chain.skip_filters(draft, below)


# how a backup ends


def completed(draft: Draft, job: Job) -> None:
    """End a backup that has copied all: its filter and what only it held go, its bitmap is free and perhaps clean."""
    source = _without_filter(draft, job)
    _free_bitmap(draft, job, source, clean=True)


def cancelled(draft: Draft, job: Job) -> None:
    """End a backup that was cancelled or failed: its filter and what only it held go, its bitmap is free."""
    source = _without_filter(draft, job)
    _free_bitmap(draft, job, source, clean=False)


def _without_filter(draft: Draft, job: Job) -> NodeName:
    above = next((one for one in job.nodes if draft.children[one].get("target") in job.targets), None)
    if above is None or not job.targets:
        draft.not_simulated(f"no query shows what the job {job.id!r} holds")
    for node in draft.below(job.targets[0]):
        if draft.nodes[node].of_monitor is None:
            # below the filter, and so below the device, but `drive-backup` gives no node-name to what it opens
            draft.change(node, of_monitor=draft.nodes[node].explicit)
    source = starting.remove_filter(draft, above)
    draft.drop(job.targets[0])
    return source


def _free_bitmap(draft: Draft, job: Job, source: NodeName, *, clean: bool) -> None:
    """Let go of the bitmap of the job.

    Of a job that ran when it was captured no query shows the bitmap: where one alone is busy, and no export may use it,
    it is that; how dirty it is then is not known, and is left as it was.
    """
    if isinstance(job.orders, BackupOrders):
        if job.orders.bitmap is not None:
            draft.change_bitmap(source, job.orders.bitmap, busy=False)
            if clean and job.orders.mode != "never":
                draft.change_bitmap(source, job.orders.bitmap, count=0)
        return
    busy = [one.name for one in draft.nodes[source].bitmaps if one.busy]
    others = [one for one in draft.jobs.values() if one.active and one.type == "backup"]
    if busy and (len(busy) > 1 or draft.exports or others):
        draft.not_simulated(f"which of the bitmaps of {source!r} the job {job.id!r} used no query shows", node=source)
    for name in busy:
        draft.change_bitmap(source, name, busy=False)

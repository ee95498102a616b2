"""`blockdev-mirror` and `drive-mirror`: a disk is copied while the guest writes to it, and swapped for its copy.

    drive0 -> fmt0                      before
    drive0 -> mirror_top -> fmt0        while it runs: the job holds the filter, fmt0 and the target
    drive0 -> target                    after the pivot
    drive0 -> fmt0                      after it was cancelled, or ended without pivot

Sources: `block/mirror.c` and `blockdev.c`: `blockdev_mirror_common`, `mirror_start_job`, `mirror_exit_common`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from bitmapmig.graph import Job, Orders
from bitmapmig.qapi import NodeName
from bitmapmig.transforms import chain, opening, reopening, starting
from bitmapmig.transforms.operation import Operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from bitmapmig.transforms.draft import Draft

OnError = Literal["report", "ignore", "enospc", "stop", "auto"]
_LEAST, _MOST = 512, 64 << 20


@dataclass(frozen=True, slots=True)
class MirrorOrders(Orders):
    """What a mirror was told: the node that the target is to replace at the pivot, None for the source.

    Unless it is `backing_kept`, the target gets the backing image `backing`, or none, before it takes the place.
    """

    replaces: NodeName | None = None
    backing_kept: bool = True
    backing: NodeName | None = None

    def renamed(self, new: Callable[[NodeName], NodeName]) -> Self:
        """The same with other node-names."""
        return replace(
            self,
            replaces=None if self.replaces is None else new(self.replaces),
            backing=None if self.backing is None else new(self.backing),
        )


class _Mirror(Operation):
    """What both commands take; what only says how fast or how careful the job is changes nothing here."""

    job_id: str | None = None
    device: str
    target: str
    replaces: str | None = None
    sync: Literal["top", "full", "none", "incremental", "bitmap"]
    speed: int | None = None
    granularity: int | None = None
    buf_size: int | None = None
    on_source_error: OnError | None = None
    on_target_error: OnError | None = None
    copy_mode: Literal["background", "write-blocking"] | None = None
    auto_finalize: bool = True
    auto_dismiss: bool = True

    def source(self, draft: Draft) -> NodeName:
        """The node that is mirrored, once the arguments that have nothing to do with the target are in order."""
        source = starting.root(draft, self.device)
        if self.sync in ("incremental", "bitmap"):
            draft.refuse(f"the sync mode {self.sync!r} is not supported by a mirror", node=source)
        granularity = self.granularity or 0
        if granularity & (granularity - 1) or (granularity and not _LEAST <= granularity <= _MOST):
            draft.refuse(f"the granularity {granularity} is no power of 2 from {_LEAST} to {_MOST}", node=source)
        starting.free(draft, source)
        return source

    def begin(self, draft: Draft, source: NodeName, target: NodeName, orders: MirrorOrders, name: str | None) -> None:
        """Put the filter in and let the job run.

        One of `sync: none` copies only what is written from now on, and is ready at once; one between disks of
        different sizes fails at once.
        """
        identity = starting.job_id(draft, self.job_id, source)
        starting.remember_holders(draft)
        above = starting.put_filter(draft, source, "mirror_top", name)
        draft.change(above, read_only=False)
        same = draft.nodes[source].virtual_size == draft.nodes[target].virtual_size
        status = "aborting" if not same else "ready" if self.sync == "none" else "running"
        starting.begin(draft, Job(identity, "mirror", status, (above, source, target), (target,), orders))

    def orders(self, draft: Draft, source: NodeName, *, kept: bool, backing: NodeName | None = None) -> MirrorOrders:
        """The orders of the job, once `replaces` is in order (`bdrv_recurse_can_replace`)."""
        replaced = None if self.replaces is None else draft.node(self.replaces)
        if replaced not in (None, source) and any(draft.nodes[one].driver == "quorum" for one in draft.below(source)):
            draft.not_simulated("what of a quorum a mirror may replace", node=replaced)
        if replaced is not None and replaced not in _filtered(draft, source):
            draft.refuse(f"{replaced!r} is not {source!r} itself, nor below it through filters alone", node=replaced)
        return MirrorOrders(
            auto_finalize=self.auto_finalize,
            auto_dismiss=self.auto_dismiss,
            replaces=replaced,
            backing_kept=kept,
            backing=backing,
        )


def _filtered(draft: Draft, source: NodeName) -> list[NodeName]:
    """`source` and what is below it through filters alone."""
    below = chain.chain(draft, source)
    return below[: below.index(chain.skip_filters(draft, source)) + 1]


class BlockdevMirror(_Mirror):
    """Copy a disk to a node that is there, and keep the copy the same, until the job is completed or cancelled.

    Bitmaps of the source stay on its node; none goes along to the target. While the job runs they go on as before,
    also below the filter, which has none. At the pivot the target takes the place of the source: where `-drive` had
    opened the source it is deleted, and its bitmaps with it; a node of `blockdev-add` or `-blockdev` stays, says still
    that its bitmaps record, and no write of the guest reaches it any more. Bitmaps of the target record what the mirror
    writes, and after the pivot what the guest writes; how dirty the mirror makes them is not simulated (into a new
    image 11.1 writes the data alone, the others all of the disk). Cancelled, or ended without pivot, all is as before
    but for those.

    To keep a bitmap: create it on the target when the mirror is ready, and merge the source's into it before the pivot.

    The target keeps its backing image, whatever `sync` is. Alike on 5.2, 7.2, 10.0 and 11.1.
    """

    word: ClassVar[str] = "blockdev-mirror"
    filter_node_name: str | None = None
    target_is_zero: bool | None = None

    def act(self, draft: Draft) -> None:
        """Source: `qmp_blockdev_mirror`."""
        source = self.source(draft)
        target = draft.lookup(self.target)
        orders = self.orders(draft, source, kept=True)
        if source == target:
            draft.refuse(f"{source!r} cannot be mirrored into itself", node=source)
        starting.free(draft, target)
        starting.untouched(draft, target)
        if draft.nodes[target].read_only:
            draft.refuse(f"{target!r} is read-only", node=target)
        self.begin(draft, source, target, orders, self.filter_node_name)


class DriveMirror(_Mirror):
    """Copy a disk to an image that the command opens, and by `mode` creates; the rest is as for `blockdev-mirror`.

    The target is a new node, auto-named unless `node-name` is given, that only the job and later the device hold:
    cancelled, or ended without pivot, it is gone. A new image has no bitmaps. At the pivot it gets a backing image: of
    `sync: full` none, of `top` that of the source, shared with it, of `none` the source itself, which therefore stays,
    with bitmaps to which no write of the guest leads any more. Alike on 5.2, 7.2, 10.0 and 11.1.

    What is in an image that is there already (`mode: existing`) no graph tells, and so it is simulated for raw only,
    which holds neither bitmaps nor a backing image; it is taken to be as large as the disk.
    """

    word: ClassVar[str] = "drive-mirror"
    format: str | None = None
    node_name: str | None = None
    mode: Literal["existing", "absolute-paths"] = "absolute-paths"
    unmap: bool | None = None

    def act(self, draft: Draft) -> None:
        """Source: `qmp_drive_mirror`."""
        source = self.source(draft)
        cow = chain.next_below(draft, chain.skip_filters(draft, source))
        sync = "full" if self.sync == "top" and cow is None else self.sync
        if self.replaces is not None and self.node_name is None:
            draft.refuse("a node-name is needed to replace a node of the graph", node=self.replaces)
        starting.check_new_name(draft, self.node_name)
        driver = opening.driver(draft, source, self.format, new=self.mode != "existing")
        if driver == "raw" and self.mode != "existing" and sync != "full":
            draft.refuse("a raw image has no backing image")
        backing = None
        if sync == "none":
            backing = source
        elif sync == "top" and cow is not None:
            backing = chain.skip_filters(draft, cow)
        orders = self.orders(draft, source, kept=driver == "raw", backing=backing)
        target = opening.opened(draft, source, self.target, driver, self.node_name)
        self.begin(draft, source, target, orders, None)


# how a mirror ends


def _parts(draft: Draft, job: Job) -> tuple[NodeName, NodeName, NodeName]:
    """The filter, the source and the target of a mirror."""
    above = next((node for node in job.nodes if draft.nodes[node].driver == "mirror_top"), None)
    if above is None or len(job.targets) != 1:
        draft.not_simulated(f"no query shows what the job {job.id!r} holds")
    return above, draft.children[above]["backing"], job.targets[0]


def _orders(draft: Draft, job: Job, source: NodeName, target: NodeName) -> MirrorOrders:
    """What the job was told; one that ran when it was captured is taken for a `blockdev-mirror` without `replaces`.

    A target that has no node-name was opened by `drive-mirror`, and what backing image it gets no query shows. It is
    taken to be a copy of all (`sync` other than `none`): then it gets none where the source has none.
    """
    if isinstance(job.orders, MirrorOrders):
        return job.orders
    layered = chain.next_below(draft, chain.skip_filters(draft, source)) is not None
    if layered and not draft.nodes[target].explicit and draft.nodes[target].driver != "raw":
        draft.not_simulated(f"no query shows what the backing image of {target!r} becomes", node=target)
    return MirrorOrders()


def completed(draft: Draft, job: Job) -> None:
    """End a mirror with a pivot: the target takes the place of the source, or of what it `replaces`.

    Where what it replaces is read-only the target becomes so too.
    """
    above, source, target = _parts(draft, job)
    orders = _orders(draft, job, source, target)
    if not orders.backing_kept:
        draft.unlink(target, "backing")
        if orders.backing is not None:
            draft.link(target, "backing", orders.backing)
    replaced = orders.replaces or source
    read_only = draft.nodes[replaced].read_only
    starting.take_place(draft, replaced, target)
    starting.remove_filter(draft, above)
    draft.drop(replaced)
    draft.drop(source)
    if read_only:
        reopening.switched(draft, target, read_only=True)


def cancelled(draft: Draft, job: Job) -> None:
    """End a mirror without a pivot: the target is what it was, or is gone where only the job had opened it."""
    above, _, target = _parts(draft, job)
    starting.remove_filter(draft, above)
    draft.drop(target)

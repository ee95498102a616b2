"""What is done to a block job of any type, and the events by which it tells how far it is.

A command that asks a job for something returns before it is done: what becomes of the graph is known when the event
comes. So a command changes the status of the job only, and the event that ends the job changes the graph. In between
the graph is not `at_rest`: a real QEMU may be past it at any time.

    blockdev-mirror  running  BLOCK_JOB_READY  ready  block-job-complete  waiting  BLOCK_JOB_COMPLETED
                     running  block-job-cancel  aborting  BLOCK_JOB_CANCELLED
    with auto-finalize off       ... waiting  BLOCK_JOB_PENDING  pending  job-finalize  waiting  BLOCK_JOB_COMPLETED

With auto-dismiss off a job that has ended stays, concluded and without nodes, until `job-dismiss`. All of it was
measured on 5.2, 7.2, 10.0 and 11.1, and is alike but for this: on 5.2 the filter of a mirror stays, out of use, as long
as its job does, and a backup job that stays concluded kills the process at the next `query-named-block-nodes`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from bitmapmig.transforms import backup, commit, mirror, starting, stream
from bitmapmig.transforms.operation import Operation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitmapmig.graph import BlockGraph, Job
    from bitmapmig.transforms.draft import Draft


class Ends(Protocol):
    """How jobs of one type end: what becomes of the graph, while the job itself is taken care of.

    `job` is as it was. In the draft it holds its nodes no more; its filter is still there.
    """

    def completed(self, draft: Draft, job: Job) -> None:
        """The job did all that it was for: its filter goes, a mirror or an active commit pivots."""

    def cancelled(self, draft: Draft, job: Job) -> None:
        """The job was cancelled, or failed, or ended without a pivot (`orders.pivots` is False): its filter goes."""


#: How a job ends, by its type (QAPI `JobType`).
ENDS: Mapping[str, Ends] = {"mirror": mirror, "backup": backup, "commit": commit, "stream": stream}
#: Statuses that a job leaves by itself, and no capture can be counted on to show.
_PASSING = ("created", "waiting", "aborting")
_PAUSED = ("paused", "standby")


def at_rest(graph: BlockGraph) -> bool:
    """Whether no job is on its way to another status: else a capture may be past this graph already."""
    return not any(job.status in _PASSING for job in graph.jobs)


def becomes_ready(job: Job) -> bool:
    """Whether a job copies everything once and then waits to be completed: a mirror, and an active commit."""
    return job.type == "mirror" or (job.type == "commit" and bool(job.targets))


class _Device(Operation):
    """What is said of a job by the member `device`, which holds its id."""

    device: str


class _Id(Operation):
    """What is said of a job by its `id`."""

    id: str


# commands


def _told(draft: Draft, job: Job, status: str, **orders: Any) -> None:  # noqa: ANN401  members of Orders
    draft.jobs[job.id] = replace(job, status=status, orders=replace(job.orders, **orders))


def _complete(draft: Draft, identity: str) -> None:
    job = draft.job(identity)
    if job.status != "ready":
        draft.refuse(f"the job {identity!r} is {job.status} and cannot be completed")
    _told(draft, job, "waiting", pivots=True)


def _cancel(draft: Draft, identity: str, *, force: bool) -> None:
    job = draft.job(identity)
    if job.status == "concluded":
        draft.refuse(f"the job {identity!r} has concluded and cannot be cancelled")
    if job.status == "ready" and not force:
        _told(draft, job, "waiting", pivots=False)
    else:
        _told(draft, job, "aborting")


class BlockJobComplete(_Device):
    """Ask a job that is ready to complete: a mirror or an active commit then pivots."""

    word: ClassVar[str] = "block-job-complete"

    def act(self, draft: Draft) -> None:
        """Source: `job_complete_locked`."""
        _complete(draft, self.device)


class JobComplete(_Id):
    """Ask a job that is ready to complete, as `block-job-complete`."""

    word: ClassVar[str] = "job-complete"

    def act(self, draft: Draft) -> None:
        """Source: `job_complete_locked`."""
        _complete(draft, self.id)


class BlockJobCancel(_Device):
    """Ask a job to end; one that is ready ends well and without pivot, unless with `force`."""

    word: ClassVar[str] = "block-job-cancel"
    force: bool = False

    def act(self, draft: Draft) -> None:
        """Source: `qmp_block_job_cancel`."""
        if draft.job(self.device).status in _PAUSED and not self.force:
            draft.refuse(f"the job {self.device!r} is paused")
        _cancel(draft, self.device, force=self.force)


class JobCancel(_Id):
    """Ask a job to end at once, as `block-job-cancel` with `force`."""

    word: ClassVar[str] = "job-cancel"

    def act(self, draft: Draft) -> None:
        """Source: `qmp_job_cancel`."""
        _cancel(draft, self.id, force=True)


class JobFinalize(_Id):
    """Let a job that waits for it (auto-finalize off) end; QEMU has sent the event of its end when this returns."""

    word: ClassVar[str] = "job-finalize"

    def act(self, draft: Draft) -> None:
        """Source: `job_finalize_locked`."""
        job = draft.job(self.id)
        if job.status != "pending":
            draft.refuse(f"the job {self.id!r} is {job.status} and cannot be finalized")
        _told(draft, job, "waiting", auto_finalize=True)


class BlockJobFinalize(JobFinalize):
    """Let a job end, as `job-finalize`."""

    word: ClassVar[str] = "block-job-finalize"


class JobDismiss(_Id):
    """Forget a job that has concluded; it has let go of its nodes before."""

    word: ClassVar[str] = "job-dismiss"

    def act(self, draft: Draft) -> None:
        """Source: `job_dismiss_locked`."""
        job = draft.job(self.id)
        if job.status != "concluded":
            draft.refuse(f"the job {self.id!r} is {job.status} and cannot be dismissed")
        starting.forget(draft, job)


class BlockJobDismiss(JobDismiss):
    """Forget a job that has concluded, as `job-dismiss`."""

    word: ClassVar[str] = "block-job-dismiss"


# events


class BlockJobReady(_Device):
    """A mirror, or an active commit, has copied everything once; from now on it can be completed."""

    word: ClassVar[str] = "BLOCK_JOB_READY"
    kind: ClassVar[Literal["command", "event", "process"]] = "event"

    def act(self, draft: Draft) -> None:
        """Source: `job_transition_to_ready`."""
        job = draft.job(self.device)
        if not becomes_ready(job) or job.status not in ("running", "ready"):
            draft.refuse(f"the {job.type} job {job.id!r}, which is {job.status}, does not become ready")
        _told(draft, job, "ready")


class BlockJobPending(_Id):
    """A job with auto-finalize off has done its work, and waits for `job-finalize`; the graph is as while it ran."""

    word: ClassVar[str] = "BLOCK_JOB_PENDING"
    kind: ClassVar[Literal["command", "event", "process"]] = "event"

    def act(self, draft: Draft) -> None:
        """Source: `block_job_event_pending_locked`."""
        job = draft.job(self.id)
        if job.orders.auto_finalize:
            draft.refuse(f"the job {job.id!r} has auto-finalize on, and does not wait")
        _refuse_unfinished(draft, job)
        _told(draft, job, "pending")


class BlockJobCompleted(_Device):
    """A job has ended by itself, or was completed, or was cancelled when it was ready; with `error` it failed."""

    word: ClassVar[str] = "BLOCK_JOB_COMPLETED"
    kind: ClassVar[Literal["command", "event", "process"]] = "event"
    error: str | None = None

    def act(self, draft: Draft) -> None:
        """Source: `job_finalize_single_locked`."""
        job = draft.job(self.device)
        if self.error is not None:
            _end(draft, job, well=False)
            return
        if not job.orders.auto_finalize:
            draft.refuse(f"the job {job.id!r} has auto-finalize off, and ends with job-finalize")
        _refuse_unfinished(draft, job)
        _end(draft, job, well=job.orders.pivots is not False)


class BlockJobCancelled(_Device):
    """A job that was cancelled, before it was ready or by force, has ended."""

    word: ClassVar[str] = "BLOCK_JOB_CANCELLED"
    kind: ClassVar[Literal["command", "event", "process"]] = "event"

    def act(self, draft: Draft) -> None:
        """Source: `job_finalize_single_locked`."""
        job = draft.job(self.device)
        if job.status != "aborting":
            draft.refuse(f"the job {job.id!r} is {job.status}, and was not cancelled")
        _end(draft, job, well=False)


def _refuse_unfinished(draft: Draft, job: Job) -> None:
    """Refuse the good end of a job that has not come that far."""
    if job.status == "aborting":
        draft.refuse(f"the job {job.id!r} has failed or was cancelled")
    if becomes_ready(job) and job.status != "waiting":
        draft.refuse(f"the job {job.id!r} is {job.status}, and was neither completed nor cancelled when it was ready")
    if job.status not in ("running", "waiting"):
        draft.refuse(f"the job {job.id!r} is {job.status}")


def _end(draft: Draft, job: Job, *, well: bool) -> None:
    if job.type not in ENDS:
        draft.not_simulated(f"how a job of type {job.type!r} ends")
    if not job.active:
        draft.refuse(f"the job {job.id!r} is {job.status}")
    ends = ENDS[job.type]
    concluded = replace(job, status="concluded", nodes=(), targets=())
    draft.jobs[job.id] = concluded
    if well:
        ends.completed(draft, job)
    else:
        ends.cancelled(draft, job)
    if job.orders.auto_dismiss:
        starting.forget(draft, concluded)

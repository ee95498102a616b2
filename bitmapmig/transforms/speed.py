"""`block-job-set-speed`: how fast a job copies, which changes nothing that is simulated."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bitmapmig.transforms.operation import Operation

if TYPE_CHECKING:
    from bitmapmig.transforms.draft import Draft


class BlockJobSetSpeed(Operation):
    """Let a job copy at most so many bytes a second, or with 0 as many as it can."""

    word: ClassVar[str] = "block-job-set-speed"
    device: str
    speed: int

    def act(self, draft: Draft) -> None:
        """Source: `block_job_set_speed_locked`."""
        job = draft.job(self.device)
        if self.speed < 0:
            draft.refuse("the speed is negative")
        if not job.active or job.status in ("waiting", "pending", "aborting"):
            draft.refuse(f"the job {job.id!r} is {job.status}, and its speed cannot be set")

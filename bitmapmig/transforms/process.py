"""What happens to a whole QEMU: it ends, in order or not, and one of the same configuration takes its place.

The configuration is what was there: every node that a user named, every device, and what is below them. So what was
added at run time is given again. Jobs, the filters that jobs put in, exports and what only these held are not in it.
Generated node-names are new; here the old ones go on to stand for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from bitmapmig.graph.drivers import FILTERS
from bitmapmig.transforms.images import load, store
from bitmapmig.transforms.operation import Operation

if TYPE_CHECKING:
    from bitmapmig.graph import Job
    from bitmapmig.qapi import NodeName
    from bitmapmig.transforms.draft import Draft

#: The filters that only jobs make, and those that a user makes as well, with the type of the job that does.
_OF_JOBS = frozenset(("mirror_top", "commit_top", "backup-top"))
_OF_JOBS_TOO = {"copy-before-write": "backup", "copy-on-read": "stream"}


class _OfProcess(Operation):
    kind: ClassVar[Literal["command", "event", "process"]] = "process"


class ShutdownAndRestart(_OfProcess):
    """QEMU quits in order (`quit`, or the guest shuts down) and is started again.

    Persistent bitmaps are stored, disabled and busy ones too, and loaded again as they were. Transient ones are lost,
    and so are persistent ones that were added to a node that is read-only (QEMU 5.2 to 10.0 allow that, and say so in
    the log only). An inconsistent one stays so. Jobs are cancelled first: none is completed by it.
    """

    word: ClassVar[str] = "shutdown-and-restart"

    def act(self, draft: Draft) -> None:
        """Source: `qemu_cleanup`, `bdrv_close_all`."""
        for node in draft.nodes:
            store(draft, node)
        _started(draft)
        for node in draft.nodes:
            load(draft, node)


class CrashAndRestart(_OfProcess):
    """QEMU ends without storing anything (`kill -9`, a crash, a host that fails), and is started again.

    A bitmap that was loaded from a writable image, or was stored while QEMU had it open, is marked in use there, and
    comes up inconsistent. A persistent bitmap that was never stored is lost, and so is each transient one. What a
    read-only image holds is as before.
    """

    word: ClassVar[str] = "crash-and-restart"

    def act(self, draft: Draft) -> None:
        """Nothing is stored."""
        _started(draft)
        for node in draft.nodes:
            load(draft, node)


class Incoming(_OfProcess):
    """A destination on the same storage: the same configuration under `-incoming defer`, while the source lives or not.

    No image is active, so no bitmap is in memory, read-only nodes included. What the images hold is as the source has
    it there, marked in use where that has it loaded.
    """

    word: ClassVar[str] = "incoming"

    def act(self, draft: Draft) -> None:
        """Source: `bdrv_open_common` with `BDRV_O_INACTIVE`."""
        _started(draft)


def _started(draft: Draft) -> None:
    """Leave what is configured, with no bitmap in memory."""
    jobs = list(draft.jobs.values())
    held = {node for job in jobs for node in job.nodes} | {one.node for one in draft.exports.values()}
    draft.jobs.clear()
    draft.exports.clear()
    for node in [name for name in draft.nodes if _of_a_job(draft, name, jobs)]:
        _take_out(draft, node)
    for node in held:
        draft.drop(node)
    for node in _opened_for_writing(draft, jobs):
        draft.change(node, read_only=True)
    for node in draft.nodes:
        draft.set_bitmaps(node, ())


def _of_a_job(draft: Draft, node: NodeName, jobs: list[Job]) -> bool:
    driver = draft.nodes[node].driver
    if driver in _OF_JOBS:
        return True
    return any(job.type == _OF_JOBS_TOO.get(driver) and node in job.nodes for job in jobs)


def _take_out(draft: Draft, node: NodeName) -> None:
    """Let what uses a filter use what it filters, and end the filter."""
    child = draft.before.filtered(node)
    if child is not None:
        draft.take_over(node, child)
    for one in draft.remove(node):
        draft.drop(one)


def _opened_for_writing(draft: Draft, jobs: list[Job]) -> list[NodeName]:
    """The backing images that only a commit has made writable, and the files that they are in."""
    found = [
        node
        for job in jobs
        if job.type == "commit"
        for node in job.targets
        if node in draft.nodes
        and any(role == "backing" and draft.nodes[parent].driver not in FILTERS for parent, role in draft.parents(node))
    ]
    for node in found:
        found += [child for role, child in draft.children[node].items() if role != "backing"]
    return found

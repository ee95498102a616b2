"""Backing chains: what is below a node through filters and backing images, and images in it that a job writes to.

Sources: `bdrv_filter_or_cow_bs`, `bdrv_skip_filters`, `bdrv_chain_contains`, `bdrv_reopen_set_read_only`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bitmapmig.graph import NOT_FILTERS, Orders
from bitmapmig.graph.drivers import FILTERED_ROLES, FILTERS
from bitmapmig.transforms import reopening
from bitmapmig.transforms.operation import Operation

if TYPE_CHECKING:
    from collections.abc import Collection

    from bitmapmig.graph import Job
    from bitmapmig.qapi import NodeName
    from bitmapmig.transforms.draft import Draft

#: The filters of mirror and commit: below them nobody minds that somebody else writes, and no link to them is frozen.
_LENIENT = ("commit_top", "mirror_top")


#: The first release with `backing-mask-protocol`.
_MASKING = (9, 0)


class ChainJob(Operation):
    """What a commit and a stream take: both work on a backing chain, named by what uses it.

    What only says how fast or how careful the job is changes nothing here.
    """

    job_id: str | None = None
    device: str
    base: str | None = None
    base_node: str | None = None
    backing_file: str | None = None
    backing_mask_protocol: bool | None = None
    speed: int = 0
    on_error: Literal["report", "ignore", "enospc", "stop", "auto"] = "report"
    filter_node_name: str | None = None
    auto_finalize: bool = True
    auto_dismiss: bool = True

    def check_common(self, draft: Draft) -> None:
        """Refuse what no QEMU takes, or not this release."""
        if self.backing_mask_protocol is not None and draft.release < _MASKING:
            draft.refuse("backing-mask-protocol is not known before 9.0")
        if self.speed < 0:
            draft.refuse("the speed is negative")


@dataclass(frozen=True, slots=True)
class ReopeningOrders(Orders):
    """Of a commit or a stream: whether the image that it made writable was read-only before."""

    was_read_only: bool = False


def was_read_only(draft: Draft, job: Job, node: NodeName) -> bool:
    """Whether an image that a job made writable was read-only before.

    Of a job that ran already when it was captured no query shows it; a backing image is taken to have been, since it is
    opened so unless `read-only=off` is said.
    """
    return job.orders.was_read_only if isinstance(job.orders, ReopeningOrders) else _backs(draft, node)


def _backs(draft: Draft, node: NodeName) -> bool:
    """Whether a node is a backing image, maybe below filters."""
    waiting = [node]
    for below in waiting:
        for parent, role in draft.parents(below):
            if role == "backing":
                return True
            if is_filter(draft, parent) and parent not in waiting:
                waiting.append(parent)
    return False


def is_filter(draft: Draft, node: NodeName) -> bool:
    """Whether a node is one that chains pass through."""
    driver = draft.nodes[node].driver
    if driver not in FILTERS | NOT_FILTERS and len(draft.children[node]) == 1:
        draft.not_simulated(f"whether {node!r}, of the driver {driver!r}, is a filter is not known", node)
    return driver in FILTERS


def next_below(draft: Draft, node: NodeName) -> NodeName | None:
    """What a filter filters, or the backing image of a node."""
    below = draft.children[node]
    roles = FILTERED_ROLES if is_filter(draft, node) else ("backing",)
    return next((below[role] for role in roles if role in below), None)


def chain(draft: Draft, top: NodeName) -> list[NodeName]:
    """`top` and what is below it, filters and backing images."""
    found = [top]
    while (below := next_below(draft, found[-1])) is not None:
        found.append(below)
    return found


def skip_filters(draft: Draft, node: NodeName) -> NodeName:
    """The first node from `node` down that is no filter."""
    return next((one for one in chain(draft, node) if not is_filter(draft, one)), node)


def held(draft: Draft, job: Job) -> list[NodeName]:
    """The nodes of the chain that a job holds, from its top down."""
    top = next((one for one in job.nodes if not any(parent in job.nodes for parent, _ in draft.parents(one))), None)
    if top is None:
        draft.not_simulated(f"no query shows what the job {job.id!r} holds")
    return [one for one in chain(draft, top) if one in job.nodes]


def refuse_frozen(draft: Draft, top: NodeName, bottom: NodeName) -> None:
    """Refuse where a link from `top` down to `bottom` leads to a filter whose job may end before."""
    below = chain(draft, top)
    for node in below[1 : below.index(bottom) + 1]:
        if draft.nodes[node].driver in _LENIENT:
            draft.refuse(f"a job may take the filter {node!r} out, so that the link to it cannot be frozen", node=node)


def hold_on(draft: Draft, job: Job) -> None:
    """Let a job that is not dismissed by itself hold its nodes until it is; before anything of it is taken apart."""
    if not job.orders.auto_dismiss:
        draft.jobs[job.id] = replace(draft.jobs[job.id], nodes=job.nodes)


def alone(draft: Draft, node: NodeName) -> str | None:
    """Who uses the node and lets nobody else write to it; None where nobody is such.

    Whether a guest device was started with `share-rw=on` no query shows; it is taken to be off, which is the default.
    """
    waiting = [node]
    for at in waiting:
        for one in draft.backends:
            if one.root == at and one.qdev is not None:
                return f"the guest device {one.qdev!r}"
        for parent, role in draft.parents(at):
            driver = draft.nodes[parent].driver
            if role != "backing" and driver not in FILTERS:
                return f"the node {parent!r}"
            if driver not in _LENIENT and parent not in waiting:
                waiting.append(parent)
    return None


def reader(draft: Draft, node: NodeName, within: Collection[NodeName]) -> str | None:
    """Who reads a node past the nodes `within` which it is used; None where nobody does."""
    waiting = [node]
    for at in waiting:
        for one in draft.backends:
            if one.root == at:
                return f"the device {one.device or one.qdev!r}"
        for export in draft.exports.values():
            if export.node == at:
                return f"the export {export.id!r}"
        waiting += [parent for parent, _ in draft.parents(at) if parent not in within and parent not in waiting]
    return None


def grow(draft: Draft, node: NodeName, size: int | None) -> None:
    """Make a node at least `size` bytes large, and the filters above it with it."""
    waiting = [node]
    for at in waiting:
        if size is None or (draft.nodes[at].virtual_size or size) >= size:
            continue
        draft.change(at, virtual_size=size)
        waiting += [
            parent for parent, _ in draft.parents(at) if is_filter(draft, parent) and next_below(draft, parent) == at
        ]


def make_writable(draft: Draft, node: NodeName) -> None:
    """Reopen an image for writing if it is not; what it is in must be writable, or be reopened with it."""
    if not draft.nodes[node].read_only:
        return
    for role, below in draft.children[node].items():
        if role != "backing" and draft.nodes[below].read_only and draft.held(below):
            if draft.before.nodes[below].of_monitor is None:
                draft.not_simulated(
                    f"whether {below!r}, which is read-only, was opened with {node!r} is not known", below
                )
            draft.refuse(f"{below!r} is read-only, and is not reopened with {node!r}", node=below)
    reopening.switched(draft, node, read_only=False)

"""What block jobs have in common when they begin and end: an id, nodes that are free, a filter above the node.

Sources: `job_create`, `block_job_create`, `block_job_add_bdrv`, `bdrv_append`, `bdrv_op_is_blocked`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from bitmapmig.graph import Node
from bitmapmig.graph.drivers import FILTERS
from bitmapmig.qapi import NodeName

if TYPE_CHECKING:
    from bitmapmig.graph import Job
    from bitmapmig.transforms.draft import Draft

_ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
_MAX_NODE_NAME = 31
#: The newest release that was seen to keep the filter of a mirror, out of use, until its job is dismissed.
_KEEPS_MIRROR_TOP = (5, 2)


def root(draft: Draft, name: str) -> NodeName:
    """The node that a job is started on, by device or node-name: no node may be above it (`qmp_get_root_bs`)."""
    node = draft.lookup(name)
    if draft.parents(node):
        draft.refuse(f"a root block node is needed, and another node is above {node!r}", node=node)
    return node


def job_id(draft: Draft, given: str | None, node: NodeName) -> str:
    """The id that a new job gets: as given, else the name of the device whose root the node is."""
    identity = given
    if identity is None:
        identity = next((one.device for one in draft.backends if one.root == node and one.device), "")
    if not _ID.fullmatch(identity):
        draft.refuse(f"{identity!r} is no id of a job", node=node)
    if identity in draft.jobs:
        draft.refuse(f"the job id {identity!r} is taken", node=node)
    return identity


def free(draft: Draft, *nodes: NodeName) -> None:
    """Refuse where a job holds one of the nodes, be it one that has concluded (`bdrv_op_is_blocked`)."""
    for node in nodes:
        for job in draft.jobs.values():
            if node in job.nodes:
                draft.refuse(f"the node {node!r} is in use by the {job.type} job {job.id!r}", node=node)


def untouched(draft: Draft, target: NodeName) -> None:
    """Refuse a target that anything else reads or writes: a job that writes to it shares it with nobody."""
    waiting = [target]
    for node in waiting:
        if any(one.root == node for one in draft.backends):
            draft.refuse(f"a device uses {node!r}, and the job would write to it", node=target)
        if any(one.node == node for one in draft.exports.values()):
            draft.refuse(f"an export uses {node!r}, and the job would write to it", node=target)
        for parent, role in draft.parents(node):
            driver = draft.nodes[parent].driver
            if driver not in FILTERS and driver != "raw":
                draft.refuse(f"{parent!r} uses {node!r} as {role!r}, and the job would write to it", node=target)
            if parent not in waiting:
                waiting.append(parent)


def remember_holders(draft: Draft) -> None:
    """Note which nodes the monitor holds, as far as that is told or inferred now: a job moves nodes below devices."""
    for node, there in list(draft.nodes.items()):
        if there.of_monitor is None:
            draft.change(node, of_monitor=draft.held(node))


def check_new_name(draft: Draft, name: str | None) -> None:
    """Refuse a node-name that QEMU takes for no new node (`bdrv_assign_node_name`)."""
    if name is None:
        return
    if not _ID.fullmatch(name):
        draft.refuse(f"{name!r} is no node-name", node=name)
    if len(name) > _MAX_NODE_NAME:
        draft.refuse(f"the node-name {name!r} is longer than {_MAX_NODE_NAME} bytes", node=name)
    if name in draft.nodes or name in {one.device for one in draft.backends}:
        draft.refuse(f"the name {name!r} is taken", node=name)


def put_filter(
    draft: Draft,
    below: NodeName,
    driver: str,
    name: str | None,
    role: str = "backing",
    *,
    target: NodeName | None = None,
) -> NodeName:
    """Insert a filter of a job above a node: whatever used the node uses the filter; `name` is `filter-node-name`.

    A named filter belongs to the job as an auto-named one does: it ends with it. What is below `target`, a second child
    of the filter, uses the node still (`should_update_child`).
    """
    check_new_name(draft, name)
    under = draft.nodes[below]
    made = NodeName(name) if name is not None else draft.generated()
    children = {role: below} if target is None else {role: below, "target": target}
    draft.add(
        Node(made, driver, read_only=under.read_only, virtual_size=under.virtual_size, of_monitor=False), children
    )
    take_place(draft, below, made)
    return made


def take_place(draft: Draft, replaced: NodeName, by: NodeName) -> None:
    """Let a node have the users of another one, but those that are below it or the node itself."""
    below = draft.below(by)
    kept = [(parent, role) for parent, role in draft.parents(replaced) if parent in below]
    draft.take_over(replaced, by)
    for parent, role in kept:
        draft.link(parent, role, replaced)


def filtered(draft: Draft, above: NodeName) -> NodeName:
    """What a filter of a job filters."""
    below = draft.children[above]
    return below["file"] if "file" in below else below["backing"]


def remove_filter(draft: Draft, above: NodeName) -> NodeName:
    """Take a filter of a job out again: whatever used it uses what it filters, which is returned.

    The job must have let it go. Bitmaps of the filter go with it.
    """
    below = filtered(draft, above)
    draft.take_over(above, below)
    draft.change(above, of_monitor=False)
    if draft.nodes[above].driver != "mirror_top" or draft.release > _KEEPS_MIRROR_TOP:
        draft.drop(above)
    return below


def forget(draft: Draft, job: Job) -> None:
    """Let a job be no more, and what has waited for that: nodes that it held to the last."""
    for node in draft.jobs.pop(job.id).nodes:
        draft.drop(node)
    for node in [name for name, there in draft.nodes.items() if there.driver == "mirror_top"]:
        if draft.release <= _KEEPS_MIRROR_TOP and not draft.used(node):
            draft.change(node, of_monitor=False)
            draft.drop(node)


def begin(draft: Draft, job: Job) -> None:
    """Let a job run."""
    draft.jobs[job.id] = replace(job, nodes=tuple(sorted(set(job.nodes))), targets=tuple(sorted(set(job.targets))))

"""`block-commit`: the layers above a base are written into it and leave the chain.

Active, where the top is the active layer: a mirror onto the base that becomes ready, waits, and pivots to the base.
Intermediate, where it is not: ends by itself, and the overlay of the top is an overlay of the base from then on.

    active      drive0 -> mirror_top -> n2 -> n1 -> n0      pivot:  drive0 -> n0
    intermediate  drive0 -> n3 -> commit_top -> n2 -> n1 -> n0      end:  drive0 -> n3 -> n0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bitmapmig.graph import Job
from bitmapmig.transforms import chain, reopening, starting
from bitmapmig.transforms.chain import ChainJob

if TYPE_CHECKING:
    from bitmapmig.qapi import NodeName
    from bitmapmig.transforms.draft import Draft

#: The first release that makes the base of an active commit read-only again where the job is cancelled at once, and the
#: last measured one that does not.
_RESTORES, _LEAVES = (10, 0), (7, 2)


class BlockCommit(ChainJob):
    """Write the layers from a top down to a base into the base, and take them out of the chain.

    Bitmaps stay on their nodes, and none is merged into the base. Those of the base record what is written into it
    while it is committed, and, after the pivot of an active commit, what the guest writes. Those of the layers that
    leave the chain end with them where neither the monitor nor anything else holds the layer (`-drive`); where the
    monitor does (`-blockdev`) they stay, and no write of the guest reaches them any more.

    While the job runs the base is writable, so that its stored bitmaps are marked in use; when an intermediate commit
    ends, however it does, it is read-only again and its bitmaps are stored. After an active commit it is what the top
    was, and without a pivot it stays writable; cancelled at once, with `force` or before it is ready, it is read-only
    again from 10.0 on (measured on 10.0 and 11.1; stays writable on 5.2 and 7.2). In all else the four are alike: with
    auto-dismiss off, an intermediate commit that has ended keeps the layers that it took out until it is dismissed.
    """

    word: ClassVar[str] = "block-commit"
    top_node: str | None = None
    top: str | None = None

    def act(self, draft: Draft) -> None:
        """Source: `qmp_block_commit`."""
        self._check(draft)
        root = starting.root(draft, self.device)
        starting.free(draft, root)
        whole = chain.chain(draft, root)
        top = self._top(draft, whole)
        base = self._base(draft, whole[whole.index(top) :])
        layers = whole[whole.index(top) : whole.index(base) + 1]
        starting.free(draft, *layers)
        if top == base:
            draft.refuse(f"{top!r} cannot be committed into itself", node=top)
        active = chain.skip_filters(draft, top) == chain.skip_filters(draft, root)
        if active and self.backing_file is not None:
            draft.refuse("a backing-file is given, and the top is the active layer", node=top)
        identity = starting.job_id(draft, self.job_id, root)
        starting.remember_holders(draft)
        orders = chain.ReopeningOrders(
            auto_finalize=self.auto_finalize,
            auto_dismiss=self.auto_dismiss,
            was_read_only=bool(draft.nodes[base].read_only),
        )
        above = starting.put_filter(draft, top, "mirror_top" if active else "commit_top", self.filter_node_name)
        draft.change(above, read_only=not active)
        _refuse_others(draft, layers)
        _refuse_failing(draft, top, base)
        chain.make_writable(draft, base)
        chain.grow(draft, base, draft.nodes[top].virtual_size)
        nodes = (above if active else root, *layers)
        starting.begin(draft, Job(identity, "commit", "running", nodes, (base,) if active else (), orders))

    def _check(self, draft: Draft) -> None:
        """Refuse arguments that exclude each other, or that the release does not have."""
        if self.base is not None and self.base_node is not None:
            draft.refuse("base and base-node exclude each other")
        if self.top is not None and self.top_node is not None:
            draft.refuse("top and top-node exclude each other")
        self.check_common(draft)

    def _top(self, draft: Draft, whole: list[NodeName]) -> NodeName:
        if self.top is not None:
            draft.not_simulated("of which node `top` is the file name is not in the graph: name it by `top-node`")
        if self.top_node is None:
            return whole[0]
        return _in_chain(draft, self.top_node, whole)

    def _base(self, draft: Draft, below: list[NodeName]) -> NodeName:
        if self.base is not None:
            draft.not_simulated("of which node `base` is the file name is not in the graph: name it by `base-node`")
        if self.base_node is None:
            return next(one for one in reversed(below) if not chain.is_filter(draft, one))
        return _in_chain(draft, self.base_node, below)


def _in_chain(draft: Draft, name: str, nodes: list[NodeName]) -> NodeName:
    node = draft.node(name)
    if node not in nodes:
        draft.refuse(f"{name!r} is not in the backing chain of {nodes[0]!r}", node=name)
    return node


def _refuse_failing(draft: Draft, top: NodeName, base: NodeName) -> None:
    """Do not simulate a job that begins and fails at once."""
    sizes = [draft.nodes[node].virtual_size or 0 for node in (top, base)]
    if sizes[0] > sizes[1] and any(one.inconsistent for one in draft.nodes[base].bitmaps):
        draft.not_simulated(f"{base!r} has to grow, which fails while it has an inconsistent bitmap", base)


def _refuse_others(draft: Draft, layers: list[NodeName]) -> None:
    """Refuse who reads a layer that will no longer hold what it did, and who lets nobody write to the base."""
    *leaving, base = layers
    while len(leaving) > 1 and chain.is_filter(draft, leaving[-1]):
        leaving.pop()  # a filter on the base shows what the base holds
    for node in leaving[1:]:
        other = chain.reader(draft, node, layers)
        if other is not None:
            draft.refuse(f"{other} reads {node!r}, which is not consistent while it is committed", node=node)
    other = chain.alone(draft, base)
    if other is not None:
        draft.refuse(f"{other} lets nobody else write to {base!r}", node=base)


# how it ends


def completed(draft: Draft, job: Job) -> None:
    """End a commit that did all: pivot to the base, or make the overlay of the top one of the base.

    Sources: `mirror_exit_common`, `commit_prepare`, `bdrv_drop_intermediate`.
    """
    if job.targets:
        top, base = starting.remove_filter(draft, _mirror_top(draft, job)), job.targets[0]
        read_only = draft.nodes[top].read_only
    else:
        chain.hold_on(draft, job)
        above = _commit_top(draft, job)
        base = _bottom(draft, job, above)
        top = starting.remove_filter(draft, above)
        read_only = chain.was_read_only(draft, job, base)
    draft.take_over(top, base)
    draft.drop(top)
    if read_only:
        reopening.switched(draft, base, read_only=True)


def cancelled(draft: Draft, job: Job) -> None:
    """End a commit that leaves the layers where they are; what it has written to the base stays there.

    Sources: `mirror_exit_common`, `commit_abort`, `commit_clean`.
    """
    if not job.targets:
        above = _commit_top(draft, job)
        base = _bottom(draft, job, above)
        restores: bool | None = True
    else:
        above, base = _mirror_top(draft, job), job.targets[0]
        restores = _restores(draft) if job.orders.pivots is not False else False
    starting.remove_filter(draft, above)
    if restores is False or not chain.was_read_only(draft, job, base):
        return
    if restores is None:
        draft.not_simulated("whether the base is read-only again was not measured between 7.2 and 10.0", base)
    reopening.switched(draft, base, read_only=True)


def _restores(draft: Draft) -> bool | None:
    if draft.release >= _RESTORES:
        return True
    return False if draft.release <= _LEAVES else None


def _mirror_top(draft: Draft, job: Job) -> NodeName:
    """The filter of an active commit, which holds it."""
    return chain.held(draft, job)[0]


def _commit_top(draft: Draft, job: Job) -> NodeName:
    """The filter of an intermediate commit, which does not hold it but what is below."""
    filters = [name for name, node in draft.nodes.items() if node.driver == "commit_top"]
    found = next((name for name in filters if chain.next_below(draft, name) in job.nodes), None)
    if found is None:
        draft.not_simulated(f"no query shows what the job {job.id!r} holds")
    return found


def _bottom(draft: Draft, job: Job, above: NodeName) -> NodeName:
    """The base: the last node below the filter that the job holds."""
    return [one for one in chain.chain(draft, above) if one in job.nodes][-1]

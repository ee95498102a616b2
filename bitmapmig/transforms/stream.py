"""`block-stream`: what a node does not hold itself is copied into it from the layers below, which leave the chain.

drive0 -> copy-on-read -> n2 -> n1 -> n0      to the base n0:  drive0 -> n2 -> n0      whole:  drive0 -> n2
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bitmapmig.graph import Job
from bitmapmig.transforms import chain, reopening, starting
from bitmapmig.transforms.chain import ChainJob

if TYPE_CHECKING:
    from bitmapmig.qapi import NodeName
    from bitmapmig.transforms.draft import Draft

#: The first release that inserts a filter, with `filter-node-name` and `bottom`.
_FILTERING = (6, 0)
#: The last measured release that makes a node read-only again that was so before, and the first that does not.
_RESTORES, _LEAVES = (7, 2), (10, 0)


class BlockStream(ChainJob):
    """Copy into a node what is in the layers below it, down to a base or all, and take these out of the chain.

    Bitmaps stay on their nodes. Those of the node that is streamed into record nothing of it: the data are not new to
    the guest. Those of the layers that leave the chain end with them where neither the monitor nor anything else holds
    the layer (`-drive`); where the monitor does (`-blockdev`) they stay, on nodes that are in no chain any more.

    From 6.0 on a copy-on-read filter is above the node while the job runs (measured on 7.2, 10.0 and 11.1), and 5.2
    has none. A node that was read-only is made writable, so that its stored bitmaps are marked in use. When the job
    ends, however it does, the bitmaps are stored, and 5.2 and 7.2 make the node read-only again; 10.0 and 11.1 fail to,
    and leave it writable with bitmaps that QEMU holds read-only.

    With auto-dismiss off, a job that has ended keeps its layers and its filter, out of use, until it is dismissed; on
    7.2 the next `query-named-block-nodes` kills the process until then.
    """

    word: ClassVar[str] = "block-stream"
    bottom: str | None = None

    def act(self, draft: Draft) -> None:
        """Source: `qmp_block_stream`."""
        self._check(draft)
        top = draft.lookup(self.device)
        layers = self._layers(draft, chain.chain(draft, top))
        starting.free(draft, *layers)
        chain.refuse_frozen(draft, top, layers[-1])
        identity = starting.job_id(draft, self.job_id, top)
        starting.remember_holders(draft)
        orders = chain.ReopeningOrders(
            auto_finalize=self.auto_finalize,
            auto_dismiss=self.auto_dismiss,
            was_read_only=bool(draft.nodes[top].read_only),
        )
        nodes = list(layers)
        if draft.release >= _FILTERING:
            above = starting.put_filter(draft, top, "copy-on-read", self.filter_node_name, role="file")
            draft.change(above, read_only=False)
            nodes.append(above)
        chain.make_writable(draft, top)
        starting.begin(draft, Job(identity, "stream", "running", nodes=tuple(nodes), orders=orders))

    def _check(self, draft: Draft) -> None:
        """Refuse arguments that exclude each other, or that the release does not have."""
        given = [one for one in ("base", "base_node", "bottom") if getattr(self, one) is not None]
        if len(given) > 1:
            draft.refuse(f"{' and '.join(given)} exclude each other".replace("_", "-"))
        if draft.release < _FILTERING and (self.bottom is not None or self.filter_node_name is not None):
            draft.refuse("bottom and filter-node-name are not known before 6.0")
        self.check_common(draft)
        if self.backing_file is not None and not given:
            draft.refuse("a backing-file is given, and the whole chain is streamed")
        if self.base is not None:
            draft.not_simulated("of which node `base` is the file name is not in the graph: name it by `base-node`")

    def _layers(self, draft: Draft, whole: list[NodeName]) -> list[NodeName]:
        """The node that is streamed into, and those below it that leave the chain."""
        if self.bottom is not None:
            bottom = draft.node(self.bottom)
            if bottom not in whole:
                draft.refuse(f"{self.bottom!r} is not in the backing chain of {whole[0]!r}", node=self.bottom)
            if chain.is_filter(draft, bottom):
                draft.refuse(f"{self.bottom!r} is a filter", node=self.bottom)
            return whole[: whole.index(bottom) + 1]
        if self.base_node is not None:
            base = draft.node(self.base_node)
            if base not in whole[1:]:
                draft.refuse(f"{self.base_node!r} is not in the backing chain of {whole[0]!r}", node=self.base_node)
            return whole[: whole.index(base)]
        return whole


# how it ends


def completed(draft: Draft, job: Job) -> None:
    """End a stream that did all: the base, if there is one, backs the node.

    Source: `stream_prepare`.
    """
    chain.hold_on(draft, job)
    layers = chain.held(draft, job)
    base = chain.next_below(draft, layers[-1])
    top = chain.skip_filters(draft, layers[0])
    gone = draft.unlink(top, "backing")
    if base is not None and gone is not None:
        draft.link(top, "backing", base)
    if gone is not None:
        draft.drop(gone)
    _clean(draft, job, layers)


def cancelled(draft: Draft, job: Job) -> None:
    """End a stream that leaves the layers where they are; what it has copied stays.

    Source: `stream_abort`.
    """
    chain.hold_on(draft, job)
    _clean(draft, job, chain.held(draft, job))


def _clean(draft: Draft, job: Job, layers: list[NodeName]) -> None:
    """Take the filter out, and make the node read-only again (`stream_clean`)."""
    top = layers[0]
    if draft.release >= _FILTERING:
        top = starting.remove_filter(draft, top)
    if not chain.was_read_only(draft, job, top):
        return
    if _RESTORES < draft.release < _LEAVES:
        draft.not_simulated("whether the node is read-only again was not measured between 7.2 and 10.0", top)
    reopening.switched(draft, top, read_only=True)
    if draft.release >= _LEAVES:
        # the bitmaps are stored, and then the reopening fails
        stored = draft.nodes[top].stored
        reopening.switched(draft, top, read_only=False)
        draft.change(top, stored=stored)

"""Snapshots: an empty layer on top of a node, which keeps what was written before.

    drive0 --> fmt0 [b0]        drive0 --> ov --backing--> fmt0 [b0], read-only

Sources: QAPI `BlockdevSnapshot`, `BlockdevSnapshotSync`; `external_snapshot_action`, `external_snapshot_commit`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bitmapmig.graph import NOT_FILTERS
from bitmapmig.transforms import starting
from bitmapmig.transforms.conflicts import none_new
from bitmapmig.transforms.nodes import BlockdevOptions, Image, opened
from bitmapmig.transforms.reopening import switched
from bitmapmig.transforms.staged import Staged

if TYPE_CHECKING:
    from collections.abc import Callable

    from bitmapmig.qapi import NodeName
    from bitmapmig.transforms.draft import Draft

#: Formats that can have a backing image, of those that are known here.
_WITH_BACKING = "qcow2"
_OTHERS_WITH_BACKING = frozenset(("qcow", "qed", "vmdk", "parallels"))
#: The first release that was seen to refuse a snapshot that would close a circle.
_SURVIVES_CYCLES = (7, 2)


class BlockdevSnapshot(Staged):
    """Put `overlay`, a node that is there, on top of `node`: everything that used `node` uses the overlay from now on.

    The bitmaps of `node` stay on it, and no write of the guest reaches them any more. The node becomes read-only, which
    stores the persistent ones in its image; they can then be neither changed nor removed. Transient ones still can, and
    still say that they record. A node that was below a filter is left as it was; the filter turns read-only instead.
    Measured alike on 5.2, 7.2, 10.0 and 11.1, but that 5.2 dies of a node on top of itself. On all four the root of
    `-drive ...,copy-on-read=on` stays writable; no query shows that option, and it is taken to be off.
    """

    word: ClassVar[str] = "blockdev-snapshot"
    node: str
    overlay: str

    def prepare(self, draft: Draft) -> Callable[[], None]:
        """Source: `external_snapshot_action`."""
        node = draft.lookup(self.node)
        refuse_busy(draft, node)
        overlay = draft.lookup(self.overlay)
        if any(one.root == overlay for one in draft.backends) or any(
            one.node == overlay for one in draft.exports.values()
        ):
            draft.refuse(f"the overlay {overlay!r} is in use", node=overlay)
        if draft.nodes[overlay].driver != _WITH_BACKING:
            if draft.nodes[overlay].driver in _OTHERS_WITH_BACKING:
                draft.not_simulated(f"an overlay of the format {draft.nodes[overlay].driver!r}", overlay)
            draft.refuse(f"the overlay {overlay!r} cannot have a backing image", node=overlay)
        if "backing" in draft.children[overlay]:
            draft.refuse(f"the overlay {overlay!r} has a backing image already", node=overlay)
        if overlay in draft.below(node):
            if draft.release < _SURVIVES_CYCLES:
                draft.not_simulated("this QEMU dies of an overlay that is below the node", overlay)
            draft.refuse(f"{overlay!r} is {node!r} itself or below it", node=overlay)
        return _put_on(draft, node, overlay)


class BlockdevSnapshotSync(Staged):
    """Make a new image, or take one that is there (`mode: existing`), and put it on top of a device's root or a node.

    What becomes of bitmaps is what `blockdev-snapshot` does to them. The new node has no bitmaps, or those of its
    image; it has the node-name that was asked for, else a generated one. A node that nothing uses turns read-only and
    gets no overlay: with nobody to keep it, the new node ends at once. Measured alike on 5.2, 7.2, 10.0 and 11.1.

    `image` says what an existing overlay holds; it is not sent to QEMU.
    """

    word: ClassVar[str] = "blockdev-snapshot-sync"
    device: str | None = None
    node_name: str | None = None
    snapshot_file: str
    snapshot_node_name: str | None = None
    format: str = "qcow2"
    mode: Literal["absolute-paths", "existing"] = "absolute-paths"
    image: Image | None = Field(default=None, exclude=True)

    def prepare(self, draft: Draft) -> Callable[[], None]:
        """Source: `external_snapshot_action`."""
        node = self._node(draft)
        refuse_busy(draft, node)
        if self.device is None and self.snapshot_node_name is None:
            draft.refuse("a snapshot of a node needs a 'snapshot-node-name'", node=node)
        if self.snapshot_node_name in {*draft.nodes, *(one.device for one in draft.backends if one.device)}:
            draft.refuse(f"the name {self.snapshot_node_name!r} is taken", node=self.snapshot_node_name)
        if self.format == "raw":
            draft.refuse("a raw image cannot have a backing image", node=node)
        overlay = opened(draft, self._overlay(draft, node), read_only=bool(draft.nodes[node].read_only))
        at_the_end = _put_on(draft, node, overlay)

        def done() -> None:
            at_the_end()
            draft.drop(overlay)

        return done

    def _node(self, draft: Draft) -> NodeName:
        """The root of the device, else the node (`bdrv_lookup_bs`)."""
        if self.device is not None and self.device in {one.device for one in draft.backends}:
            return draft.lookup(self.device)
        return draft.node(self.node_name or "")

    def _overlay(self, draft: Draft, node: NodeName) -> BlockdevOptions:
        image = self.image
        if self.format != "qcow2":
            draft.not_simulated(f"an overlay of the format {self.format!r}", node)
        if self.mode == "absolute-paths":
            size = draft.nodes[node].virtual_size
            if size is None:
                draft.not_simulated(f"an overlay of {node!r}, the size of which is not known", node)
            image = Image(virtual_size=size)
        if image is None:
            draft.not_simulated("what the existing image holds is not said: give `image: {virtual-size: ...}`", node)
        return BlockdevOptions(
            driver=self.format,
            node_name=self.snapshot_node_name,
            file=BlockdevOptions(driver="file"),
            backing=None,
            image=image,
        )


def refuse_busy(draft: Draft, node: NodeName) -> None:
    """Refuse where a job or an overlay has the node blocked (`bdrv_op_is_blocked`)."""
    for job in draft.jobs.values():
        if job.active and node in job.nodes:
            draft.refuse(f"the job {job.id!r} uses the node {node!r}", node=node)
    for parent, role in draft.parents(node):
        if role == "backing" and draft.nodes[parent].driver in NOT_FILTERS:
            draft.refuse(f"{node!r} is the backing image of {parent!r}", node=node)


def _put_on(draft: Draft, node: NodeName, overlay: NodeName) -> Callable[[], None]:
    with none_new(draft):
        starting.take_place(draft, node, overlay)
        draft.link(overlay, "backing", node)
    return lambda: switched(draft, node, read_only=True)

"""Bitmaps added, removed, cleared, enabled, disabled and merged.

Sources: QAPI `BlockDirtyBitmapAdd`, `BlockDirtyBitmap`, `BlockDirtyBitmapMerge`; `block/monitor/bitmap-qmp-cmds.c`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bitmapmig.graph import Bitmap
from bitmapmig.graph.drivers import FILTERS
from bitmapmig.qapi import BitmapName, NodeName
from bitmapmig.transforms.operation import Arguments, Operation
from bitmapmig.transforms.staged import Staged

if TYPE_CHECKING:
    from collections.abc import Callable

    from bitmapmig.graph import Node
    from bitmapmig.transforms.draft import Draft

#: The granularity where none is asked for (`bdrv_get_default_bitmap_granularity`).
GRANULARITY = 65536
_LEAST_DEFAULT = 4096
#: Drivers through which clusters are seen.
PASSING = FILTERS | {"raw"}
_LEAST, _MOST = 512, 1 << 31
_MAX_NAME = 1023
#: The most that the bits of one stored bitmap may be, in bytes (`BME_MAX_PHYS_SIZE`).
_MAX_STORED = 512 << 20
#: Persistent on a read-only node: the last release that was seen to allow it, and the first that was seen to refuse it.
_ALLOWS_READ_ONLY, _REFUSES_READ_ONLY = (10, 0), (11, 1)
#: The last release that was seen to survive a merge of nothing.
_SURVIVES_EMPTY_MERGE = (5, 2)


class BlockDirtyBitmapAdd(Operation):
    """Make a bitmap, clean, on a node; `granularity` in bytes.

    A persistent one is in memory only until the node is closed or turns read-only: a crash before that loses it without
    a trace. Measured alike on 5.2, 7.2, 10.0 and 11.1, but that 11.1 refuses a persistent bitmap on a read-only node;
    up to 10.0 it is made, and lost later. The granularity by default is 64 KiB, or that of smaller clusters, 4 KiB at
    least.
    """

    word: ClassVar[str] = "block-dirty-bitmap-add"
    node: str
    name: str
    granularity: int | None = Field(default=None, ge=0, lt=1 << 32)
    persistent: bool = False
    disabled: bool = False

    def act(self, draft: Draft) -> None:
        """Source: `qmp_block_dirty_bitmap_add`."""
        node = draft.lookup(self.node)
        there = draft.nodes[node]
        granularity = self.granularity or _default(draft, node)
        if not self.name:
            draft.refuse("the name of a bitmap cannot be empty", node=node)
        if self.granularity is not None and (self.granularity < _LEAST or self.granularity & (self.granularity - 1)):
            draft.refuse(f"the granularity {self.granularity} is no power of 2 from {_LEAST} to {_MOST}", node=node)
        if len(self.name.encode()) > _MAX_NAME:
            draft.refuse(f"the name is longer than {_MAX_NAME} bytes", node=node, bitmap=self.name)
        if there.bitmap(self.name):
            draft.refuse(f"there is a bitmap {self.name!r} on {node!r} already", node=node, bitmap=self.name)
        if self.persistent:
            self._check_storable(draft, there, granularity)
        made = Bitmap(
            BitmapName(self.name),
            granularity,
            count=0,
            recording=not self.disabled,
            busy=False,
            persistent=self.persistent,
            inconsistent=False,
        )
        draft.set_bitmaps(node, tuple(sorted((*there.bitmaps, made))))

    def _check_storable(self, draft: Draft, node: Node, granularity: int) -> None:
        """Refuse what cannot be stored (`qcow2_co_can_store_new_dirty_bitmap`)."""
        place = {"node": node.name, "bitmap": self.name}
        if node.driver != "qcow2":
            draft.refuse(f"{node.name!r} is a {node.driver} node, which stores no bitmaps", **place)
        if node.compat == "0.10":
            draft.refuse(f"the image of {node.name!r} is qcow2 version 2, which stores no bitmaps", **place)
        if node.virtual_size is not None and node.virtual_size > _MAX_STORED * 8 * granularity:
            draft.refuse(f"the bitmap is too large to be stored: more than {_MAX_STORED} bytes", **place)
        if node.read_only and draft.release >= _REFUSES_READ_ONLY:
            draft.refuse(f"{node.name!r} is read-only", **place)
        if node.read_only and draft.release > _ALLOWS_READ_ONLY:
            draft.not_simulated("whether this release takes one on a read-only node", node.name)


def _default(draft: Draft, node: NodeName) -> int:
    """The granularity where none is asked for; a node without clusters has those of what it filters."""
    while draft.nodes[node].cluster_size is None and draft.nodes[node].driver in PASSING and draft.children[node]:
        node = next(iter(draft.children[node].values()))
    return min(GRANULARITY, max(_LEAST_DEFAULT, draft.nodes[node].cluster_size or GRANULARITY))


class _OfBitmap(Operation):
    """What is done to one bitmap of one node."""

    node: str
    name: str

    def found(
        self, draft: Draft, *, inconsistent_too: bool = False, read_only_too: bool = False
    ) -> tuple[NodeName, Bitmap]:
        """The bitmap that is to be changed (`bdrv_dirty_bitmap_check` with what the command allows)."""
        node = draft.lookup(self.node)
        bitmap = draft.bitmap(node, self.name)
        _usable(draft, node, bitmap, inconsistent_too=inconsistent_too, read_only_too=read_only_too)
        return node, bitmap


def _usable(
    draft: Draft, node: NodeName, bitmap: Bitmap, *, inconsistent_too: bool = False, read_only_too: bool = False
) -> None:
    """Refuse what QEMU's `bdrv_dirty_bitmap_check` refuses."""
    place = {"node": node, "bitmap": bitmap.name}
    if bitmap.busy:
        draft.refuse(f"the bitmap {bitmap.name!r} is in use", **place)
    if not read_only_too and draft.nodes[node].holds_read_only(bitmap):
        draft.refuse(f"the bitmap {bitmap.name!r} is read-only", **place)
    if not inconsistent_too and bitmap.inconsistent:
        draft.refuse(f"the bitmap {bitmap.name!r} is inconsistent", **place)


class BlockDirtyBitmapRemove(_OfBitmap, Staged):
    """Remove a bitmap, and its copy in the image if it is persistent; to an inconsistent one nothing else can be done.

    In a transaction the name stays taken until its end, and the copy in the image goes at once. Measured alike on 5.2,
    7.2, 10.0 and 11.1.
    """

    word: ClassVar[str] = "block-dirty-bitmap-remove"

    def prepare(self, draft: Draft) -> Callable[[], None]:
        """Source: `block_dirty_bitmap_remove_prepare`, `block_dirty_bitmap_remove_commit`."""
        node, gone = self.found(draft, inconsistent_too=True)
        there = draft.nodes[node]
        if there.stored is not None and gone.persistent:
            draft.change(node, stored=tuple(one for one in there.stored if one.name != gone.name))
        # a persistent one that is on its way out is not stored (`bdrv_dirty_bitmap_skip_store`)
        draft.change_bitmap(node, gone.name, busy=True, persistent=False)

        def done() -> None:
            draft.set_bitmaps(node, tuple(one for one in draft.nodes[node].bitmaps if one.name != gone.name))

        return done


class BlockDirtyBitmapClear(_OfBitmap):
    """Make a bitmap clean, unless it is read-only, busy or inconsistent. Alike on 5.2, 7.2, 10.0 and 11.1."""

    word: ClassVar[str] = "block-dirty-bitmap-clear"

    def act(self, draft: Draft) -> None:
        """Source: `block_dirty_bitmap_clear_prepare`."""
        node, bitmap = self.found(draft)
        draft.change_bitmap(node, bitmap.name, count=0)


class BlockDirtyBitmapEnable(_OfBitmap):
    """Let a bitmap record writes; a read-only one too. Alike on 5.2, 7.2, 10.0 and 11.1."""

    word: ClassVar[str] = "block-dirty-bitmap-enable"

    def act(self, draft: Draft) -> None:
        """Source: `block_dirty_bitmap_enable_prepare`."""
        node, bitmap = self.found(draft, read_only_too=True)
        draft.change_bitmap(node, bitmap.name, recording=True)


class BlockDirtyBitmapDisable(_OfBitmap):
    """Let a bitmap record no more writes; a read-only one too. Alike on 5.2, 7.2, 10.0 and 11.1."""

    word: ClassVar[str] = "block-dirty-bitmap-disable"

    def act(self, draft: Draft) -> None:
        """Source: `block_dirty_bitmap_disable_prepare`."""
        node, bitmap = self.found(draft, read_only_too=True)
        draft.change_bitmap(node, bitmap.name, recording=False)


class BitmapOnNode(Arguments):
    """A bitmap of another node (QAPI `BlockDirtyBitmap`)."""

    node: str
    name: str


class BlockDirtyBitmapMerge(Operation):
    """Set in `target`, a bitmap of `node`, what is set in any of `bitmaps`: names on the same node, or with their node.

    Granularities may differ, sizes may not; whether a bitmap records does not matter. How many bytes are dirty
    afterwards is known where one alone holds anything and is no finer than the target; else the `count` is the least
    that it can be. Measured alike on 5.2, 7.2, 10.0 and 11.1, but that all from 7.2 on die of an empty list.
    """

    word: ClassVar[str] = "block-dirty-bitmap-merge"
    node: str
    target: str
    bitmaps: tuple[str | BitmapOnNode, ...] = Field(strict=False)

    def act(self, draft: Draft) -> None:
        """Source: `block_dirty_bitmap_merge`."""
        node = draft.lookup(self.node)
        target = draft.bitmap(node, self.target)
        _usable(draft, node, target)
        if not self.bitmaps and draft.release > _SURVIVES_EMPTY_MERGE:
            draft.not_simulated("this QEMU dies of a merge of no bitmaps", node)
        size = draft.nodes[node].virtual_size
        count = target.count
        for one in self.bitmaps:
            at = node if isinstance(one, str) else draft.lookup(one.node)
            source = draft.bitmap(at, one if isinstance(one, str) else one.name)
            _usable(draft, at, source, read_only_too=True)
            if draft.nodes[at].virtual_size != size:
                draft.refuse(f"the sizes of {at!r} and {node!r} differ", node=at, bitmap=source.name)
            count = max(count, _spread(source, target.granularity, size))
        draft.change_bitmap(node, target.name, count=count)


def _spread(source: Bitmap, granularity: int, size: int | None) -> int:
    """The dirty bytes of `source` in a bitmap of that granularity, at least: what is partly dirty is dirty."""
    if source.count == 0:
        return 0
    if source.granularity <= granularity:
        return -(-source.count // granularity) * granularity
    if size is None:
        return granularity
    return min(source.count, -(-size // granularity) * granularity)

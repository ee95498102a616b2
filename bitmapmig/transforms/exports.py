"""Block exports over NBD: added, and ended.

An export keeps the bitmaps that it shows to its clients busy. Whether the NBD server runs, and which name an export has
there, is in no query: where a QEMU would have to be asked, both are taken to fit. Sources: QAPI `BlockExportOptions`,
`block/export/export.c`, `nbd/server.c`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from bitmapmig.graph import Export
from bitmapmig.qapi import BitmapName, NodeName
from bitmapmig.transforms.bitmaps import BitmapOnNode
from bitmapmig.transforms.images import unloaded
from bitmapmig.transforms.operation import Operation
from bitmapmig.transforms.permissions import holds_image, refuse_excluded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.graph import Bitmap
    from bitmapmig.transforms.draft import Draft

_ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
#: The first versions that know a bitmap of another node, and `allow-inactive`.
_EXTERNAL, _INACTIVE = (7, 1), (10, 0)
_NBD = "nbd"


class BlockExportAdd(Operation):
    """Let NBD clients read a node, and with `writable` write to it.

    The named `bitmaps` turn busy: each is looked for on the node and then down its filters and backing images, or, from
    QEMU 7.1 on, on the node that is given with it. An enabled bitmap on a writable node is refused unless the export is
    writable too. On a destination that waits for a migration the export first activates the node and all below it, so
    that stored bitmaps are loaded, and are then in the way of those that arrive; what they are is not simulated
    (`allow-inactive`, from 10.0 on, leaves that out). Measured on 5.2, 7.2, 10.0 and 11.1.
    """

    word: ClassVar[str] = "block-export-add"
    type: str
    id: str
    node_name: str
    name: str | None = None
    description: str | None = None
    writable: bool = False
    writethrough: bool | None = None
    iothread: str | None = None
    fixed_iothread: bool | None = None
    allocation_depth: bool | None = None
    allow_inactive: bool | None = None
    bitmaps: tuple[str | BitmapOnNode, ...] = Field(default=(), strict=False)

    def act(self, draft: Draft) -> None:
        """Source: `blk_exp_add`, `nbd_export_create`."""
        node = self._accepted(draft)
        for below in draft.below(node):
            if not self.allow_inactive and unloaded(draft.nodes[below]):
                draft.not_simulated(
                    f"it activates the image of {below!r}, if no other QEMU has that open, and loads the bitmaps in it",
                    node=below,
                )
        refuse_excluded(draft, node, writes=self.writable, shares_writes=True)
        image = holds_image(draft, node)
        if image is not None:
            draft.refuse(f"the node {image!r} has its image in {node!r}, and an export keeps the size as it is", node)
        self._check_name(draft, node)
        taken = [self._bitmap(draft, node, one) for one in self.bitmaps]
        for at, bitmap in taken:
            draft.change_bitmap(at, bitmap.name, busy=True)
        draft.exports[self.id] = Export(self.id, self.type, node, self.writable)

    def _accepted(self, draft: Draft) -> NodeName:
        if self.type != _NBD:
            draft.not_simulated(f"an export of the type {self.type!r}")
        if self.allow_inactive is not None and draft.release < _INACTIVE:
            draft.refuse("this QEMU does not know `allow-inactive`")
        if draft.release < _EXTERNAL and any(isinstance(one, BitmapOnNode) for one in self.bitmaps):
            draft.refuse("this QEMU takes bitmaps by their names alone")
        if not _ID.fullmatch(self.id):
            draft.refuse(f"{self.id!r} is no id of an export")
        if self.id in draft.exports:
            draft.refuse(f"there is an export {self.id!r} already")
        node = draft.node(self.node_name)
        if self.writable and draft.nodes[node].read_only:
            draft.refuse(f"the node {node!r} is read-only, and the export is to be writable", node=node)
        return node

    def _check_name(self, draft: Draft, node: NodeName) -> None:
        """The name under which clients ask for the export is the node-name where none is given."""
        name = self.name or node
        if any(one.type == _NBD and one.node == name for one in draft.exports.values()):
            draft.not_simulated(f"whether an export of {name!r} has that name for its clients too", node=node)

    def _bitmap(self, draft: Draft, node: NodeName, wanted: str | BitmapOnNode) -> tuple[NodeName, Bitmap]:
        at, bitmap = _looked_up(draft, node, wanted)
        place = {"node": at, "bitmap": bitmap.name}
        if bitmap.busy:
            draft.refuse(f"the bitmap {bitmap.name!r} is in use", **place)
        if bitmap.inconsistent:
            draft.refuse(f"the bitmap {bitmap.name!r} is inconsistent", **place)
        if bitmap.recording and not self.writable and not draft.nodes[at].read_only:
            draft.refuse(f"the bitmap {bitmap.name!r} is enabled, and the export is not writable", **place)
        return at, bitmap


def _looked_up(draft: Draft, node: NodeName, wanted: str | BitmapOnNode) -> tuple[NodeName, Bitmap]:
    if isinstance(wanted, BitmapOnNode):
        at = draft.lookup(wanted.node)
        return at, draft.bitmap(at, wanted.name)
    at = next((below for below in _chain(draft, node) if draft.nodes[below].bitmap(wanted)), node)
    return at, draft.bitmap(at, wanted)


def _chain(draft: Draft, node: NodeName) -> Iterator[NodeName]:
    """`node`, and what is below it through filters and backing images (`bdrv_filter_or_cow_bs`)."""
    at: NodeName | None = node
    graph = draft.graph()
    while at is not None:
        yield at
        at = graph.filtered(at) if graph.is_filter(at) else draft.children[at].get("backing")


class NbdServerAdd(Operation):
    """As `block-export-add`, under one name for all: `name`, or else what `device` says, a device or a node-name.

    A read-only node is exported read-only, whatever `writable` says.
    """

    word: ClassVar[str] = "nbd-server-add"
    device: str
    name: str | None = None
    description: str | None = None
    writable: bool = False
    bitmap: str | None = None

    def act(self, draft: Draft) -> None:
        """Source: `qmp_nbd_server_add`."""
        node = draft.lookup(self.device)
        name = self.device if self.name is None else self.name
        BlockExportAdd(
            type=_NBD,
            id=name,
            node_name=node,
            name=name,
            writable=self.writable and not draft.nodes[node].read_only,
            bitmaps=() if self.bitmap is None else (self.bitmap,),
        ).act(draft)


class BlockExportDel(Operation):
    """End an export: its bitmaps are no longer busy.

    It is taken that no client is connected. With one, QEMU refuses in `mode` safe, the default, and with `hard` the
    export ends when `BLOCK_EXPORT_DELETED` comes.
    """

    word: ClassVar[str] = "block-export-del"
    id: str
    mode: Literal["safe", "hard"] = "safe"

    def act(self, draft: Draft) -> None:
        """Source: `qmp_block_export_del`."""
        if self.id not in draft.exports:
            draft.refuse(f"there is no export {self.id!r}")
        _end(draft, [self.id])


class NbdServerRemove(Operation):
    """As `block-export-del`; `name` is the id of the export."""

    word: ClassVar[str] = "nbd-server-remove"
    name: str
    mode: Literal["safe", "hard"] = "safe"

    def act(self, draft: Draft) -> None:
        """Source: `qmp_nbd_server_remove`."""
        BlockExportDel(id=self.name).act(draft)


class BlockExportDeleted(Operation):
    """An export has ended, with `block-export-del` or by itself; nothing more happens where it was gone already."""

    word: ClassVar[str] = "BLOCK_EXPORT_DELETED"
    kind: ClassVar[Literal["command", "event", "process"]] = "event"
    id: str

    def act(self, draft: Draft) -> None:
        """Source: `blk_exp_delete_bh`."""
        _end(draft, [self.id] if self.id in draft.exports else [])


class NbdServerStart(Operation):
    """Start the NBD server: exports need it, and it changes no node."""

    word: ClassVar[str] = "nbd-server-start"
    addr: dict[str, Any]
    handshake_max_seconds: int | None = None
    tls_creds: str | None = None
    tls_authz: str | None = None
    max_connections: int | None = None

    def act(self, draft: Draft) -> None:
        """Source: `qmp_nbd_server_start`."""
        if any(one.type == _NBD for one in draft.exports.values()):
            draft.refuse("the NBD server runs already")


class NbdServerStop(Operation):
    """Stop the NBD server: every NBD export ends, and its bitmaps are no longer busy."""

    word: ClassVar[str] = "nbd-server-stop"

    def act(self, draft: Draft) -> None:
        """Source: `qmp_nbd_server_stop`."""
        _end(draft, [one.id for one in draft.exports.values() if one.type == _NBD])


def _end(draft: Draft, ids: list[str]) -> None:
    """End exports together, and free the bitmaps that they alone can hold.

    No query shows who keeps a bitmap busy. It is one of these exports where nothing else could: no other export, and no
    job. Else it is one that can reach it, and what only they can reach is theirs.
    """
    ended = [draft.exports.pop(one) for one in ids]
    others = [one.node for one in draft.exports.values()]
    others += [node for job in draft.jobs.values() if job.active for node in job.nodes]
    theirs = {node for one in ended for node in _chain(draft, one.node)}
    foreign = {node for one in others for node in draft.below(one)}
    busy = [(node, one.name) for node, there in draft.nodes.items() for one in there.bitmaps if one.busy]
    for node, bitmap in busy:
        if node in theirs and node in foreign:
            draft.not_simulated(f"who it is that keeps the bitmap {bitmap!r} of {node!r} busy", node=node)
        if node in theirs or not others:
            _free(draft, node, bitmap)
    for one in ended:
        draft.drop(one.node)


def _free(draft: Draft, node: NodeName, bitmap: BitmapName) -> None:
    draft.change_bitmap(node, bitmap, busy=False)

"""Nodes opened and closed: `blockdev-add`, `blockdev-del`, and what an image holds that a simulation cannot see.

Sources: QAPI `BlockdevOptions`; `bdrv_open_inherit`, `qmp_blockdev_add`, `qmp_blockdev_del`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from bitmapmig.graph import Bitmap, Node, StoredBitmap
from bitmapmig.qapi import BitmapName, NodeName
from bitmapmig.transforms.conflicts import none_new
from bitmapmig.transforms.operation import Arguments, Operation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitmapmig.transforms.draft import Draft

_WELL_FORMED = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
_MAX_NODE_NAME = 31
#: What a null node is large where nobody says (`null_co_open`).
_NULL_SIZE = 1 << 30
_SECTOR = 512

#: Drivers without children whose size is their own business.
NULL = frozenset(("null-co", "null-aio"))
_LEAVES = frozenset(
    ("file", "host_device", "host_cdrom", "nbd", "http", "https", "ftp", "ftps", "iscsi", "nfs", "rbd", "ssh", "nvme")
)
#: Filters whose one child is their `file`, and which pass its size on.
FILTERS = frozenset(("throttle", "copy-on-read", "preallocate", "compress"))
#: The roles of children that each driver opens, those before the node's own name is given first.
_ROLES: Mapping[str, tuple[str, ...]] = {
    "qcow2": ("file", "data-file", "backing"),
    "raw": ("file",),
    **dict.fromkeys(FILTERS, ("file",)),
}
#: Options of any node that change neither graph nor bitmaps.
_IDLE = frozenset(("cache", "discard", "detect-zeroes", "force-share", "auto-read-only"))
#: The same of one driver; those of drivers without children are not looked at.
_IDLE_OF: Mapping[str, frozenset[str]] = {
    "qcow2": frozenset(
        (
            "lazy-refcounts",
            "pass-discard-request",
            "pass-discard-snapshot",
            "pass-discard-other",
            "discard-no-unref",
            "overlap-check",
            "cache-size",
            "l2-cache-size",
            "l2-cache-entry-size",
            "refcount-cache-size",
            "cache-clean-interval",
            "encrypt",
        )
    ),
    "throttle": frozenset(("throttle-group",)),
    "preallocate": frozenset(("prealloc-align", "prealloc-size")),
}


class BitmapInImage(Arguments):
    """A bitmap that an image holds; `granularity` and `count`, the dirty part of it, in bytes.

    `in_use` is how a QEMU that ended without order leaves it; `recording` is qcow2's flag `auto`.
    """

    name: str = Field(min_length=1)
    granularity: int = Field(default=65536, gt=0)
    count: int = Field(default=0, ge=0)
    in_use: bool = False
    recording: bool = True


class Image(Arguments):
    """What an image file holds, told in the step because no file is looked at; it is not sent to QEMU.

    `virtual_size` and `cluster_size` in bytes. `backing` are the options of the node that QEMU opens because the header
    names it.
    """

    virtual_size: int = Field(ge=0)
    cluster_size: int = Field(default=65536, gt=0)
    compat: Literal["0.10", "1.1"] = "1.1"
    bitmaps: tuple[BitmapInImage, ...] = Field(default=(), strict=False)
    backing: BlockdevOptions | None = None

    @field_validator("bitmaps")
    @classmethod
    def _each_once(cls, bitmaps: tuple[BitmapInImage, ...]) -> tuple[BitmapInImage, ...]:
        seen: set[str] = set()
        for one in bitmaps:
            if one.name in seen:
                raise PydanticCustomError("image", "the bitmap {name} is there twice", {"name": repr(one.name)})
            seen.add(one.name)
        return bitmaps


class BlockdevOptions(Arguments):
    """Options of one node, with those of its children inside, or references to nodes that are there.

    Of a qcow2 image `image` tells what it holds: which size, bitmaps and backing image a file has is not looked up.
    """

    model_config = ConfigDict(extra="allow")

    driver: str
    node_name: str | None = None
    read_only: bool | None = None
    size: int | None = Field(default=None, ge=0)
    offset: int | None = Field(default=None, ge=0)
    file: BlockdevOptions | str | None = None
    data_file: BlockdevOptions | str | None = None
    backing: BlockdevOptions | str | None = None
    image: Image | None = Field(default=None, exclude=True)

    def child(self, role: str) -> BlockdevOptions | str | None:
        """What is said of the child in that role."""
        found: dict[str, BlockdevOptions | str | None] = {
            "file": self.file,
            "data-file": self.data_file,
            "backing": self.backing,
        }
        return found[role]


Image.model_rebuild()


def opened(draft: Draft, options: BlockdevOptions, *, read_only: bool = False, of_monitor: bool = False) -> NodeName:
    """Open a node with all that its options open below it; `read_only` is what it inherits where it says nothing.

    A child opened inside takes over whether its parent is read-only, a backing image always is. Nodes get their names
    as QEMU gives them: what is below first, backing images last. Source: `bdrv_open_inherit`.
    """
    understood(draft, options)
    if options.driver == "qcow2" and options.image is None:
        draft.not_simulated(
            "what the qcow2 image holds is not said: give the node `image: {virtual-size: ...}`", options.node_name
        )
    read_only = read_only if options.read_only is None else options.read_only
    name = _name(draft, options)
    children = {
        role: _child(draft, below, read_only=read_only)
        for role in _ROLES.get(options.driver, ())
        if role != "backing" and (below := options.child(role)) is not None
    }
    if options.driver in _ROLES and "file" not in children:
        draft.refuse(f"a {options.driver} node needs a child 'file'", node=options.node_name)
    node = _made(draft, options, name or draft.generated(), children.get("file"), read_only=read_only)
    name = draft.add(replace(node, of_monitor=of_monitor), children)
    if options.driver == "qcow2":
        below = options.backing
        if "backing" not in options.model_fields_set and options.image is not None:
            below = options.image.backing
        if below is not None:
            draft.link(name, "backing", _child(draft, below, read_only=True))
    return name


def understood(draft: Draft, options: BlockdevOptions) -> None:
    """Simulate no driver and no option of which it is not known what it does to graph or bitmaps."""
    known = NULL | _LEAVES | _ROLES.keys()
    if options.driver not in known:
        draft.not_simulated(f"the driver {options.driver!r}; known are {', '.join(sorted(known))}", options.node_name)
    if options.driver in _ROLES:
        idle = _IDLE | _IDLE_OF.get(options.driver, frozenset())
        strange = sorted((options.model_extra or {}).keys() - idle)
        if strange:
            draft.not_simulated(f"the options {', '.join(strange)} of {options.driver}", options.node_name)


def _name(draft: Draft, options: BlockdevOptions) -> NodeName | None:
    """The node-name that was asked for (`bdrv_assign_node_name`)."""
    name = options.node_name
    if name is None:
        return None
    if not _WELL_FORMED.fullmatch(name):
        draft.refuse(f"{name!r} is no node-name: a letter, then letters, digits and '-._'", node=name)
    if len(name) > _MAX_NODE_NAME:
        draft.refuse(f"the node-name is longer than {_MAX_NODE_NAME} bytes", node=name)
    if name in draft.nodes:
        draft.refuse(f"there is a node {name!r} already", node=name)
    if name in {one.device for one in draft.backends}:
        draft.refuse(f"{name!r} is the name of a device", node=name)
    return NodeName(name)


def _child(draft: Draft, below: BlockdevOptions | str, *, read_only: bool) -> NodeName:
    return draft.lookup(below) if isinstance(below, str) else opened(draft, below, read_only=read_only)


def _made(draft: Draft, options: BlockdevOptions, name: NodeName, file: NodeName | None, *, read_only: bool) -> Node:
    image = options.image
    if options.driver != "qcow2" or image is None:
        return Node(name, options.driver, read_only, _size(draft, options, file))
    return Node(
        name,
        options.driver,
        read_only,
        image.virtual_size,
        bitmaps=tuple(sorted(map(_loaded, image.bitmaps))),
        stored=tuple(
            sorted(
                StoredBitmap(BitmapName(one.name), one.granularity, one.in_use or not read_only)
                for one in image.bitmaps
            )
        ),
        compat=image.compat,
        cluster_size=image.cluster_size,
    )


def _size(draft: Draft, options: BlockdevOptions, file: NodeName | None) -> int | None:
    if options.driver in NULL:
        size = _NULL_SIZE if options.size is None else options.size
        return -(-size // _SECTOR) * _SECTOR
    if file is None:
        return options.image.virtual_size if options.image else None
    below = draft.nodes[file].virtual_size
    if options.driver != "raw":
        return below
    if options.size is not None:
        return options.size
    return None if below is None else below - (options.offset or 0)


def _loaded(bitmap: BitmapInImage) -> Bitmap:
    """A bitmap as it is in memory once its image is open (`qcow2_load_dirty_bitmaps`)."""
    return Bitmap(
        BitmapName(bitmap.name),
        bitmap.granularity,
        count=0 if bitmap.in_use else bitmap.count,
        recording=bitmap.recording and not bitmap.in_use,
        busy=False,
        persistent=True,
        inconsistent=bitmap.in_use,
    )


class BlockdevAdd(BlockdevOptions, Operation):
    """Open a node, and those below it that its options open; the monitor holds it until `blockdev-del`.

    The bitmaps that its image holds come with it: those that were in use when it was last closed are inconsistent,
    those of a node that is read-only cannot be changed. Measured alike on 5.2, 7.2, 10.0 and 11.1.

    What files hold is said by `image` beside QMP's own options. Not simulated is a qcow2 node without it; of raw files
    without it the size is not known. Not looked at: whether the file is there, and the object that is a throttle group.
    """

    model_config = ConfigDict(extra="allow")

    word: ClassVar[str] = "blockdev-add"

    def act(self, draft: Draft) -> None:
        """Source: `qmp_blockdev_add`."""
        if self.node_name is None:
            draft.refuse("the node needs a 'node-name'")
        with none_new(draft):
            opened(draft, self, of_monitor=True)


class BlockdevDel(Operation):
    """Close a node that the monitor holds and nothing else uses; what is below it goes with it unless something has it.

    Its bitmaps are gone; those that are persistent are in its image, if that could be written, and come back with it.
    """

    word: ClassVar[str] = "blockdev-del"
    node_name: str

    def act(self, draft: Draft) -> None:
        """Source: `qmp_blockdev_del`."""
        node = draft.node(self.node_name)
        if draft.used(node):
            draft.refuse(f"the node {node!r} is in use", node=node)
        if not draft.held(node):
            draft.refuse(f"the monitor does not hold {node!r}", node=node)
        draft.change(node, of_monitor=False)
        draft.drop(node)

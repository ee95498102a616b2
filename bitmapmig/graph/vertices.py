"""What a block graph is made of: nodes with their bitmaps, backends, jobs, exports, and the edges between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from bitmapmig.qapi import BitmapName, DeviceName, NodeName


@dataclass(frozen=True, slots=True, order=True)
class Bitmap:
    """A named dirty bitmap (QAPI `BlockDirtyInfo`); `granularity` and `count` in bytes."""

    name: BitmapName
    granularity: int
    count: int
    recording: bool
    busy: bool
    persistent: bool
    inconsistent: bool


@dataclass(frozen=True, slots=True, order=True)
class StoredBitmap:
    """A bitmap in a qcow2 image (QAPI `Qcow2BitmapInfo`); a live QEMU that has it loaded keeps it marked `in-use`."""

    name: BitmapName
    granularity: int
    in_use: bool


@dataclass(frozen=True, slots=True)
class Node:
    """A block node; `virtual_size` in bytes. `stored` is None where the format stores no bitmaps or does not tell.

    `of_monitor` is whether the monitor holds the node, which no query shows: None where nobody said.
    """

    name: NodeName
    driver: str
    read_only: bool | None = False
    virtual_size: int | None = None
    bitmaps: tuple[Bitmap, ...] = ()
    stored: tuple[StoredBitmap, ...] | None = None
    compat: str | None = None  #: qcow2's version: 0.10 or 1.1
    of_monitor: bool | None = None
    cluster_size: int | None = None  #: bytes; None where there are no clusters

    @property
    def explicit(self) -> bool:
        """Whether a user chose the node-name; QEMU generates names that begin with `#`."""
        return not self.name.startswith("#")

    def bitmap(self, name: str) -> Bitmap | None:
        """The bitmap of that name in memory."""
        return next((bitmap for bitmap in self.bitmaps if bitmap.name == name), None)

    def stored_bitmap(self, name: str) -> StoredBitmap | None:
        """The bitmap of that name in the image."""
        return next((bitmap for bitmap in self.stored or () if bitmap.name == name), None)

    def holds_read_only(self, bitmap: Bitmap) -> bool:
        """Whether QEMU holds the bitmap read-only, which no query shows: it was loaded from an image open read-only.

        It still does where the image was made writable without its bitmaps, as streams do from 10.0 on: then the stored
        copy is not in use.
        """
        stored = self.stored_bitmap(bitmap.name) if bitmap.persistent else None
        return stored is not None and (bool(self.read_only) or not stored.in_use)


@dataclass(frozen=True, slots=True)
class Backend:
    """A BlockBackend that has a device name, a guest device, or both; `root` is None without a medium."""

    device: DeviceName | None
    qdev: str | None
    root: NodeName | None

    @property
    def addressable(self) -> bool:
        """Whether the user's own configuration names it."""
        return bool(self.device or self.guest_device)

    @property
    def guest_device(self) -> str | None:
        """The id that the user gave to the guest device; None where QEMU numbered it or there is none."""
        if self.qdev is None:
            return None
        if not self.qdev.startswith("/"):
            return self.qdev
        parts = self.qdev.split("/")
        return parts[3] if parts[:3] == ["", "machine", "peripheral"] and len(parts) > 3 else None  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class Orders:
    """What a job was told, which no query shows; QEMU's defaults unless said.

    `pivots` is whether it was asked to end with a pivot, None before it was asked to end. What a type of job is told
    besides is in a subclass; a captured job has none.
    """

    pivots: bool | None = None
    auto_finalize: bool = True
    auto_dismiss: bool = True

    def renamed(self, new: Callable[[NodeName], NodeName]) -> Self:  # noqa: ARG002  for subclasses
        """The same with other node-names."""
        return self


@dataclass(frozen=True, slots=True)
class Job:
    """A block job; `nodes` are all that it holds, `targets` those of them that it writes to."""

    id: str
    type: str
    status: str
    nodes: tuple[NodeName, ...] = ()
    targets: tuple[NodeName, ...] = ()
    orders: Orders = Orders()

    @property
    def active(self) -> bool:
        """Whether it still holds its nodes (QAPI `JobStatus`)."""
        return self.status not in ("concluded", "null", "undefined")


@dataclass(frozen=True, slots=True)
class Export:
    """A block export; whether clients may write is None where no query shows it."""

    id: str
    type: str
    node: NodeName
    writable: bool | None = None


Kind: TypeAlias = Literal["node", "backend", "job", "export"]


class Edge(NamedTuple):
    """User to used: `role` as QEMU names the child; `inferred` where no query shows the edge."""

    kind: Kind
    parent: str
    child: NodeName
    role: str
    inferred: bool = False


class Walk(NamedTuple):
    """A walk from a root down through filters: where it ends, what it passed, and why it stopped short."""

    end: NodeName | None
    passed: tuple[NodeName, ...] = ()
    stopped_by: NodeName | None = None  #: a filter with a bitmap of its own
    unknown: NodeName | None = None  #: a node of which it is not known whether it is a filter

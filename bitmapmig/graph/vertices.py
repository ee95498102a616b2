"""What a block graph is made of: nodes with their bitmaps, backends, jobs, exports, and the edges between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
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
    """A block node; `virtual_size` in bytes. `stored` is None where the format stores no bitmaps or does not tell."""

    name: NodeName
    driver: str
    read_only: bool | None = False
    virtual_size: int | None = None
    bitmaps: tuple[Bitmap, ...] = ()
    stored: tuple[StoredBitmap, ...] | None = None
    compat: str | None = None  #: qcow2's version: 0.10 or 1.1

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
        """Whether QEMU holds the bitmap read-only, which no query shows: it was loaded from an image open read-only."""
        return bool(self.read_only and bitmap.persistent and self.stored_bitmap(bitmap.name))


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
class Job:
    """A block job; `nodes` are all that it holds, `targets` those of them that it writes to."""

    id: str
    type: str
    status: str
    nodes: tuple[NodeName, ...] = ()
    targets: tuple[NodeName, ...] = ()

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

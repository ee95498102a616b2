"""A world: two block graphs with bitmaps, jobs, maps and capabilities, as a value that JSON can hold.

It is what to build, not what is there: QEMU may refuse parts of it, which are then left out, and it names what it is
not told a name for. So what is foretold is foretold of captures of the built world, and never of this value. A node is
meant by its place: the index of the disk that it is on, and the child roles down from its root.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
GRANULE = 65536
#: The virtual size of a disk where nothing else is wanted.
SIZE = 16 * MIB

#: The drivers under which a persistent bitmap can be kept.
FORMAT = "qcow2"
#: What QEMU walks through; each has one child.
FILTERS = ("throttle", "copy-on-read", "blkdebug", "preallocate", "compress")


class Part(BaseModel):
    """A part of a world: frozen, and strict about its members, so that a kept case cannot rot unseen."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Place(Part):
    """A node: the disk by its index on that side, and the child roles from its root down."""

    disk: int
    path: tuple[str, ...] = ()


class Node(Part):
    """A node of a disk; without `name` QEMU generates one. `size` is for null-co, `image` for file.

    A child that is a string is a node of an earlier disk, by its node-name.
    """

    driver: str
    name: str | None = None
    size: int | None = None
    image: str | None = None
    read_only: bool = False
    children: dict[str, Node | str] = {}

    def at(self, path: tuple[str, ...]) -> Node:
        """The node that `path` leads to. Raises `KeyError`."""
        if not path:
            return self
        child = self.children[path[0]]
        if isinstance(child, str):
            raise KeyError(path)
        return child.at(path[1:])

    def walk(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Node]]:
        """This node and those below it that are its own, each with its path."""
        yield path, self
        for role, child in self.children.items():
            if isinstance(child, Node):
                yield from child.walk((*path, role))


class Disk(Part):
    """A tree of nodes: below the named backend `device` (`-drive`), or bare (`-blockdev`).

    `apart` builds each node that has a name by itself before the one above it, as libvirt does, and not within it. With
    `guest` a virtio disk of the guest is above it, which both sides must have alike.
    """

    root: Node
    device: str | None = None
    apart: bool = False
    guest: bool = False

    def created(self) -> Iterator[tuple[str, ...]]:
        """The paths of the nodes in the order in which QEMU creates them, a nested one after the one that it is in."""
        if self.apart:
            yield from self._separate(self.root, ())
        yield from self._nested(self.root, ())

    def _separate(self, node: Node, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for role, child in node.children.items():
            if isinstance(child, Node):
                yield from self._separate(child, (*path, role))
                if child.name is not None:
                    yield from self._nested(child, (*path, role))

    def _nested(self, node: Node, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield path
        for role, child in node.children.items():
            if isinstance(child, Node) and not (self.apart and child.name is not None):
                yield from self._nested(child, (*path, role))

    @property
    def hides_order(self) -> bool:
        """Whether a node with a name is nested: no query tells that from one that was built apart."""
        return not self.apart and any(path and node.name is not None for path, node in self.root.walk())


class Stored(Part):
    """A bitmap that an image holds from the start; an inconsistent one was left by a QEMU that was killed."""

    name: str
    granularity: int = GRANULE
    disabled: bool = False
    inconsistent: bool = False


class Image(Part):
    """An image file; where both sides name the same one, the storage is shared."""

    name: str
    format: Literal["qcow2", "raw"] = "qcow2"
    size: int = SIZE
    compat: Literal["1.1", "0.10"] = "1.1"
    filled: bool = False  #: has data all over, so that a job has something to do
    stored: tuple[Stored, ...] = ()


class Bitmap(Part):
    """A bitmap to add. `busy` is what keeps it busy: an NBD export of it, or an incremental backup."""

    at: Place
    name: str
    granularity: int = GRANULE
    persistent: bool = False
    disabled: bool = False
    busy: Literal["export", "backup"] | None = None


class Job(Part):
    """A block job on a disk that is still there at the migration, or a writable NBD export."""

    kind: Literal["mirror", "mirror-ready", "commit", "stream", "backup", "writable-export", "export"]
    at: Place


class Alias(Part):
    """A bitmap in a map; `persistent` is the transform."""

    name: str
    alias: str
    persistent: bool | None = None


class Entry(Part):
    """A node in a map: by its place, whatever its name then is, or literally."""

    node: Place | str
    alias: str
    bitmaps: tuple[Alias, ...] = ()


class Side(Part):
    """One QEMU; a mapping that is None is not set."""

    disks: tuple[Disk, ...] = ()
    bitmaps: tuple[Bitmap, ...] = ()
    jobs: tuple[Job, ...] = ()
    mapping: tuple[Entry, ...] | None = None
    capability: bool = False

    def node(self, place: Place) -> Node:
        """The node at a place. Raises `LookupError`."""
        return self.disks[place.disk].root.at(place.path)


class World(Part):
    """Two QEMUs and their images; `writes` are the granules that are written to each disk of the source.

    Guest disks need a machine, which takes ten times as long.
    """

    source: Side
    destination: Side
    images: tuple[Image, ...] = ()
    writes: tuple[Annotated[int, Field(ge=0)], ...] = ()

    @property
    def guest(self) -> bool:
        """Whether there is a machine with a guest."""
        return any(disk.guest for side in (self.source, self.destination) for disk in side.disks)

    @property
    def shared(self) -> frozenset[str]:
        """The images that both sides have open."""
        sides = [
            {node.image for disk in side.disks for _, node in disk.root.walk() if node.image}
            for side in (self.source, self.destination)
        ]
        return frozenset(sides[0] & sides[1])


def readable(world: World) -> str:
    """The world as JSON without what is as ever."""
    return world.model_dump_json(exclude_defaults=True, indent=1)

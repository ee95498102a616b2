"""What a world is put together from while it is drawn: choices with weights, and drafts of both sides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from tests.live.fuzz.world import Bitmap, Disk, Entry, Image, Job, Node, Place, Side, World

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

T = TypeVar("T")


class Choice:
    """What is left to chance, with the weights that are said: hypothesis' own choices are far from even."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def of(self, *options: T) -> T:
        """One of the options."""
        return self._random.choice(options)

    def among(self, options: Sequence[T]) -> T:
        """One of the options."""
        return self._random.choice(options)

    def weighted(self, weights: Mapping[T, int]) -> T:
        """One of the keys, as often as its weight says."""
        (found,) = self._random.choices(list(weights), list(weights.values()))
        return found

    def chance(self, percent: int) -> bool:
        """True in so many of a hundred cases."""
        return self._random.randrange(100) < percent

    def numbers(self, limit: int, count: int) -> tuple[int, ...]:
        """Different numbers below `limit`, sorted."""
        return tuple(sorted(self._random.sample(range(limit), count)))


@dataclass
class DraftSide:
    """A side that is being drawn."""

    disks: list[Disk] = field(default_factory=list)
    bitmaps: list[Bitmap] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    mapping: tuple[Entry, ...] | None = None
    capability: bool = False

    def done(self) -> Side:
        """The side."""
        return Side(
            disks=tuple(self.disks),
            bitmaps=tuple(self.bitmaps),
            jobs=tuple(self.jobs),
            mapping=self.mapping,
            capability=self.capability,
        )

    def node(self, place: Place) -> Node:
        """The node at a place."""
        return self.disks[place.disk].root.at(place.path)

    def change(self, place: Place, **members: object) -> None:
        """Give the node at a place other members."""
        disk = self.disks[place.disk]
        self.disks[place.disk] = disk.model_copy(update={"root": _changed(disk.root, place.path, members)})

    def layer(self, index: int) -> Place:
        """The node of a disk that the guest's data are in: below the filters."""
        path: tuple[str, ...] = ()
        node = self.disks[index].root
        while node.driver in {"throttle", "copy-on-read", "blkdebug", "compress"}:
            role, child = next(iter(node.children.items()))
            if isinstance(child, str):
                break
            path, node = (*path, role), child
        return Place(disk=index, path=path)


def _changed(node: Node, path: tuple[str, ...], members: dict[str, object]) -> Node:
    if not path:
        return node.model_copy(update=members)
    child = node.children[path[0]]
    assert isinstance(child, Node)
    return node.model_copy(update={"children": {**node.children, path[0]: _changed(child, path[1:], members)}})


@dataclass
class Draft:
    """A world that is being drawn."""

    source: DraftSide = field(default_factory=DraftSide)
    destination: DraftSide = field(default_factory=DraftSide)
    images: dict[str, Image] = field(default_factory=dict)
    writes: tuple[int, ...] = ()

    def done(self) -> World:
        """The world."""
        return World(
            source=self.source.done(),
            destination=self.destination.done(),
            images=tuple(self.images.values()),
            writes=self.writes,
        )

    def file(self, name: str, **members: object) -> Node:
        """A protocol node over an image that is added, if it is not there."""
        self.images.setdefault(name, Image.model_validate({"name": name, **members}))
        return Node(driver="file", image=name)

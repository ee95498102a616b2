"""A world that shows something -> a smaller one that still does, for reading and for keeping."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.live.fuzz.world import GRANULE, Bitmap, Disk, Entry, Job, Node, Place, Side, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def shrink(world: World, shows: Callable[[World], bool], seconds: float = 60.0) -> World:
    """The smallest world that leaving things out leads to and for which `shows` is true; stops after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        tried = (one for one in candidates(world) if time.monotonic() < deadline)
        smaller = next((one for one in tried if shows(one)), None)
        if smaller is None:
            break
        world = smaller
    return world


def candidates(world: World) -> Iterator[World]:
    """Worlds with one thing less, the larger things first."""
    for index in reversed(range(max(len(world.source.disks), len(world.destination.disks)))):
        yield _tidied(world.model_copy(update={side: _without_disk(getattr(world, side), index) for side in SIDES}))
    for side in SIDES:
        for smaller in _sides(getattr(world, side)):
            yield _tidied(world.model_copy(update={side: smaller}))
    for index, image in enumerate(world.images):
        for number in range(len(image.stored)):
            stored = image.stored[:number] + image.stored[number + 1 :]
            changed = image.model_copy(update={"stored": stored})
            yield world.model_copy(update={"images": (*world.images[:index], changed, *world.images[index + 1 :])})
    if world.writes:
        yield world.model_copy(update={"writes": ()})


SIDES = ("source", "destination")


def _tidied(world: World) -> World:
    """Without the images that nothing uses."""
    used = {
        node.image
        for side in (world.source, world.destination)
        for disk in side.disks
        for _, node in disk.root.walk()
        if node.image
    }
    return world.model_copy(update={"images": tuple(image for image in world.images if image.name in used)})


def _sides(side: Side) -> Iterator[Side]:
    if side.mapping is not None:
        yield side.model_copy(update={"mapping": None})
    for index in range(len(side.disks)):
        yield _without_disk(side, index)
    for member in ("jobs", "bitmaps", "mapping"):
        for less in _less(getattr(side, member) or ()):
            yield side.model_copy(update={member: less})
    for index, entry in enumerate(side.mapping or ()):
        for bitmaps in _less(entry.bitmaps):
            yield side.model_copy(
                update={"mapping": _put(side.mapping or (), index, entry.model_copy(update={"bitmaps": bitmaps}))}
            )
    yield from _plainer_bitmaps(side)
    for index, disk in enumerate(side.disks):
        yield from _plainer_disks(side, index, disk)


def _plainer_bitmaps(side: Side) -> Iterator[Side]:
    for index, bitmap in enumerate(side.bitmaps):
        plain = Bitmap(at=bitmap.at, name=bitmap.name)
        for member in ("busy", "persistent", "disabled", "granularity"):
            if getattr(bitmap, member) != getattr(plain, member):
                changed = bitmap.model_copy(update={member: getattr(plain, member)})
                yield side.model_copy(update={"bitmaps": _put(side.bitmaps, index, changed)})


def _plainer_disks(side: Side, index: int, disk: Disk) -> Iterator[Side]:
    """Without a filter above it; as null-co, where nothing below matters."""
    root = disk.root
    inner = next(iter(root.children.values()), None)
    if root.driver in {"throttle", "copy-on-read", "blkdebug", "compress"} and isinstance(inner, Node):
        yield _moved(side, index, disk.model_copy(update={"root": inner}), cut=1)
    if root.driver in {"qcow2", "raw"}:
        plain = Node(driver="null-co", name=root.name, size=256 * GRANULE)
        yield _moved(side, index, disk.model_copy(update={"root": plain}), cut=0)
    if "backing" in root.children:
        bare = root.model_copy(update={"children": {"file": root.children["file"]}})
        yield _moved(side, index, disk.model_copy(update={"root": bare}), cut=0)
    if root.read_only:
        writable = root.model_copy(update={"read_only": False})
        yield _moved(side, index, disk.model_copy(update={"root": writable}), cut=0)


def _moved(side: Side, index: int, disk: Disk, *, cut: int) -> Side:
    """The side with another disk at `index`, whose places begin `cut` roles further down."""

    def move(place: Place) -> Place:
        return place.model_copy(update={"path": place.path[cut:]}) if place.disk == index else place

    def there(place: Place) -> bool:
        if place.disk != index:
            return True
        try:
            disk.root.at(place.path[cut:])
        except KeyError:
            return False
        return len(place.path) >= cut

    return _placed(side.model_copy(update={"disks": _put(side.disks, index, disk)}), move, there)


def _without_disk(side: Side, index: int) -> Side:
    if index >= len(side.disks):
        return side

    def move(place: Place) -> Place:
        return place.model_copy(update={"disk": place.disk - (place.disk > index)})

    disks = side.disks[:index] + side.disks[index + 1 :]
    return _placed(side.model_copy(update={"disks": disks}), move, lambda place: place.disk != index)


def _placed(side: Side, move: Callable[[Place], Place], there: Callable[[Place], bool]) -> Side:
    def entry(one: Entry) -> Entry:
        return one if isinstance(one.node, str) else one.model_copy(update={"node": move(one.node)})

    def at(one: Bitmap | Job) -> Bitmap | Job:
        return one.model_copy(update={"at": move(one.at)})

    mapping = side.mapping
    if mapping is not None:
        mapping = tuple(entry(one) for one in mapping if isinstance(one.node, str) or there(one.node))
    return side.model_copy(
        update={
            "bitmaps": tuple(at(one) for one in side.bitmaps if there(one.at)),
            "jobs": tuple(at(one) for one in side.jobs if there(one.at)),
            "mapping": mapping,
        }
    )


def _less(items: Sequence[object]) -> Iterator[tuple[object, ...]]:
    for index in range(len(items)):
        yield (*items[:index], *items[index + 1 :])


def _put(items: Sequence[object], index: int, item: object) -> tuple[object, ...]:
    return (*items[:index], item, *items[index + 1 :])

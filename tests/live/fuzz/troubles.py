"""What can be wrong with a world, each of it a function that changes a draft; one that does not fit changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.live.fuzz.world import GRANULE, MIB, Bitmap, Disk, Job, Node, Place, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.live.fuzz.drafts import Choice, Draft, DraftSide

    Trouble = Callable[[Choice, Draft], None]


#: Bytes of the longest name that qcow2 stores.
NAME_LIMIT = 1023


def some(choice: Choice, *, images: bool, guest: bool) -> Iterator[Trouble]:
    """None to four of them; a `guest` wants the same disks on both sides."""
    weights = FAST if not images else FAST | WITH_IMAGES
    if guest:
        weights = {trouble: weight for trouble, weight in weights.items() if trouble not in WITHOUT_GUEST}
    for _ in range(choice.weighted({0: 5, 1: 6, 2: 4, 3: 2, 4: 1})):
        yield choice.weighted(weights)


def _which(choice: Choice, side: DraftSide) -> int | None:
    """A bitmap by its index."""
    return choice.among(range(len(side.bitmaps))) if side.bitmaps else None


def _changed(choice: Choice, side: DraftSide, **members: object) -> None:
    index = _which(choice, side)
    if index is not None:
        side.bitmaps[index] = side.bitmaps[index].model_copy(update=members)


# on the source


def busy(choice: Choice, draft: Draft) -> None:
    """A bitmap is in use."""
    _changed(choice, draft.source, busy=choice.of("export", "backup"))


def long_name(choice: Choice, draft: Draft) -> None:
    """A name that may be too long for the stream, in bytes or in characters."""
    _changed(choice, draft.source, name=choice.of("y" * 255, "y" * 256, "ü" * 128, "y" * 1023))


def bare_automatic(choice: Choice, draft: Draft) -> None:
    """A bitmap on a node whose name is generated, and which no device ends on."""
    for index, disk in enumerate(draft.source.disks):
        places = [Place(disk=index, path=path) for path, node in disk.root.walk() if node.name is None and path]
        if places and choice.chance(70):
            draft.source.bitmaps.append(Bitmap(at=choice.among(places), name=choice.of("auto", "b0")))
            return


def filter_bitmap(choice: Choice, draft: Draft) -> None:
    """A filter above a disk carries a bitmap of its own."""
    index = choice.among(range(len(draft.source.disks)))
    layer = draft.source.layer(index)
    if layer.path:
        draft.source.bitmaps.append(Bitmap(at=Place(disk=index), name=choice.of("above", "b0")))


def second_device(choice: Choice, draft: Draft) -> None:
    """A second named device over a node that has a name."""
    side = choice.of(draft.source, draft.source, draft.destination)
    named = [node.name for disk in side.disks for path, node in disk.root.walk() if node.name and not path]
    if named:
        root = Node(driver="throttle", children={"file": choice.among(named)})
        device = choice.of("second", "aaa") + str(len(side.disks))
        side.disks.append(Disk(root=root, device=device))


def no_capability(choice: Choice, draft: Draft) -> None:
    """The capability is off on the source."""
    draft.source.capability = False
    draft.destination.capability = choice.chance(50)


# jobs


def job(choice: Choice, draft: Draft) -> None:
    """A job or an export on a disk."""
    side = draft.source if choice.chance(90) else draft.destination
    at = Place(disk=choice.among(range(len(side.disks))))
    if side.disks[at.disk].device and choice.chance(30):
        at = draft.source.layer(at.disk) if side is draft.source else at
    kinds = {"mirror": 2, "mirror-ready": 2, "backup": 3, "writable-export": 3, "export": 1, "commit": 2, "stream": 2}
    side.jobs.append(Job(kind=choice.weighted(kinds), at=at))


def chain_job(choice: Choice, draft: Draft) -> None:
    """A commit or a stream, which want a chain."""
    chains = [
        index
        for index, _ in enumerate(draft.source.disks)
        if "backing" in draft.source.node(draft.source.layer(index)).children
    ]
    if chains:
        draft.source.jobs.append(Job(kind=choice.of("commit", "stream"), at=Place(disk=choice.among(chains))))


# the destination


def lacking(_choice: Choice, draft: Draft) -> None:
    """The destination lacks a disk."""
    side = draft.destination
    if len(side.disks) > 1:
        side.disks.pop()
        side.bitmaps = [bitmap for bitmap in side.bitmaps if bitmap.at.disk < len(side.disks)]
        side.jobs = [job for job in side.jobs if job.at.disk < len(side.disks)]


def renamed(choice: Choice, draft: Draft) -> None:
    """A device or a node has another name there, maybe one that the source uses for something else."""
    index = choice.among(range(len(draft.destination.disks)))
    disk = draft.destination.disks[index]
    if disk.device and choice.chance(50):
        taken = {node.name for one in draft.destination.disks for _, node in one.root.walk()}
        name = choice.among([name for name in (f"hd{index}", f"fmt{index}", "drive9") if name not in taken])
        draft.destination.disks[index] = disk.model_copy(update={"device": name})
    else:
        names = [f"new{index}", f"FMT{index}", *([] if disk.device else [f"drive{index}"])]
        draft.destination.change(draft.destination.layer(index), name=choice.among(names))


def swapped(_choice: Choice, draft: Draft) -> None:
    """Two disks have changed their places there."""
    if len(draft.destination.disks) > 1:
        first, second, *rest = draft.destination.disks
        if first.device and second.device:
            draft.destination.disks = [
                first.model_copy(update={"device": second.device}),
                second.model_copy(update={"device": first.device}),
                *rest,
            ]


def resized(choice: Choice, draft: Draft) -> None:
    """A disk has another size there, maybe one with as many granules."""
    side = choice.of(draft.destination, draft.destination, draft.source)
    layer = side.layer(choice.among(range(len(side.disks))))
    node = side.node(layer)
    leaf = node if node.size else node.children.get("file")
    if not isinstance(leaf, Node):
        return
    size = leaf.size or draft.images[leaf.image or ""].size if leaf.size or leaf.image else 0
    new = max(MIB, size + choice.of(512, -512, 4096, MIB, -MIB, 4 * MIB, 64 * MIB, GRANULE, -GRANULE))
    if node.size:
        side.change(layer, size=new)
    elif leaf.image in draft.images:
        draft.images[leaf.image] = draft.images[leaf.image].model_copy(update={"size": new})


def clash(choice: Choice, draft: Draft) -> None:
    """The destination has a bitmap of that name in memory."""
    index = _which(choice, draft.source)
    if index is None:
        return
    bitmap = draft.source.bitmaps[index]
    if bitmap.at.disk < len(draft.destination.disks):
        at = draft.destination.layer(bitmap.at.disk)
        name = choice.of(bitmap.name, bitmap.name, "own")
        draft.destination.bitmaps.append(
            bitmap.model_copy(update={"at": at, "name": name, "persistent": False, "busy": None})
        )


def read_only(choice: Choice, draft: Draft) -> None:
    """A node is read-only on one side."""
    side = choice.of(draft.destination, draft.source)
    at = side.layer(choice.among(range(len(side.disks))))
    if all(node.driver != "copy-on-read" for _, node in side.disks[at.disk].root.walk()):  # it insists on writing
        side.change(at, read_only=True)


# images


def _image(draft: Draft, side: DraftSide, place: Place) -> str | None:
    """The qcow2 image of a node."""
    node = side.node(place)
    leaf = node.children.get("file")
    if node.driver != "qcow2" or not isinstance(leaf, Node):
        return None
    return leaf.image if leaf.image in draft.images else None


def _store(draft: Draft, side: DraftSide, at: Place, bitmap: Stored) -> None:
    name = _image(draft, side, at)
    if name is None:
        return
    image = draft.images[name]
    if image.compat == "0.10":
        return
    others = tuple(one for one in image.stored if one.name != bitmap.name)
    draft.images[name] = image.model_copy(update={"stored": (*others, bitmap)})


def inconsistent(choice: Choice, draft: Draft) -> None:
    """The source has loaded a bitmap that is inconsistent."""
    at = draft.source.layer(choice.among(range(len(draft.source.disks))))
    _store(draft, draft.source, at, Stored(name=choice.of("broken", "b1", "b0"), inconsistent=True))


def loaded(choice: Choice, draft: Draft) -> None:
    """The source has loaded a bitmap from its image, maybe from one that it may not write."""
    index = choice.among(range(len(draft.source.disks)))
    at = draft.source.layer(index)
    if "backing" in draft.source.node(at).children and choice.chance(60):
        at = Place(disk=index, path=(*at.path, "backing"))
    disabled = choice.chance(20)
    _store(draft, draft.source, at, Stored(name=choice.of("kept", "b1"), disabled=disabled))


def copied(choice: Choice, draft: Draft) -> None:
    """The destination's image is a copy that holds a bitmap of that name, clean or not, or another."""
    index = _which(choice, draft.source)
    if index is None:
        return
    bitmap = draft.source.bitmaps[index]
    if bitmap.at.disk >= len(draft.destination.disks):
        return
    at = draft.destination.layer(bitmap.at.disk)
    name = choice.of(bitmap.name, bitmap.name, "stale")
    stored = Stored(name=name, granularity=bitmap.granularity, inconsistent=choice.chance(25))
    _store(draft, draft.destination, at, stored)


def copied_whole(choice: Choice, draft: Draft) -> None:
    """The destination's image was copied when the source's bitmaps were stored in it, and holds them all."""
    stale = choice.chance(25)
    for bitmap in draft.source.bitmaps:
        if bitmap.persistent and bitmap.at.disk < len(draft.destination.disks) and len(bitmap.name) < NAME_LIMIT:
            stored = Stored(name=bitmap.name, granularity=bitmap.granularity, inconsistent=stale)
            _store(draft, draft.destination, draft.destination.layer(bitmap.at.disk), stored)


def old_format(choice: Choice, draft: Draft) -> None:
    """The destination's image is of qcow2's version 2, which keeps no bitmaps."""
    name = _image(draft, draft.destination, draft.destination.layer(choice.among(range(len(draft.destination.disks)))))
    if name is not None and not draft.images[name].stored:
        draft.images[name] = draft.images[name].model_copy(update={"compat": "0.10"})


def shared(choice: Choice, draft: Draft) -> None:
    """Both sides have one image open."""
    index = choice.among(range(min(len(draft.source.disks), len(draft.destination.disks))))
    here, there = draft.source.layer(index), draft.destination.layer(index)
    ours, theirs = _image(draft, draft.source, here), _image(draft, draft.destination, there)
    if ours is not None and theirs is not None:
        draft.destination.change(there, children=dict(draft.source.node(here).children))


def raw_destination(choice: Choice, draft: Draft) -> None:
    """The destination's image is raw."""
    layer = draft.destination.layer(choice.among(range(len(draft.destination.disks))))
    node = draft.destination.node(layer)
    above = {one.driver for _, one in draft.destination.disks[layer.disk].root.walk()}
    if node.driver == "qcow2" and "compress" not in above:  # which raw does not do
        image = f"d{layer.disk}.raw"
        name = _image(draft, draft.destination, layer)
        size = draft.images[name].size if name else 16 * MIB
        file = draft.file(image, format="raw", size=size)
        draft.destination.change(layer, driver="raw", children={"file": file})


def preallocated(choice: Choice, draft: Draft) -> None:
    """A preallocate filter between a format and its file."""
    side = choice.of(draft.source, draft.destination)
    layer = side.layer(choice.among(range(len(side.disks))))
    file = side.node(layer).children.get("file")
    if isinstance(file, Node):
        filtered = Node(driver="preallocate", name=choice.of(None, "pre"), children={"file": file})
        side.change(layer, children={**side.node(layer).children, "file": filtered})


def protocol_bitmap(choice: Choice, draft: Draft) -> None:
    """A bitmap on the file below a format."""
    layer = draft.source.layer(choice.among(range(len(draft.source.disks))))
    file = draft.source.node(layer).children.get("file")
    if isinstance(file, Node):
        at = Place(disk=layer.disk, path=(*layer.path, "file"))
        if file.name is None and choice.chance(70):
            for side in (draft.source, draft.destination):
                if layer.disk < len(side.disks) and isinstance(
                    side.node(side.layer(layer.disk)).children.get("file"), Node
                ):
                    there = side.layer(layer.disk)
                    side.change(Place(disk=there.disk, path=(*there.path, "file")), name=f"file{layer.disk}")
        draft.source.bitmaps.append(Bitmap(at=at, name="low"))


FAST: dict[Trouble, int] = {
    busy: 4,
    long_name: 2,
    bare_automatic: 2,
    filter_bitmap: 2,
    second_device: 2,
    no_capability: 1,
    job: 4,
    lacking: 2,
    renamed: 3,
    swapped: 1,
    resized: 4,
    clash: 4,
    read_only: 2,
}
WITH_IMAGES: dict[Trouble, int] = {
    chain_job: 2,
    inconsistent: 4,
    loaded: 4,
    copied: 7,
    copied_whole: 6,
    old_format: 2,
    raw_destination: 2,
    preallocated: 1,
    protocol_bitmap: 2,
    shared: 4,
}
#: What makes the devices of both sides differ, of which a migration fails whatever its bitmaps.
WITHOUT_GUEST = frozenset((second_device, lacking, swapped, resized, read_only))

"""Hypothesis -> worlds: disks that are alike on both sides, bitmaps, and then none to four troubles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from tests.live.fuzz import mappings, troubles
from tests.live.fuzz.drafts import Choice, Draft
from tests.live.fuzz.world import GRANULE, MIB, SIZE, Bitmap, Disk, Node, Place, World

if TYPE_CHECKING:
    from tests.live.fuzz.drafts import DraftSide

#: Names of bitmaps, all of which can travel.
NAMES = ("b0", "b1", "daily", "libvirt-vda-check1", "ü-ñ", "a b", "x" * 200, "%s%n", 'quo"te')
#: In how many of a hundred worlds there is a guest.
GUESTS = 4
FILTERS = {"throttle": 5, "copy-on-read": 2, "blkdebug": 2, "compress": 1}


def worlds(*, images: bool = True) -> st.SearchStrategy[World]:
    """Worlds; without `images` all their disks are null-co, which makes them fast.

    Each is made of one number that hypothesis draws, and made smaller by `shrink`, which knows what a world is.
    """
    return st.randoms(use_true_random=True).map(lambda random: _world(Choice(random), images=images))


def _world(choice: Choice, *, images: bool) -> World:
    draft = Draft()
    for index in range(choice.weighted({1: 3, 2: 5, 3: 2})):
        _disk(choice, draft, index, images=images and choice.chance(70))
    _bitmaps(choice, draft)
    draft.writes = choice.numbers(60, 3)
    draft.source.capability = choice.chance(94)
    draft.destination.capability = choice.chance(30)
    guest = choice.chance(GUESTS)
    for trouble in troubles.some(choice, images=images, guest=guest):
        trouble(choice, draft)
    if guest:
        _guest(choice, draft)
    mappings.give(choice, draft)
    return draft.done()


def _guest(choice: Choice, draft: Draft) -> None:
    """Guest disks above some of the disks, of both sides alike."""
    for index in range(len(draft.source.disks)):
        if choice.chance(75):
            for side in (draft.source, draft.destination):
                side.disks[index] = side.disks[index].model_copy(update={"guest": True})


def _disk(choice: Choice, draft: Draft, index: int, *, images: bool) -> None:
    """The same disk on both sides, with names and filters that may differ."""
    size = choice.of(SIZE, SIZE, 4 * MIB, 5 * MIB + 512)
    shape = choice.weighted({"qcow2": 5, "chain": 2, "raw": 2, "null": 1}) if images else "null"
    shared = choice.chance(30)
    named = choice.chance(65)
    drive = choice.chance(55)
    same_names = choice.chance(88)
    apart = choice.chance(75)
    for side, letter in ((draft.source, "s"), (draft.destination, "d")):
        prefix = "x" if shared else letter
        explicit = named if same_names else choice.chance(60)
        device = drive if same_names else choice.chance(50)
        root = _shape(choice, draft, shape, f"{prefix}{index}", size)
        name = f"fmt{index}" if same_names or side is draft.source else f"other{index}"
        root = root.model_copy(update={"name": name if explicit or not device else None})
        if choice.chance(25):
            root = _filter(choice, root, f"flt{index}" if choice.chance(40) or not device else None)
        side.disks.append(Disk(root=root, device=f"drive{index}" if device else None, apart=apart))


def _filter(choice: Choice, child: Node, name: str | None) -> Node:
    driver = choice.weighted(
        {key: weight for key, weight in FILTERS.items() if key != "compress" or "q" in child.driver}
    )
    return Node(driver=driver, name=name, children={"image" if driver == "blkdebug" else "file": child})


def _shape(choice: Choice, draft: Draft, shape: str, image: str, size: int) -> Node:
    if shape == "null":
        return Node(driver="null-co", size=size)
    if shape == "raw":
        return Node(driver="raw", children={"file": draft.file(f"{image}.raw", format="raw", size=size)})
    below = {}
    if shape == "chain":
        base = draft.file(f"{image}-base.qcow2", size=size, filled=True)
        number = image[1:]
        base_name = f"base{number}" if choice.chance(70) else None
        below["backing"] = Node(driver="qcow2", name=base_name, read_only=True, children={"file": base})
    file = draft.file(f"{image}.qcow2", size=size)
    if choice.chance(20):
        file = file.model_copy(update={"name": f"file{image[1:]}"})
    return Node(driver="qcow2", children={"file": file, **below})


def _bitmaps(choice: Choice, draft: Draft) -> None:
    for index in range(len(draft.source.disks)):
        layer = draft.source.layer(index)
        taken: set[str] = set()
        for _ in range(choice.weighted({0: 1, 1: 6, 2: 3})):
            name = choice.of(f"b{len(taken)}", *NAMES)
            if name not in taken:
                taken.add(name)
                draft.source.bitmaps.append(_bitmap(choice, draft.source, layer, name))
        if choice.chance(8):
            _elsewhere(choice, draft.source, index)


def _bitmap(choice: Choice, side: DraftSide, at: Place, name: str) -> Bitmap:
    keeps = side.node(at).driver == "qcow2"
    return Bitmap(
        at=at,
        name=name,
        granularity=choice.of(GRANULE, GRANULE, GRANULE // 2, 4096, 1 << 20),
        persistent=keeps and choice.chance(50),
        disabled=choice.chance(15),
    )


def _elsewhere(choice: Choice, side: DraftSide, index: int) -> None:
    """A bitmap on another node of the disk: a filter, a protocol node, a backing image."""
    places = [Place(disk=index, path=path) for path, _ in side.disks[index].root.walk()]
    others = [place for place in places if place != side.layer(index)]
    if others:
        side.bitmaps.append(Bitmap(at=choice.among(others), name=choice.of("else", "b0")))

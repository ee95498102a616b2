"""Random worlds: two QEMUs whose disks are alike, or nearly so, and a policy that speaks of them.

Names are made so that a text can be searched for them: node-names are `N`, two digits and `X` (generated ones with `#`
before), devices `D..`, guest devices `G..`; some destinations call a node as the source calls a device, and vice versa.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from bitmapmig.resolve import RULE_SETS
from tests.build import GRANULE, MIB, SIZE, Part, bitmap, destination, drive, job, node, planned, source, stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hypothesis.strategies import DrawFn, SearchStrategy

    from bitmapmig.plans import Plan
    from tests.build import Capture, Raw

_LONG = "long-" + "x" * 300
_NAMES = ("b0", "b1", "daily", "*", "a b", "\x1b[31m", "\u00e4\U0001f4be\u202e", "#x", _LONG, _LONG + "y")
_FILTERS = ("throttle", "copy-on-read", "blkdebug", "mirror_top")
_STATES = (*[()] * 16, *[("persistent",)] * 10, ("disabled",), ("busy",), ("inconsistent",))


def _rarely(usual: Any, *others: Any, weight: int = 6) -> SearchStrategy[Any]:
    """`usual` most of the time, else one of `others`."""
    return st.sampled_from([usual] * weight * len(others) + list(others))


def _one_in(number: int) -> SearchStrategy[bool]:
    """True once in `number` times."""
    return st.sampled_from([*[False] * (number - 1), True])


@dataclass(frozen=True)
class Image:
    """A node of a backing chain."""

    name: str
    driver: str = "qcow2"
    size: int = SIZE
    bitmaps: tuple[Raw, ...] = ()
    stored: tuple[Raw, ...] = ()
    ro: bool = False
    compat: str = "1.1"


@dataclass(frozen=True)
class Disk:
    """Filters (name, driver), the images below them from the top down, and the devices above (device, guest device)."""

    filters: tuple[tuple[str, str], ...]
    images: tuple[Image, ...]
    devices: tuple[tuple[str, str | None], ...]
    number: int = 0  #: the same for the two disks that are alike

    def parts(self) -> Iterator[Part]:
        """The nodes and backends of the disk."""
        names = [*(name for name, _ in self.filters), self.images[0].name]
        for (name, driver), below in zip(self.filters, names[1:], strict=True):
            role = "backing" if driver == "mirror_top" else "file"
            yield node(name, driver, size=self.images[0].size, children={role: below})
        for one, backing in zip(self.images, [*self.images[1:], None], strict=True):
            below_it = {"backing": backing.name} if backing else {}
            yield node(one.name, one.driver, one.bitmaps, one.size, one.stored, ro=one.ro, compat=one.compat,
                       children=below_it)  # fmt: skip
        for device, guest in self.devices:
            qdev = guest and f"/machine/peripheral/{guest}/virtio-backend"
            if device or qdev:
                yield drive(device, names[0], qdev)


@dataclass(frozen=True)
class World:
    """Two QEMUs and a policy document."""

    here: tuple[Disk, ...]
    there: tuple[Disk, ...]
    more_here: Mapping[str, Any] = field(default_factory=dict)
    more_there: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    jobs: tuple[Part, ...] = ()

    def captures(self) -> tuple[Capture, Capture]:
        """The captures of both sides."""
        here = [part for disk in self.here for part in disk.parts()]
        there = [part for disk in self.there for part in disk.parts()]
        return source(*here, *self.jobs, **self.more_here), destination(*there, **self.more_there)

    def plan(self, policy: Mapping[str, Any] | None = None) -> Plan:
        """The plan, or the refusal, by its own policy or another."""
        return planned(*self.captures(), self.policy if policy is None else policy)


@st.composite
def _bitmaps(draw: DrawFn, *, sound: bool) -> tuple[Raw, ...]:
    names = draw(st.lists(st.sampled_from(_NAMES), min_size=1, max_size=3, unique=True))
    states = [state for state in _STATES if not sound or not {"busy", "inconsistent"} & set(state)]
    return tuple(
        bitmap(name, *draw(st.sampled_from(states)), granularity=draw(st.sampled_from([512, GRANULE])))
        for name in names
    )


@st.composite
def _disk(draw: DrawFn, number: int, *, sound: bool) -> Disk:
    """A disk of the source; a sound one has nothing that could never migrate."""
    counter = iter(range(10 * number, 10 * number + 10))

    def name(weight: int = 1) -> str:
        return f"{draw(_rarely('', '#', weight=weight))}N{next(counter):02}X"

    drivers = draw(st.lists(st.sampled_from(_FILTERS), max_size=2))
    filters = tuple((name(), driver) for driver in drivers)
    size = draw(st.sampled_from([SIZE, 2 * SIZE]))
    images = []
    for level in range(draw(st.integers(1, 3))):
        image = Image(
            name(5 * level + 1),
            draw(st.just("qcow2") if sound else _rarely("qcow2", "raw", "of-the-future", weight=10)),
            size,
            draw(_bitmaps(sound=sound)) if level == 0 or draw(_one_in(3)) else (),
        )
        ro = not sound and draw(_one_in(15))
        # a live QEMU marks what it has loaded, unless it may not write to the image
        kept = [stored(one["name"], clean=ro) for one in image.bitmaps if one["persistent"] and draw(st.booleans())]
        images.append(replace(image, stored=tuple(kept), ro=ro))
    device = draw(_rarely(f"D{number:02}", "", weight=1))
    guest = draw(_rarely(None, f"G{number:02}", weight=1))
    second = ((f"E{number:02}", None),) if not sound and draw(_one_in(10)) else ()
    return Disk(filters, tuple(images), ((device, guest), *second), number)


@st.composite
def _like(draw: DrawFn, disk: Disk, number: int, *, sound: bool) -> Disk:
    """The disk of the destination that is like `disk`; one for a sound world differs only in names and filters."""
    counter = iter(range(50 + 10 * number, 60 + 10 * number))

    def name(old: str) -> str:
        fresh = f"N{next(counter):02}X"
        return str(draw(_rarely(fresh if old.startswith("#") else old, fresh, f"#{fresh}", weight=2)))

    images = tuple(
        Image(
            name(one.name),
            one.driver if sound else draw(_rarely(one.driver, "raw", "qcow2", weight=10)),
            one.size if sound else draw(_rarely(one.size, one.size + MIB, weight=20)),
            draw(_bitmaps(sound=True)) if not sound and draw(_one_in(15)) else (),
            tuple(draw(st.lists(st.sampled_from(_copies(one)), max_size=2))) if not sound and draw(_one_in(5)) else (),
            ro=not sound and draw(_one_in(20)),
            compat="1.1" if sound else draw(_rarely("1.1", "0.10", weight=15)),
        )
        for one in disk.images
    )
    drivers = draw(st.lists(st.sampled_from(_FILTERS[:3]), max_size=2))
    filters = tuple((name("#"), driver) for driver in drivers)
    ((device, guest), *second) = disk.devices
    top = disk.images[0].name
    called = draw(_rarely(device, "" if top.startswith("#") or top in {one.name for one in images} else top, ""))
    kept = guest if sound else draw(_rarely(guest, None))  # what QEMU cannot do without
    return Disk(filters, images, ((called, kept), *second), number)


def _copies(image: Image) -> list[Raw]:
    """Stored bitmaps that an image at the destination may have."""
    names = [one["name"] for one in image.bitmaps] or ["z"]
    return [stored(name, clean=clean) for name in (*names, "z") for clean in (False, True)]


def _selectors(disks: Sequence[Disk]) -> list[Any]:
    """What a policy can call the nodes of these disks."""
    found: list[Any] = [{"node-name": image.name} for disk in disks for image in disk.images]
    for disk in disks:
        found += [device for device, _ in disk.devices if device]
        found += [{"qdev": guest} for _, guest in disk.devices if guest]
    return found


@st.composite
def _policy(draw: DrawFn, here: Sequence[Disk], there: Sequence[Disk]) -> dict[str, Any]:
    policy: dict[str, Any] = {"resolve": draw(_rarely("explicit", *RULE_SETS, weight=1))}
    policy["storage"] = draw(st.sampled_from(["unknown", "separate", "shared"]))
    if draw(_one_in(15)):
        policy["defaults"] = False
    patterns = st.fixed_dictionaries(
        {"bitmap": st.sampled_from(["b0", "b*", "daily", "\\*", "*"])},
        optional={"address": st.sampled_from(["*", "N*"])},
    )
    for key in ("allow", "deny"):
        if draw(_one_in(7)):
            policy[key] = [{**one, "optional": True} for one in draw(st.lists(patterns, min_size=1, max_size=2))]
    places = draw(st.lists(st.sampled_from(_selectors(here)), max_size=2)) if here else []
    entries = []
    for place in places:
        target: Any = draw(st.none() | st.sampled_from(_selectors(there))) if there else None
        chosen = {**place, "bitmap": "b0"} if isinstance(place, dict) and draw(st.booleans()) else place
        if isinstance(target, dict) and draw(st.booleans()):
            target = {**target, "persistent": draw(st.booleans())}
            target |= {"bitmap": draw(st.sampled_from(["b1", "c0"]))} if "bitmap" in chosen else {}
        entries.append({"source": chosen, "destination": target, "optional": True})
    return policy | ({"map": entries} if entries else {})


@st.composite
def worlds(draw: DrawFn, *, sound: bool = False) -> World:
    """Any world; with `sound` one in which nothing but names could stand in the way, and no policy but a rule set."""
    here = [draw(_disk(number, sound=sound)) for number in range(draw(_rarely(1, 0, 2, 3, weight=1)))]
    there = [
        draw(_like(disk, number, sound=sound))
        for number, disk in enumerate(here)
        if (sound and disk.devices[0][1]) or not draw(_one_in(7))
    ]
    if sound:
        return World(tuple(here), tuple(there), policy={"resolve": draw(st.sampled_from(RULE_SETS))})
    in_force: dict[str, Any] = {"parameters": {"block-bitmap-mapping": []}}
    more = st.sampled_from(
        [{}, {}, {}, in_force, {"capabilities": ["dirty-bitmaps"]}, {"shows": ""}, {"shows": "children"}]
    )
    names = [name for disk in here for name, _ in disk.filters] + [one.name for disk in here for one in disk.images]
    mirrored = bool(names) and draw(_one_in(7))
    return World(
        tuple(here),
        tuple(there),
        draw(more),
        draw(more),
        draw(_policy(here, there)),
        (job("j0", "mirror", main=draw(st.sampled_from(names))),) if mirrored else (),
    )

"""Under which name a bitmap travels, and what the destination takes a name for.

Sources: `init_dirty_bitmap_migration`, `dirty_bitmap_load_header`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from bitmapmig.selftest.end import entry, null
from bitmapmig.selftest.experiment import ARRIVES, DROPPED, FAILS, Experiment, NotApplicable
from bitmapmig.selftest.lab import Lab
from bitmapmig.selftest.materials import SIZE

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECTION = "names in the stream"
#: Which of two names it was that a bitmap travelled under, or that was found.
_DEVICE, _NODE = "device", "node-name"
_LONG = "x" * 256


async def _sent_as(lab: Lab, node: str = "disk0") -> str:
    """By which name the bitmap of a node travels, of `drive0` and of what the node is called."""
    await lab.source.bitmap(node)
    return (await lab.migrate()).where("b0", drive0=_DEVICE, none0=_DEVICE, disk0=_NODE)


async def _named_node(lab: Lab) -> str:
    await lab.pair()
    await lab.source.drive("drive0", null("disk0"))
    await lab.destination.add(null("drive0"), null("disk0"))
    return await _sent_as(lab)


async def _without_id(lab: Lab) -> str:
    await lab.pair()
    await lab.source.drive(None, null("disk0"))
    await lab.destination.add(null("none0"), null("disk0"))
    return await _sent_as(lab)


async def _bare_node(lab: Lab) -> str:
    await lab.pair(null("disk0"))
    return await _sent_as(lab)


async def _above(
    lab: Lab, driver: str, options: Mapping[str, Any], *, image: bool = False, own: bool = False
) -> str | NotApplicable:
    """A bitmap on `disk0`, above which a node of that driver is the root of `drive0`; with `own` it has one as well."""
    if driver not in lab.materials.drivers:
        return NotApplicable(f"this QEMU has no {driver}")
    source, destination = await lab.pair()
    await source.group()
    await source.add(source.image("disk0") if image else null("disk0"), null("disk1"), null("log0"))
    await source.drive("drive0", {"driver": driver, "node-name": "above0", **options})
    if own:
        await source.bitmap("above0", "b1")
    await destination.add(null("drive0"), null("disk0"), null("above0"))
    return await _sent_as(lab)


async def _generated(lab: Lab) -> str:
    """Give the source a bitmap on a node whose name is generated, and which is no root of a device; that name."""
    source, destination = await lab.pair(null("disk0"))
    await source.drive("drive0", source.image(None, backing={"driver": "null-co", "size": SIZE}))
    await destination.add(null("drive0"))
    (name,) = (name for name, node in (await source.nodes()).items() if node["drv"] == "null-co" and name != "disk0")
    await source.bitmap(name)
    return name


async def _generated_name(lab: Lab) -> str:
    name = await _generated(lab)
    return (await lab.migrate()).of(name)


async def _generated_name_mapped(lab: Lab) -> str:
    name = await _generated(lab)
    return (await lab.migrate(entry(name, "disk0", b0="b0"))).of(name, to=("disk0", "b0"))


async def _two_backends(lab: Lab) -> str:
    source, _ = await lab.pair(null("disk0"))
    await source.group()
    for device in ("drive0", "drive1"):
        await source.drive(device, {"driver": "throttle", "throttle-group": "group0", "file": "disk0"})
    await source.bitmap("disk0")
    return (await lab.migrate()).of()


async def _lands_on(lab: Lab) -> str:
    source, destination = await lab.pair()
    await source.drive("drive0", null("disk0"))
    await destination.group()
    await destination.add(null("disk0"))
    words = {"driver": "throttle", "throttle-group": "group0", "node-name": "above0", "file": "disk0"}
    await destination.drive("drive0", words)
    await source.bitmap("disk0")
    return (await lab.migrate()).where("b0", above0="on the filter", disk0="below the filter")


async def _device_in_map(lab: Lab) -> str:
    source, destination = await lab.pair()
    for end in (source, destination):
        await end.drive("drive0", null("disk0"))
    await source.bitmap("disk0")
    return (await lab.migrate(entry("drive0", b0="b0"))).of()


async def _alias_looked_up(lab: Lab, alias: str) -> str:
    source, destination = await lab.pair()
    await source.add(null("disk0"))
    await destination.drive("drive0", null("fmt0"))
    await source.bitmap("disk0")
    return (await lab.migrate(entry("disk0", alias, b0="b0"))).of(to=("fmt0", "b0"))


async def _hidden_merge(lab: Lab) -> str:
    source, destination = await lab.pair()
    await source.add(null("disk0"), null("disk1"))
    await destination.drive("drive0", null("fmt0"))
    for number in range(2):
        await source.bitmap(f"disk{number}", f"b{number}")
    outcome = await lab.migrate(entry("disk0", "drive0", b0="b0"), entry("disk1", "fmt0", b1="b1"))
    return outcome.end or (
        "both on one node" if set(outcome.bitmaps or ()) == {("fmt0", "b0"), ("fmt0", "b1")} else DROPPED
    )


async def _destination_map(lab: Lab) -> str:
    source, destination = await lab.pair()
    await source.add(null("disk0"))
    await destination.add(null("fmt0"))
    await source.bitmap("disk0")
    await destination.map(entry("fmt0", "disk0", b1="b0"))
    return (await lab.migrate()).of(to=("fmt0", "b1"))


async def _long_name(lab: Lab, *, alias: bool) -> str:
    source, _ = await lab.pair(null("disk0"))
    await source.bitmap("disk0", _LONG)
    mapping = [entry("disk0", **{_LONG: "b0"})] if alias else []
    outcome = await lab.migrate(*mapping)
    return outcome.of("disk0", _LONG, to=("disk0", "b0") if alias else None)


_FILE = {"file": "disk0"}
#: Drivers above a node, their options, and by which name a bitmap on the node travels.
_DRIVERS: tuple[tuple[str, Mapping[str, Any], str], ...] = (
    ("throttle", {**_FILE, "throttle-group": "group0"}, _DEVICE),
    ("copy-on-read", _FILE, _DEVICE),
    ("blkdebug", {"image": "disk0"}, _DEVICE),
    ("blklogwrites", {**_FILE, "log": "log0"}, _DEVICE),
    ("blkreplay", {"image": "disk0"}, _DEVICE),
    ("preallocate", _FILE, _DEVICE),
    ("compress", _FILE, _DEVICE),
    ("raw", _FILE, _NODE),
    ("quorum", {"vote-threshold": 1, "children": ["disk0", "disk1"]}, _NODE),
    ("blkverify", {"test": "disk0", "raw": "disk1"}, _NODE),
)

EXPERIMENTS = (
    Experiment(
        "name-of-a-named-node",
        _SECTION,
        "By which name does a bitmap travel whose node has a name and is the root of a device?",
        _DEVICE,
        _named_node,
    ),
    Experiment(
        "name-without-id",
        _SECTION,
        "By which name does a bitmap travel whose device got its name from QEMU (none0)?",
        _DEVICE,
        _without_id,
    ),
    Experiment(
        "name-of-a-bare-node",
        _SECTION,
        "By which name does a bitmap travel whose node is below no device?",
        _NODE,
        _bare_node,
    ),
    *(
        Experiment(
            f"name-below-{driver}",
            _SECTION,
            f"By which name does a bitmap travel below a device whose root is a {driver} node above it?",
            name,
            partial(_above, driver=driver, options=options, image=driver == "compress"),
        )
        for driver, options, name in _DRIVERS
    ),
    Experiment(
        "name-below-filter-with-bitmap",
        _SECTION,
        "By which name does a bitmap travel where the filter above it has one of its own?",
        _NODE,
        partial(_above, driver="throttle", options={**_FILE, "throttle-group": "group0"}, own=True),
    ),
    Experiment(
        "generated-name",
        _SECTION,
        "What becomes of a bitmap on a node whose name QEMU has generated?",
        FAILS,
        _generated_name,
    ),
    Experiment(
        "generated-name-mapped",
        _SECTION,
        "What becomes of a bitmap on a node whose name QEMU has generated, where the map names that node?",
        ARRIVES,
        _generated_name_mapped,
    ),
    Experiment(
        "two-devices-over-one-node",
        _SECTION,
        "What becomes of a bitmap that is below two named devices?",
        FAILS,
        _two_backends,
    ),
    Experiment(
        "device-with-filter-on-destination",
        _SECTION,
        "Where does a bitmap land whose device on the destination has a filter as its root?",
        "on the filter",
        _lands_on,
    ),
    Experiment(
        "device-name-in-map",
        _SECTION,
        "What becomes of a bitmap whose node the map calls by its device?",
        DROPPED,
        _device_in_map,
    ),
    *(
        Experiment(
            f"alias-is-{what}",
            _SECTION,
            f"What becomes of a bitmap whose alias is a {what} of the destination, which has no map?",
            ARRIVES,
            partial(_alias_looked_up, alias=alias),
        )
        for what, alias in ((_NODE, "fmt0"), (_DEVICE, "drive0"))
    ),
    Experiment(
        "two-aliases-of-one-node",
        _SECTION,
        "What becomes of bitmaps whose aliases are a device of the destination and the node-name of its root?",
        "both on one node",
        _hidden_merge,
    ),
    Experiment(
        "map-on-destination-only",
        _SECTION,
        "What becomes of a bitmap where only the destination has a map, of the names that the source sends?",
        ARRIVES,
        _destination_map,
    ),
    Experiment(
        "long-bitmap-name",
        _SECTION,
        "What becomes of a bitmap whose name is longer than 255 bytes?",
        FAILS,
        partial(_long_name, alias=False),
    ),
    Experiment(
        "long-bitmap-name-with-alias",
        _SECTION,
        "What becomes of a bitmap whose name is longer than 255 bytes, where the map gives it a shorter alias?",
        ARRIVES,
        partial(_long_name, alias=True),
    ),
)

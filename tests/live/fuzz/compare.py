"""What was foretold and what really happened -> where they disagree: the migration, each bitmap, each log line."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tests.live.fuzz.outcome import about_bitmaps
from tests.live.fuzz.world import Node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bitmapmig.fate import Foretold, ForetoldBitmap
    from tests.live.fuzz.outcome import Real
    from tests.live.fuzz.world import Place, World
    from tests.live.qemu import BitmapRecord

#: Outcomes of a bitmap that is on the destination when the migration is over.
THERE = frozenset(("arrives", "worthless", "lost-at-shutdown", "breaks-activation"))


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One thing that was foretold otherwise than it happened; `what` is the bitmap, the side or the line."""

    kind: Literal["migration", "bitmap", "log", "proposal"]
    what: str
    foretold: str
    real: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}: foretold {self.foretold}; really {self.real}"


def compare(
    world: World, foretold: Foretold, real: Real, names: Mapping[Place, str]
) -> tuple[tuple[Disagreement, ...], Counter[str]]:
    """The disagreements, and how much was compared of each kind. `names` are the node-names of the destination."""
    bitmaps = tuple(_bitmaps(world, foretold, real, names))
    log, lines = _log(foretold, real)
    counted = Counter({"migration": 1, "bitmap": len(real.before), "log": lines})
    return (*_migration(foretold, real), *bitmaps, *log), counted


def proposal(proposed: Foretold, in_force: Foretold) -> tuple[Disagreement, ...]:
    """What is foretold of a map that is proposed must be what is foretold of it once it is set."""
    if proposed == in_force:
        return ()
    return (Disagreement("proposal", "map", proposed.model_dump_json(), in_force.model_dump_json()),)


def _migration(foretold: Foretold, real: Real) -> Iterator[Disagreement]:
    either = foretold.source is None and {foretold.migration, real.migration} <= {"fails", "destination-dies"}
    if foretold.migration != real.migration and not either:
        yield Disagreement("migration", "outcome", f"{foretold.migration} ({foretold.reason})", real.migration)
    for side, said, was in (
        ("source", foretold.source, real.source),
        ("destination", foretold.destination, real.destination),
    ):
        if said is not None and said != was:
            yield Disagreement("migration", side, said, was)


# bitmaps


def _bitmaps(world: World, foretold: Foretold, real: Real, names: Mapping[Place, str]) -> Iterator[Disagreement]:
    told = {(one.node, one.bitmap): one for one in foretold.bitmaps}
    for place in sorted(told.keys() ^ real.before.keys()):
        yield Disagreement("bitmap", str(place), "a fate" if place in told else "nothing", "no such bitmap")
    for place in sorted(told.keys() & real.before.keys()):
        one = told[place]
        problem = _problem(world, one, real, names)
        if problem is not None:
            yield Disagreement("bitmap", str(place), f"{one.outcome} ({one.reason})", problem)
    for arrived in sorted(_unexplained(world, foretold, real, names)):
        yield Disagreement("bitmap", f"{arrived} on the destination", "nothing", "it is there")


def _problem(world: World, one: ForetoldBitmap, real: Real, names: Mapping[Place, str]) -> str | None:
    """What is not as it was foretold of a bitmap; None where all is.

    That nothing arrives of one that is lost is looked at from the destination.
    """
    if one.outcome not in THERE | {"by-storage"}:
        return None
    if real.migration != "completes":
        return f"the migration {real.migration}"
    if one.destination_bitmap is None:  # not in the stream: it travels in the image
        return _after(world, one, real, names)
    return _arrival(one, real) or _after(world, one, real, names)


def _arrival(one: ForetoldBitmap, real: Real) -> str | None:
    if real.bitmaps is None:  # up to 7.2 an image that could not be activated hides everything
        return None if _broken(real) else "the destination cannot list its nodes"
    found = real.bitmaps.get((one.destination_node or "", one.destination_bitmap or ""))
    if found is None:
        return f"not on the destination, which has {sorted(real.bitmaps)}"
    return _different(one, real, found)


def _broken(real: Real) -> bool:
    """Whether an image could not be activated, because it holds a bitmap that has arrived as well."""
    after = (real.aftermath.cont, *real.aftermath.log) if real.aftermath else ()
    return any("Bitmap already exists" in line for line in (*real.destination_log, *after))


def _different(one: ForetoldBitmap, real: Real, found: BitmapRecord, *, written: bool = False) -> str | None:
    before = real.before[one.node, one.bitmap]
    # the digest is of all granules, so it depends on the size; and none is taken of a name that is not UTF-8
    here, there = real.source_sizes[one.node], real.destination_sizes.get(one.destination_node or one.node, 0)
    bits: tuple[object, object] = (before.digest, found.digest) if here == there else (before.count, found.count)
    if written:
        bits = None, None
    wanted = (bits[0], one.granularity, one.recording, one.persistent, False)
    arrived = (bits[1], found.granularity, found.recording, found.persistent, found.inconsistent)
    return None if wanted == arrived else f"it is {arrived} and not {wanted}"


def _after(world: World, one: ForetoldBitmap, real: Real, names: Mapping[Place, str]) -> str | None:
    """What is not as it was foretold when the destination has gone on and was shut down."""
    after = real.aftermath
    if after is None or (after.bitmaps is None and _broken(real)):
        return None
    if one.outcome == "breaks-activation" or after.bitmaps is None:
        return "the activation went otherwise" if after.bitmaps is None or not _broken(real) else None
    node, name = one.destination_node or "", one.destination_bitmap or one.bitmap
    if one.outcome == "by-storage":
        node = next((place[0] for place in sorted(after.bitmaps) if place[1] == name and node in {"", place[0]}), node)
    found = after.bitmaps.get((node, name))
    if found is None:
        return f"it is gone after cont, which leaves {sorted(after.bitmaps)}"
    # a file is written to when the image in it is activated
    different = _different(one, real, found, written=_driver(world, node, names) == "file")
    if different or not one.persistent or after.cont:
        return different
    lost = one.outcome == "lost-at-shutdown"
    # where it is lost, the copy that was there before stays
    before = any(kept.name == name for image in world.images for kept in image.stored)
    if _kept(world, node, name, real, names) != lost or (lost and before):
        return None
    return f"the images hold {after.stored} after the shutdown, which said {after.log}"


def _driver(world: World, node: str, names: Mapping[Place, str]) -> str | None:
    """The driver of a destination's node, where it is one of the world."""
    place = next((place for place, known in names.items() if known == node), None)
    return None if place is None else world.destination.node(place).driver


def _kept(world: World, node: str, name: str, real: Real, names: Mapping[Place, str]) -> bool:
    """Whether the image of a destination's node holds a bitmap that is not in use."""
    place = next(place for place, known in names.items() if known == node)
    below: Node | str | None = world.destination.node(place)
    while isinstance(below, Node) and below.image is None:
        below = below.children.get("file") or below.children.get("image")
    held = real.aftermath.stored.get(below.image or "", {}) if isinstance(below, Node) and real.aftermath else {}
    return name in held and "in-use" not in held[name]


def _unexplained(world: World, foretold: Foretold, real: Real, names: Mapping[Place, str]) -> set[tuple[str, str]]:
    """The bitmaps that came to the destination, and of which nothing was foretold."""
    if real.migration != "completes" or real.bitmaps is None:
        return set()
    told = {(one.destination_node, one.destination_bitmap) for one in foretold.bitmaps if one.outcome in THERE}
    stored = {image.name: {one.name for one in image.stored} for image in world.images}
    by_storage = {one.bitmap for one in foretold.bitmaps if one.outcome == "by-storage"}
    loaded = set()
    for place, name in names.items():
        node = world.destination.node(place)
        file = node.children.get("file")
        while isinstance(file, Node) and file.image is None:
            file = file.children.get("file")
        if node.driver == "qcow2" and isinstance(file, Node):
            loaded |= {(name, bitmap) for bitmap in stored.get(file.image or "", set()) | by_storage}
    return {place for place in real.bitmaps if place not in told | loaded and place not in real.there}


# the logs


def _log(foretold: Foretold, real: Real) -> tuple[list[Disagreement], int]:
    """Each line that was foretold is in that side's log, and each line of a log about bitmaps was foretold.

    Where it was not foretold whether a process survives, it may say of which assertion it died.
    """
    after = real.aftermath.log if real.aftermath else ()
    found: list[Disagreement] = []
    count = 0
    for side, end, log in (
        ("source", foretold.source, real.source_log),
        ("destination", foretold.destination, (*real.destination_log, *after)),
    ):
        told = [line.text for line in foretold.log if line.side == side]
        missing = [text for text in told if not any(text in line for line in log)]
        unforetold = [
            line
            for line in about_bitmaps(log)
            if not any(text in line for text in told) and not (end is None and "Assertion" in line)
        ]
        count += len(told) + len(unforetold)
        found += [Disagreement("log", side, text, f"not printed, but {log}") for text in missing]
        found += [Disagreement("log", side, f"not, but {told}", line) for line in unforetold]
    return found, count

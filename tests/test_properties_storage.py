"""What holds of every plan where images keep bitmaps: held against a model of what QEMU stores and loads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from tests.strategies import Image, World, worlds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.plans import Plan


def _alike(world: World, *, same: bool) -> World:
    """The world with its destination images as the source's: with `same` they may well be the source's own."""
    here = {disk.number: disk for disk in world.here}
    there = []
    for disk in world.there:
        images = zip(disk.images, here[disk.number].images, strict=True)
        like = (replace(old, name=new.name, bitmaps=()) if same else replace(new, bitmaps=()) for new, old in images)
        there.append(replace(disk, images=tuple(like)))
    return replace(world, there=tuple(there))


def _images(world: World) -> Iterator[tuple[Image, Image]]:
    """Each image of the source with its like on the destination."""
    there = {disk.number: disk for disk in world.there}
    for disk in world.here:
        if disk.number in there:
            yield from zip(disk.images, there[disk.number].images, strict=True)


def _stored(image: Image) -> dict[str, bool]:
    """The bitmaps that an image stores, by name, and whether each is clean."""
    return {one["name"]: "in-use" not in one["flags"] for one in image.stored} if image.driver == "qcow2" else {}


def _inactivated(image: Image, migrating: set[str]) -> dict[str, bool]:
    """What the source leaves in its image, by name, and whether it is clean: a bitmap that migrates is not stored."""
    left = _stored(image)
    if image.driver == "qcow2" and not image.ro:
        for one in image.bitmaps:
            if one["persistent"] and not one.get("inconsistent") and one["name"] not in migrating:
                left[one["name"]] = True
    return left


def _activated(left: dict[str, bool], arrived: set[str]) -> dict[str, str]:
    """What comes up on the destination, by name; a clean copy of what has arrived takes the disk away."""
    assert not {name for name in arrived if left.get(name)}, "Bitmap already exists"
    stored = {name: "healthy" if clean else "inconsistent" for name, clean in left.items()}
    return stored | dict.fromkeys(arrived, "arrived")


def _judge(plan: Plan, here: Image, there: Image, *, shared: bool) -> None:
    """Assert that what comes up on the like of an image is what the plan says of it."""
    of = {one.bitmap: one for one in plan.bitmaps if one.node == here.name}
    names = {name: str(one.destination_bitmap) for name, one in of.items() if one.fate == "migrate"}
    kept = _stored(there)
    comes_up = _activated(_inactivated(here, set(names)) if shared else kept, set(names.values()))
    for name, new in names.items():
        assert comes_up[new] == "arrived"
        assert new == name or comes_up.get(name, "arrived") == "arrived", "an orphan"
        change = of[name].transform
        kept_there = of[name].persistent if change is None else change.persistent
        assert kept_there or new not in kept, "an orphan"
    for name, one in of.items():
        if one.fate == "by-storage":
            assert comes_up[name] == "healthy"
        assert shared or comes_up.get(name) != "healthy", "a stale copy"


def _reachable(plan: Plan, world: World, here: Image, there: Image) -> bool:
    """Whether a plan can know that these two belong together: the same node-name, device or guest device."""
    pairs = {one.destination_node for one in plan.bitmaps if one.node == here.name and one.destination_node}
    if pairs:
        return pairs == {there.name}
    disks = (
        [disk for disk in side if image in disk.images] for side, image in ((world.here, here), (world.there, there))
    )
    (source,), (destination,) = disks
    name = here.name == there.name and not here.name.startswith("#")
    return name or source.devices[0] == destination.devices[0] != ("", None)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(worlds(), st.booleans(), st.sampled_from(["shared", "separate", "unknown"]))
def test_what_comes_up_is_what_the_plan_says(world: World, same: bool, word: str) -> None:  # noqa: FBT001
    """No arrival is in the way of a stored copy, no copy lies, none is orphaned; if it is unknown, in both cases."""
    world = _alike(world, same=same)
    policy: dict[str, Any] = {**world.policy, "storage": word}
    plan = world.plan(policy)
    assume(plan.verdict == "planned" and plan.bitmaps)
    cases = {"shared": (True,), "separate": (False,), "unknown": (False, True) if same else (False,)}
    for here, there in _images(world):
        if _reachable(plan, world, here, there):
            for shared in cases[word]:
                event(f"{word} {'same' if same else 'like'}")
                _judge(plan, here, there, shared=shared)

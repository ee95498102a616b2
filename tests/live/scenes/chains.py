"""Scenes about backing chains whose bitmaps become one, because the destination has one flat image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.live.migration import entry, migrate, set_capability, set_mapping
from tests.live.monitor import QmpError
from tests.live.scenes.scene import GRANULE, SIZE, Stage, disk, drive, scene

if TYPE_CHECKING:
    from collections.abc import Iterable

COLLAPSE = {"collapse": True}
NBD = {"type": "unix", "data": {"path": "nbd"}}
TEMPORARY = "bitmapmig-tmp-0123456789abcdef"
#: What is written to each layer while it is the top, in granules, the deepest first.
WRITTEN = ((1, 2, 3), (3, 70), (200,))


def layers(stage: Stage) -> list[str]:
    """The node-names of the source's chain, from the top down."""
    nodes = stage.source.nodes()
    files = {node["file"]: name for name, node in nodes.items() if node["drv"] == "qcow2"}
    found = [stage.source.root("drive0")]
    while backing := nodes[found[-1]].get("backing_file"):
        found.append(files[backing])
    return found


def chain(stage: Stage, *, lacking: Iterable[int] = (), named: bool = False, **arguments: Any) -> None:
    """A -drive disk of three layers, `daily` in each but those that lack it, and a flat one on the destination.

    The overlays are `overlay1` and `overlay2` if they are named.
    """
    source = stage.start_source(*drive("drive0", stage.image("source.qcow2")))
    stage.start_destination(*drive("drive0", stage.image("destination.qcow2")))
    for depth, granules in enumerate(WRITTEN):
        if depth:
            name = f"overlay{depth}"
            node = {"snapshot_node_name": name} if named else {}
            source.qmp("blockdev-snapshot-sync", device="drive0", snapshot_file=f"{name}.qcow2", format="qcow2", **node)
        if depth not in lacking:
            source.qmp("block-dirty-bitmap-add", node=source.root("drive0"), name="daily", **arguments)
        source.write("drive0", *(GRANULE * granule for granule in granules))


def merged(stage: Stage, nodes: Iterable[str], top: str | None = None) -> None:
    """Merge as somebody does who sees no harm in it: what is there, on the top, and migrate it."""
    top = top or layers(stage)[0]
    stage.source.qmp("block-dirty-bitmap-add", node=top, name=TEMPORARY)
    sources = [{"node": node, "name": "daily"} for node in nodes]
    stage.source.qmp("block-dirty-bitmap-merge", node=top, target=TEMPORARY, bitmaps=sources)
    set_mapping(stage.source, [entry(top, "drive0", {TEMPORARY: "daily"})])
    set_capability(stage.source)


def _dirty(stage: Stage) -> int:
    """How many granules are dirty in what arrives."""
    outcome = migrate(stage.source, stage.destination)
    assert (outcome.source, outcome.destination) == ("completed", "completed"), outcome
    assert outcome.bitmaps is not None
    ((_, came),) = outcome.bitmaps.items()
    return came.count // GRANULE


def whole() -> int:
    """How many granules were written."""
    return len({granule for layer in WRITTEN for granule in layer})


def placeless_refused(stage: Stage) -> None:
    """By its own names QEMU refuses all of it."""
    outcome = stage.ignored()
    assert (outcome.source, outcome.exit) == ("failed", 1)
    assert "in a node with auto-generated name" in outcome.source_log


@scene("BM301", harm=placeless_refused)
def chain_on_flat_image(stage: Stage) -> None:
    """A chain of three with `daily` in each, and a flat image on the destination: `collapse: true` is offered."""
    chain(stage)


@scene(policy=COLLAPSE, record="11.1")
def chain_collapsed(stage: Stage) -> None:
    """A chain of three with `daily` in each is merged, and arrives on a flat image."""
    chain(stage)
    stage.bitmap(stage.source.root("drive0"), "top-only")


@scene(policy=COLLAPSE, since=(7, 2), record="10.0")
def chain_collapsed_persistent(stage: Stage) -> None:
    """The same with persistent bitmaps, which comes up persistent."""
    chain(stage, persistent=True)


@scene(policy={**COLLAPSE, "map": [{"source": {"device": "drive0", "bitmap": "daily"},
                                    "destination": {"device": "drive0", "bitmap": "merged"}}]})  # fmt: skip
def chain_collapsed_renamed(stage: Stage) -> None:
    """The map entry of the top's bitmap names what comes of the merge."""
    chain(stage)


TOP = {"source": {"node-name": "overlay2"}, "destination": {"device": "drive0"}}


@scene("BM301", "BM501", harm=placeless_refused)
def chain_named_overlays(stage: Stage) -> None:
    """A chain whose named overlays have no counterpart on a flat image: a place for the top is offered."""
    chain(stage, named=True)


@scene("BM301", "BM501", policy=COLLAPSE, harm=placeless_refused, record="10.0")
def chain_named_overlays_without_place(stage: Stage) -> None:
    """The same with `collapse: true`, which merges nothing while the top has no place."""
    chain(stage, named=True)


@scene(policy={**COLLAPSE, "map": [TOP]}, record="11.1")
def chain_named_overlays_collapsed(stage: Stage) -> None:
    """The same with a place for the top."""
    chain(stage, named=True)


def lacks_the_layers(stage: Stage) -> None:
    """What arrives looks healthy, and has no more than what was written to the top."""
    set_mapping(stage.source, [entry("overlay2", "drive0", {"daily": "daily"})])
    set_capability(stage.source)
    assert _dirty(stage) == len(WRITTEN[2]) < whole()


@scene(
    "BM578",
    policy={"map": [TOP, {"source": {"node-name": "overlay1"}, "destination": None},
                    {"source": {"device": "drive0", "path": "backing.backing"}, "destination": None}]},
    options={"strict": True},
    harm=lacks_the_layers,
)  # fmt: skip
def chain_layers_left_behind(stage: Stage) -> None:
    """The policy leaves the bitmaps of the layers behind, and the top's alone arrives on a flat image."""
    chain(stage, named=True)


def _named(stage: Stage, sizes: tuple[int, int]) -> None:
    """A chain of two -blockdev nodes of these sizes, the deeper first."""
    images = [stage.image(f"l{depth}.qcow2", size) for depth, size in enumerate(sizes)]
    there = stage.image("flat.qcow2", sizes[1])
    source = stage.start_source(*disk("l0", images[0]), *disk("l1", images[1]))
    stage.start_destination(*disk("l1", there))
    source.qmp("block-dirty-bitmap-add", node="l0", name="daily")
    source.write("l0", 0)
    source.qmp("blockdev-snapshot", node="l0", overlay="l1")
    source.qmp("block-dirty-bitmap-add", node="l1", name="daily")
    source.write("l1", GRANULE)


@scene(policy=COLLAPSE)
def chain_collapsed_named(stage: Stage) -> None:
    """A chain of -blockdev nodes, of which only the top has a counterpart."""
    _named(stage, (SIZE, SIZE))


def lacks_writes(stage: Stage) -> None:
    """What arrives looks healthy, and lacks what was written while the layer without the bitmap was the top."""
    top, _, base = layers(stage)
    merged(stage, [top, base])
    assert _dirty(stage) < whole()


@scene("BM571", policy=COLLAPSE, harm=lacks_writes)
def chain_layer_lacks_bitmap(stage: Stage) -> None:
    """A layer in between has no bitmap of that name."""
    chain(stage, lacking=[1])


def top_lacks_writes(stage: Stage) -> None:
    """What arrives looks healthy, and lacks what was written to the top."""
    merged(stage, layers(stage)[1:])
    assert _dirty(stage) < whole()


@scene("BM571", policy=COLLAPSE, harm=top_lacks_writes)
def chain_top_lacks_bitmap(stage: Stage) -> None:
    """A snapshot was taken, and the bitmap not made anew in the overlay."""
    chain(stage, lacking=[2])


def sizes_refused(stage: Stage) -> None:
    """QEMU does not merge them."""
    _refused(stage, ["l1", "l0"], "can't be merged", top="l1")


def _refused(stage: Stage, nodes: list[str], said: str, top: str | None = None) -> None:
    with pytest.raises(QmpError, match=said):
        merged(stage, nodes, top)


@scene("BM572", policy=COLLAPSE, harm=sizes_refused)
def chain_resized(stage: Stage) -> None:
    """The disk was made larger with the snapshot, so that the layers' bitmaps have different sizes."""
    _named(stage, (SIZE, 2 * SIZE))


def without_the_layer(stage: Stage) -> None:
    """What arrives lacks what only that layer has recorded."""
    top, _, base = layers(stage)
    merged(stage, [top, base])
    assert _dirty(stage) < whole()


@scene(
    "BM573",
    policy={**COLLAPSE, "map": [{"source": {"device": "drive0", "path": "backing", "bitmap": "daily"},
                                 "destination": None}]},
    harm=without_the_layer,
)  # fmt: skip
def chain_layer_left_behind(stage: Stage) -> None:
    """The policy leaves the bitmap of one layer behind, and lets the others be merged."""
    chain(stage)


def missing_since(stage: Stage) -> None:
    """What was written since the top's bitmap was disabled is in none of them."""
    merged(stage, layers(stage))
    assert _dirty(stage) == whole()  # and granule 201 is written as well


@scene("BM574", policy=COLLAPSE, harm=missing_since)
def chain_top_not_recording(stage: Stage) -> None:
    """The bitmap of the top is disabled, and the guest has written since."""
    chain(stage)
    stage.source.qmp("block-dirty-bitmap-disable", node=stage.source.root("drive0"), name="daily")
    stage.source.write("drive0", GRANULE * 201)


def layer_busy(stage: Stage) -> None:
    """QEMU does not merge it."""
    _refused(stage, layers(stage), "is currently in use by another operation and cannot be used")


@scene("BM575", policy=COLLAPSE, harm=layer_busy)
def chain_layer_busy(stage: Stage) -> None:
    """The bitmap of a layer is shown to the clients of an NBD export."""
    chain(stage)
    stage.source.qmp("nbd-server-start", addr=NBD)
    stage.source.qmp("nbd-server-add", device=layers(stage)[1], name="layer", bitmap="daily")


def left_over_arrives(stage: Stage) -> None:
    """It arrives on the destination, beside the user's own."""
    set_capability(stage.source)
    outcome = migrate(stage.source, stage.destination)
    assert outcome.bitmaps is not None
    assert TEMPORARY in {name for _, name in outcome.bitmaps}


@scene("BM576", harm=left_over_arrives)
def temporary_left_over(stage: Stage) -> None:
    """A temporary that an earlier plan has left is on the disk."""
    source = stage.start_source(*drive("drive0", stage.image("source.qcow2")))
    stage.start_destination(*drive("drive0", stage.image("destination.qcow2")))
    stage.bitmap(source.root("drive0"))
    source.qmp("block-dirty-bitmap-add", node=source.root("drive0"), name=TEMPORARY)


def comes_up_transient(stage: Stage) -> None:
    """What arrives is transient: it is gone at shutdown."""
    merged(stage, layers(stage))
    outcome = migrate(stage.source, stage.destination)
    assert outcome.bitmaps is not None
    assert [one.persistent for one in outcome.bitmaps.values()] == [False]


@scene("BM577", policy=COLLAPSE, until=(5, 2), harm=comes_up_transient, record="5.2")
def chain_persistent_untransformed(stage: Stage) -> None:
    """Persistent bitmaps on a QEMU that knows no `transform`, which the temporary would need."""
    chain(stage, persistent=True)

"""Images of throw-away QEMUs: which are made, which are another QEMU's as well, and what is told of them."""

from __future__ import annotations

import asyncio
import json
import subprocess
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig.graph import Backend, BlockGraph, Edge, Node, StoredBitmap
from bitmapmig.qapi import BitmapName, DeviceName, NodeName
from bitmapmig.throwaway import Binary, Built, NotBuiltError, Throwaway, build, private_folder, qcow2, running
from tests.live.qemu import binaries
from tests.live.test_throwaway import MIB, bitmap, image, migrate, null, on

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


DRIVE = Backend(DeviceName("drive0"), None, NodeName("#block200"))


@pytest.fixture(params=binaries(), ids=lambda binary: binary.version)
def qemu(request: pytest.FixtureRequest) -> Binary:
    """Each QEMU that is there."""
    return Binary.of(request.param.path)


def disks(*parts: tuple[tuple[Node, ...], Edge]) -> BlockGraph:
    """A graph of images."""
    return BlockGraph([node for nodes, _ in parts for node in nodes], [edge for _, edge in parts])


def names_of(nodes: Sequence[dict[str, Any]], node: str) -> dict[str, int]:
    """The bitmaps of a node, with how much of each is dirty."""
    (found,) = (one for one in nodes if one["node-name"] == node)
    return {one["name"]: one["count"] for one in found.get("dirty-bitmaps", ())}


async def pair(
    stack: AsyncExitStack, qemu: Binary, source: BlockGraph, destination: BlockGraph, shared: Sequence[str]
) -> tuple[Throwaway, Throwaway, Built, Built]:
    """Both ends of a migration, of which the nodes `shared` have the same file."""
    folder = stack.enter_context(private_folder())
    one = await stack.enter_async_context(running(qemu, folder=folder))
    other = await stack.enter_async_context(running(qemu, folder=folder, name="destination", incoming=True))
    bits = {(name, found.name): (0, 65536) for name, node in source.nodes.items() for found in node.bitmaps}
    first = await build(one, source, bits)
    files = {NodeName(name): first.files[NodeName(name)] for name in shared}
    return one, other, first, await build(other, destination, shared=files)


@pytest.mark.parametrize("way", ["storage", "stream"])
def test_shared_and_separate(qemu: Binary, way: str) -> None:
    """Where one image of two is shared, persistent bitmaps of that one arrive by storage, or all in the stream."""
    stored = (StoredBitmap(BitmapName("old"), 65536, in_use=True),)
    held = bitmap("old", persistent=True), bitmap("new", persistent=True)
    source = disks(image("disk0", *held, stored=stored), image("disk1", *held, stored=stored))
    destination = disks(image("disk0", stored=stored), image("disk1"))

    async def moved() -> tuple[list[dict[str, int]], Built, Built]:
        async with AsyncExitStack() as stack:
            one, other, first, second = await pair(stack, qemu, source, destination, ["disk0-file"])
            state = [{"capability": "dirty-bitmaps", "state": way == "stream"}]
            await one.execute("migrate-set-capabilities", {"capabilities": state})
            assert await migrate(one, other) == ["completed", "completed"]
            await other.execute("cont")
            nodes = await other.execute("query-named-block-nodes", {"flat": True})
            return [names_of(nodes, name) for name in ("disk0", "disk1")], first, second

    arrived, first, second = asyncio.run(moved())
    both = {"old": 131072, "new": 131072}
    assert arrived == [both, both if way == "stream" else {}]
    shared = [first.files[NodeName(name)] == second.files[NodeName(name)] for name in ("disk0-file", "disk1-file")]
    assert shared == [True, False]
    assert second.graph.nodes[NodeName("disk0")].stored == stored


def test_images_are_told(qemu: Binary) -> None:
    """What is told of images opens them anew once the QEMU has ended: with all that they hold, and no other file."""
    graph = BlockGraph(
        [
            *image("disk0", bitmap("kept", persistent=True))[0],
            null("disk1"),
            Node(NodeName("raw"), "file", virtual_size=4 * MIB),
        ],
        [Edge("node", "disk0", NodeName("disk0-file"), "file")],
    )

    async def opened() -> tuple[Built, dict[str, int]]:
        with private_folder() as folder:
            async with running(qemu, folder=folder) as first:
                built = await build(first, graph, {(NodeName("disk0"), BitmapName("kept")): (0,)})
                await first.quit()
            async with running(qemu, folder=folder, name="again") as second:
                file = {"driver": "file", "filename": built.images[NodeName("disk0")]}
                await second.execute("blockdev-add", {"driver": "qcow2", "node-name": "again", "file": file})
                nodes = await second.execute("query-named-block-nodes", {"flat": True})
                assert all((folder / name).is_file() for name in built.files.values())
                return built, names_of(nodes, "again")

    built, found = asyncio.run(opened())
    assert found == {"kept": 65536}
    assert set(built.images) == {"disk0"}
    assert set(built.files) == {"disk0-file", "raw"}


def test_images_of_snapshots_and_jobs_are_told(qemu: Binary) -> None:
    """The file of an overlay that a snapshot made is told as well."""
    (base_file, base), base_edge = image("#block100", read_only=True)
    (file, overlay), edge = image("#block200")
    nodes = (base, base_file, overlay, file)
    edges = [base_edge, edge, Edge("node", overlay.name, base.name, "backing")]
    listing: dict[NodeName, list[BitmapName]] = {one.name: [] for one in nodes}
    drive = BlockGraph(nodes, edges, backends=[DRIVE], listing=listing)

    async def act(found: Throwaway) -> tuple[Built, list[bool]]:
        built = await build(found, drive)
        return built, [(found.folder / name).is_file() for name in built.files.values()]

    built, there = on(qemu, act)
    assert set(built.images) == {base.name, overlay.name}
    assert set(built.files) == {base_file.name, file.name}
    assert there == [True, True]


WRONG: Mapping[str, dict[str, Any]] = {
    "plain name": {"shared": {"disk0-file": "../passwd"}},
    "has a plain name": {"files": {"disk0-file": "nbd:unix:x"}},
    "is not known": {"files": {}},
}


@pytest.mark.parametrize("reason", WRONG)
def test_files_of_another(qemu: Binary, reason: str) -> None:
    """A file outside the folder is none that may be shared, and where all must be there none may be missing."""
    with pytest.raises((NotBuiltError, ValueError), match=reason):
        on(qemu, lambda found: build(found, disks(image("disk0")), **WRONG[reason]))


def sound(folder: Path, img: Path, parts: Mapping[int, bytes], length: int) -> tuple[int, dict[str, Any]]:
    """What the qemu-img of a QEMU says of an image: the status of its check, and what it is."""
    path = folder / "image.qcow2"
    with path.open("wb") as file:
        file.truncate(length)
        for place, part in parts.items():
            file.seek(place)
            file.write(part)
    check = subprocess.run((img, "check", "-f", "qcow2", path), check=False, capture_output=True)
    info = subprocess.run((img, "info", "--output=json", path), check=True, capture_output=True)
    return check.returncode, json.loads(info.stdout)


#: Sizes of disks, and of clusters.
EMPTY = [(512, None), ((512 << 20) + 512, None), (8 << 40, None), (MIB, 512), (64 * MIB, 1 << 21)]


@pytest.mark.parametrize("compat", ["0.10", "1.1"])
@pytest.mark.parametrize("program", binaries(), ids=lambda binary: binary.version)
def test_empty_images(tmp_path: Path, program: Any, compat: str) -> None:
    """What is written as an empty qcow2 image is one to each QEMU, of that size and version."""
    for size, cluster in EMPTY:
        made = qcow2.empty(size, compat=compat, cluster=cluster)
        assert made is not None
        status, told = sound(tmp_path, program.img, *made)
        assert (status, told["virtual-size"], told["cluster-size"]) == (0, size, cluster or 65536)
        assert told["format-specific"]["data"]["compat"] == compat


@pytest.mark.parametrize(
    ("size", "cluster"), [(0, None), (-512, None), (100, None), (1 << 53, None), (MIB, 1000), (1 << 40, 512)]
)
def test_no_empty_image(size: int, cluster: int | None) -> None:
    """What is no size of an image, or one too large, is left to QEMU to refuse."""
    assert qcow2.empty(size, compat="1.1", cluster=cluster) is None

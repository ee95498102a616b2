"""Images of the blueprint -> sparse files in the private folder.

An empty qcow2 image is written here, all else QEMU itself makes (`blockdev-create`). A QEMU that waits for a migration
cannot write to an image: then another throw-away QEMU does. Bitmaps that are to be found in use are left so by killing
one.
"""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from bitmapmig.allowlist import Message
from bitmapmig.throwaway import qcow2
from bitmapmig.throwaway.contents import Bits, add_bitmaps, exported, fill, write
from bitmapmig.throwaway.nbd import Write
from bitmapmig.throwaway.process import Throwaway, running
from bitmapmig.throwaway.reason import NotBuiltError
from bitmapmig.throwaway.session import QemuRefusedError
from bitmapmig.throwaway.words import LARGEST, UNFLUSHED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from bitmapmig.graph import Bitmap, Node
    from bitmapmig.qapi import BitmapName, NodeName
    from bitmapmig.throwaway.blueprint import Blueprint
    from bitmapmig.throwaway.words import Image, Materials

#: Bytes that are written where a job is to have something to copy: more than it copies at once.
DATA = 4 << 20

#: The names of what exists only while images are made; no node of a user can be named so, since it is gone before.
_FILE, _IMAGE, _JOB = "bitmapmig-file", "bitmapmig-image", "bitmapmig-create"


async def make(
    qemu: Throwaway, blueprint: Blueprint, found: Materials, bits: Mapping[tuple[NodeName, BitmapName], Sequence[int]]
) -> None:
    """Put every file of `found` that is not there into the folder of `qemu`. Raises `NotBuiltError`."""
    missing = found.missing()
    formatted = {file for image in missing for file in (image.file, image.data_file)}
    for leaf, file in found.files.items():
        if leaf in found.kept:
            continue
        plain = file not in formatted
        _begin(qemu.folder / file, found.sizes[leaf] if plain else 0, leaf, filled=plain and leaf in found.data)
    others = [image for image in missing if not _written(qemu, blueprint, found, image)]
    stored = [image for image in missing if blueprint.graph.nodes[image.node].stored]
    crash = [image for image in stored if any(one.in_use for one in _before(blueprint, image.node))]
    if crash:
        async with running(qemu.binary, folder=qemu.folder, name=f"{qemu.name}-crash") as other:
            await _create(other, blueprint, found, others)
            await _store(other, blueprint, crash, bits, in_use=True)
            await other.kill()
        others = []
    if not others and not any(not one.in_use for image in stored for one in _before(blueprint, image.node)):
        return
    async with AsyncExitStack() as stack:
        maker = qemu
        if qemu.incoming:
            made = running(qemu.binary, folder=qemu.folder, name=f"{qemu.name}-images")
            maker = await stack.enter_async_context(made)
        await _create(maker, blueprint, found, others)
        await _store(maker, blueprint, stored, bits, in_use=False)


def _begin(path: Path, size: int, node: NodeName, *, filled: bool) -> None:
    """Make a file that is not there yet, `filled` with something to copy at its beginning."""
    try:
        with path.open("xb") as new:
            new.truncate(size)
            if filled:
                new.write(b"\1" * min(DATA, size))
    except OSError as error:
        raise _not_made(size, node, error) from error


def _written(qemu: Throwaway, blueprint: Blueprint, found: Materials, image: Image) -> bool:
    """Write an empty qcow2 image without any QEMU; False where the image is to be more than that."""
    node = blueprint.graph.nodes[image.node]
    if node.driver != "qcow2" or image.data_file is not None or image.node in found.data:
        return False
    size = _size(blueprint, image)
    made = qcow2.empty(size, compat=node.compat, cluster=node.cluster_size)
    if made is None:
        return False
    parts, length = made
    try:
        with (qemu.folder / image.file).open("r+b") as new:
            new.truncate(max(length, min(found.sizes[image.leaf], LARGEST)))
            for place, part in parts.items():
                new.seek(place)
                new.write(part)
    except OSError as error:
        raise _not_made(size, image.node, error) from error
    return True


def _extend(path: Path, size: int, node: NodeName) -> None:
    """Make the file as long as the node was, without taking space."""
    try:
        os.truncate(path, max(min(size, LARGEST), path.stat().st_size))
    except OSError as error:
        raise _not_made(size, node, error) from error


def _not_made(size: int, node: NodeName, error: OSError) -> NotBuiltError:
    return NotBuiltError(f"no file of {size} bytes can be made: {error.strerror}", node)


async def _create(qemu: Throwaway, blueprint: Blueprint, found: Materials, images: Sequence[Image]) -> None:
    """Let QEMU create images, with what is to be in them for jobs."""
    if not images:
        return
    files = [(f"{_FILE}{number}", image.file) for number, image in enumerate(images)]
    files += [(f"{_FILE}{number}d", image.data_file) for number, image in enumerate(images) if image.data_file]
    try:
        await qemu.execute_all(
            tuple(
                Message("blockdev-add", {"driver": "file", "filename": file, "node-name": name, **UNFLUSHED})
                for name, file in files
            )
        )
        await _format(qemu, [_options(blueprint, image, number) for number, image in enumerate(images)])
        await _write_data(qemu, blueprint, found, images)
        await qemu.execute_all(tuple(Message("blockdev-del", {"node-name": name}) for name, _ in files))
    except QemuRefusedError as error:
        msg = f"no images can be made: {error}"
        raise NotBuiltError(msg) from error
    for image in images:
        for leaf, file in ((image.leaf, image.file), (image.data_leaf, image.data_file)):
            if leaf is not None and file is not None:
                _extend(qemu.folder / file, found.sizes[leaf], leaf)


async def _write_data(qemu: Throwaway, blueprint: Blueprint, found: Materials, images: Sequence[Image]) -> None:
    """Put something to copy into the images that are to hold some."""
    wanted = [(number, image) for number, image in enumerate(images) if image.node in found.data]
    if not wanted:
        return
    nodes = {f"{_IMAGE}{number}": _data(number, _size(blueprint, image)) for number, image in wanted}
    await qemu.execute_all([_opened(blueprint, image, number) for number, image in wanted])
    async with exported(qemu, nodes) as socket:
        await write(socket, {node: (data,) for node, data in nodes.items()})
    await qemu.execute_all([Message("blockdev-del", {"node-name": node}) for node in nodes])


def _size(blueprint: Blueprint, image: Image) -> int:
    size = blueprint.graph.nodes[image.node].virtual_size
    if size is None:
        raise NotBuiltError("its size is not known", image.node)
    return size


def _data(number: int, size: int) -> Write:
    """The data of image `number`: in a place of its own, so that no layer hides that of another.

    The first place is left to files that are no images, as far as there is a second one.
    """
    length = min(DATA, size)
    return Write((number + 1) % max(size // DATA, 1) * DATA, length, b"\1" * length)


def _options(blueprint: Blueprint, image: Image, number: int) -> dict[str, Any]:
    """What `blockdev-create` takes (QAPI `BlockdevCreateOptions`)."""
    node = blueprint.graph.nodes[image.node]
    words: dict[str, Any] = {"driver": node.driver, "file": f"{_FILE}{number}", "size": _size(blueprint, image)}
    if node.driver == "qcow2":
        words["version"] = "v2" if node.compat == "0.10" else "v3"
        if image.data_file is not None:
            words["data-file"] = f"{_FILE}{number}d"
        if node.cluster_size is not None:
            words["cluster-size"] = node.cluster_size
    if node.driver == "vpc":
        words["force-size"] = True
    if node.driver == "parallels":
        words["cluster-size"] = 1 << 20
    return words


async def _format(qemu: Throwaway, options: Sequence[dict[str, Any]]) -> None:
    jobs = [f"{_JOB}{number}" for number in range(len(options))]
    await qemu.execute_all(
        tuple(
            Message("blockdev-create", {"job-id": job, "options": words})
            for job, words in zip(jobs, options, strict=True)
        )
    )
    for job in jobs:
        await qemu.event("JOB_STATUS_CHANGE", id=job, status="concluded")
    told = {job["id"]: job for job in await qemu.execute("query-jobs")}
    await qemu.execute_all(tuple(Message("job-dismiss", {"id": job}) for job in jobs))
    for job, words in zip(jobs, options, strict=True):
        if "error" in told.get(job, {}):
            msg = f"no {words['driver']} image of {words['size']} bytes: {told[job]['error']}"
            raise NotBuiltError(msg)


def _opened(blueprint: Blueprint, image: Image, number: int) -> Message:
    """Open image `number` on the files that are open."""
    words = {"driver": blueprint.graph.nodes[image.node].driver, "node-name": f"{_IMAGE}{number}"}
    words |= {"file": f"{_FILE}{number}"} | ({"data-file": f"{_FILE}{number}d"} if image.data_file else {})
    return Message("blockdev-add", words)


# bitmaps that are in the image before it is opened


class _Stored:
    """A bitmap that the image is to hold; `in_use` says that whoever had it open has crashed."""

    def __init__(self, node: Node, name: BitmapName, granularity: int, *, in_use: bool) -> None:
        self.name, self.granularity = name, granularity
        self.in_memory: Bitmap | None = node.bitmap(name)
        # one that is loaded from a clean copy is marked `in-use` only then
        loaded = self.in_memory is not None and not self.in_memory.inconsistent
        self.in_use = in_use and not loaded

    def words(self, *, in_use: bool) -> dict[str, Any]:
        """What `block-dirty-bitmap-add` takes for it."""
        disabled = self.in_memory is not None and not self.in_memory.recording and not in_use
        return {"name": self.name, "granularity": self.granularity, "persistent": True, "disabled": disabled}


def _before(blueprint: Blueprint, name: NodeName) -> list[_Stored]:
    node = blueprint.graph.nodes[name]
    rank = {bitmap: number for number, bitmap in enumerate(blueprint.graph.listing.get(name, ()))}
    # they are stored newest first, and loaded in the order in which they are stored
    listed = sorted(node.stored or (), key=lambda one: rank.get(one.name, 0))
    return [_Stored(node, one.name, one.granularity, in_use=one.in_use) for one in listed]


async def _store(
    qemu: Throwaway,
    blueprint: Blueprint,
    images: Iterable[Image],
    bits: Mapping[tuple[NodeName, BitmapName], Sequence[int]],
    *,
    in_use: bool,
) -> None:
    """Store bitmaps in images; those to be found `in_use` stay open, until the process is killed."""
    wanted = [
        (f"{_IMAGE}{number}", image, stored)
        for number, image in enumerate(images)
        if (stored := [one for one in _before(blueprint, image.node) if one.in_use == in_use])
    ]
    opened = [Message("blockdev-add", _whole(blueprint, image, name)) for name, image, _ in wanted]
    try:
        await qemu.execute_all(opened)
        await add_bitmaps(qemu, [(name, one.words(in_use=in_use)) for name, _, stored in wanted for one in stored])
        await fill(
            qemu,
            [
                Bits(
                    name,
                    one.name,
                    _size(blueprint, image),
                    one.granularity,
                    tuple(bits.get((image.node, one.name), ())),
                )
                for name, image, stored in wanted
                for one in stored
            ],
        )
        # closing it is what stores them
        await qemu.execute_all([Message("blockdev-del", {"node-name": name}) for name, _, _ in wanted])
        if in_use:
            await qemu.execute_all(opened)
    except QemuRefusedError as error:
        msg = f"no bitmaps can be stored: {error}"
        raise NotBuiltError(msg) from error


def _whole(blueprint: Blueprint, image: Image, name: str) -> dict[str, Any]:
    """What `blockdev-add` takes for an image with its files."""
    words: dict[str, Any] = {"driver": blueprint.graph.nodes[image.node].driver, "node-name": name}
    words["file"] = {"driver": "file", "filename": image.file, **UNFLUSHED}
    if image.data_file is not None:
        words["data-file"] = {"driver": "file", "filename": image.data_file, **UNFLUSHED}
    return words

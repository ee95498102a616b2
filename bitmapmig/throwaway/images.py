"""Images of the blueprint -> sparse files in the private folder, made by QEMU itself (`blockdev-create`).

A waiting QEMU cannot write to an image, and what an image holds before it is opened, somebody must have put there: then
another throw-away QEMU makes them first. Bitmaps that are to be found in use are left so by killing it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitmapmig.allowlist import Message
from bitmapmig.throwaway.contents import Bits, add_bitmaps, fill
from bitmapmig.throwaway.process import Throwaway, running
from bitmapmig.throwaway.reason import NotBuiltError
from bitmapmig.throwaway.session import QemuRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
    """Put every file of `found` into the folder of `qemu`. Raises `NotBuiltError`."""
    for leaf, file in found.files.items():
        plain = all(file not in (image.file, image.data_file) for image in found.images.values())
        _begin(qemu.folder / file, found.sizes[leaf] if plain else 0, leaf, filled=plain and leaf in found.data)
    if not found.images:
        return
    stored = [image for image in found.images.values() if blueprint.graph.nodes[image.node].stored]
    if not stored and not qemu.incoming:
        await _create(qemu, blueprint, found)
        return
    crash = [image for image in stored if any(one.in_use for one in _before(blueprint, image.node))]
    if crash:
        async with running(qemu.binary, folder=qemu.folder, name=f"{qemu.name}-crash") as other:
            await _create(other, blueprint, found)
            await _store(other, blueprint, crash, bits, in_use=True)
            await other.kill()
    async with running(qemu.binary, folder=qemu.folder, name=f"{qemu.name}-images") as other:
        if not crash:
            await _create(other, blueprint, found)
        await _store(other, blueprint, stored, bits, in_use=False)
        await other.quit()


def _begin(path: Path, size: int, node: NodeName, *, filled: bool) -> None:
    """Make a file that is not there yet, `filled` with something to copy at its beginning."""
    try:
        with path.open("xb") as new:
            os.truncate(path, size)
            if filled:
                new.write(b"\1" * min(DATA, size))
    except OSError as error:
        raise _not_made(size, node, error) from error


def _extend(path: Path, size: int, node: NodeName) -> None:
    """Make the file as long as the node was, without taking space."""
    try:
        os.truncate(path, max(size, path.stat().st_size))
    except OSError as error:
        raise _not_made(size, node, error) from error


def _not_made(size: int, node: NodeName, error: OSError) -> NotBuiltError:
    return NotBuiltError(f"no file of {size} bytes can be made: {error.strerror}", node)


async def _create(qemu: Throwaway, blueprint: Blueprint, found: Materials) -> None:
    """Create all images, and what is to be in them for jobs."""
    images = list(found.images.values())
    files = [(f"{_FILE}{number}", image.file) for number, image in enumerate(images)]
    files += [(f"{_FILE}{number}d", image.data_file) for number, image in enumerate(images) if image.data_file]
    try:
        await qemu.execute_all(
            tuple(
                Message("blockdev-add", {"driver": "file", "filename": file, "node-name": name}) for name, file in files
            )
        )
        await _format(qemu, [_options(blueprint, image, number) for number, image in enumerate(images)])
        for number, image in enumerate(images):
            if image.node in found.data:
                data = f"{_FILE}{number}d" if image.data_file else None
                await _opened(qemu, blueprint, image, f"{_FILE}{number}", data)
                await qemu.human(f'qemu-io {_IMAGE} "write -P 1 {_place(number, _size(blueprint, image))}"')
                await qemu.execute("blockdev-del", {"node-name": _IMAGE})
        await qemu.execute_all(tuple(Message("blockdev-del", {"node-name": name}) for name, _ in files))
    except QemuRefusedError as error:
        msg = f"no images can be made: {error}"
        raise NotBuiltError(msg) from error
    for image in images:
        for leaf, file in ((image.leaf, image.file), (image.data_leaf, image.data_file)):
            if leaf is not None and file is not None:
                _extend(qemu.folder / file, found.sizes[leaf], leaf)


def _size(blueprint: Blueprint, image: Image) -> int:
    size = blueprint.graph.nodes[image.node].virtual_size
    if size is None:
        raise NotBuiltError("its size is not known", image.node)
    return size


def _place(number: int, size: int) -> str:
    """Offset and length of the data of image `number`: a place of its own, so that no layer hides that of another.

    The first place is left to files that are no images, as far as there is a second one.
    """
    return f"{(number + 1) % max(size // DATA, 1) * DATA} {min(DATA, size)}"


def _options(blueprint: Blueprint, image: Image, number: int) -> dict[str, Any]:
    """What `blockdev-create` takes (QAPI `BlockdevCreateOptions`)."""
    node = blueprint.graph.nodes[image.node]
    words: dict[str, Any] = {"driver": node.driver, "file": f"{_FILE}{number}", "size": _size(blueprint, image)}
    if node.driver == "qcow2":
        words["version"] = "v2" if node.compat == "0.10" else "v3"
        if image.data_file is not None:
            words["data-file"] = f"{_FILE}{number}d"
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


async def _opened(qemu: Throwaway, blueprint: Blueprint, image: Image, file: str, data: str | None) -> None:
    words: dict[str, Any] = {"driver": blueprint.graph.nodes[image.node].driver, "node-name": _IMAGE, "file": file}
    await qemu.execute("blockdev-add", words | ({"data-file": data} if data else {}))


# bitmaps that are in the image before it is opened


class _Stored:
    """A bitmap that the image is to hold; `in_use` says that whoever had it open has crashed."""

    def __init__(self, node: Node, name: BitmapName, granularity: int, *, in_use: bool) -> None:
        self.name, self.granularity = name, granularity
        self.in_memory: Bitmap | None = node.bitmap(name)
        # one that is loaded from a clean copy is marked `in-use` only then
        loaded = self.in_memory is not None and not self.in_memory.inconsistent
        self.in_use = in_use and not loaded


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
    try:
        for number, image in enumerate(images):
            wanted = [one for one in _before(blueprint, image.node) if one.in_use == in_use]
            if not wanted:
                continue
            name = f"{_IMAGE}{number}"
            words: dict[str, Any] = {"driver": blueprint.graph.nodes[image.node].driver, "node-name": name}
            words["file"] = {"driver": "file", "filename": image.file}
            if image.data_file is not None:
                words["data-file"] = {"driver": "file", "filename": image.data_file}
            await qemu.execute("blockdev-add", words)
            await add_bitmaps(
                qemu,
                name,
                [
                    {
                        "name": one.name,
                        "granularity": one.granularity,
                        "persistent": True,
                        "disabled": one.in_memory is not None and not one.in_memory.recording and not in_use,
                    }
                    for one in wanted
                ],
            )
            offsets = {one.name: tuple(bits.get((image.node, one.name), ())) for one in wanted}
            size = _size(blueprint, image)
            await fill(qemu, (Bits(name, one.name, size, one.granularity, offsets[one.name]) for one in wanted))
            await qemu.execute("blockdev-del", {"node-name": name})
            if in_use:
                await qemu.execute("blockdev-add", words)
    except QemuRefusedError as error:
        msg = f"no bitmaps can be stored: {error}"
        raise NotBuiltError(msg) from error

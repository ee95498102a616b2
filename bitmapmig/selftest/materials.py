"""A QEMU program -> what all experiments on it share: images to copy, what it supports, and one QEMU to ask.

Images are made once, since a copy of a file takes no time; a waiting QEMU could not make any.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from bitmapmig.allowlist import Message
from bitmapmig.introspect import Schema
from bitmapmig.qapi import SchemaInfo
from bitmapmig.throwaway import QemuRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bitmapmig.throwaway import Throwaway

SIZE = 16 << 20
GRANULE = 65536
#: The granules that are dirty in a bitmap, where nothing is said about it.
DIRTY = (0, 5, 200)

#: Machine types that differ from `none`, by how soon they are there.
_MACHINES = ("pc", "q35", "virt", "pseries", "s390-ccw-virtio")


@dataclass(frozen=True, slots=True)
class Materials:
    """What experiments share. `bench` is a QEMU that is asked, and that opens images; nothing ever migrates from it.

    `drivers` are those that `blockdev-add` takes, `creatable` the formats of the images that could be made.
    """

    bench: Throwaway
    schema: Schema
    drivers: frozenset[str]
    creatable: frozenset[str]
    machine: str | None
    _numbers: Iterator[int] = field(default_factory=count)

    def copy(self, image: str, to: Path) -> None:
        """Put an image, by the name of its kind, into the file `to`."""
        shutil.copyfile(self.bench.folder / f"{image}.image", to)

    async def stored(self, file: Path, driver: str) -> dict[str, frozenset[str]]:
        """The bitmaps that an image holds, with their flags (QAPI `Qcow2BitmapInfoFlags`)."""
        node = f"look{next(self._numbers)}"
        words = {"driver": driver, "node-name": node, "read-only": True, "force-share": True}
        name = str(file.relative_to(self.bench.folder))
        await self.bench.execute("blockdev-add", {**words, "file": {"driver": "file", "filename": name}})
        nodes = await self.bench.execute("query-named-block-nodes", {"flat": True})
        await self.bench.execute("blockdev-del", {"node-name": node})
        image = next(one["image"] for one in nodes if one["node-name"] == node)
        listed = image.get("format-specific", {}).get("data", {}).get("bitmaps", ())
        return {one["name"]: frozenset(one["flags"]) for one in listed}


#: The images by the name of their kind: what `blockdev-create` takes beside file and size.
_IMAGES: dict[str, dict[str, Any]] = {
    "plain": {"driver": "qcow2", "version": "v3"},
    "old": {"driver": "qcow2", "version": "v2"},
    "qcow": {"driver": "qcow"},
    "vdi": {"driver": "vdi"},
    "vhdx": {"driver": "vhdx"},
    "vmdk": {"driver": "vmdk"},
    "vpc": {"driver": "vpc", "force-size": True},
}


async def prepared(bench: Throwaway) -> Materials:
    """Make the images, and ask what this QEMU supports. Raises `QemuRefusedError`, `TimeoutError`."""
    schema = Schema(tuple(map(SchemaInfo.model_validate, await bench.execute("query-qmp-schema"))))
    machines = {one["name"] for one in await bench.execute("query-machines")}
    aliases = {one.get("alias") for one in await bench.execute("query-machines")}
    creatable = [kind for kind in _IMAGES if await _created(bench, kind)]
    with (bench.folder / "raw.image").open("xb") as raw:
        raw.truncate(SIZE)
    await _with_bitmap(bench)
    return Materials(
        bench,
        schema,
        schema.values("blockdev-add", "driver"),
        frozenset(creatable),
        next((one for one in _MACHINES if one in machines | aliases), None),
    )


async def _created(bench: Throwaway, kind: str) -> bool:
    """Make an image; whether this QEMU can."""
    (bench.folder / f"{kind}.image").touch()
    try:
        await bench.execute("blockdev-add", _file(kind))
        options = {**_IMAGES[kind], "file": f"{kind}-file", "size": SIZE}
        await bench.execute("blockdev-create", {"job-id": kind, "options": options})
    except QemuRefusedError:  # it was built without
        return False
    await bench.event("JOB_STATUS_CHANGE", id=kind, status="concluded")
    (job,) = await bench.execute("query-jobs")
    await bench.execute("job-dismiss", {"id": kind})
    await bench.execute("blockdev-del", {"node-name": f"{kind}-file"})
    return "error" not in job


def _file(kind: str) -> dict[str, Any]:
    return {"driver": "file", "node-name": f"{kind}-file", "filename": f"{kind}.image"}


async def _with_bitmap(bench: Throwaway) -> None:
    """Make an image with a stored bitmap, and one of which the bitmap was in use when its QEMU died."""
    shutil.copyfile(bench.folder / "plain.image", bench.folder / "stored.image")
    file = {"driver": "file", "filename": "stored.image"}
    words = {"driver": "qcow2", "node-name": "stored", "file": file}
    await bench.execute("blockdev-add", words)
    await bench.execute("block-dirty-bitmap-add", {"node": "stored", "name": "b0", "persistent": True})
    await make_dirty(bench, "stored", "b0", DIRTY)
    await bench.execute("blockdev-del", {"node-name": "stored"})
    await bench.execute("blockdev-add", words)
    # an image is marked in use when it is opened: this is what a power failure would leave now
    shutil.copyfile(bench.folder / "stored.image", bench.folder / "crashed.image")
    await bench.execute("blockdev-del", {"node-name": "stored"})


async def make_dirty(qemu: Throwaway, node: str, bitmap: str, granules: Sequence[int], size: int = SIZE) -> None:
    """Make granules of a bitmap dirty whatever its node and it are like: by a node of our own, and a merge."""
    source = {"node": "dirty0", "name": "dirty"}
    writes = (f'qemu-io dirty0 "write -q {GRANULE * granule} 512"' for granule in granules)
    await qemu.execute_all(
        (
            Message("blockdev-add", {"driver": "null-co", "node-name": "dirty0", "size": size}),
            Message("block-dirty-bitmap-add", source | {"granularity": GRANULE}),
            *(Message("human-monitor-command", {"command-line": write}) for write in writes),
            Message("block-dirty-bitmap-merge", {"node": node, "target": bitmap, "bitmaps": [source]}),
            Message("block-dirty-bitmap-remove", source),
            Message("blockdev-del", {"node-name": "dirty0"}),
        )
    )

"""BlockGraph + a throw-away QEMU -> the same graph, real: nodes, devices, bitmaps, exports and jobs.

Explicit names stay; a generated name becomes another generated name, which `Built.names` tells. In the order in which
the graph lists things, as far as one needs another.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bitmapmig.allowlist import Message
from bitmapmig.qapi import NodeName
from bitmapmig.throwaway import bounds, images
from bitmapmig.throwaway.blueprint import Blueprint
from bitmapmig.throwaway.contents import Bits, add_bitmaps, fill
from bitmapmig.throwaway.guests import Guests
from bitmapmig.throwaway.match import match
from bitmapmig.throwaway.reason import NotBuiltError
from bitmapmig.throwaway.session import QemuRefusedError
from bitmapmig.throwaway.words import IMAGES, THROTTLE_GROUP, Materials, Words, materials
from bitmapmig.throwaway.works import Works

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bitmapmig.graph import Bitmap, BlockGraph, Node
    from bitmapmig.qapi import BitmapName
    from bitmapmig.throwaway.process import Throwaway

#: What may stand in a line of the human monitor: each text of it must be one of these.
_SAFE = re.compile("[A-Za-z][A-Za-z0-9._-]*")
_GENERATED = re.compile("#block[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Built:
    """What was built. `names` is graph node-name -> node-name in the QEMU, for every node.

    `substituted` says of a node, or of an export or a job, what stands for what it was; `graph` is what QEMU shows.
    `files` is node that is a file -> file in the folder, `images` format node -> file of each qcow2 image.
    """

    names: Mapping[NodeName, NodeName]
    graph: BlockGraph
    substituted: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[NodeName, str] = field(default_factory=dict)
    images: Mapping[NodeName, str] = field(default_factory=dict)


async def build(
    qemu: Throwaway,
    graph: BlockGraph,
    bits: Mapping[tuple[NodeName, BitmapName], Sequence[int]] | None = None,
    *,
    filled: bool = False,
    files: Mapping[NodeName, str] | None = None,
    shared: Mapping[NodeName, str] | None = None,
) -> Built:
    """Build `graph` on `qemu`, whose machine is `machine_for(graph)`; `bits` are offsets (bytes) that are to be dirty.

    With `filled` every image and every file holds data, so that a job that is started later has something to copy.
    `files` are images of an earlier QEMU in the same folder, by the node that is the file: then none is made. `shared`
    are images of another QEMU, which may have them open while this one waits for a migration: what is not among them is
    made. Both are as `Built.files` tells them.

    Raises `NotBuiltError` where something cannot be made so; the QEMU then is of no further use. Raises
    `QemuGoneError`, `TimeoutError`, `CannotRunError` where it fails.
    """
    bounds.check(graph, images=IMAGES, data=images.DATA if filled else 0)
    limit = asyncio.timeout(bounds.SECONDS)
    try:
        async with limit:
            blueprint = Blueprint(graph, waiting=qemu.incoming)
            found = materials(blueprint, qemu.name)
            if filled:
                found.fill()
            found.reuse({**(files or {}), **(shared or {})}, whole=files is not None)
            await images.make(qemu, blueprint, found, bits or {})
            builder = _Builder(qemu, blueprint, found, bits or {})
            await builder.build()
            return await builder.built()
    except QemuRefusedError as error:
        raise NotBuiltError(str(error)) from error
    except RecursionError as error:
        raise NotBuiltError("its nodes are on top of each other too deeply") from error
    except TimeoutError as error:
        if not limit.expired():
            raise
        msg = f"it takes longer than {bounds.SECONDS:g} s"
        raise NotBuiltError(msg) from error


async def make_images(qemu: Throwaway, graph: BlockGraph, prefix: str) -> Mapping[NodeName, str]:
    """Make the images of `graph` in the folder of `qemu`, and open none; the file of each node that is one.

    Names of files begin with `prefix`. Raises as `build`.
    """
    bounds.check(graph, images=IMAGES)
    blueprint = Blueprint(graph)
    found = materials(blueprint, prefix)
    await images.make(qemu, blueprint, found, {})
    return found.files


class _Builder:
    """One graph on its way into one QEMU."""

    def __init__(
        self,
        qemu: Throwaway,
        blueprint: Blueprint,
        found: Materials,
        bits: Mapping[tuple[NodeName, BitmapName], Sequence[int]],
    ) -> None:
        self.qemu = qemu
        self.blueprint = blueprint
        self.found = found
        self.bits = bits
        self.names: dict[NodeName, NodeName] = {name: name for name in blueprint.graph.nodes if name[:1] != "#"}
        self.words = Words(blueprint, found, self.names)
        self.works = Works(qemu, blueprint, found, self.names)
        self._made: set[NodeName] = set()
        self._devices: set[str] = set()
        self._overlay_files: dict[NodeName, str] = {}
        #: commands that wait to be sent in one go, and the node that each is about
        self._queue: list[tuple[Message, NodeName]] = []

    async def build(self) -> None:
        graph = self.blueprint.graph
        if any(node.driver == "throttle" for node in graph.nodes.values()):
            await self.qemu.execute("object-add", {"qom-type": "throttle-group", "id": THROTTLE_GROUP})
        for name in self.blueprint.order:
            await self._ensure(name)
        await self._empty_devices(len(graph.listed_backends))
        await self._flush()
        await Guests(self.qemu, self.blueprint, self.names).add(self._learn)
        await self._overlays()
        await self._bitmaps()
        await self._fill()
        await self.works.start(self._learn)

    async def built(self) -> Built:
        match(self.blueprint, shown := await self.qemu.graph(), self.names, whole=True)
        missing = self.blueprint.graph.nodes.keys() - self.names.keys()
        if missing:
            raise NotBuiltError("it cannot be told which node it has become", min(missing))
        told = {
            str(name): f"{shown.nodes[self.names[name]].driver} in place of {node.driver}"
            for name, node in self.blueprint.graph.nodes.items()
            if shown.nodes[self.names[name]].driver != node.driver
        }
        files, kept = self._files()
        return Built(dict(self.names), shown, told | self.works.substituted, files, kept)

    def _files(self) -> tuple[dict[NodeName, str], dict[NodeName, str]]:
        """The files of nodes, and the qcow2 images."""
        graph = self.blueprint.graph
        files = dict(self.found.files)
        kept = {image.node: image.file for image in self.found.images.values()}
        for top, file in (*self._overlay_files.items(), *self.works.files.items()):
            below = dict(graph.children(top)).get("file")
            files |= {below: file} if below is not None else {}
            kept[top] = file
        return files, {node: file for node, file in kept.items() if graph.nodes[node].driver == "qcow2"}

    # nodes

    async def _ensure(self, name: NodeName) -> None:
        """Build the node, and what it needs, unless it is there."""
        if name in self._made:
            return
        creator = self.blueprint.creator(name)
        if creator is not None:
            await self._ensure(creator)
            return
        for below in self.words.references(name):
            await self._ensure(below)
            if below not in self.names:
                await self._learn()
        tree = self.words.tree(name)
        device = self.blueprint.device(name)
        if device is not None:
            await self._drive(device, tree)
        else:
            self._queue.append((Message("blockdev-add", tree), name))
        self._made |= set(self.words.together(name))

    async def _flush(self) -> None:
        """Send what waits."""
        queue, self._queue = self._queue, []
        try:
            await self.qemu.execute_all([message for message, _ in queue])
        except QemuRefusedError as error:
            raise NotBuiltError(str(error), queue[error.number][1]) from error

    async def _drive(self, device: str, tree: dict[str, Any]) -> None:
        """A named backend with its root; nothing but `drive_add` makes one, and that takes a line of text."""
        backends = self.blueprint.graph.listed_backends
        await self._empty_devices(next(n for n, one in enumerate(backends) if one.device == device))
        for name in (device, *_texts(tree)):
            # a node that was to have a generated name has one of this QEMU
            ours = name in self.names.values() and _GENERATED.fullmatch(name)
            if not (_SAFE.fullmatch(name) or ours):
                raise NotBuiltError("this name cannot be given to a line of the human monitor", name)
        read_only = "on" if tree.pop("read-only") else "off"
        listed = json.dumps(tree, separators=(",", ":")).replace(",", ",,")
        await self._drive_add(device, f",read-only={read_only},file=json:{listed}")

    async def _empty_devices(self, before: int) -> None:
        """The named backends without a medium that come before backend number `before`."""
        for backend in self.blueprint.graph.listed_backends[:before]:
            if backend.device and backend.root is None and backend.device not in self._devices:
                await self._drive_add(backend.device, "")

    async def _drive_add(self, device: str, options: str) -> None:
        if not _SAFE.fullmatch(device):
            raise NotBuiltError("this device name cannot be given to a line of the human monitor", device)
        await self._flush()
        said = await self.qemu.human(f"drive_add 0 if=none,id={device}{options}")
        if said != "OK":
            msg = f"drive_add: {said}"
            raise NotBuiltError(msg, device)
        self._devices.add(device)

    async def _overlays(self) -> None:
        """Take the snapshots, and find out the names of their overlays."""
        for number, (overlay, base) in enumerate(self.blueprint.overlays.items()):
            if base not in self.names:
                await self._learn()
            device = self.blueprint.device(self.blueprint.settled(base))
            file = self._overlay_files[overlay] = f"{self.qemu.name}-overlay-{number}.qcow2"
            words = {"device": device, "snapshot-file": file}
            self._queue.append((Message("blockdev-snapshot-sync", words | {"format": "qcow2"}), overlay))
            await self._flush()
            shown = await self.qemu.graph()
            taken = self.names.values()
            parents = [name for kind, name in shown.parents(self.names[base]) if kind == "node" and name not in taken]
            if len(parents) != 1:
                raise NotBuiltError("it cannot be told which node it has become", overlay)
            self.names[overlay] = NodeName(parents[0])

    async def _learn(self) -> None:
        """Find out which generated names QEMU has given."""
        await self._flush()
        match(self.blueprint, await self.qemu.graph(), self.names, whole=False)

    # bitmaps

    async def _bitmaps(self) -> None:
        """Add those that no image holds."""
        nodes = self.blueprint.graph.nodes
        places = [name for name in (*self.blueprint.order, *self.blueprint.overlays) if nodes[name].bitmaps]
        if any(name not in self.names for name in places):
            await self._learn()
        wanted = [(name, bitmap) for name in places for bitmap in self._new(nodes[name])]
        for name, bitmap in wanted:
            if bitmap.inconsistent:
                msg = f"the bitmap {bitmap.name!r} is inconsistent, and no image holds it"
                raise NotBuiltError(msg, name)
        try:
            await add_bitmaps(self.qemu, [(self.names[name], _arguments(bitmap)) for name, bitmap in wanted])
        except QemuRefusedError as error:
            raise NotBuiltError(str(error), wanted[error.number][0]) from error

    def _new(self, node: Node) -> list[Bitmap]:
        """The bitmaps that are not loaded from an image, oldest first."""
        rank = {bitmap: number for number, bitmap in enumerate(self.blueprint.graph.listing.get(node.name, ()))}
        new = [one for one in node.bitmaps if not (one.persistent and node.stored_bitmap(one.name))]
        return sorted(new, key=lambda one: -rank.get(one.name, len(rank)))

    async def _fill(self) -> None:
        """Set the bits that are wanted in them."""
        wanted = []
        for (name, bitmap), offsets in self.bits.items():
            node = self.blueprint.graph.nodes[name]
            found = next((one for one in self._new(node) if one.name == bitmap), None)
            if found is not None and node.virtual_size is not None:
                wanted.append(Bits(self.names[name], bitmap, node.virtual_size, found.granularity, tuple(offsets)))
        await fill(self.qemu, wanted)


def _arguments(bitmap: Bitmap) -> dict[str, Any]:
    return {
        "name": bitmap.name,
        "granularity": bitmap.granularity,
        "persistent": bitmap.persistent,
        "disabled": not bitmap.recording,
    }


def _texts(tree: object) -> list[str]:
    """Every text in the options of a node: names of options, of nodes, of drivers and of files."""
    if isinstance(tree, list):
        return [text for one in tree for text in _texts(one)]
    if isinstance(tree, dict):
        return [text for key, one in tree.items() for text in (key, *_texts(one))]
    return [tree] if isinstance(tree, str) else []

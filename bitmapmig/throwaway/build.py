"""BlockGraph + a throw-away QEMU -> the same graph, real: nodes, devices, bitmaps, exports and jobs.

Explicit names stay; a generated name becomes another generated name, which `Built.names` tells. In the order in which
the graph lists things, as far as one needs another.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bitmapmig.allowlist import Message
from bitmapmig.qapi import NodeName
from bitmapmig.throwaway import images
from bitmapmig.throwaway.blueprint import Blueprint
from bitmapmig.throwaway.contents import Bits, fill
from bitmapmig.throwaway.guests import Guests
from bitmapmig.throwaway.match import match
from bitmapmig.throwaway.reason import NotBuiltError
from bitmapmig.throwaway.session import QemuRefusedError
from bitmapmig.throwaway.words import THROTTLE_GROUP, Materials, Words, materials
from bitmapmig.throwaway.works import Works

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bitmapmig.graph import Bitmap, BlockGraph, Node
    from bitmapmig.qapi import BitmapName
    from bitmapmig.throwaway.process import Throwaway

#: What may stand in a line of the human monitor: a name that QEMU takes for an id, or one that it generated.
_SAFE = re.compile(r"[A-Za-z][A-Za-z0-9._-]*|#block[0-9]+")

#: Bytes of memory that the bitmaps of a graph may take: a bit for each granule.
MEMORY = 1 << 30

#: Nodes of the largest graph that is built.
NODES = 10_000


@dataclass(frozen=True, slots=True)
class Built:
    """What was built. `names` is graph node-name -> node-name in the QEMU, for every node.

    `substituted` says of a node, or of an export or a job, what stands for what it was; `graph` is what QEMU shows.
    """

    names: Mapping[NodeName, NodeName]
    graph: BlockGraph
    substituted: Mapping[str, str] = field(default_factory=dict)


async def build(
    qemu: Throwaway,
    graph: BlockGraph,
    bits: Mapping[tuple[NodeName, BitmapName], Sequence[int]] | None = None,
    *,
    filled: bool = False,
    files: Mapping[NodeName, str] | None = None,
) -> Built:
    """Build `graph` on `qemu`, whose machine is `machine_for(graph)`; `bits` are offsets (bytes) that are to be dirty.

    With `filled` every image and every file holds data, so that a job that is started later has something to copy.
    `files` are images of an earlier QEMU in the same folder, by the node that is the file: then none is made.

    Raises `NotBuiltError` where something cannot be made so; the QEMU then is of no further use. Raises
    `QemuGoneError`, `TimeoutError`, `CannotRunError` where it fails.
    """
    _check_bounds(graph)
    try:
        blueprint = Blueprint(graph, waiting=qemu.incoming)
        found = materials(blueprint, qemu.name)
        if filled:
            found.fill()
        if files is None:
            await images.make(qemu, blueprint, found, bits or {})
        else:
            found.reuse(files)
        builder = _Builder(qemu, blueprint, found, bits or {})
        await builder.build()
        return await builder.built()
    except QemuRefusedError as error:
        raise NotBuiltError(str(error)) from error
    except RecursionError as error:
        raise NotBuiltError("its nodes are on top of each other too deeply") from error


async def make_images(qemu: Throwaway, graph: BlockGraph, prefix: str) -> Mapping[NodeName, str]:
    """Make the images of `graph` in the folder of `qemu`, and open none; the file of each node that is one.

    Names of files begin with `prefix`. Raises as `build`.
    """
    _check_bounds(graph)
    blueprint = Blueprint(graph)
    found = materials(blueprint, prefix)
    await images.make(qemu, blueprint, found, {})
    return found.files


def _check_bounds(graph: BlockGraph) -> None:
    if len(graph.nodes) > NODES:
        msg = f"it has more than {NODES} nodes"
        raise NotBuiltError(msg)
    taken = sum(
        (node.virtual_size or 0) // max(granularity, 1) // 8
        for node in graph.nodes.values()
        for granularity in (*(one.granularity for one in node.bitmaps), *(one.granularity for one in node.stored or ()))
    )
    if taken > MEMORY:
        msg = f"its bitmaps would take {taken} bytes of memory"
        raise NotBuiltError(msg)


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
        for name in (*self.blueprint.order, *self.blueprint.overlays):
            await self._bitmaps(name)
        await self._flush()
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
        return Built(dict(self.names), shown, told | self.works.substituted)

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
        for name in (device, *_names(tree)):
            if not _SAFE.fullmatch(name):
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
        if not _SAFE.fullmatch(device) or device.startswith("#"):
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
            words = {"device": device, "snapshot-file": f"{self.qemu.name}-overlay-{number}.qcow2"}
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

    async def _bitmaps(self, name: NodeName) -> None:
        node = self.blueprint.graph.nodes[name]
        if not node.bitmaps:
            return
        if name not in self.names:
            await self._learn()
        for bitmap in self._new(node):
            if bitmap.inconsistent:
                msg = f"the bitmap {bitmap.name!r} is inconsistent, and no image holds it"
                raise NotBuiltError(msg, name)
            words = {"node": self.names[name], **_arguments(bitmap)}
            self._queue.append((Message("block-dirty-bitmap-add", words), name))

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


def _names(tree: object) -> list[str]:
    """Every name in the options of a node: its own, and those of nodes that it refers to."""
    if isinstance(tree, list):
        return [name for one in tree for name in _names(one)]
    if isinstance(tree, dict):
        own = ("driver", "filename", "throttle-group")
        return [name for key, one in tree.items() if key not in own for name in _names(one)]
    return [tree] if isinstance(tree, str) else []

"""Guest devices: an id of a user goes over QMP as JSON; the machine has buses to plug them into.

`pc` starts as fast as `none` does and takes PCI devices while it runs. What no query shows, the kind of a device, is
told from where QEMU shows it: virtio-blk by its path, SCSI and IDE by the plain id; SCSI stands for both.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bitmapmig.throwaway.reason import NotBuiltError
from bitmapmig.throwaway.session import QemuRefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from bitmapmig.graph import Backend, BlockGraph
    from bitmapmig.qapi import NodeName
    from bitmapmig.throwaway.blueprint import Blueprint
    from bitmapmig.throwaway.process import Throwaway

_VIRTIO = re.compile(r"/machine/peripheral/([^/]+)/virtio-backend")
_NUMBERED = re.compile(r"/machine/peripheral-anon/device\[(\d{1,4})\](/virtio-backend)?")
_CONTROLLER = "bitmapmig-scsi"
#: PCI slots of `pc` that are free, and functions of a slot: 0 comes last, since with it the guest sees the slot.
_SLOTS, _FUNCTIONS = range(3, 32), range(7, -1, -1)


def machine_for(graph: BlockGraph) -> str:
    """The machine type that a throw-away QEMU needs for the guest devices of a graph."""
    return "pc" if any(one.qdev for one in graph.backends) else "none"


def _places(needed: int) -> list[str]:
    """Where so many devices go: each into a slot of its own, and into shared ones only what is beyond that.

    A guest lets go of a slot with all that is in it, so who shares one cannot be unplugged alone.
    """
    beyond = max(needed - len(_SLOTS), 0)
    own = _SLOTS[: max(len(_SLOTS) - -(-beyond // (len(_FUNCTIONS) - 1)), 0)]
    shared = [f"{slot:x}.{function}" for slot in _SLOTS[len(own) :] for function in _FUNCTIONS]
    return [f"{slot:x}.0" for slot in own] + shared


class Guests:
    """The guest devices of one graph on one QEMU."""

    def __init__(self, qemu: Throwaway, blueprint: Blueprint, names: Mapping[NodeName, NodeName]) -> None:
        self._qemu = qemu
        self._blueprint = blueprint
        self._names = names
        self._places = iter(_places(self._needed()))
        self._controller = False
        self._numbered = 0

    async def add(self, learn: Callable[[], Awaitable[None]]) -> None:
        """Plug all of them, in the order of the graph; `learn` finds generated node-names. Raises `NotBuiltError`."""
        backends = zip(self._blueprint.graph.listed_backends, self._blueprint.roots, strict=True)
        for backend, root in backends:
            if backend.qdev is None:
                continue
            if root is not None and root not in self._names:
                await learn()
            await self._add(backend, root)

    async def _add(self, backend: Backend, root: NodeName | None) -> None:
        qdev = backend.qdev or ""
        virtio, numbered = _VIRTIO.fullmatch(qdev), _NUMBERED.fullmatch(qdev)
        if numbered is not None:
            await self._number(int(numbered[1]), qdev)
        if virtio is not None or (numbered is not None and numbered[2]):
            words: dict[str, Any] = {"driver": "virtio-blk-pci", **self._place()}
        elif qdev.startswith("/") and numbered is None:
            raise NotBuiltError("what kind of guest device this is cannot be told", qdev)
        else:
            await self._need_controller()
            words = {"driver": "scsi-cd" if root is None else "scsi-hd", "bus": f"{_CONTROLLER}.0"}
        if numbered is None:
            words["id"] = virtio[1] if virtio else qdev
        if backend.device is not None:
            words["drive"] = backend.device
        elif root is not None:
            words["drive"] = self._names[root]
        if root is not None and self._shared(root):
            words["share-rw"] = True
        await self._plug(words, qdev)
        self._numbered += numbered is not None

    async def _plug(self, words: dict[str, Any], qdev: str) -> None:
        try:
            await self._qemu.execute("device_add", words)
        except QemuRefusedError as error:
            raise NotBuiltError(str(error), qdev) from error

    def _place(self) -> dict[str, Any]:
        place = next(self._places, None)
        if place is None:
            raise NotBuiltError("there are more guest devices than a machine has places for")
        return {"addr": place, "multifunction": True}

    def _needed(self) -> int:
        """How many places the guest devices take, with the SCSI controller and what only counts."""
        listed = [one.qdev for one in self._blueprint.graph.backends if one.qdev is not None]
        numbered = [found for qdev in listed if (found := _NUMBERED.fullmatch(qdev))]
        counted = max((int(found[1]) + 1 for found in numbered), default=0)
        virtio = sum(qdev.endswith("/virtio-backend") for qdev in listed)
        return virtio + (virtio < len(listed)) + counted - len(numbered)

    async def _need_controller(self) -> None:
        if not self._controller:
            self._controller = True
            await self._plug({"driver": "virtio-scsi-pci", "id": _CONTROLLER, **self._place()}, _CONTROLLER)

    async def _number(self, number: int, qdev: str) -> None:
        """Let the next device without an id get that number: QEMU counts all of them, disks or not."""
        if number < self._numbered or number > len(_SLOTS):
            msg = f"a guest device cannot be given the number {number}"
            raise NotBuiltError(msg, qdev)
        while self._numbered < number:
            await self._plug({"driver": "virtio-scsi-pci", **self._place()}, qdev)
            self._numbered += 1

    def _shared(self, root: NodeName) -> bool:
        """Whether something else writes to the node as well, be it an export that stands for what keeps a bitmap busy.

        An overlay that a snapshot puts on it later is used by the device as well.
        """
        graph = self._blueprint.graph
        below = set(self._blueprint.below(root))
        written = below | {one for one in self._blueprint.overlays if self._blueprint.settled(one) == root}
        others = [one for one in self._blueprint.roots if one is not None and one != root]
        return (
            self._blueprint.roots.count(root) > 1
            or any(below & set(self._blueprint.below(one)) for one in others)
            or any(export.node in written and export.writable for export in graph.exports)
            or any(bitmap.busy and bitmap.recording for name in written for bitmap in graph.nodes[name].bitmaps)
        )

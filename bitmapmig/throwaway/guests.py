"""Guest devices: an id of a user goes over QMP as JSON; the machine has buses to plug them into.

`pc` starts as fast as `none` does and takes PCI devices while it runs. What no query shows, the kind of a device, is
told from where QEMU shows it: virtio-blk by its path, SCSI and IDE by the plain id; SCSI stands for both.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bitmapmig.allowlist import Message
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
#: Places in a queue: the most. 10.0 takes a queue that no guest has touched for one of this size, whatever it is, and
#: 11.1 refuses a migration of more places than there are.
_QUEUE = 1024
#: Targets of a SCSI controller.
_TARGETS = 256
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


def _kind(qdev: str) -> str:
    """What kind of device has this id or path: `virtio` or `scsi`. Raises `NotBuiltError`."""
    numbered = _NUMBERED.fullmatch(qdev)
    if _VIRTIO.fullmatch(qdev) or (numbered is not None and numbered[2]):
        return "virtio"
    if qdev.startswith("/") and numbered is None:
        raise NotBuiltError("what kind of guest device this is cannot be told", qdev)
    return "scsi"


def _at(place: str | None) -> dict[str, Any]:
    """The options for a place on the PCI bus. Raises `NotBuiltError`."""
    if place is None:
        raise NotBuiltError("there are more guest devices than a machine has places for")
    return {"addr": place, "multifunction": True}


class Guests:
    """The guest devices of one graph on one QEMU."""

    def __init__(self, qemu: Throwaway, blueprint: Blueprint, names: Mapping[NodeName, NodeName]) -> None:
        self._qemu = qemu
        self._blueprint = blueprint
        self._names = names
        self._kinds = {one.qdev: _kind(one.qdev) for one in blueprint.graph.listed_backends if one.qdev is not None}
        virtio = [qdev for qdev, kind in self._kinds.items() if kind == "virtio"]
        scsi = sorted(qdev for qdev, kind in self._kinds.items() if kind == "scsi")
        needed = len(virtio) + bool(scsi) + self._fillers()
        places = _places(needed)
        # out of the way of what the other end has as well; but function 0 of a slot that is shared has to come last
        self._controller = places.pop(-1 if needed <= len(_SLOTS) else 0) if scsi else None
        # by id where there is room, so that both ends of a migration have the same device in the same place
        ordered = sorted(virtio) if len(places) < len(_SLOTS) else virtio
        self._place_of = dict(zip(ordered, places, strict=False))
        self._left = iter(places[len(ordered) :])
        self._rank = {qdev: rank for rank, qdev in enumerate(scsi)}
        self._numbered = 0
        #: commands that are to be sent in one go, and the device that each is about
        self._queue: list[tuple[Message, str]] = []

    async def add(self, learn: Callable[[], Awaitable[None]]) -> None:
        """Plug all of them, in the order of the graph; `learn` finds generated node-names. Raises `NotBuiltError`."""
        backends = zip(self._blueprint.graph.listed_backends, self._blueprint.roots, strict=True)
        devices = [(backend, root) for backend, root in backends if backend.qdev is not None]
        if any(root is not None and root not in self._names for _, root in devices):
            await learn()
        if self._rank:
            self._plug(self._bus(self._controller) | {"id": _CONTROLLER}, _CONTROLLER)
        for backend, root in devices:
            self._add(backend, backend.qdev or "", root)
        try:
            await self._qemu.execute_all([message for message, _ in self._queue])
        except QemuRefusedError as error:
            raise NotBuiltError(str(error), self._queue[error.number][1]) from error

    def _add(self, backend: Backend, qdev: str, root: NodeName | None) -> None:
        virtio, numbered = _VIRTIO.fullmatch(qdev), _NUMBERED.fullmatch(qdev)
        if numbered is not None:
            self._number(int(numbered[1]), qdev)
        if self._kinds[qdev] == "virtio":
            words = {"driver": "virtio-blk-pci", "queue-size": _QUEUE, **_at(self._place_of.get(qdev))}
        else:
            driver, rank = "scsi-cd" if root is None else "scsi-hd", self._rank[qdev]
            words = {"driver": driver, "bus": f"{_CONTROLLER}.0", "scsi-id": rank % _TARGETS, "lun": rank // _TARGETS}
        if numbered is None:
            words["id"] = virtio[1] if virtio else qdev
        if backend.device is not None:
            words["drive"] = backend.device
        elif root is not None:
            words["drive"] = self._names[root]
        if root is not None and self._shared(root):
            words["share-rw"] = True
        self._plug(words, qdev)
        self._numbered += numbered is not None

    def _plug(self, words: dict[str, Any], qdev: str) -> None:
        self._queue.append((Message("device_add", words), qdev))

    def _bus(self, place: str | None) -> dict[str, Any]:
        return {"driver": "virtio-scsi-pci", "virtqueue_size": _QUEUE, **_at(place)}

    def _fillers(self) -> int:
        """How many devices are plugged only so that others get their number."""
        numbers = [int(found[1]) for qdev in self._kinds if (found := _NUMBERED.fullmatch(qdev))]
        return max(numbers, default=-1) + 1 - len(numbers)

    def _number(self, number: int, qdev: str) -> None:
        """Let the next device without an id get that number: QEMU counts all of them, disks or not."""
        if number < self._numbered or number > len(_SLOTS):
            msg = f"a guest device cannot be given the number {number}"
            raise NotBuiltError(msg, qdev)
        while self._numbered < number:
            self._plug(self._bus(next(self._left, None)), qdev)
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

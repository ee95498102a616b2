"""Guest devices that are plugged and unplugged while the guest runs.

Which buses are there, and which of them take a device, is in no query: they are taken to fit, but for those that never
take one. Nothing happens to a bitmap when its node gets a device or loses it, unless the node goes too; whether writes
of the guest reach it changes. Sources: `qmp_device_add`, `qmp_device_del`, `parse_drive`, `blockdev_auto_del`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import ConfigDict

from bitmapmig.graph import NOT_FILTERS, Backend
from bitmapmig.qapi import NodeName
from bitmapmig.transforms.operation import Operation
from bitmapmig.transforms.permissions import refuse_excluded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitmapmig.transforms.draft import Draft

_ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
_VIRTIO = "/virtio-backend"
#: Drivers of disks -> how `query-block` names one of an id: by its place in QEMU's object tree, or by the id alone.
_QDEVS: Mapping[str, str] = {
    **dict.fromkeys(
        ("virtio-blk", "virtio-blk-pci", "virtio-blk-pci-transitional", "virtio-blk-pci-non-transitional"),
        f"/machine/peripheral/{{0}}{_VIRTIO}",
    ),
    **dict.fromkeys(("scsi-hd", "scsi-cd", "nvme"), "{0}"),
    "usb-storage": "/machine/peripheral/{0}/{0}.0/legacy[0]",
}
#: Drivers whose bus takes no device while the machine is there.
_NEVER = frozenset(("floppy", "ide-cd", "ide-hd"))
_CD = "scsi-cd"
#: From here on a virtio-scsi controller takes a backing image; nothing tells which controller there is.
_BACKING = (10, 0)
#: Up to the first, from the second on an id that is none is refused; 10.0 takes it.
_CHECKED = (7, 2), (11, 1)
Switch = Literal["on", "off"]


class DeviceAdd(Operation):
    """Plug a guest device; `drive` is the device name or the node-name of its disk.

    A device of `-drive` gets the guest device; over a node-name a backend of its own comes to be. A read-only node is
    taken, and is a read-only disk. Refused is a node that another device writes to, or an export, without `share-rw`
    (with it, it depends on `share-rw` of the other one, which no query shows: not simulated), and a device that has a
    guest device. A SCSI device over a backing image depends on the controller on 5.2 and 7.2: virtio-scsi refuses it,
    others take it; from 10.0 on all do. Other properties of the device are passed on, and change nothing here. Measured
    with virtio-blk-pci, scsi-hd, scsi-cd, usb-storage and nvme on 5.2, 7.2, 10.0 and 11.1; a device of another driver
    without `drive`, such as a controller, changes nothing.
    """

    model_config = ConfigDict(extra="allow")

    word: ClassVar[str] = "device_add"
    driver: str
    id: str | None = None
    drive: str | None = None
    share_rw: bool | Switch = False

    def act(self, draft: Draft) -> None:
        """Source: `qdev_device_add`."""
        if self.driver in _NEVER:
            draft.refuse(f"the bus of a device {self.driver!r} takes none while the machine is there")
        self._check_id(draft)
        if self.drive is None and self.driver != _CD:
            self._without_drive(draft)
        elif self.driver not in _QDEVS:
            draft.not_simulated(f"a device {self.driver!r} with a disk")
        elif self.id is None:
            draft.not_simulated("a disk without id gets a place by which devices came before it: give it an id")
        else:
            self._plug(draft, _QDEVS[self.driver].format(self.id))

    def _check_id(self, draft: Draft) -> None:
        if self.id is None:
            return
        if not _ID.fullmatch(self.id):
            last, first = _CHECKED
            if last < draft.release < first:
                draft.not_simulated(f"{self.id!r} is no id, and not every QEMU minds")
            draft.refuse(f"{self.id!r} is no id of a device")
        if any(one.guest_device == self.id for one in draft.backends):
            draft.refuse(f"there is a guest device {self.id!r} already")

    def _without_drive(self, draft: Draft) -> None:
        if self.driver in _QDEVS and self.driver != "nvme":
            draft.refuse(f"a device {self.driver!r} needs a `drive`")

    def _plug(self, draft: Draft, qdev: str) -> None:
        there = next((one for one in draft.backends if self.drive and one.device == self.drive), None)
        if there is not None and there.qdev:
            draft.refuse(f"the guest device {there.qdev!r} has {self.drive!r}")
        named = None if there is not None or self.drive is None else draft.node(self.drive)
        root = there.root if there is not None else named
        if root is not None:
            self._check_root(draft, root)
        elif self.driver != _CD:
            draft.refuse(f"device {self.drive!r} has no medium")
        if there is None:
            draft.backends.append(Backend(None, qdev, root))
        else:
            draft.backends[draft.backends.index(there)] = replace(there, qdev=qdev)

    def _check_root(self, draft: Draft, root: NodeName) -> None:
        if self.driver.startswith("scsi-") and draft.release < _BACKING and _is_backing(draft, root):
            draft.not_simulated(f"{root!r} is a backing image, which not every SCSI controller takes", node=root)
        writes = self.driver != _CD and not draft.nodes[root].read_only
        refuse_excluded(draft, root, writes=writes, shares_writes=self.share_rw in (True, "on"))


def _is_backing(draft: Draft, node: NodeName) -> bool:
    return any(role == "backing" and draft.nodes[parent].driver in NOT_FILTERS for parent, role in draft.parents(node))


class DeviceDel(Operation):
    """Unplug a guest device, by its id or its place in QEMU's object tree.

    A virtio-blk device goes when the guest lets it (`DEVICE_DELETED`): until then nothing changes. SCSI and USB disks
    go at once. A plain id in `query-block` is taken for a SCSI disk; an NVMe one looks alike, and goes when the guest
    lets it. What becomes of the node and its bitmaps: see `DEVICE_DELETED`.
    """

    word: ClassVar[str] = "device_del"
    id: str

    def act(self, draft: Draft) -> None:
        """Source: `qdev_unplug`."""
        found = [one for one in draft.backends if _is(one, self.id)]
        if not found:
            draft.not_simulated(
                f"there is no disk of a guest device {self.id!r}, and of other devices nothing is known"
            )
        for one in found:
            if not (one.qdev or "").endswith(_VIRTIO):
                _unplug(draft, one)


class DeviceDeleted(Operation):
    """A guest device is gone; nothing more happens where it was gone already.

    With the guest device of a `-drive` its device name and its nodes go as well: transient bitmaps are lost, persistent
    ones are stored. A node that the monitor holds (`-blockdev`, `blockdev-add`) stays with its bitmaps, which no write
    of the guest reaches any more. Measured on 5.2, 7.2, 10.0 and 11.1.
    """

    word: ClassVar[str] = "DEVICE_DELETED"
    kind: ClassVar[Literal["command", "event", "process"]] = "event"
    device: str | None = None
    path: str | None = None

    def act(self, draft: Draft) -> None:
        """Source: `device_unparent`."""
        names = [name for name in (self.device, self.path) if name is not None]
        if not names:
            draft.refuse("the event tells a `device` or a `path`")
        for one in [one for one in draft.backends if all(_is(one, name) for name in names)]:
            _unplug(draft, one)


def _is(backend: Backend, name: str) -> bool:
    """Whether the backend is that of the guest device of that id, or of one at that place."""
    if backend.qdev is None:
        return False
    place = backend.qdev if backend.qdev.startswith("/") else f"/machine/peripheral/{backend.qdev}"
    return backend.guest_device == name or f"{place}/".startswith(f"{name}/")


def _unplug(draft: Draft, backend: Backend) -> None:
    root = backend.root
    busy = next((job for job in draft.jobs.values() if job.active and root in job.nodes), None)
    if backend.device and busy is not None:
        draft.not_simulated(f"the job {busy.id!r}, which is cancelled with the device", node=root)
    draft.backends.remove(backend)
    if root is None:
        return
    if backend.device:
        # what a `-drive` has opened is never the monitor's, even where something else holds it a while longer
        for node in draft.below(root):
            draft.change(node, of_monitor=draft.held(node))
    draft.drop(root)

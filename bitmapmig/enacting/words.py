"""Arguments of an operation -> the same ones for a throw-away QEMU: nothing outside of its folder is named in them.

A scenario may come from a stranger. File names become names in the private folder, generated node-names those that this
QEMU has generated, and what would reach further is not enacted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitmapmig.throwaway import THROTTLE_GROUP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitmapmig.behaviour import Release
    from bitmapmig.qapi import NodeName
    from bitmapmig.transforms import Operation

#: The words whose `target` is a file; elsewhere it is a node.
_TARGET_IS_FILE = frozenset(("drive-mirror", "drive-backup"))
_FILE_KEYS = frozenset(("filename", "snapshot-file"))
#: Drivers without children that open nothing but a file of ours, or nothing at all.
_INSIDE = frozenset(("file", "null-co", "null-aio"))
#: Drivers whose children are all that they open.
_ABOVE = frozenset(("qcow2", "raw", "throttle", "copy-on-read", "preallocate", "compress"))
#: Options that get a value of ours: the one throttle group there is, and how much room is taken at once.
_OURS: Mapping[str, str | int] = {"throttle-group": THROTTLE_GROUP, "prealloc-size": 1 << 20}
#: Options that are not sent: what is only written into a header, and what makes the room taken at once larger.
_LEFT_OUT = frozenset(("backing-file", "prealloc-align"))
#: Devices that are disks, or that disks are plugged into, and those of their options that name nothing outside.
_DEVICES = frozenset(
    ("virtio-blk-pci", "scsi-hd", "scsi-cd", "usb-storage", "nvme", "virtio-scsi-pci", "lsi53c895a", "qemu-xhci")
)
_DEVICE_OPTIONS = frozenset(
    ("driver", "id", "drive", "bus", "addr", "scsi-id", "lun", "channel", "share-rw", "serial", "removable")
)
_SLOW_MIRROR = {"speed": 1, "granularity": 65536, "buf-size": 65536}
#: Jobs that stay where they are until a scenario says that they go on, and how that is reached.
_SLOW: Mapping[str, dict[str, Any]] = {
    "blockdev-mirror": _SLOW_MIRROR,
    "drive-mirror": _SLOW_MIRROR,
    "block-commit": {"speed": 1},
    "block-stream": {"speed": 1},
    "blockdev-backup": {"speed": 1},
    "drive-backup": {"speed": 1},
}
#: The first release whose backups copy several chunks at once, each of any length, before they heed a speed.
_CHUNKS = (6, 0)
_BACKUPS = frozenset(("blockdev-backup", "drive-backup"))
_SLOW_BACKUP = {"x-perf": {"max-workers": 1, "max-chunk": 65536}}


class NotEnactedError(Exception):
    """A step cannot be done to a throw-away QEMU; the text says why."""


class Words:
    """The arguments of steps, and the files that they name."""

    def __init__(self, side: str = "", release: Release = (0, 0)) -> None:
        """Begin without any file; the names of those of `side` begin with it. `release` is that of the QEMU."""
        self._side = side
        self._release = release
        self._files: dict[str, str] = {}
        self._prefixes = 0

    def prefix(self) -> str:
        """How the names of new files may begin."""
        self._prefixes += 1
        return f"{self._side}step-{self._prefixes}"

    def stands_for(self, name: str, file: str) -> None:
        """Let `file` in the private folder stand for `name` from now on."""
        self._files[name] = file

    def file(self, name: str) -> str:
        """The file in the private folder that stands for `name`."""
        return self._files.setdefault(name, f"{self.prefix()}.img")

    def of(self, operation: Operation, names: Mapping[NodeName, NodeName]) -> dict[str, Any]:
        """The arguments to send; `names` is generated node-name of the scenario -> that of the QEMU.

        Raises `NotEnactedError`.
        """
        if operation.word == "device_add":
            _check_device(operation.arguments)
        made: dict[str, Any] = self._made(operation.word, operation.arguments, names)
        self._slow_down(operation.word, made)
        return made

    def _slow_down(self, word: str, made: dict[str, Any]) -> None:
        """Let a job stay where it is, also one that a transaction begins."""
        for action in made.get("actions", ()) if word == "transaction" else ():
            self._slow_down(action["type"], action["data"])
        slow = _SLOW.get(word, {}) | (_SLOW_BACKUP if word in _BACKUPS and self._release >= _CHUNKS else {})
        for key, value in slow.items():
            made.setdefault(key, value)

    def _made(self, word: str, value: Any, names: Mapping[NodeName, NodeName]) -> Any:  # noqa: ANN401  raw JSON
        if isinstance(value, list):
            return [self._made(word, one, names) for one in value]
        if isinstance(value, str):
            return {str(name): real for name, real in names.items()}.get(value, value)
        if not isinstance(value, dict):
            return value
        if word != "device_add":
            _check_node(value)
        inner = str(value.get("type", word)) if word == "transaction" else word
        made: dict[str, Any] = {}
        for key, one in value.items():
            if isinstance(one, str) and (key in _FILE_KEYS or (key == "target" and inner in _TARGET_IS_FILE)):
                made[key] = self.file(one)
            elif key in _OURS:
                made[key] = _OURS[key]
            elif key not in _LEFT_OUT:
                made[key] = self._made(inner, one, names)
        return made


def _check_node(options: Mapping[str, Any]) -> None:
    """Raise `NotEnactedError` for options of a node that open what is not ours."""
    for key in ("driver", "format"):
        driver = options.get(key)
        if isinstance(driver, str) and driver not in _INSIDE | _ABOVE:
            msg = f"the driver {driver!r} may open what is no file of a throw-away QEMU"
            raise NotEnactedError(msg)


def _check_device(options: Mapping[str, Any]) -> None:
    """Raise `NotEnactedError` for a device that is none of a disk, or has options that may name a file."""
    strange = sorted(options.keys() - _DEVICE_OPTIONS)
    if options.get("driver") not in _DEVICES or strange:
        msg = f"a device {options.get('driver')!r} with {', '.join(map(repr, strange)) or 'its options'} is not known"
        raise NotEnactedError(msg)

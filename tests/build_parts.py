"""The parts of a hand-built QEMU: nodes, backends, jobs and exports, each from a few words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Raw: TypeAlias = dict[str, Any]

MIB = 1 << 20
SIZE = 16 * MIB  #: the virtual size of a node, where nothing is said about it
GRANULE = 65536


class Part:
    """Something that a QEMU is made of."""


@dataclass(frozen=True)
class NodeSpec(Part):
    """A block node: the record of `query-named-block-nodes`, and its children by role."""

    name: str
    driver: str
    record: Raw
    children: Mapping[str, str]


@dataclass(frozen=True)
class BackendSpec(Part):
    """A backend: `device` is empty for an anonymous one, `qdev` None where no guest device uses it."""

    device: str
    root: str | None
    qdev: str | None


@dataclass(frozen=True)
class JobSpec(Part):
    """A block job, and the nodes that it holds by role (`main node`, `source`, `target`)."""

    id: str
    type: str
    status: str
    nodes: Mapping[str, str]


@dataclass(frozen=True)
class ExportSpec(Part):
    """A block export; whether its clients may write shows in x-debug alone."""

    id: str
    type: str
    node: str
    writable: bool


def bitmap(name: str | None, *flags: str, granularity: int = GRANULE, count: int = 0) -> Raw:
    """A record of `dirty-bitmaps`; `flags` are among disabled, busy, persistent, inconsistent. Jobs' have no name."""
    bad = "inconsistent" in flags
    record = {
        "recording": not bad and "disabled" not in flags,
        "busy": "busy" in flags,
        "persistent": bad or "persistent" in flags,
        "granularity": granularity,
        "count": count,
    }
    return record | ({} if name is None else {"name": name}) | ({"inconsistent": True} if bad else {})


def stored(name: str, *, clean: bool = False, granularity: int = GRANULE) -> Raw:
    """A bitmap in a qcow2 image, marked in-use unless `clean`."""
    return {"name": name, "granularity": granularity, "flags": ["auto"] if clean else ["in-use", "auto"]}


def node(
    name: str,
    driver: str = "null-co",
    bitmaps: Iterable[str | Raw] = (),
    size: int | None = SIZE,
    stored: Iterable[str | Raw] = (),
    *,
    ro: bool | None = False,
    compat: str | None = "1.1",
    data_file: str | None = None,
    children: Mapping[str, str] | None = None,
    **roles: str,
) -> NodeSpec:
    """A node; its children are given by role, those whose role is no word in `children`; None leaves a member out."""
    image: Raw = {"filename": f"/images/{name}", "format": driver}
    if size is not None:
        image["virtual-size"] = size
    if driver == "qcow2":
        data: Raw = {"refcount-bits": 16, "lazy-refcounts": False, "corrupt": False}
        data |= {"compat": compat} if compat else {}
        images = [_stored(one) for one in stored]
        data |= {"bitmaps": images} if images else {}
        data |= {"data-file": f"/images/{data_file}"} if data_file else {}
        image["format-specific"] = {"type": "qcow2", "data": data}
    record: Raw = {"node-name": name, "drv": driver, "image": image, "file": f"/images/{name}", "iops": 0}
    record |= {} if ro is None else {"ro": ro}
    shown = [bitmap(one) if isinstance(one, str) else one for one in bitmaps]
    record |= {"dirty-bitmaps": shown} if shown else {}
    below = {**roles, **(children or {}), **({"data-file": data_file} if data_file else {})}
    return NodeSpec(name, driver, record, below)


def _stored(one: str | Raw) -> Raw:
    return stored(one) if isinstance(one, str) else one


def drive(device: str, root: str | None, qdev: str | None = None) -> BackendSpec:
    """A named backend, as `-drive` makes it; a guest device uses it where `qdev` is said."""
    return BackendSpec(device, root, qdev)


def guest(device: str, root: str | None) -> BackendSpec:
    """The anonymous backend of a guest device with the id `device`, as `-blockdev` and `-device` make it."""
    return BackendSpec("", root, f"/machine/peripheral/{device}/virtio-backend")


def job(name: str, kind: str, status: str = "running", *, main: str | None = None, **nodes: str) -> JobSpec:
    """A block job."""
    return JobSpec(name, kind, status, {**({"main node": main} if main else {}), **nodes})


def export(name: str, node: str, kind: str = "nbd", *, writable: bool = False) -> ExportSpec:
    """A block export."""
    return ExportSpec(name, kind, node, writable)

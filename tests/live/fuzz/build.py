"""World -> two real QEMUs, as far as QEMU lets itself be brought into such a state."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.live.fuzz import images
from tests.live.fuzz.world import Bitmap, Disk, Job, Node, Place, Side, World
from tests.live.migration import set_capability, set_mapping
from tests.live.monitor import QemuGoneError, QmpError
from tests.live.qemu import Binary, Qemu

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

GROUP = ("-object", "throttle-group,id=g0")


class Built:
    """A side of a world as it runs; `refused` is what QEMU would not do, in its words."""

    def __init__(self, qemu: Qemu, side: Side) -> None:
        self.qemu = qemu
        self.side = side
        self.refused: list[str] = []
        self._graph = qemu.qmp("x-debug-query-block-graph")
        #: the node-name at each place, as long as no job has put filters in between
        self.names: Mapping[Place, str] = {
            Place(disk=index, path=path): name
            for index, disk in enumerate(side.disks)
            for path, name in self._names(disk)
        }

    def _names(self, disk: Disk) -> Iterator[tuple[tuple[str, ...], str]]:
        kind, name = ("block-backend", disk.device) if disk.device else ("block-driver", disk.root.name)
        vertices = {vertex["id"]: vertex for vertex in self._graph["nodes"]}
        below = {(edge["parent"], edge["name"]): edge["child"] for edge in self._graph["edges"]}
        start = next(key for key, vertex in vertices.items() if (vertex["type"], vertex["name"]) == (kind, name))
        for path, _ in disk.root.walk():
            at: int | None = below.get((start, "root")) if disk.device else start
            for role in path:
                at = below.get((at, role)) if at is not None else None
            if at is not None:
                yield path, vertices[at]["name"]

    def attempt(self, command: str, **arguments: Any) -> bool:
        """Run a command; whether QEMU did it."""
        try:
            self.qemu.qmp(command, **arguments)
        except QmpError as error:
            self.refused.append(str(error))
            return False
        return True

    # bitmaps

    def add(self, bitmap: Bitmap) -> None:
        """Add a bitmap."""
        words = {"name": bitmap.name, "granularity": bitmap.granularity, "persistent": bitmap.persistent}
        self.attempt("block-dirty-bitmap-add", node=self.names.get(bitmap.at, "?"), **words)

    def write(self, granules: tuple[int, ...]) -> None:
        """Write to each disk from its root; not where it is read-only, which some filters take to be a bug."""
        for index, disk in enumerate(self.side.disks):
            if any(node.read_only for path, node in disk.root.walk() if "backing" not in path):
                continue
            root = disk.device or self.names[Place(disk=index)]
            if disk.guest and not disk.device:
                root = f"-d /machine/peripheral/disk{index}/virtio-backend"
            for granule in granules:
                self.qemu.hmp(f'qemu-io {root} "write -P 1 {granule * 65536} 4096"')

    def disable(self, bitmap: Bitmap) -> None:
        """Stop a bitmap from recording; one that an export is to show must not."""
        if bitmap.disabled or bitmap.busy == "export":
            self.attempt("block-dirty-bitmap-disable", node=self.names.get(bitmap.at, "?"), name=bitmap.name)

    def occupy(self, bitmap: Bitmap, number: int) -> None:
        """Make a bitmap busy."""
        node = self.names.get(bitmap.at, "?")
        if bitmap.busy == "export":
            self._serve()
            self.attempt("nbd-server-add", device=node, name=f"busy{number}", bitmap=bitmap.name)
        elif bitmap.busy == "backup":
            job = {"job_id": f"busy{number}", "target": self._target(node, f"busy{number}"), "auto_finalize": False}
            self.attempt("blockdev-backup", device=node, sync="incremental", bitmap=bitmap.name, **job)

    # jobs and exports

    def run(self, job: Job, number: int) -> None:
        """Start a job or an export."""
        disk = self.side.disks[job.at.disk]
        node = self.names.get(job.at, "?")
        device = disk.device if disk.device and not job.at.path else node
        name = f"job{number}"
        match job.kind:
            case "mirror" | "mirror-ready":
                words = {} if job.kind == "mirror-ready" else {"speed": 1, "granularity": 65536, "buf_size": 65536}
                target = self._target(node, name)
                started = self.attempt(
                    "blockdev-mirror", job_id=name, device=device, target=target, sync="full", **words
                )
                if started and job.kind == "mirror-ready":
                    with suppress(TimeoutError):
                        self.qemu.wait_event("BLOCK_JOB_READY", device=name)
            case "backup":
                target = self._target(node, name)
                self.attempt("blockdev-backup", job_id=name, device=device, target=target, sync="none")
            case "commit":
                self.attempt("block-commit", job_id=name, device=device, speed=1)
            case "stream":
                self.attempt("block-stream", job_id=name, device=device, speed=1)
            case "export" | "writable-export":
                self._serve()
                self.attempt("nbd-server-add", device=node, name=name, writable=job.kind == "writable-export")

    def _target(self, node: str, job: str) -> str:
        size = self.qemu.nodes().get(node, {}).get("image", {}).get("virtual-size", 1 << 20)
        self.attempt("blockdev-add", driver="null-co", node_name=f"target-{job}", size=size, read_zeroes=True)
        return f"target-{job}"

    def _serve(self) -> None:
        address = {"type": "unix", "data": {"path": f"{self.qemu.name}.nbd"}}
        with suppress(QmpError):  # it runs already
            self.qemu.qmp("nbd-server-start", addr=address)

    # maps

    @property
    def mapping(self) -> list[dict[str, Any]] | None:
        """The mapping that is wanted, with node-names as they are; None where none is."""
        if self.side.mapping is None:
            return None
        return [
            {
                "node-name": entry.node if isinstance(entry.node, str) else self.names.get(entry.node, "no-such-node"),
                "alias": entry.alias,
                "bitmaps": [
                    {"name": one.name, "alias": one.alias}
                    | ({} if one.persistent is None else {"transform": {"persistent": one.persistent}})
                    for one in entry.bitmaps
                ],
            }
            for entry in self.side.mapping
        ]

    def configure(self) -> bool:
        """Set the mapping and the capability; whether QEMU took all of it."""
        try:
            if self.mapping is not None:
                set_mapping(self.qemu, self.mapping)
            if self.side.capability:
                set_capability(self.qemu)
        except QmpError as error:
            self.refused.append(str(error))
            return False
        return True


# starting


def _tree(node: Node) -> dict[str, Any]:
    words: dict[str, Any] = {"driver": node.driver}
    if node.name is not None:
        words["node-name"] = node.name
    if node.size is not None:
        words |= {"size": node.size, "read-zeroes": True}
    if node.image is not None:
        words["filename"] = node.image
    if node.read_only:
        words["read-only"] = True
    if node.driver == "throttle":
        words["throttle-group"] = "g0"
    for role, child in node.children.items():
        words[role] = child if isinstance(child, str) else _tree(child)
    return words


def _flat(words: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in words.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
            yield f"{prefix}{key}={text.replace(',', ',,')}"


def words(disk: Disk) -> tuple[str, ...]:
    """The arguments that give QEMU a disk."""
    before: list[str] = []
    tree = _tree(disk.root)
    if disk.apart:
        tree = {role: _apart(below, before) for role, below in tree.items()}
    if disk.device is None:
        return *before, "-blockdev", json.dumps(tree)
    if isinstance(tree.get("file"), str):  # `file=NODE` would be a file's name
        listed = [f"file=json:{json.dumps(tree)}".replace(",", ",,")]
    else:
        listed = list(_flat(tree))
    return *before, "-drive", ",".join(("if=none", f"id={disk.device}", *listed))


def _apart(tree: Any, before: list[str]) -> Any:
    """The name of a node that is added to `before`, or the node, if it has no name, with what is below it apart."""
    if not isinstance(tree, dict):
        return tree
    found = {role: _apart(below, before) for role, below in tree.items()}
    if "node-name" not in found:
        return found
    before += ["-blockdev", json.dumps(found)]
    return found["node-name"]


def _started(binary: Binary, side: Side, name: str, folder: Path, machine: str) -> Qemu:
    arguments = [word for disk in side.disks for word in words(disk)]
    for index, disk in enumerate(side.disks):
        if disk.guest:
            node = disk.device or disk.root.name
            arguments += ["-device", f"virtio-blk-pci,id=disk{index},drive={node}"]
    incoming = name == "destination"
    if machine != "none":
        arguments += ["-m", "32"]
    paused = incoming or machine != "none"
    return Qemu(binary, *GROUP, *arguments, name=name, folder=folder, machine=machine, incoming=incoming, paused=paused)


def _machine(world: World, *ends: Binary) -> str:
    """The machine type; that of the older QEMU where there is a guest, since `q35` is another machine in each."""
    return "pc-q35-{}.{}".format(*min(binary.release for binary in ends)) if world.guest else "none"


@contextmanager
def built(world: World, source: Binary, destination: Binary) -> Iterator[tuple[Built, Built]]:
    """Both sides of a world, in the wanted state but for mappings and capabilities; both end with the `with`.

    Raises `QemuGoneError` where one does not start.
    """
    folder = Path(tempfile.mkdtemp(prefix="bitmapmig-"))
    try:
        images.put(world.images, folder)
        machine = _machine(world, source, destination)
        with ExitStack() as stack:
            here = stack.enter_context(_started(source, world.source, "source", folder, machine))
            there = stack.enter_context(_started(destination, world.destination, "destination", folder, machine))
            sides = Built(here, world.source), Built(there, world.destination)
            for side in sides:
                try:
                    _furnish(side, world.writes if side.qemu.name == "source" else ())
                except QemuGoneError as error:
                    message = f"{error}; the {side.qemu.name} said {side.qemu.log}"
                    raise QemuGoneError(message) from error
            yield sides
    finally:
        shutil.rmtree(folder)


def _furnish(built_side: Built, writes: tuple[int, ...]) -> None:
    side = built_side.side
    for bitmap in side.bitmaps:
        built_side.add(bitmap)
    built_side.write(writes)
    for bitmap in side.bitmaps:
        built_side.disable(bitmap)
    for number, bitmap in enumerate(side.bitmaps):
        built_side.occupy(bitmap, number)
    for number, job in enumerate(side.jobs):
        built_side.run(job, number)

"""The start of a scenario -> a block graph and the state of the QEMU that has it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from bitmapmig.graph import Backend, Bitmap, BlockGraph, Edge, Node, StoredBitmap
from bitmapmig.qapi import BitmapName, DeviceName, NodeName
from bitmapmig.transforms import Draft
from bitmapmig.transforms.process import Incoming

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from bitmapmig.behaviour import Release
    from bitmapmig.scenarios.document import Start, StartBitmap, StartNode
    from bitmapmig.state import State

#: What QEMU takes where nobody says it, in bytes.
_GRANULARITY = 65536
#: Formats that have their data in one protocol node, under `file`.
_FORMATS = frozenset(
    ("bochs", "cloop", "dmg", "luks", "parallels", "qcow", "qcow2", "qed", "raw", "vdi", "vhdx", "vmdk", "vpc")
)


class Refuse(Protocol):
    """Refuses what is at `keys` below the start, in a sentence."""

    def __call__(self, reason: str, *keys: str) -> NoReturn:
        """Raise `CannotRunError`."""


def graph(start: Start, refuse: Refuse, first: int = 100) -> BlockGraph:
    """The block graph of a start that is written out; generated names count from `first`."""
    return _Writing(start, refuse, first).graph()


@dataclass
class _Writing:
    """A graph while it is put together."""

    start: Start
    refuse: Refuse
    number: int

    def graph(self) -> BlockGraph:
        nodes: dict[str, Node] = {}
        edges: list[Edge] = []
        self._check_names()
        sizes = self._sizes()
        self._check_sizes(sizes)
        for name, written in self.start.nodes.items():
            children: dict[str, str] = dict(written.every_child)
            if written.driver in _FORMATS and "file" not in children:
                protocol = Node(NodeName(self._generated()), "file", read_only=written.read_only)
                nodes[protocol.name] = protocol
                children["file"] = protocol.name
            edges += (Edge("node", name, NodeName(child), role) for role, child in children.items())
            nodes[name] = self._node(name, written, sizes[name])
        return BlockGraph(
            nodes.values(),
            edges,
            tuple(self._backends()),
            listing={node.name: [bitmap.name for bitmap in self._newest_first(node)] for node in nodes.values()},
        )

    def _newest_first(self, node: Node) -> tuple[Bitmap, ...]:
        written = self.start.nodes.get(node.name)
        order = list(written.bitmaps) if written else []
        return tuple(sorted(node.bitmaps, key=lambda bitmap: -order.index(bitmap.name)))

    def _generated(self) -> str:
        self.number += 1
        return f"#block{self.number}"

    def _check_names(self) -> None:
        nodes = self.start.nodes
        for device in self.start.devices:
            if device in nodes:
                self.refuse(f"`{device}` is a node as well: QEMU gives no name to both", "devices", device)
        for name, node in nodes.items():
            for role, child in node.every_child.items():
                if child not in nodes:
                    place = (role,) if role in ("file", "backing") else ("children", role)
                    self.refuse(f"`{role}` names the node '{child}', which is not there", "nodes", name, *place)

    def _sizes(self) -> dict[str, int | None]:
        """The virtual size of each node: its own, else that of its first child that has one."""
        nodes = self.start.nodes
        known: dict[str, int | None] = {}
        for first in nodes:
            above: dict[str, None] = {}  # the nodes on the way down, in their order; a chain may be long
            waiting = [first]
            while waiting:
                name = waiting[-1]
                below = nodes[name].every_child.values()
                if name in known:
                    waiting.pop()
                elif name in above:
                    sizes = (nodes[name].size, *(known[child] for child in below))
                    known[name] = next((one for one in sizes if one is not None), None)
                    del above[name]
                else:
                    above[name] = None
                    for child in below:
                        if child in above:
                            self.refuse(f"the node '{child}' is below itself", "nodes", child)
                    waiting += [child for child in below if child not in known]
        return known

    def _check_sizes(self, sizes: dict[str, int | None]) -> None:
        # a file is as large as it is, and no decision needs to know
        files = {node.file for node in self.start.nodes.values()}
        for name, size in sizes.items():
            if size is None and name not in files:
                self.refuse("`size` is missing, and no child has one", "nodes", name)

    def _node(self, name: str, written: StartNode, size: int | None) -> Node:
        qcow2 = written.driver == "qcow2"
        bitmaps = tuple(sorted(_bitmap(key, one) for key, one in written.bitmaps.items()))
        stored = tuple(sorted(_stored(written))) if qcow2 else None
        if not qcow2 and (written.stored or written.compat):
            self.refuse(f"the format {written.driver} has no `stored` and no `compat`", "nodes", name)
        if qcow2 and written.compat == "0.10" and stored:
            self.refuse("an image with `compat: '0.10'` stores no bitmaps", "nodes", name)
        return Node(
            NodeName(name),
            written.driver,
            read_only=written.read_only,
            virtual_size=size,
            bitmaps=bitmaps,
            stored=stored,
            compat=(written.compat or "1.1") if qcow2 else None,
            of_monitor=written.of_monitor,
        )

    def _backends(self) -> Iterator[Backend]:
        start = self.start
        used: dict[str, str] = {}
        roots: dict[str, str | None] = {}
        for guest, root in start.guest_devices.items():
            if root is not None and root in start.devices:
                if root in used:
                    self.refuse(f"the device '{root}' is used by '{used[root]}' already", "guest-devices", guest)
                used[root] = guest
            else:
                roots[guest] = root
        for kind, users in (("devices", start.devices), ("guest-devices", roots)):
            for name, root in users.items():
                if root is not None and root not in start.nodes:
                    self.refuse(f"there is no node '{root}'", kind, name)
        for device, root in start.devices.items():
            qdev = _qdev(used[device]) if device in used else None
            yield Backend(DeviceName(device), qdev, None if root is None else NodeName(root))
        for guest, root in roots.items():
            yield Backend(None, _qdev(guest), None if root is None else NodeName(root))


def _qdev(identity: str) -> str:
    return f"/machine/peripheral/{identity}/virtio-backend"


def _bitmap(name: str, written: StartBitmap) -> Bitmap:
    return Bitmap(
        BitmapName(name),
        written.granularity or _GRANULARITY,
        written.dirty,
        recording=not written.inconsistent if written.recording is None else written.recording,
        busy=written.busy,
        persistent=written.persistent or written.inconsistent,
        inconsistent=written.inconsistent,
    )


def _stored(written: StartNode) -> Iterator[StoredBitmap]:
    """What is in the image: what is said, else the persistent bitmaps, which are taken to be loaded from there."""
    if written.stored is not None:
        for name, one in written.stored.items():
            yield StoredBitmap(BitmapName(name), one.granularity or _GRANULARITY, one.in_use)
        return
    for name, bitmap in written.bitmaps.items():
        if bitmap.inconsistent or (bitmap.persistent and written.compat != "0.10"):
            in_use = bitmap.inconsistent or not written.read_only
            yield StoredBitmap(BitmapName(name), bitmap.granularity or _GRANULARITY, in_use)


def like(source: BlockGraph, release: Release, *, shared: bool, first: int = 500) -> BlockGraph:
    """The graph of a QEMU with the same configuration that waits for a migration, on the same images or on others.

    Names that QEMU generates are other ones there.
    """
    made = Incoming().applied(source, release)
    if not shared:
        draft = Draft(made, release, Incoming.word)
        for name, node in made.nodes.items():
            draft.change(name, stored=node.stored and ())
        made = draft.graph()
    generated = [name for name, node in made.nodes.items() if not node.explicit]
    return made.renamed({name: NodeName(f"#block{first + number}") for number, name in enumerate(generated)})


def state(start: Start, idle: State, side: str, refuse: Refuse) -> State:
    """The state of a QEMU that is as `start` says, and else as an idle one; the two sides are two processes."""
    run_state = "inmigrate" if side == "destination" else "running"
    process = replace(idle, endpoint=side, process=side, monitors=(), threads=(), run_state=run_state)
    return said(start, process, refuse)


def said(start: Start, known: State, refuse: Refuse) -> State:
    """What is known of a QEMU, with what `start` says otherwise."""
    unknown = sorted(start.capabilities.keys() - known.capabilities.keys())
    if unknown:
        refuse(f"QEMU {known.version_text} has no capability '{unknown[0]}'", "capabilities", unknown[0])
    return replace(
        known,
        run_state=start.run_state or known.run_state,
        machine_type=start.machine_type or known.machine_type,
        capabilities={**known.capabilities, **start.capabilities},
    )

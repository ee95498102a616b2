"""Open nodes whose options change: filters put in and taken out by re-pointing children, read-only switched.

    root --file--> fmt0        root --file--> thr0 --file--> fmt0        `file` of root re-pointed to thr0 and back

Sources: QAPI `blockdev-reopen`; `qmp_blockdev_reopen`, `bdrv_reopen_prepare`, `bdrv_reopen_parse_file_or_backing`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict, Field

from bitmapmig.transforms.conflicts import none_new
from bitmapmig.transforms.draft import OperationRefusedError
from bitmapmig.transforms.nodes import FILTERS, NULL, BlockdevOptions, understood
from bitmapmig.transforms.operation import Operation
from bitmapmig.transforms.reopening import switched

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bitmapmig.graph import Backend
    from bitmapmig.qapi import NodeName
    from bitmapmig.transforms.draft import Draft

#: The first release with `blockdev-reopen`; before, `x-blockdev-reopen` stands for it (QAPI `Since`).
_STABLE = (6, 1)
#: A filter that gets a child of another size: the last release that was seen to keep its own, the first that takes it.
_KEEPS_SIZE, _TAKES_SIZE = (7, 2), (10, 0)
#: Another disk for a device: the last release that was seen to refuse it, and the first that was seen to do it.
_REALIZED_IS_FINAL, _REALIZED_CHANGES = (5, 2), (7, 2)


class BlockdevReopen(Operation):
    """Give open nodes other options, all of them anew: what is left out is as by default, not as it was.

    `file` of a filter or of raw can be re-pointed to another node, and `backing` of a qcow2 node; what only the node
    held ends with its bitmaps. No bitmap moves. A node that turns read-only stores its persistent bitmaps and holds
    them read-only until it is writable again, when they record on; its stored copies are marked in use again.

    There is none before 6.1. Measured alike on 7.2, 10.0 and 11.1, but that on 7.2 a filter keeps its size when its new
    child has another. On all, and with `x-blockdev-reopen` on 5.2, a node with persistent bitmaps that is refused to
    turn read-only (something writes to it) is left broken: the bitmaps are stored as if it were closed, held read-only,
    and no write to the node succeeds any more. Not simulated.
    """

    word: ClassVar[str] = "blockdev-reopen"
    options: tuple[BlockdevOptions, ...] = Field(strict=False)

    def act(self, draft: Draft) -> None:
        """Source: `qmp_blockdev_reopen`."""
        if draft.release < _STABLE:
            draft.refuse("this QEMU has no such command")
        reopen(draft, self.options)


class XBlockdevReopen(BlockdevOptions, Operation):
    """Give one open node other options, on QEMU before 6.1: as `blockdev-reopen`, but that `file` cannot change."""

    model_config = ConfigDict(extra="allow")

    word: ClassVar[str] = "x-blockdev-reopen"

    def act(self, draft: Draft) -> None:
        """Source: `qmp_x_blockdev_reopen`."""
        if draft.release >= _STABLE:
            draft.refuse("this QEMU has no such command")
        reopen(draft, [self])


class QomSet(Operation):
    """Give a guest device another node for its disk, while it runs (`property: drive`): a filter, or what is below it.

    The node that it had stays if something holds it, and ends with its bitmaps otherwise. No bitmap moves: one on the
    node below a filter is still written. Measured alike on 7.2, 10.0 and 11.1; 5.2 refuses it once the device is there.
    """

    word: ClassVar[str] = "qom-set"
    path: str
    property: str
    value: object

    def act(self, draft: Draft) -> None:
        """Source: `set_drive_helper`."""
        if self.property != "drive" or not isinstance(self.value, str):
            draft.not_simulated(f"the property {self.property!r}")
        backend = next((one for one in draft.backends if _is_at(one, self.path)), None)
        if backend is None or backend.root is None:
            draft.not_simulated(f"no disk of a guest device is at {self.path!r}")
        if draft.release <= _REALIZED_IS_FINAL:
            draft.refuse("this QEMU does not change the disk of a device that is there", node=backend.root)
        if draft.release < _REALIZED_CHANGES:
            draft.not_simulated("whether this release changes the disk of a device that is there", backend.root)
        node = draft.node(self.value)
        with none_new(draft):
            draft.backends = [replace(one, root=node) if one is backend else one for one in draft.backends]
        draft.drop(backend.root)


def _is_at(backend: Backend, path: str) -> bool:
    """Whether the guest device of a backend is at a QOM path: the device itself, or that which holds it."""
    held = backend.qdev or ""
    return path in (held, f"/machine/peripheral/{backend.guest_device}")


def reopen(draft: Draft, several: Iterable[BlockdevOptions]) -> None:
    """Give nodes other options, all of them or none."""
    try:
        with none_new(draft):
            for options in several:
                _reopen(draft, options)
    except OperationRefusedError:
        for name, node in draft.nodes.items():
            was = draft.before.nodes.get(name)
            if was and node.read_only and not was.read_only and any(one.persistent for one in node.bitmaps):
                draft.not_simulated("it is refused, and the node is left with its bitmaps read-only", name)
        raise


def _reopen(draft: Draft, options: BlockdevOptions) -> None:
    if options.node_name is None:
        draft.refuse("a 'node-name' is missing")
    node = draft.node(options.node_name)
    _reopen_node(draft, node, options, read_only=False)


def _reopen_node(draft: Draft, node: NodeName, options: BlockdevOptions, *, read_only: bool) -> None:
    """Give `node` the options; `read_only` is what it is where they do not say it."""
    there = draft.nodes[node]
    understood(draft, options)
    if options.driver != there.driver:
        draft.refuse(f"{node!r} is a {there.driver} node and cannot become {options.driver}", node=node)
    if options.driver in NULL and options.size is not None and options.size != there.virtual_size:
        draft.refuse(f"the size of {node!r} cannot change", node=node)
    if options.driver == "raw" and (options.size is not None or options.offset is not None):
        draft.not_simulated("a part of a raw node", node)
    read_only = read_only if options.read_only is None else options.read_only
    children = {role: child for role in ("file", "data-file") if (child := options.child(role)) is not None}
    switched(draft, node, read_only=read_only, but=frozenset(children))
    if options.driver == "qcow2":
        _backing(draft, node, options)
    for role, child in children.items():
        if isinstance(child, BlockdevOptions):
            _child(draft, node, role, child, read_only=read_only)
        else:
            _repoint(draft, node, role, draft.lookup(child))


def _child(draft: Draft, node: NodeName, role: str, options: BlockdevOptions, *, read_only: bool) -> None:
    """Give the child that was opened inside the options of `node` other options."""
    child = draft.children[node].get(role)
    if child is None or draft.held(child):
        draft.refuse(f"the child {role!r} of {node!r} was not opened with it, and can only be named", node=node)
    if options.node_name is not None and options.node_name != child:
        draft.refuse(f"the child {role!r} of {node!r} is {child!r} and keeps its name", node=node)
    _reopen_node(draft, child, options, read_only=read_only)


def _backing(draft: Draft, node: NodeName, options: BlockdevOptions) -> None:
    """Set, change or remove the backing image: `backing` has to be said where there is one."""
    if "backing" not in options.model_fields_set:
        if "backing" in draft.children[node]:
            draft.refuse(f"the options of {node!r} do not say its 'backing'", node=node)
    elif isinstance(options.backing, BlockdevOptions):
        _child(draft, node, "backing", options.backing, read_only=True)
    elif options.backing is not None:
        _repoint(draft, node, "backing", draft.lookup(options.backing))
    elif (gone := draft.unlink(node, "backing")) is not None:
        draft.drop(gone)


def _repoint(draft: Draft, node: NodeName, role: str, new: NodeName) -> None:
    there, old = draft.nodes[node], draft.children[node].get(role)
    if new == old:
        return
    if role != "backing" and draft.release < _STABLE:
        draft.refuse(f"the child {role!r} of {node!r} cannot change", node=node)
    if role != "backing" and there.driver not in FILTERS | {"raw"}:
        draft.not_simulated(f"another file under the format {there.driver}", node)
    if any(job.active and {node, old} & set(job.nodes) for job in draft.jobs.values()):
        draft.not_simulated("other children of a node that a job uses", node)
    if node in draft.below(new):
        draft.refuse(f"{node!r} is {new!r} itself or below it", node=node)
    draft.link(node, role, new)
    if role == "file":
        _take_size(draft, node, new)
    if old is not None:
        draft.drop(old)


def _take_size(draft: Draft, node: NodeName, child: NodeName) -> None:
    """Let a node whose child is another have its size."""
    there, size = draft.nodes[node], draft.nodes[child].virtual_size
    if size == there.virtual_size:
        return
    if there.bitmaps or draft.used(node):
        draft.not_simulated(f"a child of {node!r} of another size, while it is in use or has bitmaps", node)
    if there.driver != "raw" and _KEEPS_SIZE < draft.release < _TAKES_SIZE:
        draft.not_simulated("whether this release lets a filter take the size of its new child", node)
    if there.driver == "raw" or draft.release >= _TAKES_SIZE:
        draft.change(node, virtual_size=size)

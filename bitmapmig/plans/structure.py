"""BlockGraph -> the part of the plan document that says how one side hung together when the plan was made.

It holds what can be seen to change: `bitmapmig.changes` says in words what did. How dirty a bitmap is, in which order
QEMU lists things and how far a job has come are not in it. What is false, empty or not told is left out of the JSON,
so that a node without bitmaps is one short object; the order of all lists is that of their names.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from operator import is_, not_
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from bitmapmig.graph import Backend, Bitmap, BlockGraph, Edge, Export, Job, Node, StoredBitmap
from bitmapmig.qapi import NodeName

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# pydantic calls these for each member of each node, so they are not written in Python
_untold = partial(is_, None)
_false = partial(is_, False)  # noqa: FBT003  not a switch
_empty = not_


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StructureBitmap(_Part):
    """A named bitmap in memory (QAPI `BlockDirtyInfo`); `granularity` in bytes."""

    name: str
    granularity: int
    recording: bool = Field(default=False, exclude_if=_false)
    busy: bool = Field(default=False, exclude_if=_false)
    persistent: bool = Field(default=False, exclude_if=_false)
    inconsistent: bool = Field(default=False, exclude_if=_false)


class StructureStored(_Part):
    """A bitmap in the image (QAPI `Qcow2BitmapInfo`); `granularity` in bytes."""

    name: str
    granularity: int
    in_use: bool = Field(default=False, exclude_if=_false)


class StructureNode(_Part):
    """A node; `virtual_size` in bytes, `children` are pairs of role and node-name.

    `read_only` is None where QEMU does not tell it, `stored` where the format stores no bitmaps.
    """

    name: str
    driver: str
    read_only: bool | None = Field(default=False, exclude_if=_false)
    virtual_size: int | None = Field(default=None, exclude_if=_untold)
    compat: str | None = Field(default=None, exclude_if=_untold)
    children: tuple[tuple[str, str], ...] = Field(default=(), exclude_if=_empty)
    bitmaps: tuple[StructureBitmap, ...] = Field(default=(), exclude_if=_empty)
    stored: tuple[StructureStored, ...] | None = Field(default=None, exclude_if=_untold)


class StructureBackend(_Part):
    """A backend by its device name, its guest device, or both; without `root` it has no medium."""

    device: str | None = Field(default=None, exclude_if=_untold)
    qdev: str | None = Field(default=None, exclude_if=_untold)
    root: str | None = Field(default=None, exclude_if=_untold)


class StructureJob(_Part):
    """A block job that holds its nodes: those, and which of them it writes to."""

    id: str
    type: str
    nodes: tuple[str, ...] = Field(default=(), exclude_if=_empty)
    targets: tuple[str, ...] = Field(default=(), exclude_if=_empty)


class StructureExport(_Part):
    """A block export; whether clients may write is left out where no query shows it."""

    id: str
    type: str
    node: str
    writable: bool | None = Field(default=None, exclude_if=_untold)


class Structure(_Part):
    """The block graph of one side.

    `names` are the node-names and devices by which the plan finds nodes here, beside those that have bitmaps.
    """

    names: tuple[str, ...] = Field(default=(), exclude_if=_empty)
    nodes: tuple[StructureNode, ...] = ()
    backends: tuple[StructureBackend, ...] = Field(default=(), exclude_if=_empty)
    jobs: tuple[StructureJob, ...] = Field(default=(), exclude_if=_empty)
    exports: tuple[StructureExport, ...] = Field(default=(), exclude_if=_empty)


def structure(graph: BlockGraph, names: Iterable[str] = ()) -> Structure:
    """The structure of `graph`; `names` are `Structure.names`."""
    children: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for edge in graph.edges():
        children[edge.parent].append((edge.role, edge.child))
    return Structure(
        names=tuple(sorted(set(names))),
        nodes=tuple(_node(node, children) for node in graph.nodes.values()),
        backends=tuple(StructureBackend(device=one.device, qdev=one.qdev, root=one.root) for one in graph.backends),
        jobs=tuple(
            StructureJob(id=one.id, type=one.type, nodes=one.nodes, targets=one.targets)
            for one in graph.jobs
            if one.active
        ),
        exports=tuple(
            StructureExport(id=one.id, type=one.type, node=one.node, writable=one.writable) for one in graph.exports
        ),
    )


def _node(node: Node, children: Mapping[str, list[tuple[str, str]]]) -> StructureNode:
    return StructureNode(
        name=node.name,
        driver=node.driver,
        read_only=node.read_only,
        virtual_size=node.virtual_size,
        compat=node.compat,
        children=tuple(sorted(children.get(node.name, ()))),
        bitmaps=tuple(
            StructureBitmap(
                name=one.name,
                granularity=one.granularity,
                recording=one.recording,
                busy=one.busy,
                persistent=one.persistent,
                inconsistent=one.inconsistent,
            )
            for one in node.bitmaps
        ),
        stored=None
        if node.stored is None
        else tuple(
            StructureStored(name=one.name, granularity=one.granularity, in_use=one.in_use) for one in node.stored
        ),
    )


def graph_of(whole: Structure) -> BlockGraph:
    """The graph again, as far as the structure tells: no bitmap is dirty, jobs are taken for running, none is ready.

    Mirrors that a plan speaks of may be ready as well; it makes no difference to what is planned.
    """
    return BlockGraph(
        nodes=[
            Node(
                name=NodeName(one.name),
                driver=one.driver,
                read_only=one.read_only,
                virtual_size=one.virtual_size,
                bitmaps=tuple(Bitmap(count=0, **dict(bitmap)) for bitmap in one.bitmaps),
                stored=None if one.stored is None else tuple(StoredBitmap(**dict(copy)) for copy in one.stored),
                compat=one.compat,
            )
            for one in whole.nodes
        ],
        edges=[Edge("node", one.name, NodeName(child), role) for one in whole.nodes for role, child in one.children],
        backends=[Backend(**dict(one)) for one in whole.backends],
        jobs=[Job(status="running", **dict(one)) for one in whole.jobs],
        exports=[Export(**dict(one)) for one in whole.exports],
    )


# what a plan depends on


def relevant(whole: Structure) -> Structure:
    """The part of a structure that a plan depends on.

    Anchors are the nodes with bitmaps, in memory or in the image, and those that `names` mean: by node-name, or as the
    root of a device. The part holds the anchors and all that is above and below them; of a node that is no anchor not
    the size, since a file grows as the guest writes; the backends, jobs and exports that use what it holds, devices
    that `names` name, and jobs of which no query shows what they hold. A bitmap that is left behind counts as any
    other: it is still the user's.
    """
    names = frozenset(whole.names)
    anchors = {one.name for one in whole.nodes if one.bitmaps or one.stored or one.name in names}
    anchors |= {one.root for one in whole.backends if one.root is not None and one.device in names}
    below = {one.name: [child for _, child in one.children] for one in whole.nodes}
    above: defaultdict[str, list[str]] = defaultdict(list)
    for parent, children in below.items():
        for child in children:
            above[child].append(parent)
    kept = _reached(anchors, below) | _reached(anchors, above)
    return whole.model_copy(
        update={
            "nodes": tuple(_part(one, kept, anchors) for one in whole.nodes if one.name in kept),
            "backends": tuple(one for one in whole.backends if one.root in kept or (one.device in names)),
            "jobs": tuple(one for one in whole.jobs if not one.nodes or not kept.isdisjoint(one.nodes)),
            "exports": tuple(one for one in whole.exports if one.node in kept),
        }
    )


def _reached(start: Iterable[str], ways: Mapping[str, list[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = list(start)
    while waiting:
        node = waiting.pop()
        if node not in reached:
            reached.add(node)
            waiting += ways.get(node, ())
    return reached


def _part(node: StructureNode, kept: set[str], anchors: set[str]) -> StructureNode:
    """What a plan depends on of a node: of one that is no anchor neither the size nor children that are not kept."""
    if node.name in anchors:
        return node
    children = tuple(pair for pair in node.children if pair[1] in kept)
    return node.model_copy(update={"children": children, "virtual_size": None})

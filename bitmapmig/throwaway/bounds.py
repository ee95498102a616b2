"""What a graph may ask of this machine: more is refused before anything is made.

What it asks for is known beforehand. Files are sparse, so they take what is written: the metadata of images, at most
one cluster of 64 KiB for each granule of a stored bitmap that is dirty, and what jobs are to have to copy. None of it
grows by itself, since no guest runs. A limit on the size of files (RLIMIT_FSIZE) would not bound that: it counts the
hole of a sparse file as well. What a process takes of memory is limited in any case (`child.ADDRESS_SPACE`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig.graph import extent, knots
from bitmapmig.throwaway.reason import NotBuiltError

if TYPE_CHECKING:
    from bitmapmig.graph import BlockGraph

#: Nodes of the largest graph that is built; and so for backends, bitmaps, stored bitmaps, jobs and exports.
NODES = 10_000

#: Nodes on top of each other: what QEMU does with each (`bdrv_refresh_perms`, `query-named-block-nodes`) grows with the
#: third power of it, and takes seconds from a hundred on.
DEPTH = 100

#: Nodes that walks down from every top come by, each as often as ways lead to it: QEMU's own recursions go so.
WALKED = 100_000

#: Bytes of memory that the bitmaps of a graph, and the tables of its images, may take; a bit for each granule.
MEMORY = 1 << 30

#: Bytes of disk that the images of a graph may take.
DISK = 4 << 30

#: Seconds that building may take.
SECONDS = 120.0

#: Bytes of the largest disk that is asked for; QEMU takes no more than 8 EiB.
SIZE = 1 << 62

#: Bytes of the finest and of the coarsest granularity, a power of two, that QEMU takes (`qmp_block_dirty_bitmap_add`).
FINEST, COARSEST = 512, 1 << 31

#: Bytes that an image takes: an empty one of qcow2, one of another format, and for each of so many bytes of its disk.
_QCOW2, _OTHER, _BLOCK = 256 << 10, 4 << 20, 1 << 17
#: Bytes of the disk for each byte of the largest table of a qcow2 image in memory.
_TABLE = 1 << 26


def check(graph: BlockGraph, *, images: frozenset[str], data: int = 0) -> None:
    """Refuse a graph that asks for more, or for what nothing is. Raises `NotBuiltError`.

    `images` are the formats of which files are made, `data` the bytes that each node is to hold.
    """
    nodes = graph.nodes.values()
    counts = {
        "nodes": len(nodes),
        "backends": len(graph.listed_backends),
        "bitmaps": sum(len(node.bitmaps) for node in nodes),
        "stored bitmaps": sum(len(node.stored or ()) for node in nodes),
        "jobs": len(graph.jobs),
        "exports": len(graph.exports),
    }
    for what, count in counts.items():
        if count > NODES:
            msg = f"it has more than {NODES} {what}"
            raise NotBuiltError(msg)
    for node in nodes:
        if node.virtual_size is not None and not 0 <= node.virtual_size <= SIZE:
            msg = f"nothing is {node.virtual_size} bytes large"
            raise NotBuiltError(msg, node.name)
        granularities = (
            *((one.name, one.granularity) for one in node.bitmaps),
            *((one.name, one.granularity) for one in node.stored or ()),
        )
        for name, granularity in granularities:
            if not granular(granularity):
                msg = f"the bitmap {name!r} has a granularity of {granularity} bytes, and none has"
                raise NotBuiltError(msg, node.name)
    _check_extent(graph)
    _check_memory(graph)
    _check_disk(graph, images, data)


def granular(granularity: int) -> bool:
    """Whether a bitmap can have this granularity, in bytes."""
    return FINEST <= granularity <= COARSEST and granularity.bit_count() == 1


def _check_extent(graph: BlockGraph) -> None:
    edges = graph.edges()
    for knot in knots(edges):
        raise NotBuiltError("it is below itself", min(knot))
    found = extent(graph.nodes, edges)
    if found.depth > DEPTH:
        msg = f"{found.depth} of its nodes are on top of each other, and more than {DEPTH} are too many"
        raise NotBuiltError(msg)
    if found.walked > WALKED:
        msg = f"its nodes share so many others that a walk through it would come by more than {WALKED}"
        raise NotBuiltError(msg)


def _check_memory(graph: BlockGraph) -> None:
    taken = 0
    for node in graph.nodes.values():
        size = node.virtual_size or 0
        granularities = (
            *(one.granularity for one in node.bitmaps),
            *(one.granularity for one in node.stored or ()),
        )
        taken += sum(size // granularity // 8 for granularity in granularities)
        taken += size // _TABLE if node.driver == "qcow2" else 0
    if taken > MEMORY:
        msg = f"its bitmaps would take {taken} bytes of memory"
        raise NotBuiltError(msg)


def _check_disk(graph: BlockGraph, images: frozenset[str], data: int) -> None:
    taken = sum(
        _QCOW2 if node.driver == "qcow2" else _OTHER + (node.virtual_size or 0) // _BLOCK
        for node in graph.nodes.values()
        if node.driver in images
    )
    taken += data * len(graph.nodes)
    if taken > DISK:
        msg = f"its images would take up to {taken} bytes of disk"
        raise NotBuiltError(msg)

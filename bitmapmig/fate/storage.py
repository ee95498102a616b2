"""What images do to bitmaps: what they can store, what they hold already, and when they are activated.

Sources: `bdrv_co_can_store_new_dirty_bitmap` of qcow2, `qcow2_load_dirty_bitmaps`, `bdrv_activate_all`; measured.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from bitmapmig.behaviour import BARE_NODES_PASSED_OVER
from bitmapmig.graph import activation
from bitmapmig.graph.drivers import JOB_FILTERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitmapmig.behaviour import Conduct
    from bitmapmig.graph import Bitmap, BlockGraph, Node
    from bitmapmig.qapi import NodeName
    from bitmapmig.state import State

#: The largest bitmap that qcow2 stores, in bytes of bits (`BME_MAX_PHYS_SIZE`).
_STORED_LIMIT = 512 << 20
_BITS = 8


def no_store(node: Node, bitmap: Bitmap) -> str | None:
    """Why the image of a node cannot store a bitmap like this one; None where it can."""
    if node.driver != "qcow2":
        return f"its driver is {node.driver!r}"
    if node.compat == "0.10":
        return "it is a qcow2 image of version 2 (compat=0.10)"
    granules = (node.virtual_size or 0) / bitmap.granularity
    if granules / _BITS > _STORED_LIMIT:
        return f"a bitmap of granularity {bitmap.granularity} is too large for qcow2 on a disk of this size"
    return None


@lru_cache(maxsize=4)
def inactivation(graph: BlockGraph, conduct: Conduct) -> Mapping[NodeName, int]:
    """The nodes of a source that are inactivated at the switch-over, with their place in the order in which they are.

    It begins at roots of backends, at exports, and at nodes that the monitor owns, as far as no node is above them, and
    goes down from each. So a filter that a job has put on top of a bare node is not reached, nor is what is below it.
    Sources: `bdrv_inactivate_all`, `bdrv_inactivate_recurse`.
    """
    below_backends = [one.root for one in graph.listed_backends if one.root]
    roots = below_backends + [export.node for export in graph.exports]
    if not below_backends or not BARE_NODES_PASSED_OVER.harms(conduct):
        held = {
            node for job in graph.jobs if job.active for node in job.nodes if graph.nodes[node].driver in JOB_FILTERS
        }
        roots += [name for name in activation(graph) if graph.nodes[name].explicit and name not in held]
    found: dict[NodeName, int] = {}
    waiting = [node for node in roots if all(kind != "node" for kind, _ in graph.parents(node))][::-1]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found[node] = len(found)
            waiting += [child for _, child in graph.children(node)]
    return found


def bare_beside_others(graph: BlockGraph, node: Node) -> bool:
    """Whether no backend is above a node while other nodes have one."""
    below = _below_backends(graph)
    return bool(below) and node.name not in below


@lru_cache(maxsize=4)
def _below_backends(graph: BlockGraph) -> frozenset[NodeName]:
    roots = {backend.root for backend in graph.backends if backend.root}
    return frozenset(node for root in roots for node in graph.below(root))


def never_active(graph: BlockGraph, state: State, node: Node) -> str | None:
    """Why the image of a destination's node is not activated after the migration; None where it is."""
    if not BARE_NODES_PASSED_OVER.harms(state.conduct) or not bare_beside_others(graph, node):
        return None
    return f"QEMU {state.version_text} does not activate it after a migration, since no device is above it"


def in_the_image(graph: BlockGraph, conduct: Conduct, node: Node, bitmap: Bitmap) -> bool:
    """Whether a source that is inactivated leaves the bitmap in its image, where nothing sends it in the stream."""
    if not bitmap.persistent or bitmap.inconsistent:
        return False
    if node.read_only:
        return node.stored_bitmap(bitmap.name) is not None
    return no_store(node, bitmap) is None and node.name in inactivation(graph, conduct)


def in_the_way(there: Node, name: str) -> bool:
    """Whether a node has a bitmap in memory that keeps one of that name from being loaded from its image."""
    bitmap = there.bitmap(name)
    return bitmap is not None and not there.holds_read_only(bitmap)


def name_in_log(graph: BlockGraph, node: NodeName) -> str:
    """What QEMU calls a node in what it prints while it runs: the device whose root it is, else its node-name.

    Source: `bdrv_get_device_or_node_name`.
    """
    return next(iter(graph.devices_of(node)), node)

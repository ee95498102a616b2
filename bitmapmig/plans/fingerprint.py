"""BlockGraph -> a text that is equal exactly while what a plan depends on is."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bitmapmig.graph import BlockGraph


def fingerprint(graph: BlockGraph) -> str:
    """SHA-256 over nodes, edges, backends, sizes and bitmaps with their flags.

    Not over dirty bytes, jobs and exports: a guest that writes does not make a plan stale.
    """
    nodes = [
        [
            node.name,
            node.driver,
            node.read_only,
            node.virtual_size,
            node.compat,
            [
                [one.name, one.granularity, one.recording, one.busy, one.persistent, one.inconsistent]
                for one in node.bitmaps
            ],
            None if node.stored is None else [[one.name, one.granularity, one.in_use] for one in node.stored],
        ]
        for node in graph.nodes.values()
    ]
    backends = [[backend.device, backend.qdev, backend.root] for backend in graph.backends]
    text = json.dumps([nodes, [[*edge] for edge in graph.edges()], backends], separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

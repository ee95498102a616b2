"""Two block graphs of one QEMU -> how they differ, whatever QEMU generates for names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig.changes.compare import differences
from bitmapmig.graph import counterparts
from bitmapmig.plans.structure import structure

if TYPE_CHECKING:
    from bitmapmig.graph import BlockGraph


def unlike(graph: BlockGraph, other: BlockGraph, *, counts: bool = False) -> tuple[str, ...]:
    """What is different in `other`, in words; empty where the two are alike up to generated node-names.

    How dirty a bitmap is counts with `counts` only: it changes with every write. How large a file is never counts.
    """
    named = other.renamed(counterparts(graph, other))
    words = [one.words for one in differences(structure(graph), structure(named))]
    before, now = ({job.id: job.status for job in one.jobs} for one in (graph, named))
    words += [
        f"job {job!r} is {now.get(job, 'not there')} instead of {before.get(job, 'not there')}"
        for job in sorted(before.keys() | now.keys())
        if before.get(job) != now.get(job)
    ]
    if counts:
        words += _counts(graph, named)
    return tuple(words)


def _counts(graph: BlockGraph, other: BlockGraph) -> list[str]:
    return [
        f"bitmap {bitmap.name!r} of node {name!r} has {now.count} dirty bytes instead of {bitmap.count}"
        for name, node in graph.nodes.items()
        for bitmap in node.bitmaps
        if name in other.nodes and (now := other.nodes[name].bitmap(bitmap.name)) and now.count != bitmap.count
    ]

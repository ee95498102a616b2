"""Blueprint + what QEMU shows -> which generated name stands for which."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitmapmig.graph import BlockGraph
    from bitmapmig.qapi import NodeName
    from bitmapmig.throwaway.blueprint import Blueprint


def match(blueprint: Blueprint, real: BlockGraph, names: dict[NodeName, NodeName], *, whole: bool) -> None:
    """Add to `names` what can be told, from devices and jobs down, and from known children up.

    `whole` says that the jobs run by now; before, what they put in is not there.
    """
    graph = blueprint.graph
    children = {name: dict(graph.children(name)) for name in graph.nodes} if whole else blueprint.children
    shown = {(one.device, one.guest_device): one.root for one in real.backends}
    for backend, settled in zip(graph.listed_backends, blueprint.roots, strict=True):
        root = shown.get((backend.device, backend.guest_device)) or shown.get((backend.device, None))
        if settled is not None and backend.root is not None and root is not None:
            names.setdefault(backend.root if whole else settled, root)
    jobs = {job.id: job for job in real.jobs}
    for work in blueprint.works:
        found = jobs.get(work.job.id)
        if whole and found is not None and work.filter is not None and work.filter not in names:
            # what a job puts in, and in which role it has what it filters, is another thing in each version
            shown_filters = [name for name in found.nodes if name not in names.values() and name.startswith("#")]
            if work.job.type in ("backup", "stream") and len(shown_filters) <= 1:
                names[work.filter] = next(iter(shown_filters), names[work.top])
        if found is not None and work.own_target and work.target is not None and len(found.targets) == 1:
            names.setdefault(work.target, found.targets[0])
    while _down(children, real, names) or _up(children, real, names):
        pass


def _down(
    children: Mapping[NodeName, Mapping[str, NodeName]], real: BlockGraph, names: dict[NodeName, NodeName]
) -> bool:
    """Name the children of what has a name; whether any was found."""
    found = False
    waiting = list(names)
    for parent in waiting:
        if names[parent] not in real.nodes:
            continue
        below = dict(real.children(names[parent]))
        for role, child in children.get(parent, {}).items():
            if child not in names and role in below:
                names[child] = below[role]
                waiting.append(child)
                found = True
    return found


def _up(children: Mapping[NodeName, Mapping[str, NodeName]], real: BlockGraph, names: dict[NodeName, NodeName]) -> bool:
    """Name a parent of what has a name, where only one of the real ones can be it; whether any was found."""
    taken = set(names.values())
    for name in sorted(children.keys() - names.keys()):
        edges = {(role, names[child]) for role, child in children[name].items() if child in names}
        fitting = [
            one.name
            for one in real.nodes.values()
            if edges and one.name not in taken and edges <= set(real.children(one.name))
        ]
        if len(fitting) == 1:
            names[name] = fitting[0]
            return True
    return False

"""Structure -> its facts: each thing that can change by itself under a key of its own.

A key says what it is and of what: `("size", "fmt0")`, `("edge", "fmt0", "file", "#block1")`. What is None or not told
has no fact, so that a fact that is missing and one that is None are the same.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from bitmapmig.plans.structure import Structure, StructureBackend, StructureNode

Key: TypeAlias = tuple[str, ...]
Value: TypeAlias = object

#: Facts about a node that come and go with it; those about its bitmaps are told each by itself.
OF_NODE = ("node", "driver", "read-only", "size", "compat", "stores")
#: Facts about a bitmap that come and go with it.
OF_BITMAP = ("bitmap", "granularity", "recording", "busy", "persistent", "inconsistent")
#: Facts about a backend that come and go with it.
OF_BACKEND = ("backend", "root", "qdev")


def facts(whole: Structure, nodes: Collection[str]) -> dict[Key, Value]:
    """The facts of a structure; of nodes only those that are among `nodes`."""
    found: dict[Key, Value] = {}
    for node in whole.nodes:
        if node.name in nodes:
            found.update(_of_node(node))
    for key, backend in backends(whole).items():
        found["backend", *key] = True
        found["root", *key] = backend.root
        # the guest device of an anonymous backend is what it goes by
        found["qdev", *key] = backend.qdev if backend.device else None
    for job in whole.jobs:
        found["job", job.id, job.type] = job.nodes
        found["targets", job.id, job.type] = job.targets
    for export in whole.exports:
        found["export", export.id, export.type, export.node] = True
        found["writable", export.id, export.type, export.node] = export.writable
    return {key: value for key, value in found.items() if value is not None}


def backends(whole: Structure) -> dict[Key, StructureBackend]:
    """The backends by what they go by: a device name, else a guest device."""
    found: dict[Key, StructureBackend] = {}
    for one in whole.backends:
        key: Key = ("device", one.device) if one.device else ("qdev", one.qdev or "")
        while key in found:  # no genuine capture shows two of a name
            key = (*key, "again")
        found[key] = one
    return found


def _of_node(node: StructureNode) -> Iterator[tuple[Key, Value]]:
    values = (True, node.driver, node.read_only, node.virtual_size, node.compat, None if node.stored is None else True)
    for what, value in zip(OF_NODE, values, strict=True):
        yield (what, node.name), value
    for role, child in node.children:
        yield ("edge", node.name, role, child), True
    for bitmap in node.bitmaps:
        flags = (bitmap.recording, bitmap.busy, bitmap.persistent, bitmap.inconsistent)
        for what, value in zip(OF_BITMAP, (True, bitmap.granularity, *flags), strict=True):
            yield (what, node.name, bitmap.name), value
    for copy in node.stored or ():
        yield ("stored", node.name, copy.name), (copy.granularity, copy.in_use)


class Half:
    """One of the two structures, with what the other is compared by."""

    def __init__(self, whole: Structure) -> None:
        self.whole = whole
        self.nodes: Mapping[str, StructureNode] = {node.name: node for node in whole.nodes}
        self.backends = backends(whole)

    @cached_property
    def parents(self) -> Mapping[str, tuple[tuple[str, str], ...]]:
        """The (parent, role) pairs of each node that has a parent."""
        found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for node in self.whole.nodes:
            for role, child in node.children:
                found[child].append((node.name, role))
        return {child: tuple(pairs) for child, pairs in found.items()}

    @cached_property
    def users(self) -> Mapping[str, tuple[Key, ...]]:
        """What the backends that have a node as their root go by."""
        found: defaultdict[str, list[Key]] = defaultdict(list)
        for key, backend in self.backends.items():
            if backend.root is not None:
                found[backend.root].append(key)
        return {root: tuple(keys) for root, keys in found.items()}

    def child(self, node: str, *roles: str) -> str | None:
        """The child of `node` under the first of `roles` that it has."""
        below = dict(self.nodes[node].children)
        return next((below[role] for role in roles if role in below), None)

    def below(self, node: str, other: str) -> bool:
        """Whether `other` is below `node`, through backing links."""
        seen = set()
        at = self.child(node, "backing")
        while at is not None and at not in seen and at in self.nodes:
            if at == other:
                return True
            seen.add(at)
            at = self.child(at, "backing")
        return False

    def root(self, key: Key) -> str | None:
        """The root of a backend, None where it is not there or has no medium."""
        return self.backends[key].root if key in self.backends else None

    def has_bitmap(self, node: str, name: str) -> bool:
        """Whether the node is there with a bitmap of that name."""
        return node in self.nodes and any(one.name == name for one in self.nodes[node].bitmaps)

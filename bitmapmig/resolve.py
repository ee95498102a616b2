"""BlockGraph -> every named bitmap with its address, and back: a name -> the node that it means.

An address is a name that the user's own configuration gives to the place of a bitmap. A name that QEMU generated is
never one. Which names count is a rule set; each address carries the rule that gave it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from bitmapmig import codes
from bitmapmig.diagnostics import Diagnostic, Side, Where
from bitmapmig.qapi import NodeName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.graph import Backend, Bitmap, BlockGraph, Node

RuleSet: TypeAlias = Literal["explicit", "qemu", "root-only", "guest-device"]
RULE_SETS: tuple[RuleSet, ...] = ("explicit", "qemu", "root-only", "guest-device")

NameKind: TypeAlias = Literal["node-name", "device", "qdev"]


class Address(NamedTuple):
    """A name and what kind of name it is; `rule` says in words why it is the address."""

    kind: NameKind
    name: str
    rule: str

    @property
    def lookup(self) -> NameKind | None:
        """What it is looked up as on the other side: a device name may match a node-name and the other way round."""
        return "qdev" if self.kind == "qdev" else None


@dataclass(frozen=True, slots=True)
class Resolved:
    """A named bitmap with its addresses, the preferred one first; without one, `problem` says why."""

    node: Node
    bitmap: Bitmap
    addresses: tuple[Address, ...]
    problem: Diagnostic | None = None

    @property
    def address(self) -> Address | None:
        """The address that the rule set prefers."""
        return self.addresses[0] if self.addresses else None


def resolve(graph: BlockGraph, rules: RuleSet = "explicit", side: Side = "source") -> tuple[Resolved, ...]:
    """Every named bitmap of `graph`, sorted by node and name.

    A bitmap without an address carries BM207, BM301 or BM302; a policy may still map it or leave it behind.
    """
    return tuple(_resolve_all(graph, rules, side))


def _resolve_all(graph: BlockGraph, rules: RuleSet, side: Side) -> Iterator[Resolved]:
    for node in graph.nodes.values():
        if not node.bitmaps:
            continue
        found = tuple(addresses(graph, node, rules))
        for bitmap in node.bitmaps:
            problem = None if found else _problem(graph, node, bitmap, rules, side)
            yield Resolved(node, bitmap, found, problem)


def addresses(graph: BlockGraph, node: Node, rules: RuleSet) -> Iterator[Address]:
    """The addresses of what is on `node`, the preferred one first."""
    devices = graph.devices_of(node.name)
    device_first = rules in ("qemu", "root-only")
    if node.explicit and not device_first:
        yield Address("node-name", node.name, "explicit node-name")
    elif len(devices) == 1:
        passed = graph.default_walks[devices[0]].passed
        below = f", below {', '.join(graph.nodes[name].driver for name in passed)}" if passed else ""
        yield Address("device", devices[0], f"root of device {devices[0]!r}{below}")
    elif node.explicit and rules == "qemu" and not devices and not _doubtful(graph, node.name):
        yield Address("node-name", node.name, "explicit node-name of a node that is no device's root")
    if rules == "guest-device":
        guest_devices = graph.guest_devices_of(node.name)
        if len(guest_devices) == 1:
            yield Address("qdev", guest_devices[0], f"disk of guest device {guest_devices[0]!r}")


def _problem(graph: BlockGraph, node: Node, bitmap: Bitmap, rules: RuleSet, side: Side) -> Diagnostic:
    where = Where(side=side, node=node.name, bitmap=bitmap.name)
    devices = graph.devices_of(node.name)
    leave = leave_behind(graph, node.name, bitmap.name)
    if len(devices) > 1:
        return codes.BACKENDS_SHARE_NODE.at(
            where, bitmap=bitmap.name, node=node.name, devices=list(devices), fragments=[leave]
        )
    reason = "which is the root of no device"
    if rules == "root-only" and node.explicit:
        reason = "which is the root of no device, and by the rule set root-only nothing else counts"
    if node.name in graph.cut_short:
        device, walk = graph.cut_short[node.name]
        if walk.unknown is not None:
            driver = graph.nodes[walk.unknown].driver
            return codes.FILTER_UNKNOWN.at(where, driver=driver, node=walk.unknown, device=device, fragments=[leave])
        reason = f"and the filter {walk.stopped_by!r} between it and device {device!r} has a bitmap of its own"
    return codes.ADDRESS_MISSING.at(where, bitmap=bitmap.name, node=node.name, reason=reason, fragments=[leave])


def _doubtful(graph: BlockGraph, node: NodeName) -> bool:
    """Whether a device's walk ended, above `node`, on a node that may or may not be a filter."""
    return node in graph.cut_short and graph.cut_short[node][1].unknown is not None


# from a name to a node


class Located(NamedTuple):
    """What a name means in a graph: a node, or why it means none."""

    node: NodeName | None
    problem: Literal["missing", "empty", "filter-unknown", "path"] | None = None
    unknown: NodeName | None = None  #: the node that may or may not be a filter


def locate(graph: BlockGraph, kind: NameKind | None, name: str, path: tuple[str, ...] = ()) -> Located:
    """The node that `name` means; without `kind` it is a device or a node-name, QEMU keeps the two apart.

    A device, or a guest device, means the first node below its root that is no filter, or the node that the child roles
    of `path` lead to from the root.
    """
    if kind in (None, "node-name") and name in graph.nodes:
        node = graph.nodes[NodeName(name)].name
        return _follow(graph, node, path) if path else Located(node)
    backend = None
    if kind in (None, "device"):
        backend = graph.device(name)
    elif kind == "qdev":
        backend = graph.guest_device(name)
    return _below(graph, backend, path) if backend else Located(None, "missing")


def _below(graph: BlockGraph, backend: Backend, path: tuple[str, ...]) -> Located:
    if backend.root is None:
        return Located(None, "empty")
    if path:
        return _follow(graph, backend.root, path)
    walk = graph.skip_filters(backend.root)
    if walk.unknown is not None:
        return Located(None, "filter-unknown", walk.unknown)
    return Located(walk.end, None if walk.end else "empty")


def _follow(graph: BlockGraph, root: NodeName, path: tuple[str, ...]) -> Located:
    node = graph.walk(root, path)
    return Located(node, None if node else "path")


# from a node to words of a policy


def selector(graph: BlockGraph, node: NodeName) -> dict[str, Any]:
    """Words by which a policy can name `node`: its own name, else a device, a guest device, or a path below one.

    Only where nothing of the user's own reaches the node are they the generated name, which holds until QEMU restarts.
    """
    route = None if graph.nodes[node].explicit else graph.route(node)
    if route is None:
        return {"node-name": node}
    backend, path = route
    if _below(graph, backend, path).node != node:
        return {"node-name": node}
    name = {"device": backend.device} if backend.device else {"qdev": backend.guest_device}
    return {**name, "path": ".".join(path)} if path else {**name}


def leave_behind(graph: BlockGraph, node: NodeName, bitmap: str | None = None) -> dict[str, Any]:
    """The policy fragment that leaves a bitmap behind, or every bitmap of the node."""
    named = selector(graph, node)
    return {"map": [{"source": named if bitmap is None else {**named, "bitmap": bitmap}, "destination": None}]}

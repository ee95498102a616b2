"""What differs between two structures -> changes: first what several facts make together.

Each pattern looks in one direction and is asked in both, so that swapping the structures gives the opposite changes.
Whatever it recognises takes its facts out of what is left for later patterns.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from bitmapmig.changes.facts import OF_BACKEND, OF_NODE
from bitmapmig.changes.kinds import KINDS, Change, change
from bitmapmig.graph.drivers import FILTERED_ROLES, FILTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic import JsonValue

    from bitmapmig.changes.facts import Half, Key


class Told(NamedTuple):
    """A change and the facts that it tells."""

    change: Change
    keys: frozenset[Key]


class Way:
    """From `old` to `new`: forward from what was planned to what is now, or back. `left` are the facts not yet told."""

    def __init__(self, old: Half, new: Half, left: frozenset[Key], *, forward: bool) -> None:
        self.old = old
        self.new = new
        self.left = left
        self.forward = forward
        self.added = {key[1] for key in left if key[0] == "node" and key[1] in new.nodes}

    def told(self, kind: str, keys: set[Key], **said: JsonValue) -> Told:
        """The change of a kind, which going back is its opposite."""
        return Told(change(kind if self.forward else KINDS[kind].opposite, **said), frozenset(keys & self.left))

    def ordered(self, old: JsonValue, new: JsonValue) -> dict[str, JsonValue]:
        """What was and what is, as facts of a change."""
        return {"before": old, "now": new} if self.forward else {"before": new, "now": old}

    def own(self, node: str) -> set[Key]:
        """The facts that come with a new node, and with the auto-named nodes that only it holds."""
        keys: set[Key] = set()
        held: set[str] = set()
        waiting = [node]
        while waiting:
            name = waiting.pop()
            held.add(name)
            keys |= {(what, name) for what in OF_NODE}
            for role, child in self.new.nodes[name].children:
                keys.add(("edge", name, role, child))
                parents = {parent for parent, _ in self.new.parents[child]}
                if child.startswith("#") and child in self.added - held and parents <= held:
                    waiting.append(child)
        return keys

    def owned(self, node: str | None) -> set[Key]:
        """`own` of a root where it is new and auto-named, so that it came with the device."""
        return self.own(node) if node and node in self.added and node.startswith("#") else set()

    def moved(self, below: str, above: str) -> set[Key]:
        """The facts by which users of the node `below` became users of the node `above`."""
        keys: set[Key] = {("root", *key) for key in self.old.users.get(below, ()) if self.new.root(key) == above}
        for parent, role in self.old.parents.get(below, ()):
            gone, come = ("edge", parent, role, below), ("edge", parent, role, above)
            if gone in self.left and come in self.left:
                keys |= {gone, come}
        return keys & self.left


def filters(way: Way) -> Iterator[Told]:
    """A new filter above a node that was there, alone or with others, and the users that it took over."""
    for name in sorted(way.added):
        base = _filtered(way, name)
        if base is not None:
            below = way.new.child(name, *FILTERED_ROLES)
            driver = way.new.nodes[name].driver
            yield way.told(
                "filter-inserted", way.own(name) | way.moved(base, name), filter=name, driver=driver, node=below
            )


def _filtered(way: Way, node: str) -> str | None:
    """The node that was there before, which the new filter `node` filters, perhaps through other new ones."""
    at: str | None = node
    seen: set[str] = set()
    while at is not None and at in way.added:
        if at in seen or way.new.nodes[at].driver not in FILTERS:
            return None
        seen.add(at)
        at = way.new.child(at, *FILTERED_ROLES)
    return at if at in way.old.nodes else None


def overlays(way: Way) -> Iterator[Told]:
    """A node that is no filter took over users of a node, which became its backing node: a snapshot was taken."""
    for kind, name, *more in sorted(way.left):
        if kind != "edge" or more[0] != "backing" or name not in way.new.nodes:
            continue
        below = more[1]
        node = way.new.nodes[name]
        if node.driver in FILTERS or ("backing", below) not in node.children or below not in way.old.nodes:
            continue
        # users through a backing link are a chain that got longer
        users = {key for key in way.moved(below, name) if key[0] != "edge" or key[2] != "backing"}
        if users:
            own = way.own(name) if name in way.added else {("edge", name, "backing", below)}
            yield way.told("overlay-put-on", own | users, overlay=name, node=below)


def chains(way: Way) -> Iterator[Told]:
    """The backing node of a node is now one above what it was: other nodes came in between."""
    for name in sorted({key[1] for key in way.left if key[:1] == ("edge",) and key[2] == "backing"}):
        if name not in way.old.nodes or name not in way.new.nodes:
            continue
        before, now = (half.child(name, "backing") for half in (way.old, way.new))
        keys: set[Key] = {("edge", name, "backing", child) for child in (before, now) if child is not None}
        longer = before is None or (now is not None and way.new.below(now, before) and not way.old.below(before, now))
        if now is not None and before != now and longer and keys <= way.left:
            yield way.told("chain-lengthened", keys, node=name, **way.ordered(before, now))


def media(way: Way) -> Iterator[Told]:
    """A device that had no root has one."""
    for key, root in _roots(way):
        if way.old.root(key) is None and root is not None:
            yield way.told("medium-inserted", {("root", *key)} | way.owned(root), device=key[1], node=root)


def roots(way: Way) -> Iterator[Told]:
    """A device has another root: after a mirror or an active commit, its target."""
    back = Way(way.new, way.old, way.left, forward=False)
    for key, root in _roots(way):
        before = way.old.root(key)
        if way.forward and before is not None and root is not None:
            keys = {("root", *key)} | way.owned(root) | back.owned(before)
            yield way.told("root-changed", keys, device=key[1], **way.ordered(before, root))


def _roots(way: Way) -> Iterator[tuple[Key, str | None]]:
    for what, *key in sorted(way.left):
        name = tuple(key)
        if what == "root" and name in way.old.backends and name in way.new.backends:
            yield name, way.new.root(name)


def devices(way: Way) -> Iterator[Told]:
    """A backend that was not there."""
    for what, *key in sorted(way.left):
        name = tuple(key)
        if what == "backend" and name in way.new.backends:
            backend = way.new.backends[name]
            keys = {(each, *name) for each in OF_BACKEND} | way.owned(backend.root)
            yield way.told("device-plugged", keys, device=key[1], qdev=backend.qdev, node=backend.root)


def nodes(way: Way) -> Iterator[Told]:
    """A node that was not there; one that QEMU named comes with the new node that alone holds it."""
    for name in sorted(way.added):
        parents = {parent for parent, _ in way.new.parents.get(name, ())}
        if not (name.startswith("#") and len(parents) == 1 and parents <= way.added):
            keys = way.own(name)
            yield way.told("node-added", keys, node=name, driver=way.new.nodes[name].driver)


def nodes_alone(way: Way) -> Iterator[Told]:
    """A new node of which no other pattern told."""
    for name in sorted(way.added):
        yield way.told("node-added", way.own(name), node=name, driver=way.new.nodes[name].driver)


def read_only(way: Way) -> Iterator[Told]:
    """A node became read-only, and with it the nodes that QEMU named and only it holds."""
    turned = {key[1] for key in way.left if key[0] == "read-only" and _turned(way, key[1])}
    for name in sorted(turned):
        if not _holders(way, name) & turned:
            below = (child for _, child in way.new.nodes[name].children)
            with_it = {child for child in below if child in turned and _holders(way, child) == {name}}
            yield way.told("node-read-only", {("read-only", one) for one in {name} | with_it}, node=name)


def _turned(way: Way, node: str) -> bool:
    """Whether a node that is on both sides was not read-only and is; what is not told is neither."""
    sides = (way.old, False), (way.new, True)
    return all(node in half.nodes and half.nodes[node].read_only is told for half, told in sides)


def _holders(way: Way, node: str) -> set[str]:
    """The node that alone holds an auto-named one on both sides; none where there is no such node."""
    here, there = ({parent for parent, _ in half.parents.get(node, ())} for half in (way.old, way.new))
    return here if node.startswith("#") and here == there and len(here) == 1 else set()


def children(way: Way) -> Iterator[Told]:
    """A node has a child that it did not have, in place of another or not."""
    gone: defaultdict[Key, list[Key]] = defaultdict(list)
    come: defaultdict[Key, list[Key]] = defaultdict(list)
    for key in sorted(way.left):
        if key[0] == "edge":
            (come if _has(way.new, key) else gone)[key[1:3]].append(key)
    for place, keys in come.items():
        node, role = place
        if len(keys) != 1 or len(gone[place]) != 1:
            for key in keys:
                yield way.told("child-added", {key}, node=node, role=role, child=key[3])
        elif way.forward:
            (before,), (now,) = gone[place], keys
            yield way.told("child-changed", {before, now}, node=node, role=role, **way.ordered(before[3], now[3]))


def _has(half: Half, edge: Key) -> bool:
    return edge[1] in half.nodes and tuple(edge[2:]) in half.nodes[edge[1]].children


Pattern: TypeAlias = "Callable[[Way], Iterator[Told]]"

#: In the order in which they are asked.
PATTERNS: tuple[Pattern, ...] = (
    filters,
    overlays,
    chains,
    media,
    roots,
    devices,
    nodes,
    nodes_alone,
    children,
    read_only,
)

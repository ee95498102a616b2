"""Captures -> what is where: each block graph with its bitmaps, their addresses, and what QEMU would do by itself.

Pure. Nothing is judged here: a bitmap without an address, or one that QEMU would lose, is a fact of the picture.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from bitmapmig import graph, state
from bitmapmig.diagnostics import Diagnostic, Side
from bitmapmig.fate import Foretold, Qemu, foretell
from bitmapmig.pair import pair
from bitmapmig.policy import Policy, decide
from bitmapmig.resolve import RuleSet, resolve
from bitmapmig.validate.unclean import capability_left_on, mapping_in_force

if TYPE_CHECKING:
    from bitmapmig.captures import Capture
    from bitmapmig.graph import Bitmap, Node


class _Part(BaseModel):
    """A part of the preview document."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PlacedAddress(_Part):
    """An address and the rule that gave it."""

    kind: Literal["node-name", "device", "qdev"]
    name: str
    rule: str


class PreviewBitmap(_Part):
    """A named bitmap in memory, sizes in bytes; `problem` says why there is no address.

    `destination_node` is where it goes without a policy; None where there is nothing of that name, or no destination.
    """

    name: str
    granularity: int
    dirty_bytes: int
    recording: bool
    busy: bool
    persistent: bool
    inconsistent: bool
    address: PlacedAddress | None
    problem: Diagnostic | None
    destination_node: str | None


class StoredCopy(_Part):
    """A bitmap in an image that is not loaded; `in_use` where a QEMU that has the image open has loaded it."""

    name: str
    granularity: int
    in_use: bool


class Child(_Part):
    """An edge to a child; `inferred` where no query shows it."""

    role: str
    node: str
    inferred: bool


class PreviewNode(_Part):
    """A node; `filter` and `guest_writes` are None where it cannot be known."""

    name: str
    driver: str
    virtual_size: int | None
    read_only: bool | None
    filter: bool | None
    of_a_job: bool
    guest_writes: bool | None
    children: tuple[Child, ...]
    bitmaps: tuple[PreviewBitmap, ...]
    stored: tuple[StoredCopy, ...]


class PreviewBackend(_Part):
    """A device, a guest device, or both; `guest_device` is the id that a user gave it; `root` None without a medium."""

    device: str | None
    qdev: str | None
    guest_device: str | None
    root: str | None


class PreviewJob(_Part):
    """A block job and the nodes that it holds."""

    id: str
    type: str
    status: str
    nodes: tuple[str, ...]


class PreviewExport(_Part):
    """A block export."""

    id: str
    type: str
    node: str


class PreviewSide(_Part):
    """One QEMU: `dirty_bitmaps` and `mapped_nodes` (None without a mapping) are what is set on it already.

    `unclean` are the findings about what that does if it is left so.
    """

    endpoint: str
    name: str | None
    uuid: str | None
    qemu_version: str
    machine_type: str | None
    run_state: str
    dirty_bitmaps: bool
    mapped_nodes: int | None
    unclean: tuple[Diagnostic, ...]
    backends: tuple[PreviewBackend, ...]
    nodes: tuple[PreviewNode, ...]
    jobs: tuple[PreviewJob, ...]
    exports: tuple[PreviewExport, ...]
    findings: tuple[Diagnostic, ...]


class Preview(_Part):
    """The preview document; `findings` of a side are what forbids to trust its capture.

    `foretold` is what QEMU would do by itself, with what is set on both sides; `foretold_with_dirty_bitmaps` what it
    would do were that capability on, the same where it is.
    """

    format_version: Literal[2] = 2
    resolve: RuleSet
    source: PreviewSide
    destination: PreviewSide | None
    foretold: Foretold
    foretold_with_dirty_bitmaps: Foretold


def preview(source: Capture, destination: Capture | None, rules: RuleSet = "explicit") -> Preview:
    """What is where on one side, or on both, and what becomes of it without a plan.

    Raises `CannotRunError` (BM108, BM111).
    """
    here = _End(source, "source", rules)
    there = None if destination is None else _End(destination, "destination", rules)
    taker = None if there is None else there.qemu
    return Preview(
        resolve=rules,
        source=here.shown(there),
        destination=None if there is None else there.shown(None),
        foretold=foretell(here.qemu, taker),
        foretold_with_dirty_bitmaps=foretell(Qemu.of(here.graph, here.state, dirty_bitmaps=True), taker),
    )


class _End:
    """One side while it is put into words."""

    def __init__(self, capture: Capture, side: Side, rules: RuleSet) -> None:
        self.side = side
        self.graph, self.found = graph.read(capture, side)
        self.state = state.read(capture)
        self.qemu = Qemu.of(self.graph, self.state)
        self.rules = rules
        self.resolved = {(one.node.name, one.bitmap.name): one for one in resolve(self.graph, rules, side)}

    def destinations(self, other: _End) -> dict[tuple[str, str], str]:
        """The node of `other` that each bitmap goes to without a policy, by node and bitmap."""
        policy = Policy(resolve=self.rules)
        decisions, _ = decide(policy, self.graph, tuple(self.resolved.values()))
        pairs, _ = pair(policy, decisions, self.graph, other.graph)
        return {(one.source.name, one.bitmap.name): one.destination.name for one in pairs}

    def shown(self, other: _End | None) -> PreviewSide:
        now, shown = self.state, self.graph
        mapping = now.parameters.block_bitmap_mapping
        return PreviewSide(
            endpoint=now.endpoint,
            name=now.name,
            uuid=now.uuid,
            qemu_version=now.version_text,
            machine_type=now.machine_type,
            run_state=now.run_state,
            dirty_bitmaps=bool(now.capabilities.get("dirty-bitmaps")),
            mapped_nodes=None if mapping is None else len(mapping),
            unclean=(
                *mapping_in_force(self.side, self.graph, now),
                *capability_left_on(self.side, self.graph, now),
            ),
            backends=tuple(
                PreviewBackend(device=one.device, qdev=one.qdev, guest_device=one.guest_device, root=one.root)
                for one in shown.backends
            ),
            nodes=_nodes(self, other),
            jobs=tuple(PreviewJob(id=one.id, type=one.type, status=one.status, nodes=one.nodes) for one in shown.jobs),
            exports=tuple(PreviewExport(id=one.id, type=one.type, node=one.node) for one in shown.exports),
            findings=self.found,
        )


def _nodes(end: _End, other: _End | None) -> tuple[PreviewNode, ...]:
    destinations = {} if other is None else end.destinations(other)
    below: defaultdict[str, list[Child]] = defaultdict(list)
    for edge in end.graph.edges():
        below[edge.parent].append(Child(role=edge.role, node=edge.child, inferred=edge.inferred))
    return tuple(
        PreviewNode(
            name=node.name,
            driver=node.driver,
            virtual_size=node.virtual_size,
            read_only=node.read_only,
            filter=end.graph.is_filter(node.name),
            of_a_job=end.graph.implicit(node.name),
            guest_writes=True if node.name in end.graph.guest_written else False if end.graph.writes_known else None,
            children=tuple(sorted(below[node.name], key=lambda child: (child.role, child.node))),
            bitmaps=tuple(
                _bitmap(end, node, bitmap, destinations.get((node.name, bitmap.name))) for bitmap in node.bitmaps
            ),
            stored=tuple(
                StoredCopy(name=one.name, granularity=one.granularity, in_use=one.in_use)
                for one in node.stored or ()
                if node.bitmap(one.name) is None
            ),
        )
        for node in end.graph.nodes.values()
    )


def _bitmap(end: _End, node: Node, bitmap: Bitmap, destination_node: str | None) -> PreviewBitmap:
    resolved = end.resolved[node.name, bitmap.name]
    address = None
    if resolved.address is not None:
        kind, name, rule = resolved.address
        address = PlacedAddress(kind=kind, name=name, rule=rule)
    return PreviewBitmap(
        name=bitmap.name,
        granularity=bitmap.granularity,
        dirty_bytes=bitmap.count,
        recording=bitmap.recording,
        busy=bitmap.busy,
        persistent=bitmap.persistent,
        inconsistent=bitmap.inconsistent,
        address=address,
        problem=resolved.problem,
        destination_node=destination_node,
    )

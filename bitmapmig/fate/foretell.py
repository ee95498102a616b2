"""Two sides -> what the migration comes to, and what becomes of each bitmap."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from bitmapmig import codes
from bitmapmig.fate import storage
from bitmapmig.fate.course import Course
from bitmapmig.fate.loader import Cancelled, Killed, Loaded
from bitmapmig.fate.outcome import WHOLE, Foretold, ForetoldBitmap, LogLine, Outcome
from bitmapmig.fate.qemu import Images, Qemu
from bitmapmig.fate.sender import Refused, Sent, Skipped, Step, Unsure
from bitmapmig.graph import activation
from bitmapmig.qapi import NodeName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bitmapmig.diagnostics import Code
    from bitmapmig.graph import Bitmap, Node


def foretell(
    source: Qemu, destination: Qemu | None, images: Images | None = None, *, provisional: bool = False
) -> Foretold:
    """What a migration from `source` to `destination` would come to, were it begun now.

    Without a destination, what the source alone would do. With `provisional` it is not held against the destination
    that it does not wait. What a job or the guest goes on to change is not foreseen.
    """
    course = Course(source, destination, provisional=provisional)
    ending = course.ending
    # of a bitmap that is met twice the second meeting counts
    steps = {(step.node.name, step.bitmap.name): step for step in course.steps}
    fates = _Fates(course, images or Images())
    bitmaps = tuple(fates.of(step) for _, step in sorted(steps.items()))
    log = (*ending.log, *_activation(destination, bitmaps), *_shutdown(destination, bitmaps))
    if destination is not None:
        bitmaps = tuple(_not_activated(destination, fates.images, bitmaps))
    return Foretold(
        migration=ending.migration,
        source=ending.source,
        destination=ending.destination,
        reason=ending.reason,
        code=ending.code.code if ending.code else None,
        log=log,
        bitmaps=bitmaps,
    )


def _activation(destination: Qemu | None, bitmaps: Iterable[ForetoldBitmap]) -> Iterator[LogLine]:
    """What the destination prints when it activates its images: up to 7.2 on completion, later at `cont`.

    It stops at the first that it cannot activate (`bdrv_activate_all`).
    """
    broken: dict[str | None, str] = {}
    for one in bitmaps:
        if one.outcome == "breaks-activation":
            broken.setdefault(one.destination_node, one.destination_bitmap or one.bitmap)
    if broken and destination:
        first = next(broken[node] for node in activation(destination.graph) if node in broken)
        text = f"Could not reopen qcow2 layer: Bitmap already exists: {first}"
        yield LogLine(side="destination", text=text)


def _not_activated(destination: Qemu, images: Images, bitmaps: Sequence[ForetoldBitmap]) -> Iterator[ForetoldBitmap]:
    """The bitmaps, where an image cannot be activated: it has lost its others too, and none after it is activated.

    Those before it are whole, and are stored at shutdown. So it is on every version (`bdrv_activate_all`).
    """
    order = {name: place for place, name in enumerate(activation(destination.graph))}
    places = [
        (order[NodeName(one.destination_node)], one)
        for one in bitmaps
        if one.outcome == "breaks-activation" and one.destination_node
    ]
    if not places:
        yield from bitmaps
        return
    first, cause = min(places, key=lambda found: found[0])
    along = {}
    for one in bitmaps:
        there = images.shared(NodeName(one.node)) if one.outcome == "by-storage" else None
        name = there.name if there else one.destination_node
        if name is None or one.outcome not in WHOLE or order[NodeName(name)] < first:
            continue
        if storage.never_active(destination.graph, destination.state, destination.graph.nodes[NodeName(name)]):
            continue
        reason = f"the image of {cause.destination_node!r} cannot be activated, nor then any that comes after it"
        change = {"outcome": "breaks-activation", "reason": reason, "code": cause.code, "destination_node": name}
        along[one.node, one.bitmap] = one.model_copy(update=change)
    for one in bitmaps:
        if one.outcome == "breaks-activation" and one.destination_node == cause.destination_node:
            yield one.model_copy(update={"others_lost": len(along)})
        else:
            yield along.get((one.node, one.bitmap), one)


def _shutdown(destination: Qemu | None, bitmaps: Iterable[ForetoldBitmap]) -> Iterator[LogLine]:
    """What the destination prints when it is shut down (`qcow2_inactivate`), a line a node that is read-only.

    By then no device has it any more, so it goes by its node-name.
    """
    if destination is None:
        return
    lost = [one.destination_node for one in bitmaps if one.outcome == "lost-at-shutdown"]
    for name in dict.fromkeys(NodeName(name) for name in lost if name is not None):
        node = destination.graph.nodes[name]
        inactive = storage.never_active(destination.graph, destination.state, node)
        if node.driver == "qcow2" and node.read_only and not inactive:
            text = f"Lost persistent bitmaps during inactivation of node '{name}': No write access"
            yield LogLine(side="destination", text=text)


class _Fates:
    """What becomes of each bitmap of one migration."""

    def __init__(self, course: Course, images: Images) -> None:
        self.course, self.images = course, images
        self.source, self.destination = course.source, course.destination

    def of(self, step: Step) -> ForetoldBitmap:
        match step:
            case Skipped():
                return self._left_out(step)
            case Unsure():
                return _told(step, "unknown", step.reason, step.code)
            case Refused():
                return _told(step, "blocks-source", step.reason, step.code, others_lost=self._others(step))
            case Sent():
                return self._sent(step)

    def _others(self, step: Step) -> int:
        """How many other bitmaps go down with one that takes all down."""
        return len(self._wanted) - ((step.node.name, step.bitmap.name) in self._wanted)

    @cached_property
    def _wanted(self) -> frozenset[tuple[str, str]]:
        return frozenset(
            (step.node.name, step.bitmap.name) for step in self.course.steps if not isinstance(step, Skipped)
        )

    def _left_out(self, step: Skipped) -> ForetoldBitmap:
        """The bitmap is not in the stream; on shared storage it may be in the image."""
        if (step.node.name, step.bitmap.name) in self.course.held:
            reason = f"{step.reason}, and it is in use when its image is to store it"
            return _told(step, "blocks-source", reason, codes.BUSY_WHEN_STORED, others_lost=self._others(step))
        if (step.node.name, step.bitmap.name) in self.course.unstorable:
            reason = f"{step.reason}, and its node, which is to store it, is read-only"
            return _told(step, "blocks-source", reason, codes.READ_ONLY_WHEN_STORED, others_lost=self._others(step))
        there = self._by_storage(step.node, step.bitmap)
        if there is not None and self.course.ending.migration == "completes":
            reason = f"{step.reason}; both sides have its image open, and it travels there"
            if not storage.in_the_way(there, step.bitmap.name):
                return _told(step, "by-storage", reason, step.code)
            reason += f", but {there.name!r} has a bitmap of that name in memory, and cannot be activated"
            return _told(step, "breaks-activation", reason, codes.BITMAP_ALREADY_THERE, destination_node=there.name)
        return _told(step, "dropped", step.reason + self._stale(step.node, step.bitmap), step.code)

    def _by_storage(self, node: Node, bitmap: Bitmap) -> Node | None:
        """The destination node in whose image the bitmap travels; None where it does not."""
        there = self.images.shared(node.name)
        if there is None or self.destination is None:
            return None
        if not storage.in_the_image(self.source.graph, self.source.state.conduct, node, bitmap):
            return None
        inactive = storage.never_active(self.destination.graph, self.destination.state, there)
        return None if inactive else there

    def _stale(self, node: Node, bitmap: Bitmap) -> str:
        there = self.images.counterparts.get(node.name)
        copy = there.stored_bitmap(bitmap.name) if there else None
        if copy is None:
            return ""
        if copy.in_use:
            return "; a copy in the destination's image that is marked as in use comes up inconsistent"
        return "; a stale copy of it in the destination's image comes up and looks healthy"

    def _sent(self, sent: Sent) -> ForetoldBitmap:
        ending = self.course.ending
        loading = self.course.loadings.get((sent.node.name, sent.bitmap.name))
        facts: dict[str, Any] = {"node_alias": sent.node_alias, "bitmap_alias": sent.bitmap_alias}
        if isinstance(loading, Cancelled | Killed):
            outcome: Outcome = "dropped" if isinstance(loading, Cancelled) else "kills-destination"
            return _told(sent, outcome, loading.reason, loading.code, others_lost=self._others(sent), **facts)
        if loading is not None:
            facts |= {"destination_node": loading.node.name, "destination_bitmap": loading.name}
            facts["persistent"] = loading.persistent
        if self.course.growing(sent) is not None:
            reason = "its node grows while it migrates, since a format stores bitmaps in it"
            return _told(sent, "blocks-source", reason, codes.NODE_GROWS, others_lost=self._others(sent), **facts)
        if ending.reason:
            return _told(sent, "lost-with-another", ending.reason, ending.code, **facts)
        if loading is None or self.destination is None:
            return _told(sent, "sent", sent.reason, None, **facts)
        loss = self._worth(loading, self.destination)
        return _told(sent, *(loss or ("arrives", sent.reason, None)), **facts)

    def _worth(self, loaded: Loaded, destination: Qemu) -> tuple[Outcome, str, Code | None] | None:
        """What the bitmap lacks once it is there; None where it lacks nothing."""
        here, there = loaded.sent.node.name, loaded.node
        never_active = storage.never_active(destination.graph, destination.state, there)
        copy = there.stored_bitmap(loaded.name)
        if copy is not None and not copy.in_use and not never_active:
            reason = f"the image of {there.name!r} holds a clean stored bitmap of that name, and cannot be activated"
            return "breaks-activation", reason, codes.BITMAP_STORED_THERE
        if loaded.persistent:
            untold = storage.no_store(there, loaded.sent.bitmap) or never_active
            if untold is not None:
                return "lost-at-shutdown", f"{there.name!r} cannot store it: {untold}", codes.PERSISTENCE_IMPOSSIBLE
            if there.read_only:
                return "lost-at-shutdown", f"{there.name!r} is read-only", codes.DESTINATION_READ_ONLY
        if here not in self.source.graph.guest_written and there.name in destination.graph.guest_written:
            reason = f"no guest write reached {here!r}, and {there.name!r} is a disk of the guest"
            return "worthless", reason, codes.BITMAP_UNWRITTEN
        return None


def _told(
    step: Step,
    outcome: Outcome,
    reason: str,
    code: Code | None,
    **facts: Any,  # noqa: ANN401  members of ForetoldBitmap
) -> ForetoldBitmap:
    flags: dict[str, Any] = {"recording": step.bitmap.recording, "persistent": step.bitmap.persistent}
    return ForetoldBitmap(
        node=step.node.name,
        bitmap=step.bitmap.name,
        outcome=outcome,
        reason=reason,
        code=code.code if code else None,
        granularity=step.bitmap.granularity,
        **{**flags, **facts},
    )

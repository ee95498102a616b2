"""Mirrors with a pivot: each bitmap is made on the target while nothing can write, with what the old one holds.

A job with `auto-finalize: false` waits, with the disk drained, between its last copied block and the pivot: at
`BLOCK_JOB_PENDING` every write of the guest is in the source's bitmap, all that the job copies is in the target, and
the next write goes to the target. A bitmap made there before also records the blocks that the job itself copies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig.graph import Node
from bitmapmig.qapi import NodeName
from bitmapmig.recipes.actions import (
    Action,
    add,
    event,
    held,
    job_id,
    lookup,
    merge,
    single,
    step,
    stores,
    transaction,
    unnamed,
    usable,
)
from bitmapmig.recipes.document import Recipe, RecipeBitmap, RecipeEvent, RecipeStep

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import JsonValue

    from bitmapmig.graph import Bitmap, BlockGraph, Job

#: The filter that a mirror puts above its source.
_FILTER = "mirror_top"


def mirrored(graph: BlockGraph, word: str, arguments: Mapping[str, JsonValue]) -> Recipe | None:
    """The recipe of `blockdev-mirror` or `drive-mirror`, from before it starts until after the pivot."""
    root = lookup(graph, arguments.get("replaces") or arguments.get("device"))
    if root is None:
        return None
    begin = {**arguments, "auto-finalize": False}
    if word == "blockdev-mirror":
        target = lookup(graph, arguments.get("target"))
        if target is None:
            return None
        made = _Moved(graph, root, graph.nodes[target])
    else:
        name = str(begin.setdefault("node-name", unnamed(graph, "target")))
        made = _Moved(graph, root, _to_be(graph.nodes[root], name, arguments))
    if not made.bitmaps:
        return None
    identity = job_id(arguments)
    pending = event("BLOCK_JOB_PENDING", id=identity)
    steps = (
        step(word, begin, "start the mirror so that it waits before the pivot"),
        step(
            "block-job-complete",
            {"device": identity},
            "end the copying, once you want the pivot",
            event("BLOCK_JOB_READY", device=identity),
        ),
        *made.moving(pending),
        step(
            "block-job-finalize",
            {"id": identity},
            "pivot: the guest, whose disk stands still from the event before until now, goes on with the target",
        ),
        *made.tidying(event("BLOCK_JOB_COMPLETED", device=identity)),
    )
    return Recipe(operation=word, bitmaps=tuple(made.bitmaps), steps=steps if made.actions else ())


def completed(graph: BlockGraph, job: Job) -> Recipe | None:
    """The recipe of a pivot where the mirror runs already, and perhaps does not wait before it.

    From `BLOCK_JOB_READY` on the job copies nothing but what the guest writes, in blocks of its own granularity.
    """
    sources = [one for one in job.nodes if one not in job.targets and graph.nodes[one].driver != _FILTER]
    if len(job.targets) != 1 or not sources:
        return None
    target = graph.nodes[job.targets[0]]
    root = next((one for one in sources if not any(one in graph.below(other) - {other} for other in sources)), None)
    if root is None:
        return None
    made = _Moved(graph, root, target, copied_too=True)
    if not made.bitmaps:
        return None
    ready = None if job.status == "ready" else event("BLOCK_JOB_READY", device=job.id)
    steps = (
        *made.moving(ready),
        step("block-job-complete", {"device": job.id}, "pivot"),
        *made.tidying(event("BLOCK_JOB_COMPLETED", device=job.id)),
    )
    remark = "if the mirror is cancelled instead, remove the bitmaps from the target"
    return Recipe(
        operation="block-job-complete",
        bitmaps=tuple(made.bitmaps),
        steps=steps if made.actions else (),
        remark=remark if made.actions else "",
    )


def _to_be(source: Node, name: str, arguments: Mapping[str, JsonValue]) -> Node:
    """The target that `drive-mirror` is going to open: in the format of the source where none is named."""
    driver = str(arguments.get("format") or source.driver)
    compat = "1.1" if driver == "qcow2" else None
    return Node(NodeName(name), driver, virtual_size=source.virtual_size, compat=compat)


class _Moved:
    """The bitmaps of `root`, and of what it filters, on their way to the target of a mirror."""

    def __init__(self, graph: BlockGraph, root: NodeName, target: Node, *, copied_too: bool = False) -> None:
        self.graph = graph
        self.target = target
        self.copied_too = copied_too
        self.actions: list[Action] = []
        self.moved: list[tuple[NodeName, str]] = []
        self.bitmaps: list[RecipeBitmap] = []
        chain = graph.chain(root)
        for name in chain:
            for bitmap in graph.nodes[name].bitmaps:
                self._move(graph.nodes[name], bitmap)
        for name in sorted(graph.below(root) - set(chain)):
            self.bitmaps += self._ending(graph.nodes[name])

    def _move(self, node: Node, bitmap: Bitmap) -> None:
        target = self.target
        obstacle = usable(bitmap)
        if target.bitmap(bitmap.name) or target.stored_bitmap(bitmap.name):
            obstacle = f"the target has a bitmap of that name already: remove it from {target.name!r} first"
        elif any(name == bitmap.name for _, name in self.moved):
            obstacle = "a filter above its node has one of the same name, and the target can have only one"
        elif target.virtual_size != node.virtual_size:
            obstacle = f"{target.name!r} has another virtual size, and bitmaps of different sizes are not merged"
        if obstacle is not None:
            self.bitmaps.append(_told(node, bitmap, obstacle))
            return
        persistent = bitmap.persistent and stores(target)
        self.actions.append(add(target.name, bitmap, persistent=persistent))
        self.actions.append(merge(target.name, bitmap.name, [(node.name, bitmap.name)]))
        self.moved.append((node.name, bitmap.name))
        reason = "made on the target while the disk stands still, with what the old one holds"
        superset = self.copied_too and bitmap.recording
        if superset:
            reason = (
                "made on the target when the mirror is ready, with what the old one holds; what the guest writes until "
                "the pivot arrives in blocks of the mirror's granularity, so it is exact only where that is not coarser"
            )
        if bitmap.persistent and not persistent:
            reason += f"; no longer persistent, because {target.name!r} stores no bitmaps"
        self.bitmaps.append(
            RecipeBitmap(
                node=node.name,
                bitmap=bitmap.name,
                result="superset" if superset else "exact",
                kept_on=target.name,
                reason=reason,
            )
        )

    def _ending(self, node: Node) -> Iterator[RecipeBitmap]:
        """The bitmaps further down, which are of other images: those in memory alone end with a node that ends."""
        if held(self.graph, node.name):
            return
        for bitmap in node.bitmaps:
            if not bitmap.persistent:
                reason = f"{node.name!r} ends with the pivot, and the target has no node that is the like of it"
                yield _told(node, bitmap, reason)

    def moving(self, after: RecipeEvent | None) -> Iterator[RecipeStep]:
        """The one transaction that makes them."""
        if self.actions:
            yield transaction(self.actions, "make each bitmap on the target and merge the old one into it", after)

    def tidying(self, after: RecipeEvent) -> Iterator[RecipeStep]:
        """The old ones, where their node stays: they record nothing any more, and would migrate as if they did."""
        staying = [(node, name) for node, name in self.moved if held(self.graph, node)]
        for number, (node, name) in enumerate(staying):
            yield single(
                {"type": "block-dirty-bitmap-remove", "data": {"node": node, "name": name}},
                "remove the old one, which no write reaches any more; only where the event has no error",
                None if number else after,
            )


def _told(node: Node, bitmap: Bitmap, reason: str) -> RecipeBitmap:
    return RecipeBitmap(node=node.name, bitmap=bitmap.name, result="lost", reason=reason)

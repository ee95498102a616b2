"""Plan, and both ends after the migration -> what became of every bitmap; nothing is changed on either side.

An end that is gone is an answer too: the source may have been ended once all was handed over, and a destination that
died is what there is to find. Whatever else keeps an end from answering leaves everything open, and is an error.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from bitmapmig import codes, graph, recorded, state
from bitmapmig.allowlist import READING, Message, digest, reads_digest
from bitmapmig.captures import LOOK, printable
from bitmapmig.collect import collect, collect_on
from bitmapmig.diagnostics import CannotRunError, Diagnostic, Side, Where
from bitmapmig.endpoint import parse
from bitmapmig.monitor import connected
from bitmapmig.qapi import BlockDeviceInfo, BlockDirtyBitmapSha256, Count, NodeName, Reply
from bitmapmig.verifying.document import VerificationFailed, Verified
from bitmapmig.verifying.judge import Gone, judge
from bitmapmig.verifying.log import read
from bitmapmig.verifying.seen import Seen
from bitmapmig.whereabouts import check_identity, check_plan, why_gone

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bitmapmig.captures import Capture
    from bitmapmig.endpoint import Endpoint
    from bitmapmig.graph import BlockGraph
    from bitmapmig.monitor import Monitor
    from bitmapmig.plans import Plan
    from bitmapmig.plans.document import Identity

#: How many digests are asked for at once.
_TOGETHER = 500
#: The highest offset that was written to each node; what no query of a capture tells for nodes that no device uses.
_WRITTEN = Message("query-blockstats", {"query-nodes": True})


class _Stats(Reply):
    """The members of QAPI `BlockDeviceStats` that are read: bytes, and numbers of operations of a guest device."""

    wr_highest_offset: Count | None = None
    wr_operations: Count | None = None
    unmap_operations: Count = 0

    model_config = Reply.model_config | {"alias_generator": None}

    @property
    def written(self) -> bool | None:
        """Whether the guest device has written or discarded anything; None where it is not counted."""
        return None if self.wr_operations is None else self.wr_operations + self.unmap_operations > 0


class _BlockStats(Reply):
    """A line of `query-blockstats`, of a node or of a device."""

    node_name: NodeName | None = None
    qdev: str | None = None
    stats: _Stats = _Stats()


_STATS = TypeAdapter(tuple[_BlockStats, ...])
_NODES = TypeAdapter(tuple[BlockDeviceInfo, ...])


async def verify(
    plan: Plan,
    *,
    source: str | None = None,
    destination: str | None = None,
    log: str | None = None,
    strict: bool = False,
    digests: Mapping[tuple[str, str], str] | None = None,
    timeout: float = 10.0,  # noqa: ASYNC109  of each step
) -> Verified:
    """What became of every bitmap of `plan`, where nothing speaks against it; `strict` asks for proof of each.

    Endpoints are the plan's, unless named. `log` is a file with the log of the destination. `digests` are those of the
    source's bitmaps at `pre-switchover`, by (node, bitmap); without them those that were recorded for this plan.
    `timeout` is in seconds: connecting takes at most so long, and so does each answer.

    Raises `VerificationFailed`, which carries the document, where a bitmap is not as planned or the migration did not
    complete (BM801 to BM807; with `strict` BM811), and `CannotRunError` (BM101 to BM113, BM704, BM705, BM711, BM714,
    BM814, BM815) where nothing could be found out.
    """
    lines = () if log is None else read(log)
    here, there = await _both(plan, source, destination, timeout)
    noted = digests if digests is not None else recorded.load(plan)
    verified = judge(plan, here, there, recorded=noted, log=lines, strict=strict)
    if verified.failures:
        raise VerificationFailed(verified)
    return verified


async def _both(
    plan: Plan, source: str | None, destination: str | None, seconds: float
) -> tuple[Seen | Gone, Seen | Gone]:
    ends = _endpoints(plan, source, destination)
    seen: dict[Side, tuple[Seen | Gone, str | None]] = {}
    found: list[Diagnostic] = []

    async def look(side: Side, endpoint: Endpoint) -> None:
        try:
            seen[side] = await _look(plan, side, endpoint, seconds)
        except CannotRunError as error:
            found.extend(
                one.model_copy(update={"where": one.where.model_copy(update={"side": side})})
                for one in error.diagnostics
            )

    async with asyncio.TaskGroup() as group:
        for side, endpoint in ends.items():
            group.create_task(look(side, endpoint))
    if found:
        raise CannotRunError(*sorted(found, key=lambda one: one.where.side == "destination"))
    (here, one), (there, other) = seen["source"], seen["destination"]
    if one is not None and one == other:
        raise CannotRunError(codes.ENDS_ARE_ONE.at(Where(side="destination")))
    return here, there


def _endpoints(plan: Plan, source: str | None, destination: str | None) -> dict[Side, Endpoint]:
    """Where both ends are: as named, else as the plan has it.

    Raises `CannotRunError`: BM101, BM704 or BM705 for a plan that nobody can have carried out, BM815 where the plan was
    made from a stored capture and its end is not named.
    """
    check_plan(plan)
    named: dict[Side, tuple[str | None, Identity]] = {
        "source": (source, plan.source),
        "destination": (destination, plan.destination),
    }
    ends = {side: parse(text or identity.endpoint) for side, (text, identity) in named.items()}
    stale = [side for side, end in ends.items() if named[side][0] is None and not end.live]
    if stale:
        raise CannotRunError(
            *(codes.ENDPOINT_BEFORE.at(Where(side=side), side=side, endpoint=ends[side].text) for side in stale)
        )
    return ends


async def _look(plan: Plan, side: Side, endpoint: Endpoint, seconds: float) -> tuple[Seen | Gone, str | None]:
    """What one end shows, and which process it is."""
    try:
        if not endpoint.live:
            capture = await collect(endpoint)
            return replace(_seen(plan, side, capture), no_digest="a stored capture holds none"), capture.process
        async with connected(endpoint, (*READING, reads_digest, _WRITTEN.message), timeout=seconds) as monitor:
            capture = await collect_on(endpoint, monitor, LOOK)
            seen = _seen(plan, side, capture)
            digests, refused = await _digests(monitor, _places(plan, side, seen))
            untouched = await _untouched(monitor, capture)
            return replace(seen, digests=digests, no_digest=refused, untouched=untouched), capture.process
    except CannotRunError as error:
        gone = why_gone(error)
        if gone is not None:
            return Gone(endpoint.text, gone), None
        ejected = [one for one in error.diagnostics if one.code == "BM108" and "is ejected" in str(one.facts["error"])]
        if side == "destination" and ejected:
            return Gone(endpoint.text, str(ejected[0].facts["error"]), disk_lost=True), None
        raise


def _seen(plan: Plan, side: Side, capture: Capture) -> Seen:
    """What a capture shows. Raises `CannotRunError` (BM111, BM711)."""
    found = state.read(capture)
    check_identity(side, plan.source if side == "source" else plan.destination, found)
    nodes = capture.returned("query-named-block-nodes", _NODES) or ()
    inactive = frozenset(node.node_name for node in nodes if node.active is False)
    found_graph = graph.read(capture, side)[0]
    stats = capture.returned("query-blockstats", _STATS)
    silent, written = _by_guest(found_graph, stats or ())
    return Seen(found_graph, found, inactive=inactive, guest_silent=silent, guest_written=written)


def _by_guest(there: BlockGraph, stats: Iterable[_BlockStats]) -> tuple[frozenset[str], frozenset[str]]:
    """The nodes below guest devices that have written nothing, and those below one that has."""
    by_device = {one.qdev: one.stats.written for one in stats if one.qdev}
    told: defaultdict[str, set[bool | None]] = defaultdict(set)
    for backend in there.backends:
        if backend.qdev and backend.root is not None:
            for node in there.below(backend.root):
                told[node].add(by_device.get(backend.qdev))
    silent = frozenset(node for node, words in told.items() if words == {False})
    return silent, frozenset(node for node, words in told.items() if True in words)


# bits


def _places(plan: Plan, side: Side, seen: Seen) -> list[tuple[str, str]]:
    """The bitmaps of the plan that are on this side, wherever a name of theirs is."""
    planned = (*plan.bitmaps, *plan.travelling)
    names = {one.bitmap if side == "source" else one.destination_bitmap or one.bitmap for one in planned}
    return [(node.name, one.name) for node in seen.graph.nodes.values() for one in node.bitmaps if one.name in names]


async def _digests(
    monitor: Monitor, places: Iterable[tuple[str, str]]
) -> tuple[dict[tuple[str, str], str], str | None]:
    """The SHA-256 of the bits of each bitmap that QEMU gives one of; and why it gives none at all, if so."""
    asked = list(places)
    found: dict[tuple[str, str], str] = {}
    refused = None
    for first in range(0, len(asked), _TOGETHER):
        part = asked[first : first + _TOGETHER]
        for place, answer in zip(part, await monitor.ask([digest(*place) for place in part]), strict=True):
            if answer.error is None:
                with suppress(ValidationError):
                    found[place] = BlockDirtyBitmapSha256.model_validate(answer.return_).sha256
            elif answer.error.get("class") == "CommandNotFound":
                refused = printable(str(answer.error.get("desc")))  # absent, or refused by -compat
    return found, refused


async def _untouched(monitor: Monitor, capture: Capture) -> frozenset[str]:
    """The nodes that nothing was ever written to."""
    (answer,) = await monitor.ask((_WRITTEN,))
    if answer.error is not None:
        return frozenset()
    stats = capture.parse(_WRITTEN.execute, answer.return_, _STATS)
    return frozenset(one.node_name for one in stats if one.node_name is not None and one.stats.wr_highest_offset == 0)

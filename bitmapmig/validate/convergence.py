"""Will the migration converge: advice only, since no figure is safe.

QEMU counts one byte a granule as pending, eight times too much, and sends none of it before the switch-over. It goes on
as long as this is more than the bandwidth that it estimates lets through within `downtime-limit`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig import codes
from bitmapmig.diagnostics import Diagnostic, Where

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.pair import Pair
    from bitmapmig.validate.situation import Situation

#: Bytes; the smallest pending figure that was seen to keep a (small, idle) guest from converging: 64 GiB at 64 KiB.
_DOUBTFUL = 1 << 20
#: As many bitmaps were seen to keep one from converging (11.1, 6 s) though they were small.
_DOUBTFUL_COUNT = 1000


def pending(pairs: tuple[Pair, ...]) -> int:
    """What QEMU counts as pending for the bitmaps that migrate, in bytes."""
    return sum(-(-(one.source.virtual_size or 0) // one.bitmap.granularity) for one in pairs)


def check(situation: Situation) -> Iterator[Diagnostic]:
    """BM563 where the pending figure may be too large, with the cure that this source offers."""
    amount = pending(situation.pairs)
    parameters, schema = situation.source.state.parameters, situation.source.state.schema
    downtime = parameters.downtime_limit or 0
    switchover = parameters.avail_switchover_bandwidth or 0
    few = amount < _DOUBTFUL and len(situation.pairs) < _DOUBTFUL_COUNT
    if few or (switchover and amount <= switchover * downtime // 1000):
        return
    probed = schema is not None and schema.has("migrate-set-parameters", "avail-switchover-bandwidth")
    wanted = max(1 << 30, amount * 1000 // max(downtime, 1) + 1)
    cure = (
        f"set avail-switchover-bandwidth to {wanted} bytes a second (migrate-set-parameters) on the source"
        if probed
        else "use bitmaps of coarser granularity, or raise downtime-limit; no figure is safe on this version"
    )
    yield codes.CONVERGENCE_DOUBTFUL.at(
        Where(side="source"),
        pending=amount,
        downtime_limit=parameters.downtime_limit,
        avail_switchover_bandwidth=parameters.avail_switchover_bandwidth,
        cure=cure,
    )

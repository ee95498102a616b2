"""What both QEMUs of an experiment came to -> one short answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bitmapmig.selftest.experiment import ABORTS, ARRIVES, DROPPED, EXITS, FAILS, MIGRATE_REFUSED, SOURCE_ABORTS

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A bitmap by the node-name of its node, and its own name.
Place: TypeAlias = tuple[str, str]

#: What a source prints that gives up by itself; one that has lost its destination speaks of sockets and sections.
_OWN_REASON = re.compile(r"Bitmap '|is longer than|inactivate")


_COMPLETED = ("completed", "completed")


@dataclass(frozen=True, slots=True)
class Seen:
    """A bitmap as `query-named-block-nodes` shows it; `digest` is None where QEMU takes none."""

    granularity: int
    recording: bool
    busy: bool
    persistent: bool
    inconsistent: bool
    digest: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a migration came to.

    `source` and `destination` are what `query-migrate` says at the end, None where the process has ended; `refused` is
    why `migrate` was refused, if it was. `destination_exit` is None while it lives, negative for a signal. `before`
    are the source's bitmaps before, `bitmaps` those of the destination afterwards; None where it cannot list them.
    """

    source: str | None
    destination: str | None
    destination_exit: int | None
    refused: str
    source_log: tuple[str, ...]
    destination_log: tuple[str, ...]
    before: Mapping[Place, Seen]
    bitmaps: Mapping[Place, Seen] | None

    @property
    def end(self) -> str | None:
        """How the migration ended; None where both sides say that it completed."""
        gave_up = self.source == "failed" and any(map(_OWN_REASON.search, self.source_log))
        ends = (
            (bool(self.refused), MIGRATE_REFUSED),
            (self.source is None, SOURCE_ABORTS),
            (self.destination_exit is not None and self.destination_exit < 0, ABORTS),
            (gave_up, FAILS),
            (self.destination is None, EXITS),
            ((self.source, self.destination) != _COMPLETED, f"source {self.source}, destination {self.destination}"),
        )
        return next((end for is_so, end in ends if is_so), None)

    def of(self, node: str = "disk0", bitmap: str = "b0", *, to: Place | None = None) -> str:
        """What became of one bitmap, which is looked for at the place `to`, by default where it was."""
        if self.end is not None:
            return self.end
        arrived = (self.bitmaps or {}).get(to or (node, bitmap))
        if arrived is None:
            return DROPPED
        return ARRIVES if arrived.digest == self.before[node, bitmap].digest else "arrives altered"

    def where(self, bitmap: str, **places: str) -> str:
        """At which of the nodes, by the words for them, a bitmap arrived."""
        if self.end is not None:
            return self.end
        found = sorted(node for node, name in self.bitmaps or {} if name == bitmap)
        return " and ".join(places.get(node, f"at {node}") for node in found) or DROPPED

    def all_of(self) -> str:
        """What became of all bitmaps together, each at the place where it was."""
        found = sorted({self.of(*place) for place in self.before})
        return f"all {found[0]}" if len(found) == 1 and self.end is None else " and ".join(found)

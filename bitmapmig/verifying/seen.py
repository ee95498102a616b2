"""What one end showed when it was asked after the migration: its graph, its state, and the bits of its bitmaps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bitmapmig.qapi import NodeName

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitmapmig.graph import Bitmap, BlockGraph
    from bitmapmig.state import State


@dataclass(frozen=True)
class Seen:
    """One end. `digests` are by (node, bitmap); `no_digest` is why there are none at all.

    `inactive` are the nodes whose images are not active, which they become when the guest runs (from 10.0 on).
    `untouched` are those that nothing was ever written to in the life of this process; a mirror, too, writes to nodes.
    `guest_silent` are those below a guest device that has written nothing, `guest_written` those below one that has.
    """

    graph: BlockGraph
    state: State
    digests: Mapping[tuple[str, str], str] = field(default_factory=dict)
    no_digest: str | None = None
    inactive: frozenset[str] = frozenset()
    untouched: frozenset[str] = frozenset()
    guest_silent: frozenset[str] = frozenset()
    guest_written: frozenset[str] = frozenset()

    @property
    def runs(self) -> bool:
        """Whether a guest may write now."""
        return self.state.run_state == "running"

    def bitmap(self, node: str | None, name: str | None) -> Bitmap | None:
        """The bitmap `name` in memory on `node`."""
        found = None if node is None else self.graph.nodes.get(NodeName(node))
        return None if found is None or name is None else found.bitmap(name)

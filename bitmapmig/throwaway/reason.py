"""Why a graph, or a part of one, cannot be built."""

from __future__ import annotations

from bitmapmig.captures import printable


class NotBuiltError(Exception):
    """A real QEMU cannot be brought into this state here; `node` is where, None where it is about no single node."""

    def __init__(self, reason: str, node: str | None = None) -> None:
        super().__init__(f"{node!r}: {reason}" if node is not None else reason)
        self.reason = printable(reason)
        self.node = node

"""Bitmaps and their bits, under any name: names go as JSON, bits by way of a helper with a name of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bitmapmig.allowlist import Message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bitmapmig.throwaway.process import Throwaway

#: The node and the bitmap through which bits are set; they exist only meanwhile.
_HELPER, _BITS = "bitmapmig-bits", "bits"


async def add_bitmaps(qemu: Throwaway, node: str, bitmaps: Iterable[dict[str, Any]]) -> None:
    """`block-dirty-bitmap-add` with these arguments, in this order. Raises `QemuRefusedError`."""
    await qemu.execute_all(tuple(Message("block-dirty-bitmap-add", {"node": node, **one}) for one in bitmaps))


@dataclass(frozen=True, slots=True)
class Bits:
    """What is to be dirty in one bitmap of a node of `size` bytes: the granules at `offsets`, in bytes."""

    node: str
    bitmap: str
    size: int
    granularity: int
    offsets: tuple[int, ...]

    def __post_init__(self) -> None:
        if any(not 0 <= offset < self.size for offset in self.offsets):
            raise ValueError("an offset is beyond the end of the node")


async def fill(qemu: Throwaway, wanted: Iterable[Bits]) -> None:
    """Set bits, all in one go. Raises `QemuRefusedError`.

    `qemu-io` exists on the human monitor only, where no name of a user may go: so it writes to a node of our own, and
    the bits are merged, into all bitmaps that are to have the same.
    """
    groups: dict[tuple[int, int, tuple[int, ...]], list[Bits]] = {}
    for one in wanted:
        if one.offsets:
            groups.setdefault((one.size, one.granularity, tuple(map(int, one.offsets))), []).append(one)
    source = {"node": _HELPER, "name": _BITS}
    messages: list[Message] = []
    for (size, granularity, offsets), alike in groups.items():
        writes = (f'qemu-io {_HELPER} "write -q {offset} 1"' for offset in offsets)
        messages += (
            Message("blockdev-add", {"driver": "null-co", "node-name": _HELPER, "size": size}),
            Message("block-dirty-bitmap-add", source | {"granularity": granularity}),
            *(Message("human-monitor-command", {"command-line": write}) for write in writes),
            *(
                Message("block-dirty-bitmap-merge", {"node": one.node, "target": one.bitmap, "bitmaps": [source]})
                for one in alike
            ),
            Message("block-dirty-bitmap-remove", source),
            Message("blockdev-del", {"node-name": _HELPER}),
        )
    await qemu.execute_all(messages)

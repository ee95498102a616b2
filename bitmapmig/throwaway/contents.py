"""Bitmaps and their bits, under any name: names go as JSON, bits by way of helpers with names of ours."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bitmapmig.allowlist import Message
from bitmapmig.throwaway import nbd
from bitmapmig.throwaway.nbd import NotWrittenError, Write
from bitmapmig.throwaway.reason import NotBuiltError
from bitmapmig.throwaway.session import QemuRefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeVar

    from bitmapmig.throwaway.process import Throwaway

    _T = TypeVar("_T")

#: The nodes and the bitmaps through which bits are set; they exist only meanwhile.
_HELPER, _BITS = "bitmapmig-bits", "bits"
#: Helper nodes that are there at once: each takes a few commands, and each pattern beyond that one round more.
_HELPERS = 16
#: Bytes of memory of the helpers that are there at once, and of what one transaction could have to undo.
_MEMORY = 64 << 20
#: Actions of the largest transaction.
_ACTIONS = 1000
#: Bytes that are written at once.
_SECTOR, _LONGEST = 512, 1 << 30


def transaction(messages: Iterable[Message]) -> Message:
    """One command that does what these do, or nothing."""
    actions = [{"type": one.execute, "data": dict(one.arguments)} for one in messages]
    return Message("transaction", {"actions": actions})


async def add_bitmaps(qemu: Throwaway, wanted: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """`block-dirty-bitmap-add` on each node with these arguments, in this order. Raises `QemuRefusedError`.

    Its `number` says which one was refused.
    """
    messages = [Message("block-dirty-bitmap-add", {"node": node, **words}) for node, words in wanted]
    for start in range(0, len(messages), _ACTIONS):
        chunk = messages[start : start + _ACTIONS]
        (answer,) = await qemu.answers((transaction(chunk),))
        if answer.error is None:
            continue
        try:  # one by one: that tells which
            await qemu.execute_all(chunk)
        except QemuRefusedError as error:
            raise QemuRefusedError(error.command, error.desc, start + error.number) from error


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

    @property
    def memory(self) -> int:
        """Bytes that the bitmap takes."""
        return self.size // max(self.granularity, 1) // 8


@asynccontextmanager
async def exported(qemu: Throwaway, nodes: Iterable[str]) -> AsyncIterator[Path]:
    """Let nodes, whose names are ours, be written to over NBD; the socket. Raises `QemuRefusedError`."""
    file = qemu.nbd or f"{qemu.name}.bits"
    if qemu.nbd is None:
        await qemu.execute("nbd-server-start", {"addr": {"type": "unix", "data": {"path": file}}})
    words = {"type": "nbd", "writable": True}
    await qemu.execute_all([Message("block-export-add", words | {"id": node, "node-name": node}) for node in nodes])
    yield qemu.folder / file
    if qemu.nbd is None:
        await qemu.execute("nbd-server-stop")
    else:
        await qemu.execute_all([Message("block-export-del", {"id": node, "mode": "hard"}) for node in nodes])
        for node in nodes:
            await qemu.event("BLOCK_EXPORT_DELETED", id=node)


async def write(socket: Path, wanted: Mapping[str, Sequence[Write]]) -> None:
    """Write to nodes that are `exported`. Raises `NotBuiltError`."""
    try:
        await asyncio.gather(*(nbd.write(socket, node, writes) for node, writes in wanted.items()))
    except NotWrittenError as error:
        msg = f"it cannot be written to: {error}"
        raise NotBuiltError(msg) from error


async def fill(qemu: Throwaway, wanted: Iterable[Bits]) -> None:
    """Set bits. Raises `QemuRefusedError`, `NotBuiltError`.

    Nothing sets a bit but a write. So nodes of our own are written to, and the bits are merged from there, into all
    bitmaps that are to have the same.
    """
    patterns: dict[tuple[int, int, tuple[int, ...]], list[Bits]] = {}
    for one in wanted:
        if one.offsets:
            patterns.setdefault((one.size, one.granularity, tuple(map(int, one.offsets))), []).append(one)
    alike = sorted(patterns.values(), key=lambda group: group[0].size)
    for some in _chunks(alike, lambda group: group[0].memory, len(alike)):
        await _fill(qemu, some)


async def _fill(qemu: Throwaway, patterns: Sequence[Sequence[Bits]]) -> None:
    """Set bits by helpers that are all there at once; `patterns` are those that are to have the same, by size."""
    depth = -(-len(patterns) // _HELPERS)
    helpers: dict[str, list[Sequence[Bits]]] = {}
    for group in patterns:
        last = next(reversed(helpers.values()), None)
        if last is not None and len(last) < depth and last[0][0].size == group[0].size:
            last.append(group)
        else:
            helpers[f"{_HELPER}-{len(helpers)}"] = [group]
    words = {"driver": "null-co", "read-zeroes": False}
    nodes = [words | {"node-name": helper, "size": of_one[0][0].size} for helper, of_one in helpers.items()]
    await qemu.execute_all([Message("blockdev-add", one) for one in nodes])
    async with exported(qemu, helpers) as socket:
        for step in range(depth):
            await qemu.execute_all((transaction(_turned(helpers, step)),))
            now = {helper: of_one[step][0] for helper, of_one in helpers.items() if step < len(of_one)}
            await write(socket, {helper: list(_writes(bits)) for helper, bits in now.items()})
    sources = [(helper, number, group) for helper, of_one in helpers.items() for number, group in enumerate(of_one)]
    merges = [(bits, helper, number) for helper, number, group in sources for bits in group]
    for some in _chunks(merges, lambda one: one[0].memory, _ACTIONS):
        await qemu.execute_all((transaction(_merge(*one) for one in some),))
    await qemu.execute_all([Message("blockdev-del", {"node-name": helper}) for helper in helpers])


def _turned(helpers: Mapping[str, Sequence[Sequence[Bits]]], step: int) -> Iterator[Message]:
    """Let the writes of a step go to bitmaps of its own."""
    for helper, of_one in helpers.items():
        if 0 < step <= len(of_one):
            yield Message("block-dirty-bitmap-disable", {"node": helper, "name": f"{_BITS}{step - 1}"})
        if step < len(of_one):
            words = {"node": helper, "name": f"{_BITS}{step}", "granularity": of_one[step][0].granularity}
            yield Message("block-dirty-bitmap-add", words)


def _merge(bits: Bits, helper: str, number: int) -> Message:
    source = {"node": helper, "name": f"{_BITS}{number}"}
    return Message("block-dirty-bitmap-merge", {"node": bits.node, "target": bits.bitmap, "bitmaps": [source]})


def _writes(bits: Bits) -> Iterator[Write]:
    """The fewest writes that make these granules dirty: neighbours in one."""
    granule = bits.granularity
    first = last = -1
    for number in (*sorted({offset // granule for offset in bits.offsets}), -1):
        if number == last + 1 and number > 0 and (number - first) * granule < _LONGEST:
            last = number
            continue
        if first >= 0:
            yield Write(first * granule, min((last - first) * granule + _SECTOR, bits.size - first * granule))
        first = last = number


def _chunks(items: Sequence[_T], weight: Callable[[_T], int], most: int) -> Iterator[list[_T]]:
    """The items in order, in parts of at most `most` that weigh no more than `_MEMORY`, unless one alone does."""
    part: list[_T] = []
    weighs = 0
    for item in items:
        weighs += weight(item)
        if part and (weighs > _MEMORY or len(part) == most):
            yield part
            part, weighs = [], weight(item)
        part.append(item)
    if part:
        yield part

"""Two stands -> two throw-away QEMUs that are built like them, with what was set on them before."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bitmapmig import codes, state
from bitmapmig.fate import Images
from bitmapmig.graph import read
from bitmapmig.plans.document import BitmapAlias, Command, NodeAlias, Transform
from bitmapmig.plans.fingerprint import identify
from bitmapmig.plans.mapping import set_mapping
from bitmapmig.qapi import NodeName
from bitmapmig.rehearsing.moved import Place
from bitmapmig.rehearsing.sameness import check_built
from bitmapmig.rehearsing.sound import check
from bitmapmig.rehearsing.stand import machines
from bitmapmig.throwaway import NotBuiltError, QemuRefusedError, build, running

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
    from pathlib import Path

    from bitmapmig.diagnostics import Side
    from bitmapmig.graph import BlockGraph
    from bitmapmig.plans import Plan
    from bitmapmig.plans.document import Identity, SharedImage
    from bitmapmig.qapi import BitmapName
    from bitmapmig.rehearsing.stand import Stand
    from bitmapmig.state import State
    from bitmapmig.throwaway import Binary, Built, Throwaway

#: Granules of a bitmap that are made dirty, at most.
_DIRTY = 16


@dataclass(frozen=True)
class End:
    """One stand-in: the side that it stands for, and what each of its nodes has become."""

    stand: Stand
    qemu: Throwaway
    built: Built

    @property
    def side(self) -> Side:
        """Which side it is."""
        return self.stand.side

    def name(self, node: str) -> NodeName:
        """What a node of the side is called here; a name that is no node stays."""
        return self.built.names.get(NodeName(node), NodeName(node))

    async def place(self, identity: Identity) -> Place:
        """Where this side of a plan goes, that was made for `identity`."""
        capture = await self.qemu.look()
        graph, _ = read(capture, self.side)
        names = map(self.name, identity.structure.names)
        return Place(identify(self.known(state.read(capture)), graph, names), self.built.names)

    def known(self, found: State) -> State:
        """Its state, with what the plan's profile says of it, where it is that very build of QEMU."""
        planned = self.stand
        same = (found.version_text, found.package) == (planned.version, planned.package)
        return replace(found, measured=planned.measured) if same else found

    async def send(self, commands: Iterable[Command]) -> None:
        """Send commands one after the other. Raises `QemuRefusedError` at the first that is refused."""
        for command in commands:
            await self.qemu.execute(command.execute, command.arguments)


@dataclass(frozen=True)
class Pair:
    """Both stand-ins, and which images they share."""

    source: End
    destination: End
    shared: tuple[SharedImage, ...]

    def images(self, there: BlockGraph) -> Images:
        """What is known of their storage; `there` is the destination's graph."""
        counterparts = {
            self.source.name(one.source): there.nodes[self.destination.name(one.destination)] for one in self.shared
        }
        return Images(counterparts, dict.fromkeys(counterparts, "shared"))

    @property
    def stored(self) -> Mapping[str, str]:
        """The files of the destination's images that can hold bitmaps, by node."""
        return {str(self.destination.name(node)): file for node, file in self.destination.built.images.items()}


@asynccontextmanager
async def rebuilt(
    plan: Plan, stands: tuple[Stand, Stand], binaries: tuple[Binary, Binary], folder: Path, bits: random.Random
) -> AsyncIterator[Pair]:
    """Both sides of a plan in `folder`, which is private; alive inside the `async with`. `bits` says what is dirty.

    Raises `CannotRunError` (BM122, BM706), `NotBuiltError`, `QemuGoneError`, `TimeoutError`.
    """
    check(plan, stands)
    kinds = machines(stands, binaries)
    ids = _uuids(stands, bits)
    here, there = (
        running(
            binaries[n],
            folder=folder,
            name=stands[n].side,
            incoming=stands[n].waiting,
            machine=kinds[n],
            uuid=ids[n],
        )
        for n in (0, 1)
    )
    async with here as source, there as destination:
        pair = await _built(plan, stands, (source, destination), bits)
        for end in (pair.source, pair.destination):
            await _set(end)
        yield pair


async def _set(end: End) -> None:
    """Set what was set on the side before. Raises `NotBuiltError` where this QEMU does not take it."""
    try:
        await end.send(_in_force(end))
    except QemuRefusedError as error:
        msg = f"what was set on the {end.side} cannot be set: {error}"
        raise NotBuiltError(msg) from error


def _uuids(stands: tuple[Stand, Stand], bits: random.Random) -> tuple[uuid.UUID | None, uuid.UUID | None]:
    """Uuids of ours, equal where those of the sides are."""
    one = uuid.UUID(int=bits.getrandbits(128) | 1)
    other = one if stands[0].uuid == stands[1].uuid else uuid.UUID(int=one.int ^ 2)
    return one if stands[0].uuid else None, other if stands[1].uuid else None


async def _built(
    plan: Plan, stands: tuple[Stand, Stand], qemus: tuple[Throwaway, Throwaway], bits: random.Random
) -> Pair:
    dirty = [_dirty(stand, bits) for stand in stands]
    # what the policy says of storage, and the captures contradict, is not so
    contradicted = {one.where.node for one in plan.refusals if one.code == codes.STORAGE_CONTRADICTED.code}
    shared = tuple(one for one in plan.shared if contradicted.isdisjoint((one.source, one.destination)))
    if shared:
        here = await build(qemus[0], stands[0].graph, dirty[0])
        there = await build(qemus[1], stands[1].graph, dirty[1], shared=_files(shared, here, stands))
    else:
        here, there = await _both(*map(build, qemus, (one.graph for one in stands), dirty))
    for stand, built in zip(stands, (here, there), strict=True):
        check_built(stand.graph, built)
    return Pair(End(stands[0], qemus[0], here), End(stands[1], qemus[1], there), shared)


async def _both(one: Awaitable[Built], other: Awaitable[Built]) -> tuple[Built, Built]:
    """Both, at once; where one fails the other is not left alone in the background."""
    done = await asyncio.gather(one, other, return_exceptions=True)
    for found in done:
        if isinstance(found, BaseException):
            raise found
    return done  # type: ignore[return-value]


def _files(shared: Iterable[SharedImage], here: Built, stands: tuple[Stand, Stand]) -> Mapping[NodeName, str]:
    """The files of the source that the destination opens, by the destination's node that is the file."""
    leaves = [(_leaf(stands[0].graph, one.source), _leaf(stands[1].graph, one.destination)) for one in shared]
    return {there: here.files[source] for source, there in leaves if source in here.files}


def _leaf(graph: BlockGraph, node: str) -> NodeName:
    """The node that is the file of an image."""
    at = NodeName(node)
    while (below := dict(graph.children(at)).get("file")) is not None:
        at = below
    return at


def _dirty(stand: Stand, bits: random.Random) -> Mapping[tuple[NodeName, BitmapName], tuple[int, ...]]:
    """Offsets, in bytes, that are to be dirty in each bitmap, in memory or stored.

    On a QEMU that waits for a migration nothing can be written, so what it has in memory alone stays clean; so does
    what is on the file of an image, whose size is another each time.
    """
    found: dict[tuple[NodeName, BitmapName], tuple[int, ...]] = {}
    for node in stand.graph.nodes.values():
        sizes = {one.name: one.granularity for one in node.stored or ()}
        if not stand.waiting and node.driver != "file":
            sizes |= {one.name: one.granularity for one in node.bitmaps}
        for name in (*sizes, *(one.name for one in node.bitmaps)):
            if "\ufffd" in name:
                raise NotBuiltError("the name of a bitmap is not valid UTF-8, and QMP takes no other", node.name)
        for name, granularity in sizes.items():
            granules = -(-(node.virtual_size or 0) // granularity)
            dirty = bits.sample(range(granules), min(granules, bits.randint(1, _DIRTY)))
            found[node.name, name] = tuple(sorted(number * granularity for number in dirty))
    return found


def _in_force(end: End) -> Iterable[Command]:
    """What sets what was set on the side before anything was planned."""
    for name in end.stand.capabilities:
        state = {"capability": name, "state": True}
        yield Command(execute="migrate-set-capabilities", arguments={"capabilities": [state]})
    if end.stand.mapping is not None:
        yield set_mapping(
            tuple(
                NodeAlias(
                    node_name=end.name(one.node_name),
                    alias=one.alias,
                    bitmaps=tuple(
                        BitmapAlias(
                            name=each.name,
                            alias=each.alias,
                            transform=None
                            if each.transform is None or each.transform.persistent is None
                            else Transform(persistent=each.transform.persistent),
                        )
                        for each in one.bitmaps
                    ),
                )
                for one in end.stand.mapping
            )
        )

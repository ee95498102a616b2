"""A world on two real QEMUs -> what was foretold of it, what really happened, and where the two disagree."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from subprocess import CalledProcessError
from typing import TYPE_CHECKING, Literal

from bitmapmig import graph, state
from bitmapmig.captures import NODES
from bitmapmig.collect import collect_both
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.fate import Images, Qemu, foretell
from bitmapmig.qapi import MigrateParameters, NodeName
from tests.live.fuzz import compare
from tests.live.fuzz.build import Built, built
from tests.live.fuzz.outcome import happen
from tests.live.fuzz.outcome import readable as real_readable
from tests.live.fuzz.world import Node, Place, World
from tests.live.fuzz.world import readable as world_readable
from tests.live.monitor import QemuGoneError, QmpError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.captures import Capture
    from bitmapmig.fate import Foretold
    from bitmapmig.fate.qemu import Sharing
    from tests.live.fuzz.compare import Disagreement
    from tests.live.fuzz.outcome import Real
    from tests.live.qemu import Binary


#: The note of a verdict that agrees only with the true order of the source's nodes, which no query tells.
HIDDEN_ORDER = "agrees in the order of creation"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one world came to.

    `status` is "compared", or why there is nothing to compare: QEMU does not start so, the product takes no capture
    (BM code in `note`), the migration does not settle, the model says that it does not know.
    """

    world: World
    versions: tuple[str, str]
    status: Literal["compared", "unbuildable", "uncaptured", "unsettled", "unknown"]
    note: str = ""
    foretold: Foretold | None = None
    real: Real | None = None
    disagreements: tuple[Disagreement, ...] = ()
    compared: Counter[str] | None = None  #: how many things of each kind were compared

    def readable(self) -> str:
        """All of it, for people."""
        parts = [
            f"QEMU {self.versions[0]} to {self.versions[1]}: {self.status} {self.note}",
            *map(str, self.disagreements),
        ]
        parts.append(f"world: {world_readable(self.world)}")
        if self.foretold is not None:
            parts.append(f"foretold: {self.foretold.model_dump_json(exclude_none=True, indent=1)}")
        if self.real is not None:
            parts.append(f"real: {real_readable(self.real)}")
        return "\n".join(parts)


def judge(world: World, source: Binary, destination: Binary, *, propose: bool = True) -> Verdict:
    """Build a world, foretell it, let it happen, and compare.

    With `propose` also foretell it before maps and capabilities are set.
    """
    versions = source.version, destination.version
    try:
        with built(world, source, destination) as (here, there):
            try:
                return _judged(world, versions, here, there, propose=propose)
            except QemuGoneError as error:
                note = f"{error}; the source said {here.qemu.log}; the destination said {there.qemu.log}"
                return Verdict(world, versions, "unbuildable", note)
    except TimeoutError as error:  # some commands that build a world hang some QEMUs
        return Verdict(world, versions, "unsettled", str(error))
    except (QemuGoneError, QmpError, CalledProcessError) as error:
        return Verdict(world, versions, "unbuildable", str(error))


def _judged(world: World, versions: tuple[str, str], here: Built, there: Built, *, propose: bool) -> Verdict:
    try:
        proposed = _foretold_of(world, here, there, _captured(here, there), propose=True) if propose else None
        taken = [there.configure(), here.configure()]
        captures = _captured(here, there)
        foretold = _foretold_of(world, here, there, captures, propose=False)
    except CannotRunError as error:
        return Verdict(world, versions, "uncaptured", str(error))
    real = happen(world, here, there)
    if any("exceeds allocated max" in line for line in real.destination_log):
        # 11.1 loads no virtio disk of a 10.0 that was never run, bitmaps or not
        return Verdict(world, versions, "unbuildable", real.destination_log[-1])
    if not real.settled:
        return Verdict(world, versions, "unsettled", real.error, foretold, real)
    if foretold.migration == "unknown":
        return Verdict(world, versions, "unknown", foretold.reason, foretold, real)
    found, counted = compare.compare(world, foretold, real, there.names)
    note = ""
    if found and any(disk.hides_order for disk in world.source.disks):
        told = _foretold_of(world, here, there, (_as_created(captures[0], here), captures[1]), propose=False)
        again, counted_again = compare.compare(world, told, real, there.names)
        if not again:
            note, found, counted = HIDDEN_ORDER, again, counted_again
    if proposed is not None and all(taken):
        counted["proposal"] += 1
        found += compare.proposal(proposed, foretold)
    return Verdict(world, versions, "compared", note, foretold, real, found, counted)


def _as_created(capture: Capture, end: Built) -> Capture:
    """The capture with its nodes in the order in which they were created, which QEMU goes by and does not tell.

    They are listed newest first.
    """
    created = [
        end.names.get(Place(disk=n, path=path)) for n, disk in enumerate(end.side.disks) for path in disk.created()
    ]
    rank = {name: number for number, name in enumerate(created)}
    exchanges = [
        one.model_copy(
            update={
                "return_": sorted(one.return_, key=lambda record: -rank.get(record["node-name"], len(rank)))
                if one.execute == NODES.execute and isinstance(one.return_, list)
                else one.return_
            }
        )
        for one in capture.exchanges
    ]
    return capture.model_copy(update={"exchanges": tuple(exchanges)})


def _captured(here: Built, there: Built) -> tuple[Capture, Capture]:
    return asyncio.run(collect_both(here.qemu.endpoint, there.qemu.endpoint))


def _foretold_of(
    world: World, here: Built, there: Built, captures: tuple[Capture, Capture], *, propose: bool
) -> Foretold:
    source, destination = captures
    ends = _end(source, "source", here, propose=propose), _end(destination, "destination", there, propose=propose)
    return foretell(*ends, _images(world, here, there, ends[1].graph))


def _end(capture: Capture, side: Literal["source", "destination"], end: Built, *, propose: bool) -> Qemu:
    read, _ = graph.read(capture, side)
    if not propose:
        return Qemu.of(read, state.read(capture))
    wanted = MigrateParameters.model_validate_json(json.dumps({"block-bitmap-mapping": end.mapping}))
    mapping = wanted.block_bitmap_mapping
    return Qemu.of(read, state.read(capture), mapping=mapping, dirty_bitmaps=end.side.capability)


def _images(world: World, here: Built, there: Built, destination: graph.BlockGraph) -> Images:
    """What an operator knows of the storage: which node stands for which, and what is shared."""
    files = {file: place for place, file in _files(there)}
    counterparts: dict[NodeName, graph.Node] = {}
    sharing: dict[NodeName, Sharing] = {}
    for place, file in _files(here):
        shared = file in world.shared
        other = files.get(file) if shared else place
        known = NodeName(here.names.get(place, ""))
        node = destination.nodes.get(NodeName(there.names.get(other, ""))) if other is not None else None
        sharing[known] = "shared" if shared else "separate"
        if node is not None:
            counterparts[known] = node
    return Images(counterparts, sharing)


def _files(end: Built) -> Iterator[tuple[Place, str]]:
    """The format nodes of a side and the image files that they are over."""
    for index, disk in enumerate(end.side.disks):
        for path, node in disk.root.walk():
            file = file_of(node)
            if node.driver in {"qcow2", "raw"} and file is not None:
                yield Place(disk=index, path=path), file


def file_of(node: Node) -> str | None:
    """The image file of a format node."""
    child = node.children.get("file")
    while isinstance(child, Node):
        if child.image is not None:
            return child.image
        child = child.children.get("file")
    return None

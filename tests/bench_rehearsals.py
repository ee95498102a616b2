"""How long a rehearsal of 100 bitmaps on 16 disks takes, and a self-test, on each QEMU: a part of `make bench`.

Beside the bare start of as many throw-away processes as a rehearsal needs.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitmapmig.captures import dump, load
from bitmapmig.graph import Backend, Bitmap, BlockGraph, Edge, Node
from bitmapmig.planner import plan
from bitmapmig.qapi import BitmapName, NodeName
from bitmapmig.rehearsing.rehearser import rehearse
from bitmapmig.throwaway import Binary, build, machine_for, running
from tests.live.qemu import binaries

if TYPE_CHECKING:
    from collections.abc import Callable

DISKS, BITMAPS = 16, 100
_SIZE, _GRANULARITY = 10 << 30, 65536
#: Of the bitmaps of a disk, the first so many are persistent.
_PERSISTENT = 4
#: A source, a destination, and one that looks into the images afterwards.
_PROCESSES = 3


def rehearsals(runs: int, least: Callable[..., float]) -> list[dict[str, Any]]:
    """Seconds of a rehearsal in a process that has planned it, and of whole commands; `least` times a command."""
    return [_on(Binary.of(found.path), runs, least) for found in binaries()]


def _on(binary: Binary, runs: int, least: Callable[..., float]) -> dict[str, Any]:
    command = (sys.executable, "-m", "bitmapmig")
    program = ("--qemu", str(binary.path), "--format", "json")
    found: dict[str, Any] = {"qemu": binary.told, "disks": DISKS, "bitmaps": BITMAPS}
    baseline = min(asyncio.run(_started(binary)) for _ in range(runs))
    found["starting_processes_seconds"] = baseline
    for kind, guests in (("without_guest_devices", False), ("with_guest_devices", True)):
        with tempfile.TemporaryDirectory() as name:
            files = asyncio.run(_pair(binary, Path(name), guests=guests))
            inside = min(_rehearsed(binary, files) for _ in range(runs))
            whole = least(runs, *command, "rehearse", *map(str, files), *program)
        found[f"rehearse_{kind}"] = {
            "seconds": inside,
            "ratio": round(inside / baseline, 2),
            "command_seconds": whole,
        }
    seconds = least(runs, *command, "selftest", *program)
    found["selftest"] = {"seconds": seconds, "ratio": round(seconds / baseline, 2)}
    return found


async def _started(binary: Binary) -> float:
    """Seconds in which throw-away processes start, one after the other."""
    start = time.perf_counter()
    for _ in range(_PROCESSES):
        async with running(binary):
            pass
    return time.perf_counter() - start


def _rehearsed(binary: Binary, files: tuple[Path, Path]) -> float:
    """Seconds of a rehearsal alone: what was captured is planned already."""
    source, destination = (load(file.read_bytes(), file.name) for file in files)
    made = plan(source, destination)
    start = time.perf_counter()
    found = asyncio.run(rehearse(made, binary, binary, captures=(source, destination)))
    taken = time.perf_counter() - start
    assert (found.outcome, len(found.bitmaps)) == ("survives", BITMAPS)
    return taken


async def _pair(binary: Binary, folder: Path, *, guests: bool) -> tuple[Path, Path]:
    """Captures of a real source with all bitmaps, and of a real destination with the same disks and none."""
    files = folder / "source.json", folder / "destination.json"
    for path, count in zip(files, (BITMAPS, 0), strict=True):
        graph = _graph(count, guests=guests)
        async with running(binary, machine=machine_for(graph), incoming=not count) as qemu:
            await build(qemu, graph)
            path.write_bytes(dump(await qemu.captured()))
    return files


def _graph(bitmaps: int, *, guests: bool) -> BlockGraph:
    nodes: list[Node] = []
    edges: list[Edge] = []
    backends: list[Backend] = []
    for disk in range(DISKS):
        own = tuple(_bitmap(number // DISKS) for number in range(disk, bitmaps, DISKS))
        name, file = NodeName(f"disk{disk}"), NodeName(f"file{disk}")
        nodes += [Node(name, "qcow2", virtual_size=_SIZE, bitmaps=own, compat="1.1"), Node(file, "file")]
        edges.append(Edge("node", name, file, "file"))
        if guests:
            backends.append(Backend(None, f"/machine/peripheral/virtio{disk}/virtio-backend", name))
    return BlockGraph(nodes, edges, backends)


def _bitmap(number: int) -> Bitmap:
    return Bitmap(
        name=BitmapName(f"backup-{number}"),
        granularity=_GRANULARITY,
        count=0,
        recording=True,
        busy=False,
        persistent=number < _PERSISTENT,
        inconsistent=False,
    )

"""A disk of three layers on a real source, each written to while it was the top, and a destination that is flat."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bitmapmig.collapse import is_temporary
from bitmapmig.collect import collect_both
from bitmapmig.planner import plan
from bitmapmig.policy import Policy
from tests.live.qemu import Binary, Qemu
from tests.live.scenes.scene import GRANULE, SIZE, drive, null

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.plans import Plan

COLLAPSE = Policy.parse({"version": 1, "collapse": True})
#: By it a VM is known over any socket.
UUID = "0b5e0c1a-7f3d-4a52-9d5e-2f1c7a9b3e10"
#: What is written while each layer is the top, the deepest first, in granules.
WRITTEN = ((1, 2, 17), (2, 40), (90, 17, 255))


def expected(binary: Binary, granules: set[int], granularity: int = GRANULE) -> str:
    """The digest of a bitmap on a QEMU of its own to which just that was written."""
    with Qemu(binary, *null("n0"), name="reference", paused=False) as reference:
        reference.qmp("block-dirty-bitmap-add", node="n0", name="b", granularity=granularity)
        reference.write("n0", *(GRANULE * granule for granule in sorted(granules)))
        return reference.digest("n0", "b") or ""


def build_chain(source: Qemu, *, persistent: bool, granularities: tuple[int, ...]) -> None:
    """A disk of three layers from -drive, with `daily` in each, and what is in `WRITTEN` written to each as the top."""
    for depth, (granules, granularity) in enumerate(zip(WRITTEN, granularities, strict=True)):
        if depth:
            overlay = {"device": "drive0", "snapshot-file": f"layer{depth}.qcow2", "format": "qcow2"}
            source.qmp("transaction", actions=[{"type": "blockdev-snapshot-sync", "data": overlay}])
        top = source.root("drive0")
        source.qmp("block-dirty-bitmap-add", node=top, name="daily", granularity=granularity, persistent=persistent)
        source.write("drive0", *(GRANULE * granule for granule in granules))


@contextmanager
def ends(
    binary: Binary, *, persistent: bool = False, granularities: tuple[int, ...] = (GRANULE, GRANULE, GRANULE)
) -> Iterator[tuple[Qemu, Qemu]]:
    """A source with a chain of three and another disk, and a destination whose image is flat."""
    with TemporaryDirectory(prefix="bitmapmig-") as name:
        folder = Path(name)
        for image in ("base.qcow2", "flat.qcow2"):
            binary.image("create", "-q", "-f", "qcow2", image, str(SIZE), folder=folder)
        more = ("-uuid", UUID, *null("n1"))
        there = (*drive("drive0", "flat.qcow2"), *more)
        with (
            Qemu(binary, *drive("drive0", "base.qcow2"), *more, name="source", folder=folder, paused=False) as source,
            Qemu(binary, *there, name="destination", folder=folder, incoming=True) as destination,
        ):
            build_chain(source, persistent=persistent, granularities=granularities)
            source.qmp("block-dirty-bitmap-add", node="n1", name="other")
            source.write("n1", 0)
            yield source, destination


def made(source: Qemu, destination: Qemu, policy: Policy = COLLAPSE) -> Plan:
    """The plan for both."""
    return plan(*asyncio.run(collect_both(source.endpoint, destination.endpoint)), policy)


def temporaries(qemu: Qemu) -> list[str]:
    """The temporary bitmaps that are on a QEMU."""
    return [name for _, name in qemu.bitmaps() if is_temporary(name)]


def written(*more: int) -> set[int]:
    """All granules that were written, and `more`."""
    return {granule for layer in WRITTEN for granule in layer} | set(more)

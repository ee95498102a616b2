"""Hand-built captures: raw replies in the shape that real QEMU sends, from a few words a node; and plans between them.

    source(node("fmt0", "qcow2", file="file0", bitmaps=["b0"]), node("file0", "file"), drive("drive0", "fmt0"))

What a QEMU of that version would not show is not there: the nodes' `children` before 11, implicit filters in
`query-block`, what `query-blockstats` leaves out. Any reply can be replaced (`replies`), for hostile captures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitmapmig.planner import plan
from bitmapmig.plans import Plan, Refused
from bitmapmig.policy import Policy
from tests.build_parts import GRANULE, MIB, SIZE, NodeSpec, Part, Raw, bitmap, drive, export, guest, job, node, stored
from tests.build_replies import ABSENT, Capture, Error, Qemu

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bitmapmig.diagnostics import Diagnostic

__all__ = [
    "ABSENT",
    "GRANULE",
    "MIB",
    "SIZE",
    "Capture",
    "Error",
    "NodeSpec",
    "Part",
    "Raw",
    "bitmap",
    "codes",
    "destination",
    "drive",
    "export",
    "guest",
    "job",
    "node",
    "planned",
    "source",
    "stored",
]


def source(*parts: Part, **more: Any) -> Capture:
    """A capture of a QEMU that runs its guest."""
    return Qemu("source", parts, **{"run_state": "running", **more}).capture()


def destination(*parts: Part, **more: Any) -> Capture:
    """A capture of a QEMU that waits for a migration."""
    return Qemu("destination", parts, **{"run_state": "inmigrate", **more}).capture()


def planned(source: Capture, destination: Capture, policy: Mapping[str, Any] | None = None, **options: Any) -> Plan:
    """The plan, or the refused plan; `policy` is a policy document without its version."""
    try:
        return plan(source, destination, Policy.parse({"version": 1, **(policy or {})}), **options)
    except Refused as refused:
        return refused.plan


def codes(found: Iterable[Diagnostic]) -> list[str]:
    """The codes of findings, each once, sorted."""
    return sorted({one.code for one in found})

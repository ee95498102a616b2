"""Every operation that is simulated, each in cases that are done to real QEMUs."""

from tests.live.operations import (
    backup,
    bitmaps,
    commit,
    devices,
    exports,
    filters,
    mirror,
    nodes,
    process,
    snapshot,
    stream,
    transaction,
)
from tests.live.operations.held import Held

MODULES = (backup, bitmaps, commit, devices, exports, filters, mirror, nodes, process, snapshot, stream, transaction)

#: Every case with the module that it is in.
CASES: tuple[tuple[str, Held], ...] = tuple(
    (f"{module.__name__.rpartition('.')[2]}-{case.name}", case) for module in MODULES for case in module.CASES
)

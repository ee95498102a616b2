"""What an idle real QEMU of each measured version says of itself: recorded for scenarios that start from no capture.

    python -m tests.live.profiles

writes `bitmapmig/scenarios/qemu/VERSION.json` for each QEMU that is found. Which of several micro versions was recorded
is in the file; nothing is left that tells one process or host from another.
"""

from __future__ import annotations

import asyncio

from bitmapmig.captures import Capture, dump
from bitmapmig.collect import collect
from bitmapmig.scenarios.profiles import FOLDER, measured
from tests.live.qemu import Binary, Qemu, binaries

#: What a state is read from; the block graph is the scenario's own, and the rest tells of one process.
KEPT = (
    "query-version",
    "query-status",
    "query-migrate",
    "query-migrate-capabilities",
    "query-migrate-parameters",
    "qom-get",
    "query-qmp-schema",
)


def recorded(binary: Binary) -> Capture:
    """The profile of a QEMU: a capture of it while it has no disk, without what tells where it ran."""
    with Qemu(binary) as qemu:
        capture = asyncio.run(collect(qemu.endpoint))
    exchanges = tuple(one for one in capture.exchanges if one.execute in KEPT)
    greeting = {"QMP": {"version": {"qemu": capture.greeting["QMP"]["version"]["qemu"], "package": ""}}}
    update = {"endpoint": "scenario", "process": None, "greeting": greeting, "exchanges": exchanges}
    return capture.model_copy(update=update)


def release(binary: Binary) -> str:
    """The version that a scenario names it by."""
    return ".".join(map(str, binary.release))


def main() -> None:
    """Write the profiles of the measured versions that are found here."""
    for binary in binaries():
        if release(binary) in measured():
            (FOLDER / f"{release(binary)}.json").write_bytes(dump(recorded(binary)))


if __name__ == "__main__":
    main()

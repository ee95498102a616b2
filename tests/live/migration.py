"""A source and a destination -> what a real migration between them came to."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.live.monitor import QemuGoneError, QmpError, until

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.live.qemu import BitmapRecord, Qemu

#: What `query-migrate` says when a migration is over.
OVER = frozenset(("completed", "failed", "cancelled"))
#: How long a migration of these small machines may take; they take a tenth of a second.
SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What both sides say after a migration, and what arrived.

    `source` and `destination` are the status of `query-migrate`, None where the process is dead; `error` is the
    source's `error-desc`. `exit` is the exit status of the destination, negative for a signal, None while it lives.
    `bitmaps` are those on the destination; None where it is dead or can no longer list its nodes.
    """

    source: str | None
    error: str
    destination: str | None
    exit: int | None
    source_log: str
    destination_log: str
    bitmaps: Mapping[tuple[str, str], BitmapRecord] | None


def set_mapping(qemu: Qemu, mapping: Iterable[Mapping[str, Any]]) -> None:
    """Set `block-bitmap-mapping`. Raises `QmpError` where QEMU refuses it."""
    qemu.qmp("migrate-set-parameters", block_bitmap_mapping=list(mapping))


def set_capability(qemu: Qemu, capability: str = "dirty-bitmaps", *, state: bool = True) -> None:
    """Set a migration capability. Raises `QmpError` where QEMU refuses it."""
    qemu.qmp("migrate-set-capabilities", capabilities=[{"capability": capability, "state": state}])


def entry(node: str, alias: str, bitmaps: Mapping[str, str]) -> dict[str, Any]:
    """A node of `block-bitmap-mapping`; `bitmaps` gives each bitmap's alias by its name."""
    listed = [{"name": name, "alias": bitmap_alias} for name, bitmap_alias in bitmaps.items()]
    return {"node-name": node, "alias": alias, "bitmaps": listed}


def migrate(
    source: Qemu, destination: Qemu, *, incoming: Mapping[str, Any] | None = None, seconds: float = SECONDS
) -> Outcome:
    """Migrate over a unix socket with whatever is set on both sides, and wait until both have come to rest.

    `incoming` are further arguments of `migrate-incoming`. Raises `TimeoutError` where it takes more than `seconds`,
    and `QmpError` where `migrate` itself is refused.
    """
    uri = f"unix:{source.folder / 'migration'}"
    destination.qmp("migrate-incoming", uri=uri, **(incoming or {}))
    source.qmp("migrate", uri=uri)
    return settle(source, destination, seconds)


def settle(source: Qemu, destination: Qemu, seconds: float = SECONDS) -> Outcome:
    """Wait until a migration that was begun is over on both sides."""
    said = until(lambda: _over(source), "the migration did not end on the source", seconds)
    until(lambda: _rested(destination), "the migration did not end on the destination", seconds)
    status: str | None = None
    bitmaps = None
    with suppress(QemuGoneError):
        status = destination.qmp("query-migrate").get("status")
        with suppress(QmpError):
            bitmaps = destination.bitmaps()
    if bitmaps is None and status is None:
        destination.wait()
    return Outcome(
        source=said.get("status"),
        error=said.get("error-desc", ""),
        destination=status,
        exit=destination.status,
        source_log=source.log,
        destination_log=destination.log,
        bitmaps=bitmaps,
    )


def _over(qemu: Qemu) -> dict[str, Any]:
    """The reply of `query-migrate` where the migration is over; something true where the process died of it."""
    try:
        said: dict[str, Any] = qemu.qmp("query-migrate")
    except QemuGoneError:
        return {"error-desc": f"exit status {qemu.wait()}"}
    return said if said.get("status") in OVER else {}


def _rested(qemu: Qemu) -> bool:
    try:
        return bool(_over(qemu)) and (qemu.status is not None or qemu.qmp("query-status")["status"] != "inmigrate")
    except QemuGoneError:
        return True


def carry_out(plan: Mapping[str, Any], source: Qemu, destination: Qemu) -> Outcome:
    """Run the commands of a plan document, the destination's first, then migrate."""
    for side, qemu in (("destination", destination), ("source", source)):
        for command in plan["commands"][side]:
            qemu.execute(command["execute"], command.get("arguments", {}))
    return migrate(source, destination)


def stored(qemu: Qemu, image: str) -> dict[str, frozenset[str]]:
    """The bitmaps stored in a qcow2 image, with their flags (`in-use`, `auto`), as qemu-img of that QEMU sees it."""
    said = json.loads(qemu.binary.image("info", "-U", "--output=json", image, folder=qemu.folder))
    listed = said.get("format-specific", {}).get("data", {}).get("bitmaps", ())
    return {bitmap["name"]: frozenset(bitmap["flags"]) for bitmap in listed}

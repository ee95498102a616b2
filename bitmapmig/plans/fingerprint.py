"""One side -> its identity in the plan document, with a text that is equal exactly while what a plan depends on is."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from bitmapmig.plans.document import Identity
from bitmapmig.plans.structure import Structure, relevant, structure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bitmapmig.graph import BlockGraph
    from bitmapmig.state import State

#: The members of an identity that say which QEMU it is; another value is another QEMU at the same endpoint.
WHICH = ("uuid", "name", "qemu_version", "machine_type")


def identify(state: State, graph: BlockGraph, names: Iterable[str] = ()) -> Identity:
    """The identity of one side; `names` are those by which the plan finds nodes there (`Structure.names`)."""
    which = {
        "uuid": state.uuid,
        "name": state.name,
        "qemu_version": state.version_text,
        "machine_type": state.machine_type,
    }
    whole = structure(graph, names)
    return Identity(
        endpoint=state.endpoint,
        package=state.package if state.measured else "",
        measured=dict(sorted(state.measured.items())),
        fingerprint=fingerprint(which, whole),
        structure=whole,
        **which,
    )


def fingerprint(which: dict[str, str | None], whole: Structure) -> str:
    """SHA-256 over which QEMU it is (`WHICH`) and the relevant part of its structure (`plans.structure.relevant`).

    So it stays while the guest writes, while a disk without bitmaps is plugged in and while a medium is ejected; it
    changes exactly when `changes` knows a relevant change.
    """
    head = json.dumps([which[member] for member in WHICH])
    return "sha256:" + hashlib.sha256(f"{head}\n{relevant(whole).model_dump_json()}".encode()).hexdigest()

"""Models -> the JSON Schemas of the documents that this tool reads and writes.

The models are what counts; the files in `schemas/` are for those who have no Python at hand, and a test holds them
equal. `python -m bitmapmig.schemas FOLDER` writes them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from bitmapmig.applying.document import Applied
from bitmapmig.captures import Capture
from bitmapmig.finishing.document import Finished
from bitmapmig.plans import Plan
from bitmapmig.policy import Policy
from bitmapmig.previews import Preview
from bitmapmig.profile import Profile
from bitmapmig.rehearsing.document import Rehearsal
from bitmapmig.scenarios.checked import Checked
from bitmapmig.scenarios.document import ScenarioDocument
from bitmapmig.simulating import Simulated
from bitmapmig.verifying import Verified
from bitmapmig.waiting.document import Migrated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel


class _Source(NamedTuple):
    """A model and what its schema describes: what is written (`serialization`), or what is read (`validation`)."""

    model: type[BaseModel]
    mode: Literal["serialization", "validation"]
    title: str


_SOURCES = {
    "applied": _Source(Applied, "serialization", "What came of `bitmapmig apply --format json`"),
    "capture": _Source(Capture, "validation", "A capture of one QEMU, made by `bitmapmig capture`"),
    "checked": _Source(Checked, "serialization", "What `bitmapmig check --format json` found"),
    "finished": _Source(Finished, "serialization", "What `bitmapmig finish --format json` did"),
    "migrated": _Source(Migrated, "serialization", "What `bitmapmig apply --wait-migration --format json` saw"),
    "plan": _Source(Plan, "serialization", "A plan, or a refusal, made by `bitmapmig plan`"),
    "policy": _Source(Policy, "validation", "A policy of bitmapmig"),
    "preview": _Source(Preview, "serialization", "A preview, made by `bitmapmig preview --format json`"),
    "profile": _Source(Profile, "validation", "A behaviour profile of a QEMU program, made by `bitmapmig selftest`"),
    "rehearsal": _Source(Rehearsal, "serialization", "What `bitmapmig rehearse --format json` saw"),
    "scenario": _Source(ScenarioDocument, "validation", "A scenario of bitmapmig"),
    "simulated": _Source(Simulated, "serialization", "What `bitmapmig simulate --format json` foresees"),
    "verified": _Source(Verified, "serialization", "What `bitmapmig verify --format json` found"),
}

#: What there are schemas of.
NAMES = tuple(_SOURCES)


def schema(name: str) -> bytes:
    """The JSON Schema (2020-12) of the document `name`, one of `NAMES`, ending with a newline."""
    source = _SOURCES[name]
    body = source.model.model_json_schema(mode=source.mode)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:bitmapmig:{name}:1",
        "title": source.title,
    }
    return (json.dumps(head | {key: value for key, value in body.items() if key != "title"}, indent=2) + "\n").encode()


def main(arguments: Sequence[str]) -> None:
    """Write each schema into a folder as `NAME.schema.json`."""
    folder = Path(arguments[0])
    for name in NAMES:
        (folder / f"{name}.schema.json").write_bytes(schema(name))


if __name__ == "__main__":
    main(sys.argv[1:])

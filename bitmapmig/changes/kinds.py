"""The kinds of change: each with its opposite, and the sentence that says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict, JsonValue

if TYPE_CHECKING:
    from collections.abc import Mapping


class Change(BaseModel):
    """One change. `kind` is a key of `KINDS`, `facts` are for machines, `words` for people; names in these are quoted.

    What becomes of `kind` when the two sides of the comparison are swapped is `KINDS[kind].opposite`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    facts: dict[str, JsonValue]
    words: str


class Kind(NamedTuple):
    """The kind of the change back, and the template of the sentence, to be filled with the facts."""

    opposite: str
    words: str


def _pair(one: str, words: str, other: str, back: str) -> dict[str, Kind]:
    return {one: Kind(other, words), other: Kind(one, back)}


def _itself(kind: str, words: str) -> dict[str, Kind]:
    return {kind: Kind(kind, words)}


_ANOTHER = "another QEMU answers at this endpoint: its"

#: In the order in which changes are told.
KINDS: Mapping[str, Kind] = {
    **_itself("uuid-changed", f"{_ANOTHER} uuid is {{now}} instead of {{before}}"),
    **_itself("name-changed", f"{_ANOTHER} name is {{now}} instead of {{before}}"),
    **_itself("qemu-version-changed", f"{_ANOTHER} version is {{now}} instead of {{before}}"),
    **_itself("machine-type-changed", f"{_ANOTHER} machine type is {{now}} instead of {{before}}"),
    **_pair(
        "filter-inserted",
        "filter {filter} was inserted above node {node}",
        "filter-removed",
        "filter {filter} was removed from above node {node}",
    ),
    **_pair(
        "overlay-put-on",
        "overlay {overlay} was put on top of node {node}",
        "overlay-taken-off",
        "overlay {overlay} was taken off the top of node {node}",
    ),
    **_pair(
        "chain-lengthened",
        "the chain below node {node} is longer: its backing node is now {now} instead of {before}",
        "chain-shortened",
        "the chain below node {node} is shorter: its backing node is now {now} instead of {before}",
    ),
    **_itself("root-changed", "the root of device {device} is now node {now} instead of {before}"),
    **_pair(
        "medium-inserted",
        "medium {node} was inserted into device {device}",
        "medium-ejected",
        "medium {node} was ejected from device {device}",
    ),
    **_pair(
        "device-plugged",
        "device {device} with root {node} was plugged in",
        "device-unplugged",
        "device {device} with root {node} was unplugged",
    ),
    **_itself("guest-device-changed", "the guest device of device {device} is now {now} instead of {before}"),
    **_pair("node-added", "node {node} ({driver}) is new", "node-gone", "node {node} ({driver}) is gone"),
    **_itself("child-changed", "child {role} of node {node} is now {now} instead of {before}"),
    **_pair(
        "child-added",
        "node {node} has a new child {child} ({role})",
        "child-removed",
        "node {node} no longer has the child {child} ({role})",
    ),
    **_itself("driver-changed", "the driver of node {node} is now {now} instead of {before}"),
    **_itself("size-changed", "the size of node {node} is now {now} bytes instead of {before}"),
    **_pair("node-read-only", "node {node} is now read-only", "node-writable", "node {node} is no longer read-only"),
    **_itself("read-only-told", "whether node {node} is read-only: QEMU now says {now} instead of {before}"),
    **_itself("compat-changed", "the qcow2 version of node {node} is now {now} instead of {before}"),
    **_pair(
        "bitmap-added",
        "bitmap {bitmap} was added to node {node}",
        "bitmap-removed",
        "bitmap {bitmap} of node {node} is gone",
    ),
    **_itself(
        "granularity-changed", "the granularity of bitmap {bitmap} of node {node} is now {now} instead of {before}"
    ),
    **_pair(
        "bitmap-enabled",
        "bitmap {bitmap} of node {node} is now enabled",
        "bitmap-disabled",
        "bitmap {bitmap} of node {node} is now disabled",
    ),
    **_pair(
        "bitmap-busy",
        "bitmap {bitmap} of node {node} is now busy",
        "bitmap-not-busy",
        "bitmap {bitmap} of node {node} is no longer busy",
    ),
    **_pair(
        "bitmap-persistent",
        "bitmap {bitmap} of node {node} is now persistent",
        "bitmap-transient",
        "bitmap {bitmap} of node {node} is no longer persistent",
    ),
    **_pair(
        "bitmap-inconsistent",
        "bitmap {bitmap} of node {node} became inconsistent",
        "bitmap-consistent",
        "bitmap {bitmap} of node {node} is no longer inconsistent",
    ),
    **_pair(
        "stored-copy-appeared",
        "a stored copy of bitmap {bitmap} appeared in the image of node {node}",
        "stored-copy-vanished",
        "the stored copy of bitmap {bitmap} vanished from the image of node {node}",
    ),
    **_itself("stored-copy-changed", "the stored copy of bitmap {bitmap} in the image of node {node} is another"),
    **_pair(
        "stored-copies-told",
        "QEMU now tells which bitmaps the image of node {node} holds",
        "stored-copies-untold",
        "QEMU no longer tells which bitmaps the image of node {node} holds",
    ),
    **_pair("job-began", "job {job} ({type}) began on {nodes}", "job-ended", "job {job} ({type}) on {nodes} ended"),
    **_itself("job-nodes-changed", "job {job} ({type}) now holds {now} instead of {before}"),
    **_itself("job-targets-changed", "job {job} ({type}) now writes to {now} instead of {before}"),
    **_pair(
        "export-began",
        "export {export} ({type}) of node {node} began",
        "export-ended",
        "export {export} ({type}) of node {node} ended",
    ),
    **_itself(
        "export-writable-told",
        "whether clients of export {export} ({type}) of node {node} may write: QEMU now says {now} instead of {before}",
    ),
}


def change(kind: str, **facts: JsonValue) -> Change:
    """The change of a kind, with its words."""
    said = {name: _said(fact) for name, fact in facts.items()}
    return Change(kind=kind, facts=facts, words=KINDS[kind].words.format(**said))


def _said(fact: JsonValue) -> str:
    """A fact in a sentence: a name quoted with `repr`, so that a hostile one cannot write to a terminal."""
    if isinstance(fact, list):
        return ", ".join(map(_said, fact)) or "no node"
    return repr(fact) if isinstance(fact, str) else "none" if fact is None else str(fact)

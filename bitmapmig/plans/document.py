"""What was found -> the plan document: the validated map with the commands that set it, or the refusal.

A refused plan has the same shape as an accepted one, without map and commands. Everything in it is sorted, and the same
input gives the same bytes. Sources: QAPI `BitmapMigrationNodeAlias`, QEMU's `construct_alias_map`.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from bitmapmig.diagnostics import BitmapmigError, Diagnostic
from bitmapmig.fate import Foretold
from bitmapmig.plans.structure import Structure

Fate: TypeAlias = Literal["migrate", "merged", "by-storage", "left-behind", "refused"]


class Document(BaseModel):
    """A part of the plan document: frozen, unknown members refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class QapiDocument(BaseModel):
    """A part that QEMU reads: QAPI's spelling, absent members left out."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda member: member.replace("_", "-"),
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


class Transform(QapiDocument):
    """QAPI `BitmapMigrationBitmapAliasTransform`."""

    persistent: bool


class BitmapAlias(QapiDocument):
    """QAPI `BitmapMigrationBitmapAlias`."""

    name: str
    alias: str
    transform: Transform | None = Field(default=None, exclude_if=lambda transform: transform is None)


class NodeAlias(QapiDocument):
    """QAPI `BitmapMigrationNodeAlias`."""

    node_name: str
    alias: str
    bitmaps: tuple[BitmapAlias, ...]


class Command(Document):
    """A QMP command, ready to be sent."""

    execute: str
    arguments: dict[str, Any]


class Identity(Document):
    """Which QEMU a plan was made for, and how its block graph hung together then.

    `fingerprint` is over what the plan depends on (see `plans.fingerprint`), `structure` is all that there was. Where a
    profile of this build of QEMU was used, `package` is what the distributor calls the build, and `measured` are the
    behaviours that the profile knows: name -> whether it harms.
    """

    endpoint: str
    uuid: str | None
    name: str | None
    qemu_version: str
    machine_type: str | None
    package: str = Field(default="", exclude_if=lambda package: not package)
    measured: dict[str, bool] = Field(default={}, exclude_if=lambda measured: not measured)
    fingerprint: str
    structure: Structure


class PlannedBitmap(Document):
    """One named bitmap of the source and what becomes of it; sizes in bytes.

    `fate` is `migrate` (in the migration stream), `merged` (into a temporary that migrates, see `Merge`), `by-storage`
    (in the image that both sides share), `left-behind` (`by` names the policy entry) or `refused`; in a refused plan
    `migrate` and `merged` say that nothing is wrong with this one. `node_alias` and `bitmap_alias` are its names in the
    stream.
    """

    node: str
    bitmap: str
    address: str | None
    address_kind: Literal["node-name", "device", "qdev"] | None
    rule: str | None
    fate: Fate
    by: str
    destination_node: str | None = None
    destination_bitmap: str | None = None
    node_alias: str | None = None
    bitmap_alias: str | None = None
    transform: Transform | None = None
    granularity: int
    virtual_size: int | None
    dirty_bytes: int
    recording: bool
    busy: bool
    persistent: bool
    inconsistent: bool


class MergeSource(Document):
    """A bitmap that is merged into a temporary."""

    node: str
    bitmap: str


class Merge(Document):
    """Bitmaps of a backing chain that become one: QEMU merges them into a temporary, which migrates in their place.

    The temporary is on `node`, the top of the chain, transient and recording; `sources` are what is merged into it, the
    top's own first. It arrives as `destination_bitmap` on `destination_node`. `dirty_bytes` is what it has at most.
    """

    node: str
    temporary: str
    sources: tuple[MergeSource, ...]
    destination_node: str
    destination_bitmap: str
    node_alias: str
    bitmap_alias: str
    transform: Transform | None = None
    granularity: int
    virtual_size: int | None
    dirty_bytes: int

    @property
    def place(self) -> tuple[str, str]:
        """The node and the name of the temporary."""
        return self.node, self.temporary


class Residue(Document):
    """What stays set on one side after the migration, and the commands that make it harmless."""

    side: Literal["source", "destination"]
    what: Literal["block-bitmap-mapping", "dirty-bitmaps", "temporary-bitmap"]
    message: str
    commands: tuple[Command, ...]


class Mapping(Document):
    """The map of each side; None where none is set there."""

    source: tuple[NodeAlias, ...] | None
    destination: tuple[NodeAlias, ...] | None


class Commands(Document):
    """The QMP commands of each side, in order; the destination's come first."""

    destination: tuple[Command, ...]
    source: tuple[Command, ...]


class SharedImage(Document):
    """A node of the source and the destination's node that has the same image open, as the policy says."""

    source: str
    destination: str


class Attempt(Document):
    """What a refused plan would have set, had it not been refused: `foretold` is about it, and `rehearse` tries it.

    Maps are None where a bitmap has no place in one: QEMU then goes by the names that it gives itself.
    """

    block_bitmap_mapping: Mapping
    merges: tuple[Merge, ...] = Field(default=(), exclude_if=lambda merges: not merges)
    dirty_bitmaps: bool


class Plan(Document):
    """The plan document, or the refusal: what `bitmapmig plan` emits and `apply` will take.

    `guarantee` is False where findings were accepted by the policy; `provisional` where the destination does not wait.
    `foretold` is what QEMU would do with the map of the plan; where a bitmap has no place in a map, what it would do
    with the names that it gives by itself. `attempt` is None unless the plan is refused.
    """

    format_version: Literal[1] = 1
    verdict: Literal["planned", "refused"]
    guarantee: bool
    provisional: bool
    resolve: Literal["explicit", "qemu", "root-only", "guest-device"]
    source: Identity
    destination: Identity
    bitmaps: tuple[PlannedBitmap, ...]
    merges: tuple[Merge, ...] = ()
    block_bitmap_mapping: Mapping
    commands: Commands
    residue: tuple[Residue, ...]
    shared: tuple[SharedImage, ...] = Field(default=(), exclude_if=lambda shared: not shared)
    attempt: Attempt | None = None
    foretold: Foretold
    refusals: tuple[Diagnostic, ...]
    advice: tuple[Diagnostic, ...]
    accepted: tuple[Diagnostic, ...]
    assumed_from_version: tuple[str, ...]

    @property
    def temporaries(self) -> frozenset[tuple[str, str]]:
        """The bitmaps, as (node, bitmap), that the plan itself makes on the source."""
        return frozenset(one.place for one in self.merges)

    @property
    def travelling(self) -> tuple[PlannedBitmap, ...]:
        """What is put into the stream: bitmaps that migrate, and in place of those that are merged the temporaries."""
        own = {(one.node, one.bitmap): one for one in self.bitmaps}
        return (
            *(one for one in self.bitmaps if one.fate == "migrate"),
            *(_as_planned(one, own[one.sources[0].node, one.sources[0].bitmap]) for one in self.merges),
        )


def _as_planned(one: Merge, own: PlannedBitmap) -> PlannedBitmap:
    """The temporary of a merge, as the bitmap that it is; `own` is the bitmap of the top."""
    return own.model_copy(
        update={
            "bitmap": one.temporary,
            "fate": "migrate",
            "destination_node": one.destination_node,
            "destination_bitmap": one.destination_bitmap,
            "node_alias": one.node_alias,
            "bitmap_alias": one.bitmap_alias,
            "transform": one.transform,
            "granularity": one.granularity,
            "dirty_bytes": one.dirty_bytes,
            "recording": True,
            "busy": False,
            "persistent": False,
            "inconsistent": False,
        }
    )


class Refused(BitmapmigError):  # noqa: N818  a refusal is an answer, not an error
    """No plan is possible: `plan` is the refusal, with every finding of every stage."""

    def __init__(self, plan: Plan) -> None:
        """Carry the refused plan; the text of the exception is its refusals, a line each."""
        super().__init__(*plan.refusals)
        self.plan = plan


_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


def dump(plan: Plan) -> bytes:
    """The plan as its document: indented JSON, ASCII only, ending with a newline."""
    text = plan.model_dump_json(indent=2)
    if not text.isascii():
        # beyond ASCII there is only what stands in strings, where an escape means the same
        text = _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)
    return (text + "\n").encode()


def load(raw: bytes) -> Plan:
    """The plan in a document. Raises `pydantic.ValidationError` where it is none."""
    return Plan.model_validate_json(raw)

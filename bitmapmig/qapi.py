"""Raw QMP replies -> typed records of exactly the QAPI members that are read.

Names are QAPI's own in Python's case. Members that QEMU adds are ignored. A member that may be missing in some version
is optional here, and the stage that needs it says so. Sources: qapi/block-core.json, block-export.json, migration.json,
machine.json, run-state.json, introspect.json.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NewType, TypeVar

from pydantic import BaseModel, ConfigDict, Field

NodeName = NewType("NodeName", str)
DeviceName = NewType("DeviceName", str)
BitmapName = NewType("BitmapName", str)
Alias = NewType("Alias", str)

_T = TypeVar("_T")
#: a JSON array; its items are as strict as the rest
Many = Annotated[tuple[_T, ...], Field(strict=False)]


def byte_length(name: str) -> int:
    """The bytes of `name` in QEMU, which holds a NUL character in two."""
    return len(name.encode()) + name.count("\0")


def _spelling(member: str) -> str:
    return member.replace("_", "-")


#: bytes, or anything else that QEMU counts in 64 bits
Count = Annotated[int, Field(ge=0, lt=1 << 64)]


class Reply(BaseModel):
    """A QAPI struct as QEMU sends it: frozen, QAPI's spelling on the wire, unknown members ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=_spelling, strict=True)


class BlockDirtyInfo(Reply):
    """A dirty bitmap (QAPI `BlockDirtyInfo`); `count`, `granularity` in bytes. Without `name` it is a job's own."""

    name: BitmapName | None = Field(default=None, min_length=1)
    count: Count = 0
    granularity: int = Field(gt=0, lt=1 << 64)
    recording: bool
    busy: bool
    persistent: bool = False
    inconsistent: bool = False


class Qcow2BitmapInfo(Reply):
    """A bitmap stored in a qcow2 image (QAPI `Qcow2BitmapInfo`); `granularity` in bytes."""

    name: BitmapName
    granularity: Count
    flags: Many[str] = ()


class FormatSpecificData(Reply):
    """The members of `ImageInfoSpecificQCow2` that are read."""

    compat: str | None = None
    bitmaps: Many[Qcow2BitmapInfo] = ()


class FormatSpecific(Reply):
    """QAPI `ImageInfoSpecific`: `data` is read for qcow2 only."""

    type: str
    data: dict[str, Any] = {}


class ImageInfo(Reply):
    """QAPI `ImageInfo`; sizes in bytes."""

    virtual_size: Count | None = None
    cluster_size: Count | None = None
    format_specific: FormatSpecific | None = None


class BlockNodeChild(Reply):
    """A child of a node (QAPI `BlockdevChild`, QEMU 11.1): its role and node-name."""

    child: str
    node_name: NodeName


class BlockDeviceInfo(Reply):
    """A node (QAPI `BlockDeviceInfo`) of `query-named-block-nodes`."""

    node_name: NodeName = Field(min_length=1)
    drv: str
    ro: bool | None = None
    active: bool | None = None
    image: ImageInfo = ImageInfo()
    dirty_bitmaps: Many[BlockDirtyInfo] = ()
    children: Many[BlockNodeChild] | None = None


class BlockInserted(Reply):
    """The medium of a backend: only its `node-name`; the rest stands in `query-named-block-nodes`."""

    node_name: NodeName | None = None


class BlockInfo(Reply):
    """A backend (QAPI `BlockInfo`) of `query-block`; an anonymous one has `device: ""`."""

    device: DeviceName
    qdev: str | None = None
    inserted: BlockInserted | None = None


class BlockStats(Reply):
    """A line of `query-blockstats` (QAPI `BlockStats`): `parent` is the node's primary *child*.

    The lines below it are kept raw: they nest as deeply as a backing chain is long, which no recursive model takes.
    """

    node_name: NodeName | None = None
    parent: dict[str, Any] | None = None
    backing: dict[str, Any] | None = None


class XDbgBlockGraphNode(Reply):
    """A vertex of `x-debug-query-block-graph`."""

    id: int
    type: str
    name: str


class XDbgBlockGraphEdge(Reply):
    """An edge of `x-debug-query-block-graph`, by vertex ids; `name` is the role, `perm` what the user may do."""

    parent: int
    child: int
    name: str
    perm: Many[str] = ()


class XDbgBlockGraph(Reply):
    """QAPI `XDbgBlockGraph`."""

    nodes: Many[XDbgBlockGraphNode]
    edges: Many[XDbgBlockGraphEdge]


class JobInfo(Reply):
    """A job (QAPI `JobInfo`) of `query-jobs`."""

    id: str
    type: str
    status: str


class BlockExportInfo(Reply):
    """An export (QAPI `BlockExportInfo`) of `query-block-exports`."""

    id: str
    type: str
    node_name: NodeName


class BitmapMigrationBitmapAliasTransform(Reply):
    """QAPI `BitmapMigrationBitmapAliasTransform`."""

    persistent: bool | None = None


class BitmapMigrationBitmapAlias(Reply):
    """QAPI `BitmapMigrationBitmapAlias`, as `query-migrate-parameters` shows it."""

    name: BitmapName
    alias: Alias
    transform: BitmapMigrationBitmapAliasTransform | None = None


class BitmapMigrationNodeAlias(Reply):
    """QAPI `BitmapMigrationNodeAlias`, as `query-migrate-parameters` shows it."""

    node_name: NodeName
    alias: Alias
    bitmaps: Many[BitmapMigrationBitmapAlias]


class MigrateParameters(Reply):
    """The members of QAPI `MigrationParameters` that are read: milliseconds, and bytes a second."""

    downtime_limit: Count | None = None
    avail_switchover_bandwidth: Count | None = None
    block_bitmap_mapping: Many[BitmapMigrationNodeAlias] | None = None


class BlockDirtyBitmapSha256(Reply):
    """QAPI `BlockDirtyBitmapSha256`: what is no digest must not be taken for one, since equal ones are a proof."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class MigrationInfo(Reply):
    """QAPI `MigrationInfo`: `status` is absent while no migration was begun."""

    status: str | None = None
    blocked: bool = False
    blocked_reasons: Many[str] = ()


class MigrationCapabilityStatus(Reply):
    """QAPI `MigrationCapabilityStatus`."""

    capability: str
    state: bool


class StatusInfo(Reply):
    """QAPI `StatusInfo`: `status` is a `RunState`."""

    status: str


class UuidInfo(Reply):
    """QAPI `UuidInfo`."""

    UUID: str = Field(alias="UUID")


class NameInfo(Reply):
    """QAPI `NameInfo`."""

    name: str | None = None


class VersionTriple(Reply):
    """QAPI `VersionTriple`."""

    major: int
    minor: int
    micro: int


class VersionInfo(Reply):
    """QAPI `VersionInfo`."""

    qemu: VersionTriple
    package: str = ""


class QmpGreeting(Reply):
    """The inner part of the greeting."""

    version: VersionInfo


class Greeting(Reply):
    """What QEMU says first on a monitor."""

    QMP: QmpGreeting = Field(alias="QMP")


class ChardevInfo(Reply):
    """QAPI `ChardevInfo`: monitors are among them."""

    label: str
    filename: str


class CpuInfoFast(Reply):
    """QAPI `CpuInfoFast`: only the host's thread id."""

    thread_id: int


class SchemaInfo(Reply):
    """A type of QEMU's own schema (QAPI `SchemaInfo`); which members are there depends on `meta-type`."""

    name: str
    meta_type: Literal["builtin", "enum", "array", "object", "alternate", "command", "event"]
    json_type: str | None = None
    values: Many[str] = ()
    element_type: str | None = None
    members: Many[SchemaMember] = ()
    tag: str | None = None
    variants: Many[SchemaVariant] = ()
    arg_type: str | None = None


class SchemaMember(Reply):
    """QAPI `SchemaInfoObjectMember`, `SchemaInfoAlternateMember` and `SchemaInfoEnumMember`.

    `default` is there exactly when an object's member is optional; QEMU writes `null` for it.
    """

    name: str | None = None
    type: str | None = None
    default: Any = None


class SchemaVariant(Reply):
    """QAPI `SchemaInfoObjectVariant`."""

    case: str
    type: str

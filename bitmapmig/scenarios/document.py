"""A scenario as it is written: a start, steps, and what is expected after any of them and at the end.

    version: 1
    title: A bitmap stays where its node stays
    start:
      nodes: {fmt0: {driver: qcow2, size: 1G, bitmaps: [daily]}}
      devices: {drive0: fmt0}
    steps:
      - block-dirty-bitmap-add: {node: fmt0, name: hourly}
        expect: {bitmaps: {fmt0/hourly: {becomes: is-new}}}
    expect: {no-bitmap-lost: true}

The models say what may stand where; what it means is in `start`, `run` and `expect`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from pydantic import Field, GetJsonSchemaHandler, model_validator

from bitmapmig.diagnostics import Side
from bitmapmig.documents.words import shown
from bitmapmig.qapi import Many
from bitmapmig.scenarios.expected import Expect, ExpectedBitmap, ExpectedGraph, ExpectedMap, ExpectedNode
from bitmapmig.scenarios.members import (
    FilePath,
    Name,
    Named,
    Part,
    PolicyOrPath,
    Refusal,
    Said,
    Several,
    Size,
    Version,
    refuse,
)
from bitmapmig.transforms import OPERATIONS

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema


#: QAPI `RunState`.
RunState: TypeAlias = Literal[
    "colo",
    "debug",
    "finish-migrate",
    "guest-panicked",
    "inmigrate",
    "internal-error",
    "io-error",
    "paused",
    "postmigrate",
    "prelaunch",
    "restore-vm",
    "running",
    "save-vm",
    "shutdown",
    "suspended",
    "watchdog",
]

# where it starts


class StartBitmap(Part):
    """A bitmap at the start, in memory; `dirty` in bytes."""

    granularity: Said[Size] = Field(default=None, description="bytes; 65536, if not said")
    dirty: Size = Field(default=0, description="how many bytes are dirty")
    recording: Said[bool] = Field(default=None, description="true, if not said and it is not inconsistent")
    busy: bool = False
    persistent: bool = False
    inconsistent: bool = False


class StartStored(Part):
    """A bitmap in the image."""

    granularity: Said[Size] = Field(default=None, description="bytes; 65536, if not said")
    in_use: bool = Field(default=False, description="whether a QEMU has it loaded, or had when it crashed")


class StartNode(Part):
    """A node. Children are other nodes; a format without `file` gets a protocol node with a generated name."""

    driver: Name
    size: Said[Size] = Field(default=None, description="virtual size; that of its first child, if not said")
    read_only: bool = False
    compat: Said[Literal["0.10", "1.1"]] = Field(default=None, description="qcow2's version; 1.1, if not said")
    file: Said[Name] = Field(default=None, description="a child")
    backing: Said[Name] = Field(default=None, description="a child")
    children: dict[Name, Name] = Field(default_factory=dict, description="children under other roles, such as target")
    bitmaps: Named[StartBitmap] = Field(default_factory=dict, description="names, or names with members")
    stored: Said[Named[StartStored]] = Field(default=None, description="bitmaps in the image, loaded or not")
    of_monitor: Said[bool] = Field(default=None, description="whether blockdev-add has made it")

    @property
    def every_child(self) -> dict[str, str]:
        """Role -> node."""
        named = {"file": self.file, "backing": self.backing}
        return {**{role: node for role, node in named.items() if node is not None}, **self.children}


class Start(Part):
    """One QEMU: a capture, or a graph in a few lines, and what is set on it."""

    capture: Said[FilePath] = Field(default=None, description="a capture, relative to this file")
    nodes: dict[Name, StartNode] = Field(default_factory=dict, description="by node-name")
    devices: dict[Name, Name | None] = Field(
        default_factory=dict, description="device names (-drive id=) and their root nodes"
    )
    guest_devices: dict[Name, Name | None] = Field(
        default_factory=dict,
        description="ids of guest devices (-device id=), and their root nodes or the devices that they use",
    )
    qemu: Said[Name] = Field(default=None, description="the version, where it is not that of the scenario")
    machine_type: Said[Name] = None
    run_state: Said[RunState] = None
    capabilities: dict[Name, bool] = Field(default_factory=dict, description="capabilities of migration that are set")

    def _forms(self) -> list[str]:
        graph = self.nodes or self.devices or self.guest_devices
        return [form for form, said in (("capture", self.capture), ("nodes", graph)) if said]

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        forms = self._forms()
        if len(forms) > 1:
            refuse(f"begins in {len(forms)} ways, {' and '.join(forms)}: keep one of them")
        return self


class Destination(Start):
    """The other QEMU, which waits for a migration; `like: start` is the configuration of the source."""

    like: Said[Literal["start"]] = Field(default=None, description="the same nodes and devices as at the start")
    storage: Literal["separate", "shared"] = Field(
        default="separate", description="with `like`: whether its images are those of the source"
    )

    def _forms(self) -> list[str]:
        return [*super()._forms(), *(["like"] if self.like else [])]


@cache
def _nothing() -> Expect:
    return Expect()


# what is done


class Step(Part):
    """One operation, written as its word with its arguments, and what is expected of it."""

    operation: tuple[str, Any] = Field(description="the word and the arguments", exclude=True)
    on: Side = Field(default="source", description="which QEMU it is done to")
    refused: Said[Refusal] = Field(default=None, description="true, or a part of the reason: QEMU must refuse it")
    expect: Expect = Field(default_factory=_nothing, description="what is expected after it")

    @model_validator(mode="before")
    @classmethod
    def _as_members(cls, data: object) -> object:
        if not isinstance(data, dict):
            refuse(
                f"must be a mapping of one operation to its arguments, such as `job-cancel: {{id: m0}}`, not "
                f"{shown(data)}; `bitmapmig simulate` prints what a story such as `mirror drive0` stands for"
            )
        own = {key: value for key, value in data.items() if key in _OWN}
        words = [key for key in data if key not in _OWN]
        if len(words) != 1:
            named = f"{len(words)} operations, {', '.join(map(str, words[:5]))}" if words else "no operation"
            refuse(f"names {named}: a step is one of them, with `on`, `refused` and `expect` beside it")
        return {**own, "operation": (words[0], data[words[0]])}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Each word has a schema of its own for its arguments; exactly one of them is there."""
        schema = super().__get_pydantic_json_schema__(core, handler)
        members = handler.resolve_ref_schema(schema)
        members["properties"].pop("operation", None)
        members["properties"] |= {word: arguments(word) for word in sorted(OPERATIONS)}
        members.pop("required", None)
        members["oneOf"] = [{"required": [word]} for word in sorted(OPERATIONS)]
        return schema


#: The keys of a step that are no operation.
_OWN = frozenset(("on", "refused", "expect"))


def arguments(word: str) -> dict[str, Any]:
    """The JSON Schema of the arguments of an operation, with nothing outside of itself."""
    schema = OPERATIONS[word].model_json_schema(mode="validation")
    schema.pop("title", None)
    inner = schema.pop("$defs", {})
    found: dict[str, Any] = _resolved(schema, inner, ())
    return found


def _resolved(schema: Any, inner: dict[str, Any], around: tuple[str, ...]) -> Any:  # noqa: ANN401  JSON Schema
    """A schema with what it refers to written out; what refers to itself is any value."""
    if isinstance(schema, list):
        return [_resolved(one, inner, around) for one in schema]
    if not isinstance(schema, dict):
        return schema
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    if name in around:
        return {}
    if name:
        return _resolved(inner[name], inner, (*around, name))
    mapping = {key: _resolved(value, inner, around) for key, value in schema.items() if key != "discriminator"}
    if not mapping.get("additionalProperties", True) and not mapping.get("properties", True):
        return {"anyOf": [{"type": "null"}, mapping]}
    return mapping


class ScenarioDocument(Part):
    """A whole scenario."""

    version: Version = Field(default=1, description="of this format")
    title: Name = Field(description="what it shows, in a line")
    description: Said[str] = Field(default=None, description="free text")
    qemu: Said[Several[Name]] = Field(
        default=None, description="versions to behave like, such as 7.2, each in quotes; each is run"
    )
    start: Start = Field(description="the source, before the first step")
    destination: Said[Destination] = Field(default=None, description="the other side, for plans")
    policy: Said[PolicyOrPath] = Field(default=None, description="a policy, or the path of one, relative to this file")
    resolve: Said[Literal["explicit", "qemu", "root-only", "guest-device"]] = Field(
        default=None, description="the rule set that gives addresses; the policy's, else explicit"
    )
    strict: bool = Field(default=False, description="advice refuses a plan as well")
    provisional: bool = Field(default=False, description="the destination is one of its like, it need not wait")
    steps: Many[Step] = Field(default=(), description="what is done, one after the other")
    expect: Expect = Field(default_factory=_nothing, description="what is expected at the end")

    @model_validator(mode="after")
    def _ends_there(self) -> Self:
        if self.destination is not None:
            return self
        for number, step in enumerate(self.steps):
            if step.on == "destination":
                refuse("is done to a destination, and there is none", "steps", str(number), "on")
            if step.expect.of_destination:
                refuse("is about a plan or a destination, and there is none", "steps", str(number), "expect")
        if self.expect.of_destination:
            refuse("is about a plan or a destination, and there is none", "expect")
        return self


#: The keys of every mapping of a scenario, by the keys that lead to it; `*` is a name.
KNOWN: dict[tuple[str, ...], tuple[str, ...]] = {
    (): ScenarioDocument.spellings(),
    ("start",): Start.spellings(),
    ("destination",): Destination.spellings(),
}
for _side in ("start", "destination"):
    KNOWN[_side, "nodes", "*"] = StartNode.spellings()
    KNOWN[_side, "nodes", "*", "bitmaps", "*"] = StartBitmap.spellings()
    KNOWN[_side, "nodes", "*", "stored", "*"] = StartStored.spellings()
for _around in (("expect",), ("steps", "expect")):
    KNOWN[_around] = Expect.spellings()
    KNOWN[*_around, "map"] = ExpectedMap.spellings()
    KNOWN[*_around, "destination"] = ExpectedGraph.spellings()
    for _of in ((), ("destination",)):
        KNOWN[*_around, *_of, "bitmaps", "*"] = ExpectedBitmap.spellings()
        KNOWN[*_around, *_of, "nodes", "*"] = ExpectedNode.spellings()

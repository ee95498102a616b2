"""What the user wants of a migration, as a frozen value: `Policy` and its parts, spelled as in a policy file.

A part says nothing about the graphs: whether a name exists is found where the policy is applied. The same models check
documents, Python callers and make the published JSON Schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.documents.origin import Origin, where
from bitmapmig.policy.glob import Glob, GlobIndex
from bitmapmig.policy.members import (
    DOCUMENT,
    AcceptableCode,
    ChildPath,
    GlobText,
    Name,
    NewName,
    Said,
    Version,
    refuse,
)
from bitmapmig.policy.problems import findings
from bitmapmig.qapi import Many
from bitmapmig.resolve import RuleSet

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue

Word = Literal["separate", "shared", "unknown"]


class _Part(BaseModel):
    """A part of a policy: frozen, strict, no unknown keys; a dump leaves out what was not said."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        populate_by_name=True,
        alias_generator=lambda member: member.replace("_", "-"),
    )

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any] | str:
        members: dict[str, Any] = handler(self)
        # null means something only as a destination
        return {key: value for key, value in members.items() if value is not None or key == "destination"}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        members = handler.resolve_ref_schema(schema)["properties"]
        members.pop("any", None)
        for member in members.values():
            if member.get("default", ...) is None:
                del member["default"]
        return schema


class Pattern(_Part):
    """An entry of `allow` or `deny`: bitmaps whose address and name fit the globs; one that is not given fits all."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["address"]}, {"required": ["bitmap"]}]})

    address: Said[GlobText] = Field(default=None, description="glob of addresses: device names or node-names")
    bitmap: Said[GlobText] = Field(default=None, description="glob of bitmap names")
    optional: bool = Field(default=False, description="whether it may match nothing")

    @model_validator(mode="after")
    def _some_glob(self) -> Self:
        if self.address is None and self.bitmap is None:
            refuse("must give `address`, `bitmap` or both")
        return self

    @cached_property
    def globs(self) -> tuple[Glob, Glob]:
        """The globs of address and bitmap, `*` for one that is not given."""
        return Glob.compile(self.address or "*"), Glob.compile(self.bitmap or "*")

    @property
    def wild(self) -> bool:
        """Whether a glob that is given has a wildcard.

        One that is left out does not count, so that a misspelt `allow: [{bitmap: dialy}]` is a refusal, and not advice
        about a migration that leaves everything behind.
        """
        return any(glob.wild for glob, text in zip(self.globs, (self.address, self.bitmap), strict=True) if text)

    def matches(self, address: str, bitmap: str) -> bool:
        """Whether the bitmap of this name at this address is meant."""
        return self.globs[0].matches(address) and self.globs[1].matches(bitmap)


class Patterns(GlobIndex):
    """The patterns of a list, numbered from 0: which of them match a bitmap, without trying each."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        """Index `patterns`."""
        super().__init__([pattern.globs for pattern in patterns])


_ONE_NAME: list[JsonValue] = [{"required": [spelling]} for spelling in ("node-name", "device", "qdev")]


class Selector(_Part):
    """What names a node: one of node-name, device, qdev or `any`, and from there perhaps a path of child roles.

    `any` is a device name or a node-name, as QEMU's own lookup takes it; it stands alone, and a document writes it as a
    bare text. `bitmap` takes one bitmap of the node instead of all.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": _ONE_NAME})

    any: Said[Name] = Field(default=None, description="a device name or a node-name")
    node_name: Said[Name] = Field(default=None, description="the node-name")
    device: Said[Name] = Field(default=None, description="the device name of the BlockBackend whose root it is")
    qdev: Said[Name] = Field(default=None, description="the id of the guest device whose root it is")
    path: Said[ChildPath] = Field(default=None, description="child roles to follow from there, such as backing.backing")
    bitmap: Said[Name] = Field(default=None, description="one bitmap of the node; all, if not said")

    @model_validator(mode="before")
    @classmethod
    def _as_members(cls, data: object, info: ValidationInfo) -> object:
        if isinstance(data, str):
            return {"any": data}
        if info.context == DOCUMENT and isinstance(data, Mapping):
            for spelling in ("any", "node_name"):
                if spelling in data:
                    raise PydanticCustomError("extra_forbidden", "the spelling of Python", {"at": (spelling,)})
        return data

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if self.any is not None:
            if any(member != "any" and getattr(self, member) is not None for member in self.model_fields_set):
                refuse("takes nothing beside a name of either kind: give `node-name`, `device` or `qdev` instead")
            return self
        names = {"node-name": self.node_name, "device": self.device, "qdev": self.qdev}
        given = [spelling for spelling, name in names.items() if name is not None]
        if not given:
            refuse("names no node: give `node-name`, `device` or `qdev`")
        if len(given) > 1:
            refuse(f"names a node in {len(given)} ways, {', '.join(given)}: keep one of them")
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any] | str:
        members = {key: value for key, value in handler(self).items() if value is not None}
        return members if self.any is None else self.any

    @property
    def roles(self) -> tuple[str, ...]:
        """The words of `path`; a role with a dot in it, such as quorum's `children.0`, is two of them."""
        return tuple(self.path.split(".")) if self.path else ()

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A bare text, or the members."""
        members = handler.resolve_ref_schema(super().__get_pydantic_json_schema__(core, handler))
        return {"anyOf": [{"type": "string", "minLength": 1}, dict(members)]}


class Target(Selector):
    """Where bitmaps go: the node, the bitmap's new name, and whether it is to be persistent there."""

    bitmap: Said[NewName] = Field(default=None, description="the new name of the bitmap that the source names")
    persistent: Said[bool] = Field(default=None, description="as on the source, if not said")


class MapEntry(_Part):
    """An entry of `map`: the bitmaps of `source` go to `destination`, or nowhere (None: they are left behind)."""

    source: Selector = Field(description="the node, or the bitmap, of the source")
    destination: Target | None = Field(description="the node of the destination; null leaves behind")
    optional: bool = Field(default=False, description="whether it may match nothing")

    @model_validator(mode="after")
    def _one_bitmap_for_one_name(self) -> Self:
        if self.destination is not None and self.destination.bitmap is not None and self.source.bitmap is None:
            reason = "would be the name of every bitmap of the node: name the `bitmap` of `source` as well"
            refuse(reason, "destination", "bitmap")
        return self


class Storage(_Part):
    """Whether the two ends see the same images; `disks` has the exceptions."""

    default: Word = Field(default="unknown", description="for every disk that is not in `disks`")
    disks: Mapping[Name, Word] = Field(default={}, description="by device name, node-name or guest device")

    @model_validator(mode="before")
    @classmethod
    def _as_members(cls, data: object) -> object:
        return {"default": data} if isinstance(data, str) else data

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any] | str:
        members: dict[str, Any] = handler(self)
        return members if self.disks else self.default

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A bare word, or the members."""
        members = handler.resolve_ref_schema(super().__get_pydantic_json_schema__(core, handler))
        return {"anyOf": [{"type": "string", "enum": list(get_args(Word))}, dict(members)]}


class Policy(_Part):
    """What the user wants of a migration: all that a policy file can say.

    Equal to another that says the same, wherever each was read from.
    """

    version: Version = Field(default=1, description="of this format")
    defaults: bool = Field(default=True, description="false: what neither `map` nor `deny` covers is refused")
    resolve: Said[RuleSet] = Field(default=None, description="the rule set that gives addresses; explicit, if not said")
    storage: Storage = Field(default=Storage(), description="whether the two ends see the same images")
    allow: Many[Pattern] = Field(default=(), min_length=1, description="only these may migrate; all, if not said")
    deny: Many[Pattern] = Field(default=(), description="these are left behind")
    map: Many[MapEntry] = Field(default=(), description="what goes elsewhere than to its own address, or nowhere")
    collapse: bool = Field(default=False, description="merge same-named bitmaps of a chain where it ends in one image")
    accept: Many[AcceptableCode] = Field(default=(), description="codes of refusals that the user takes upon himself")

    _origin: Origin | None = PrivateAttr(default=None)

    @property
    def origin(self) -> Origin | None:
        """Where it was read from."""
        return self._origin

    @classmethod
    def parse(cls, document: object, origin: Origin | None = None) -> Policy:
        """Make the policy of a document: JSON values in the spelling of a policy file.

        Raises `CannotRunError` with every problem that was found: BM404, BM405, BM406.
        """
        try:
            policy = cls.model_validate(document, context=DOCUMENT)
        except ValidationError as error:
            raise CannotRunError(*findings(error, document, origin, _KNOWN)) from error
        policy._origin = origin  # noqa: SLF001  its own
        return policy

    def where(self, key: str) -> Where:
        """The place of a key such as `map.3.source`; the line is that of the nearest key around it that has one."""
        free = "storage.disks."  # what follows is one name, whatever dots are in it
        keys = ["storage", "disks", key.removeprefix(free)] if key.startswith(free) else key.split(".")
        return where(keys, self._origin)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Policy):
            return NotImplemented
        return all(getattr(self, member) == getattr(other, member) for member in Policy.model_fields)

    def __hash__(self) -> int:
        return hash((self.allow, self.deny, self.map, self.accept))

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # an empty `allow` would say that nothing may migrate, and a document may not have it
        return {key: value for key, value in handler(self).items() if value is not None and (value or key != "allow")}


def merged(policy_document: Mapping[str, Any], fragment: Mapping[str, Any]) -> dict[str, Any]:
    """A policy document with `fragment` put into it: lists appended, mappings merged, scalars replaced.

    Where only one of the two writes `storage` as a bare word, the word is the `default` of its mapping. The arguments
    stay as they are.
    """
    result = dict(policy_document)
    for key, value in fragment.items():
        old = result.get(key)
        new = value
        if key == "storage" and isinstance(old, str) and isinstance(new, Mapping):
            old = {"default": old}
        elif key == "storage" and isinstance(old, Mapping) and isinstance(new, str):
            new = {"default": new}
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            result[key] = merged(old, new)
        elif isinstance(old, list | tuple) and isinstance(new, list | tuple):
            result[key] = [*old, *new]
        else:
            result[key] = new
    return result


def _spellings(part: type[_Part]) -> tuple[str, ...]:
    return tuple(field.alias or member for member, field in part.model_fields.items() if member != "any")


#: The keys of every mapping of a document, by the keys that lead to it.
_KNOWN = {
    (): _spellings(Policy),
    ("storage",): _spellings(Storage),
    ("allow",): _spellings(Pattern),
    ("deny",): _spellings(Pattern),
    ("map",): _spellings(MapEntry),
    ("map", "source"): _spellings(Selector),
    ("map", "destination"): _spellings(Target),
}

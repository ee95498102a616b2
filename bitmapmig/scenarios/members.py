"""The kinds of member that a scenario is made of, and the sentences that refuse what is none of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NoReturn, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, PlainValidator
from pydantic_core import CoreSchema, PydanticCustomError

from bitmapmig import codes
from bitmapmig.documents.words import shown

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue

_T = TypeVar("_T")

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
_SIZE = re.compile(r"(\d{1,18})([KMGTP]?)")
#: What QEMU counts bytes in.
_MOST = 1 << 63


def refuse(reason: str, *at: str) -> NoReturn:
    """Complain in a sentence whose subject is the value itself, or what is `at` these keys in it."""
    raise PydanticCustomError("scenario", "{reason}", {"reason": reason, "at": at})


class Part(BaseModel):
    """A part of a scenario: frozen, strict, no unknown keys, spelled as QAPI spells."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        validate_by_name=False,
        validate_by_alias=True,
        serialize_by_alias=True,
        alias_generator=lambda member: member.rstrip("_").replace("_", "-"),
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Without defaults that only say that nothing is said."""
        schema = handler(core)
        for member in handler.resolve_ref_schema(schema).get("properties", {}).values():
            if member.get("default", ...) in (None, [], {}):
                del member["default"]
        return schema

    @classmethod
    def spellings(cls) -> tuple[str, ...]:
        """The keys that a document may have here."""
        return tuple(field.alias or member for member, field in cls.model_fields.items())


def _bytes(value: object) -> object:
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    number = int(found[1]) * _UNITS[found[2]] if found else value
    if type(number) is not int or not 0 <= number < _MOST:
        refuse(f"must be a number of bytes such as 65536 or 64K, not {shown(value)}")
    return number


def _text(value: str) -> str:
    if not value or "\0" in value:
        refuse("must not be empty" if not value else "contains a NUL character, which no name in QEMU can")
    return value


def _path(value: str) -> str:
    if "\0" in value or not value:
        refuse("is no path of a file")
    return value


def _known_code(value: str) -> str:
    if value not in codes.BY_CODE:
        refuse(f"is no code: {shown(value)}; `bitmapmig explain` lists all")
    return value


def _several(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _version(value: object) -> object:
    # Literal[1] would take true and 1.0 as well
    if type(value) is not int or value != 1:
        refuse(f"must be 1, the only version of the scenario format that there is, not {shown(value)}")
    return value


def _named(value: object) -> object:
    """A list of names as a mapping without members."""
    if not isinstance(value, list):
        return value
    found: dict[str, dict[str, object]] = {}
    for one in value:
        if not isinstance(one, str):
            refuse(f"must be names, or a mapping of names to members, and holds {shown(one)}")
        if one in found:
            refuse(f"holds {shown(one)} twice")
        found[one] = {}
    return found


def _place(value: str) -> str:
    place(value)
    return value


class Place(NamedTuple):
    """What stands before a bitmap's name: a node-name, device or guest device, and child roles to follow from it."""

    name: str
    roles: tuple[str, ...]
    bitmap: str


def place(text: str) -> Place:
    """`fmt0/daily`, or `drive0:backing.backing/daily`, in its parts; the first `/` ends the node."""
    node, slash, bitmap = text.partition("/")
    name, colon, roles = node.partition(":")
    if not (slash and bitmap and name) or (colon and not all(roles.split("."))):
        refuse("must be a node or device and a bitmap, such as `fmt0/daily` or `drive0:backing/daily`")
    return Place(name, tuple(roles.split(".")) if colon else (), bitmap)


class _Schema:
    """Another form that a member may have, in the JSON Schema: it comes before that of the model."""

    def __init__(self, *forms: dict[str, Any]) -> None:
        self._forms = forms

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [*self._forms, handler(core)]}


_TEXT = {"type": "string", "minLength": 1}
Name: TypeAlias = Annotated[str, Field(min_length=1), AfterValidator(_text)]
FilePath: TypeAlias = Annotated[str, Field(min_length=1), AfterValidator(_path)]
Size: TypeAlias = Annotated[int, BeforeValidator(_bytes), _Schema({"type": "string", "pattern": f"^{_SIZE.pattern}$"})]
Version: TypeAlias = Annotated[Literal[1], BeforeValidator(_version)]
FindingCode: TypeAlias = Annotated[str, AfterValidator(_known_code)]
#: `fmt0/daily`
BitmapPlace: TypeAlias = Annotated[str, AfterValidator(_place)]
Several: TypeAlias = Annotated[tuple[_T, ...], Field(strict=False), BeforeValidator(_several), _Schema(_TEXT)]
Named: TypeAlias = Annotated[
    dict[Name, _T],
    BeforeValidator(_named),
    _Schema({"type": "array", "items": _TEXT, "uniqueItems": True}),
]


def _not_null(value: object) -> object:
    # a key with its value forgotten is null in YAML
    if value is None:
        refuse("must not be null; leave the key out")
    return value


class _NeverNull:
    """Takes null out of the JSON Schema of a member."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        left = [one for one in schema["anyOf"] if one != {"type": "null"}]
        return left[0] if len(left) == 1 else {"anyOf": left}


#: A member that may be left out: None in Python, never null in a document.
Said = Annotated[_T | None, BeforeValidator(_not_null), _NeverNull()]


def _refusal(value: object) -> object:
    if value is not True and not (isinstance(value, str) and value):
        refuse(f"must be true, or a part of the reason, not {shown(value)}")
    return value


def _policy(value: object) -> object:
    if not isinstance(value, dict) and not (isinstance(value, str) and value and "\0" not in value):
        refuse(f"must be the path of a policy, or a policy, not {shown(value)}")
    return value


# two kinds of value, and one sentence about what is neither
Refusal: TypeAlias = Annotated[
    Literal[True] | str,
    PlainValidator(_refusal, json_schema_input_type=Literal[True] | Annotated[str, Field(min_length=1)]),
]
PolicyOrPath: TypeAlias = Annotated[
    str | dict[str, Any],
    PlainValidator(_policy, json_schema_input_type=Annotated[str, Field(min_length=1)] | dict[str, Any]),
]


class Presence(Part):
    """A part that may be the bare word `absent` instead."""

    absent: bool | None = Field(default=None, exclude=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The word, or the members."""
        members = handler.resolve_ref_schema(super().__get_pydantic_json_schema__(core, handler))
        members["properties"].pop("absent", None)
        return {"anyOf": [{"const": "absent"}, dict(members)]}

    @classmethod
    def spellings(cls) -> tuple[str, ...]:
        """The keys that a document may have here."""
        return tuple(one for one in super().spellings() if one != "absent")

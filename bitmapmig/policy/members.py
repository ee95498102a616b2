"""The kinds of member that a policy is made of, and the sentences that refuse what is none of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError

from bitmapmig import codes
from bitmapmig.documents.words import shown

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue

_T = TypeVar("_T")

#: QEMU's limit of a bitmap name, in bytes (`BDRV_BITMAP_MAX_NAME_SIZE`).
_BITMAP_NAME_BYTES = 1023
_SURROGATE = re.compile("[\ud800-\udfff]")
#: The context of a validation whose input is a document: stricter than for Python callers about spelling and null.
DOCUMENT = "document"


def refuse(reason: str, *at: str) -> NoReturn:
    """Complain in a sentence whose subject is the value itself, or what is `at` these keys in it."""
    raise PydanticCustomError("policy", "{reason}", {"reason": reason, "at": at})


def _name(text: str) -> str:
    if "\0" in text:
        refuse("contains a NUL character, which no name in QEMU can")
    if _SURROGATE.search(text):
        refuse("contains half of a surrogate pair, which is no text")
    return text


def _new_name(text: str) -> str:
    length = len(_name(text).encode())
    if length > _BITMAP_NAME_BYTES:
        refuse(f"is {length} bytes long, and a bitmap name in QEMU has at most {_BITMAP_NAME_BYTES}")
    if any(0xFDD0 <= ord(letter) <= 0xFDEF or ord(letter) & 0xFFFE == 0xFFFE for letter in text):  # noqa: PLR2004
        refuse("contains a code point that Unicode keeps from being a character, which QEMU's JSON refuses")
    return text


def _glob(text: str) -> str:
    if (len(text) - len(text.rstrip("\\"))) % 2:
        refuse("ends with a `\\` that escapes nothing; write `\\\\` for the character itself")
    return _name(text)


def _path(text: str) -> str:
    if not all(text.split(".")):
        refuse("must be child roles with single dots between them, such as backing.backing")
    return _name(text)


def _not_null(value: object, info: ValidationInfo) -> object:
    # `bitmap:` with its value forgotten is null in YAML, and would widen an entry from one bitmap to the whole node
    if value is None and info.context == DOCUMENT:
        refuse("must not be null; leave the key out")
    return value


def _known_version(value: object) -> object:
    # Literal[1] would take true and 1.0 as well
    if type(value) is not int or value != 1:
        refuse(f"must be 1, the only version of the policy format that there is, not {shown(value)}")
    return value


def _acceptable(code: str) -> str:
    if code in codes.ACCEPTABLE:
        return code
    reason = "no policy may take it upon itself" if code in codes.BY_CODE else "there is no such code"
    raise PydanticCustomError("accept", "{reason}", {"reason": reason})


Name = Annotated[str, Field(min_length=1), AfterValidator(_name)]
NewName = Annotated[str, Field(min_length=1), AfterValidator(_new_name)]
GlobText = Annotated[str, Field(min_length=1), AfterValidator(_glob)]
ChildPath = Annotated[str, Field(min_length=1), AfterValidator(_path)]
AcceptableCode = Annotated[str, AfterValidator(_acceptable)]
Version = Annotated[Literal[1], BeforeValidator(_known_version)]


class _NeverNull:
    """Takes null out of the JSON Schema of a member."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        return next(one for one in schema["anyOf"] if one != {"type": "null"})


#: A member that may be left out: None in Python, never null in a document.
Said = Annotated[_T | None, BeforeValidator(_not_null), _NeverNull()]

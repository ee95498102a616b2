"""QEMU's own schema (`query-qmp-schema`) -> what this very QEMU supports, and whether a command fits it.

The types of QAPI introspection are a schema language: a command has an object type as argument, an object has members
and maybe variants, an array has an element type. Source: QAPI `SchemaInfo`, qapi/introspect.json.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from bitmapmig.qapi import SchemaInfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bitmapmig.captures import Capture

_ENTRIES = TypeAdapter(tuple[SchemaInfo, ...])
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "int": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
    "array": (list, tuple),
}


class Schema:
    """What one QEMU tells of its commands; types are looked up by the names that this QEMU gave them."""

    def __init__(self, entries: tuple[SchemaInfo, ...]) -> None:
        """Take the entries of `query-qmp-schema`, or of the part of it that a capture keeps."""
        self._entries: Mapping[str, SchemaInfo] = {entry.name: entry for entry in entries}

    def has(self, command: str, *path: str) -> bool:
        """Whether `command` takes the argument that `path` names, member by member, arrays passed through."""
        return self._type_at(command, path) is not None

    def values(self, command: str, *path: str) -> frozenset[str]:
        """The values of the enum at `path`; empty where there is none."""
        found = self._type_at(command, path)
        if found is None or found.meta_type != "enum":
            return frozenset()
        return frozenset(found.values) | frozenset(member.name for member in found.members if member.name)

    def problems(self, message: Mapping[str, Any]) -> tuple[str, ...]:
        """Why this QEMU would refuse the command `message`; empty where it fits the schema."""
        command = self._entries.get(str(message["execute"]))
        if command is None or command.meta_type != "command":
            return (f"there is no command {message['execute']!r}",)
        argument = self._entries.get(command.arg_type or "")
        if argument is None:
            return ("the schema does not say what it takes",)
        return tuple(self._mismatches(argument, message.get("arguments", {}), "arguments"))

    def _type_at(self, command: str, path: tuple[str, ...]) -> SchemaInfo | None:
        found = self._entries.get(command)
        if found is None or found.meta_type != "command":
            return None
        found = self._entries.get(found.arg_type or "")
        for name in path:
            members = self._element(found).members if found else ()
            found = next((self._entries.get(member.type or "") for member in members if member.name == name), None)
        return self._element(found) if found else None

    def _element(self, entry: SchemaInfo) -> SchemaInfo:
        seen: set[str] = set()
        while entry.meta_type == "array" and entry.name not in seen:
            seen.add(entry.name)
            entry = self._entries.get(entry.element_type or "", entry)
        return entry

    def _mismatches(self, entry: SchemaInfo | None, value: Any, place: str) -> Iterator[str]:  # noqa: ANN401
        if entry is None:
            yield f"{place}: the schema names a type that it does not hold"
            return
        match entry.meta_type:
            case "object":
                yield from self._object_mismatches(entry, value, place)
            case "array":
                yield from self._array_mismatches(entry, value, place)
            case "alternate":
                choices = [self._entries.get(member.type or "") for member in entry.members]
                # QAPI nests no alternates; a hostile schema that does would never end
                flat = [choice for choice in choices if choice is not None and choice.meta_type != "alternate"]
                if all(any(self._mismatches(choice, value, place)) for choice in flat):
                    yield f"{place}: fits none of its alternatives"
            case "enum":
                if value not in entry.values and value not in [member.name for member in entry.members]:
                    yield f"{place}: {value!r} is not among its values"
            case _:
                if entry.json_type != "value" and not _is_json(value, entry.json_type or ""):
                    yield f"{place}: not of type {entry.json_type}"

    def _array_mismatches(self, entry: SchemaInfo, value: Any, place: str) -> Iterator[str]:  # noqa: ANN401
        if not _is_json(value, "array"):
            yield f"{place}: not an array"
            return
        element = self._entries.get(entry.element_type or "")
        for index, item in enumerate(value):
            yield from self._mismatches(element, item, f"{place}[{index}]")

    def _object_mismatches(self, entry: SchemaInfo, value: Any, place: str) -> Iterator[str]:  # noqa: ANN401
        if not isinstance(value, dict):
            yield f"{place}: not an object"
            return
        members = {member.name: member for member in entry.members}
        for variant in entry.variants:
            if value.get(entry.tag) == variant.case and (branch := self._entries.get(variant.type)):
                members |= {member.name: member for member in branch.members}
        for name, inner in value.items():
            if name not in members:
                yield f"{place}: it knows no {name!r}"
            else:
                yield from self._mismatches(self._entries.get(members[name].type or ""), inner, f"{place}.{name}")
        for name, member in members.items():
            if "default" not in member.model_fields_set and name not in value:
                yield f"{place}: {name!r} is missing"


def _is_json(value: object, json_type: str) -> bool:
    kinds = _JSON_TYPES.get(json_type, ())
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def read(capture: Capture) -> Schema | None:
    """The schema in a capture; None where QEMU did not tell it."""
    entries = capture.returned("query-qmp-schema", _ENTRIES)
    return Schema(entries) if entries else None

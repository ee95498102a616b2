"""Everything that this package ever sends to a QEMU: exact queries, and shapes for what has variable parts.

A session (`monitor.connected`) is opened with some of these and can send nothing else; that is enforced on the wire. A
shape takes a whole message, arguments included, and says whether it is one of its kind. Sources: QAPI `migration.json`
(`migrate-set-parameters`, `migrate-set-capabilities`), `block-core.json` (`x-debug-block-dirty-bitmap-sha256`,
`block-dirty-bitmap-add`, `-clear`, `-merge`, `-remove`), `transaction.json` (`transaction`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from bitmapmig.captures import QUERIES
from bitmapmig.collapse import is_temporary

#: What a session may be allowed to send: exactly this message, or any that the function says yes to.
Allowed: TypeAlias = Mapping[str, Any] | Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class Message:
    """A QMP command with its arguments, which are any JSON."""

    execute: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def message(self) -> dict[str, Any]:
        """The command as it goes over the wire."""
        words: dict[str, Any] = {"execute": self.execute}
        return words | {"arguments": dict(self.arguments)} if self.arguments else words


# reading


#: What a capture asks, with exactly these arguments. Nothing of it changes a QEMU.
READING: tuple[Mapping[str, Any], ...] = tuple(query.message for query in QUERIES)


def reads_digest(message: Mapping[str, Any]) -> bool:
    """`x-debug-block-dirty-bitmap-sha256` of one bitmap of one node."""
    arguments = _arguments(message, "x-debug-block-dirty-bitmap-sha256")
    return arguments is not None and _object(arguments, {"node": _text, "name": _text})


def digest(node: str, bitmap: str) -> Message:
    """The question for the SHA-256 of the bits of `bitmap` on `node`."""
    return Message("x-debug-block-dirty-bitmap-sha256", {"node": node, "name": bitmap})


# writing


def sets_mapping(message: Mapping[str, Any]) -> bool:
    """`migrate-set-parameters` with `block-bitmap-mapping`, and no other parameter."""
    arguments = _arguments(message, "migrate-set-parameters")
    return arguments is not None and _object(arguments, {"block-bitmap-mapping": _mapping})


def sets_capability(message: Mapping[str, Any]) -> bool:
    """`migrate-set-capabilities` with `dirty-bitmaps`, and no other capability."""
    arguments = _arguments(message, "migrate-set-capabilities")
    return arguments is not None and _object(arguments, {"capabilities": _capabilities})


def merges(message: Mapping[str, Any]) -> bool:
    """`transaction` that adds or clears temporaries, each with the merge of other bitmaps into it right after."""
    arguments = _arguments(message, "transaction")
    return arguments is not None and _object(arguments, {"actions": _merging})


def removes_temporary(message: Mapping[str, Any]) -> bool:
    """`block-dirty-bitmap-remove` of a temporary."""
    arguments = _arguments(message, "block-dirty-bitmap-remove")
    return arguments is not None and _object(arguments, {"node": _text, "name": _temporary})


#: What `apply` and `finish` send beside `READING`, and all that ever changes a QEMU.
WRITING: tuple[Allowed, ...] = (sets_mapping, sets_capability, merges, removes_temporary)


# what shapes are made of

_Shape: TypeAlias = Callable[[object], bool]


def _arguments(message: Mapping[str, Any], command: str) -> object:
    """The arguments of `message` where it is `command` with arguments and nothing else; else None."""
    if message.keys() != {"execute", "arguments"} or message["execute"] != command:
        return None
    return message["arguments"]


def _object(value: object, members: Mapping[str, _Shape], optional: Mapping[str, _Shape] | None = None) -> bool:
    """Whether `value` is an object with all `members`, some of `optional`, and no other."""
    if not isinstance(value, dict):
        return False
    known = {**members, **(optional or {})}
    return members.keys() <= value.keys() <= known.keys() and all(known[key](value[key]) for key in value)


def _text(value: object) -> bool:
    return isinstance(value, str)


def _truth(value: object) -> bool:
    return isinstance(value, bool)


def _list(value: object, shape: _Shape) -> bool:
    return isinstance(value, list) and all(map(shape, value))


def _number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _false(value: object) -> bool:
    return value is False


def _temporary(value: object) -> bool:
    return isinstance(value, str) and is_temporary(value)


def _merging(value: object) -> bool:
    """Pairs of actions about one temporary each."""
    if not isinstance(value, list) or not value or len(value) % 2:
        return False
    return all(
        (_action(first, "block-dirty-bitmap-add", _ADD) or _action(first, "block-dirty-bitmap-clear", _CLEAR))
        and _action(second, "block-dirty-bitmap-merge", _MERGE)
        and (first["data"]["node"], first["data"]["name"]) == (second["data"]["node"], second["data"]["target"])
        for first, second in zip(value[::2], value[1::2], strict=True)
    )


def _action(value: object, kind: str, data: Mapping[str, _Shape]) -> bool:
    return _object(value, {"type": lambda found: found == kind, "data": lambda found: _object(found, data)})


_CLEAR: Mapping[str, _Shape] = {"node": _text, "name": _temporary}
_ADD: Mapping[str, _Shape] = {**_CLEAR, "granularity": _number, "persistent": _false}
_MERGE: Mapping[str, _Shape] = {
    "node": _text,
    "target": _temporary,
    "bitmaps": lambda found: _list(found, lambda one: _object(one, {"node": _text, "name": _text})),
}


def _mapping(value: object) -> bool:
    return _list(value, _node_alias)


def _node_alias(value: object) -> bool:
    return _object(value, {"node-name": _text, "alias": _text, "bitmaps": lambda found: _list(found, _bitmap_alias)})


def _bitmap_alias(value: object) -> bool:
    return _object(value, {"name": _text, "alias": _text}, {"transform": _transform})


def _transform(value: object) -> bool:
    return _object(value, {}, {"persistent": _truth})


def _capabilities(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 1
        and _object(value[0], {"capability": _dirty_bitmaps, "state": _truth})
    )


def _dirty_bitmaps(value: object) -> bool:
    return value == "dirty-bitmaps"

"""What one QEMU's own schema allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import TypeAdapter

from bitmapmig import introspect
from bitmapmig.introspect import Schema
from bitmapmig.qapi import SchemaInfo
from tests.build import ABSENT, Error, source
from tests.build_schema import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENTRIES = TypeAdapter(tuple[SchemaInfo, ...])
_MAPPING = ("migrate-set-parameters", "block-bitmap-mapping")


def _schema(*lacks: str, more: Sequence[dict[str, Any]] = ()) -> Schema:
    return Schema(_ENTRIES.validate_python([*schema(*lacks), *more]))


@pytest.mark.parametrize(
    ("lacks", "path", "expected"),
    [
        ((), _MAPPING, True),
        (("block-bitmap-mapping",), _MAPPING, False),
        ((), (*_MAPPING, "bitmaps", "transform", "persistent"), True),
        (("transform",), (*_MAPPING, "bitmaps", "transform", "persistent"), False),
        (("transform",), (*_MAPPING, "bitmaps", "alias"), True),
        ((), ("migrate-set-parameters", "avail-switchover-bandwidth"), True),
        (("avail-switchover-bandwidth",), ("migrate-set-parameters", "avail-switchover-bandwidth"), False),
        ((), ("migrate-set-parameters",), True),
        ((), ("no-such-command",), False),
        ((), ("str",), False),
        ((), (*_MAPPING, "alias", "deeper"), False),
    ],
)
def test_features_are_probed_by_path(lacks: Sequence[str], path: tuple[str, ...], expected: bool) -> None:  # noqa: FBT001
    """A feature is there exactly when its path of members is, arrays passed through."""
    assert _schema(*lacks).has(*path) is expected


def test_the_values_of_an_enum() -> None:
    """Capabilities are the values of an enum; where there is none there are none."""
    path = ("migrate-set-capabilities", "capabilities", "capability")
    assert "dirty-bitmaps" in _schema().values(*path)
    assert "dirty-bitmaps" not in _schema("dirty-bitmaps").values(*path)
    assert _schema().values("migrate-set-capabilities", "capabilities", "state") == frozenset()
    assert _schema().values("nosuch") == frozenset()


def test_an_enum_of_old_and_new_spelling() -> None:
    """5.2 tells values as `values`, newer ones as `members` as well; either will do."""
    old = {"name": "22", "meta-type": "enum", "values": ["old"]}
    new = {"name": "22", "meta-type": "enum", "members": [{"name": "new"}]}
    path = ("migrate-set-capabilities", "capabilities", "capability")
    assert [_schema(more=[one]).values(*path) for one in (old, new)] == [{"old"}, {"new"}]
    assert _schema(more=[new]).problems(_capability(capability="new", state=True)) == ()


def _capability(**one: Any) -> dict[str, Any]:
    return {"execute": "migrate-set-capabilities", "arguments": {"capabilities": [one]}}


def _mapping(*entries: Any) -> dict[str, Any]:
    return {"execute": "migrate-set-parameters", "arguments": {"block-bitmap-mapping": list(entries)}}


_ENTRY = {"node-name": "n", "alias": "a", "bitmaps": [{"name": "b", "alias": "c"}]}


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (_mapping(), None),
        (_mapping(_ENTRY), None),
        (_mapping({**_ENTRY, "bitmaps": ({"name": "b", "alias": "c", "transform": {"persistent": True}},)}), None),
        (_mapping({**_ENTRY, "bitmaps": [{"name": "b", "alias": "c", "transform": {}}]}), None),
        ({"execute": "migrate-set-parameters", "arguments": {}}, None),
        ({"execute": "migrate-set-parameters"}, None),
        ({"execute": "migrate-set-parameters", "arguments": {"downtime-limit": 5}}, None),
        ({"execute": "migrate-set-parameters", "arguments": {"downtime-limit": 0.5}}, "not of type int"),
        ({"execute": "migrate-set-parameters", "arguments": {"downtime-limit": True}}, "not of type int"),
        ({"execute": "migrate-set-parameters", "arguments": {"block-bitmap-mapping": None}}, "not an array"),
        ({"execute": "migrate-set-parameters", "arguments": {"no-such": 1}}, "it knows no 'no-such'"),
        ({"execute": "migrate-set-parameters", "arguments": []}, "arguments: not an object"),
        (_mapping(5), "[0]: not an object"),
        (_mapping({**_ENTRY, "alias": 5}), "alias: not of type string"),
        (_mapping({"node-name": "n", "alias": "a"}), "'bitmaps' is missing"),
        (_mapping({**_ENTRY, "bitmaps": [{"name": "b", "alias": "c", "transform": {"persistent": 1}}]}), "boolean"),
        (_capability(capability="dirty-bitmaps", state=True), None),
        (_capability(capability="no-such", state=True), "'no-such' is not among its values"),
        (_capability(capability=["dirty-bitmaps"], state=True), "is not among its values"),
        (_capability(capability="dirty-bitmaps"), "'state' is missing"),
        ({"execute": "no-such", "arguments": {}}, "there is no command 'no-such'"),
        ({"execute": "30"}, "there is no command '30'"),
    ],
)
def test_whether_a_command_fits(message: dict[str, Any], complaint: str | None) -> None:
    """Names, types and nesting of arguments, as this QEMU would check them."""
    found = _schema().problems(message)
    assert bool(found) == (complaint is not None)
    assert complaint is None or complaint in found[0]


def _command(argument: dict[str, Any], *more: dict[str, Any]) -> Schema:
    """A schema whose command `c` takes `argument`."""
    return _schema(more=[{"name": "c", "meta-type": "command", "arg-type": "A"}, {"name": "A", **argument}, *more])


def test_alternates_and_variants() -> None:
    """An alternate takes what one of its types takes; a variant adds the members of its case."""
    either = {"name": "E", "meta-type": "alternate", "members": [{"type": "str"}, {"type": "int"}]}
    member = _command({"meta-type": "object", "members": [{"name": "e", "type": "E"}]}, either)
    values: list[Any] = ["x", 5, [], None]
    fits = [not member.problems({"execute": "c", "arguments": {"e": value}}) for value in values]
    assert fits == [True, True, False, False]
    kind = {"name": "K", "meta-type": "enum", "values": ["one", "two"]}
    one = {"name": "O", "meta-type": "object", "members": [{"name": "x", "type": "int"}]}
    two = {"name": "T", "meta-type": "object", "members": []}
    tagged = {"meta-type": "object", "tag": "k", "members": [{"name": "k", "type": "K"}],
              "variants": [{"case": "one", "type": "O"}, {"case": "two", "type": "T"}]}  # fmt: skip
    union = _command(tagged, kind, one, two)
    taken = [{"k": "one", "x": 5}, {"k": "two"}, {"k": "one"}, {"k": "two", "x": 5}]
    assert [bool(union.problems({"execute": "c", "arguments": value})) for value in taken] == [False, False, True, True]


@pytest.mark.parametrize(
    "argument",
    [
        {"meta-type": "alternate", "members": [{"type": "A"}]},
        {"meta-type": "array", "element-type": "A"},
        {"meta-type": "object", "members": [{"name": "a", "type": "A"}]},
        {"meta-type": "object", "tag": "a", "members": [], "variants": [{"case": "x", "type": "A"}]},
        {"meta-type": "object", "members": [{"name": "a", "type": "nowhere"}]},
        {"meta-type": "builtin", "json-type": "invented"},
        {"meta-type": "event"},
    ],
)
def test_a_schema_that_eats_its_tail(argument: dict[str, Any]) -> None:
    """A hostile schema may refer to itself or to nothing: that is no endless loop, and nothing fits it."""
    made = _command(argument)
    values: list[Any] = [{"a": "x"}, [[5]], "x"]
    for value in values:
        assert made.problems({"execute": "c", "arguments": value})
    assert made.has("c", "a", "a", "nosuch") is False


@pytest.mark.parametrize(
    ("reply", "told"), [(schema(), True), ([], False), (Error(), False), (ABSENT, False)], ids=["told", "[]", "x", "-"]
)
def test_a_qemu_that_does_not_tell(reply: Any, told: bool) -> None:  # noqa: FBT001
    """Without its schema nothing is known of what it supports."""
    assert (introspect.read(source(replies={"query-qmp-schema": reply})) is not None) is told

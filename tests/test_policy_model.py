"""A policy as a value: what Python callers and documents are held to, its JSON Schema, and fragments put into it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from bitmapmig.diagnostics import CannotRunError
from bitmapmig.policy.model import MapEntry, Pattern, Policy, Selector, Target, merged


def test_the_json_schema_knows_no_null() -> None:
    """In the JSON Schema only a destination may be null, and a bare text may name a node or the storage."""
    schema = Policy.model_json_schema()
    parts = schema["$defs"]
    assert json.dumps(schema).count('"null"') == 1
    assert "null," not in json.dumps(schema)
    assert {"type": "null"} in parts["MapEntry"]["properties"]["destination"]["anyOf"]
    for part in ("Selector", "Target", "Storage"):
        assert [one["type"] for one in parts[part]["anyOf"]] == ["string", "object"]
        assert "any" not in parts[part]["anyOf"][1]["properties"]


@pytest.mark.parametrize(
    ("part", "members"),
    [
        (Selector, {}),
        (Selector, {"any": "a", "bitmap": "b"}),
        (Target, {"any": "a", "persistent": True}),
        (Selector, {"device": "a", "node_name": "b"}),
        (Selector, {"device": "\ud800"}),
        (Pattern, {}),
        (MapEntry, {"source": Selector(any="a"), "destination": Target(device="b", bitmap="c")}),
        (Policy, {"collapse": 1}),
        (Policy, {"allow": ()}),
        (Policy, {"accept": ("BM404",)}),
        (Policy, {"defaults": 1}),
    ],
)
def test_python_callers_are_held_to_the_same(part: type[Policy], members: dict[str, Any]) -> None:
    """A value that no document could say cannot be made in Python either."""
    with pytest.raises(ValidationError):
        part(**members)


def test_python_callers_may_say_none() -> None:
    """In Python, None is a member that is not given."""
    assert Selector(device="a") == Selector(device="a", bitmap=None, path=None)
    assert Policy() == Policy(resolve=None)
    assert Selector(device="a", path="backing.children.0").roles == ("backing", "children", "0")
    assert Selector(any="a").roles == ()


@pytest.mark.parametrize(
    "document", [{1: 2}, {"\ud800": 1}, {"map": [{"\ud800": 1}]}, {"deny": [{"bitmap": b"x"}]}, 1, None]
)
def test_a_document_of_other_values_is_refused(document: object) -> None:
    """`Policy.parse` refuses what no file could hold, as a finding."""
    with pytest.raises(CannotRunError) as caught:
        Policy.parse(document)
    assert all(found.code == "BM404" and found.model_dump_json() for found in caught.value.diagnostics)


@pytest.mark.parametrize(
    ("document", "fragment", "expected"),
    [
        ({}, {"map": [1]}, {"map": [1]}),
        ({"map": [1]}, {"map": [2]}, {"map": [1, 2]}),
        ({"map": (1,)}, {"deny": [2]}, {"map": (1,), "deny": [2]}),
        ({"defaults": True}, {"defaults": False}, {"defaults": False}),
        ({"storage": "shared"}, {"storage": "separate"}, {"storage": "separate"}),
        (
            {"storage": "shared"},
            {"storage": {"disks": {"a": "separate"}}},
            {"storage": {"default": "shared", "disks": {"a": "separate"}}},
        ),
        (
            {"storage": {"disks": {"a": "shared", "b": "shared"}}},
            {"storage": {"disks": {"b": "separate"}}},
            {"storage": {"disks": {"a": "shared", "b": "separate"}}},
        ),
        (
            {"storage": {"disks": {"a": "shared"}}},
            {"storage": "separate"},
            {"storage": {"default": "separate", "disks": {"a": "shared"}}},
        ),
    ],
)
def test_a_fragment_is_merged(document: dict[str, Any], fragment: dict[str, Any], expected: dict[str, Any]) -> None:
    """Lists are appended, mappings merged, scalars replaced, and the arguments stay as they are."""
    before = json.dumps([document, fragment])
    assert expected == merged(document, fragment)
    assert before == json.dumps([document, fragment])

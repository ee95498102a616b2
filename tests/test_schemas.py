"""The published JSON Schemas."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bitmapmig import schemas

FOLDER = Path(__file__).parent.parent / "schemas"


def test_published_are_those_of_the_models(tmp_path: Path) -> None:
    """The files in schemas/ are what the models say: `make schemas` writes them."""
    schemas.main([str(tmp_path)])
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == made
    assert all(text.endswith("}\n") for text in made.values())


@pytest.mark.parametrize("name", schemas.NAMES)
def test_schema_is_self_contained(name: str) -> None:
    """A schema names its dialect and itself, and refers to nothing outside."""
    document = json.loads(schemas.schema(name))
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["$id"] == f"urn:bitmapmig:{name}:1"
    references = [part.split('"')[0] for part in json.dumps(document).split('"$ref": "')[1:]]
    assert all(one.removeprefix("#/$defs/") in document["$defs"] for one in references)


def test_policy_in_the_spelling_of_files() -> None:
    """The schema of a policy has the keys as they are written in a file."""
    assert '"node-name"' in schemas.schema("policy").decode()
    assert '"node_name"' not in schemas.schema("policy").decode()

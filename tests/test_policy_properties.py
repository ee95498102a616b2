"""Properties of reading a policy: of any document and any bytes, and of what is dumped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

import yaml
from hypothesis import given
from hypothesis import strategies as st

from bitmapmig.codes import ACCEPTABLE
from bitmapmig.diagnostics import CannotRunError, Diagnostic
from bitmapmig.policy.model import Policy
from bitmapmig.policy.read import Format, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# documents that are a policy

NAMES = st.sampled_from(
    [
        "drive0",
        "#block123",
        "<<",
        "",
        "yes",
        "1",
        "true",
        "null",
        "~",
        "a.b.c",
        "ä",
        "\u202e",
        "\x1b",
        "{x}",
        "'q'",
        "#",
        ":",
        "-",
    ]
).filter(bool)
GLOBS = st.sampled_from(["*", "backup-*", r"\*", r"a\\*b", "null"])
KINDS = st.sampled_from(["node-name", "device", "qdev"])
WORDS = st.sampled_from(["separate", "shared", "unknown"])


def nodes(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A node, named in any way, with members beside it."""
    optional["path"] = st.sampled_from(["backing", "backing.backing", "children.0"])
    members = st.fixed_dictionaries({}, optional=optional)
    return st.builds(lambda kind, name, rest: {kind: name, **rest}, KINDS, NAMES, members)


ENTRIES = st.fixed_dictionaries(
    {"source": NAMES | nodes(), "destination": st.none() | NAMES | nodes(persistent=st.booleans())},
    optional={"optional": st.booleans()},
) | st.fixed_dictionaries(
    {"source": nodes(bitmap=NAMES).filter(lambda node: "bitmap" in node), "destination": nodes(bitmap=NAMES)}
)
PATTERNS = st.lists(
    st.fixed_dictionaries({"bitmap": GLOBS}, optional={"address": GLOBS, "optional": st.booleans()}),
    min_size=1,
    max_size=3,
)
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "version": st.just(1),
        "defaults": st.booleans(),
        "resolve": st.sampled_from(["explicit", "qemu", "root-only", "guest-device"]),
        "storage": WORDS
        | st.fixed_dictionaries({}, optional={"default": WORDS, "disks": st.dictionaries(NAMES, WORDS)}),
        "allow": PATTERNS,
        "deny": PATTERNS,
        "map": st.lists(ENTRIES, max_size=3),
        "collapse": st.booleans(),
        "accept": st.lists(st.sampled_from(ACCEPTABLE), max_size=2),
    },
)


def keys_of(value: object, above: str = "") -> Iterator[tuple[str, str]]:
    """Every key of a document, by the way that leads to it."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        if isinstance(key, str):
            yield above + key, key
        yield from keys_of(inner, f"{above}{key}.")


@given(POLICIES)
def test_what_is_dumped_is_read_again(document: Any) -> None:
    """A policy is the same after a dump as a document, whole or without what has its default, and as YAML."""
    policy = Policy.parse(document)
    for dumped in (
        policy.model_dump(mode="json", by_alias=True),
        policy.model_dump(mode="json", by_alias=True, exclude_defaults=True),
    ):
        assert policy == Policy.parse(dumped) == parse(yaml.safe_dump(dumped).encode(), "p", "yaml")


@given(POLICIES)
def test_every_key_has_its_line(document: Any) -> None:
    """The line of a key is the one that it stands on, in JSON and in YAML."""
    text = json.dumps(document, indent=1)
    lines = text.splitlines()
    formats: tuple[Format, ...] = ("json", "yaml")
    for kind in formats:
        policy = parse(text.encode(), "p", kind)
        for path, key in keys_of(document):
            line = policy.where(path).line
            assert line is not None
            assert lines[line - 1].strip().startswith(f"{json.dumps(key)}:")


# any documents

KEYS = """
    version defaults resolve storage allow deny map collapse accept source destination node-name node_name device qdev
    any path bitmap persistent recording optional address disks default shared explicit BM512 BM404 a* a.b
"""
TEXTS = st.sampled_from([*KEYS.split(), "", "\\", "\0", "\u202e"]) | st.text(max_size=3)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.one_of(TEXTS, st.none(), st.booleans(), NUMBERS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=5),
)
SPOILT = st.builds(lambda good, key, value: {**good, key: value}, POLICIES, TEXTS, JSON) | st.fixed_dictionaries(
    {"map": st.lists(st.dictionaries(TEXTS, JSON, max_size=3) | ENTRIES), "deny": st.lists(JSON, max_size=3)}
)


def outcome(make: Callable[[], Policy]) -> tuple[Policy | None, list[str], list[Diagnostic]]:
    """The policy that is made, or the sentences that refuse it and the findings themselves."""
    try:
        return make(), [], []
    except CannotRunError as error:
        return None, sorted(found.message for found in error.diagnostics), list(error.diagnostics)


@given(JSON | SPOILT)
def test_any_json_document_is_read_or_refused(document: Any) -> None:
    """Whatever the document, a file of it gives what the document itself gives, and each key in it has a line."""
    text = json.dumps(document, indent=1)
    of_document = outcome(lambda: Policy.parse(document))
    of_file = outcome(lambda: parse(text.encode(), "p", "json"))
    assert of_document[:2] == of_file[:2]
    assert all(found.where.line is not None for found in of_file[2] if found.where.key is not None)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), st.sampled_from(get_args(Format)))
def test_any_bytes_are_read_or_refused(raw: bytes, kind: Format) -> None:
    """Whatever a file holds, there is a policy or there are findings, and no traceback."""
    policy, _, found = outcome(lambda: parse(raw, "p", kind))
    assert (policy is None) == bool(found)
    assert {one.code for one in found} <= {"BM402", "BM403", "BM404", "BM405", "BM406", "BM407"}

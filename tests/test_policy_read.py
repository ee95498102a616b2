"""Policy files in three formats: what is read, and that every misuse is found by code, line and key."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

import pytest
import yaml

from bitmapmig import codes
from bitmapmig.diagnostics import CannotRunError, Diagnostic, Where
from bitmapmig.documents import read as module
from bitmapmig.documents.build import MAX_DEPTH, MAX_VALUES
from bitmapmig.documents.words import SHOWN
from bitmapmig.policy.model import MapEntry, Pattern, Policy, Selector, Storage, Target
from bitmapmig.policy.read import MAX_BYTES, Format, parse, read

if TYPE_CHECKING:
    from pathlib import Path

FORMATS: tuple[Format, ...] = ("yaml", "json", "toml")

YAML = """\
version: 1
defaults: true            # a comment
resolve: explicit
storage: {default: unknown, disks: {drive0: shared}}
allow:
  - {address: "*", bitmap: "backup-*"}
deny:
  - {address: "*", bitmap: "scratch-*"}
map:
  - source: drive0
    destination: fmt0
  - source: {node-name: fmt1, bitmap: daily}
    destination: {node-name: fmt9, bitmap: daily, persistent: false}
  - source: {device: drive3, path: backing.backing}
    destination: {node-name: base3}
  - source: {qdev: virtio-disk2}
    destination: null
    optional: true
collapse: false
accept: [BM512]
"""
TOML = """\
version = 1
defaults = true
resolve = "explicit"
collapse = false
accept = ["BM512"]
allow = [{address = "*", bitmap = "backup-*"}]
deny = [{address = "*", bitmap = "scratch-*"}]
[storage]
default = "unknown"
disks.drive0 = "shared"
[[map]]
source = "drive0"
destination = "fmt0"
[[map]]
source = {node-name = "fmt1", bitmap = "daily"}
destination = {node-name = "fmt9", bitmap = "daily", persistent = false}
[[map]]
source = {device = "drive3", path = "backing.backing"}
destination = {node-name = "base3"}
[[map]]
source = {qdev = "virtio-disk2"}
destination = false
optional = true
"""
EXAMPLE = Policy(
    resolve="explicit",
    storage=Storage(disks={"drive0": "shared"}),
    allow=(Pattern(address="*", bitmap="backup-*"),),
    deny=(Pattern(address="*", bitmap="scratch-*"),),
    map=(
        MapEntry(source=Selector(any="drive0"), destination=Target(any="fmt0")),
        MapEntry(
            source=Selector(node_name="fmt1", bitmap="daily"),
            destination=Target(node_name="fmt9", bitmap="daily", persistent=False),
        ),
        MapEntry(source=Selector(device="drive3", path="backing.backing"), destination=Target(node_name="base3")),
        MapEntry(source=Selector(qdev="virtio-disk2"), destination=None, optional=True),
    ),
    accept=("BM512",),
)


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parsers that PyYAML may come with."""
    monkeypatch.setattr(module, "_PARSER", getattr(yaml, request.param))


def problems(text: str | bytes, kind: Format = "yaml") -> tuple[Diagnostic, ...]:
    """What is found in a policy that must be refused."""
    with pytest.raises(CannotRunError) as caught:
        parse(text if isinstance(text, bytes) else text.encode(), f"policy.{kind}", kind)
    for found in caught.value.diagnostics:
        assert found.where.file == f"policy.{kind}"
        assert found.model_dump_json()
    return caught.value.diagnostics


def places(text: str | bytes, kind: Format = "yaml") -> list[tuple[str, int | None, str | None]]:
    """Code, line and key of what is found."""
    return [(found.code, found.where.line, found.where.key) for found in problems(text, kind)]


# what is read


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("yaml", YAML),
        ("yaml", "\ufeff" + YAML.replace("\n", "\r\n")),
        ("yaml", "%YAML 1.2\n---\n" + YAML + "...\n"),
        ("yaml", json.dumps(yaml.safe_load(YAML), indent=2)),
        ("json", json.dumps(yaml.safe_load(YAML), indent=2)),
        ("json", "\ufeff" + json.dumps(yaml.safe_load(YAML))),
        ("toml", TOML),
        ("toml", "\ufeff" + TOML.replace("\n", "\r\n")),
    ],
)
def test_every_format_says_the_same(kind: Format, text: str) -> None:
    """The policy of the design is the same value in every format, with BOM and with CRLF."""
    assert parse(text.encode(), "p", kind) == EXAMPLE


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("kind", "text"),
    [("yaml", ""), ("yaml", "# nothing\n"), ("yaml", "---\n"), ("yaml", "{}"), ("json", " {}\n"), ("toml", "\n")],
)
def test_an_empty_document_is_the_default_policy(kind: Format, text: str) -> None:
    """An empty document says nothing, and every member has its default."""
    policy = parse(text.encode(), "p", kind)
    assert Policy() == policy
    assert (policy.resolve, policy.storage.default, policy.map) == (None, "unknown", ())


NO_SPECIAL_WORDS = """
    yes no on off y n nUll trUe << = 1:30 0b11 1_000 017x 2024-01-01 1.2.3 0o8 -0x1 + . 1e 0x
"""


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "name"),
    [(word, word) for word in NO_SPECIAL_WORDS.split()]
    + [("'1'", "1"), ('"true"', "true"), ('"~"', "~"), ("!!str 1", "1"), ("!!str null", "null"), ('! "1"', "1")],
)
def test_what_is_a_text_in_yaml_1_2(text: str, name: str) -> None:
    """Only what the core schema of YAML 1.2 makes special is special: the rest are names without quotes."""
    assert Policy(deny=(Pattern(bitmap=name),)) == parse(f"deny: [bitmap: {text}]".encode(), "p", "yaml")


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1", "the number 1"),
        ("-12", "the number -12"),
        ("007", "the number 7"),
        ("0o17", "the number 15"),
        ("0x1F", "the number 31"),
        ("1e3", "the number 1000.0"),
        (".5", "the number 0.5"),
        ("2.", "the number 2.0"),
        ("-.inf", "the number -inf"),
        (".NaN", "the number nan"),
        ("9" * 5000, "the number inf"),
        ("0x" + "f" * 9000, "a huge number"),
        ("true", "true"),
        ("False", "false"),
        ("TRUE", "true"),
        ("!!int 1", "the number 1"),
        ("[]", "a list"),
        ("{}", "a mapping"),
        ("[[a]]", "a list"),
    ],
)
def test_what_is_no_text_in_yaml_1_2(text: str, shown: str) -> None:
    """A number, a boolean or a collection where a name belongs is refused, and the sentence says what it is."""
    (found,) = problems(f"deny: [bitmap: {text}]")
    assert (found.code, found.where.line, found.where.key) == ("BM404", 1, "deny.0.bitmap")
    assert f"must be a text, not {shown}" in found.message
    assert ("quotes" in found.message) == ("number" in shown or "true" in shown or "false" in shown)


@pytest.mark.parametrize("text", ["", "~", "null", "Null", "NULL", "!!null ''"])
def test_null_does_not_widen_an_entry(text: str) -> None:
    """A key whose value was forgotten is refused, and not taken as not given: the entry would mean more."""
    assert places(f"map:\n- {{source: {{device: d, bitmap: {text}}}, destination: x}}") == [
        ("BM404", 2, "map.0.source.bitmap")
    ]


# misuse

MISUSE: list[tuple[str, list[tuple[str, int | None, str | None]]]] = [
    ("versoin: 1", [("BM404", 1, "versoin")]),
    ("version: 2", [("BM404", 1, "version")]),
    ("version: true", [("BM404", 1, "version")]),
    ("version: 1.0", [("BM404", 1, "version")]),
    ("defaults: yes", [("BM404", 1, "defaults")]),
    ("resolve: Explicit", [("BM404", 1, "resolve")]),
    ("resolve:", [("BM404", 1, "resolve")]),
    ("storage: sharde", [("BM404", 1, "storage")]),
    ("storage: 5", [("BM404", 1, "storage")]),
    ("storage:\n  defualt: shared", [("BM404", 2, "storage.defualt")]),
    ("storage:\n  disks:\n    d.0: on", [("BM404", 3, "storage.disks.d.0")]),
    ("storage:\n  disks:\n    '': shared", [("BM404", 3, "storage.disks.")]),
    ("storage:\n  disks:\n    '[key]': on", [("BM404", 3, "storage.disks.[key]")]),
    ("allow: []", [("BM404", 1, "allow")]),
    ("allow:\n- {}", [("BM404", 2, "allow.0")]),
    ("allow:\n- {bitmap: ''}", [("BM404", 2, "allow.0.bitmap")]),
    ("deny: {bitmap: x}", [("BM404", 1, "deny")]),
    ("deny:\n- x", [("BM404", 2, "deny.0")]),
    ("deny:\n- bitmap: a\\", [("BM404", 2, "deny.0.bitmap")]),
    ("deny:\n- bitmap: 'a\\\\\\'", [("BM404", 2, "deny.0.bitmap")]),
    ("deny:\n- bitmap: x\n  optional: 1", [("BM404", 3, "deny.0.optional")]),
    ("map:", [("BM404", 1, "map")]),
    ("map:\n- source: a", [("BM404", 2, "map.0.destination")]),
    ("map:\n- destination: a", [("BM404", 2, "map.0.source")]),
    ("map:\n- {source: null, destination: null}", [("BM404", 2, "map.0.source")]),
    ("map:\n- {source: '', destination: a}", [("BM404", 2, "map.0.source")]),
    ("map:\n- {source: {}, destination: a}", [("BM404", 2, "map.0.source")]),
    ("map:\n- {source: {any: a}, destination: a}", [("BM404", 2, "map.0.source.any")]),
    ("map:\n- {source: {node_name: a}, destination: a}", [("BM404", 2, "map.0.source.node_name")]),
    ("map:\n- {source: {device: a, qdev: b}, destination: a}", [("BM404", 2, "map.0.source")]),
    ("map:\n- {source: {path: backing}, destination: a}", [("BM404", 2, "map.0.source")]),
    ("map:\n- {source: {device: a, path: a..b}, destination: a}", [("BM404", 2, "map.0.source.path")]),
    ("map:\n- {source: {device: a, path: [a]}, destination: a}", [("BM404", 2, "map.0.source.path")]),
    ("map:\n- {source: {device: a, persistent: true}, destination: a}", [("BM404", 2, "map.0.source.persistent")]),
    ("map:\n- source: a\n  destination:\n    device: b\n    bitmap: c", [("BM404", 5, "map.0.destination.bitmap")]),
    ("map:\n- {source: a, destination: {device: b, persistent: 1}}", [("BM404", 2, "map.0.destination.persistent")]),
    ("map:\n- {source: a, destination: {device: b, persistent: null}}", [("BM404", 2, "map.0.destination.persistent")]),
    ("map:\n- {source: a, destination: false}", [("BM404", 2, "map.0.destination")]),
    (
        f"map:\n- source: {{device: a, bitmap: b}}\n  destination: {{device: a, bitmap: {'ä' * 512}}}",
        [("BM404", 3, "map.0.destination.bitmap")],
    ),
    ("map:\n- {source: a, destination: b,\n   recording: true}", [("BM405", 3, "map.0.recording")]),
    ("map:\n- {source: {device: a,\n   recording: true}, destination: b}", [("BM405", 3, "map.0.source.recording")]),
    ("map:\n- source: a\n  destination: {device: a, recording: 1}", [("BM405", 3, "map.0.destination.recording")]),
    ("collapse: 1", [("BM404", 1, "collapse")]),
    ("accept:\n- BM512\n- BM542\n- BM999", [("BM406", 3, "accept.1"), ("BM406", 4, "accept.2")]),
    ("accept: BM512", [("BM404", 1, "accept")]),
    ("accept: [512]", [("BM404", 1, "accept.0")]),
    ("a: 1\nmap: []\na: 2", [("BM404", 1, "a"), ("BM403", 3, "a")]),
    ("map:\n- source: a\n  source: b\n  destination: c", [("BM403", 3, "map.0.source")]),
    ("- a", [("BM404", None, None)]),
    ("text", [("BM404", None, None)]),
    ("1: a\ntrue: b\n~: c\n[x]: d", [("BM404", line, None) for line in (1, 2, 3, 4)]),
    (
        "storage: &s shared\nmap:\n- <<: {source: a}\n  destination: b",
        [("BM404", 3, "map.0"), ("BM404", 3, "map.0.source")],
    ),
    ("deny:\n- bitmap: !mine x", [("BM404", 2, "deny.0.bitmap")]),
    ("deny:\n- bitmap: !!binary aGk=", [("BM404", 2, "deny.0.bitmap")]),
    ("deny: !!set {}", [("BM404", 1, "deny"), ("BM404", 1, "deny")]),
    ("deny:\n- bitmap: !!python/object:os.system x", [("BM404", 2, "deny.0.bitmap")]),
    ("version: !!int one", [("BM404", 1, "version"), ("BM404", 1, "version")]),
    ("a: *b", [("BM402", 1, None)]),
    ("map: &m\n- *m", [("BM402", 2, None)]),
    ("map: []\n---\nmap: []", [("BM402", 2, None)]),
    ("map:\n\t- source: a", [("BM402", 2, None)]),
    ("map: [a", [("BM402", 1, None)]),
    ("map:\n  a: b\n c: d", [("BM402", 3, None)]),
    ("deny: [{bitmap: !x!y z}]", [("BM402", 1, None)]),
    ("%YAML 2.0\n--- {}", [("BM402", 1, None)]),
    ("a: 1\nb: \0", [("BM402", 2, None)]),
    ("a: 1\nb: \x1b[31m", [("BM402", 2, None)]),
]


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(("text", "expected"), MISUSE, ids=[text[:40] for text, _ in MISUSE])
def test_misuse_in_yaml(text: str, expected: list[tuple[str, int | None, str | None]]) -> None:
    """Each misuse is found by code, line and key, whichever parser PyYAML has."""
    assert expected == places(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("BM402", 1, None)]),
        ("null", [("BM404", None, None)]),
        ("[1,\n2", [("BM402", 2, None)]),
        ("{'a': 1}", [("BM402", 1, None)]),
        ('{"a": 1,}', [("BM402", 1, None)]),
        ('{"a": 1} x', [("BM402", 1, None)]),
        ('{"version":\n NaN}', [("BM402", 2, None)]),
        ('{"version":\n -Infinity}', [("BM402", 2, None)]),
        ('{"version": ' + "1" * 5000 + "}", [("BM402", None, None)]),
        ('{"version": 1e999}', [("BM404", 1, "version")]),
        ('{"a\tb": 1}', [("BM402", 1, None)]),
        ('{"a": "\0"}', [("BM402", 1, None)]),
        ('{"\\u0061":\n1,\n"a": 2}', [("BM404", 1, "a"), ("BM403", 3, "a")]),
        (
            '{"deny": [{"bitmap": "a",\n "bitmap": "b",\n "bitmap": "c"}]}',
            [("BM403", 2, "deny.0.bitmap"), ("BM403", 3, "deny.0.bitmap")],
        ),
        ('{"deny": [\n{"bitmap": "\\ud800"}]}', [("BM404", 2, "deny.0.bitmap")]),
        ('{\n"\\udfff": 1}', [("BM404", 2, None), ("BM404", 2, "\\\\udfff")]),
        ('{"deny": [\n{"bitmap": "a\\u0000"}]}', [("BM404", 2, "deny.0.bitmap")]),
        ('{"\u202egnp.exe\\u001b[31m": 1}', [("BM404", 1, "\\u202egnp.exe\\x1b[31m")]),
        ('{"accept": ["\u202e"]}', [("BM406", 1, "accept.0")]),
        ('{"map": [{"source": "a",\r\n"destination": {}}]}', [("BM404", 2, "map.0.destination")]),
    ],
)
def test_misuse_in_json(text: str, expected: list[tuple[str, int | None, str | None]]) -> None:
    """What is no JSON, and what is no policy, is found by code, line and key; names are escaped."""
    assert expected == places(text, "json")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", [("BM402", 1, None)]),
        ("version = 1\nmap = [", [("BM402", 2, None)]),
        ("version = 1\nversion = 1\n", [("BM403", 2, "version")]),
        ("[storage]\n[[map]]\n[storage]\n", [("BM403", 3, "storage")]),
        ('allow = []\nallow = [\n{bitmap = "x"},\n]\n', [("BM403", 2, "allow")]),
        ("map = [\n{source = 1, source = 2}]", [("BM403", 2, "source")]),
        ("versoin = 1", [("BM404", None, "versoin")]),
        ("version = 2024-01-01", [("BM404", None, "version")]),
        ("version = " + "1" * 5000, [("BM402", None, None)]),
        ('[[map]]\nsource = "a"\ndestination = true\n', [("BM404", None, "map.0.destination")]),
        ('[[map]]\nsource = "a"\n', [("BM404", None, "map.0.destination")]),
        (
            '[[map]]\nsource = {node-name = "a", recording = true}\n',
            [("BM404", None, "map.0.destination"), ("BM405", None, "map.0.source.recording")],
        ),
        ("map = 1", [("BM404", None, "map")]),
        ("map = [1]", [("BM404", None, "map.0")]),
        ("\0", [("BM402", 1, None)]),
    ],
)
def test_misuse_in_toml(text: str, expected: list[tuple[str, int | None, str | None]]) -> None:
    """What is no TOML is found by line, what is no policy by key, as TOML's parser tells no lines of keys."""
    assert expected == sorted(places(text, "toml"))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("raw", [b"\xff\xfea: 1", "version: 1\n".encode("utf-16"), b"a: 1\n\xc3\x28"])
def test_only_utf_8_is_read(kind: Format, raw: bytes) -> None:
    """Bytes that are not UTF-8 are refused by the line that they are in."""
    assert [("BM402", raw.count(b"\n", 0, 5) + 1, None)] == places(raw, kind)


def test_all_problems_are_found_together() -> None:
    """A duplicate key, unknown keys, wrong types and codes are all told, in the order of the file."""
    text = """\
verison: 1
defaults: 1
map:
- source: {node-name: a, recording: false}
  destination: {device: b, devcie: c}
- sauce: x
  destination: null
map: []
accept: [BM501]
"""
    assert places(text) == [
        ("BM404", 1, "verison"),
        ("BM404", 2, "defaults"),
        ("BM405", 4, "map.0.source.recording"),
        ("BM404", 5, "map.0.destination.devcie"),
        ("BM404", 6, "map.1.source"),
        ("BM404", 6, "map.1.sauce"),
        ("BM403", 8, "map"),
        ("BM406", 9, "accept.0"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("destinaton: 1", "unknown key 'destinaton'; known here: version, defaults, resolve, storage"),
        ("alow: 1", "did you mean 'allow'?"),
        ("map: [{source: a, destination: {nodename: b}}]", "persistent; did you mean 'node-name'?"),
        ("map: [{source: {node_name: a}, destination: b}]", "did you mean 'node-name'?"),
        ("storage: sharde", "must be separate, shared or unknown, not the text 'sharde'; did you mean 'shared'?"),
        ("map: [{source: a}]", "`destination` is missing"),
        ("map: [7]", "`map.0` must be a mapping, not the number 7"),
        ("map: [{source: 7, destination: a}]", "not the number 7; put it into quotes"),
        ("map: [{source: a, destination: {}}]", "`destination` names no node"),
        ("collapse: yes", "`collapse` must be true or false, not the text 'yes'"),
        ("accept: [BM542]", "'BM542' cannot be accepted: no policy may take it upon itself"),
        ("accept: [BM999]", "'BM999' cannot be accepted: there is no such code"),
        ("deny: [{}]", "`deny.0` must give `address`, `bitmap` or both"),
        ("allow: []", "`allow` must not be an empty list"),
        ("'\"\\e[31m\"': 1", "unknown key '\"\\\\e[31m\"'"),
        ('"\\e[31m": 1', "unknown key '\\x1b[31m'"),
        ("a: &a [*a]", "the alias *a is inside what it names"),
    ],
)
def test_sentences_are_plain(text: str, words: str) -> None:
    """A message says in words what is wrong, what is known and what may have been meant."""
    message = problems(text)[0].message
    assert words in message
    assert not re.search(r"[Ii]nput should|validation|pydantic|function-", message)


def test_what_can_be_accepted_is_told() -> None:
    """The remedy of BM406 lists the codes that a policy may accept."""
    (found,) = problems("accept: [BM404]")
    assert all(code in found.remedy for code in codes.ACCEPTABLE)


def test_recording_has_its_remedy() -> None:
    """The remedy of BM405 names the commands to use after the migration."""
    (found,) = problems("map: [{source: a, destination: {device: b, recording: true}}]")
    assert "block-dirty-bitmap-disable" in found.remedy


# hostile


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "- " * 100_000,
        "{a: " * 100_000,
        "? " * 100_000,
        "".join(" " * depth + "a:\n" for depth in range(300)),
        "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 100)),
        "a0: &a0 {x: x}\n" + "".join(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}\n" for n in range(1, 99)),
    ],
    ids=lambda text: text[:8],
)
def test_what_grows_without_bound_is_refused_in_yaml(text: str) -> None:
    """Deep nesting and exploding aliases are refused at once, whichever parser PyYAML has."""
    begin = time.process_time()
    assert [found.code for found in problems(text)] == ["BM407"]
    assert time.process_time() - begin < 5


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("json", "[" * 100_000),
        ("json", '{"a":' * 100_000),
        ("json", "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)),
        ("toml", "a = " + "[" * 100_000),
        ("toml", ".".join(["a"] * 20_000) + " = 1"),
        ("toml", "x = {" + ".".join(["'a'"] * 20_000) + " = 1}"),
        ("toml", "[" + ".".join(["a"] * 20_000) + "]"),
        ("json", "[" + "0," * MAX_VALUES + "0]"),
        ("toml", "a = [" + "0," * MAX_VALUES + "0]"),
        *((kind, " " * (limit + 1)) for kind, limit in MAX_BYTES.items()),
    ],
    ids=lambda value: value[:8],
)
def test_what_grows_without_bound_is_refused(kind: Format, text: str) -> None:
    """Deep nesting, endless lists and huge files are refused before they take much time or memory."""
    begin = time.process_time()
    assert [found.code for found in problems(text, kind)] == ["BM407"]
    assert time.process_time() - begin < 20


@pytest.mark.parametrize("kind", FORMATS)
def test_a_hundred_thousand_rules_are_read(kind: Format) -> None:
    """A policy of 100,000 rules is read, and the place of each of them is known where the format tells lines."""
    count = 100_000
    entries = [f"{{'source': 'a{n}', 'destination': {{'device': 'b{n}'}}}}" for n in range(count)]
    text = {
        "yaml": "map:\n" + "".join(f"- {entry}\n" for entry in entries),
        "json": '{"map": [\n' + ",\n".join(entries).replace("'", '"') + "]}",
        "toml": "map = [\n" + ",\n".join(entries).replace(":", " =") + "]",
    }[kind]
    begin = time.process_time()
    policy = parse(text.encode(), "p", kind)
    assert time.process_time() - begin < 40
    assert count == len(policy.map)
    line = None if kind == "toml" else count + 1
    assert Where(file="p", line=line, key="map.99999.source") == policy.where("map.99999.source")


def test_a_flood_of_problems_is_counted() -> None:
    """Of very many problems the first are told, and the last one says how many there are besides."""
    *told, last = problems("map: [" + "1," * 5000 + "]")
    assert len(told) == SHOWN
    assert f"there are {5000 - SHOWN} more problems" in last.message


def test_aliases_are_shared_and_keep_their_lines() -> None:
    """An anchor can be used again; a problem in it is placed where the anchor stands."""
    policy = parse(b"allow: &few\n- bitmap: a*\ndeny: *few\n", "p", "yaml")
    assert policy.allow == policy.deny == (Pattern(bitmap="a*"),)
    assert places("allow: &few\n- bitmpa: a*\ndeny: *few\n") == [
        ("BM404", 2, "allow.0.bitmpa"),
        ("BM404", 2, "deny.0.bitmpa"),
    ]


# files


def test_a_file_is_read_by_its_suffix(tmp_path: Path) -> None:
    """The suffix, in any case, tells the format."""
    for suffix, text in ((".yaml", YAML), (".yml", YAML), (".YAML", YAML), (".toml", TOML)):
        path = tmp_path / f"policy{suffix}"
        path.write_text(text)
        assert EXAMPLE == read(path) == read(str(path))
        assert str(path) == read(path).where("map").file


@pytest.mark.parametrize(
    "name", ["none.yaml", "policy.txt", "policy", ".yaml", "folder.json", "nul\0.toml", "\udcff.yml"]
)
def test_what_cannot_be_read_as_a_file(tmp_path: Path, name: str) -> None:
    """A file that is not there, a folder, an unknown suffix and an impossible name are BM401."""
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "policy.txt").write_text("")
    with pytest.raises(CannotRunError) as caught:
        read(tmp_path / name)
    (found,) = caught.value.diagnostics
    assert found.code == "BM401"
    assert found.where.file is not None
    assert found.model_dump_json()


# the value


@pytest.mark.parametrize(
    ("key", "line", "shown"),
    [
        ("version", 1, "version"),
        ("map", 9, "map"),
        ("map.1", 12, "map.1"),
        ("map.2.source.path", 14, "map.2.source.path"),
        ("map.2.source.bitmap", 14, "map.2.source.bitmap"),
        ("map.99", 9, "map.99"),
        ("map.x", 9, "map.x"),
        ("storage.disks.drive0", 4, "storage.disks.drive0"),
        ("storage.disks.a.b\n", 4, "storage.disks.a.b\\n"),
        ("nothing", None, "nothing"),
    ],
)
def test_where_a_key_stands(key: str, line: int | None, shown: str) -> None:
    """A key has the line of the nearest key around it that the file has; without a file it is only itself."""
    assert Where(file="p", line=line, key=shown) == parse(YAML.encode(), "p", "yaml").where(key)
    assert Where(key=shown) == EXAMPLE.where(key)


def test_where_a_disk_with_dots_stands() -> None:
    """The name of a disk may have dots."""
    policy = parse(b"storage:\n  disks:\n    a: shared\n    a.b.c: shared\n", "p", "yaml")
    assert policy.where("storage.disks.a.b.c").line == 4


def test_the_origin_is_no_part_of_the_value() -> None:
    """Policies that say the same are equal and hash alike, and no dump or schema tells where they were read."""
    policy = parse(YAML.encode(), "p", "yaml")
    assert policy.origin is not None
    assert EXAMPLE.origin is None
    assert len({policy, EXAMPLE}) == 1
    assert policy != Policy()
    assert policy.model_dump() == EXAMPLE.model_dump()
    assert "origin" not in json.dumps(Policy.model_json_schema())
    assert places("origin: a") == [("BM404", 1, "origin")]


def test_a_dump_is_the_document() -> None:
    """A dump by alias is what a user would write: bare texts, no nulls but that of a destination."""
    assert EXAMPLE.model_dump(mode="json", by_alias=True) == {
        "version": 1,
        "defaults": True,
        "resolve": "explicit",
        "storage": {"default": "unknown", "disks": {"drive0": "shared"}},
        "allow": [{"address": "*", "bitmap": "backup-*", "optional": False}],
        "deny": [{"address": "*", "bitmap": "scratch-*", "optional": False}],
        "map": [
            {"source": "drive0", "destination": "fmt0", "optional": False},
            {
                "source": {"node-name": "fmt1", "bitmap": "daily"},
                "destination": {"node-name": "fmt9", "bitmap": "daily", "persistent": False},
                "optional": False,
            },
            {
                "source": {"device": "drive3", "path": "backing.backing"},
                "destination": {"node-name": "base3"},
                "optional": False,
            },
            {"source": {"qdev": "virtio-disk2"}, "destination": None, "optional": True},
        ],
        "collapse": False,
        "accept": ["BM512"],
    }

"""The capture document: what is kept, what is refused, what is hidden, and what hostile replies do to its readers."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from bitmapmig import graph, state
from bitmapmig.captures import (
    QUERIES,
    SCHEMA_COMMANDS,
    Capture,
    Exchange,
    decode,
    dump,
    load,
    printable,
    schema_closure,
    structure,
)
from bitmapmig.diagnostics import CannotRunError, Diagnostic
from bitmapmig.qapi import NodeName
from bitmapmig.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDED = {path.stem: path.read_bytes() for path in sorted((Path(__file__).parent / "captures").glob("*.json"))}

#: Names that no terminal and no careless encoding survives, and that QEMU can send.
HOSTILE_NAMES = (
    "\x1b[2J\x1b]0;owned\x07",
    "\u202egnp.exe\u202c",
    "[bold red]markup[/]",
    'a\r\n{"return": {}}',
    "'\"\\",
    "\U0001f4be" * 255,
    "ü" * 511 + "x",
    "\x00",
)


def recorded(name: str = "qemu-7.2") -> Capture:
    """A capture of a real QEMU."""
    return load(RECORDED[name], name)


def with_reply(command: str, reply: Any, capture: Capture | None = None) -> Capture:
    """The capture, but that QEMU answered `command` with `reply`."""
    document = json.loads(dump(capture or recorded()))
    for exchange in document["exchanges"]:
        if exchange["execute"] == command:
            exchange["return"] = reply
    return load(json.dumps(document).encode(), "changed")


def reply(command: str, capture: Capture | None = None) -> Any:
    """What QEMU answered, in a copy that may be changed."""
    exchanges = (capture or recorded()).exchanges
    return json.loads(json.dumps(next(one.return_ for one in exchanges if one.execute == command)))


def refused(act: Callable[[], object]) -> tuple[str, str]:
    """The code and the message of the one finding that `act` raises."""
    with pytest.raises(CannotRunError) as caught:
        act()
    (found,) = caught.value.diagnostics
    return found.code, found.message


def test_there_are_recorded_captures() -> None:
    """Recorded captures with and without `children` are there to test on."""
    nodes = {name: reply("query-named-block-nodes", recorded(name)) for name in RECORDED}
    told = {name: all("children" in node for node in nodes[name]) for name in RECORDED}
    assert told == {"qemu-7.2": False, "qemu-11.1": True}


# decode


@pytest.mark.parametrize("value", [None, True, 0, -1.5, 1e300, 10**40, "", "ü\U0001f4be", [], {"a": [{}]}])
def test_decode(value: object) -> None:
    """Any JSON value is taken as it is, in ASCII or in UTF-8."""
    assert value == decode(json.dumps(value).encode())
    assert value == decode(json.dumps(value, ensure_ascii=False).encode())


BAD_JSON = {
    b"": "Expecting value",
    b"{": "Expecting property name",
    b'{"a": 1': "Expecting ',' delimiter",
    b"NaN": "NaN is no JSON",
    b"[-Infinity]": "-Infinity is no JSON",
    b"1e999": "the number 1e999 is too large",
    b'"\xff"': "can't decode byte 0xff",
    b'"\xed\xa0\x80"': "can't decode byte 0xed",
    b'"\\ud800"': "surrogates not allowed",
    b'{"\\uDC00": 1}': "surrogates not allowed",
    b"9" * 5000: "Exceeds the limit",
    b"[" * 100_000: "nested too deeply",
}


@pytest.mark.parametrize(("raw", "reason"), BAD_JSON.items(), ids=range(len(BAD_JSON)))
def test_decode_refuses(raw: bytes, reason: str) -> None:
    """What could not be written again, or read by others, is refused with the reason."""
    with pytest.raises(ValueError, match=reason):
        decode(raw)


# documents


@pytest.mark.parametrize("name", RECORDED)
def test_stored_again(name: str) -> None:
    """A capture that is read and written again is the same document, byte for byte."""
    assert RECORDED[name] == dump(load(RECORDED[name], name))


#: Machines under load are slow, and that is no failure.
_UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@_UNHURRIED
@given(_JSON)
def test_replies_are_kept_raw(value: object) -> None:
    """Whatever QEMU sends comes out of a stored capture as it was."""
    (exchange,) = [one for one in with_reply("query-name", value).exchanges if one.execute == "query-name"]
    assert exchange.return_ == value


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_are_kept(name: str) -> None:
    """A name with escapes, markup, bidi controls or 1,023 bytes is the same after a capture was stored."""
    nodes = reply("query-named-block-nodes")
    next(node for node in nodes if node["node-name"] == "disk")["dirty-bitmaps"][0]["name"] = name
    stored = load(dump(with_reply("query-named-block-nodes", nodes)), "stored")
    bitmaps = graph.read(stored, "source")[0].nodes[NodeName("disk")].bitmaps
    assert name in [bitmap.name for bitmap in bitmaps]
    assert dump(stored).isascii()


def document(**members: Any) -> bytes:
    """A capture document, with members changed; None leaves one out."""
    whole = json.loads(RECORDED["qemu-7.2"]) | members
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


UNREADABLE = {
    b"": ("BM110", "no JSON: Expecting value"),
    RECORDED["qemu-7.2"][:-3]: ("BM110", "no JSON: Expecting"),
    b"\xff\xfe": ("BM110", "no JSON: 'utf-8' codec can't decode"),
    b"[" * 100_000: ("BM110", "nested too deeply"),
    b'{"\x1b": ': ("BM110", "no JSON"),
    b"[]": ("BM111", "the document: "),
    b"{}": ("BM111", "endpoint: "),
    b'{"\\ud800": 1}': ("BM111", "half of a surrogate pair"),
    document(endpoint=1): ("BM111", "endpoint: "),
    document(greeting=[]): ("BM111", "greeting: "),
    document(exchanges={}): ("BM111", "exchanges: "),
    document(exchanges=[1]): ("BM111", "exchanges.0: "),
    document(exchanges=[{"execute": "query-name"}]): ("BM111", "exchanges.0: "),
    document(exchanges=[{"execute": "query-name", "return": {}, "error": {}}]): ("BM111", "exchanges.0: "),
    document(exchanges=[{"execute": 1, "return": {}}]): ("BM111", "exchanges.0.execute: "),
    document(surplus=1): ("BM111", "surplus: "),
    document(format_version=2): ("BM112", "has format_version 2, this version reads 1"),
    document(format_version="\x1b"): ("BM111", "format_version: "),
}


@pytest.mark.parametrize(("raw", "expected"), UNREADABLE.items(), ids=range(len(UNREADABLE)))
def test_unreadable(raw: bytes, expected: tuple[str, str]) -> None:
    """What is no capture is refused with a code and a reason, in text that prints."""
    code, message = refused(lambda: load(raw, "x.json"))
    assert (code, True, True) == (expected[0], expected[1] in message, message.isprintable())


def test_too_deep_to_store() -> None:
    """A reply that is nested deeper than JSON can be written is BM111, not an endless recursion."""
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    capture = recorded().model_copy(
        update={"exchanges": (Exchange.model_validate({"execute": "a", "return": nested}),)}
    )
    code, message = refused(lambda: dump(capture))
    assert (code, "nested too deeply" in message) == ("BM111", True)


# replies


_NAME = TypeAdapter(dict[str, str])


def test_returned() -> None:
    """A reply is given as the type asked for; None where the command failed or was not asked."""
    failed = Exchange(execute="query-uuid", error={"class": "GenericError", "desc": "no"})
    capture = with_reply("query-name", {"name": "vm"}).model_copy()
    capture = capture.model_copy(update={"exchanges": (*capture.exchanges, failed)})
    assert capture.returned("query-name", _NAME) == {"name": "vm"}
    assert capture.returned("query-nothing", _NAME) is None
    assert capture.model_copy(update={"exchanges": (failed,)}).returned("query-uuid", _NAME) is None


NEEDED = [query.execute for query in QUERIES if query.needed]


@pytest.mark.parametrize("command", NEEDED)
def test_needed_reply_is_missing(command: str) -> None:
    """A needed command that failed, or that a capture lacks, is BM108 with what QEMU said."""
    ejected = Exchange(execute=command, error={"class": "GenericError", "desc": "Block device \x1b is ejected"})
    said = f"{command!r} has no answer from 'unix:source.qmp': "
    for exchanges, reason in (((ejected,), "Block device \\x1b is ejected"), ((), "it is not in the capture")):
        capture = recorded().model_copy(update={"exchanges": exchanges})
        assert refused(partial(capture.returned, command, _NAME)) == ("BM108", said + reason)


def test_reply_of_another_type() -> None:
    """A reply of another type is BM111, which names the member and how many are wrong."""
    capture = with_reply("query-name", {"\x1b": 1, "b": 2})
    reason = "query-name.\\x1b: Input should be a valid string (2 in all)"
    message = f"the capture of 'unix:source.qmp' is not what QEMU sends: {reason}"
    assert refused(lambda: capture.returned("query-name", _NAME)) == ("BM111", message)


@pytest.mark.parametrize(
    ("text", "shown"), {"plain": "plain", "\x1b[m\n": "\\x1b[m\\n", "ü": "ü", "\u202e": "\\u202e"}.items()
)
def test_printable(text: str, shown: str) -> None:
    """Control characters and what turns text around are escaped, letters are not."""
    assert (shown, 500) == (printable(text), len(printable("x" * 1000)))


# hiding


def test_redact() -> None:
    """File names and URLs are gone, one always under the same placeholder; everything else is left."""
    nodes = reply("query-named-block-nodes")
    private = "/srv/acme/disk.qcow2"
    for node in nodes:
        node["file"] = node["image"]["filename"] = private
    failed = Exchange(execute="query-uuid", error={"class": "GenericError", "desc": f"no {private}"})
    named = with_reply("query-named-block-nodes", nodes)
    hidden = redact(named.model_copy(update={"endpoint": f"unix:{private}", "exchanges": (*named.exchanges, failed)}))
    assert private.encode() not in dump(hidden)
    shown = reply("query-named-block-nodes", hidden)
    assert len({node["file"] for node in shown} | {node["image"]["filename"] for node in shown}) == 1
    assert [node["node-name"] for node in nodes] == [node["node-name"] for node in shown]


@pytest.mark.parametrize("name", RECORDED)
def test_redacted_capture_means_the_same(name: str) -> None:
    """The graph and the state of a redacted capture are those of the original, but for names of files."""
    plain, hidden = recorded(name), redact(recorded(name))
    assert structure_of_graph(plain) == structure_of_graph(hidden)
    assert state.read(plain).parameters == state.read(hidden).parameters


def structure_of_graph(capture: Capture) -> object:
    """A block graph as a value that can be compared."""
    found, problems = graph.read(capture, "source")
    return found.nodes, found.edges(), found.backends, found.jobs, found.exports, problems


# the structure


def changed(path: tuple[str | int, ...], value: Any) -> list[Any]:
    """The recorded nodes, with one member of one of them changed."""
    nodes: list[Any] = reply("query-named-block-nodes", recorded("qemu-11.1"))
    place: Any = next(node for node in nodes if node["node-name"] == "disk")
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return nodes


STRUCTURAL = {
    "node-name": (("node-name",), "other"),
    "driver": (("drv",), "raw"),
    "read-only": (("ro",), True),
    "active": (("active",), False),
    "size": (("image", "virtual-size"), 1),
    "backing file": (("backing_file",), "other"),
    "child": (("children", 0, "node-name"), "other"),
    "role": (("children", 0, "child"), "other"),
    "format version": (("image", "format-specific", "data", "compat"), "0.10"),
    "stored bitmap": (("image", "format-specific", "data", "bitmaps"), []),
    "bitmap name": (("dirty-bitmaps", 0, "name"), "other"),
    "granularity": (("dirty-bitmaps", 0, "granularity"), 512),
    "recording": (("dirty-bitmaps", 0, "recording"), False),
    "busy": (("dirty-bitmaps", 0, "busy"), True),
    "persistent": (("dirty-bitmaps", 0, "persistent"), None),
    "inconsistent": (("dirty-bitmaps", 0, "inconsistent"), True),
    "bitmaps": (("dirty-bitmaps",), []),
}

FLEETING = {
    "dirty bytes": (("dirty-bitmaps", 0, "count"), 65536),
    "space taken": (("image", "actual-size"), 1),
    "throttling": (("iops",), 100),
    "member of a later QEMU": (("later",), {}),
}


@pytest.mark.parametrize(("path", "value"), STRUCTURAL.values(), ids=STRUCTURAL)
def test_structure_differs(path: tuple[str | int, ...], value: Any) -> None:
    """A change of what plans depend on makes a capture torn."""
    plain = reply("query-named-block-nodes", recorded("qemu-11.1"))
    assert structure(plain) != structure(changed(path, value))


@pytest.mark.parametrize(("path", "value"), FLEETING.values(), ids=FLEETING)
def test_structure_is_equal(path: tuple[str | int, ...], value: Any) -> None:
    """What changes while the guest runs makes no capture torn, nor does the order of nodes."""
    plain = reply("query-named-block-nodes", recorded("qemu-11.1"))
    assert structure(plain) == structure(changed(path, value)[::-1])


@_UNHURRIED
@given(_JSON)
def test_structure_takes_anything(value: object) -> None:
    """Whatever a peer sends in place of nodes has a structure, the same when it is sent again."""
    again = json.loads(json.dumps(value))
    assert (structure(value), structure([value])) == (structure(again), structure([again]))


# the schema


def test_schema_closure() -> None:
    """Commands are kept with all types that their arguments are made of, and nothing else is."""
    entries = [
        {"name": "migrate", "meta-type": "command", "arg-type": "0", "ret-type": "gone"},
        {"name": "gone", "meta-type": "object", "members": []},
        {"name": "0", "meta-type": "object", "members": [{"name": "a", "type": "[1]"}, {"name": "r", "type": "0"}]},
        {"name": "[1]", "meta-type": "array", "element-type": "1"},
        {"name": "1", "meta-type": "object", "members": [], "variants": [{"case": "x", "type": "2"}], "tag": "t"},
        {"name": "2", "meta-type": "enum", "values": ["x"]},
        {"name": "quit", "meta-type": "command", "arg-type": "3"},
        {"name": "3", "meta-type": "object", "members": [{"name": "m", "type": "nothing"}]},
    ]
    assert [entries[i] for i in (0, 2, 3, 4, 5)] == schema_closure(entries, ["migrate", "unknown"])
    assert schema_closure(entries[6:], ["quit"]) == entries[6:]


@pytest.mark.parametrize("name", RECORDED)
def test_schema_closure_is_complete(name: str) -> None:
    """Of a real schema every command is kept, and each type that is kept is kept whole."""
    entries = reply("query-qmp-schema", recorded(name))
    names = {entry["name"] for entry in entries}
    assert set(SCHEMA_COMMANDS) <= names
    for entry in entries:
        parts = [*entry.get("members", ()), *entry.get("variants", ())]
        used = {entry.get("arg-type"), entry.get("element-type"), *(part.get("type") for part in parts)} - {None}
        assert used <= names
    assert schema_closure(entries) == entries


@_UNHURRIED
@given(st.lists(st.dictionaries(st.sampled_from(["name", "members", "variants", "arg-type", "element-type"]), _JSON)))
def test_schema_closure_takes_anything(entries: list[Any]) -> None:
    """Whatever a peer sends in place of a schema is reduced to some of its entries."""
    kept = schema_closure(entries, ["migrate", ""])
    assert all(entry in entries for entry in kept)
    assert schema_closure({"entries": entries}) == []


# hostile captures


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON value: the container and the key or index in it."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        keys = list(inner) if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ()
        found += ((inner, key) for key in keys)
        waiting += (inner[key] for key in keys)
    return found


@st.composite
def mutated(draw: st.DrawFn) -> Capture:
    """A real capture of which a few members are gone, doubled, swapped for another's, or of another type."""
    whole = json.loads(RECORDED[draw(st.sampled_from(sorted(RECORDED)))])
    exchanges = [one for one in whole["exchanges"] if one["execute"] != "query-qmp-schema"]
    for _ in range(draw(st.integers(1, 4))):
        exchange = draw(st.sampled_from(exchanges))
        spots = places(exchange)
        spots = [spot for spot in spots if spot[0] is not exchange or spot[1] == "return"]
        container, key = draw(st.sampled_from(spots))
        other, there = draw(st.sampled_from(spots))
        how = draw(st.sampled_from(("replace", "swap", "copy", "remove", "double")))
        if how == "replace":
            container[key] = draw(_JSON | st.sampled_from(HOSTILE_NAMES) | st.sampled_from((-1, 2**70, 1.5)))
        elif how == "swap":
            container[key], other[there] = json.loads(json.dumps([other[there], container[key]]))
        elif how == "copy":
            container[key] = json.loads(json.dumps(other[there]))
        elif how == "remove" and container is not exchange:
            del container[key]
        elif isinstance(container, list):
            container.append(json.loads(json.dumps(container[key])))
    return load(json.dumps(whole).encode(), "mutated")


@settings(_UNHURRIED, max_examples=500)
@given(mutated())
def test_hostile_capture(capture: Capture) -> None:
    """Whatever is wrong in a capture, its readers give a graph and findings, or a finding; nothing else, and soon."""
    readers: tuple[Callable[[], object], ...] = (
        lambda: explored(*graph.read(capture, "source")),
        lambda: state.read(capture),
    )
    for reader in readers:
        found: tuple[Diagnostic, ...] = ()
        try:
            reader()
        except CannotRunError as error:
            found = error.diagnostics
        assert {one.code for one in found} <= {"BM108", "BM111"}
        assert all(one.message.isprintable() for one in found)


def explored(found: graph.BlockGraph, problems: tuple[Diagnostic, ...]) -> None:
    """Ask a graph what it can be asked about each node: every answer is about nodes that it has."""
    known = set(found.nodes)
    assert {problem.code for problem in problems} <= {"BM201", "BM202", "BM203", "BM204"}
    assert all(problem.message.isprintable() for problem in problems)
    assert found.guest_written <= known
    assert {walk.end for walk in found.default_walks.values()} <= known | {None}
    for node in found.nodes:
        assert {*found.chain(node), *found.below(node), *(child for _, child in found.children(node))} <= known
        assert {name for kind, name in found.parents(node) if kind == "node"} <= known

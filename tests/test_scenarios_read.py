"""Scenario files: what is read of them, and what is refused where."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmapmig.diagnostics import CannotRunError
from bitmapmig.graph import Backend, Bitmap, Edge, StoredBitmap
from bitmapmig.qapi import BitmapName, DeviceName, NodeName
from bitmapmig.report.annotations import github
from bitmapmig.scenarios.checked import check, checked
from bitmapmig.scenarios.document import KNOWN
from bitmapmig.scenarios.find import files
from bitmapmig.scenarios.members import Place, place
from bitmapmig.scenarios.profiles import measured, profile
from bitmapmig.scenarios.read import parse, read
from bitmapmig.transforms import OPERATIONS

if TYPE_CHECKING:
    from bitmapmig.scenarios.read import Scenario

START = "title: a\nstart:\n  nodes:\n    fmt0: {driver: qcow2, size: 1G, bitmaps: [daily]}\n  devices: {drive0: fmt0}\n"


LOST = "expect: {no-bitmap-lost: true}\n"


def made(text: str) -> Scenario:
    """The scenario of a YAML text."""
    return parse(text.encode(), "a.yaml", "yaml", Path())


def problems(text: str) -> list[tuple[str, int | None, str | None, str]]:
    """The findings about a YAML text: code, line, key and message."""
    with pytest.raises(CannotRunError) as raised:
        made(text)
    return [(one.code, one.where.line, one.where.key, one.message) for one in raised.value.diagnostics]


@pytest.mark.parametrize(
    ("text", "code", "line", "key", "message"),
    [
        ("title: [", "BM262", 1, None, "not well-formed YAML 1.2"),
        (START + "title: b\n", "BM263", 6, "title", "'title' is there twice"),
        ("title: a\n", "BM264", None, "start", "`start` is missing"),
        (START + "stepz: []\n", "BM264", 6, "stepz", "did you mean 'steps'?"),
        (START + "version: 2\n", "BM264", 6, "version", "must be 1, the only version"),
        (START + "version: true\n", "BM264", 6, "version", "must be 1, the only version"),
        (START + "qemu: [7.2]\n", "BM264", 6, "qemu.0", "must be a text, not the number 7.2; put it into quotes"),
        (START + 'qemu: ["6.0"]\n', "BM264", 6, "qemu.0", "'6.0' is no version that was measured"),
        (START + "expect: {bitmap: {}}\n", "BM264", 6, "expect.bitmap", "did you mean 'bitmaps'?"),
        (START + "expect: {bitmaps: {daily: absent}}\n", "BM264", 6, "expect.bitmaps.daily", "such as `fmt0/daily`"),
        (START + "expect: {bitmaps: {a/b: {}}}\n", "BM264", 6, "expect.bitmaps.a/b", "says nothing"),
        (START + "expect: {bitmaps: {a/b: {busi: true}}}\n", "BM264", 6, "expect.bitmaps.a/b.busi", "mean 'busy'?"),
        (START + "expect: {bitmaps: {a/b: {busy: 1}}}\n", "BM264", 6, "expect.bitmaps.a/b.busy", "true or false"),
        (START + "expect: {bitmaps: {a/b: {busy: }}}\n", "BM264", 6, "expect.bitmaps.a/b.busy", "must not be null"),
        (START + "expect: {plan: planned}\n", "BM264", 6, "expect", "about a plan or a destination, and there is none"),
        (
            START + "destination: {like: start}\nexpect: {refusals: [BM999]}\n",
            "BM264",
            7,
            "expect.refusals.0",
            "no code",
        ),
        (START + "steps: [{}]\n", "BM264", 6, "steps.0", "names no operation"),
        (
            START + "steps: [mirror drive0]\n",
            "BM264",
            6,
            "steps.0",
            "must be a mapping of one operation to its arguments",
        ),
        (START + "steps: [mirror drive0]\n", "BM264", 6, "steps.0", "`bitmapmig simulate` prints what a story"),
        (START + "steps:\n- {incoming: {}, job-cancel: {id: a}}\n", "BM264", 7, "steps.0", "names 2 operations"),
        (START + "steps:\n- {incoming: {}, on: destination}\n", "BM264", 7, "steps.0.on", "and there is none"),
        (START + "steps:\n- {incoming: {}, refused: 3}\n", "BM264", 7, "steps.0.refused", "must be true, or a part"),
        (START + "steps:\n- incomming: {}\n", "BM251", 7, "steps.0.incomming", "no operation 'incomming'"),
        (START + "steps:\n- job-cancel: {}\n", "BM252", 7, "steps.0.job-cancel", "id: Field required"),
        (START + "steps:\n- job-cancel: a\n", "BM252", 7, "steps.0.job-cancel", "must be a mapping"),
        (START + "policy: {deni: []}\n", "BM404", 6, "deni", "did you mean 'deny'?"),
        (START + "policy: 3\n", "BM264", 6, "policy", "must be the path of a policy, or a policy"),
        (START + "policy: nowhere.yaml\n", "BM401", None, None, "No such file"),
        ("title: a\nstart: {capture: nowhere.json}\n", "BM110", 2, "start.capture", "No such file"),
    ],
)
def test_what_is_refused(*, text: str, code: str, line: int | None, key: str | None, message: str) -> None:
    """A mistake is one finding, with its line and key, in words that name the cure."""
    ((found, at, where, said),) = problems(text)
    assert (found, at, where) == (code, line, key)
    assert message in said


def test_every_mistake_is_told() -> None:
    """All steps and the policy are read before the reading ends, in the order of the file."""
    text = START + "steps:\n- incomming: {}\n- job-cancel: {}\npolicy: {deni: []}\n"
    assert [code for code, *_ in problems(text)] == ["BM251", "BM252", "BM404"]


@pytest.mark.parametrize(
    ("start", "key", "message"),
    [
        ("{nodes: {a: {driver: qcow2}}}", "start.nodes.a", "`size` is missing"),
        ("{nodes: {a: {driver: qcow2, size: 1X}}}", "start.nodes.a.size", "a number of bytes such as 65536 or 64K"),
        ("{nodes: {a: {driver: raw, size: 1, file: b}}}", "start.nodes.a.file", "'b', which is not there"),
        ("{nodes: {a: {driver: throttle, file: a}}}", "start.nodes.a", "is below itself"),
        ("{nodes: {a: {driver: raw, size: 1}}, devices: {a: a}}", "start.devices.a", "is a node as well"),
        ("{nodes: {a: {driver: raw, size: 1}}, devices: {d: b}}", "start.devices.d", "there is no node 'b'"),
        (
            "{nodes: {a: {driver: raw, size: 1}}, guest-devices: {d: b}}",
            "start.guest-devices.d",
            "there is no node 'b'",
        ),
        ("{nodes: {a: {driver: raw, size: 1, stored: [b]}}}", "start.nodes.a", "has no `stored`"),
        ("{nodes: {a: {driver: raw, size: 1, bitmaps: [b, b]}}}", "start.nodes.a.bitmaps", "holds the text 'b' twice"),
        ("{capture: a.json, nodes: {a: {driver: raw, size: 1}}}", "start", "begins in 2 ways, capture and nodes"),
        ("{run-state: pauzed}", "start.run-state", "did you mean 'paused'?"),
        ("{capabilities: {dirty-bitmap: true}}", "start.capabilities.dirty-bitmap", "has no capability"),
        ("{qemu: '6.0'}", "start.qemu", "no version that was measured"),
    ],
)
def test_what_a_start_may_not_be(start: str, key: str, message: str) -> None:
    """A graph that no QEMU can have is refused where it says so."""
    ((code, line, where, said),) = problems(f"title: a\nstart: {start}\n")
    assert (code, line, where) == ("BM264", 2, key)
    assert message in said


def test_a_graph_in_a_few_lines() -> None:
    """Nodes, their protocol nodes, bitmaps, devices and guest devices are as they are written."""
    text = """\
title: a
start:
  nodes:
    base0: {driver: qcow2, size: 64K, read-only: true, bitmaps: {old: {persistent: true}}}
    fmt0: {driver: qcow2, backing: base0, bitmaps: {one: {granularity: 4K, dirty: 8K}, two: {inconsistent: true}}}
    t0: {driver: throttle, file: fmt0}
  devices: {drive0: t0, cd0: null}
  guest-devices: {virtio0: drive0, virtio1: base0}
"""
    graph = made(text + LOST).worlds[measured()[-1]].source.graph
    assert [(name, node.driver, node.virtual_size, node.read_only) for name, node in graph.nodes.items()] == [
        ("#block101", "file", None, True),
        ("#block102", "file", None, False),
        ("base0", "qcow2", 65536, True),
        ("fmt0", "qcow2", 65536, False),
        ("t0", "throttle", 65536, False),
    ]
    assert graph.edges() == (
        Edge("node", "base0", NodeName("#block101"), "file"),
        Edge("node", "fmt0", NodeName("#block102"), "file"),
        Edge("node", "fmt0", NodeName("base0"), "backing"),
        Edge("node", "t0", NodeName("fmt0"), "file"),
    )
    one, two = graph.nodes[NodeName("fmt0")].bitmaps
    flags = {"busy": False, "persistent": False, "inconsistent": False}
    assert one == Bitmap(BitmapName("one"), 4096, 8192, recording=True, **flags)
    assert two == Bitmap(BitmapName("two"), 65536, 0, recording=False, busy=False, persistent=True, inconsistent=True)
    assert graph.nodes[NodeName("fmt0")].stored == (StoredBitmap(BitmapName("two"), 65536, in_use=True),)
    assert graph.nodes[NodeName("base0")].stored == (StoredBitmap(BitmapName("old"), 65536, in_use=False),)
    assert graph.backends == (
        Backend(None, "/machine/peripheral/virtio1/virtio-backend", NodeName("base0")),
        Backend(DeviceName("cd0"), None, None),
        Backend(DeviceName("drive0"), "/machine/peripheral/virtio0/virtio-backend", NodeName("t0")),
    )
    assert graph.listing[NodeName("fmt0")] == ["two", "one"]


@pytest.mark.parametrize(("storage", "stored"), [("separate", ()), ("shared", ("daily",))])
def test_a_destination_like_the_start(storage: str, stored: tuple[str, ...]) -> None:
    """It waits, is another process, has no bitmap in memory, and in its images what the storage makes of it."""
    start = START.replace("[daily]", "{daily: {persistent: true}}")
    world = made(f"{start}destination: {{like: start, storage: {storage}}}\n{LOST}").worlds[measured()[-1]]
    assert world.destination is not None
    there = world.destination.graph.nodes[NodeName("fmt0")]
    assert (there.bitmaps, tuple(one.name for one in there.stored or ())) == ((), stored)
    assert world.destination.state.run_state == "inmigrate"
    assert world.destination.state.process != world.source.state.process
    generated = [
        {name for name in end.graph.nodes if name.startswith("#")} for end in (world.source, world.destination)
    ]
    assert generated[0].isdisjoint(generated[1])


def test_what_is_set_on_a_qemu() -> None:
    """Version, run state, machine type and capabilities are as the start says; the destination has the same machine."""
    text = "title: a\nqemu: '5.2'\nstart: {run-state: paused, machine-type: pc-q35-5.2, capabilities: {events: true}}\n"
    world = made(text + "destination: {qemu: '7.2'}\n" + LOST).worlds["5.2"]
    assert world.destination is not None
    here, there = world.source.state, world.destination.state
    assert (here.version[:2], here.run_state, here.machine_type) == ((5, 2), "paused", "pc-q35-5.2")
    assert here.capabilities["events"]
    assert (there.version[:2], there.machine_type) == ((7, 2), "pc-q35-5.2")


@pytest.mark.parametrize("version", measured())
def test_profiles(version: str) -> None:
    """Each measured version has an idle state of its own, with a schema to probe, and nothing that tells a process."""
    found = profile(version)
    assert ".".join(map(str, found.version[:2])) == version
    assert found.schema is not None
    assert found.schema.has("migrate-set-parameters", "block-bitmap-mapping")
    assert (found.process, found.uuid, found.name, found.monitors, found.threads) == (None, None, None, (), ())


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("fmt0/daily", Place("fmt0", (), "daily")),
        ("fmt0/a/b", Place("fmt0", (), "a/b")),
        ("drive0:backing.backing/daily", Place("drive0", ("backing", "backing"), "daily")),
        ("#block123/:", Place("#block123", (), ":")),
    ],
)
def test_places_of_bitmaps(text: str, parts: Place) -> None:
    """The first `/` ends the node, and a `:` before it the name that the path begins at."""
    assert place(text) == parts


def test_files_beside_the_scenario(tmp_path: Path) -> None:
    """A policy and a capture are found relative to the scenario, wherever it is read from."""
    (tmp_path / "policy.yaml").write_text("deny: [{bitmap: daily}]\n")
    scenario = {"title": "a", "policy": "policy.yaml", "start": {}, "expect": {"no-bitmap-lost": True}}
    (tmp_path / "a.json").write_text(json.dumps(scenario))
    assert read(tmp_path / "a.json").policy.deny[0].bitmap == "daily"


@pytest.mark.parametrize(("path", "reason"), [("fifo", "plain file"), ("/dev/zero", "plain file"), ("gone", "No such")])
def test_captures_that_are_no_files(path: str, reason: str, tmp_path: Path) -> None:
    """What a scenario names as its capture is neither waited for nor read without end; the scenario's line is told."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "a.yaml").write_text(f"title: a\nstart:\n  capture: {path}\n")
    with pytest.raises(CannotRunError, match=reason) as raised:
        read(tmp_path / "a.yaml")
    (found,) = raised.value.diagnostics
    assert (found.code, found.where.file, found.where.line) == ("BM110", str(tmp_path / "a.yaml"), 3)


def test_a_capture_that_tells_too_little(tmp_path: Path) -> None:
    """What is wrong in a capture is placed where the scenario names it, for every way of showing it."""
    greeting = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}}
    capture = {"format_version": 1, "endpoint": "x", "greeting": greeting, "exchanges": []}
    (tmp_path / "x.json").write_text(json.dumps(capture))
    (tmp_path / "a.yaml").write_text("title: a\nstart: {capture: x.json}\n")
    with pytest.raises(CannotRunError) as raised:
        read(tmp_path / "a.yaml")
    assert {(one.where.file, one.where.line) for one in raised.value.diagnostics} == {(str(tmp_path / "a.yaml"), 2)}
    assert "::error file=" in github(checked((), raised.value.diagnostics))


def test_a_scenario_that_is_a_fifo(tmp_path: Path) -> None:
    """A FIFO among the scenarios is refused, and not waited for."""
    os.mkfifo(tmp_path / "a.bitmapmig.yaml")
    with pytest.raises(CannotRunError, match="it is no plain file"):
        read(tmp_path / "a.bitmapmig.yaml")


def test_many_names() -> None:
    """A list of a hundred thousand names is gone through once."""
    names = [f"b{number}" for number in range(100_000)]
    text = json.dumps({"title": "a", "start": {"nodes": {"n": {"driver": "raw", "size": 1, "stored": [*names, "b7"]}}}})
    with pytest.raises(CannotRunError, match="holds the text 'b7' twice"):
        parse(text.encode(), "a.json", "json", Path())


@pytest.mark.parametrize("name", ["a.toml", "a.txt", "nowhere.yaml"])
def test_formats(name: str, tmp_path: Path) -> None:
    """TOML is read too; a suffix that tells no format and a file that is not there are refused."""
    (tmp_path / "a.toml").write_text(
        'title = "a"\n[start.nodes.n0]\ndriver = "raw"\nsize = "1M"\n[expect]\nno-bitmap-lost = true\n'
    )
    if name == "a.toml":
        assert read(tmp_path / name).document.title == "a"
        return
    with pytest.raises(CannotRunError) as raised:
        read(tmp_path / name)
    assert [one.code for one in raised.value.diagnostics] == ["BM261"]


def test_which_files_are_found(tmp_path: Path) -> None:
    """A folder is searched for the one ending, a file may be named whatever it is called, and each counts once."""
    for name in ("b.bitmapmig.yaml", "in/a.bitmapmig.toml", "in/c.yaml", "in/d.bitmapmig.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "link.bitmapmig.json").symlink_to("b.bitmapmig.yaml")
    found, problems = files([str(tmp_path / "in" / "c.yaml"), str(tmp_path), str(tmp_path / "b.bitmapmig.yaml")])
    assert [path.name for path in found] == ["c.yaml", "b.bitmapmig.yaml", "a.bitmapmig.toml"]
    assert problems == ()


def test_paths_without_scenarios(tmp_path: Path) -> None:
    """Each folder that holds none and each path that is not there is a finding, beside the files that are found."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "a.yaml").touch()
    found, problems = files([str(tmp_path / name) for name in ("one", "nosuch", "a.yaml", "two", "one", "no\0name")])
    assert [path.name for path in found] == ["a.yaml"]
    told = [(one.code, str(one.facts["path"]).rpartition("/")[2], one.facts["reason"]) for one in problems]
    empty = "the folder holds no file that ends on .bitmapmig.yaml, .bitmapmig.yml, .bitmapmig.json, .bitmapmig.toml"
    assert told[:3] == [
        ("BM261", "one", empty),
        ("BM261", "nosuch", "No such file or directory"),
        ("BM261", "two", empty),
    ]
    assert [code for code, *_ in told] == ["BM261"] * 4


@pytest.mark.parametrize("expect", ["", "expect: {}\n", "expect: {destination: {bitmaps: {}}, map: {}}\n"])
def test_a_scenario_that_expects_nothing(expect: str) -> None:
    """Without a step and without a value it could never fail, so it is refused; either of them will do."""
    text = START + "destination: {like: start}\n" + expect
    ((code, _, _, said),) = problems(text)
    assert (code, said) == (
        "BM264",
        "the scenario expects nothing: it has neither a step nor a value in `expect`",
    )
    assert made(text + "steps: [crash-and-restart: {}]\n").operations
    assert (
        made(START + "expect: {destination: {bitmaps: {fmt0/b: absent}}}\ndestination: {like: start}\n").operations
        == ()
    )


@pytest.mark.parametrize(
    ("more", "worlds"),
    [
        ("", ["7.2"]),
        ("qemu: '10.0'\n", ["10.0"]),
        ("destination: {like: start, qemu: '7.2'}\n", [measured()[-1]]),
    ],
)
def test_the_version_of_a_scenario_without_one(more: str, worlds: list[str], tmp_path: Path) -> None:
    """It may be read as any that was measured; what tells of a version itself stays what it is."""
    (tmp_path / "a.yaml").write_text(START + LOST + more)
    assert list(read(tmp_path / "a.yaml", "7.2").worlds) == worlds
    assert read(tmp_path / "a.yaml").of_any_version == (not more)


def test_a_long_chain() -> None:
    """A chain of thousands of images is a start like any other."""
    nodes = {f"n{number}": {"driver": "qcow2", "backing": f"n{number + 1}"} for number in range(3000)}
    nodes["n3000"] = {"driver": "raw", "size": "1M"}
    text = json.dumps({"title": "a", "start": {"nodes": nodes}, "expect": {"no-bitmap-lost": True}})
    graph = parse(text.encode(), "a.json", "json", Path()).worlds[measured()[-1]].source.graph
    assert graph.nodes[NodeName("n0")].virtual_size == 1 << 20


_NAMES = st.sampled_from(["n0", "n1", "d0", "n0/b", "raw", "absent", "start", "planned", "daily", "1M", "", "\x1b"])
_KEYS = st.sampled_from(sorted({key for known in KNOWN.values() for key in known} | set(OPERATIONS))) | _NAMES
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 1 << 64) | _NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


def _places(text: str) -> list[str | None]:
    """Where the findings about a scenario are; one that has none is run."""
    try:
        check(parse(text.encode(), "a.json", "json", Path()))
    except CannotRunError as error:
        return [one.where.file for one in error.diagnostics]
    return []


@given(st.dictionaries(st.sampled_from(KNOWN[()]), _ANY))
def test_any_document_is_read_or_refused(document: dict[str, object]) -> None:
    """Whatever is in it, a document is run, or refused with findings that say in which file."""
    text = json.dumps({"title": "a", "start": {"nodes": {"n0": {"driver": "raw", "size": 1}}}, **document})
    assert None not in _places(text)

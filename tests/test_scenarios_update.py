"""What is found, written into scenario files: the value alone changes, and nothing that cannot be right is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmapmig.documents.read import parse as parse_document
from bitmapmig.scenarios.checked import check
from bitmapmig.scenarios.problems import ScenarioMistakes
from bitmapmig.scenarios.read import parse
from bitmapmig.scenarios.update import flow, updated

if TYPE_CHECKING:
    from pydantic import JsonValue

    from bitmapmig.documents.read import Format
    from bitmapmig.scenarios.update import Updated

START = """\
# a comment that stays
title:   a
start: {nodes: {fmt0: {driver: qcow2, size: 1M, bitmaps: [daily]}}, devices: {drive0: fmt0}}
destination: {like: start}
policy: {storage: separate}
"""
MEMBERS = "{recording: true, busy: false, persistent: false, inconsistent: false, granularity: 65536, dirty: 0}"


def update(text: str, format_: Format = "yaml") -> Updated:
    """The text with what was found."""
    raw = text.encode()
    return updated(raw, format_, Path(), check(parse(raw, "a", format_, Path())))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("expect: {plan: refused}  # so far\n", "expect: {plan: planned}  # so far\n"),
        ("expect:\n  refusals: [BM501]\n  # more\n", "expect:\n  refusals: []\n  # more\n"),
        ("expect:\n  refusals:\n    - BM501\n\n  # more\n", "expect:\n  refusals:\n    []\n\n  # more\n"),
        ('expect: {"plan": "refused"}\r\n', 'expect: {"plan": planned}\r\n'),
        ("expect:\n  devices: {drive0:\n    }\n", "expect:\n  devices: {drive0: fmt0\n    }\n"),
        ("expect:\n  devices:\n    drive0:\n", "expect:\n  devices:\n    drive0: fmt0\n"),
        (
            "expect: {bitmaps: {fmt0/daily: absent}}\n",
            f"expect: {{bitmaps: {{fmt0/daily: {MEMBERS}}}}}\n",
        ),
        (
            "expect: {bitmaps: {fmt0/nosuch: {busy: true, dirty: 4K}}}\n",
            "expect: {bitmaps: {fmt0/nosuch: absent}}\n",
        ),
        (
            "steps:\n- job-cancel: {id: b}\n  refused: is busy\n",
            "steps:\n- job-cancel: {id: b}\n  refused: \"there is no job 'b'\"\n",
        ),
        (
            "expect: {map: {source: }}\n",
            "expect: {map: {source: [{node-name: fmt0, alias: fmt0, bitmaps: [{name: daily, alias: daily}]}] }}\n",
        ),
    ],
)
def test_the_value_alone_changes(before: str, after: str) -> None:
    """Comments, spaces, line ends and all other values stay as they are, and what was written then holds."""
    done = update(START + before)
    assert done.raw.decode() == START + after
    assert done.left == ()
    assert all(run.passed for run in check(parse(done.raw, "a", "yaml", Path())))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("steps:\n- block-dirty-bitmap-clear: {node: fmt0, name: b}\n", "the step itself is to be mended"),
        (
            "steps:\n- block-dirty-bitmap-clear: {node: fmt0, name: daily}\n  refused: true\n",
            "the step itself is to be mended",
        ),
        ("expect: {fates: {fmt0/nosuch: migrate}}\n", "the file could not be read afterwards"),
        ("expect:\n  refusals:\n  - BM501\n", "the file could not be read afterwards"),
        ("description: &word refused\nexpect: {plan: *word}\n", "the file could not be read afterwards"),
        (
            'qemu: ["5.2", "7.2"]\nexpect: {destination: {no-bitmap-lost: false}, migration: fails, plan: refused}\n',
            "",
        ),
    ],
)
def test_what_is_not_written(text: str, reason: str) -> None:
    """What cannot be written is said, and the file is as it was there."""
    done = update(START + text)
    assert [bool(reason) and reason in one.message for one in done.left] == [True] * bool(reason)
    assert (done.raw.decode() == START + text) == bool(reason)


def test_versions_that_differ() -> None:
    """Where versions find different things none is written."""
    text = START.replace("bitmaps: [daily]", "bitmaps: [daily]}, f: {driver: vdi, size: 1M")
    done = update(text + 'qemu: ["5.2", "11.1"]\nexpect: {nodes: {fmt0: {driver: raw}}, plan: refused}\n')
    assert [change.keys[-1] for change in done.changes] == ["driver"] + ["plan"] * (len(done.changes) - 1)


def test_what_each_version_finds_is_told() -> None:
    """The message has the value of each version, and the remedy none that would fail on the other."""
    text = START + 'qemu: ["5.2", "11.1"]\nsteps:\n- block-job-complete: {device: m}\n  refused: true\n'
    scenario = parse((text + "expect: {plan: refused}\n").encode(), "a", "yaml", Path())
    one, two = check(scenario)
    other = replace(two, judged=(*two.judged[:-1], replace(two.judged[-1], found="unlike")))
    (left,) = updated((text + "expect: {plan: refused}\n").encode(), "yaml", Path(), [one, other]).left
    assert left.message.endswith("the versions differ: 'planned' as QEMU 5.2, 'unlike' as QEMU 11.1")
    assert left.remedy == "make a file for each version, with its own `qemu` and its own value"


def test_a_misspelt_name_is_not_written() -> None:
    """What is expected of a place that is none at any time is mended, not updated."""
    done = update(START + "expect: {bitmaps: {zz/e: {busy: true}}}\n")
    assert (done.changes, len(done.left)) == ((), 1)
    assert done.left[0].message.endswith("there is no node or device 'zz' at any time: mend the name")


def test_a_change_tells_the_old_value() -> None:
    """Each change has the value that stood there."""
    done = update(START + "expect: {plan: refused, bitmaps: {fmt0/nosuch: {busy: true}}}\n")
    assert {(one.key, json.dumps(one.was), one.value) for one in done.changes} == {
        ("expect.plan", '"refused"', "planned"),
        ("expect.bitmaps.fmt0/nosuch", '{"busy": true}', "absent"),
    }


def test_json() -> None:
    """In JSON a value is written as JSON."""
    before = (
        '{"title": "a",\n "start": {"nodes": {"n": {"driver": "raw", "size": 1}}},\n "expect": {"nodes": {"n": %s}}}\n'
    )
    assert update(before % '{"driver":"x"}', "json").raw.decode() == before % '{"driver":"raw"}'


def test_toml() -> None:
    """A TOML file is not changed."""
    text = 'title = "a"\n[start.nodes.n]\ndriver = "raw"\nsize = 1\n[expect.nodes.n]\ndriver = "x"\n'
    done = update(text, "toml")
    assert (done.raw.decode(), len(done.left)) == (text, 1)
    assert "a TOML file is not changed" in done.left[0].message


_TEXTS = st.text(st.characters(codec="utf-8"))
_VALUES: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(_VALUES)
def test_what_is_written_is_read_again(value: JsonValue) -> None:
    """Any value in one line of YAML is that value again, whatever its names hold."""
    text = f"key: {flow(value)} # and a comment\n"
    assert text.isascii()
    assert text.count("\n") == 1
    assert parse_document(text.encode(), "a", "yaml", ScenarioMistakes()).value == {"key": value}


@pytest.mark.parametrize("now", ["", "title: b\n", START + "expect: {plan: fails}\n", START, "\xff", "steps: ["])
def test_a_file_that_has_changed_meanwhile(now: str) -> None:
    """What was found is not written into what somebody else has made of the file since it was run."""
    raw = (START + "expect: {plan: refused}\n").encode()
    done = updated(now.encode("latin-1"), "yaml", Path(), check(parse(raw, "a", "yaml", Path())))
    assert (done.raw, done.changes) == (now.encode("latin-1"), ())
    assert "it has changed since it was run" in done.left[0].message

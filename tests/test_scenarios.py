"""Scenarios that are run: the moments, what is expected of them, and what is told where it is not so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bitmapmig.report.checked import checked_lines
from bitmapmig.scenarios.checked import check, checked
from bitmapmig.scenarios.document import KNOWN
from bitmapmig.scenarios.expect import expectations, judge
from bitmapmig.scenarios.find import files
from bitmapmig.scenarios.profiles import measured
from bitmapmig.scenarios.read import parse, read
from bitmapmig.scenarios.run import run

if TYPE_CHECKING:
    from pydantic import JsonValue

    from bitmapmig.scenarios.checked import Run

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "scenarios"
NEWEST = measured()[-1]
START = """\
title: a
start:
  nodes:
    fmt0: {driver: qcow2, size: 1M, bitmaps: {daily: {dirty: 64K}}}
    t0: {driver: throttle, file: fmt0}
  devices: {drive0: t0}
  guest-devices: {virtio0: drive0}
destination: {like: start}
policy: {storage: separate}
"""
ADD = "steps:\n- block-dirty-bitmap-add: {node: fmt0, name: hourly}\n"


@pytest.mark.parametrize("path", files([str(FIXTURES)])[0], ids=lambda path: path.name.partition(".")[0])
def test_stories(path: Path) -> None:
    """Every expectation of every scenario that is shipped holds."""
    told = [one.problem.message for run in check(read(path)) for one in run.judged if one.problem]
    assert told == []


def done(text: str) -> Run:
    """The run of a YAML text as the newest version."""
    (run,) = check(parse((START + text).encode(), "a.yaml", "yaml", Path()))
    return run


def failed(text: str) -> list[tuple[str, JsonValue]]:
    """The keys of what fails, and what is found there."""
    return [(one.expectation.key, one.found) for one in done(text).judged if one.verdict == "failed"]


@pytest.mark.parametrize(
    ("key", "wrong", "found"),
    [
        ("bitmaps: {fmt0/daily: {address: %s}}", "drive0", "fmt0"),
        ("bitmaps: {drive0/daily: {rule: %s}}", "device", "node-name"),
        ("bitmaps: {virtio0/daily: {dirty: %s}}", "1", 65536),
        ("bitmaps: {drive0:file/daily: {granularity: %s}}", "4096", 65536),
        ("bitmaps: {fmt0/daily: {recording: %s}}", "false", True),
        ("bitmaps: {fmt0/daily: {becomes: %s}}", "moves", "stays"),
        ("bitmaps: {fmt0/nosuch: {busy: %s}}", "true", "absent"),
        ("bitmaps: {t0/daily: {busy: %s}}", "true", "absent"),
        ("nodes: {t0: {file: %s}}", "null", "fmt0"),
        ("nodes: {t0: {backing: %s}}", "fmt0", None),
        ("nodes: {fmt0: {driver: %s}}", "raw", "qcow2"),
        ("nodes: {fmt9: {driver: %s}}", "raw", "absent"),
        ("devices: {drive0: %s}", "fmt0", "t0"),
        ("devices: {drive9: %s}", "null", "absent"),
        ("guest-devices: {virtio0: %s}", "fmt0", "t0"),
        ("jobs: {m0: %s}", "ready", "absent"),
        ("no-bitmap-lost: %s", "false", True),
        ("plan: %s", "refused", "planned"),
        ("refusals: %s", "[BM501]", []),
        ("advice: %s", "[BM501]", []),
        ("fates: {fmt0/daily: %s}", "refused", "migrate"),
        ("fates: {fmt0/nosuch: %s}", "migrate", "absent"),
        ("foretold: {fmt0/daily: %s}", "dropped", "arrives"),
        ("migration: %s", "fails", "completes"),
        ("map: {destination: %s}", "[]", None),
        ("destination: {devices: {drive0: %s}}", "fmt0", "t0"),
        ("destination: {bitmaps: {fmt0/daily: {busy: %s}}}", "true", "absent"),
    ],
)
def test_what_can_be_expected(key: str, wrong: str, found: JsonValue) -> None:
    """Each expectation fails where it is not so, with what there is, and holds where it is."""
    ((_, there),) = failed(f"expect: {{{key % wrong}}}\n")
    assert (there, type(there)) == (found, type(found))
    if found != "absent":
        assert failed(f"expect: {{{key % json.dumps(found)}}}\n") == []


@pytest.mark.parametrize("what", ["bitmaps: {fmt0/nosuch: absent}", "nodes: {fmt9: absent}", "jobs: {m0: absent}"])
def test_what_is_not_there(what: str) -> None:
    """That something is absent can be expected."""
    assert failed(f"expect: {{{what}}}\n") == []


@pytest.mark.parametrize(
    ("expect", "found"),
    [
        ("{bitmaps: {zz/e: absent}}", "there is no node or device 'zz' at any time"),
        ("{bitmaps: {zz/e: {becomes: stays}}}", "there is no node or device 'zz' at any time"),
        ("{bitmaps: {drive0:backing/e: absent}}", "there is no node or device 'drive0:backing' at any time"),
        ("{destination: {bitmaps: {zz/e: {busy: true}}}}", "there is no node or device 'zz' at any time"),
    ],
)
def test_a_place_that_is_none_at_any_time(expect: str, found: str) -> None:
    """A misspelt node or device fails whatever is expected of its bitmaps, or it would pass for ever."""
    assert [value for _, value in failed(f"expect: {expect}\n")] == [found]
    (problem,) = [one.problem for one in done(f"expect: {expect}\n").judged if one.problem]
    assert problem.message.endswith(f", found nothing: {found}")


def test_a_place_that_is_none_now() -> None:
    """A node of another time, or of the other side, may be expected to have no bitmap; what fails says why."""
    add = "steps:\n- blockdev-add: {driver: 'null-co', node-name: n9, size: 65536}\n"
    remove = "- blockdev-del: {node-name: n9}\n"
    assert (
        failed(f"{add}{remove}expect: {{bitmaps: {{n9/e: absent}}, destination: {{bitmaps: {{n9/e: absent}}}}}}\n")
        == []
    )
    (one,) = [
        one for one in done(f"{add}{remove}  expect: {{bitmaps: {{n9/e: {{becomes: stays}}}}}}\n").judged if one.problem
    ]
    assert (one.found, one.note) == ("absent", ", since there is no node or device 'n9'")


def test_a_scenario_that_stops_early() -> None:
    """Where a step is not taken nobody knows what would have been there later, and no name is called misspelt."""
    refused = "- job-cancel: {id: nosuch}\n  refused: true\n  expect: {bitmaps: {zz/e: absent}}\n"
    assert [key for key, _ in failed(f"steps:\n{refused}- job-cancel: {{id: m}}\n")] == ["steps.1.job-cancel"]


def test_what_should_not_be_there() -> None:
    """Where something is that should be absent, all that is known of it is told."""
    ((key, found),) = failed("expect: {bitmaps: {fmt0/daily: absent}}\n")
    assert key == "expect.bitmaps.fmt0/daily"
    assert isinstance(found, dict)
    assert found["dirty"] == 65536


def test_the_map_is_exact() -> None:
    """A map is expected as QEMU takes it, and one entry more is a difference."""
    entry = "{node-name: fmt0, alias: fmt0, bitmaps: [{name: daily, alias: daily}]}"
    assert failed(f"expect: {{map: {{source: [{entry}], destination: null}}}}\n") == []
    assert [key for key, _ in failed(f"expect: {{map: {{source: [{entry}, {entry}]}}}}\n")] == ["expect.map.source"]


def test_after_a_step_and_at_the_end() -> None:
    """After a step what became of a bitmap is since the step before, at the end since the start."""
    expect = "  expect: {bitmaps: {fmt0/hourly: {becomes: %s}}}\n"
    disable = "- block-dirty-bitmap-disable: {node: fmt0, name: hourly}\n"
    end = "expect: {bitmaps: {fmt0/hourly: {becomes: is-new}}}\n"
    assert failed(ADD + expect % "is-new" + disable + expect % "changes" + end) == []


def test_a_step_on_the_destination() -> None:
    """A step is done to the side that it names, and to that alone."""
    step = "steps:\n- block-dirty-bitmap-add: {node: fmt0, name: daily}\n  on: destination\n"
    expect = "expect: {destination: {bitmaps: {fmt0/daily: {dirty: 0}}}, bitmaps: {fmt0/daily: {dirty: 64K}}, %s}\n"
    assert failed(step + expect % "refusals: [BM542]") == []


def test_a_step_that_is_refused() -> None:
    """It is a failure of its own, tells the reason, and what comes after it is not reached."""
    text = "steps:\n- block-dirty-bitmap-clear: {node: fmt0, name: nosuch}\n  expect: {jobs: {a: absent}}\n"
    run = done(text + "- block-dirty-bitmap-clear: {node: fmt0, name: daily}\nexpect: {jobs: {a: absent}}\n")
    assert [one.verdict for one in run.judged] == ["failed", "not-reached", "not-reached", "not-reached"]
    problem = run.judged[0].problem
    assert problem is not None
    assert (problem.code, problem.where.line) == ("BM272", 11)
    assert "there is no bitmap 'nosuch' on 'fmt0'" in problem.message
    assert len(run.moments) == 2


@pytest.mark.parametrize(
    ("name", "refused", "codes"),
    [
        ("nosuch", "true", []),
        ("nosuch", "there is no bitmap", []),
        ("nosuch", "is in use", ["BM273"]),
        ("daily", "true", ["BM273"]),
    ],
)
def test_a_step_that_has_to_be_refused(name: str, refused: str, codes: list[str]) -> None:
    """It passes where it is refused for the reason that is named; the run goes on either way."""
    run = done(
        f"steps:\n- block-dirty-bitmap-disable: {{node: fmt0, name: {name}}}\n  refused: {refused}\n"
        "expect: {jobs: {a: absent}}\n"
    )
    assert [one.problem.code for one in run.judged if one.problem] == codes
    assert run.judged[-1].verdict == "passed"


def test_what_a_step_removes_is_not_lost() -> None:
    """`no-bitmap-lost` is about what nobody asked for: a crash loses a bitmap, a removal does not."""
    remove = "steps:\n- block-dirty-bitmap-remove: {node: drive0, name: daily}\n"
    # the device means its root, which is the filter
    assert failed(remove.replace("drive0", "fmt0") + "expect: {no-bitmap-lost: true}\n") == []
    crash = done("steps:\n- crash-and-restart: {}\nexpect: {no-bitmap-lost: true}\n").judged[-1]
    assert (crash.verdict, crash.found) == ("failed", False)
    assert "fmt0/daily is lost" in crash.note


def test_expectations_are_known_without_a_run() -> None:
    """Their keys and lines are those of the judgement, one for one, and lead to a value of the document."""
    scenario = parse((START + ADD + "expect: {plan: planned}\n").encode(), "a.yaml", "yaml", Path())
    known = expectations(scenario)
    assert tuple(one.expectation for one in judge(scenario, run(scenario, NEWEST))) == known
    assert [(one.key, scenario.where(*one.keys).line) for one in known] == [
        ("steps.0.block-dirty-bitmap-add", 11),
        ("expect.plan", 12),
    ]


def test_each_version_is_run() -> None:
    """A scenario is run as each version that it names, and where one fails it fails."""
    text = START.replace("title: a", f"title: a\nqemu: {list(measured())}") + "expect: {plan: refused}\n"
    runs = check(parse(text.encode(), "a.yaml", "yaml", Path()))
    assert [run.version for run in runs] == list(measured())
    document = checked([runs])
    assert (document.verdict, document.counts.scenarios_failed, document.counts.expectations_failed) == ("failed", 1, 4)


def test_a_capture_is_a_start() -> None:
    """A recorded capture is read as it is, and behaves like its own version unless another is named."""
    pair = FIXTURES.parent / "mirror-ready-drive"
    text = "title: a\nstart: {capture: source.json}\ndestination: {capture: destination.json}\n"
    text += "policy: {storage: separate}\n"
    (own,) = check(parse(f"{text}expect: {{plan: planned}}\n".encode(), "a.yaml", "yaml", pair))
    assert (own.version, own.passed) == ("7.2", True)
    (other,) = check(parse(f"{text}qemu: '11.1'\nexpect: {{plan: planned}}\n".encode(), "a.yaml", "yaml", pair))
    assert other.version == "11.1"


def test_the_scenario_of_the_reference() -> None:
    """The scenario that the documentation begins with does what it says there."""
    page = (FIXTURES.parent.parent / "docs" / "scenarios.md").read_text()
    text = page.partition("```yaml\n")[2].partition("```\n")[0]
    runs = check(parse(text.encode(), "mirror.bitmapmig.yaml", "yaml", Path()))
    assert [one.problem.message for run in runs for one in run.judged if one.problem] == []
    (said,) = checked_lines([runs], (), 80)
    assert f"\n{said.plain}\n" in page


def test_the_reference_knows_every_key() -> None:
    """The page names each key that a scenario may have."""
    page = (FIXTURES.parent.parent / "docs" / "scenarios.md").read_text()
    prose = re.sub("```.*?```", "", page, flags=re.DOTALL)
    said = {word for code in re.findall("`([^`]+)`", prose) for word in re.findall("[a-z-]+", code)}
    assert {key for known in KNOWN.values() for key in known} - said == set()

"""What CI systems and people are shown of scenarios: well-formed, and nothing that a name could do to them."""

from __future__ import annotations

import json
import re
import xml.dom.minidom
from dataclasses import replace
from pathlib import Path

import pytest

from bitmapmig.diagnostics import CannotRunError, Diagnostic
from bitmapmig.report.annotations import github, sarif
from bitmapmig.report.checked import checked_lines
from bitmapmig.report.junit import junit
from bitmapmig.scenarios.checked import Checked, LiveCounts, OffQemu, Run, check, checked
from bitmapmig.scenarios.read import parse

HOSTILE = "a\x1b[31m\u202e,::error::%0A<b>&\"']]>"
NAMES = json.dumps(HOSTILE)
TEXT = f"""\
title: {NAMES}
qemu: ["7.2", "11.1"]
start: {{nodes: {{n0: {{driver: {NAMES}, size: 1M, bitmaps: [{NAMES}]}}}}, devices: {{drive0: n0}}}}
steps:
- block-dirty-bitmap-add: {{node: n0, name: {NAMES}}}
  expect: {{jobs: {{a: absent}}}}
expect: {{jobs: {{{NAMES}: {NAMES}}}}}
"""


DRAWN = """\
title: A story
qemu: ["7.2", "11.1"]
start: {nodes: {n0: {driver: raw, size: 1M}}, devices: {drive0: n0}}
steps:
- block-dirty-bitmap-add: {node: n0, name: b0}
  expect: {bitmaps: {n0/b0: {recording: false}}}
"""


def ran(text: str = TEXT, name: str = "in a folder/a,b:c.yaml") -> tuple[Run, ...]:
    """The runs of a YAML text."""
    return check(parse(text.encode(), name, "yaml", Path()))


def unread() -> tuple[Diagnostic, ...]:
    """The findings about a file that cannot be read."""
    with pytest.raises(CannotRunError) as raised:
        ran(f"{TEXT}{NAMES}: 1\n", "bad\x1b.yaml")
    return raised.value.diagnostics


@pytest.fixture
def document() -> Checked:
    """A document with failures of two versions, something that was not reached, and a file that cannot be read."""
    return checked([ran()], unread())


def test_junit_is_xml(document: Checked) -> None:
    """Each expectation of each version is a case, and counts are those of the cases."""
    tree = xml.dom.minidom.parseString(junit(document)).documentElement  # noqa: S318  made right here
    assert tree is not None
    assert {name: tree.getAttribute(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6",
        "failures": "2",
        "errors": "1",
        "skipped": "4",
    }
    assert [
        len(tree.getElementsByTagName(tag)) for tag in ("testsuite", "testcase", "failure", "error", "skipped")
    ] == [
        2,
        7,
        2,
        1,
        4,
    ]
    assert tree.getElementsByTagName("failure")[0].getAttribute("type") == "BM272"


def test_github_commands(document: Checked) -> None:
    """An annotation is one line, once for all versions that fail alike; a name cannot add another one."""
    *commands, last = github(document).split("\n")
    assert [command.split(" ", 1)[0] for command in commands] == ["::error"] * 2
    assert commands[0].startswith(
        "::error file=in a folder/a%2Cb%3Ac.yaml,line=5,title=BM272 step-refused (QEMU 7.2%2C 11.1)::the step"
    )
    assert "%0A" not in commands[0]
    assert "%250A" in commands[0]
    assert last.startswith("unreadable: 1 scenario, 1 failed; 6 expectations, 2 failed, 4 not reached; 1 file ")


def test_sarif_is_minimal_and_valid(document: Checked) -> None:
    """The members that SARIF 2.1.0 requires are there, each result has a rule, and paths are URIs."""
    log = json.loads(sarif(document))
    (run,) = log["runs"]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert (log["version"], run["tool"]["driver"]["name"]) == ("2.1.0", "bitmapmig")
    assert {result["ruleId"] for result in run["results"]} == rules == {"BM264", "BM272"}
    assert all(result["message"]["text"] for result in run["results"])
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "in%20a%20folder/a%2Cb%3Ac.yaml"}, "region": {"startLine": 5}}


def test_paths_are_those_of_the_repository() -> None:
    """A file below the working directory is named from there."""
    path = str(Path("sub/a.yaml").absolute())
    assert "file=sub/a.yaml," in github(checked([ran(name=path)]))


def test_names_do_nothing(document: Checked) -> None:
    """No output holds what moves a cursor or turns the direction of writing."""
    shown = [line.plain for line in checked_lines([ran()], unread(), 80)]
    texts = ["\n".join(shown), github(document), sarif(document).decode(), junit(document).decode()]
    assert [re.findall("[^\n -~├─└│]", text) for text in texts] == [[]] * 4


def test_how_many_went_over_a_real_qemu() -> None:
    """Every way of showing it tells how many scenarios went over each QEMU, how many did not, and which."""
    (run, _) = ran(TEXT, "a.yaml")
    real = replace(run, version="7.2.22", judged=(), live=True)
    left = [OffQemu(file="b.yaml", qemu="7.2.22", reason="it is about QEMU 11.1")]
    runs = [[replace(run, judged=()), real, real], [replace(run, judged=())]]
    lines = [line.plain for line in checked_lines(runs, (), 100, not_live=left)]
    assert lines == [
        "What went over no real QEMU of a version",
        "  b.yaml  not on QEMU 7.2.22: it is about QEMU 11.1",
        "",
        "PASSED: 2 scenarios, 0 expectations; 1 of 2 on QEMU 7.2.22, 1 is not about it",
    ]
    document = checked(runs, (), left)
    assert document.not_live == tuple(left)
    assert document.counts.live == (LiveCounts(qemu="7.2.22", scenarios=1, scenarios_not_about=1),)
    assert github(document).endswith("; 1 of 2 on QEMU 7.2.22, 1 is not about it")


def test_graphs_that_are_alike_are_drawn_once() -> None:
    """Where versions fail unlike, with the same graphs, the second one points to the first."""
    (one, two) = ran(DRAWN.replace("\nstart", "\nexpect: {bitmaps: {n0/b0: {busy: true}}}\nstart"), "a.yaml")
    unlike = replace(two, judged=(replace(two.judged[0], verdict="not-reached"), *two.judged[1:]))
    lines = [line.plain for line in checked_lines([[one, unlike]], (), 80)]
    assert sum(line.strip() == "source before" for line in lines) == 2  # of the step, and of the end
    assert lines.count("    the graphs are those of QEMU 7.2 above") == 2


def test_a_failure_for_people() -> None:
    """The step, the line, what is expected and what is, and the graph; alike versions once; the verdict is last."""
    assert [line.plain for line in checked_lines([ran(DRAWN, "a.yaml")], (), 80)] == [
        "FAILED a.yaml",
        "  A story",
        "",
        "  as QEMU 7.2, 11.1",
        "  step 1 of 1, block-dirty-bitmap-add",
        "    a.yaml:6  steps.0.expect.bitmaps.n0/b0.recording",
        "      expected  false",
        "      found     true",
        "",
        "    source before",
        "      device drive0",
        "      └─ n0  raw, 1 MiB",
        "         └─ file: #block101  file",
        "",
        "    source after",
        "      device drive0",
        "      └─ n0  raw, 1 MiB",
        "         │  bitmap b0",
        "         └─ file: #block101  file",
        "",
        "",
        "FAILED: 1 of 1 scenario, 2 of 4 expectations",
    ]

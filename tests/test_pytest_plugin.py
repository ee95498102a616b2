"""The pytest plugin, run by pytest's own `pytester` as a project that has the package installed would run it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from bitmapmig import pytest_plugin
from bitmapmig.scenarios import find

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["pytester"]

GOOD = """\
version: 1
title: A bitmap is added
qemu: ["7.2", "11.1"]
start:
  nodes:
    fmt0: {driver: qcow2, size: 1G, bitmaps: [daily]}
steps:
  - block-dirty-bitmap-add: {node: fmt0, name: hourly}
expect:
  bitmaps:
    fmt0/hourly: {recording: true}
"""
BAD = GOOD.replace("recording: true", "recording: false")
BROKEN = GOOD.replace("name: hourly", "name: daily")


def _scenario(pytester: pytest.Pytester, text: str, name: str = "one.bitmapmig.yaml") -> Path:
    path = pytester.path / name
    path.write_text(text)
    return path


def test_each_expectation_is_a_test_on_each_version(pytester: pytest.Pytester) -> None:
    """A scenario of a step and one more expectation is two tests on each of two versions; all pass."""
    _scenario(pytester, GOOD)
    result = pytester.runpytest_subprocess("-v")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*one.bitmapmig.yaml::expect::bitmaps::fmt0/hourly::recording[[]7.2[]] PASSED*"])


def test_a_failed_expectation_says_what_is(pytester: pytest.Pytester) -> None:
    """What was expected and what is are shown with the place in the file, without a traceback."""
    _scenario(pytester, BAD)
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["*one.bitmapmig.yaml:*", "*expected*false*", "*found*true*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*pytest_plugin.py*")


def test_what_follows_a_step_that_fails_is_not_passed(pytester: pytest.Pytester) -> None:
    """A step that is refused against expectation fails, and what could not be judged is skipped with the reason."""
    _scenario(pytester, BROKEN)
    result = pytester.runpytest_subprocess("-rs")
    result.assert_outcomes(failed=2, skipped=2)
    result.stdout.fnmatch_lines(["*an earlier step was not taken as expected*"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 2", ["BM264*", "*1*version*"]),
        ("start: [", ["BM262*"]),
        (GOOD + "more: 1\n", ["BM264*", "*12 more*"]),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error(pytester: pytest.Pytester, text: str, said: list[str]) -> None:
    """It fails the run and says code, place and reason, as `bitmapmig check` does."""
    _scenario(pytester, text)
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(said)


def test_a_report_of_pytest_has_the_names(pytester: pytest.Pytester) -> None:
    """In the JUnit report that pytest itself writes the version stands behind the key, in brackets."""
    _scenario(pytester, GOOD)
    pytester.runpytest_subprocess("--junit-xml=report.xml")
    names = set(re.findall(r' name="([^"]*\])"', (pytester.path / "report.xml").read_text()))
    keys = ("steps.0.block-dirty-bitmap-add", "expect.bitmaps.fmt0/hourly.recording")
    assert names == {f"{key}[{version}]" for key in keys for version in ("7.2", "11.1")}


def test_only_files_of_that_name_are_taken(pytester: pytest.Pytester) -> None:
    """Another YAML file of a project is left alone, and so is a project without scenarios."""
    _scenario(pytester, GOOD, "one.yaml")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes()


@pytest.mark.parametrize(
    ("words", "passed"), [(("-k", "7.2"), 2), (("-m", "bitmapmig"), 4), (("-m", "not bitmapmig"), 0)]
)
def test_scenarios_are_selected_as_tests_are(pytester: pytest.Pytester, words: tuple[str, ...], passed: int) -> None:
    """By version and key with `-k`, and by the marker `bitmapmig`, also where markers are strict."""
    _scenario(pytester, GOOD)
    pytester.runpytest_subprocess("--strict-markers", *words).assert_outcomes(passed=passed, deselected=4 - passed)


def test_the_plugin_takes_what_check_takes() -> None:
    """By the names of files."""
    assert set(pytest_plugin.SUFFIXES) == set(find.SUFFIXES)

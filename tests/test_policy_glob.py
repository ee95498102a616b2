"""Globs, against their definition, and the index that finds those of very many that match."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmapmig.policy.glob import Glob
from bitmapmig.policy.model import Pattern, Patterns


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("a", ["a"], ["", "A", "aa"]),
        ("*", ["", "a", "a/b\n"], []),
        ("a*", ["a", "a/b"], ["ba"]),
        ("*a", ["a", "ba"], ["ab"]),
        ("a*a", ["aa", "aba"], ["a"]),
        ("a**b*c", ["abc", "axbxc"], ["acb"]),
        (r"a\*", ["a*"], ["ab", r"a\*"]),
        (r"a\\*", ["a\\", "a\\b"], ["a*"]),
        (r"\a[b]?", ["a[b]?"], ["ab", "abx"]),
    ],
)
def test_a_glob(pattern: str, matching: list[str], others: list[str]) -> None:
    r"""`*` is any run of characters, `\` escapes, nothing else is special, and case counts."""
    glob = Glob.compile(pattern)
    assert [True] * len(matching) == [glob.matches(name) for name in matching]
    assert [False] * len(others) == [glob.matches(name) for name in others]


@pytest.mark.parametrize(
    ("members", "wild", "matching"),
    [
        ({"bitmap": "a"}, False, ("any", "a")),
        ({"address": "d"}, False, ("d", "any")),
        ({"bitmap": "*"}, True, ("any", "any")),
        ({"address": "*", "bitmap": "a"}, True, ("any", "a")),
        ({"address": "d", "bitmap": "a*"}, True, ("d", "ab")),
        ({"address": r"\*", "bitmap": r"\\"}, False, ("*", "\\")),
        ({"address": r"\\*"}, True, (r"\any", "any")),
    ],
)
def test_what_is_a_wildcard(members: dict[str, Any], wild: bool, matching: tuple[str, str]) -> None:  # noqa: FBT001
    """Only an unescaped `*` that is written is a wildcard; a glob that is left out fits all and is none."""
    pattern = Pattern(**members)
    assert wild == pattern.wild
    assert pattern.matches(*matching)


GLOBS = st.text(st.sampled_from("ab*\\"), max_size=8).filter(lambda text: not re.search(r"(^|[^\\])(\\\\)*\\$", text))
NAMES = st.text(st.sampled_from("ab*\\"), max_size=8)


def naive(pattern: str, name: str) -> bool:
    """The glob by its definition: by regular expression."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    return bool(re.fullmatch("".join(".*" if part == "*" else re.escape(part[-1]) for part in parts), name, re.DOTALL))


@given(GLOBS, NAMES)
def test_globs_match_as_defined(pattern: str, name: str) -> None:
    """A glob matches exactly what its definition says."""
    assert naive(pattern, name) == Glob.compile(pattern).matches(name)


@given(st.lists(st.tuples(GLOBS.filter(bool), GLOBS.filter(bool)), max_size=12), NAMES, NAMES)
def test_the_index_finds_what_matches(globs: list[tuple[str, str]], address: str, bitmap: str) -> None:
    """The index finds the patterns that match one by one, and no others."""
    patterns = [Pattern(address=one, bitmap=other) for one, other in globs]
    expected = tuple(number for number, one in enumerate(patterns) if one.matches(address, bitmap))
    assert expected == Patterns(patterns).matching(address, bitmap)


def test_a_glob_takes_linear_time() -> None:
    """Many wildcards do not multiply."""
    begin = time.process_time()
    assert not Glob.compile("*a" * 2000 + "*b").matches("a" * 100_000)
    assert time.process_time() - begin < 5


@pytest.mark.parametrize(
    "form",
    ["backup-{}", "backup-{}-*", "*-{}", "*backup-{}-daily*", "{}*of-the-whole-machine", "*of-the-whole-machine*{}*"],
)
def test_a_hundred_thousand_patterns_are_matched(form: str) -> None:
    """100,000 patterns are matched with some hundred bitmaps without trying each with each."""
    patterns = [Pattern(address="drive*", bitmap=form.format(f"{number:06}")) for number in range(100_000)]
    begin = time.process_time()
    index = Patterns(patterns)
    for number in range(0, 30_000, 100):
        assert (number,) == index.matching("drive0", form.replace("*", "").format(f"{number:06}"))
    assert time.process_time() - begin < 20


def test_a_hundred_thousand_equal_patterns_are_matched() -> None:
    """Equal patterns are tried once, and all of them match."""
    index = Patterns([Pattern(bitmap="*a*")] * 100_000)
    assert tuple(range(100_000)) == index.matching("d", "bab")
    assert index.matching("d", "b") == ()

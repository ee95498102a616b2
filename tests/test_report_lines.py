"""Text that others wrote, made harmless; lines that fit; and both for whole plans and pictures."""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from bitmapmig.plans import Plan
from bitmapmig.plans.document import Commands
from bitmapmig.policy import Policy
from bitmapmig.policy.read import read
from bitmapmig.previews import preview
from bitmapmig.report import plan_lines, preview_lines
from bitmapmig.report.escape import escaped, named, placed, size
from bitmapmig.report.layout import json_lines, listed, prose, yaml_lines
from tests.build import bitmap, destination, drive, guest, node, planned, source
from tests.printed import pair

if TYPE_CHECKING:
    from bitmapmig.diagnostics import Diagnostic

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=120)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain-0.9_x", "plain-0.9_x"),
        ("back\\slash", "back\\\\slash"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\\x1b[31mred", "\\\\x1b[31mred"),
        ("two\nlines", "two\\nlines"),
        ("bell\x07\x7f\x9b", "bell\\x07\\x7f\\x9b"),
        ("abc\u202egpj.exe", "abc\\u202egpj.exe"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("no\u00a0break\u3000space", "no\\xa0break\\u3000space"),
        ("line\u2028end", "line\\u2028end"),
        ("\u05d0\u05d1", "\\u05d0\\u05d1"),  # it would turn the arrow around
        ("e\u0301", "e\\u0301"),  # it looks like the one letter \u00e9
        ("\u00e9", "\u00e9"),
        ("q\u0301", "q\u0301"),  # there is no such letter alone
        ("q" + "\u0301" * 4, "q\u0301\u0301\\u0301\\u0301"),
        ("\u0301q", "\\u0301q"),
        ("\u1100\u1161", "\\u1100\\u1161"),  # it looks like the one letter \uac00
        ("\uac00", "\uac00"),
        ("heart\u2764\ufe0f", "heart\u2764\\ufe0f"),
        ("\u65e5\u672c\U0001f4be", "\u65e5\u672c\U0001f4be"),
        ("flag\U0001f1e9\U0001f1ea", "flag\\U0001f1e9\\U0001f1ea"),
        ("\u3164", "\\u3164"),  # a letter that shows nothing
        ("\ue000\U0010ffff", "\\ue000\\U0010ffff"),
    ],
)
def test_escaped(name: str, shown: str) -> None:
    """What does not show itself is shown as its escape, and the rest as it is."""
    assert escaped(name) == shown


@given(NAMES)
def test_escaped_does_nothing_to_a_terminal(name: str) -> None:
    """No text has a control character, a format character or a letter from the right once it is escaped."""
    shown = escaped(name)
    assert not {unicodedata.category(one) for one in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(one) for one in shown} & {"R", "AL", "AN", "RLO", "RLE", "RLI"}


@given(NAMES, NAMES, st.sampled_from(["NFC", "NFD"]))
def test_names_stay_apart(one: str, other: str, form: Any) -> None:
    """Two names that are not the same do not look the same, not even where Unicode holds them to be equal."""
    for different in {other, unicodedata.normalize(form, one), one.replace("\\", "\\\\"), escaped(one), named(one)} - {
        one
    }:
        assert unicodedata.normalize("NFC", named(one)) != unicodedata.normalize("NFC", named(different))


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        (("fmt0", "b0"), "fmt0/b0"),
        (("a/b", "c"), "'a/b'/c"),
        (("a", "b/c"), "a/b/c"),
        (("", "two words"), "''/'two words'"),
        (("it's", '"'), "'it\\'s'/'\"'"),
        (("fmt0", "b0 -> fmt1/b1"), "fmt0/'b0 -> fmt1/b1'"),
    ],
)
def test_placed(where: tuple[str, str], shown: str) -> None:
    """Node and bitmap are told apart whatever they hold, and so is the pair from what stands beside it."""
    assert placed(*where) == shown


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1 KiB"), (327680, "320 KiB"), (1536, "1.5 KiB"), (1 << 60, "1 EiB")],
)
def test_size(count: int, words: str) -> None:
    """Sizes are in the largest unit that they fill."""
    assert size(count) == words


@given(st.text(max_size=300), st.integers(20, 100))
def test_prose_loses_nothing(words: str, width: int) -> None:
    """Wrapped text fits, and is the text but for spaces."""
    lines = [line.plain for line in prose(escaped(words), width, "  first ", "  ")]
    assert all(cell_len(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "").removeprefix("first") == escaped(words).replace(" ", "")


def test_prose_breaks_between_words() -> None:
    """A word is cut only where it does not fit a line by itself."""
    lines = prose("one two three-and-a-half longer-than-a-line-is", 20, "- ")
    assert [line.plain for line in lines] == ["- one two", "  three-and-a-half", "  longer-than-a-line", "  -is"]


def test_listed_breaks_between_phrases() -> None:
    """A phrase of a list is on one line, as long as it fits one."""
    lines = listed(["one two", "three four", "five"], 18, "- ")
    assert [line.plain for line in lines] == ["- one two,", "  three four, five"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)


@given(JSON)
def test_json_lines_are_the_value(value: Any) -> None:
    """JSON over several lines is still the value, and ASCII that prints."""
    lines = json_lines(value, 40)
    assert json.loads("\n".join(lines)) == value
    assert all(line.isascii() and line.isprintable() for line in lines)


def test_json_lines_keep_short_things_together() -> None:
    """What fits a line is on one."""
    value = {"execute": "x", "arguments": {"list": [{"name": "b0", "alias": "b0"}, {"name": "b1", "alias": "b1"}]}}
    assert json_lines(value, 44) == [
        "{",
        '  "execute": "x",',
        '  "arguments": {',
        '    "list": [',
        '      {"name": "b0", "alias": "b0"},',
        '      {"name": "b1", "alias": "b1"}',
        "    ]",
        "  }",
        "}",
    ]


NUMBERS = st.from_regex(r"[-+.]?[0-9][0-9_.:eExXoO-]{0,6}", fullmatch=True)
WORDS = st.sampled_from(
    ["null", "~", "true", "No", "on", ".inf", "=", "<<", "*", "&a", "!x", "- x", "a: b", "a #b", "'"]
)


@given(NAMES.filter(lambda name: "\0" not in name) | NUMBERS | WORDS)
def test_yaml_lines_are_the_fragment(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """A fragment that is pasted into a policy file says there what it says here."""
    fragment = {"map": [{"source": {"device": name, "bitmap": name}, "destination": None}]}
    lines = yaml_lines(fragment, 70)
    assert all(line.isascii() and line.isprintable() for line in lines)
    path = tmp_path_factory.getbasetemp() / "policy.yaml"
    path.write_text("version: 1\n" + "\n".join(lines) + "\n")
    assert read(str(path)) == Policy.parse({"version": 1, **fragment})


# whole answers


def unpasted(made: Plan) -> Plan:
    """The plan without all that is there to be pasted, and so is not folded."""

    def bare(found: tuple[Diagnostic, ...]) -> tuple[Diagnostic, ...]:
        return tuple(one.model_copy(update={"fragments": ()}) for one in found)

    no_commands = Commands(destination=(), source=())
    return made.model_copy(
        update={"commands": no_commands, "residue": (), "refusals": bare(made.refusals), "advice": bare(made.advice)}
    )


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=4, unique_by=lambda pair: pair[0]), st.integers(40, 120))
def test_no_line_is_too_wide(names: list[tuple[str, str]], width: int) -> None:
    """Whatever the names, no line of a plan, a refusal or a picture is wider than the terminal."""
    nodes = [node(name, "qcow2", bitmaps=[bitmap(one, "persistent")]) for name, one in names]
    here, there = source(*nodes, drive("drive0", names[0][0])), destination(node("other"), guest("disk0", "other"))
    for made in (planned(here, there), planned(*pair(*nodes))):
        for line in plan_lines(unpasted(made), width):
            assert line.cell_len <= width, line.plain
            assert "\n" not in line.plain
    for line in preview_lines(preview(here, there), width):
        assert line.cell_len <= width, line.plain
        assert "\n" not in line.plain


@given(st.lists(st.text("ab-", min_size=1, max_size=36), min_size=1, max_size=4, unique=True))
def test_names_that_fit_are_found(names: list[str]) -> None:
    """A name that fits a line is in one, so that a search finds it."""
    nodes = [node(f"n{number}", bitmaps=[name]) for number, name in enumerate(names)]
    made, seen = planned(*pair(*nodes)), preview(source(*nodes), None)
    for number, name in enumerate(names):
        assert any(f"n{number}/{name}" in line.plain for line in plan_lines(made, 80))
        assert any(f"bitmap {name}" in line.plain for line in preview_lines(seen, 80))

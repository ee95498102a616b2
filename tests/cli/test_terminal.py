"""What somebody sees who looks: colours, progress, and names that would like to be more than text."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bitmapmig.captures import dump
from tests.build import node, source
from tests.cli.process import ESCAPE, PROGRAM, environment, on_terminal, run, silent_monitor

if TYPE_CHECKING:
    from collections.abc import Mapping


def test_interrupt() -> None:
    """An interrupt ends the command with 130 and without a word."""
    with (
        silent_monitor() as connected,
        subprocess.Popen(
            [*PROGRAM, "preview", "silent.qmp"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
        ) as process,
    ):
        assert connected.wait(20)
        process.send_signal(signal.SIGINT)
        assert process.communicate() == (b"", b"")
        assert process.returncode == 130


def test_progress_after_a_second() -> None:
    """On a terminal a command that takes longer than a second says what it is doing, and takes it back."""
    with silent_monitor():
        code, said = on_terminal("preview", "silent.qmp", "--timeout", "2")
    assert code == 2
    assert "reading the endpoints ..." in said
    assert "reading the endpoints ..." not in said[said.index("could not run") :]


def test_progress_on_a_dumb_terminal() -> None:
    """A terminal without escape sequences gets none of a spinner either."""
    with silent_monitor():
        code, said = on_terminal("preview", "silent.qmp", "--timeout", "2", more={"TERM": "dumb"})
    assert code == 2
    assert "\x1b" not in said


def test_no_progress_where_nobody_looks() -> None:
    """Where standard error is piped nothing but the error is written to it."""
    with silent_monitor():
        done = run("preview", "silent.qmp", "--timeout", "2")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"bitmapmig could not run\nBM104 ")


def test_no_progress_for_what_is_quick() -> None:
    """What takes less than a second is answered at once."""
    assert "..." not in on_terminal("plan", "source.json", "destination.json")[1].splitlines()[0]


def test_colours_on_a_terminal() -> None:
    """A terminal gets colours, and the text between them is what a pipe gets."""
    code, said = on_terminal("plan", "source.json", "other.json")
    assert code == 3
    assert "\x1b[1;31mREFUSED" in said
    assert ESCAPE.sub("", said).replace("\r\n", "\n") == run("plan", "source.json", "other.json").stdout.decode()


@pytest.mark.parametrize("more", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours(more: Mapping[str, str]) -> None:
    """With NO_COLOR, or on a terminal that knows no escape sequences, there are none."""
    for words in (
        ["plan", "source.json", "other.json"],
        ["preview", "source.json"],
        ["explain"],
        ["explain", "BM501"],
        ["plan", "x.json", "y.json"],
    ):
        said = on_terminal(*words, more=more)[1]
        assert said
        assert "\x1b" not in said


@pytest.mark.parametrize("more", [{}, {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}])
def test_no_colours_in_a_pipe(more: Mapping[str, str]) -> None:
    """A pipe gets no escape sequences."""
    for words in (["plan", "source.json", "other.json"], ["preview", "source.json"], ["explain"], ["explain", "BM501"]):
        assert b"\x1b" not in run(*words, more=more).stdout


def test_hostile_names_do_nothing_to_a_terminal() -> None:
    """Names reach the terminal as text, whatever they hold: escapes, markup, emoji codes, bidi controls, line ends."""
    names = ["\x1b[2J", "[bold]x[/bold]", ":boom:", "abc\u202egpj", "two\nlines", "\x9b31m", "a\rb", "[link=x]y"]
    Path("hostile.json").write_bytes(dump(source(*(node(name, bitmaps=[name]) for name in names), run_state=names[0])))
    for words in (["preview", "hostile.json"], ["plan", "hostile.json", "other.json"]):
        said = on_terminal(*words)[1]
        assert set(ESCAPE.findall(said)) <= {match for match in ESCAPE.findall(said) if match.endswith("m")}
        plain = ESCAPE.sub("", said).replace("\r\n", "\n")
        assert all(character.isprintable() or character == "\n" for character in plain)
        for shown in (
            "\\x1b[2J",
            "[bold]x[/bold]",
            ":boom:",
            "abc\\u202egpj",
            "two\\nlines",
            "\\x9b31m",
            "a\\rb",
            "[link=x]y",
        ):
            assert shown in plain

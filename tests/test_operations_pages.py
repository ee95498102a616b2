"""The pages of docs/operations: one for each operation, and what they show is what the command prints."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

import pytest

from bitmapmig import codes, transforms
from bitmapmig.cli import main
from bitmapmig.transforms.becoming import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROJECT = Path(__file__).parent.parent
_FOLDER = _PROJECT / "docs" / "operations"
_INDEX = _FOLDER / "README.md"
_FILES = sorted(_FOLDER.glob("*.md"))
_PAGES = [path for path in _FILES if path != _INDEX]
_SECTIONS = (
    "What it does",
    "Before and after",
    "What becomes of each bitmap",
    "What QEMU refuses",
    "Where versions differ",
    "What to do about bitmaps",
    "What it means for a migration",
    "Scenarios",
)
_WIDTH, _HEIGHT = 120, 140
_LEFT_OUT = "..."
_FOLD = "    "
_BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?P<file>[^)#]*)(?:#(?P<heading>[^)]+))?\)")

every_page = pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.stem)
every_file = pytest.mark.parametrize("page", _FILES, ids=lambda page: page.stem)


class _Shown(NamedTuple):
    """A command as it stands on a page, and the lines below it."""

    page: str
    command: str
    lines: tuple[str, ...]


def _blocks(page: Path, kind: str) -> list[str]:
    return [found["text"] for found in _BLOCK.finditer(page.read_text()) if found["kind"] == kind]


def _section(page: Path, title: str) -> str:
    return page.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _words(page: Path) -> list[str]:
    """The operations of a page: what its first line of that name lists, up to the full stop."""
    listed = page.read_text().partition("\nOperations: ")[2]
    return re.findall(r"`([^`]+)`", re.split(r"\.\s", listed, maxsplit=1)[0])


def _slug(heading: str) -> str:
    """The anchor of a heading: small letters, `-` for blanks, no punctuation."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _shown(page: Path) -> Iterator[_Shown]:
    """Each command that a page shows; it may go on in lines that are indented."""
    for text in _blocks(page, "text"):
        if text.startswith("$ "):
            first, *rest = text.splitlines()
            while rest and rest[0].startswith(_FOLD):
                first += f"\n{rest.pop(0).strip()}"
            yield _Shown(page.stem, first.removeprefix("$ ").replace("\\\n", " "), tuple(_unfolded(rest)))


def _unfolded(lines: list[str]) -> list[str]:
    """Lines in which a command that is folded, the rest of it indented, is one."""
    found: list[str] = []
    for line in lines:
        if line.startswith(_FOLD) and found and found[-1].startswith("{"):
            found[-1] += f" {line.strip()}"
        else:
            found.append(line)
    return found


def _kept(lines: tuple[str, ...]) -> list[tuple[str, ...]]:
    """What is shown between the places where something is left out; the first part is empty where that is."""
    parts: list[tuple[str, ...]] = [()]
    for line in lines:
        if line == _LEFT_OUT:
            parts.append(())
        else:
            parts[-1] = (*parts[-1], line)
    return parts


def _found(part: tuple[str, ...], printed: list[str], start: int) -> int | None:
    """Where `part` stands in what is printed, from line `start` on."""
    places = range(start, len(printed) - len(part) + 1)
    return next((place for place in places if tuple(printed[place : place + len(part)]) == part), None)


_COMMANDS = [shown for page in _FILES for shown in _shown(page)]
#: What the README shows of `simulate`; its other commands need a QEMU.
_COMMANDS += [shown for shown in _shown(_PROJECT / "README.md") if shown.command.startswith("bitmapmig simulate ")]


# which pages there are


def test_each_operation_is_on_one_page() -> None:
    """Every word that a step can have is listed on exactly one page, and no page lists another one."""
    assert sorted(word for page in _PAGES for word in _words(page)) == sorted(transforms.OPERATIONS)


def test_index_lists_the_pages() -> None:
    """The table of the index has one line for each page, and nothing else."""
    rows = re.findall(r"^\| \[([\w-]+)\]\(([\w-]+)\.md\) \|", _INDEX.read_text(), re.MULTILINE)
    assert sorted(rows) == [(page.stem, page.stem) for page in _PAGES]


# what a page is like


@every_page
def test_sections(page: Path) -> None:
    """Each page has the same sections in the same order, and begins with what is at stake."""
    text = page.read_text()
    assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == _SECTIONS
    assert re.match(r"# .+\n\n\*\*", text)


@every_file
def test_size(page: Path) -> None:
    """Lines fit, and a page can be read at once."""
    lines = page.read_text().splitlines()
    assert max(map(len, lines)) <= _WIDTH
    assert len(lines) <= _HEIGHT


@every_file
def test_links(page: Path) -> None:
    """What a page links to is there, with the heading."""
    for link in _LINK.finditer(page.read_text()):
        file = page.parent / link["file"] if link["file"] else page
        assert file.is_file(), link["file"]
        if link["heading"]:
            assert link["heading"] in map(_slug, re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE))


@every_page
def test_links_to_scenarios(page: Path) -> None:
    """The last section has scenarios to copy from, each under its name."""
    named = re.findall(
        r"\[([^]]+)\]\(\.\./\.\./fixtures/scenarios/([^)]+)\.bitmapmig\.yaml\)", _section(page, "Scenarios")
    )
    assert named
    assert all(name == file for name, file in named)


@every_page
def test_codes_are_there(page: Path) -> None:
    """A code that a page names is one of the table."""
    known = {code.code for code in codes.ALL}
    assert set(re.findall(r"\bBM\d{3}\b", page.read_text())) <= known


@every_page
def test_outcomes_are_those_of_simulate(page: Path) -> None:
    """What becomes of a bitmap is told in the words that `simulate` and scenarios use."""
    known = set(get_args(Outcome))
    section = _section(page, "What becomes of each bitmap")
    said = set(re.findall(r"`(stays?|moves?|changes?|is-[a-z]+|turns-[a-z]+)`", section))
    assert {word if word in known else f"{word}s" for word in said} <= known
    assert said & known


@every_page
def test_commands_are_operations(page: Path) -> None:
    """A QMP command that stands by itself is one that can be simulated, with arguments that fit it."""
    for text in _blocks(page, "json"):
        command = json.loads(text)
        assert transforms.read(command["execute"], command["arguments"]).arguments == command["arguments"]


# what a page shows


@every_page
def test_draws_before_and_after(page: Path) -> None:
    """The drawing of each page is printed by the command above it."""
    drawn = _section(page, "Before and after")
    assert "$ bitmapmig simulate " in drawn
    assert re.search(r"^(Before|After)\b", drawn, re.MULTILINE)


@pytest.mark.parametrize("shown", _COMMANDS, ids=lambda shown: f"{shown.page}: {shown.command}")
def test_shown_is_printed(shown: _Shown, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A command prints what the page shows below it, line by line, but for what `...` stands for."""
    monkeypatch.chdir(_PROJECT)
    monkeypatch.delenv("COLUMNS", raising=False)
    program, *words = shlex.split(shown.command)
    assert program == "bitmapmig"
    assert main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    first, *others = _kept(shown.lines)
    assert tuple(printed[: len(first)]) == first
    at = len(first)
    for part in others:
        place = _found(part, printed, at)
        assert place is not None, "\n".join(part)
        at = place + len(part)
    assert at == len(printed) or shown.lines[-1] == _LEFT_OUT, "the last lines are left out unsaid"

"""What the pages of `rehearse` and `selftest` show is what the commands print, on every QEMU."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.qemu import Binary, binaries
from tests.live.test_documents import ROOT, blocks, environment

_LEFT_OUT = "...\n"
#: What is another one on another QEMU, or another machine.
_VARIES = re.compile(r"\d[\d.,]*|\(Debian [^)]*\)|Cannot find device=\S+ nor node\S+")

_COMMANDS = [
    (page, shown)
    for page in ("docs/rehearse.md", "docs/selftest.md", "README.md")
    for shown in blocks(page, "text")
    if shown.startswith(("$ bitmapmig rehearse ", "$ bitmapmig selftest"))
]


def _split(shown: str) -> tuple[list[str], str]:
    """The words of a command, which may go on in a further line, and what stands below it."""
    command, _, below = shown.removeprefix("$ ").partition("\n")
    while command.endswith("\\"):
        more, _, below = below.partition("\n")
        command = command.removesuffix("\\") + more
    return command.split(), below


def _plain(text: str) -> str:
    """The text in one line; numbers beside one another are one, as in a table in which some are left out."""
    return re.sub(r"N(?: N)+", "N", " ".join(_VARIES.sub("N", text).split()))


def test_each_page_shows_a_command() -> None:
    """There is something to hold against reality on each page."""
    assert {page for page, _ in _COMMANDS} == {"docs/rehearse.md", "docs/selftest.md", "README.md"}


@pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)
@pytest.mark.parametrize(("page", "shown"), _COMMANDS)
def test_shown_output(page: str, shown: str, binary: Binary, tmp_path: Path) -> None:
    """What is not left out of a page is printed, in that order; numbers and versions may be others."""
    words, below = _split(shown)
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "qemu-system-x86_64").symlink_to(binary.path)
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment(PATH=f"{tmp_path / 'bin'}:{environment()['PATH']}", COLUMNS="80"),
        check=False,
    )
    said, at = _plain(done.stdout), 0
    for part in below.split(_LEFT_OUT):
        assert _plain(part) in said[at:], (page, done.stdout, done.stderr)
        at = said.index(_plain(part), at) + len(_plain(part))

"""Files that are written."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bitmapmig.cli import main
from bitmapmig.plans import load
from tests.cli.process import PROGRAM, environment

if TYPE_CHECKING:
    from collections.abc import Sequence


def test_output_is_the_document(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """-o writes the document that --format json prints, of a refusal as well."""
    for there in ("destination.json", "other.json"):
        code = main(["plan", "source.json", there, "-o", "plan.json", "--format", "json"])
        assert Path("plan.json").read_bytes() == capsysbinary.readouterr().out
        assert (load(Path("plan.json").read_bytes()).verdict == "refused") == (code == 3)


def test_capture_replays() -> None:
    """A capture of a capture is the capture."""
    main(["capture", "source.json", "-o", "again.json"])
    assert Path("again.json").read_bytes() == Path("source.json").read_bytes()


def test_redacted_capture_gives_the_same_plan(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """--redact takes file names out, and nothing that a plan needs."""
    main(["capture", "source.json", "--redact", "-o", "redacted.json"])
    main(["plan", "source.json", "destination.json", "--format", "json"])
    main(["plan", "redacted.json", "destination.json", "--format", "json"])
    assert b"/images/n0" not in Path("redacted.json").read_bytes()
    first, second = map(json.loads, capsysbinary.readouterr().out.replace(b"}\n{", b"}\n\0{").split(b"\0"))
    assert first["commands"] == second["commands"]


def test_failed_write_leaves_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be written whole is as it was before, and nothing is left beside it."""
    Path("plan.json").write_text("before")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(Path().iterdir())
    monkeypatch.setattr(os, "fsync", full)
    assert main(["plan", "source.json", "destination.json", "-o", "plan.json"]) == 2
    assert Path("plan.json").read_text() == "before"
    assert sorted(Path().iterdir()) == before


def test_written_file_keeps_its_permissions() -> None:
    """A file that is replaced keeps its permissions, a new one gets the usual ones."""
    Path("old.json").touch()
    Path("old.json").chmod(0o640)
    mask = os.umask(0o027)
    try:
        for name in ("old.json", "new.json"):
            main(["capture", "source.json", "-o", name])
    finally:
        os.umask(mask)
    assert stat.S_IMODE(Path("old.json").stat().st_mode) == 0o640
    assert stat.S_IMODE(Path("new.json").stat().st_mode) == 0o640


def test_written_through_a_link() -> None:
    """A link stays a link, the file that it leads to is written."""
    Path("link.json").symlink_to("target.json")
    main(["capture", "source.json", "-o", "link.json"])
    assert Path("link.json").is_symlink()
    assert Path("target.json").read_bytes() == Path("source.json").read_bytes()


def test_written_to_a_device() -> None:
    """What is no file is written to, not replaced."""
    assert main(["capture", "source.json", "-o", os.devnull]) == 0
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


@pytest.mark.parametrize("name", ["y" * 255, "\u65e5\u672c.json"])
def test_written_under_any_name(name: str) -> None:
    """A name may be as long as names can be, and have any characters."""
    assert main(["capture", "source.json", f"-o{name}"]) == 0
    assert Path(name).read_bytes() == Path("source.json").read_bytes()


@pytest.mark.parametrize(
    ("there", "name", "code"),
    [
        (b"destination.json", b"bytes-\xff.json", 0),
        (b"destination.json", b"nosuch-\xff/plan.json", 2),
        (b"nosuch-\xff.json", b"plan.json", 2),
    ],
)
def test_names_that_are_no_text(there: bytes, name: bytes, code: int) -> None:
    """A file name that is no UTF-8 is used, or complained about, and the complaint is JSON."""
    words = [*map(os.fsencode, PROGRAM), b"plan", b"source.json", there, b"-o", name, b"--format", b"json"]
    done = subprocess.run(words, capture_output=True, env=environment(), check=False)
    assert done.returncode == code
    assert ("errors" if code else "verdict") in json.loads(done.stdout)


@pytest.mark.parametrize(
    ("words", "same"),
    [
        (["capture", "source.json", "-o", "-"], ["capture", "source.json"]),
        (["plan", "source.json", "other.json", "-o", "-"], ["plan", "source.json", "other.json", "--format", "json"]),
    ],
)
def test_dash_is_standard_output(
    words: Sequence[str], same: Sequence[str], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """In place of a file, - is standard output, and nothing else is written to it then."""
    codes = main(words), main(same)
    half = len(said := capsysbinary.readouterr().out) // 2
    assert codes[0] == codes[1]
    assert said[:half] == said[half:]
    assert not Path("-").exists()

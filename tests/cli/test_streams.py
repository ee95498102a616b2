"""What goes to standard output and what to standard error, and what becomes of it there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bitmapmig.captures import dump
from bitmapmig.cli import main
from tests.build import node, source
from tests.cli.process import PROGRAM, environment, run

if TYPE_CHECKING:
    from collections.abc import Sequence

JSON_WORDS: list[tuple[int, Sequence[str], str]] = [
    (0, ["plan", "source.json", "destination.json"], "verdict"),
    (3, ["plan", "source.json", "other.json"], "verdict"),
    (2, ["plan", "source.json", "nosuch.json"], "errors"),
    (2, ["plan", "source.json", "destination.json", "-o", "nosuch/plan.json"], "errors"),
    (0, ["preview", "source.json", "destination.json"], "source"),
    (2, ["preview", "unix:nosuch"], "errors"),
    (0, ["capture", "source.json"], "exchanges"),
    (2, ["capture", "unix:nosuch"], "errors"),
    (0, ["explain", "BM501"], "page"),
    (2, ["explain", "BM999"], "errors"),
    (0, ["schema", "policy"], "$schema"),
    (0, ["schema"], "schemas"),
]


@pytest.mark.parametrize(
    ("code", "words", "key"), JSON_WORDS, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_json_is_one_document(
    code: int, words: Sequence[str], key: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """With --format json standard output is exactly one document, also where the command could not run."""
    assert main([*words, "--format", "json"]) == code
    said = capsysbinary.readouterr()
    assert key in json.loads(said.out)
    assert said.out.endswith(b"}\n")
    assert bool(said.err) == (code == 2)


def test_errors_of_all_inputs_at_once(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """What is wrong with the policy and with either side is told in one go."""
    main(["plan", "nosuch.json", "unix:nosuch", "--policy", "nosuch.yaml", "--format", "json"])
    said = capsysbinary.readouterr()
    errors = json.loads(said.out)["errors"]
    assert [(one["code"], one["where"]["side"]) for one in errors] == [
        ("BM401", None),
        ("BM110", "source"),
        ("BM102", "destination"),
    ]
    assert all(one["code"].encode() in said.err for one in errors)


def test_text_and_errors_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """The answer goes to standard output, and what kept it from being found to standard error."""
    main(["plan", "source.json", "destination.json"])
    answer = capsys.readouterr()
    main(["plan", "source.json", "nosuch.json"])
    failure = capsys.readouterr()
    assert answer.out.startswith("PLANNED")
    assert failure.err.startswith("bitmapmig could not run\nBM110 ")
    assert (answer.err, failure.out) == ("", "")


def test_capture_from_standard_input() -> None:
    """A capture may be piped in, and the plan is the same."""
    piped = run("plan", "-", "destination.json", "--format", "json", stdin=Path("source.json").read_bytes())
    assert piped.stdout == run("plan", "source.json", "destination.json", "--format", "json").stdout


def test_closed_pipe_is_silent() -> None:
    """A reader that has seen enough is no error, and does not change the verdict."""
    with subprocess.Popen(
        [*PROGRAM, "plan", "source.json", "other.json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 3


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["completion", "bash"], ["explain"]])
def test_closed_pipe_is_silent_for_help(words: Sequence[str]) -> None:
    """Help and lists may be cut short as well."""
    command = f"{' '.join(PROGRAM)} {' '.join(words)} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, env=environment(), check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_closed_streams() -> None:
    """Where standard output or standard error is closed, the exit code still tells the answer."""
    command = f"{' '.join(PROGRAM)} plan source.json other.json >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], env=environment(), check=False).returncode == 3


def test_full_disk_is_told() -> None:
    """Standard output that takes nothing is an error with a code, not a traceback."""
    command = f"{' '.join(PROGRAM)} plan source.json destination.json > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, env=environment(), check=False)
    assert done.returncode == 2
    assert b"BM001 file-not-written" in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_narrow_encoding() -> None:
    """What the encoding of a stream lacks is written as an escape."""
    Path("names.json").write_bytes(dump(source(node("n0", bitmaps=["\u65e5\u672c"]))))
    done = run("preview", "names.json", more={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert b"`- n0  null-co" in done.stdout
    assert b"bitmap \\u65e5\\u672c" in done.stdout


@pytest.mark.parametrize(("columns", "width"), [(None, 80), ("120", 120), ("nonsense", 80), ("0", 80), ("10", 40)])
def test_width(columns: str | None, width: int) -> None:
    """Where output is piped a line has 80 cells, unless COLUMNS says otherwise; it has 40 at least."""
    folder = Path("x" * 30)
    folder.mkdir()
    path = folder / f"{'y' * 100}.json"
    path.write_bytes(Path("source.json").read_bytes().replace(b"unix:source.qmp", b"unix:" + b"z" * 500))
    done = run("preview", str(path), more={} if columns is None else {"COLUMNS": columns})
    assert max(len(line) for line in done.stdout.decode().splitlines()) == width

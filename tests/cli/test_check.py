"""`bitmapmig check` as a process: what it is given, what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.cli.process import PROGRAM, environment, on_terminal, run

GOOD = "title: good\nstart: {nodes: {n0: {driver: raw, size: 1M}}}\nexpect: {nodes: {n0: {driver: raw}}}  # for now\n"
BAD = GOOD.replace("{driver: raw}}}  #", "{driver: qcow2}}}  #")


@pytest.fixture(autouse=True)
def _scenarios(_in_a_folder: None) -> None:
    """A folder of scenarios that pass, one that fails, and one that cannot be read."""
    for path, text in {
        "good/a.bitmapmig.yaml": GOOD,
        "good/more/b.bitmapmig.yaml": GOOD,
        "bad.bitmapmig.yaml": BAD,
        "broken.bitmapmig.yaml": GOOD + "expects: 1\n",
        "empty/readme.txt": "",
    }.items():
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(text)


@pytest.mark.parametrize(
    ("words", "code", "last"),
    [
        (["good"], 0, "PASSED: 2 scenarios, 2 expectations"),
        (["good", "good/a.bitmapmig.yaml"], 0, "PASSED: 2 scenarios, 2 expectations"),
        (["good", "bad.bitmapmig.yaml"], 3, "FAILED: 1 of 3 scenarios, 1 of 3 expectations"),
        (
            ["broken.bitmapmig.yaml", "bad.bitmapmig.yaml"],
            2,
            "FAILED: 1 of 1 scenario, 1 of 1 expectation; 1 file could not be read",
        ),
        (["broken.bitmapmig.yaml"], 2, "FAILED: 0 of 0 scenarios, 0 of 0 expectations; 1 file could not be read"),
    ],
)
def test_exit_codes(words: list[str], code: int, last: str) -> None:
    """0 where everything holds, 3 where an expectation fails, 2 where a file cannot be read; the others are run."""
    done = run("check", *words)
    assert (done.returncode, done.stdout.decode().splitlines()[-1], done.stderr) == (code, last, b"")


@pytest.mark.parametrize("path", ["empty", "nowhere.yaml", "nowhere"])
@pytest.mark.parametrize("form", ["text", "json", "github", "sarif"])
def test_what_cannot_be_found(path: str, form: str) -> None:
    """A folder without a scenario, and a path that is not there, end with 2, and all others are run."""
    done = run("check", path, "bad.bitmapmig.yaml", "--format", form, "--junit", "report.xml")
    assert (done.returncode, done.stderr) == (2, b"")
    assert b"BM261" in done.stdout
    assert b"qcow2" in done.stdout
    assert b"no format" not in done.stdout
    assert Path("report.xml").read_bytes().count(b'type="BM261"') == 1


def test_yes_alone() -> None:
    """--yes without --update is wrong usage."""
    done = run("check", "bad.bitmapmig.yaml", "--yes")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--yes is an answer to --update" in done.stderr


@pytest.mark.parametrize(("form", "stream"), [("text", "stdout"), ("github", "stderr"), ("sarif", "stderr")])
def test_what_was_written_is_told(form: str, stream: str) -> None:
    """After an update the changed files are named, with the old and the new values."""
    done = run("check", "bad.bitmapmig.yaml", "good", "--update", "--yes", "--format", form)
    said = getattr(done, stream).decode()
    assert done.returncode == 0
    assert "written: bad.bitmapmig.yaml\n  expect.nodes.n0.driver: qcow2 -> raw\n" in said
    assert "good" not in said


def test_what_was_written_as_json() -> None:
    """In JSON `updated` has the changed files, with the old and the new values."""
    document = json.loads(run("check", "bad.bitmapmig.yaml", "good", "--update", "--yes", "--format", "json").stdout)
    value = {"key": "expect.nodes.n0.driver", "was": "qcow2", "value": "raw"}
    assert document["updated"] == [{"file": "bad.bitmapmig.yaml", "values": [value]}]


def test_json_is_one_document() -> None:
    """With --format json standard output is one document, whatever happens."""
    document = json.loads(run("check", ".", "--format", "json").stdout)
    assert document["verdict"] == "unreadable"
    assert document["counts"]["scenarios"] == 3
    assert [error["code"] for error in document["errors"]] == ["BM264"]
    assert "errors" in json.loads(run("check", "empty", "--format", "json").stdout)


def test_junit_beside_the_report() -> None:
    """The JUnit file is written as well, where an expectation fails too."""
    done = run("check", "bad.bitmapmig.yaml", "--junit", "report.xml", "--format", "github")
    assert (done.returncode, done.stdout.count(b"::error ")) == (3, 1)
    assert Path("report.xml").read_bytes().count(b"<failure") == 1


def test_update_without_a_terminal() -> None:
    """Where nobody can be asked nothing is written, unless --yes."""
    done = run("check", "bad.bitmapmig.yaml", "--update")
    assert done.returncode == 2
    assert b"BM267 update-unconfirmed" in done.stderr
    assert Path("bad.bitmapmig.yaml").read_text() == BAD
    assert run("check", "bad.bitmapmig.yaml", "--update", "--yes").returncode == 0
    assert Path("bad.bitmapmig.yaml").read_text() == BAD.replace("qcow2", "raw")


@pytest.mark.parametrize(("answer", "code", "driver"), [("y\n", 0, "raw"), ("n\n", 3, "qcow2"), ("\n", 3, "qcow2")])
def test_update_on_a_terminal(answer: str, code: int, driver: str) -> None:
    """What would be written is shown, and written if the answer is yes; standard output stays one document."""
    leader, follower = pty.openpty()
    os.write(leader, answer.encode())
    with subprocess.Popen(
        [*PROGRAM, "check", "bad.bitmapmig.yaml", "--update", "--format", "json"],
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        out, err = process.communicate(timeout=60)
    os.close(leader)
    os.close(follower)
    assert (process.returncode, json.loads(out)["verdict"]) == (code, "failed" if code else "passed")
    assert b"expect.nodes.n0.driver: qcow2 -> raw" in err
    assert Path("bad.bitmapmig.yaml").read_text() == BAD.replace("qcow2", driver)


def test_colours_on_a_terminal() -> None:
    """On a terminal the verdict is coloured; names are not markup."""
    code, said = on_terminal("check", "bad.bitmapmig.yaml")
    assert code == 3
    assert "\x1b[1;31mFAILED" in said


def test_a_file_that_changes_while_the_question_stands() -> None:
    """What somebody writes into the file before the answer stays, and nothing is written over it."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, "check", "bad.bitmapmig.yaml", "--update"],
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stderr is not None
        while b"[y/N]" not in process.stderr.readline():
            pass
        Path("bad.bitmapmig.yaml").write_text(BAD + "# mine\n")
        os.write(leader, b"y\n")
        out, _ = process.communicate(timeout=60)
    os.close(leader)
    os.close(follower)
    assert (process.returncode, Path("bad.bitmapmig.yaml").read_text()) == (3, BAD + "# mine\n")
    assert b"it has changed since it was run" in b" ".join(out.split())

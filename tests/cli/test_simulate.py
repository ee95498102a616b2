"""`bitmapmig simulate` on the command line: spellings, exit codes, what it writes and where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bitmapmig.cli import main
from tests.cli.process import ESCAPE, on_terminal, run

REMOVE = "block-dirty-bitmap-remove node=n0 name=b0"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["mirror drive0", "pivot drive0"], 0),
        ([REMOVE], 0),
        ([json.dumps({"execute": "block-dirty-bitmap-remove", "arguments": {"node": "n0", "name": "b0"}})], 0),
        ([json.dumps({"block-dirty-bitmap-clear": {"node": "n0", "name": "b0"}}), "--release", "11.1"], 0),
        (["mirror drive0", "--destination", "destination.json", "--policy", "policy.yaml", "--provisional"], 0),
        (["mirror drive0", "mirror drive0"], 3),
        ([REMOVE, REMOVE], 3),
        (["pivot drive0"], 2),
        (["nosuch"], 2),
        (["mirror drive0", "--release", "new"], 2),
        (["mirror drive0", "--policy", "nosuch.yaml", "--destination", "nosuch.json"], 2),
        ([], 2),
    ],
)
def test_exit_codes(words: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """0 where every step can be taken, 3 where QEMU would refuse one, 2 where a step or an input is none."""
    assert main(["simulate", "source.json", *words]) == code
    said = capsys.readouterr()
    assert bool(said.out) is (code != 2)
    assert bool(said.err) is (code == 2)


def test_document(capsys: pytest.CaptureFixture[str]) -> None:
    """With `--format json` standard output is the document, and so is the file of `-o`; of `-o -` as well."""
    steps = ["mirror drive0", "pivot drive0"]
    assert main(["simulate", "source.json", *steps, "--format", "json", "-o", "out.json"]) == 0
    said = capsys.readouterr().out
    assert Path("out.json").read_text() == said
    assert main(["simulate", "source.json", *steps, "-o", "-"]) == 0
    assert capsys.readouterr().out == said
    document = json.loads(said)
    assert (document["verdict"], document["recipes"][0]["operation"]) == ("simulated", "blockdev-mirror")
    assert [one["outcome"] for one in document["bitmaps"]] == ["is-lost"]


def test_refusal_says_step_and_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """A refusal names the step and why QEMU would not take it, in the text and in the document."""
    main(["simulate", "source.json", REMOVE, REMOVE])
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("REFUSED: step 2 of 2")
    assert "step 2: QEMU would refuse 'block-dirty-bitmap-remove': there is no bitmap 'b0' on 'n0'" in said
    main(["simulate", "source.json", REMOVE, REMOVE, "--format", "json"])
    document = json.loads(capsys.readouterr().out)
    assert document["steps"][1]["operations"][0]["refusal"]["code"] == "BM253"


def test_errors_name_every_input(capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong with the policy and with the captures is told at once."""
    main(["simulate", "nosuch.json", "restart", "--policy", "nosuch.yaml", "--destination", "nosuch.json"])
    said = capsys.readouterr().err
    assert said.count("BM110") == 2
    assert "BM401" in said


def test_release_and_rules(capsys: pytest.CaptureFixture[str]) -> None:
    """The text says which QEMU was simulated, where it is not the one that was captured."""
    main(["simulate", "source.json", "restart", "--release", "10.0", "--resolve", "qemu"])
    assert "as if it were 10.0" in capsys.readouterr().out


def test_standard_input() -> None:
    """The capture can come through a pipe."""
    done = run("simulate", "-", "restart", stdin=Path("source.json").read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"SIMULATED: 1 bitmap: 1 lost\n")


def test_on_a_terminal() -> None:
    """On a terminal the graphs are coloured, and a command stays one line of JSON."""
    code, said = on_terminal("simulate", "source.json", "mirror drive0", "pivot drive0", "--step-by-step")
    assert code == 0
    assert ESCAPE.search(said)
    commands = [line for line in ESCAPE.sub("", said).splitlines() if line.startswith("{")]
    assert [json.loads(line)["execute"] for line in commands] == [
        "blockdev-add", "blockdev-mirror", "block-job-complete", "transaction", "block-job-finalize",
        "block-dirty-bitmap-remove",
    ][: len(commands)]  # fmt: skip
    assert len(commands) >= 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mirro drive0"], "did you mean 'mirror'? the stories are: mirror, pivot,"),
        (["blok-stream a=b"], "did you mean 'block-stream'? the stories are: mirror, pivot,"),
        (['{"blok-stream": {}}'], "the operations are: BLOCK_EXPORT_DELETED, BLOCK_JOB_CANCELLED,"),
        (["mirror", "drive0"], "in one pair of quotation marks: 'mirror drive0'"),
        (["block-stream", "job-id=s0", "device=drive0"], "a step stands in one pair of quotation marks"),
    ],
)
def test_wrong_words(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A word that no step has is told with a near one; where quotation marks were forgotten, that is said."""
    assert main(["simulate", "source.json", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(("release", "measured"), [("4.0", False), ("12.9", False), ("5.2", True), ("11.1", True)])
def test_unmeasured_release(release: str, *, measured: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """On a release that was not measured text and document say which were."""
    words = ["simulate", "source.json", "restart", "--release", release]
    main(words)
    said = " ".join(capsys.readouterr().out.split())
    remark = f"what operations do was measured on QEMU 5.2, 7.2, 10.0 and 11.1, and not on {release}"
    assert (remark in said) is not measured
    main([*words, "--format", "json"])
    assert json.loads(capsys.readouterr().out)["remark"] == ("" if measured else remark)

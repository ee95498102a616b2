"""`bitmapmig rehearse` on the command line: words, exit codes, what it writes and where, and how it is interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig.captures import dump, load
from bitmapmig.cli import main
from bitmapmig.cli import rehearse as command
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.throwaway.binary import not_qemu
from tests.build import destination, node
from tests.cli.process import PROGRAM, environment
from tests.rehearsals import bitmap, rehearsal, wrong

if TYPE_CHECKING:
    from bitmapmig.plans import Plan
    from bitmapmig.rehearsing.document import Rehearsal


class _StandIn:
    """Stands for the rehearsal, and for the programs: what it was asked for, and what it answers."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.programs: list[str | None] = []
        self.options: dict[str, Any] = {}
        self.answer: Rehearsal | CannotRunError = rehearsal(bitmap())

    async def rehearse(self, plan: Plan, source: str | None, destination: str | None, **options: Any) -> Rehearsal:
        self.plans.append(plan)
        self.programs += [source, destination]
        self.options = options
        options["says"]("at work")
        if isinstance(self.answer, CannotRunError):
            raise self.answer
        return self.answer


@pytest.fixture
def stand_in(_in_a_folder: None, monkeypatch: pytest.MonkeyPatch) -> _StandIn:
    """The command with a stand-in for what needs a QEMU; the plan of two captures, and a refused one, are there."""
    made = _StandIn()
    monkeypatch.setattr(command, "rehearse", made.rehearse)
    assert main(["plan", "source.json", "destination.json", "-o", "plan.json"]) == 0
    assert main(["plan", "source.json", "other.json", "-o", "refused.json"]) == 3
    return made


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (rehearsal(bitmap()), 0),
        (rehearsal(bitmap(), disagreements=(wrong(),)), 0),
        (rehearsal(bitmap(happened="lost"), outcome="fails"), 5),
        (rehearsal(bitmap(), outcome="refused", verdict="refused"), 3),
        (not_qemu("x", "it is none"), 2),
    ],
)
def test_exit_codes(
    answer: Rehearsal | CannotRunError, code: int, stand_in: _StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 where the plan survives, 5 where it does not, 3 where it stays refused, 2 where nothing could be tried."""
    stand_in.answer = answer
    capsys.readouterr()
    assert main(["rehearse", "plan.json"]) == code
    said = capsys.readouterr()
    assert (bool(said.out), bool(said.err)) == (code != 2, code == 2)


@pytest.mark.parametrize(
    ("words", "programs"),
    [
        ([], [None, None]),
        (["--qemu", "a"], ["a", "a"]),
        (["--source-qemu", "a", "--destination-qemu", "b"], ["a", "b"]),
        (["--source-qemu", "a"], ["a", None]),
        (["--destination-qemu", "b"], [None, "b"]),
    ],
)
def test_programs(words: list[str], programs: list[str | None], stand_in: _StandIn) -> None:
    """One program stands for both sides, or one for each; a side that is not named has the operator's own."""
    assert main(["rehearse", "plan.json", *words]) == 0
    assert stand_in.programs == programs


def test_a_plan_document_alone(stand_in: _StandIn) -> None:
    """With one word the document is rehearsed as it is; seed and wish for harm are passed on."""
    main(["rehearse", "plan.json", "--seed", "7"])
    assert stand_in.plans[0].model_dump_json(indent=2).encode() + b"\n" == Path("plan.json").read_bytes()
    assert {key: stand_in.options[key] for key in ("captures", "anyway", "seed")} == {
        "captures": None,
        "anyway": False,
        "seed": 7,
    }


def test_a_plan_is_made_of_two_endpoints(stand_in: _StandIn) -> None:
    """With two words the plan is made as `plan` makes it, and the captures go along with it."""
    assert main(["rehearse", "source.json", "destination.json", "--policy", "policy.yaml"]) == 0
    assert [one.fate for one in stand_in.plans[0].bitmaps] == ["left-behind"]
    files = Path("source.json"), Path("destination.json")
    assert list(stand_in.options["captures"]) == [load(file.read_bytes(), file.name) for file in files]
    assert stand_in.options["seed"] is None


@pytest.mark.parametrize("words", [["refused.json"], ["source.json", "other.json"]])
def test_a_refused_plan_is_shown_as_plan_does(
    words: list[str], stand_in: _StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --anyway nothing is tried: the refusal is what `plan` prints, and a hint; the document has none."""
    capsys.readouterr()
    assert main(["plan", "source.json", "other.json"]) == 3
    wanted = capsys.readouterr().out
    assert main(["rehearse", *words]) == 3
    assert capsys.readouterr().out == f"{wanted}\nwith --anyway a rehearsal shows what QEMU would do\n"
    assert main(["rehearse", *words, "--format", "json"]) == 3
    assert capsys.readouterr().out == Path("refused.json").read_text()
    assert not stand_in.plans


def test_a_refused_plan_anyway(stand_in: _StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    """With --anyway a refused plan is rehearsed, and the harm counts."""
    stand_in.answer = rehearsal(bitmap(happened="lost"), outcome="fails", verdict="refused")
    assert main(["rehearse", "refused.json", "--anyway"]) == 5
    assert "DOES NOT SURVIVE: the refused plan" in capsys.readouterr().out
    assert stand_in.options["anyway"]


def test_provisional_and_strict(stand_in: _StandIn) -> None:
    """A plan that is made is made with the options that `plan` has."""
    Path("like.json").write_bytes(dump(destination(node("n0"), run_state="running", process="another")))
    assert main(["rehearse", "source.json", "like.json"]) == 3
    assert main(["rehearse", "source.json", "like.json", "--provisional"]) == 0
    assert stand_in.plans[0].provisional


def test_document(stand_in: _StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    """--format json and -o - print the document, and -o FILE writes it beside the text."""
    wanted = stand_in.answer
    assert not isinstance(wanted, CannotRunError)
    capsys.readouterr()
    main(["rehearse", "plan.json", "--format", "json"])
    document = capsys.readouterr().out
    assert json.loads(document) == wanted.model_dump(mode="json")
    main(["rehearse", "plan.json", "-o", "-"])
    assert capsys.readouterr().out == document
    main(["rehearse", "plan.json", "-o", "out.json"])
    assert capsys.readouterr().out.startswith("SURVIVES")
    assert Path("out.json").read_text() == document


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan.json", "--qemu", "a", "--source-qemu", "b"], "--qemu stands for both sides"),
        (["plan.json", "--qemu", "a", "--destination-qemu", "b"], "--qemu stands for both sides"),
        (["plan.json", "--policy", "policy.yaml"], "--policy is for a plan that is made"),
        (["plan.json", "--resolve", "qemu"], "--resolve is for a plan that is made"),
        (["plan.json", "--provisional"], "--provisional is for a plan that is made"),
        (["plan.json", "--strict"], "--strict is for a plan that is made"),
        (["plan.json", "--profile", "profile.json"], "--profile is for a plan that is made"),
        (["plan.json", "--seed", "-1"], "invalid seed value: '-1'"),
        (["plan.json", "--seed", "x"], "invalid seed value: 'x'"),
        ([], "the following arguments are required: PLAN|SOURCE"),
        (["a", "b", "c"], "unrecognized arguments: c"),
        (["unix:source.qmp"], "one word is a plan document"),
        (["nosuch.json"], "BM701"),
        (["source.json"], "BM702"),
        (["source.json", "nosuch.json", "--policy", "nosuch.yaml"], "BM401"),
    ],
)
def test_wrong_words(words: list[str], said: str, stand_in: _StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    """What does not go together, and what cannot be read, is told, and nothing is tried."""
    assert main(["rehearse", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not stand_in.plans


def test_no_program(capsys: pytest.CaptureFixture[str]) -> None:
    """A program that is no QEMU is told as such."""
    assert main(["rehearse", "source.json", "destination.json", "--qemu", "/bin/true"]) == 2
    assert "BM121 binary-not-qemu" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [["rehearse", "source.json", "destination.json"], ["selftest"]])
def test_interrupt(words: list[str], number: signal.Signals, tmp_path: Path) -> None:
    """A signal ends the command with 130 and without a word, and nothing is left: no process, no folder."""
    program = tmp_path / "qemu"
    program.write_text(
        "#!/bin/sh\n"
        'test "$1" = --version && { echo "QEMU emulator version 9.0.0"; exit; }\n'
        f"echo $$ > {tmp_path}/pid.new && mv {tmp_path}/pid.new {tmp_path}/pid\n"
        "exec sleep 60\n"
    )
    program.chmod(0o755)
    folder = tmp_path / "tmp"
    folder.mkdir()
    with subprocess.Popen(
        [*PROGRAM, *words, "--qemu", str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment({"TMPDIR": str(folder)}),
    ) as process:
        while not (tmp_path / "pid").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(number)
        assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == 130
    assert list(folder.iterdir()) == []
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()

"""`bitmapmig selftest` on the command line: the program, exit codes, what it writes and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bitmapmig.cli import main
from bitmapmig.cli import selftest as command
from tests.rehearsals import answer, profile

if TYPE_CHECKING:
    from collections.abc import Callable

    from bitmapmig.profile import Profile


class _StandIn:
    """Stands for the experiments: which program they were made on, and what they gave."""

    def __init__(self) -> None:
        self.programs: list[str | None] = []
        self.profile = profile(answer())

    async def profile_of(self, qemu: str | None, *, says: Callable[[str], None]) -> Profile:
        says("at work")
        self.programs.append(qemu)
        return self.profile


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> _StandIn:
    """The command with a stand-in for what needs a QEMU."""
    made = _StandIn()
    monkeypatch.setattr(command, "profile_of", made.profile_of)
    return made


@pytest.mark.parametrize(("words", "program"), [([], None), (["--qemu", "a"], "a")])
def test_program(words: list[str], program: str | None, stand_in: _StandIn) -> None:
    """The program is the one that is named, else the operator's own."""
    assert main(["selftest", *words]) == 0
    assert stand_in.programs == [program]


@pytest.mark.parametrize(("agrees", "code", "said"), [(True, 0, "AS ASSUMED"), (False, 3, "DIFFERS")])
def test_exit_codes(
    *, agrees: bool, code: int, said: str, stand_in: _StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 where all answers are as assumed, 3 where one differs."""
    stand_in.profile = profile(answer(), answer("two", agrees=agrees))
    assert main(["selftest"]) == code
    assert capsys.readouterr().out.startswith(said)


def test_document(stand_in: _StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    """-o FILE writes the profile beside the text; --format json and -o - print it."""
    assert main(["selftest", "-o", "profile.json"]) == 0
    assert capsys.readouterr().out.startswith("AS ASSUMED")
    written = Path("profile.json").read_text()
    assert json.loads(written) == stand_in.profile.model_dump(mode="json")
    for words in (["--format", "json"], ["-o", "-"]):
        main(["selftest", *words])
        assert capsys.readouterr().out == written


def test_all(stand_in: _StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    """--all lists every experiment, else only sections are counted."""
    stand_in.profile = profile(answer("a-name"))
    main(["selftest"])
    assert "a-name" not in capsys.readouterr().out
    main(["selftest", "--all"])
    assert "a-name" in capsys.readouterr().out


def test_no_program(capsys: pytest.CaptureFixture[str]) -> None:
    """A program that is no QEMU is told as such."""
    assert main(["selftest", "--qemu", "/bin/true"]) == 2
    assert "BM121 binary-not-qemu" in capsys.readouterr().err

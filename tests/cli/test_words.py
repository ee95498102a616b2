"""Explanations, schemas, help and completion."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bitmapmig import codes, schemas
from bitmapmig.cli import main, parser
from bitmapmig.pages import page
from bitmapmig.resolve import RULE_SETS
from tests.cli.process import COMMANDS, ESCAPE, ROOT, environment, on_terminal

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("BM50", "did you mean BM5"),
        ("destination-mising", "did you mean BM501 (destination-missing)?"),
        ("\x1b[31m", "`bitmapmig explain` lists all codes"),
        ("", "`bitmapmig explain` lists all codes"),
    ],
)
def test_unknown_code(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A code that there is not is told, with the one that may have been meant."""
    assert main(["explain", word]) == 2
    said = capsys.readouterr().err
    assert "BM002 code-unknown" in said
    assert hint in " ".join(said.split())
    assert "\x1b" not in said


def test_explain_prints_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """A page is printed as it is where nobody looks, and as it looks on a terminal."""
    main(["explain", "BM501"])
    assert capsys.readouterr().out == page(codes.DESTINATION_MISSING)
    shown = ESCAPE.sub("", on_terminal("explain", "bm501")[1])
    assert "destination-missing" in shown
    assert "# BM501" not in shown


def test_explain_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a code all are listed."""
    main(["explain"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(codes.BY_CODE)


@pytest.mark.parametrize("name", schemas.NAMES)
def test_schema_prints_the_file(name: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """What is printed is what lies in schemas/."""
    main(["schema", name])
    published = ROOT / "schemas" / f"{name}.schema.json"
    assert capsysbinary.readouterr().out == published.read_bytes()


def test_words_of_the_parser() -> None:
    """The parser, which may import nothing heavy, knows the rule sets and the schemas."""
    assert (parser.RULES, parser.SCHEMAS) == (RULE_SETS, schemas.NAMES)


@pytest.mark.parametrize("command", [(), *((command,) for command in COMMANDS)])
def test_help(command: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each command has help with an example, in 80 columns."""
    assert main([*command, "--help"]) == 0
    said = capsys.readouterr().out
    assert f"example:\n  bitmapmig {' '.join(command)}" in said or "example:\n  source <(bitmapmig completion" in said
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_well_formed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The examples of the help are commands that the parser takes."""
    main([command, "--help"])
    examples = re.findall(r"bitmapmig (\w[^|>)\n]*)", capsys.readouterr().out.partition("example:")[2])
    assert examples
    for example in examples:
        assert parser.build().parse_args(example.split()).command == command


def test_version_loads_nothing_heavy() -> None:
    """What takes long to load is not loaded for --version, nor for help."""
    program = (
        "import sys; from bitmapmig.cli import main; main(['--version']); main(['plan', '--help']);"
        "sys.exit(' '.join({'pydantic', 'networkx', 'rich', 'qemu', 'asyncio', 'yaml'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment(), check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("shell", parser.SHELLS)
def test_completion_knows_the_words(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A completion script knows every command, option, rule set and code."""
    assert main(["completion", shell]) == 0
    said = capsys.readouterr().out
    for word in (*COMMANDS, "provisional", "guest-device", "BM501", "policy"):
        assert word in said


def test_completion_is_bash(capsys: pytest.CaptureFixture[str]) -> None:
    """Bash takes the script, and completes with it."""
    main(["completion", "bash"])
    Path("completion.bash").write_text(capsys.readouterr().out)
    ask = (
        "set -eu; source completion.bash; COMP_WORDS=(bitmapmig plan --res); COMP_CWORD=2;"
        "_shtab_bitmapmig bitmapmig --res plan; echo ${COMPREPLY[@]}"
    )
    assert subprocess.run(["bash", "-n", "completion.bash"], check=False).returncode == 0
    done = subprocess.run(["bash", "-c", ask], capture_output=True, check=False)
    assert done.stdout.split() == [b"--resolve"], done.stderr

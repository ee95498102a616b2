"""Each way to end has its exit code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bitmapmig.captures import dump
from bitmapmig.cli import main
from bitmapmig.plans import load
from tests.build import destination, node, source
from tests.cli.process import run

if TYPE_CHECKING:
    from collections.abc import Sequence

ENDS: list[tuple[int, Sequence[str]]] = [
    (0, ["--version"]),
    (0, ["--help"]),
    (0, ["plan", "source.json", "destination.json"]),
    (0, ["plan", "source.json", "other.json", "--policy", "policy.yaml"]),
    (0, ["preview", "source.json"]),
    (0, ["preview", "source.json", "other.json"]),
    (0, ["capture", "source.json"]),
    (0, ["capture", "source.json", "--redact", "--format", "json"]),
    (0, ["explain"]),
    (0, ["explain", "bm501"]),
    (0, ["explain", "destination-missing"]),
    (0, ["schema"]),
    (0, ["schema", "plan"]),
    (0, ["completion", "zsh"]),
    (2, []),
    (2, ["migrate"]),
    (2, ["plan", "source.json"]),
    (2, ["plan", "source.json", "destination.json", "--pol", "policy.yaml"]),
    (2, ["plan", "source.json", "destination.json", "--resolve", "magic"]),
    (2, ["plan", "source.json", "nosuch.json"]),
    (2, ["plan", "source.json", "unix:nosuch"]),
    (2, ["plan", "source.json", "carrier-pigeon:vm"]),
    (2, ["plan", "source.json", "policy.yaml"]),
    (2, ["plan", "source.json", "destination.json", "--policy", "nosuch.yaml"]),
    (2, ["plan", "source.json", "destination.json", "-o", "nosuch/plan.json"]),
    (2, ["plan", "-", "-"]),
    (2, ["preview", "nosuch.json"]),
    (2, ["capture", "source.json", "--timeout", "0"]),
    (2, ["capture", "source.json", "--timeout", "nan"]),
    (2, ["capture", "source.json", "-o", "."]),
    (2, ["explain", "BM999"]),
    (2, ["schema", "nosuch"]),
    (2, ["completion", "tortoise"]),
    (3, ["plan", "source.json", "other.json"]),
    (3, ["plan", "source.json", "source.json"]),
]


@pytest.mark.parametrize(
    ("code", "words"), ENDS, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_exit_code(code: int, words: Sequence[str]) -> None:
    """Each way to end has its code: 0 done, 2 could not run, 3 refused."""
    assert main(words) == code


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, ["plan", "source.json", "destination.json"]),
        (2, ["plan", "source.json", "nosuch.json"]),
        (2, ["plan"]),
        (3, ["plan", "source.json", "other.json"]),
    ],
)
def test_exit_code_of_the_process(code: int, words: Sequence[str]) -> None:
    """The process ends with the code, and never with a traceback."""
    done = run(*words)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr


def test_strict_refuses_for_advice() -> None:
    """Advice is no refusal, but with --strict it is."""
    listed = {"node-name": "n0", "alias": "n0", "bitmaps": [{"name": "b0", "alias": "b0"}]}
    here = source(node("n0", bitmaps=["b0"]), parameters={"block-bitmap-mapping": [listed]})
    Path("mapped.json").write_bytes(dump(here))
    words = ["plan", "mapped.json", "destination.json"]
    assert [main(words), main([*words, "--strict"])] == [0, 3]


def test_provisional_asks_for_no_waiting() -> None:
    """A destination of its like need not wait for a migration."""
    Path("like.json").write_bytes(dump(destination(node("n0"), run_state="running", process="another")))
    words = ["plan", "source.json", "like.json"]
    assert [main(words), main([*words, "--provisional"])] == [3, 0]


def test_resolve_wins_over_the_policy(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """--resolve replaces the rule set of the policy."""
    Path("qemu.yaml").write_text("version: 1\nresolve: qemu\n")
    words = ["plan", "source.json", "destination.json", "--policy", "qemu.yaml", "--format", "json"]
    main(words)
    assert load(capsysbinary.readouterr().out).bitmaps[0].address == "drive0"
    main([*words, "--resolve", "explicit"])
    assert load(capsysbinary.readouterr().out).bitmaps[0].address == "n0"


def test_untrustworthy_capture_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A preview of a capture that cannot be genuine is drawn, and refused."""
    Path("cyclic.json").write_bytes(dump(source(node("a", "raw", file="b"), node("b", "raw", file="a"))))
    assert main(["preview", "cyclic.json"]) == 3
    assert "BM201" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["finish", "verify"])
def test_a_named_socket_that_is_not_there_is_a_slip(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An end that the user names must be there; it is not taken for one that is gone."""
    assert main([command, "plan.json", "--source", "unix:nosuch"]) == 2
    assert "'unix:nosuch' cannot be reached: there is no such socket" in capsys.readouterr().err

"""`bitmapmig plan --profile` on the command line: what counts, and files that are no profile of either end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitmapmig import profile_file
from bitmapmig.captures import dump
from bitmapmig.cli import main
from bitmapmig.plans import load
from bitmapmig.profile import Profile
from tests.build import drive, job, node, source

if TYPE_CHECKING:
    import pytest

_PLAN = ["plan", "source.json", "destination.json"]
_MEASURED = {"commit-job-stops-switch-over": False}


def _written(name: str = "profile.json", **more: Any) -> str:
    """A profile of the QEMU that the captures of these tests are of, in a file."""
    said: dict[str, Any] = {"qemu_version": "7.2.22", "package": "", "behaviours": _MEASURED, **more}
    profile = Profile(answers=(), differs=(), **said)
    Path(name).write_text(profile.model_dump_json())
    return name


def test_a_profile_counts(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """What is refused by the version is planned by the profile, which the plan has for each end that it is of."""
    here = source(node("n0", bitmaps=["b0"]), drive("drive0", "n0"), job("j0", "commit", main="n0"))
    Path("source.json").write_bytes(dump(here))
    assert main(_PLAN) == 3
    capsysbinary.readouterr()
    assert main([*_PLAN, "--profile", _written(), "--profile", _written("again.json"), "--format", "json"]) == 0
    plan = load(capsysbinary.readouterr().out)
    assert (plan.source.measured, plan.destination.measured) == (_MEASURED, _MEASURED)


def test_not_a_profile(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is no profile is an error of its own code, and so is what cannot be read."""
    monkeypatch.setattr(profile_file, "FILE_LIMIT", 1000)
    good = Path(_written()).read_bytes()
    ends = {
        b"": "BM131",
        b"\xff": "BM131",
        b'"\\ud800"': "BM131",
        b"[[": "BM131",
        good + b" " * 1000: "BM131",
        b"[]": "BM132",
        b"{}": "BM132",
        good.replace(b'"behaviours":{', b'"behaviours":{"\\u001b":"\\u001b",'): "BM132",
        good.replace(b'"format_version":1', b'"format_version":2,"more":true'): "BM133",
        good.replace(b"7.2.22", b"7.2.23\\u001b"): "BM134",
    }
    for raw, code in ends.items():
        Path("profile.json").write_bytes(raw)
        assert main([*_PLAN, "--profile", "profile.json"]) == 2
        said = capsys.readouterr().err
        assert code in said, said
        assert "\x1b" not in said
    for path in ("nosuch", ".", "nul\0"):
        assert main([*_PLAN, "--profile", path]) == 2
        assert "BM131" in capsys.readouterr().err


def test_all_that_is_wrong_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Mistakes of the policy, of each profile and of the captures come together."""
    words = ["--policy", "nosuch.yaml", "--profile", "one", "--profile", "two", "--format", "json"]
    assert main(["plan", "source.json", "nosuch.json", *words]) == 2
    found = json.loads(capsys.readouterr().out)["errors"]
    assert [one["code"] for one in found] == ["BM401", "BM131", "BM131", "BM110"]


def test_profiles_that_contradict_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """Which of the two is right is not guessed."""
    other = _written("other.json", behaviours={"commit-job-stops-switch-over": True})
    assert main([*_PLAN, "--profile", _written(), "--profile", other]) == 2
    assert "BM135" in capsys.readouterr().err

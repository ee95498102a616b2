"""The public names of the package."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import bitmapmig
from bitmapmig.captures import dump
from tests.build import destination, node, source

ROOT = Path(__file__).parent.parent


def test_public_names() -> None:
    """Few names are public, all are there, and `dir` shows them."""
    assert set(bitmapmig.__all__) == {
        "Applied",
        "BitmapmigError",
        "BlockGraph",
        "CannotRunError",
        "Capture",
        "Diagnostic",
        "FinishRefused",
        "Finished",
        "LockHeldError",
        "Migrated",
        "MigrationFailed",
        "Plan",
        "Policy",
        "Profile",
        "Refused",
        "Rehearsal",
        "Simulated",
        "StaleError",
        "VerificationFailed",
        "Verified",
        "__version__",
        "apply",
        "apply_and_wait",
        "capture",
        "finish",
        "plan",
        "profile_of",
        "rehearse",
        "simulate",
        "verify",
    }
    assert set(bitmapmig.__all__) <= set(dir(bitmapmig))
    assert all(inspect.getdoc(getattr(bitmapmig, name)) for name in bitmapmig.__all__)


def test_unknown_name() -> None:
    """A name that is not there is an AttributeError, as of any module."""
    with pytest.raises(AttributeError, match="module 'bitmapmig' has no attribute 'nosuch'"):
        _ = getattr(bitmapmig, "nosuch")  # noqa: B009  a checker of types would complain


def test_names_that_are_modules_too() -> None:
    """No module has the name of a public function: importing it would take the function's place."""
    assert not {path.stem for path in (ROOT / "bitmapmig").iterdir()} & {
        "apply",
        "apply_and_wait",
        "capture",
        "finish",
        "plan",
        "profile_of",
        "rehearse",
        "simulate",
        "verify",
    }


def test_import_is_light() -> None:
    """Importing the package loads nothing of what is behind the names, until one is used."""
    program = (
        "import sys, bitmapmig; sys.exit(' '.join({'pydantic', 'networkx', 'asyncio'} & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_version() -> None:
    """The version is that of the project."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert bitmapmig.__version__ == project["version"]


def test_from_captures_to_a_plan(tmp_path: Path) -> None:
    """Two endpoints become captures, and these a plan or a refusal that carries one."""
    for name, made in (("source", source(node("n0", bitmaps=["b0"]))), ("destination", destination(node("n0")))):
        (tmp_path / f"{name}.json").write_bytes(dump(made))

    async def ends() -> list[bitmapmig.Capture]:
        return [await bitmapmig.capture(str(tmp_path / f"{name}.json")) for name in ("source", "destination")]

    here, there = asyncio.run(ends())
    assert isinstance(here, bitmapmig.Capture)
    planned = bitmapmig.plan(here, there)
    assert isinstance(planned, bitmapmig.Plan)
    assert [one.fate for one in planned.bitmaps] == ["migrate"]
    with pytest.raises(bitmapmig.Refused) as refused:
        bitmapmig.plan(here, here, bitmapmig.Policy())
    assert refused.value.plan.verdict == "refused"
    assert all(isinstance(one, bitmapmig.Diagnostic) for one in refused.value.diagnostics)


def test_what_cannot_run_is_raised() -> None:
    """An endpoint that is not there raises the one exception for it, with its findings."""
    with pytest.raises(bitmapmig.CannotRunError) as error:
        asyncio.run(bitmapmig.capture("unix:nosuch"))
    assert [one.code for one in error.value.diagnostics] == ["BM102"]

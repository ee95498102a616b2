"""What the documents tell a reader to type, typed: the README's example and the tutorial, on real QEMUs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live.qemu import Binary, binaries
from tests.live.scenes import ALL

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def environment(**more: str) -> dict[str, str]:
    """The environment in which `python3` and `bitmapmig` are those of this test run."""
    found = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    found["PATH"] = f"{Path(sys.executable).parent}:{found['PATH']}"
    return found


@pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)
@pytest.mark.parametrize(
    ("scene", "said"), [("two-disks-two-ways", "migrate-set-parameters"), ("sizes-differ", "BM541")]
)
def test_readme_example(binary: Binary, scene: str, said: str) -> None:
    """The README's Python example prints the commands of a plan, or the findings of a refusal."""
    (code,) = blocks("README.md", "python")
    with next(one for one in ALL if one.name == scene).on(binary) as stage:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=stage.folder,
            capture_output=True,
            text=True,
            env=environment(),
            check=True,
        )
    assert said in done.stdout


@pytest.fixture
def tutorial(tmp_path: Path) -> Iterator[Path]:
    """The folder in which the tutorial is typed; its QEMUs end with it, whatever happens."""
    (tmp_path / "qmp.py").write_text(blocks("docs/tutorial.md", "python")[0])
    command = tmp_path / "bitmapmig"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bitmapmig "$@"\n')
    command.chmod(0o755)
    yield tmp_path
    for name in ("source.pid", "destination.pid"):
        if (tmp_path / name).exists():
            subprocess.run(["kill", (tmp_path / name).read_text().strip()], check=False, capture_output=True)


@pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)
def test_tutorial(tutorial: Path, binary: Binary) -> None:
    """Each command of the tutorial does what it says: a refusal, a plan that is set, a proof, and clean ends."""
    for name, program in (("qemu-system-x86_64", binary.path), ("qemu-img", binary.img)):
        (tutorial / name).symlink_to(program)
    script = "\n".join(blocks("docs/tutorial.md", "sh"))
    path = f"{tutorial}:{environment()['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tutorial, capture_output=True, text=True, env=environment(PATH=path), check=False
    )
    assert "BM501 destination-missing" in done.stdout, done.stderr
    assert "PLANNED: 1 bitmap migrates" in done.stdout, done.stderr
    for said in ("SURVIVES: 1 bitmap", "DOES NOT SURVIVE", "exit code 5", "APPLIED", "PROVEN: 1 bitmap", "FINISHED"):
        assert said in done.stdout, (said, done.stdout, done.stderr)

"""The folder that each test of the command line works in."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitmapmig.captures import dump
from tests.build import destination, drive, node, source


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test works in a folder with a source, a destination that fits it, and one that does not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    Path("source.json").write_bytes(dump(source(node("n0", bitmaps=["b0"]), drive("drive0", "n0"))))
    Path("destination.json").write_bytes(dump(destination(node("n0"), drive("drive0", "n0"))))
    Path("other.json").write_bytes(dump(destination(node("elsewhere"))))
    Path("policy.yaml").write_text("version: 1\ndeny:\n- {bitmap: b0}\n")

"""The command line before real QEMUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bitmapmig.cli import main
from tests.live.qemu import Binary, binaries
from tests.live.scenes.filters import filter_on_both_sides

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)
def test_stored_captures_replay(binary: Binary, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """The plan and the picture from stored captures are those from the live QEMUs, byte for byte."""
    stored = [str(tmp_path / "source.json"), str(tmp_path / "destination.json")]
    with filter_on_both_sides.on(binary) as stage:
        live = [stage.source.endpoint, stage.destination.endpoint]
        for endpoint, path in zip(live, stored, strict=True):
            assert main(["capture", endpoint, "-o", path]) == 0
        for words in (["plan", "--format", "json"], ["plan"], ["preview", "--format", "json"], ["preview"]):
            assert main([*words, *live]) == 0
            answered = capsysbinary.readouterr()
            assert main([*words, *stored]) == 0
            assert capsysbinary.readouterr() == answered
            assert answered.err == b""

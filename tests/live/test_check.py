"""`bitmapmig check --live` as a process: it says which scenarios met the real QEMU."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cli.process import run
from tests.live.qemu import Binary, binaries

if TYPE_CHECKING:
    from pathlib import Path

_ANY = """\
title: about no version
start: {nodes: {n0: {driver: qcow2, size: 1M, bitmaps: [daily]}}}
steps: [block-dirty-bitmap-clear: {node: n0, name: daily}]
expect: {bitmaps: {n0/daily: {dirty: 0}}}
"""


@pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)
def test_who_met_the_real_qemu(binary: Binary, tmp_path: Path) -> None:
    """A scenario that says no version meets any QEMU that was measured; one of another version is named with why."""
    other = "5.2" if binary.release != (5, 2) else "7.2"
    (tmp_path / "any.bitmapmig.yaml").write_text(_ANY)
    (tmp_path / "other.bitmapmig.yaml").write_text(f"qemu: '{other}'\n{_ANY}")
    done = run("check", str(tmp_path), "--live", str(binary.path), "--format", "json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["verdict"]) == (0, "passed")
    (count,) = document["counts"]["live"]
    assert (count["scenarios"], count["scenarios_not_about"]) == (1, 1)
    assert [one["reason"] for one in document["not_live"]] == [f"it is about QEMU {other}"]
    assert [one["live"] for one in document["scenarios"][0]["runs"]] == [False, True]
    said = " ".join(run("check", str(tmp_path), "--live", str(binary.path)).stdout.decode().split())
    assert said.endswith(f"; 1 of 2 on QEMU {count['qemu']}, 1 is not about it")

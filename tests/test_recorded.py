"""Digests that are kept for a later `verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bitmapmig import recorded
from tests.build import planned
from tests.fake_pair import here, there

if TYPE_CHECKING:
    from pathlib import Path

DIGESTS = {("n0", "a"): "0" * 64, ("n0", "\ud7ff"): "f" * 64, ("m", "b"): "1" * 64}


def test_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is saved for a plan is loaded for it, from the state directory, until it is forgotten; the last counts."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    plan = planned(here(), there())
    assert recorded.load(plan) is None
    recorded.save(plan, {("n0", "a"): "a" * 64})
    path = recorded.save(plan, DIGESTS)
    assert recorded.load(plan) == DIGESTS
    assert path.parent == tmp_path / "bitmapmig"
    assert (path.stat().st_mode & 0o777, len(list(path.parent.iterdir()))) == (0o600, 1)
    recorded.forget(plan)
    recorded.forget(plan)
    assert recorded.load(plan) is None


def test_another_plan(tmp_path: Path) -> None:
    """What is saved for one plan is nothing to another, even under the other's name."""
    plan, other = planned(here(), there()), planned(here("daily"), there())
    first = recorded.save(plan, DIGESTS, tmp_path)
    assert recorded.load(other, tmp_path) is None
    second = recorded.save(other, {}, tmp_path)
    second.write_bytes(first.read_bytes())
    assert recorded.load(other, tmp_path) is None


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[]", b"{}", b'{"format_version": 1, "plan": 1, "digests": []}'])
def test_damaged(raw: bytes, tmp_path: Path) -> None:
    """A file that is not what was saved proves nothing."""
    plan = planned(here(), there())
    recorded.save(plan, DIGESTS, tmp_path).write_bytes(raw)
    assert recorded.load(plan, tmp_path) is None


def test_cannot_be_written(tmp_path: Path) -> None:
    """What cannot be written is told, and leaves nothing behind."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        recorded.save(planned(here(), there()), DIGESTS, tmp_path / "file")

"""The note of temporaries that a later run is to clean up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bitmapmig import temporaries

if TYPE_CHECKING:
    from pathlib import Path

ONE, OTHER = "bitmapmig-tmp-0123456789abcdef", "bitmapmig-tmp-fedcba9876543210"


def test_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is noted of a VM is found again, from the state directory; the last note counts, an empty one is none."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert temporaries.load("vm") == frozenset()
    temporaries.save("vm", [("n0", ONE)])
    temporaries.save("vm", [("n0", ONE), ("#block1", OTHER)])
    assert temporaries.load("vm") == {("n0", ONE), ("#block1", OTHER)}
    assert temporaries.load("another") == frozenset()
    (path,) = (tmp_path / "bitmapmig").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    temporaries.save("vm", [])
    temporaries.save("vm", [])
    assert (temporaries.load("vm"), path.exists()) == (frozenset(), False)


def test_of_another_vm(tmp_path: Path) -> None:
    """A note under the name of another VM's is nothing."""
    temporaries.save("vm", [("n0", ONE)], tmp_path)
    (path,) = tmp_path.iterdir()
    temporaries.save("another", [("n0", OTHER)], tmp_path)
    (other,) = set(tmp_path.iterdir()) - {path}
    other.write_bytes(path.read_bytes())
    assert temporaries.load("another", tmp_path) == frozenset()


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[]", b'{"format_version": 1, "vm": 1, "temporaries": []}'])
def test_damaged(raw: bytes, tmp_path: Path) -> None:
    """A file that is not what was saved says nothing."""
    temporaries.save("vm", [("n0", ONE)], tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(raw)
    assert temporaries.load("vm", tmp_path) == frozenset()


def test_names_of_the_user(tmp_path: Path) -> None:
    """A note that was edited to name a bitmap of the user does not get it removed."""
    temporaries.save("vm", [("n0", ONE)], tmp_path)
    (path,) = tmp_path.iterdir()
    document = json.loads(path.read_text())
    document["temporaries"].append({"node": "n0", "bitmap": "daily"})
    path.write_text(json.dumps(document))
    assert temporaries.load("vm", tmp_path) == {("n0", ONE)}

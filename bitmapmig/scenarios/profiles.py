"""Version -> what an idle QEMU of that version says of itself, recorded from a real one.

The files in `qemu/` are captures without a block graph and without what tells a process from another; `python -m
tests.live.profiles` records them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bitmapmig import captures, state

if TYPE_CHECKING:
    from bitmapmig.state import State

FOLDER = Path(__file__).parent / "qemu"


@cache
def measured() -> tuple[str, ...]:
    """The versions, such as `7.2`, that there are profiles of, oldest first."""
    names = (path.stem for path in FOLDER.glob("*.json"))
    return tuple(sorted(names, key=lambda name: tuple(map(int, name.split(".")))))


@cache
def profile(version: str) -> State:
    """The state of an idle QEMU of that version, one of `measured`."""
    path = FOLDER / f"{version}.json"
    return state.read(captures.load(path.read_bytes(), path.name))

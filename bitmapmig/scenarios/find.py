"""Paths of files and folders -> the scenario files there, each once."""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_ISDIR
from typing import TYPE_CHECKING

from bitmapmig.captures import printable
from bitmapmig.diagnostics import Where
from bitmapmig.documents.read import FORMATS, encodable
from bitmapmig.scenarios.problems import ScenarioMistakes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bitmapmig.diagnostics import Diagnostic

#: What the names of scenario files end on; one that is named itself may have any suffix of `FORMATS`.
SUFFIXES = tuple(f".bitmapmig{suffix}" for suffix in FORMATS)


def files(paths: Iterable[str]) -> tuple[tuple[Path, ...], tuple[Diagnostic, ...]]:
    """The files that `paths` name, in their order, and those in the folders that they name, by name.

    And BM261 for each path that is not there, or is a folder that holds none or cannot be read.
    """
    found: dict[str, Path] = {}
    problems: dict[str, Diagnostic] = {}
    for text in paths:
        try:
            inside = list(_files(Path(text)))
        except (OSError, ValueError) as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            problems[text] = _unreadable(text, reason)
            continue
        if not inside:
            problems[text] = _unreadable(text, f"the folder holds no file that ends on {', '.join(SUFFIXES)}")
        for path in inside:
            found.setdefault(os.path.realpath(path), path)
    return tuple(found.values()), tuple(problems.values())


def _unreadable(text: str, reason: str) -> Diagnostic:
    name = encodable(text)
    return ScenarioMistakes().unreadable(Where(file=name), name, printable(reason))


def _files(path: Path) -> Iterator[Path]:
    if not S_ISDIR(path.stat().st_mode):
        yield path
        return
    for folder, folders, names in os.walk(path, onerror=_raise):
        folders.sort()
        yield from (Path(folder) / name for name in sorted(names) if name.lower().endswith(SUFFIXES))


def _raise(error: OSError) -> None:
    raise error

"""A VM <-> a small file: the temporary bitmaps that `apply` is about to make on it, for a later run to clean up.

It is written before they are made, so that whatever ends `apply`, what it may have left is known. The file is found by
what the VM is known by (`whereabouts.vm`): a temporary is in the way of every plan for that VM.

    STATE DIRECTORY/temporaries-0123456789abcdef0123456789abcdef.json
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bitmapmig import atomic
from bitmapmig.collapse import is_temporary
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.state_directory import state_directory

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Bytes of the largest file that is read.
_LIMIT = 1 << 20


class _Temporary(BaseModel):
    """A bitmap on a node of the source."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    node: str
    bitmap: str


class _Document(BaseModel):
    """The file: which VM it is about, and the temporaries, sorted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format_version: Literal[1] = 1
    vm: str
    temporaries: tuple[_Temporary, ...]


def save(vm: str, places: Iterable[tuple[str, str]], directory: Path | None = None) -> None:
    """Note that there are, or are about to be, these bitmaps (node, bitmap) on `vm`; none removes the note.

    Raises `OSError` where the file cannot be written, and `CannotRunError` (BM756) where there is no state directory.
    """
    path = _path(vm, directory)
    noted = tuple(_Temporary(node=node, bitmap=bitmap) for node, bitmap in sorted(set(places)))
    if not noted:
        with suppress(FileNotFoundError):
            path.unlink()
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    document = _Document(vm=_key(vm), temporaries=noted)
    atomic.replace(path, document.model_dump_json(indent=1).encode() + b"\n", 0o600)


def load(vm: str, directory: Path | None = None) -> frozenset[tuple[str, str]]:
    """What is noted of `vm`; of a file that is not what `save` writes, nothing."""
    try:
        with _path(vm, directory).open("rb") as file:
            document = _Document.model_validate_json(file.read(_LIMIT))
    except (OSError, CannotRunError, ValidationError):
        return frozenset()
    if document.vm != _key(vm):
        return frozenset()
    # whatever the file says, nothing of the user's is ever removed by it
    return frozenset((one.node, one.bitmap) for one in document.temporaries if is_temporary(one.bitmap))


def _key(vm: str) -> str:
    return hashlib.sha256(vm.encode(errors="surrogateescape")).hexdigest()


def _path(vm: str, directory: Path | None) -> Path:
    return (directory or state_directory()) / f"temporaries-{_key(vm)[:32]}.json"

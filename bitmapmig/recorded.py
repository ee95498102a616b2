"""Plan and digests <-> a small file: what `apply --wait-migration` saw of the source, for a later `verify PLAN`.

At `pre-switchover` the guest is stopped and the digests of the bitmaps on their way are exact; once the source is gone
nothing else can tell them. The file is found again by a digest of the plan, so that it serves that very plan alone.

    STATE DIRECTORY/recorded-0123456789abcdef0123456789abcdef.json
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bitmapmig import atomic, plans
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.state_directory import state_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitmapmig.plans import Plan

#: Bytes of the largest file that is read; a digest takes some hundred bytes.
_LIMIT = 64 << 20

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Recorded(BaseModel):
    """What `x-debug-block-dirty-bitmap-sha256` said of one bitmap of the source."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    node: str
    bitmap: str
    sha256: _Digest


class _Document(BaseModel):
    """The file: which plan it belongs to, and the digests, sorted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format_version: Literal[1] = 1
    plan: _Digest
    digests: tuple[_Recorded, ...]


def save(plan: Plan, digests: Mapping[tuple[str, str], str], directory: Path | None = None) -> Path:
    """Keep the `digests` of the source's bitmaps, by (node, bitmap), for `plan`; the file, whole or as it was.

    Replaces what was recorded for this plan before. Raises `OSError` where the file cannot be written,
    and `CannotRunError` (BM756) where there is no state directory.
    """
    document = _Document(
        plan=_key(plan),
        digests=tuple(_Recorded(node=node, bitmap=name, sha256=sha) for (node, name), sha in sorted(digests.items())),
    )
    path = _path(plan, directory)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    atomic.replace(path, document.model_dump_json(indent=1).encode() + b"\n", 0o600)
    return path


def load(plan: Plan, directory: Path | None = None) -> Mapping[tuple[str, str], str] | None:
    """The SHA-256 of each recorded bitmap of the source, by (node, bitmap); None where nothing is recorded.

    A file that cannot be read, or is not what `save` wrote for this very plan, is no proof of anything: None.
    """
    try:
        with _path(plan, directory).open("rb") as file:
            document = _Document.model_validate_json(file.read(_LIMIT))
    except (OSError, CannotRunError, ValidationError):
        return None
    if document.plan != _key(plan):
        return None
    return MappingProxyType({(one.node, one.bitmap): one.sha256 for one in document.digests})


def forget(plan: Plan, directory: Path | None = None) -> None:
    """Remove what is recorded for `plan`: digests of an earlier migration would accuse the next one.

    Raises as `save` does.
    """
    with suppress(FileNotFoundError):
        _path(plan, directory).unlink()


def _key(plan: Plan) -> str:
    return hashlib.sha256(plans.dump(plan)).hexdigest()


def _path(plan: Plan, directory: Path | None) -> Path:
    return (directory or state_directory()) / f"recorded-{_key(plan)[:32]}.json"

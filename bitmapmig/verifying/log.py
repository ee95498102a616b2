"""A QEMU's log -> the lines that say what became of bitmaps, each bound to what it names.

QEMU tells almost nothing of this over QMP; what it prints to standard error is all there is. A line begins with
whatever the program and its manager put there (`-msg timestamp=on,guest-name=on`, libvirt's own times), ends with the
message, and holds names that others chose. Sources: migration/block-dirty-bitmap.c, block/dirty-bitmap.c,
block/qcow2-bitmap.c, block.c, migration/savevm.c; each spelling was seen on the versions that have it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeAlias

from bitmapmig import codes
from bitmapmig.captures import printable
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.plans.document import Document

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Bytes of a log that are read, from its end: what a migration says is the last that was said.
TAIL = 4 << 20
#: Bytes of a pipe that are read, of which the last `TAIL` count.
_PIPED = 64 * TAIL
#: Lines that are kept, the last ones.
LINES = 1000
#: Bytes of a line that are looked at: the longest message holds two names of at most 1,023 bytes and some words.
_LONGEST = 2560

#: What a line is about: names that lead nowhere drop all bitmaps; a clash, a refusal or an assertion ends a side.
Kind: TypeAlias = Literal[
    "drops-all",
    "kills-destination",
    "source-refuses",
    "lost-at-shutdown",
    "activation-fails",
    "switch-over-fails",
    "stream-ended",
    "not-for-this-vm",
]


class LoggedLine(Document):
    """A line that is recognised: `text` without what came before the message, `line` counted from 1 where it is known.

    `name` is a node alias, a node-name or a device, whichever the message holds; `bitmap` a bitmap or its alias.
    """

    kind: Kind
    text: str
    line: int | None
    name: str | None = None
    bitmap: str | None = None


def _message(kind: Kind, head: str, rest: str = "") -> tuple[Kind, re.Pattern[str]]:
    # `: ` ends whatever the program, the guest's name and the time are; only the first place where `head` stands is
    # tried, so that no line takes long
    return kind, re.compile(rf"\A(?>(?:.*?: )??(?={head}))(?P<text>{head}{rest})\Z")


_NAME = "'(?P<name>.{0,1023})'"
_BITMAP = "'(?P<bitmap>.{0,1023})'"
_NODE = "'.{0,124}'"
#: In the order in which they are tried; names are taken as long as they can be.
_MESSAGES: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    _message("drops-all", "(?:Error: )?Unknown bitmap alias ", rf"{_BITMAP} on node {_NODE} \(alias {_NAME}\)"),
    _message("drops-all", "(?:Error: )?Unknown node alias ", _NAME),
    _message("drops-all", "Cannot find device='", f".{{0,255}}' nor node-name={_NAME}"),
    _message("drops-all", "Cannot find device=", ".{0,255} nor node_name=(?P<name>.*)"),  # up to 5.2
    _message("drops-all", "Device '", "(?P<name>.{0,255})' has no medium"),
    _message("kills-destination", "Error: unknown dirty bitmap ", f"{_BITMAP} for block device {_NAME}"),
    _message("kills-destination", r"Bitmap with the same name \(", rf"{_BITMAP}\) already exists on destination"),
    _message("kills-destination", "Cannot make migrated bitmap ", f"{_BITMAP} persistent on read-only node {_NAME}"),
    _message(
        "kills-destination",
        "Migrated bitmap granularity doesn't match the destination bitmap ",
        f"{_BITMAP} granularity",
    ),
    _message("kills-destination", "Unable to read bitmap alias string"),
    _message("kills-destination", "Unknown flags in migrated dirty bitmap header: .*"),
    _message("kills-destination", "", ".*serialization_chunk: Assertion .*"),
    _message("source-refuses", "Bitmap '", "(?P<bitmap>.*)' is inconsistent and cannot be used"),
    _message(
        "source-refuses", "Bitmap '", "(?P<bitmap>.*)' is currently in use by another operation and cannot be used"
    ),
    _message("source-refuses", "Bitmap '", "(?P<bitmap>.*)' is readonly and cannot be modified"),
    _message(
        "source-refuses", "Bitmap '", f"(?P<bitmap>.*)' in a node with auto-generated name {_NAME} can't be migrated"
    ),
    _message("source-refuses", "Cannot migrate bitmap ", rf"{_BITMAP} on node {_NAME}: Name is longer than \d+ bytes"),
    _message("lost-at-shutdown", "Lost persistent bitmaps during inactivation of node ", f"{_NAME}: .*"),
    _message("activation-fails", "Could not reopen qcow2 layer: Bitmap already exists: ", "(?P<bitmap>.*)"),
    _message("switch-over-fails", r"bdrv_inactivate_all\(\) failed.*"),
    _message("switch-over-fails", "Error in migration completion.*"),
    _message("switch-over-fails", "Block inactivate failed during switchover"),
    _message("not-for-this-vm", "MIG_CMD 0x[0-9a-f]+ unknown.*"),
    _message("not-for-this-vm", "Unknown savevm section or instance .*"),
    _message("not-for-this-vm", "load of migration failed: Invalid argument: Unknown section or instance .*"),
    _message("not-for-this-vm", "UUID received is .*"),
    _message("not-for-this-vm", "Machine type received is .*"),
    _message("stream-ended", "Unable to read node alias string"),
    _message("stream-ended", "Read section footer failed: .*"),
    _message("stream-ended", "Channel error: .*"),
    _message("stream-ended", "load of migration failed: .*"),
    _message("stream-ended", "", ".*Some dirty bitmaps may be lost, .*"),
)
#: A message holds one of these words; others need no pattern tried on them.
_WORDS = re.compile(
    r"[Bb]itmap|alias|[Dd]evice|serialization_chunk|MIG_CMD|received|footer|Channel|inactivate|completion|load of"
    r"|savevm section"
)


def recognise(text: str, line: int | None = None) -> LoggedLine | None:
    """What a line of a log says; None where it is none of the messages that are known."""
    text = text.rstrip("\r\n")
    if len(text) > _LONGEST or not _WORDS.search(text):
        return None
    for kind, pattern in _MESSAGES:
        found = pattern.search(text)
        if found:
            names = found.groupdict()
            return LoggedLine(
                kind=kind, text=found["text"], line=line, name=names.get("name"), bitmap=names.get("bitmap")
            )
    return None


def read(path: str) -> tuple[LoggedLine, ...]:
    """The recognised lines among the last `TAIL` bytes of the file `path`, in their order, at most `LINES`.

    Raises `CannotRunError` (BM814) where it cannot be read.
    """
    shown = path.encode(errors="backslashreplace").decode()
    try:
        with Path(path).open("rb") as file:
            raw, whole = _tail(file)
    except (OSError, ValueError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise CannotRunError(
            codes.LOG_UNREADABLE.at(Where(file=shown), path=shown, reason=printable(reason))
        ) from error
    return parse(raw, whole=whole)


def _tail(file: BinaryIO) -> tuple[bytes, bool]:
    """The last `TAIL` bytes, and whether that is all; of a pipe those of the first `_PIPED` bytes."""
    if file.seekable():
        start = max(file.seek(0, os.SEEK_END) - TAIL, 0)
        file.seek(start)
        return file.read(TAIL), start == 0
    raw, whole = b"", True
    for _ in range(_PIPED // TAIL):
        chunk = file.read(TAIL)
        if not chunk:
            break
        whole = whole and len(raw) + len(chunk) <= TAIL
        raw = (raw + chunk)[-TAIL:]
    return raw, whole


def parse(raw: bytes, *, whole: bool = True) -> tuple[LoggedLine, ...]:
    """The recognised lines of `raw`; not `whole` where it is the tail of a longer log, whose first line may be half."""
    lines = raw.split(b"\n")
    found = [
        line
        for number, text in enumerate(lines, start=1)
        if (whole or number > 1)
        and (line := recognise(text[: _LONGEST + 1].decode(errors="replace"), number if whole else None)) is not None
    ]
    return tuple(found[-LINES:])


def showing(
    lines: Iterable[LoggedLine], names: Iterable[str | None], bitmaps: Iterable[str | None]
) -> LoggedLine | None:
    """The line that shows what became of a bitmap that goes by these names on its way: the last that fits best.

    Best is one that names it; then one that drops all bitmaps or ends a side whichever it names; nothing else fits.
    """
    known, called = {*names} - {None}, {*bitmaps} - {None}
    best: tuple[int, LoggedLine] | None = None
    for line in lines:
        rank = _rank(line, known, called)
        if rank and (best is None or rank >= best[0]):
            best = rank, line
    return best[1] if best else None


def _rank(line: LoggedLine, names: set[str | None], bitmaps: set[str | None]) -> int:
    """How well a line fits: 3 names the bitmap, 2 is about all of them, 1 says only that something ended."""
    node_fits, bitmap_fits = line.name is None or line.name in names, line.bitmap is None or line.bitmap in bitmaps
    named = line.name is not None or line.bitmap is not None
    if named and node_fits and bitmap_fits:
        return 3
    if line.kind in ("lost-at-shutdown", "activation-fails"):
        return 0  # of another node or bitmap
    return 1 if line.kind == "stream-ended" else 2

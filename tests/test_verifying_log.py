"""Reading what QEMU printed: every message of interest, in each version's spelling, whatever stands before it."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

import bitmapmig.verifying.log as module
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.verifying.log import LINES, TAIL, parse, read, recognise, showing

if TYPE_CHECKING:
    from pathlib import Path

#: The message, what it is about, and the names in it: a node's and a bitmap's.
MESSAGES = [
    ("Cannot find device='n2' nor node-name='n2'", "drops-all", "n2", None),
    ("Cannot find device=n2 nor node_name=n2", "drops-all", "n2", None),
    ("Cannot find device='' nor node-name='nosuch'", "drops-all", "nosuch", None),
    ("Cannot find device= nor node_name=nosuch", "drops-all", "nosuch", None),
    ("Error: Unknown node alias 'n2'", "drops-all", "n2", None),
    ("Error: Unknown bitmap alias 'b1' on node 'n2' (alias 'a2')", "drops-all", "a2", "b1"),
    ("Unknown bitmap alias 'it's' on node 'n2' (alias 'a2')", "drops-all", "a2", "it's"),
    ("Device 'drive0' has no medium", "drops-all", "drive0", None),
    ("Bitmap with the same name ('b0') already exists on destination", "kills-destination", None, "b0"),
    ("Cannot make migrated bitmap 'b0' persistent on read-only node 'n0'", "kills-destination", "n0", "b0"),
    ("Migrated bitmap granularity doesn't match the destination bitmap 'b0' granularity", "kills-destination",
     None, "b0"),
    ("Error: unknown dirty bitmap 'b0' for block device 'd0'", "kills-destination", "d0", "b0"),
    ("Unable to read bitmap alias string", "kills-destination", None, None),
    ("Unknown flags in migrated dirty bitmap header: 40", "kills-destination", None, None),
    ("../util/hbitmap.c:600: serialization_chunk: Assertion `x' failed.", "kills-destination", None, None),
    ("Bitmap 'b0' is inconsistent and cannot be used", "source-refuses", None, "b0"),
    ("Bitmap 'b0' is currently in use by another operation and cannot be used", "source-refuses", None, "b0"),
    ("Bitmap 'b0' is readonly and cannot be modified", "source-refuses", None, "b0"),
    ("Bitmap 'b0' in a node with auto-generated name '#block123' can't be migrated", "source-refuses", "#block123",
     "b0"),
    ("Cannot migrate bitmap 'b' on node 'n': Name is longer than 255 bytes", "source-refuses", "n", "b"),
    ("Lost persistent bitmaps during inactivation of node 'node0': No write access", "lost-at-shutdown", "node0",
     None),
    ("Could not reopen qcow2 layer: Bitmap already exists: b0", "activation-fails", None, "b0"),
    ("bdrv_inactivate_all() failed (-1)", "switch-over-fails", None, None),
    ("qemu_savevm_state_complete_precopy_non_iterable: bdrv_inactivate_all() failed: -1", "switch-over-fails", None,
     None),
    ("Error in migration completion: Bad address", "switch-over-fails", None, None),
    ("Block inactivate failed during switchover", "switch-over-fails", None, None),
    ("MIG_CMD 0xb unknown (len 0x0)", "not-for-this-vm", None, None),
    ("Unknown savevm section or instance '0000:00:04.0/virtio-blk' 0. Make sure", "not-for-this-vm", None, None),
    (
        "load of migration failed: Invalid argument: Unknown section or instance '0000:00:04.0/virtio-blk' 0",
        "not-for-this-vm",
        None,
        None,
    ),
    ("UUID received is 1 and local is 2", "not-for-this-vm", None, None),
    ("Machine type received is 'a' and local is 'b'", "not-for-this-vm", None, None),
    ("Unable to read node alias string", "stream-ended", None, None),
    ("check_section_footer: Read section footer failed: -5", "stream-ended", None, None),
    ("Channel error: Input/output error", "stream-ended", None, None),
    ("load of migration failed: Invalid argument", "stream-ended", None, None),
    ("All state is migrated except dirty bitmaps. Some dirty bitmaps may be lost, but any", "stream-ended", None,
     None),
]  # fmt: skip

#: What comes before a message: nothing, programs, `-msg timestamp=on,guest-name=on`, and libvirt's own times.
BEFORE = [
    "",
    "qemu-system-x86_64: ",
    "kvm: ",
    "2026-11-21T12:02:26.929564Z vm0 qemu-system-x86_64: ",
    "2026-11-21 12:02:26.929+0000: 2026-11-21T12:02:26.929564Z a b: c qemu-kvm: ",
]


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize(("message", "kind", "name", "bitmap"), MESSAGES)
def test_each_message(before: str, message: str, kind: str, name: str | None, bitmap: str | None) -> None:
    """Each message is known by what it is about and whom it names, whatever stands before it."""
    found = recognise(f"{before}{message}\r\n", 7)
    assert found is not None
    assert (found.kind, found.name, found.bitmap, found.line) == (kind, name, bitmap, 7)
    assert found.text in f"{before}{message}"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "qemu-system-x86_64: warning: host doesn't support requested feature",
        "the word bitmap alone says nothing",
        "qemu-system-x86_64: Unknown node alias 'n2",
        "xUnknown node alias 'n2'",
        f"Error: Unknown node alias '{'n' * 5000}'",
    ],
)
def test_other_lines(line: str) -> None:
    """What is none of these messages is not taken for one."""
    assert recognise(line) is None


def test_lines_are_counted() -> None:
    """Lines are numbered from 1 where the whole log was read, and not at all where only its tail was."""
    raw = b"noise\nq: Unknown node alias 'a'\nq: Unknown node alias 'b'"
    assert [(line.line, line.name) for line in parse(raw)] == [(2, "a"), (3, "b")]
    assert [(line.line, line.name) for line in parse(raw, whole=False)] == [(None, "a"), (None, "b")]
    assert parse(b"q: Unknown node alias 'half'\n", whole=False) == ()


def test_bytes_that_are_no_text() -> None:
    """A name that is no UTF-8 is shown with what Python puts in its place."""
    (line,) = parse(b"q: Unknown node alias '\xff'")
    assert line.name == "\ufffd"


def test_large_file(tmp_path: Path) -> None:
    """Of a large log only the end is read, and of many lines only the last are kept."""
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.write(b"q: Unknown node alias 'first'\n")
        file.seek(10 * TAIL)
        file.write(b"\n" + b"".join(b"q: Unknown node alias 'n%d'\n" % number for number in range(2 * LINES)))
    found = read(str(path))
    assert (len(found), found[0].name, found[-1].name) == (LINES, f"n{LINES}", f"n{2 * LINES - 1}")
    assert found[0].line is None


def test_pipe(tmp_path: Path) -> None:
    """What is piped in is read to its end, and its last lines count."""
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def write() -> None:
        with path.open("wb") as file:
            file.write(b"noise\n" * TAIL)
            file.write(b"q: Unknown node alias 'a'\n")

    writer = threading.Thread(target=write)
    writer.start()
    found = read(str(path))
    writer.join()
    assert [(line.line, line.name) for line in found] == [(None, "a")]


@pytest.mark.parametrize(
    "part",
    [
        "x: Unknown bitmap alias '" * 20 + "' on node '" * 80 + "' (alias '" * 60,
        ": Unknown bitmap alias '' on node '' (alias '" * 50,
        ": Cannot find device='' nor node-name='" * 60 + "x",
        ": Cannot migrate bitmap '' on node ''" * 60,
    ],
)
def test_hostile_lines(part: str) -> None:
    """Lines that are made to be hard take no time to speak of."""
    raw = (part[:2500].encode() + b"\n") * 20
    begin = time.monotonic()
    assert parse(raw) == ()
    assert time.monotonic() - begin < 5


def test_unreadable(tmp_path: Path) -> None:
    """A log that is not there, or is a folder, is a finding."""
    for path in (tmp_path / "nosuch", tmp_path, "\0"):
        with pytest.raises(CannotRunError) as error:
            read(str(path))
        assert [one.code for one in error.value.diagnostics] == ["BM814"]


_LOG = b"""q: Error: Unknown bitmap alias 'b1' on node 'n0' (alias 'n0')
q: Lost persistent bitmaps during inactivation of node 'n3': No write access
q: load of migration failed: Invalid argument
"""


@pytest.mark.parametrize(
    ("log", "names", "bitmaps", "shown"),
    [
        (_LOG, ["n0"], ["b1"], "Error: Unknown bitmap alias 'b1' on node 'n0' (alias 'n0')"),
        (_LOG, ["n0"], ["b2"], "Error: Unknown bitmap alias 'b1' on node 'n0' (alias 'n0')"),
        (_LOG, ["n3"], ["b2"], "Lost persistent bitmaps during inactivation of node 'n3': No write access"),
        (_LOG.splitlines()[1], ["n4"], ["b2"], None),
        (_LOG.splitlines()[2], ["n4"], ["b2"], "load of migration failed: Invalid argument"),
        (b"", ["n4"], ["b2"], None),
        (b"q: Unknown node alias 'a'\nq: Unknown node alias 'b'\n", ["a", None], ["x"], "Unknown node alias 'a'"),
        (b"q: Unknown node alias 'a'\nq: Unknown node alias 'b'\n", ["c"], ["x"], "Unknown node alias 'b'"),
    ],
)
def test_which_line_shows_it(log: bytes, names: list[str | None], bitmaps: list[str], shown: str | None) -> None:
    """The line that names the bitmap is shown, else one that takes all down; one about another node is not."""
    found = showing(parse(log), names, bitmaps)
    assert (found.text if found else None) == shown


def test_every_kind_is_tested() -> None:
    """Each message of the table is among those that are tried here."""
    tried = {pattern for text, *_ in MESSAGES for _, pattern in module._MESSAGES if pattern.search(text)}  # noqa: SLF001
    assert tried == {pattern for _, pattern in module._MESSAGES}  # noqa: SLF001

"""A size -> an empty qcow2 image, written here: so that a QEMU that waits for a migration needs no other one for it.

The layout is that of the specification of qcow2 (docs/interop/qcow2.txt in QEMU's sources): the header, the refcount
table, one refcount block, the L1 table, each from the beginning of a cluster.
"""

from __future__ import annotations

import struct

#: Bytes of the largest L1 table that QEMU takes.
_LARGEST_TABLE = 32 << 20
_SMALLEST, _LARGEST, _USUAL = 1 << 9, 1 << 21, 1 << 16
_SECTOR = 512

_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
#: What a header of version 3 has besides: no features, refcounts of 1 << 4 bits, its own length.
_MORE = struct.Struct(">QQQII")


def empty(size: int, *, compat: str | None, cluster: int | None = None) -> tuple[dict[int, bytes], int] | None:
    """An image of `size` bytes: what is not zero of its file, by the place, and the length of the file.

    `compat` is the version of the format, as `qemu-img` calls it: `0.10`, or a newer one. `cluster` is the size of its
    clusters, in bytes. None where one refcount block does not do, and for what is no size.
    """
    cluster = cluster or _USUAL
    if size <= 0 or size % _SECTOR or not _SMALLEST <= cluster <= _LARGEST or cluster & (cluster - 1):
        return None
    entries = -(-size // (cluster // 8 * cluster))
    used = 3 + -(-entries * 8 // cluster)
    if entries * 8 > _LARGEST_TABLE or used * 2 > cluster:
        return None
    table, block, first = cluster, 2 * cluster, 3 * cluster
    old, bits = compat == "0.10", cluster.bit_length() - 1
    header = _HEADER.pack(b"QFI\xfb", 2 if old else 3, 0, 0, bits, size, 0, entries, first, table, 1, 0, 0)
    if not old:
        header += _MORE.pack(0, 0, 0, 4, _HEADER.size + _MORE.size)
    parts = {0: header, table: struct.pack(">Q", block), block: struct.pack(">H", 1) * used}
    # as QEMU itself leaves it, the file ends with the sector in which the L1 table ends
    return parts, first + -(-entries * 8 // _SECTOR) * _SECTOR

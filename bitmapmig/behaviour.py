"""QEMU versions -> behaviour that no query shows: the one table by version.

Everything that a query does show is probed, never looked up here, since distributors backport. Measured on the versions
that are named; between two of them both must agree, else the harmful outcome is assumed; beyond the first and the last
the nearest one counts. A plan lists each use in `assumed_from_version`.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

Version: TypeAlias = tuple[int, int, int]


_MEASURED = ((5, 2), (7, 2), (10, 0), (11, 1))


class Behaviour(NamedTuple):
    """What harms, and the measured versions (major, minor) on which it does."""

    name: str
    harmful: frozenset[tuple[int, int]]

    def harms(self, version: Version) -> bool:
        """Whether it harms on `version`, measured or assumed."""
        known = version[:2]
        below = [at for at in _MEASURED if at <= known]
        above = [at for at in _MEASURED if at >= known]
        return any(neighbour in self.harmful for neighbour in below[-1:] + above[:1])


#: A job of this type that still runs makes the inactivation of block nodes fail at the switch-over.
JOBS = {
    "commit": Behaviour("commit-job-stops-switch-over", frozenset(_MEASURED)),
    "backup": Behaviour("backup-job-stops-switch-over", frozenset(_MEASURED[1:])),
    "stream": Behaviour("stream-job-stops-switch-over", frozenset(_MEASURED[:1])),
}
#: A filter of this driver, whether a job owns it or not, makes the inactivation of block nodes fail.
FILTERS = {"copy-before-write": Behaviour("copy-before-write-stops-switch-over", frozenset(_MEASURED[1:]))}

#: `query-named-block-nodes` kills the process while a backup job that has concluded is not yet dismissed.
LISTING_AFTER_BACKUP = Behaviour("listing-nodes-after-backup-kills", frozenset(_MEASURED[:1]))

#: After a migration a node below no backend stays inactive while other nodes have one: nothing is stored in its image.
BARE_NODES_STAY_INACTIVE = Behaviour("nodes-without-backend-stay-inactive", frozenset(_MEASURED[2:3]))
#: Bitmaps that qcow2 stores when it is inactivated make its file grow; a bitmap of the file that migrates then aborts.
STORING_GROWS_THE_FILE = Behaviour("storing-bitmaps-grows-the-file", frozenset(_MEASURED[2:]))
#: A preallocate filter below a format makes the inactivation of block nodes fail.
PREALLOCATE_BELOW_FORMAT = Behaviour("preallocate-below-format-stops-switch-over", frozenset(_MEASURED[2:]))
#: What blocks a migration is not told by `query-migrate`.
BLOCKERS_UNTOLD = Behaviour("blocked-reasons-are-not-told", frozenset(_MEASURED[:1]))
#: Formats that block a migration while an image of theirs is open.
BLOCKING_FORMATS = frozenset(("qcow", "vdi", "vhdx", "vmdk", "vpc"))

_OLD, _NEW = (7, 2), (10, 0)


def downward_fails(source: Version, destination: Version) -> bool:
    """Whether QEMU `source` may send what `destination` does not know, without one versioned machine type on both.

    Measured: from 10.0 or newer to 7.2 or older (`MIG_CMD 0xb unknown`). Versions between the two are taken for newer
    as sources and for older as destinations.
    """
    return source[:2] > destination[:2] and source[:2] > _OLD and destination[:2] < _NEW

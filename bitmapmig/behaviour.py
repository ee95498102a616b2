"""QEMU versions -> behaviour that no query shows: the one table by version.

Everything that a query does show is probed, never looked up here, since distributors backport. Measured on the versions
that are named; between two of them both must agree, else the harmful outcome is assumed; beyond the first and the last
the nearest one counts. A plan lists each use in `assumed_from_version`. What a profile says of the very build of QEMU
(`bitmapmig.profile`) goes before the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

Version: TypeAlias = tuple[int, int, int]
#: Major and minor version.
Release: TypeAlias = tuple[int, int]


#: On which releases it was measured what QEMU does.
MEASURED = ((5, 2), (7, 2), (10, 0), (11, 1))


@dataclass(frozen=True, slots=True)
class Conduct:
    """By what it is known how one QEMU behaves: its version, and what was `measured` of this very build.

    `measured` is name of a behaviour -> whether it harms; a name that is no behaviour's is never asked for.
    """

    version: Version
    measured: Mapping[str, bool] = field(default_factory=dict, hash=False)


class Behaviour(NamedTuple):
    """What harms, and the measured versions (major, minor) on which it does."""

    name: str
    harmful: frozenset[tuple[int, int]]

    def harms(self, conduct: Conduct) -> bool:
        """Whether it harms on a QEMU: as was measured of it, else as its version says."""
        measured = conduct.measured.get(self.name)
        return self.assumed(conduct.version) if measured is None else measured

    def assumed(self, version: Version) -> bool:
        """Whether it harms on `version`, measured or assumed."""
        known = version[:2]
        below = [at for at in MEASURED if at <= known]
        above = [at for at in MEASURED if at >= known]
        return any(neighbour in self.harmful for neighbour in below[-1:] + above[:1])


#: A job of this type that still runs makes the inactivation of block nodes fail at the switch-over.
JOBS = {
    "commit": Behaviour("commit-job-stops-switch-over", frozenset(MEASURED)),
    "backup": Behaviour("backup-job-stops-switch-over", frozenset(MEASURED[1:])),
    "stream": Behaviour("stream-job-stops-switch-over", frozenset(MEASURED[:1])),
}
#: A filter of this driver, whether a job owns it or not, makes the inactivation of block nodes fail.
FILTERS = {"copy-before-write": Behaviour("copy-before-write-stops-switch-over", frozenset(MEASURED[1:]))}

#: The inactivation goes through the own backends of jobs and exports: one on nodes that it does not reach counts too.
UNREACHED_JOB = Behaviour("unreached-job-stops-switch-over", frozenset(MEASURED[:1]))

#: `query-named-block-nodes` kills the process while a job of this type that has concluded is not yet dismissed.
LISTING_AFTER = {
    "backup": Behaviour("listing-nodes-after-backup-kills", frozenset(MEASURED[:1])),
    "stream": Behaviour("listing-nodes-after-stream-kills", frozenset(MEASURED[1:2])),
}

#: A node below no backend is neither inactivated nor activated while others have one: nothing is stored in its image.
BARE_NODES_PASSED_OVER = Behaviour("nodes-without-backend-are-passed-over", frozenset(MEASURED[2:3]))
#: Bitmaps that qcow2 stores when it is inactivated make its file grow; a bitmap of the file that migrates then aborts.
STORING_GROWS_THE_FILE = Behaviour("storing-bitmaps-grows-the-file", frozenset(MEASURED[2:]))
#: A preallocate filter below a format makes the inactivation of block nodes fail.
PREALLOCATE_BELOW_FORMAT = Behaviour("preallocate-below-format-stops-switch-over", frozenset(MEASURED[2:]))
#: A persistent bitmap that arrives on a read-only node ends the process; before, it is kept in memory and lost later.
READ_ONLY_NODE_KILLS = Behaviour("persistent-bitmap-on-read-only-node-kills", frozenset(MEASURED[3:]))
#: What blocks a migration is not told by `query-migrate`.
BLOCKERS_UNTOLD = Behaviour("blocked-reasons-are-not-told", frozenset(MEASURED[:1]))
#: Formats that block a migration while an image of theirs is open.
BLOCKING_FORMATS = frozenset(("qcow", "vdi", "vhdx", "vmdk", "vpc"))

#: The bits of bitmaps are sent before block nodes are inactivated: they meet the destination even if that fails.
BITS_BEFORE_INACTIVATION = Behaviour("bits-are-sent-before-inactivation", frozenset(MEASURED[:2]))
#: A mirror that still runs may write to inactive nodes once the source has handed over, and abort it.
MIRROR_MAY_ABORT = Behaviour("mirror-may-abort-the-source-after-the-switch-over", frozenset(MEASURED[1:2]))

# what is printed, which decides nothing

NODE_NAMES_SPELLED_OLD = Behaviour("node-names-are-spelled-with-underscore", frozenset(MEASURED[:1]))
INACTIVATION_SPELLED_OLD = Behaviour("failed-inactivation-has-its-status-in-brackets", frozenset(MEASURED[:2]))
SENDS_FOOTER_OF_FAILED_SECTION = Behaviour("footer-is-sent-after-a-section-that-failed", frozenset(MEASURED[2:3]))
#: The bitmap of a preallocate filter is written beyond its end before it is made larger.
PREALLOCATE_WRITES_BEYOND = Behaviour("preallocate-writes-beyond-its-bitmap", frozenset(MEASURED[3:]))
HINTS_AT_REMOVAL = Behaviour("inconsistent-bitmap-comes-with-a-hint", frozenset(MEASURED[1:]))

#: Every behaviour, in the order of this module.
ALL: tuple[Behaviour, ...] = (
    *JOBS.values(),
    *FILTERS.values(),
    UNREACHED_JOB,
    *LISTING_AFTER.values(),
    BARE_NODES_PASSED_OVER,
    STORING_GROWS_THE_FILE,
    PREALLOCATE_BELOW_FORMAT,
    READ_ONLY_NODE_KILLS,
    BLOCKERS_UNTOLD,
    BITS_BEFORE_INACTIVATION,
    MIRROR_MAY_ABORT,
    NODE_NAMES_SPELLED_OLD,
    INACTIVATION_SPELLED_OLD,
    SENDS_FOOTER_OF_FAILED_SECTION,
    PREALLOCATE_WRITES_BEYOND,
    HINTS_AT_REMOVAL,
)
BY_NAME: Mapping[str, Behaviour] = {one.name: one for one in ALL}

_OLD, _NEW = (7, 2), (10, 0)


def downward_fails(source: Version, destination: Version) -> bool:
    """Whether QEMU `source` may send what `destination` does not know, without one versioned machine type on both.

    Measured: from 10.0 or newer to 7.2 or older (`MIG_CMD 0xb unknown`). Versions between the two are taken for newer
    as sources and for older as destinations. A profile is of one program and says nothing of two, so only versions
    count.
    """
    return source[:2] > destination[:2] and source[:2] > _OLD and destination[:2] < _NEW

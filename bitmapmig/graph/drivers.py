"""Block drivers by what QEMU does with them; no query shows it."""

from __future__ import annotations

#: Drivers that `init_dirty_bitmap_migration` walks through (`BlockDriver.is_filter`); measured, no query shows it.
FILTERS = frozenset(
    (
        "throttle",
        "copy-on-read",
        "blkdebug",
        "blklogwrites",
        "blkreplay",
        "mirror_top",
        "commit_top",
        "backup-top",
        "copy-before-write",
        "preallocate",
        "compress",
        "replication",
    )
)
#: Drivers with children that are known to be no filters.
NOT_FILTERS = frozenset(
    (
        "blkverify",
        "bochs",
        "cloop",
        "dmg",
        "luks",
        "parallels",
        "qcow",
        "qcow2",
        "qed",
        "quorum",
        "raw",
        "snapshot-access",
        "vdi",
        "vhdx",
        "vmdk",
        "vpc",
        "vvfat",
    )
)
#: Protocol drivers, which have no children.
LEAVES = frozenset(
    (
        "file",
        "ftp",
        "ftps",
        "gluster",
        "host_cdrom",
        "host_device",
        "http",
        "https",
        "io_uring",
        "iscsi",
        "nbd",
        "nfs",
        "null-aio",
        "null-co",
        "nvme",
        "nvme-io_uring",
        "rbd",
        "sheepdog",
        "ssh",
        "virtio-blk-vfio-pci",
        "virtio-blk-vhost-user",
        "virtio-blk-vhost-vdpa",
    )
)
#: Filters that a block job inserts by itself; auto-named, `query-block` hides some of them (see `implicit`).
JOB_FILTERS = frozenset(("mirror_top", "commit_top", "backup-top", "copy-before-write", "copy-on-read"))
#: Roles under which a filter holds the child that it filters, in order of preference.
FILTERED_ROLES = ("file", "backing", "image")
#: Drivers that may have children besides the one that `query-blockstats` shows.
SEVERAL_CHILDREN = frozenset(
    ("quorum", "blkverify", "blklogwrites", "replication", "vmdk", "backup-top", "copy-before-write")
)
#: Roles through which no write of the guest is passed on, whatever the parent: they take a log, or old data.
NO_WRITE_ROLES = frozenset(("target", "log"))

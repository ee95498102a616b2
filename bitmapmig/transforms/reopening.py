"""Nodes that become read-only, or writable, while they are open, and what that does to their bitmaps.

Sources: `bdrv_reopen_queue_child`, `qcow2_store_persistent_dirty_bitmaps`, `qcow2_reopen_bitmaps_rw`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig.graph import NOT_FILTERS, StoredBitmap

if TYPE_CHECKING:
    from bitmapmig.graph import Node
    from bitmapmig.qapi import NodeName
    from bitmapmig.transforms.draft import Draft


def switched(draft: Draft, node: NodeName, *, read_only: bool, but: frozenset[str] = frozenset()) -> None:
    """Make a node read-only or writable, and with it the children that were opened inside its options.

    A node that turns read-only stores its persistent bitmaps; QEMU then holds them read-only, and the stored copies are
    no longer in use. One that turns writable marks them in use again. Transient bitmaps do not notice, and go on.
    Children in a role of `but` are left as they are.
    """
    waiting = [node]
    for at in waiting:
        there = draft.nodes[at]
        if there.read_only != read_only:
            draft.change(at, read_only=read_only, stored=_stored(there, read_only=read_only))
        for role, child in draft.children[at].items():
            inherits = not draft.held(child) and not (role == "backing" and there.driver in NOT_FILTERS)
            if inherits and not (at == node and role in but) and child not in waiting:
                waiting.append(child)


def _stored(node: Node, *, read_only: bool) -> tuple[StoredBitmap, ...] | None:
    if node.stored is None:
        return None
    if not read_only:
        return tuple(StoredBitmap(one.name, one.granularity, in_use=True) for one in node.stored)
    found = {one.name: one for one in node.stored}
    for one in node.bitmaps:
        if one.persistent and not one.inconsistent:
            found[one.name] = StoredBitmap(one.name, one.granularity, in_use=False)
    return tuple(sorted(found.values()))

"""What becomes of bitmaps when an image is opened, and when it is closed in order.

Only qcow2 stores bitmaps. Sources: `qcow2_load_dirty_bitmaps`, `qcow2_store_persistent_dirty_bitmaps`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bitmapmig.graph import Bitmap, StoredBitmap

if TYPE_CHECKING:
    from bitmapmig.graph import Node
    from bitmapmig.qapi import NodeName
    from bitmapmig.transforms.draft import Draft


def unloaded(node: Node) -> tuple[StoredBitmap, ...]:
    """The bitmaps that are in the image and not in memory: those of an image that is not active yet."""
    return tuple(one for one in node.stored or () if node.bitmap(one.name) is None)


def load(draft: Draft, name: NodeName) -> None:
    """Take the bitmaps of an image into memory, beside those that are there.

    One that is marked in use is inconsistent. Of a clean one the image tells neither whether it records nor how dirty
    it is: both are as they were in the graph before, and without that the operation is not simulated. While a writable
    image is open, what was loaded from it is marked in use.
    """
    node, known = draft.nodes[name], draft.before.nodes.get(name)
    found = list(node.bitmaps)
    for one in unloaded(node):
        was = known.bitmap(one.name) if known else None
        if one.in_use:
            found.append(_inconsistent(one))
        elif was is None or not was.persistent or was.inconsistent:
            draft.not_simulated(
                f"the image of {name!r} holds the bitmap {one.name!r}, and whether that records and how dirty it is "
                "is not known before the image is active",
                node=name,
            )
        else:
            found.append(replace(was, busy=False))
    draft.set_bitmaps(name, tuple(sorted(found)))
    if node.stored is not None and not node.read_only:
        draft.change(name, stored=tuple(replace(one, in_use=True) for one in node.stored))


def store(draft: Draft, name: NodeName) -> None:
    """Store the persistent bitmaps of a node that is closed; what cannot be stored is lost.

    The image of a read-only node stays as it is, and so does an inconsistent bitmap in any image.
    """
    node = draft.nodes[name]
    if node.stored is None or node.read_only:
        return
    kept = [one for one in node.stored if (there := node.bitmap(one.name)) is None or there.inconsistent]
    kept += [
        StoredBitmap(one.name, one.granularity, in_use=False)
        for one in node.bitmaps
        if one.persistent and not one.inconsistent
    ]
    draft.change(name, stored=tuple(sorted(kept)))


def _inconsistent(stored: StoredBitmap) -> Bitmap:
    return Bitmap(
        stored.name,
        stored.granularity,
        count=0,
        recording=False,
        busy=False,
        persistent=True,
        inconsistent=True,
    )

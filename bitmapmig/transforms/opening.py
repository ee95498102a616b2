"""The image that `drive-mirror` or `drive-backup` opens for its target, and creates unless it is there already.

Sources: `qmp_drive_mirror`, `do_drive_backup`, `bdrv_img_create`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from bitmapmig.graph import Node
from bitmapmig.graph.drivers import FILTERS
from bitmapmig.qapi import NodeName

if TYPE_CHECKING:
    from bitmapmig.transforms.draft import Draft

#: Formats of which it is known what a new image of theirs is: the version of the format, and the bitmaps in it.
_NEW = {"qcow2": ("1.1", ()), "raw": (None, None)}
_PROTOCOLS = {"file": "file", "nbd": "nbd", "nbd+tcp": "nbd", "nbd+unix": "nbd"}
_PROTOCOL = re.compile(r"([A-Za-z0-9+.-]+):")


def driver(draft: Draft, source: NodeName, given: str | None, *, new: bool) -> str:
    """The format of the image: as given, else that of the source.

    Not simulated for an image that is there already and is not raw, since no graph tells what is in it, and for formats
    that were not measured.
    """
    if not new:
        if given != "raw":
            draft.not_simulated("what is in an image that is there already: of a raw one alone it is known")
        return given
    found = given or draft.nodes[source].driver
    if found in FILTERS:
        draft.refuse(f"the driver {found!r} creates no images")
    if found not in _NEW:
        draft.not_simulated(f"a new image of the format {found!r}")
    return found


def opened(draft: Draft, source: NodeName, file: str, driver: str, name: str | None = None) -> NodeName:
    """The node of an image as large as `source`, and that of the file that it is in, which is auto-named."""
    found = _PROTOCOL.match(file)
    protocol = _PROTOCOLS.get(found[1]) if found else "file"
    if protocol is None or file.startswith("/dev/"):
        draft.not_simulated(f"by which driver {file!r} is opened")
    below = draft.add(Node(draft.generated(), protocol, of_monitor=False))
    compat, stored = _NEW[driver]
    node = Node(
        draft.generated() if name is None else NodeName(name),
        driver,
        virtual_size=draft.nodes[source].virtual_size,
        stored=stored,
        compat=compat,
        of_monitor=False,
    )
    return draft.add(node, {"file": below})


def anew(draft: Draft, image: NodeName) -> NodeName:
    """The node of an image that is opened once more, read-only, with its file and the backing images below it.

    Not simulated where a chain is of more than formats and files, or where bitmaps are stored in it.
    """
    there, below = draft.nodes[image], draft.children[image]
    simple = below.keys() <= {"file", "backing"} and (there.driver in _NEW or not below)
    if not simple or there.stored or there.bitmaps:
        draft.not_simulated(f"what comes of opening {image!r} once more", node=image)
    children = {role: anew(draft, child) for role, child in sorted(below.items(), reverse=True)}
    return draft.add(replace(there, name=draft.generated(), read_only=True, of_monitor=False), children)

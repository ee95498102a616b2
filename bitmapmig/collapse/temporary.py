"""The names of temporaries: the bitmaps that a plan makes itself, and that are nobody's but this package's."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from bitmapmig.qapi import BitmapName

if TYPE_CHECKING:
    from bitmapmig.graph import Node

_PREFIX = "bitmapmig-tmp-"
_TEMPORARY = re.compile(rf"{_PREFIX}[0-9a-f]{{16}}\Z")


def is_temporary(name: str) -> bool:
    """Whether a bitmap's name is one that this package gives, and nobody else would."""
    return bool(_TEMPORARY.match(name))


def temporary_name(node: Node, bitmap: str) -> BitmapName:
    """The name of the temporary that `bitmap` is merged into: always the same, and none that is there already."""
    taken = {one.name for one in node.bitmaps} | {one.name for one in node.stored or ()}
    number = 0
    while True:
        text = f"{node.name}\0{bitmap}\0{number}"
        name = BitmapName(_PREFIX + hashlib.sha256(text.encode()).hexdigest()[:16])
        if name not in taken:
            return name
        number += 1

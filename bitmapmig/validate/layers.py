"""Layers of a backing chain whose bitmaps stay behind, while the top's goes to a flat image.

What was written is recorded in pieces, one in each layer; whoever takes the top's piece for the whole loses the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitmapmig import codes
from bitmapmig.collapse import chains, is_flat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.diagnostics import Diagnostic
    from bitmapmig.validate.situation import Situation


def check(situation: Situation) -> Iterator[Diagnostic]:
    """Findings about chains (BM578).

    It is advice: an entry of the policy has left them behind, and the top's may hold what they do, as it does where it
    was merged with them at the snapshot. No query tells that.
    """
    alone = {(one.source.name, one.bitmap.name): one for one in situation.pairs if one.merge is None}
    left = {
        (one.resolved.node.name, one.resolved.bitmap.name)
        for one in situation.decisions
        if one.action == "leave-behind"
    }
    for chain in chains(situation.before) if alone and left else ():
        one = alone.get((chain.top, chain.name))
        layers = [node for node in chain.nodes[1:] if (node, chain.name) in left]
        if one is None or not layers or not is_flat(situation.destination.graph, one.destination.name):
            continue
        names: dict[str, Any] = {"bitmap": chain.name, "top": chain.top, "destination": one.destination.name}
        yield codes.LAYERS_LEFT_BEHIND.at(one.where, **names, layers=layers)

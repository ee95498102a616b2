"""Pairs that are merged -> what the plan document says of them, the commands that merge, and those that clean up.

The merge is one transaction: all temporaries are there with everything merged into them, or none is. Sources: QAPI
`transaction`, `BlockDirtyBitmapAdd`, `BlockDirtyBitmapMerge`, `BlockDirtyBitmap`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitmapmig.plans.document import Command, Merge, MergeSource, Residue, Transform

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from bitmapmig.plans.mapping import Maps
    from bitmapmig.validate import Situation


def merges(situation: Situation, made: Maps) -> tuple[Merge, ...]:
    """The merges of a plan, in the order of their temporaries."""
    aliases = made.aliases
    found = [
        Merge(
            node=one.source.name,
            temporary=one.bitmap.name,
            sources=tuple(MergeSource(node=node, bitmap=bitmap) for node, bitmap in one.merge.places),
            destination_node=one.destination.name,
            destination_bitmap=one.name,
            node_alias=aliases[one.source.name, one.bitmap.name][0],
            bitmap_alias=aliases[one.source.name, one.bitmap.name][1],
            transform=None if one.transform is None else Transform(persistent=one.transform),
            granularity=one.bitmap.granularity,
            virtual_size=one.source.virtual_size,
            dirty_bytes=one.bitmap.count,
        )
        for one in situation.pairs
        if one.merge is not None
    ]
    return tuple(sorted(found, key=lambda one: one.place))


def merge_commands(planned: Iterable[Merge], there: Collection[tuple[str, str]] = frozenset()) -> tuple[Command, ...]:
    """The transaction that makes the temporaries; those that are `there` already are cleared and merged anew."""
    actions = [action for one in planned for action in _actions(one, again=one.place in there)]
    return (Command(execute="transaction", arguments={"actions": actions}),) if actions else ()


def _actions(one: Merge, *, again: bool) -> Iterator[dict[str, Any]]:
    own: dict[str, Any] = {"node": one.node, "name": one.temporary}
    if again:
        yield {"type": "block-dirty-bitmap-clear", "data": own}
    else:
        new = {**own, "granularity": one.granularity, "persistent": False}
        yield {"type": "block-dirty-bitmap-add", "data": new}
    sources = [{"node": source.node, "name": source.bitmap} for source in one.sources]
    into = {"node": one.node, "target": one.temporary, "bitmaps": sources}
    yield {"type": "block-dirty-bitmap-merge", "data": into}


def remove(node: str, bitmap: str) -> Command:
    """`block-dirty-bitmap-remove`."""
    return Command(execute="block-dirty-bitmap-remove", arguments={"node": node, "name": bitmap})


def leftovers(planned: Iterable[Merge]) -> Iterator[Residue]:
    """The temporaries, which stay on the source whatever becomes of the migration."""
    for one in planned:
        message = f"the temporary bitmap {one.temporary!r} stays on {one.node!r}"
        commands = (remove(*one.place),)
        yield Residue(side="source", what="temporary-bitmap", message=message, commands=commands)

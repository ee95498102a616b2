"""Plan -> what is to be sent; here a plan is turned away that is not to be carried out at all.

A plan document comes from a file. What is sent is made from its merges and maps; the commands that it spells out for
people must be the same, else somebody has edited one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig import codes
from bitmapmig.collapse import is_temporary
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.plans.document import Commands
from bitmapmig.plans.mapping import set_capability, set_mapping
from bitmapmig.plans.merging import merge_commands
from bitmapmig.whereabouts import check_plan

if TYPE_CHECKING:
    from bitmapmig.plans import Plan
    from bitmapmig.plans.document import Command


def commands(plan: Plan) -> Commands:
    """What the maps of a plan take to be set, made from these and not from what the document says to send.

    Raises `CannotRunError` where the plan is not to be applied (BM704, BM705), or says otherwise (BM706).
    """
    check_plan(plan)
    maps = plan.block_bitmap_mapping
    made = Commands(
        destination=() if maps.destination is None else (set_mapping(maps.destination),),
        source=(*merge_commands(plan.merges), set_mapping(maps.source), set_capability(state=True))
        if maps.source is not None
        else _off(plan),
    )
    if not _merged(plan):
        raise CannotRunError(
            codes.PLAN_ALTERED.at(Where(), what="it does not merge the bitmaps that it says are merged")
        )
    if made != plan.commands:
        raise CannotRunError(codes.PLAN_ALTERED.at(Where(), what="its commands are not those that set its maps"))
    planned = {(one.node, one.bitmap): (one.node_alias, one.bitmap_alias) for one in plan.travelling if one.node_alias}
    mapped = {
        (entry.node_name, one.name): (entry.alias, one.alias) for entry in maps.source or () for one in entry.bitmaps
    }
    if planned != mapped or any((one.fate == "migrate") != (one.node_alias is not None) for one in plan.bitmaps):
        raise CannotRunError(codes.PLAN_ALTERED.at(Where(), what="its map does not hold the bitmaps that migrate"))
    return made


def _merged(plan: Plan) -> bool:
    """Whether each bitmap that is said to be merged is, once, and into a temporary on the node of the first."""
    said = sorted((one.node, one.bitmap) for one in plan.bitmaps if one.fate == "merged")
    done = sorted((one.node, one.bitmap) for merge in plan.merges for one in merge.sources)
    names = all(is_temporary(one.temporary) and one.sources and one.sources[0].node == one.node for one in plan.merges)
    return names and said == done and len(plan.temporaries) == len(plan.merges)


def _off(plan: Plan) -> tuple[Command, ...]:
    """Where no bitmap migrates, a capability that is on is turned off."""
    off = set_capability(state=False)
    return (off,) if plan.commands.source == (off,) else ()

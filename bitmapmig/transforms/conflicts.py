"""A change of the graph -> whether it brings users of one node together that exclude each other.

Source: `bdrv_refresh_perms`, which QEMU runs over what a change touches and which takes all of it back where it fails.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from bitmapmig.graph.drivers import FILTERS
from bitmapmig.transforms.permissions import Users

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bitmapmig.qapi import NodeName
    from bitmapmig.transforms.draft import Draft
    from bitmapmig.transforms.permissions import User


_COPYING = "copy-on-read"


class _Conflict(NamedTuple):
    """Two that exclude each other, by what they are called: they are the same two wherever they meet."""

    writer: str
    other: str
    certain: bool


@contextmanager
def none_new(draft: Draft) -> Iterator[None]:
    """Let the graph change; refuse where that brings a conflict, those that were there before do not count.

    Not simulated where it depends on what no query shows.
    """
    before = _conflicts(draft).keys()
    yield
    for (writer, other, certain), node in sorted(_conflicts(draft).items()):
        if not any((writer, other, known) in before for known in (certain, True)):
            words = f"{writer} writes to {node!r}, and {other} does not allow that"
            if certain:
                draft.refuse(words, node=node)
            draft.not_simulated(f"{writer} and {other} use {node!r}, and whether both may is not known", node)


def _conflicts(draft: Draft) -> dict[_Conflict, NodeName]:
    users, copying = Users(draft), _copying(draft)
    return {found: node for node in draft.nodes for found in _on(draft, node, users.of(node), copying.get(node, ()))}


def _on(draft: Draft, node: NodeName, uses: Sequence[User], copying: Sequence[NodeName]) -> Iterator[_Conflict]:
    if draft.nodes[node].read_only:
        words = f"the node {node!r}, read-only,"
        yield from (_Conflict(one.words, words, certain=True) for one in uses if one.writes)
        yield from (_Conflict(f"the node {above!r}", words, certain=True) for above in copying)
    for one in uses:
        for other in uses:
            if one is not other and one.writes is not False and other.shares_writes is not True:
                yield _Conflict(one.words, other.words, certain=bool(one.writes) and other.shares_writes is False)


def _copying(draft: Draft) -> Mapping[NodeName, Sequence[NodeName]]:
    """The copy-on-read filters that write what they read to a node, maybe through other filters."""
    found: defaultdict[NodeName, list[NodeName]] = defaultdict(list)
    for above in [name for name, node in draft.nodes.items() if node.driver == _COPYING]:
        waiting = dict.fromkeys(draft.children[above].values())
        while waiting:
            below = next(iter(waiting))
            del waiting[below]
            found[below].append(above)
            passes = draft.nodes[below].driver in (FILTERS | {"raw"}) - {_COPYING}
            if passes and "file" in draft.children[below]:
                waiting[draft.children[below]["file"]] = None
    return found

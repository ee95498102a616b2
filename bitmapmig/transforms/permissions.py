"""Who writes to a node, and who lets others write to it: QEMU's permissions, as far as the graph tells them.

Each user of a node takes permissions on it and says which ones it shares with others; two users that do not agree are
refused. Sources: `blkconf_apply_backend_options`, `bdrv_default_perms`, `blk_exp_add`, `bdrv_parent_perms_conflict`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bitmapmig.graph.drivers import FILTERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bitmapmig.graph import Node
    from bitmapmig.qapi import NodeName
    from bitmapmig.transforms.draft import Draft

#: Drivers that ask of their child what is asked of them; raw does where it neither shifts nor cuts its child.
_PASSING = FILTERS | {"raw"}
#: Roles under which the image itself is held.
_IMAGE_ROLES = ("file", "data-file")


class User(NamedTuple):
    """A user of a node: in words, whether it writes, and whether others may; None where no query shows it."""

    words: str
    writes: bool | None
    shares_writes: bool | None


def refuse_excluded(draft: Draft, node: NodeName, *, writes: bool, shares_writes: bool) -> None:
    """Refuse a new user of `node` where it and one that is there exclude each other.

    What it asks of `node` goes on to what is below that. Not simulated where it depends on what no query shows: whether
    a guest device has `share-rw`, what a job does.
    """
    users = Users(draft)
    waiting: list[tuple[NodeName, bool, NodeName | None]] = [(node, writes, None)]
    for at, asks, above in waiting:
        _refuse_any(draft, at, users.of(at), above, writes=asks, shares_writes=shares_writes)
        below = draft.children[at]
        if draft.nodes[at].driver in _PASSING:
            found = [(child, asks, at) for role, child in below.items() if role != "target"]
        else:
            found = [(child, False, at) for role, child in below.items() if role == "backing"]
        waiting += [one for one in found if one not in waiting]


def _refuse_any(
    draft: Draft, node: NodeName, users: Iterable[User], above: NodeName | None, *, writes: bool, shares_writes: bool
) -> None:
    for user in users:
        if above is not None and user.words == _parent(above):
            continue
        against = [user.shares_writes] if writes else []
        if not shares_writes:
            against.append(None if user.writes is None else not user.writes)
        if False in against:
            draft.refuse(f"{user.words} uses {node!r} too, and one of both does not let the other write", node=node)
        if None in against:
            draft.not_simulated(f"{user.words} uses {node!r} too, and whether both may is not known", node)


class Users:
    """Who uses which node of a draft, as long as that does not change.

    What a node asks of its child depends on who uses the node: each is looked at once, those above before those below.
    A CD drive over a node that is writable is taken for a disk. A device of `-drive` that no guest device uses asks for
    nothing.
    """

    def __init__(self, draft: Draft) -> None:
        """Look at nothing yet."""
        self._draft = draft
        self._found: dict[NodeName, tuple[User, ...]] = {}

    def of(self, node: NodeName) -> tuple[User, ...]:
        """Everything that uses a node."""
        waiting = [node]
        while waiting:
            above = [parent for parent, _ in self._draft.parents(waiting[-1]) if parent not in self._found]
            if above:
                waiting += above
            else:
                at = waiting.pop()
                self._found[at] = (*_not_nodes(self._draft, at), *self._nodes(at))
        return self._found[node]

    def _nodes(self, node: NodeName) -> Iterator[User]:
        for parent, role in self._draft.parents(node):
            yield User(_parent(parent), *_through(self._draft.nodes[parent], role, self._found[parent]))


def _not_nodes(draft: Draft, node: NodeName) -> Iterator[User]:
    """The backends, exports and jobs that use a node."""
    writable = not draft.nodes[node].read_only
    for one in draft.backends:
        if one.root == node and one.qdev:
            yield User(f"the guest device {one.qdev!r}", writable, None)
        elif one.root == node:
            yield User(f"the device {one.device!r}", writes=False, shares_writes=True)
    for export in draft.exports.values():
        if export.node == node:
            yield User(f"the export {export.id!r}", export.writable, shares_writes=True)
    for job in draft.jobs.values():
        if node in job.nodes and job.active:
            yield User(f"the job {job.id!r}", None, None)


def holds_image(draft: Draft, node: NodeName) -> NodeName | None:
    """The writable node that has its image in `node`, and so may change the size of it."""
    return next(
        (
            parent
            for parent, role in draft.parents(node)
            if role in _IMAGE_ROLES and draft.nodes[parent].driver not in _PASSING and not draft.nodes[parent].read_only
        ),
        None,
    )


def _parent(node: NodeName) -> str:
    return f"the node {node!r}"


def _through(there: Node, role: str, above: Iterable[User]) -> tuple[bool | None, bool | None]:
    """What a node with the users `above` asks of a child: whether it writes, and whether others may."""
    writes, shares = _any(one.writes for one in above), _all(one.shares_writes for one in above)
    if there.driver in _PASSING and role != "target":
        return writes, shares
    if role == "backing":
        return False, shares
    if role in _IMAGE_ROLES:
        return not there.read_only, False
    return None, None


def _any(found: Iterator[bool | None]) -> bool | None:
    """Whether one is true; None where that depends on what is not known."""
    known = list(found)
    return True if True in known else None if None in known else False


def _all(found: Iterator[bool | None]) -> bool | None:
    known = list(found)
    return False if False in known else None if None in known else True

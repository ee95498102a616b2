"""The QMP commands on bitmaps that recipes are made of, and what a node allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pydantic import JsonValue

from bitmapmig.qapi import NodeName
from bitmapmig.recipes.document import RecipeCommand, RecipeEvent, RecipeStep

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bitmapmig.graph import Bitmap, BlockGraph, Node

#: An action of a transaction (QAPI `TransactionAction`).
Action: TypeAlias = dict[str, JsonValue]


def action(kind: str, **data: JsonValue) -> Action:
    """An action; `_` in the names of its data stands for `-`."""
    return {"type": kind, "data": {key.replace("_", "-"): value for key, value in data.items()}}


def add(
    node: str, bitmap: Bitmap, *, name: str | None = None, persistent: bool, recording: bool | None = None
) -> Action:
    """Make a bitmap like `bitmap`, clean."""
    data: dict[str, JsonValue] = {"node": node, "name": name or bitmap.name, "granularity": bitmap.granularity}
    if persistent:
        data["persistent"] = True
    if not (bitmap.recording if recording is None else recording):
        data["disabled"] = True
    return {"type": "block-dirty-bitmap-add", "data": data}


def merge(node: str, target: str, sources: Iterable[tuple[str, str]]) -> Action:
    """Set in a bitmap what is set in others: pairs of node and name."""
    listed: list[JsonValue] = [{"node": at, "name": name} for at, name in sources]
    return action("block-dirty-bitmap-merge", node=node, target=target, bitmaps=listed)


def one(kind: str, node: str, name: str) -> Action:
    """What is done to one bitmap: `remove`, `clear`, `enable` or `disable`."""
    return action(f"block-dirty-bitmap-{kind}", node=node, name=name)


def transaction(actions: Sequence[Action], does: str, after: RecipeEvent | None = None) -> RecipeStep:
    """The step that does all of it at one moment."""
    listed: list[JsonValue] = list(actions)
    return step("transaction", {"actions": listed}, does, after)


def step(execute: str, arguments: Mapping[str, JsonValue], does: str, after: RecipeEvent | None = None) -> RecipeStep:
    """A step of one command."""
    return RecipeStep(after=after, command=RecipeCommand(execute=execute, arguments=dict(arguments)), does=does)


def single(made: Action, does: str, after: RecipeEvent | None = None) -> RecipeStep:
    """An action as a command of its own."""
    data = made["data"]
    assert isinstance(data, dict)  # noqa: S101
    return step(str(made["type"]), data, does, after)


def event(name: str, **data: str) -> RecipeEvent:
    """An event that is waited for."""
    return RecipeEvent(event=name, data=data)


# what a node allows


def usable(bitmap: Bitmap) -> str | None:
    """Why a bitmap cannot be read now, as the end of a sentence; None where it can."""
    if bitmap.inconsistent:
        return "it is inconsistent: no command reads it, only removing it and a full backup help"
    if bitmap.busy:
        return "it is busy: wait until what uses it has ended"
    return None


def stores(node: Node) -> bool:
    """Whether the image of a node stores bitmaps (`qcow2_co_can_store_new_dirty_bitmap`)."""
    return (node.driver, node.compat) == ("qcow2", "1.1")


def held(graph: BlockGraph, name: NodeName) -> bool:
    """Whether a node stays when its last user goes: the monitor holds it. Where nobody said, as `Draft.held`."""
    node = graph.nodes[name]
    if node.of_monitor is not None:
        return node.of_monitor
    drives = [backend.root for backend in graph.backends if backend.device and backend.root is not None]
    return node.explicit and not any(name in graph.below(root) for root in drives)


def in_use(graph: BlockGraph, name: NodeName) -> bool:
    """Whether another node, a backend or an export uses a node: they, not the monitor, go over to what replaces it."""
    return any(kind != "job" for kind, _ in graph.parents(name))


def free_name(node: Node | None, wanted: str) -> str:
    """A name for a temporary bitmap that no bitmap of the node has; no longer than QEMU allows."""
    base = wanted if len(wanted.encode()) < _MAX_NAME else "kept"
    taken = {bitmap.name for bitmap in node.bitmaps} if node else set()
    taken |= {bitmap.name for bitmap in node.stored or ()} if node else set()
    names = (f"{base}.tmp{number or ''}" for number in range(len(taken) + 1))
    return next(name for name in names if name not in taken)


#: Bytes that a name may have, less what marks a temporary one.
_MAX_NAME = 1000


def lookup(graph: BlockGraph, name: object) -> NodeName | None:
    """The node that a command means by `name`: a device's root, or a node-name; None where there is none."""
    backend = graph.device(str(name))
    if backend is not None:
        return backend.root
    return NodeName(str(name)) if name in graph.nodes else None


def job_id(arguments: Mapping[str, object]) -> str:
    """The id that the job of a command has: what it says, else the device."""
    return str(arguments.get("job-id") or arguments.get("device"))


def unnamed(graph: BlockGraph, wanted: str, others: Iterable[str] = ()) -> str:
    """A node-name for a node that is still to be made, and none of `others`."""
    taken = {*graph.nodes, *(backend.device for backend in graph.backends), *others}
    return next(name for number in range(len(taken) + 1) if (name := f"{wanted}{number}") not in taken)

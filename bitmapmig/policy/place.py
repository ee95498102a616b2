"""A selector of the policy -> the node that it means in a graph, and the words to speak of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig.resolve import Located, locate

if TYPE_CHECKING:
    from bitmapmig.graph import BlockGraph
    from bitmapmig.policy.model import Selector


def place(graph: BlockGraph, selector: Selector) -> Located:
    """The node that `selector` means in `graph`, or why it means none."""
    if selector.node_name is not None:
        return locate(graph, "node-name", selector.node_name, selector.roles)
    if selector.device is not None:
        return locate(graph, "device", selector.device, selector.roles)
    if selector.qdev is not None:
        return locate(graph, "qdev", selector.qdev, selector.roles)
    return locate(graph, None, selector.any or "")


def words(selector: Selector) -> str:
    """What `selector` says, in one line: `drive0`, `device drive3, path backing.backing, bitmap daily`."""
    if selector.any is not None:
        named = selector.any
    else:
        kinds = {"node-name": selector.node_name, "device": selector.device, "qdev": selector.qdev}
        named = next(f"{kind} {name}" for kind, name in kinds.items() if name is not None)
    parts = [named, selector.path and f"path {selector.path}", selector.bitmap and f"bitmap {selector.bitmap}"]
    return repr(", ".join(part for part in parts if part))[1:-1]

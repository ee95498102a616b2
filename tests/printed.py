"""Text as it is printed, and pairs to print something of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.build import NodeSpec, destination, node, source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.text import Text

    from tests.build import Capture, Part


def text(lines: Iterable[Text]) -> str:
    """Lines as they are printed where there are no colours."""
    return "\n".join(line.plain for line in lines)


def pair(*parts: Part) -> tuple[Capture, Capture]:
    """A source, and a destination with the same graph and no bitmaps."""
    there = [
        node(part.name, part.driver, children=part.children) if isinstance(part, NodeSpec) else part for part in parts
    ]
    return source(*parts), destination(*there)

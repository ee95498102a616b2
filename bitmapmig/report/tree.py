"""A graph -> trees in lines. A vertex that several others use is drawn once and named after that.

    device drive0
    └─ t0  throttle
       └─ file: fmt0  qcow2
          │  what is on fmt0
          └─ file: prot0, drawn above

A chain that grows too deep for the width goes on further below, as a tree of its own.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from bitmapmig.report.escape import escaped, named
from bitmapmig.report.layout import prose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


@dataclass(frozen=True, slots=True)
class Guides:
    """The lines of a tree: before a child, before the last one, and what goes on below each."""

    child: str
    last: str
    below: str
    nothing: str = "   "


UNICODE = Guides("├─ ", "└─ ", "│  ")
ASCII = Guides("|- ", "`- ", "|  ")

#: The part of the width, as its divisor, that is for the guides.
_GUIDES = 3


class Vertex(NamedTuple):
    """What is said of a vertex: its title, what is on it (a line, and those that explain it), and (role, child)."""

    title: Text
    notes: tuple[tuple[Text, ...], ...]
    children: tuple[tuple[str, str], ...]


class Tree(NamedTuple):
    """A title and the vertices right below it."""

    title: Text
    roots: tuple[str, ...]
    empty: str = ""  #: what is said where there are none


class Drawing:
    """Draws trees, each vertex once, and no more of them than `limit`; `drawn` are those that have been."""

    def __init__(self, describe: Callable[[str], Vertex], width: int, limit: int | None, guides: Guides) -> None:
        self.drawn: set[str] = set()
        self._describe = describe
        self._width = width
        self._limit = limit
        self._guides = guides
        #: how deep a tree is drawn before it goes on further below
        self._depth = width // _GUIDES // len(guides.nothing)
        self._waiting: deque[Tree] = deque()

    def lines(self, trees: Iterable[Tree]) -> Iterator[Text]:
        """The trees, each followed by what became too deep in it, with an empty line before each."""
        for tree in trees:
            self._waiting.append(tree)
            while self._waiting and not self._full:
                yield Text()
                yield from self._tree(self._waiting.popleft())

    @property
    def _full(self) -> bool:
        return self._limit is not None and len(self.drawn) >= self._limit

    def _tree(self, tree: Tree) -> Iterator[Text]:
        yield from prose(tree.title, self._width)
        if not tree.roots:
            yield Text(self._guides.last + tree.empty)
        yield from self._below([("", root) for root in tree.roots], "", 0)

    def _below(self, children: list[tuple[str, str]], before: str, depth: int) -> Iterator[Text]:
        for number, (role, name) in enumerate(children, 1):
            if self._full and name not in self.drawn:
                yield Text.assemble(before + self._guides.last, (f"... {len(children) - number + 1:,} more", "dim"))
                return
            last = number == len(children)
            begin = before + (self._guides.last if last else self._guides.child)
            after = before + (self._guides.nothing if last else self._guides.below)
            label = Text(f"{escaped(role)}: " if role else "", "dim")
            if name not in self.drawn and depth <= self._depth:
                yield from self._vertex(name, label, begin, after, depth)
            else:
                yield from prose(Text.assemble(label, named(name), (self._elsewhere(name), "dim")), self._width, begin)

    def _vertex(self, name: str, label: Text, begin: str, after: str, depth: int) -> Iterator[Text]:
        self.drawn.add(name)
        vertex = self._describe(name)
        inner = after + (self._guides.below if vertex.children else self._guides.nothing)
        yield from prose(label + vertex.title, self._width, begin, inner + "  ")
        for first, *others in vertex.notes:
            yield from prose(first, self._width, inner, inner + "  ")
            for other in others:
                yield from prose(other, self._width, inner + "    ", inner + "      ")
        yield from self._below(list(vertex.children), after, depth + 1)

    def _elsewhere(self, name: str) -> str:
        if name in self.drawn:
            return ", drawn above"
        self._waiting.append(Tree(Text(f"{named(name)}, from above", "bold"), (name,)))
        return ", goes on below"

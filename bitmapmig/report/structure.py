"""Structure -> trees in lines: each device with what is below it, its bitmaps on the nodes."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from rich.text import Text

from bitmapmig.graph import Backend
from bitmapmig.graph.drivers import FILTERS
from bitmapmig.report.escape import escaped, named, size
from bitmapmig.report.findings import Limits
from bitmapmig.report.layout import counted
from bitmapmig.report.tree import Drawing, Guides, Tree, Vertex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.plans.structure import Structure, StructureBackend, StructureBitmap, StructureNode


def structure_lines(shown: Structure, width: int, limits: Limits, guides: Guides) -> list[Text]:
    """The graph as trees, an empty line between them; no more nodes than `limits` says."""
    words = _Words(shown)
    drawing = Drawing(words.vertex, width, limits.rows, guides)
    lines = list(drawing.lines(_trees(shown)))[1:] or [Text("nothing", "dim")]
    left = len(shown.nodes) - len(drawing.drawn)
    return [*lines, *([Text(f"... {counted(left, 'node')} more; --all shows them", "dim")] if left else [])]


def _trees(shown: Structure) -> Iterator[Tree]:
    below = {child for node in shown.nodes for _, child in node.children}
    below |= {backend.root for backend in shown.backends if backend.root}
    for one in shown.backends:
        yield Tree(_backend(one), (one.root,) if one.root else (), "no medium")
    rest = tuple(node.name for node in shown.nodes if node.name not in below)
    if rest:
        yield Tree(Text("used by no device", "bold"), rest)


def _backend(one: StructureBackend) -> Text:
    words = [f"device {named(one.device)}"] if one.device else []
    guest_device = Backend(None, one.qdev, None).guest_device or one.qdev
    if guest_device:
        words.append(f"guest device {named(guest_device)}")
    return Text(", ".join(words), "bold")


class _Words:
    """What is said of the nodes of one graph."""

    def __init__(self, shown: Structure) -> None:
        self._nodes = {node.name: node for node in shown.nodes}
        self._users: defaultdict[str, list[Text]] = defaultdict(list)
        for job in shown.jobs:
            for node in job.nodes:
                self._users[node].append(Text.assemble(("job ", "magenta"), f"{named(job.id)}  {escaped(job.type)}"))
        for export in shown.exports:
            words = f"{named(export.id)}  {escaped(export.type)}"
            self._users[export.node].append(Text.assemble(("export ", "magenta"), words))

    def vertex(self, name: str) -> Vertex:
        node = self._nodes[name]
        notes = [(_bitmap(bitmap),) for bitmap in node.bitmaps]
        notes += [(user,) for user in self._users.get(name, ())]
        return Vertex(_node(node), tuple(notes), node.children)


def _node(node: StructureNode) -> Text:
    words = [escaped(node.driver)]
    if node.virtual_size is not None:
        words.append(size(node.virtual_size))
    if node.read_only:
        words.append("read-only")
    if node.driver in FILTERS:
        words.append("filter")
    return Text.assemble((named(node.name), "bold cyan"), f"  {', '.join(words)}")


def _bitmap(bitmap: StructureBitmap) -> Text:
    words = ["persistent"] if bitmap.persistent else []
    if bitmap.inconsistent:
        words.append("inconsistent")
    elif not bitmap.recording:
        words.append("not recording")
    words += ["busy"] if bitmap.busy else []
    return Text.assemble(("bitmap ", "magenta"), named(bitmap.name), f"  {', '.join(words)}" if words else "")

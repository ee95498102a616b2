"""Preview -> lines: each side as trees, a device at the root of each, its bitmaps on the nodes."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from rich.text import Text

from bitmapmig.report.escape import escaped, named, placed, size
from bitmapmig.report.findings import UNLIMITED, Limits, findings
from bitmapmig.report.layout import counted, prose
from bitmapmig.report.tree import UNICODE, Drawing, Guides, Tree, Vertex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.previews import Preview, PreviewBackend, PreviewBitmap, PreviewNode, PreviewSide, StoredCopy


def preview_lines(preview: Preview, width: int, limits: Limits = UNLIMITED, guides: Guides = UNICODE) -> Iterator[Text]:
    """Both sides of a preview for people; `width` is in terminal cells."""
    source = _Words(preview.source, migrates=True, paired=preview.destination is not None)
    yield from _head("source", preview.source, preview.resolve, width)
    yield from _picture(source, width, limits, guides)
    if preview.destination is not None:
        yield Text()
        yield from _head("destination", preview.destination, preview.resolve, width)
        yield from _picture(_Words(preview.destination, migrates=False, paired=False), width, limits, guides)


def _head(side: str, shown: PreviewSide, rules: str, width: int) -> Iterator[Text]:
    parts = [named(shown.name)] if shown.name else []
    parts.append(f"QEMU {escaped(shown.qemu_version)}")
    if shown.machine_type:
        parts.append(f"machine {escaped(shown.machine_type)}")
    parts += [escaped(shown.run_state), escaped(shown.endpoint)]
    yield from prose(", ".join(parts), width, Text.assemble((side, "bold"), "  "), "  ")
    bitmaps = [bitmap for node in shown.nodes for bitmap in node.bitmaps]
    words = f"{counted(len(bitmaps), 'bitmap')} on {counted(len(shown.nodes), 'node')}"
    if bitmaps:
        words += f", addresses by the rule set {rules}"
    yield from prose(words, width, "  ")
    if shown.mapped_nodes is not None:
        words = f"a block-bitmap-mapping of {counted(shown.mapped_nodes, 'node')} is in force"
        yield from prose(Text(words, "yellow"), width, "  ")
    if side == "source" and bitmaps:
        yield from prose(_by_itself(shown.dirty_bitmaps, bitmaps), width, "  ")


def _by_itself(capability: bool, bitmaps: list[PreviewBitmap]) -> Text:  # noqa: FBT001  as QEMU has it
    """What QEMU would do without a plan, in one sentence."""
    begin = f"by itself, {'' if capability else 'with dirty-bitmaps on, '}QEMU would "
    outcomes = [bitmap.unaided.outcome for bitmap in bitmaps]
    if "fails" in outcomes:
        over = counted(outcomes.count("fails"), "bitmap")
        return Text.assemble(begin, ("fail the whole migration", "red"), f" over {over}")
    if "dropped" in outcomes:
        return Text.assemble(begin, ("drop all of them", "red"), " and say `completed`")
    if "unknown" in outcomes:
        return Text(f"{begin}do what cannot be known from here")
    sent = outcomes.count("sent")
    which = "all of them" if sent == len(outcomes) else f"{sent:,} of them"
    return Text(f"{begin}send {which}; whether they arrive, `bitmapmig plan` tells")


def _picture(words: _Words, width: int, limits: Limits, guides: Guides) -> Iterator[Text]:
    shown = words.shown
    drawing = Drawing(words.vertex, width, limits.rows, guides)
    yield from drawing.lines(_trees(shown, crowded=limits.rows is not None and len(shown.nodes) > limits.rows))
    left = [node for node in shown.nodes if node.name not in drawing.drawn]
    if left:
        bitmaps = counted(sum(len(node.bitmaps) for node in left), "bitmap")
        yield Text()
        yield Text(f"... and {counted(len(left), 'node')} with {bitmaps} more; --all shows them", "dim")
    if shown.findings:
        yield Text()
        yield from prose(Text("This is no genuine capture, do not trust the picture", "bold red"), width)
        yield from findings(shown.findings, width, limits)


def _trees(shown: PreviewSide, *, crowded: bool) -> Iterator[Tree]:
    """A tree for each backend, and one for what none uses; where not all can be shown, those with bitmaps first."""
    below = {child.node for node in shown.nodes for child in node.children}
    below |= {backend.root for backend in shown.backends if backend.root}
    trees = [Tree(_backend(one), (one.root,) if one.root else (), "no medium") for one in shown.backends]
    rest = [node.name for node in shown.nodes if node.name not in below]
    if crowded:
        marked = {node.name for node in shown.nodes if node.bitmaps}
        trees.sort(key=lambda tree: marked.isdisjoint(tree.roots))
        rest.sort(key=lambda name: name not in marked)
    yield from trees
    if rest:
        yield Tree(Text("used by no device", "bold"), tuple(rest))


def _backend(backend: PreviewBackend) -> Text:
    words = []
    if backend.device:
        words.append(f"device {named(backend.device)}")
    if backend.guest_device:
        words.append(f"guest device {named(backend.guest_device)}")
    elif backend.qdev:
        words.append(f"guest device without an id, {escaped(backend.qdev)}")
    return Text(", ".join(words), "bold")


class _Words:
    """What is said of the nodes of one side: `migrates` on the source, `paired` where there is a destination to it."""

    def __init__(self, shown: PreviewSide, *, migrates: bool, paired: bool) -> None:
        self.shown = shown
        self._migrates = migrates
        self._paired = paired
        self._nodes = {node.name: node for node in shown.nodes}
        self._users: defaultdict[str, list[Text]] = defaultdict(list)
        for job in shown.jobs:
            for node in job.nodes:
                self._users[node].append(_user("job", job.id, f"{job.type}, {job.status}"))
        for export in shown.exports:
            self._users[export.node].append(_user("export", export.id, export.type))

    def vertex(self, name: str) -> Vertex:
        node = self._nodes[name]
        notes = [(_bitmap(bitmap), *self._explained(bitmap)) for bitmap in node.bitmaps]
        if node.bitmaps and node.guest_writes is False:
            notes.append((Text("no write of the guest reaches this node", "yellow"),))
        notes += [(_copy(copy),) for copy in node.stored]
        notes += [(user,) for user in self._users.get(name, ())]
        return Vertex(_node(node), tuple(notes), tuple((child.role, child.node) for child in node.children))

    def _explained(self, bitmap: PreviewBitmap) -> Iterator[Text]:
        """The address and why, where it leads, and what QEMU would do by itself where that is something else."""
        address, unaided = bitmap.address, bitmap.unaided
        if address is None:
            reason = bitmap.problem.message if bitmap.problem else ""
            yield Text.assemble(("no address: ", "red"), escaped(reason, backslash=False))
            if self._migrates:
                yield _unaided(bitmap)
            return
        same = (
            unaided.outcome == "sent"
            and (unaided.node_alias, unaided.bitmap_alias) == (address.name, bitmap.name)
            and (unaided.destination_node == bitmap.destination_node or not self._paired)
        )
        line = Text.assemble("address ", (placed(address.name, bitmap.name), "green"))
        if bitmap.destination_node is not None:
            line.append_text(Text.assemble(" -> ", (named(bitmap.destination_node), "green")))
        elif self._paired:
            line.append(" -> nothing of this name", "red")
        rule = escaped(address.rule, backslash=False)
        yield line.append(f": {rule}{', as QEMU by itself' if same and self._migrates else ''}", "dim")
        if self._migrates and not same:
            yield _unaided(bitmap)


def _unaided(bitmap: PreviewBitmap) -> Text:
    """What QEMU would do with the bitmap by itself."""
    unaided = bitmap.unaided
    names = placed(unaided.node_alias, unaided.bitmap_alias) if unaided.node_alias and unaided.bitmap_alias else ""
    onto = f" -> {named(unaided.destination_node)}" if unaided.destination_node else ""
    words = {
        "sent": f"sends it as {names}{onto}",
        "not-sent": "does not send it",
        "dropped": f"sends it as {names}, and the destination drops all bitmaps",
        "fails": "fails the migration",
        "unknown": "does what cannot be known",
    }
    style = "yellow" if unaided.outcome == "sent" else "red"
    told = bitmap.address is not None and bitmap.address.rule == unaided.reason
    reason = "" if told else f": {escaped(unaided.reason, backslash=False)}"
    return Text.assemble("QEMU by itself ", (words[unaided.outcome], style), (reason, "dim"))


def _user(what: str, name: str, words: str) -> Text:
    return Text.assemble((f"{what} ", "magenta"), named(name), f"  {escaped(words)}")


def _node(node: PreviewNode) -> Text:
    words = [escaped(node.driver)]
    if node.virtual_size is not None:
        words.append(size(node.virtual_size))
    if node.read_only:
        words.append("read-only")
    if node.filter or node.filter is None:
        words.append("filter" if node.filter else "perhaps a filter")
    if node.of_a_job:
        words.append("put there by a job")
    return Text.assemble((named(node.name), "bold cyan"), f"  {', '.join(words)}")


def _bitmap(bitmap: PreviewBitmap) -> Text:
    words = ["persistent"] if bitmap.persistent else []
    words += [f"{size(bitmap.dirty_bytes)} dirty", f"granularity {size(bitmap.granularity)}"]
    title = Text.assemble(("bitmap ", "magenta"), (named(bitmap.name), "bold"), f"  {', '.join(words)}")
    states = {
        "inconsistent": bitmap.inconsistent,
        "busy": bitmap.busy,
        "not recording": not bitmap.recording and not bitmap.inconsistent,
    }
    for word in (word for word, true in states.items() if true):
        title.append(f", {word}", "yellow")
    return title


def _copy(copy: StoredCopy) -> Text:
    state = "in use by a QEMU that has the image open" if copy.in_use else "a clean copy"
    words = f"  in the image, not loaded: {state}, granularity {size(copy.granularity)}"
    return Text.assemble(("stored ", "magenta"), (named(copy.name), "bold"), words)

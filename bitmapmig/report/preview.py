"""Preview -> lines: each side as trees, a device at the root of each, its bitmaps on the nodes."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from rich.text import Text

from bitmapmig.fate.outcome import WHOLE
from bitmapmig.report.escape import escaped, named, placed, size
from bitmapmig.report.findings import UNLIMITED, Limits, findings
from bitmapmig.report.layout import counted, prose
from bitmapmig.report.tree import UNICODE, Drawing, Guides, Tree, Vertex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.fate import Foretold, ForetoldBitmap
    from bitmapmig.fate.outcome import Outcome
    from bitmapmig.previews import Preview, PreviewBackend, PreviewBitmap, PreviewNode, PreviewSide, StoredCopy


def preview_lines(preview: Preview, width: int, limits: Limits = UNLIMITED, guides: Guides = UNICODE) -> Iterator[Text]:
    """Both sides of a preview for people; `width` is in terminal cells."""
    source = _Words(preview.source, preview.foretold_with_dirty_bitmaps, paired=preview.destination is not None)
    yield from _head("source", preview.source, preview.resolve, width)
    if preview.foretold.bitmaps:
        yield from prose(_by_itself(preview), width, "  ")
    yield from _picture(source, width, limits, guides)
    if preview.destination is not None:
        yield Text()
        yield from _head("destination", preview.destination, preview.resolve, width)
        yield from _picture(_Words(preview.destination, None, paired=False), width, limits, guides)


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
    for one in shown.unclean:
        yield from prose(Text(escaped(one.message, backslash=False), "yellow"), width, "  ")
        yield from prose(Text(escaped(one.remedy, backslash=False), "dim"), width, "    ")


def _by_itself(preview: Preview) -> Text:
    """What QEMU would do without a plan, in one or two sentences."""
    told, with_capability = preview.foretold, preview.foretold_with_dirty_bitmaps
    if preview.source.dirty_bitmaps:
        return Text.assemble("by itself, QEMU would ", *_comes_to(told))
    words = Text.assemble(
        "by itself, QEMU would ", *_comes_to(told), ", since dirty-bitmaps is off; with it on, it would "
    )
    return words.append_text(Text.assemble(*_comes_to(with_capability)))


def _comes_to(told: Foretold) -> tuple[str | tuple[str, str], ...]:
    """What a migration comes to, as the end of a sentence that begins with `QEMU would`."""
    words: tuple[str | tuple[str, str], ...]
    count = Counter(one.outcome for one in told.bitmaps)
    over = f": {escaped(told.reason, backslash=False)}" if told.reason else ""
    lost = [f"{number:,} {outcome}" for outcome, number in sorted(count.items()) if outcome not in WHOLE | {"sent"}]
    if told.migration == "fails":
        words = ("fail the whole migration", "red"), over
    elif told.migration == "destination-dies":
        words = ("lose the destination's process", "red"), over
    elif told.migration == "unknown" and told.code:
        words = "do what cannot be known from here", over
    elif count["dropped"] + count["lost-with-another"] == len(told.bitmaps):
        words = ("drop all of them", "red"), f" and say `completed`{over}"
    elif lost:
        words = "complete, and not bring all of them: ", (", ".join(lost), "red")
    elif count["sent"]:
        words = ("send all of them; whether they arrive, depends on the destination",)
    else:
        words = (("bring all of them", "green"),)
    return words


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
    """What is said of the nodes of one side: `told` on the source, `paired` where there is a destination to it."""

    def __init__(self, shown: PreviewSide, told: Foretold | None, *, paired: bool) -> None:
        self.shown = shown
        self._fates = {(one.node, one.bitmap): one for one in told.bitmaps} if told else {}
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
        notes = [
            (_bitmap(bitmap), *self._explained(bitmap, self._fates.get((name, bitmap.name)))) for bitmap in node.bitmaps
        ]
        if node.bitmaps and node.guest_writes is False:
            notes.append((Text("no write of the guest reaches this node", "yellow"),))
        notes += [(_copy(copy),) for copy in node.stored]
        notes += [(user,) for user in self._users.get(name, ())]
        return Vertex(_node(node), tuple(notes), tuple((child.role, child.node) for child in node.children))

    def _explained(self, bitmap: PreviewBitmap, fate: ForetoldBitmap | None) -> Iterator[Text]:
        """The address and why, where it leads, and what QEMU would do by itself where that is something else."""
        address = bitmap.address
        if address is None:
            reason = bitmap.problem.message if bitmap.problem else ""
            yield Text.assemble(("no address: ", "red"), escaped(reason, backslash=False))
            if fate:
                yield _fate(fate)
            return
        same = (
            fate is not None
            and fate.outcome in ("arrives", "sent")
            and (fate.node_alias, fate.bitmap_alias) == (address.name, bitmap.name)
            and (fate.destination_node == bitmap.destination_node or not self._paired)
        )
        line = Text.assemble("address ", (placed(address.name, bitmap.name), "green"))
        if bitmap.destination_node is not None:
            line.append_text(Text.assemble(" -> ", (named(bitmap.destination_node), "green")))
        elif self._paired:
            line.append(" -> nothing of this name", "red")
        rule = escaped(address.rule, backslash=False)
        yield line.append(f": {rule}{', as QEMU by itself' if same else ''}", "dim")
        if fate and not same:
            yield _fate(fate)


#: what QEMU does with it, and what follows
_FATES: dict[Outcome, tuple[str, str]] = {
    "arrives": ("brings it", ""),
    "by-storage": ("leaves it to the shared image", ""),
    "sent": ("sends it", ""),
    "dropped": ("drops it", ""),
    "lost-with-another": ("loses it", " with others"),
    "blocks-source": ("fails the migration over it", ""),
    "kills-destination": ("sends it", ", and the destination's process ends over it"),
    "breaks-activation": ("brings it", ", and cannot activate its image"),
    "lost-at-shutdown": ("brings it", ", and forgets it at shutdown"),
    "worthless": ("brings it", ", and it is worth nothing"),
    "unknown": ("does what cannot be known", ""),
}


def _fate(fate: ForetoldBitmap) -> Text:
    """What QEMU would do with the bitmap by itself, with dirty-bitmaps on."""
    does, follows = _FATES[fate.outcome]
    names = f" as {placed(fate.node_alias, fate.bitmap_alias)}" if fate.node_alias and fate.bitmap_alias else ""
    onto = f" -> {named(fate.destination_node)}" if fate.destination_node else ""
    style = "yellow" if fate.outcome in ("arrives", "sent", "by-storage") else "red"
    others = f", and {counted(fate.others_lost, 'other bitmap')} with it" if fate.others_lost else ""
    reason = f": {escaped(fate.reason, backslash=False)}"
    return Text.assemble("QEMU by itself ", (f"{does}{names}{onto}{follows}{others}", style), (reason, "dim"))


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

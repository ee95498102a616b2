"""Plan -> lines: the verdict first, then what becomes of every bitmap, what to run, and what stays set."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.text import Text

from bitmapmig.report.escape import escaped, named, placed, size
from bitmapmig.report.findings import UNLIMITED, Limits, findings
from bitmapmig.report.layout import columns, counted, indented, json_lines, listed, prose, table_width

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bitmapmig.plans.document import Command, Fate, Identity, Merge, Plan, PlannedBitmap

#: The words and the colour of a fate; in the order in which a list that is cut shows them.
_FATES: dict[Fate, tuple[str, str]] = {
    "refused": ("refused", "bold red"),
    "left-behind": ("left behind", "yellow"),
    "by-storage": ("by storage", "cyan"),
    "merged": ("merge", "green"),
    "migrate": ("migrate", "green"),
}
_INDENT = 2
_FATE_WIDTH = len("would migrate") + 2


def plan_lines(plan: Plan, width: int, limits: Limits = UNLIMITED) -> Iterator[Text]:
    """A plan, or a refusal, for people; `width` is in terminal cells."""
    yield from _verdict(plan, width)
    yield Text()
    for side, identity in (("source", plan.source), ("destination", plan.destination)):
        yield from prose(_identity(identity), width, f"  {side:11}  ")
    if plan.refusals:
        yield Text()
        yield from findings(plan.refusals, width, limits)
        if any(one.fragments for one in plan.refusals):
            words = "To take one of the cures, add its lines to your policy and plan again with --policy FILE."
            yield Text()
            yield from prose(Text(words, "dim"), width)
    if plan.bitmaps:
        yield from _heading("Bitmaps")
        yield from _bitmaps(plan, width, limits)
    yield from _to_do(plan, width, limits)
    if plan.accepted:
        yield from _heading("Accepted by the policy")
        yield from findings(plan.accepted, width, limits, offer=False)
    if plan.advice:
        yield from _heading("Advice")
        yield from findings(plan.advice, width, limits)
    if plan.assumed_from_version:
        yield from _heading("Assumed from the version of QEMU, which no query shows")
        yield from prose(escaped(", ".join(plan.assumed_from_version)), width, "  ")


def _to_do(plan: Plan, width: int, limits: Limits) -> Iterator[Text]:
    """What is merged, what is to be run, and what that leaves."""
    if plan.merges:
        yield from _heading("Merged: each chain into one temporary bitmap, which migrates")
        for merge in plan.merges:
            yield from _merge(merge, plan, width)
    if plan.commands.destination or plan.commands.source:
        yield from _heading("Commands, to be run in this order before `migrate`")
        yield from command_lines("destination", plan.commands.destination, width, limits)
        yield from command_lines("source", plan.commands.source, width, limits)
    if plan.residue:
        yield from _heading("Afterwards: what stays set, and what makes it harmless")
        yield from _residue(plan, width, limits)


def _heading(words: str) -> Iterator[Text]:
    yield Text()
    yield Text(words, "bold")


# the verdict


def _verdict(plan: Plan, width: int) -> Iterator[Text]:
    if plan.accepted:
        taken = ", ".join(sorted({f"{one.code} {one.name}" for one in plan.accepted}))
        yield from prose(_said("NO GUARANTEE", "bold yellow", f"the policy accepts {taken}"), width)
    if plan.provisional:
        words = "the destination is one of its like; `apply` does not take this plan"
        yield from prose(_said("PROVISIONAL", "bold yellow", words), width)
    if plan.verdict == "refused":
        causes = len({one.code for one in plan.refusals})
        words = f"{counted(len(plan.refusals), 'finding')} of {counted(causes, 'kind')}; nothing was touched"
        yield from prose(_said("REFUSED", "bold red", words), width)
    else:
        yield from prose(_said("PLANNED", "bold green", _outcome(plan)), width)


def _said(word: str, style: str, rest: str) -> Text:
    return Text.assemble((word, style), f": {rest}")


def _outcome(plan: Plan) -> str:
    fates = Counter(one.fate for one in plan.bitmaps)
    if not fates:
        return "the source has no named bitmap, there is nothing to do"
    if not fates["migrate"] and not fates["merged"] and not fates["by-storage"]:
        return f"no bitmap migrates, {counted(fates['left-behind'], 'bitmap')} left behind"
    parts = []
    if fates["migrate"] or not fates["merged"]:
        parts.append(counted(fates["migrate"], "bitmap migrates", "bitmaps migrate"))
    if fates["merged"]:
        parts.append(f"{fates['merged']:,} bitmaps are merged into {len(plan.merges):,}")
    if fates["by-storage"]:
        parts.append(f"{fates['by-storage']:,} in the shared image")
    if fates["left-behind"]:
        parts.append(f"{fates['left-behind']:,} left behind")
    return ", ".join(parts)


def _identity(identity: Identity) -> str:
    parts = [named(identity.name)] if identity.name else []
    profiled = " as its profile says" if identity.measured else ""
    parts.append(f"QEMU {escaped(identity.qemu_version)}{profiled}")
    if identity.machine_type:
        parts.append(f"machine {escaped(identity.machine_type)}")
    return ", ".join([*parts, escaped(identity.endpoint)])


# the bitmaps


def _bitmaps(plan: Plan, width: int, limits: Limits) -> Iterator[Text]:
    shown: Sequence[PlannedBitmap] = plan.bitmaps
    if limits.rows is not None and len(shown) > limits.rows:
        # what is unusual first: it is what a reader looks for
        order = list(_FATES)
        shown = sorted(shown, key=lambda one: order.index(one.fate))[: limits.rows]
    table = _table(plan, shown)
    if table_width(table) + _INDENT <= width:
        for line in columns(table):
            yield Text(" " * _INDENT) + line
    else:
        for one in shown:
            yield from _stacked(one, plan, width)
    hidden = len(plan.bitmaps) - len(shown)
    if hidden:
        yield Text(f"  ... and {hidden:,} more; --all shows them", "dim")


def _table(plan: Plan, shown: Sequence[PlannedBitmap]) -> list[list[Text]]:
    """A line a bitmap below a line of titles; the address is left out where each is a node-name that a user gave."""
    titles = ["FATE", "SOURCE", "", "DESTINATION", "DIRTY", "GRANULARITY", "STATE", "BY", "ADDRESS"]
    if all(one.address_kind == "node-name" for one in shown):
        titles.pop()
    rows = [_row(one, plan)[: len(titles)] for one in shown]
    return [[Text(title, "dim") for title in titles], *rows]


def _row(one: PlannedBitmap, plan: Plan) -> list[Text]:
    words, style = _fate(one, plan)
    destination = _destination(one, plan)
    return [
        Text(words, style),
        Text(_source(one)),
        Text("->" if destination else ""),
        Text(destination),
        Text(size(one.dirty_bytes)),
        Text(size(one.granularity)),
        Text(", ".join(_state(one))),
        Text(escaped(one.by)),
        Text(escaped(one.rule or "none", backslash=False), "dim"),
    ]


def _stacked(one: PlannedBitmap, plan: Plan, width: int) -> Iterator[Text]:
    """A bitmap in two lines or more: first what goes where, then what it is."""
    words, style = _fate(one, plan)
    begin = Text.assemble(" " * _INDENT, (f"{words:{_FATE_WIDTH}}", style))
    source, destination = Text(_source(one), "bold"), Text(_destination(one, plan), "bold")
    if destination and begin.cell_len + source.cell_len + destination.cell_len + len(" -> ") <= width:
        yield Text.assemble(begin, source, " -> ", destination)
    else:
        yield from _unbroken(source, begin, width)
        if destination:
            yield from _unbroken(destination, Text(" " * begin.cell_len + "-> "), width)
    of = "" if one.virtual_size is None else f" of {size(one.virtual_size)}"
    facts = [*_state(one), f"{size(one.dirty_bytes)}{of} dirty", f"granularity {size(one.granularity)}"]
    if one.rule and one.address_kind != "node-name":
        facts.append(escaped(one.rule, backslash=False))
    facts.append(f"by {escaped(one.by)}")
    yield from listed(facts, width, " " * begin.cell_len, "dim")


def _unbroken(name: Text, begin: Text, width: int) -> Iterator[Text]:
    """A name on one line, behind `begin` where it fits there; one that fits nowhere is cut into lines."""
    room = width - 2 * _INDENT
    if begin.cell_len + name.cell_len <= width or name.cell_len > room:
        yield from prose(name, width, begin)
    else:
        begin.rstrip()
        yield begin
        yield Text(" " * 2 * _INDENT) + name


def _fate(one: PlannedBitmap, plan: Plan) -> tuple[str, str]:
    """The word and the colour of what becomes of a bitmap."""
    if plan.verdict == "refused" and one.fate in ("migrate", "merged"):
        return f"would {_FATES[one.fate][0]}", "dim"
    return _FATES[one.fate]


def _source(one: PlannedBitmap) -> str:
    return placed(one.address or one.node, one.bitmap)


def _destination(one: PlannedBitmap, plan: Plan) -> str:
    """Where a bitmap goes; an auto-named node under the name that it has for QEMU, where the plan tells one."""
    if one.destination_node is None:
        return ""
    node = one.destination_node
    # without a map on the destination, the node alias is what QEMU looks up there
    if node.startswith("#") and plan.block_bitmap_mapping.destination is None:
        node = one.node_alias or _alias_of_merge(one, plan) or node
    return placed(node, one.destination_bitmap or one.bitmap)


def _alias_of_merge(one: PlannedBitmap, plan: Plan) -> str | None:
    places = ((merge.destination_node, merge.destination_bitmap, merge.node_alias) for merge in plan.merges)
    wanted = one.destination_node, one.destination_bitmap
    return next((alias for *place, alias in places if tuple(place) == wanted), None)


def _state(one: PlannedBitmap) -> list[str]:
    """What a bitmap is, beyond an ordinary one: it records, and is neither persistent nor in use."""
    states = [
        ("persistent" if one.persistent else "transient", True),
        ("not recording", not one.recording and not one.inconsistent),
        ("busy", one.busy),
        ("inconsistent", one.inconsistent),
    ]
    if one.transform is not None:
        becomes = "persistent" if one.transform.persistent else "transient"
        states.append((f"becomes {becomes}", True))
    return [word for word, true in states if true]


def _merge(merge: Merge, plan: Plan, width: int) -> Iterator[Text]:
    """What goes into a temporary, from the top down, and what comes of it."""
    shown = {(one.node, one.bitmap): one for one in plan.bitmaps}
    own = [shown[one.node, one.bitmap] for one in merge.sources]
    sources = " + ".join(placed(one.node, one.bitmap) for one in merge.sources)
    yield from prose(
        Text.assemble((sources, "bold"), " -> ", (_destination(own[0], plan), "bold")), width, "  ", "    "
    )
    facts = [f"through {placed(merge.node, merge.temporary)}", f"granularity {size(merge.granularity)}"]
    facts.append(f"at most {size(merge.dirty_bytes)} dirty")
    if merge.transform is not None:
        facts.append(f"becomes {'persistent' if merge.transform.persistent else 'transient'}")
    yield from listed(facts, width, "    ", "dim")


# commands


def command_lines(side: str, commands: Sequence[Command], width: int, limits: Limits) -> Iterator[Text]:
    """The commands of one side below its name, ready to be pasted."""
    if commands:
        yield Text.assemble("  on the ", (side, "cyan"))
    for command in commands:
        yield from _command(command, width, limits)


def _command(command: Command, width: int, limits: Limits) -> Iterator[Text]:
    indent = " " * 2 * _INDENT
    lines = json_lines(command.model_dump(mode="json"), width - len(indent))
    if limits.pasted is not None and len(lines) > limits.pasted:
        words = f"{command.execute}: {len(lines):,} lines; --all shows them, -o writes the plan to a file"
        yield from prose(Text(words, "dim"), width, indent)
    else:
        yield from indented(lines, len(indent))


def _residue(plan: Plan, width: int, limits: Limits) -> Iterator[Text]:
    set_before = (*plan.commands.source, *plan.commands.destination)
    for left in plan.residue:
        harmless = left.commands and all(command in set_before for command in left.commands)
        words = f"the {left.what} stays set, and is harmless as it is" if harmless else left.message
        yield from prose(Text.assemble((f"{left.side}: ", "cyan"), words), width, "  ", "    ")
        if not harmless:
            for command in left.commands:
                yield from _command(command, width, limits)

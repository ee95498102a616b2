"""Disagreements between the model and QEMU -> lines, loud: a plan is worth what the model is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from bitmapmig.report.escape import escaped, placed
from bitmapmig.report.findings import Limits
from bitmapmig.report.layout import counted, prose

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bitmapmig.rehearsing.document import Disagreement

_INDENT = "  "


def disagreement_lines(found: Sequence[Disagreement], width: int, limits: Limits) -> Iterator[Text]:
    """Each disagreement with both answers, and what follows from that; `width` is in terminal cells."""
    words = f": QEMU did otherwise than was foretold, in {counted(len(found), 'point')}"
    yield from prose(Text.assemble(("THE MODEL IS WRONG", "bold red"), words), width)
    shown = found if limits.findings is None else found[: limits.findings]
    for one in shown:
        yield from prose(Text(_about(one), "bold"), width, _INDENT, "    ")
        for label, said in (("foretold", one.foretold), ("QEMU", one.happened)):
            yield from prose(escaped(said or "nothing", backslash=False), width, _label(label))
    if len(shown) < len(found):
        yield Text(f"  ... and {len(found) - len(shown):,} more; --all shows them", "dim")
    words = (
        "Trust no plan for this QEMU until this is explained: `bitmapmig selftest` says whether it is an unusual one. "
    )
    words += "Please report it, with the document that -o FILE writes."
    yield from prose(words, width)


def _about(one: Disagreement) -> str:
    side = one.side or ""
    match one.what:
        case "bitmap":
            return f"bitmap {placed(one.node or '', one.bitmap or '')}"
        case "side":
            return side
        case "log":
            return f"log of the {side}" if side else "log"
        case "migration":
            return "migration"


def _label(word: str) -> Text:
    return Text.assemble("    ", (f"{word:10}", "cyan"))

"""Diagnostics -> lines: grouped by cause, each with what cures it, and with policy fragments as YAML."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from bitmapmig import codes
from bitmapmig.diagnostics import Severity
from bitmapmig.report.escape import escaped
from bitmapmig.report.layout import indented, prose, yaml_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bitmapmig.diagnostics import Diagnostic, Where

#: The colour of what a finding does.
STYLES = {
    "error": "bold red",
    "failure": "bold red",
    "stale": "bold red",
    "refusal": "bold red",
    "advice": "bold yellow",
}
_LABEL = 10


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is shown: bitmaps or nodes of a list, findings of a cause, lines to paste, characters of a message."""

    rows: int | None = 100
    findings: int | None = 20
    pasted: int | None = 80
    message: int | None = 1000


#: Everything is shown.
UNLIMITED = Limits(None, None, None, None)


def findings(
    found: Sequence[Diagnostic], width: int, limits: Limits = UNLIMITED, *, offer: bool = True
) -> Iterator[Text]:
    """The findings by code, in the order of the first of each code; nothing where there are none.

    Unless `offer` is False, a refusal that a policy may accept is shown with the words for it.
    """
    causes: defaultdict[str, list[Diagnostic]] = defaultdict(list)
    for one in found:
        causes[one.code].append(one)
    for number, cause in enumerate(causes.values()):
        if number:
            yield Text()
        yield from _cause(cause, width, limits, offer=offer)


def _cause(cause: Sequence[Diagnostic], width: int, limits: Limits, *, offer: bool) -> Iterator[Text]:
    first = cause[0]
    title = Text.assemble((first.code, STYLES[first.severity]), " ", (first.name, "bold"))
    if len(cause) > 1:
        title.append(f"  {len(cause):,} times", "dim")
    yield title
    cures: defaultdict[str, list[Diagnostic]] = defaultdict(list)
    for one in cause:
        cures[one.remedy].append(one)
    told = 0
    for remedy, cured in cures.items():
        shown = cured if limits.findings is None else cured[: max(limits.findings - told, 0)]
        if not shown:
            break
        told += len(shown)
        for one in shown:
            yield from prose(_message(one, limits), width, "  ", "    ")
        if len(shown) < len(cured):
            yield Text(f"  ... and {len(cured) - len(shown):,} more; --all shows them", "dim")
            told += len(cured) - len(shown)
        yield from prose(escaped(remedy, backslash=False), width, _label("remedy"))
        yield from _cure(cured, width, limits)
    if told < len(cause):
        yield Text(f"  ... and {len(cause) - told:,} more; --all shows them", "dim")
    if offer and first.severity is Severity.REFUSAL and first.code in codes.ACCEPTABLE:
        words = f"accept: [{first.code}] in the policy takes it upon yourself, and the guarantee away"
        yield from prose(words, width, _label("or"))
    yield from prose(f"bitmapmig explain {first.code}", width, _label("more"))


def _label(word: str) -> Text:
    return Text.assemble("  ", (f"{word:{_LABEL - 2}}", "cyan"))


def _message(one: Diagnostic, limits: Limits) -> Text:
    message = escaped(one.message, backslash=False)
    if limits.message is not None and len(message) > limits.message:
        message = f"{message[: limits.message]} ... and {len(message) - limits.message:,} characters more"
    place = _place(one.where, message)
    return Text.assemble((f"{place}: ", "bold"), message) if place else Text(message)


def _place(where: Where, message: str) -> str:
    """Where a finding is, as far as its message does not say it: the side, and the line and key in a file."""
    parts: list[str] = [where.side] if where.side else []
    if where.file is not None and (where.line or where.key or where.file not in message):
        parts.append(escaped(where.file) + ("" if where.line is None else f":{where.line}"))
    if where.key:
        parts.append(escaped(where.key, backslash=False))
    return " ".join(parts)


# policy fragments


def _cure(cured: Sequence[Diagnostic], width: int, limits: Limits) -> Iterator[Text]:
    for number, fragment in enumerate(_alternatives(cured)):
        label = _label("or" if number else "policy")
        entries = sum(len(value) for value in fragment.values() if isinstance(value, list))
        if limits.pasted is not None and entries > limits.pasted:
            yield label + Text(f"{entries:,} entries; --all shows them", "dim")
        elif limits.findings is not None and number >= limits.findings:
            yield label + Text("... more; --all shows them", "dim")
            return
        else:
            lines = yaml_lines(fragment, width - _LABEL)
            yield label + Text(lines[0])
            yield from indented(lines[1:], _LABEL)


def _alternatives(cured: Sequence[Diagnostic]) -> Iterator[Mapping[str, Any]]:
    """Policy fragments, each of which cures all of these findings; none where one finding has none.

    The first of a finding's own alternatives keeps most, the last gives most up: of several findings these two are
    put together.
    """
    if len(cured) == 1:
        yield from cured[0].fragments
        return
    if not all(one.fragments for one in cured):
        return
    first = merged(one.fragments[0] for one in cured)
    last = merged(one.fragments[-1] for one in cured)
    if first is not None:
        yield first
    if last is not None and last != first:
        yield last


def merged(fragments: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """One fragment that says what all of them say, nothing twice; None where two contradict each other."""
    whole: dict[str, Any] = {}
    told: defaultdict[str, set[str]] = defaultdict(set)
    for fragment in fragments:
        for key, value in fragment.items():
            there = whole.get(key)
            if isinstance(value, list) and isinstance(there, list | None):
                for entry in value:
                    text = json.dumps(entry, sort_keys=True)
                    if text not in told[key]:
                        told[key].add(text)
                        whole.setdefault(key, []).append(entry)
            elif isinstance(value, dict) and isinstance(there, dict):
                whole[key] = merged((there, value))
                if whole[key] is None:
                    return None
            elif key in whole and value != there:
                return None
            else:
                whole[key] = value
    return whole

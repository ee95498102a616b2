"""Styled text -> lines that fit a width, measured in terminal cells.

Prose is wrapped between words. A name is kept in one line, so that a search finds it, as long as it fits a line at all.
What is there to be pasted, JSON and YAML, is never folded: it must stay what it is.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import yaml
from rich.cells import cell_len
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

#: What a line keeps for text, however far it is indented: the cells of a wide character.
_LEAST = 2

_WORDS = re.compile(r"[^ ]+ *| +")
#: A space at which no line is broken; escaped text holds none of its own.
_UNBROKEN = "\u00a0"


def prose(text: Text | str, width: int, first: Text | str = "", rest: Text | str | None = None) -> Iterator[Text]:
    """`text` wrapped between words; the first line begins with `first`, the others with `rest` or as much space."""
    styled = Text(text) if isinstance(text, str) else text
    begin = Text(first) if isinstance(first, str) else first
    if rest is None:
        rest = " " * begin.cell_len
    room = max(width - begin.cell_len, _LEAST)
    after = Text(rest) if isinstance(rest, str) else rest
    for line in styled.divide(_breaks(styled.plain, room, max(width - after.cell_len, _LEAST))):
        line.rstrip()
        whole = begin + line
        whole.rstrip()
        yield whole
        begin = after


def listed(parts: Iterable[str], width: int, first: Text | str, style: str = "") -> Iterator[Text]:
    """Phrases with commas between them, wrapped between phrases; `first` is before the first line."""
    phrases = ", ".join(part.replace(" ", _UNBROKEN) for part in parts)
    for line in prose(Text(phrases, style), width, first):
        line.plain = line.plain.replace(_UNBROKEN, " ")
        yield line


def _breaks(text: str, first: int, rest: int) -> list[int]:
    """The offsets at which `text` breaks into lines: one of `first` cells, then of `rest`; long words are cut."""
    offsets: list[int] = []
    room, used = first, 0
    for match in _WORDS.finditer(text):
        word = match[0].rstrip(" ")
        length = cell_len(word)
        if used and used + length > room:
            offsets.append(match.start())
            room, used = rest, 0
        if length > room:
            at = match.start()
            for character in word:
                cells = cell_len(character)
                if used + cells > room:
                    offsets.append(at)
                    room, used = rest, 0
                used += cells
                at += 1
        else:
            used += length
        used += len(match[0]) - len(word)
    return offsets


def columns(rows: Sequence[Sequence[Text]], gap: int = 2) -> Iterator[Text]:
    """A table with a line a row, each column as wide as its widest cell."""
    widths = [max(row[column].cell_len for row in rows) for column in range(len(rows[0]))] if rows else []
    for row in rows:
        line = Text()
        for cell, width in zip(row, widths, strict=True):
            line.append_text(cell)
            line.append(" " * (width - cell.cell_len + gap))
        line.rstrip()
        yield line


def table_width(rows: Sequence[Sequence[Text]], gap: int = 2) -> int:
    """How wide `columns` makes these rows."""
    if not rows:
        return 0
    return sum(max(row[column].cell_len for row in rows) + gap for column in range(len(rows[0]))) - gap


def json_lines(value: object, room: int, key: str = "") -> list[str]:
    """JSON, ASCII only, an object or array on one line where it fits `room` behind `key`, and no string broken."""
    short = key + json.dumps(value).replace("\x7f", "\\u007f")
    if len(short) <= room or not isinstance(value, dict | list | tuple) or not value:
        return [short]
    if isinstance(value, dict):
        inner = [json_lines(one, room - 3, f"{json.dumps(name)}: ") for name, one in value.items()]
    else:
        inner = [json_lines(one, room - 3) for one in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    for lines in inner[:-1]:
        lines[-1] += ","
    return [key + opening, *(f"  {line}" for lines in inner for line in lines), closing]


class _Yaml(yaml.SafeDumper):
    """Writes text so that YAML 1.1 and 1.2 read it alike: what does not begin with a letter may be a number to one."""

    def ignore_aliases(self, _data: object) -> bool:
        """Write everything out, however often it is there."""
        return True


def _text(dumper: _Yaml, text: str) -> yaml.ScalarNode:
    style = None if text[:1].isascii() and text[:1].isalpha() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Yaml.add_representer(str, _text)


def yaml_lines(document: Mapping[str, object], room: int) -> list[str]:
    """A policy fragment as YAML, ASCII only."""
    lines: list[str] = []
    for key, value in document.items():
        flow = None if isinstance(value, dict | list) else False  # innermost collections on one line, the document not
        written = yaml.dump({key: value}, Dumper=_Yaml, sort_keys=False, default_flow_style=flow, width=room)
        lines += written.splitlines()
    return lines


def indented(lines: Iterable[str], indent: int) -> Iterator[Text]:
    """Lines that are there to be pasted, as they are, behind spaces."""
    for line in lines:
        yield Text(" " * indent + line)


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number with its noun: `1 bitmap`, `1,200 bitmaps`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"

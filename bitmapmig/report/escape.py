"""Text that others wrote -> text that shows itself on a terminal and does nothing else.

Names come from guests' and other people's configuration. Whatever moves the cursor, colours, turns the direction of
writing, hides or looks like nothing is shown as its escape, as Python writes it; and so is what makes two different
names look the same. What is left has as many cells as `rich.cells.cell_len` says.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from rich.cells import cell_len

#: Letters written from the right: beside one another, they would turn `a -> b` into `b <- a` before the reader's eyes.
_FROM_THE_RIGHT = frozenset(("R", "AL", "AN"))
#: Letters, numbers and signs that show nothing, by which a name would look like another.
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0\ufffc")
_MARKS_ON_A_LETTER = 2
_PLAIN = re.compile(r"[ -~]*\Z")
_NEEDS_QUOTES = re.compile(r"['\" ]|\A\Z")


def escaped(text: str, *, backslash: bool = True) -> str:
    r"""`text` in one line, with everything that does not show itself escaped: `\x1b`, `\u202e`.

    A backslash of its own is doubled, so that no two texts look the same; without `backslash` it is left alone, for
    messages, in which names are escaped already.
    """
    if backslash:
        text = text.replace("\\", "\\\\")
    if _PLAIN.match(text):
        return text
    if not unicodedata.is_normalized("NFC", text):
        # another text looks the same: the one in composed form, which is shown as it is
        return "".join(one if one.isascii() and _visible(one) else _escape(one) for one in text)
    shown: list[str] = []
    marks = _MARKS_ON_A_LETTER
    for character in text:
        if unicodedata.category(character) == "Mn":
            # a mark shows itself on a letter only; a pile of them covers the lines above
            visible = marks < _MARKS_ON_A_LETTER and not _ignorable(character)
            marks += 1
        else:
            visible = _visible(character)
            marks = 0 if visible and character.isalpha() else _MARKS_ON_A_LETTER
        shown.append(character if visible else _escape(character))
    return "".join(shown)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


@cache
def _visible(character: str) -> bool:
    if character.isascii():
        return " " <= character <= "~"
    category = unicodedata.category(character)
    if category[0] in "CZ" or unicodedata.bidirectional(character) in _FROM_THE_RIGHT or character in _BLANK:
        return False
    # letters that join the one before them, and flags and skin tones, which change how wide the sign before them is
    joins = category[0] == "L" and not cell_len(character)
    joins |= "\U0001f1e6" <= character <= "\U0001f1ff" or (category == "Sk" and character > "\uffff")
    return not joins


def _ignorable(mark: str) -> bool:
    """Whether a mark shows nothing: variation selectors, and those that only join."""
    return mark in "\u034f\u17b4\u17b5" or "VARIATION SELECTOR" in unicodedata.name(mark, "")


def named(name: str, *, separators: str = "") -> str:
    """A name as it stands in a line of its own or in a table: escaped, and in quotes where its ends would be in doubt.

    That is where it holds spaces, quotes or one of `separators`, or is empty.
    """
    shown = escaped(name)
    if _NEEDS_QUOTES.search(shown) or any(separator in shown for separator in separators):
        return "'" + shown.replace("'", "\\'") + "'"
    return shown


def placed(node: str, bitmap: str) -> str:
    """A bitmap with its place, `node/bitmap`: the first `/` outside quotes ends the node's name."""
    return f"{named(node, separators='/')}/{named(bitmap)}"


_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_STEP = 1024


def size(count: int) -> str:
    """A number of bytes in the largest unit that it fills, with at most one decimal."""
    unit, amount = 0, float(count)
    while amount >= _STEP and unit < len(_UNITS) - 1:
        unit, amount = unit + 1, amount / _STEP
    number = f"{amount:.1f}".removesuffix(".0")
    return f"{number} {_UNITS[unit]}"

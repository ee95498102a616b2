"""Two lists of lines -> both beside one another, or one below the other where there is no room; changes are marked."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from rich.text import Text

from bitmapmig.report.tree import ASCII, UNICODE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Before a line that is gone, one that is new, and one that is in both.
_MARKS = {"gone": ("- ", "red"), "new": ("+ ", "green"), "same": ("  ", "")}
#: What draws the branches of a tree.
_GUIDES = "".join(one.child + one.last + one.below for one in (UNICODE, ASCII))
#: Cells of a mark.
MARK = 2
_GAP = 3


class _Line(NamedTuple):
    """A line, and whether the other list has it as well."""

    text: Text
    mark: str


_Row: TypeAlias = tuple[_Line | None, _Line | None]


def beside(before: Sequence[Text], after: Sequence[Text], titles: tuple[str, str], width: int) -> Iterator[Text]:
    """Both lists, each below its title; `width` is in terminal cells, no line is folded to fit it."""
    rows = list(_aligned(before, after))
    left = max([len(titles[0]), *(line.cell_len + MARK for line in before)])
    right = max([len(titles[1]), *(line.cell_len + MARK for line in after)])
    if left + _GAP + right > width:
        for number, title in enumerate(titles):
            yield Text()
            yield Text(title, "bold")
            yield from (_marked(row[number]) for row in rows if row[number] is not None)
        return
    yield Text()
    yield Text.assemble((titles[0].ljust(left + _GAP), "bold"), (titles[1], "bold"))
    for one, other in rows:
        line = _marked(one)
        line.append(" " * (left + _GAP - line.cell_len))
        line.append_text(_marked(other))
        line.rstrip()
        yield line


def _marked(line: _Line | None) -> Text:
    if line is None:
        return Text()
    mark, style = _MARKS[line.mark if line.text.plain else "same"]
    made = Text.assemble((mark, style), line.text)
    if style:
        made.stylize(style)
    made.rstrip()
    return made


def _aligned(before: Sequence[Text], after: Sequence[Text]) -> Iterator[_Row]:
    """Pairs of lines, equal ones beside one another; one that only hangs elsewhere in its tree is the same."""
    plain = [[line.plain.lstrip(_GUIDES) for line in lines] for lines in (before, after)]
    matcher = SequenceMatcher(None, plain[0], plain[1], autojunk=False)
    for tag, from_left, to_left, from_right, to_right in matcher.get_opcodes():
        left = [_Line(line, "same" if tag == "equal" else "gone") for line in before[from_left:to_left]]
        right = [_Line(line, "same" if tag == "equal" else "new") for line in after[from_right:to_right]]
        for number in range(max(len(left), len(right))):
            yield (left[number] if number < len(left) else None, right[number] if number < len(right) else None)

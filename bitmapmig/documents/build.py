"""Events of a parser, in the order of the file -> a document that knows the line of each of its values.

One loop without recursion: a key that is there twice is seen, and what grows without bound is stopped while it grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from bitmapmig.captures import printable
from bitmapmig.diagnostics import CannotRunError, Diagnostic, Where
from bitmapmig.documents.mistakes import Mistakes
from bitmapmig.documents.origin import Origin, Place, where
from bitmapmig.documents.words import shown

#: What a document may hold at most: values, with aliases written out, and mappings and lists in one another.
MAX_VALUES, MAX_DEPTH = 1_200_000, 50

_Places: TypeAlias = "dict[str, Place] | list[Place]"


@dataclass(frozen=True, slots=True)
class Source:
    """The file that is read, for the findings that end its reading."""

    name: str
    title: str  #: of the format
    mistakes: Mistakes

    def malformed(self, reason: str, line: int | None) -> NoReturn:
        """Raise that it is not of its format."""
        place = Where(file=self.name, line=line)
        raise CannotRunError(self.mistakes.syntax(place, self.title, printable(reason)))

    def too_large(self, reason: str, line: int | None = None) -> NoReturn:
        """Raise that it is too large."""
        raise CannotRunError(self.mistakes.too_large(Where(file=self.name, line=line), reason))

    def too_deep(self, line: int | None = None) -> NoReturn:
        """Raise that it is too large."""
        self.too_large(f"mappings and lists are nested deeper than {MAX_DEPTH}", line)

    def too_many(self, line: int | None = None) -> NoReturn:
        """Raise that it is too large."""
        self.too_large(f"it has more than {MAX_VALUES} values", line)


@dataclass(slots=True)
class _Open:
    """A mapping or list that has begun, with the places of its values; of a mapping, what comes next."""

    value: Any
    places: Any
    line: int
    anchor: str | None
    awaits_key: bool  #: never in a list
    size: int = 1  #: values, with aliases written out
    key: str | None = None  #: None where the key is refused, and its value with it
    key_line: int = 0

    @property
    def next_key(self) -> str | int | None:
        """What leads to the value that comes next."""
        return len(self.value) if isinstance(self.value, list) else self.key


class Builder:
    """Makes one document; problems with keys are gathered in `found`, what ends the reading is raised."""

    def __init__(self, source: Source) -> None:
        self.found: list[Diagnostic] = []
        self._source = source
        self._outermost = self._open = _Open([], [], 0, None, awaits_key=False)
        self._around: list[_Open] = []  #: what `_open` is in, the outermost first
        self._anchored: dict[str, tuple[object, _Places | None, int]] = {}
        self._size = 0

    @property
    def document(self) -> object:
        """What was built; None where nothing was."""
        return self._outermost.value[0] if self._outermost.value else None

    @property
    def origin(self) -> Origin:
        """The places of what was built."""
        return Origin(self._source.name, self._outermost.places[0] if self._outermost.places else None)

    @property
    def awaits_key(self) -> bool:
        """Whether what comes next is a key."""
        return self._open.awaits_key

    def begin_mapping(self, line: int, anchor: str | None = None) -> None:
        """Open a mapping: its keys and values follow by turns."""
        self._begin(_Open({}, {}, line, anchor, awaits_key=True))

    def begin_list(self, line: int, anchor: str | None = None) -> None:
        """Open a list."""
        self._begin(_Open([], [], line, anchor, awaits_key=False))

    def end(self) -> None:
        """Close the mapping or list that was opened last."""
        done, self._open = self._open, self._around.pop()
        if done.anchor is not None:
            self._anchored[done.anchor] = done.value, done.places, done.size
        self._put(done.value, done.line, done.places, done.size, grown=1)

    def scalar(self, value: object, line: int, anchor: str | None = None) -> None:
        """Add a value that holds no others, or a key."""
        if isinstance(value, str) and not value.isascii():
            value = self._encodable(value, line)
        if anchor is not None:
            self._anchored[anchor] = value, None, 1
        self._put(value, line, None, 1, 1)

    def alias(self, anchor: str, line: int) -> None:
        """Add once more what `anchor` names; it is shared, and counted as if it were written out."""
        if any(opened.anchor == anchor for opened in (*self._around, self._open)):
            self._source.malformed(f"the alias *{anchor} is inside what it names", line)
        if anchor not in self._anchored:
            self._source.malformed(f"the alias *{anchor} names nothing before it", line)
        value, places, size = self._anchored[anchor]
        self._put(value, line, places, size, grown=size)

    def refuse_key(self, reason: str, line: int) -> None:
        """Leave out a key and the value that follows."""
        self.refuse(reason, line)
        self._open.awaits_key, self._open.key = False, None

    def refuse(self, reason: str, line: int, *below: str) -> None:
        """Note a problem of what comes now."""
        self.found.append(self._source.mistakes.invalid(self._where(line, *below), reason))

    def _where(self, line: int, *below: str) -> Where:
        keys = [opened.next_key for opened in (*self._around, self._open)][1:]
        place = where([key for key in (*keys, *below) if key is not None], self.origin)
        return place.model_copy(update={"line": line})

    def _encodable(self, value: str, line: int) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            self.refuse(f"{shown(value)} holds half of a surrogate pair, which is no text", line)
            return printable(value)
        return value

    def _begin(self, opened: _Open) -> None:
        if len(self._around) >= MAX_DEPTH:
            self._source.too_deep(opened.line)
        self._around.append(self._open)
        self._open = opened

    def _put(self, value: object, line: int, places: _Places | None, size: int, grown: int) -> None:
        """Add a complete value of `size` values, `grown` of them not yet counted, or a key, to what is open."""
        opened = self._open
        if opened.awaits_key:
            opened.awaits_key, opened.key_line = False, line
            opened.key = self._key(value, line)
            return
        self._size += grown
        if self._size > MAX_VALUES:
            self._source.too_many(line)
        opened.size += size
        if isinstance(opened.value, list):
            opened.value.append(value)
            opened.places.append(line if places is None else (line, places))
            return
        if opened.key is not None:
            opened.value[opened.key] = value
            opened.places[opened.key] = opened.key_line if places is None else (opened.key_line, places)
        opened.awaits_key, opened.key = True, None

    def _key(self, value: object, line: int) -> str | None:
        """`value` as a new key of what is open; None where it cannot be one."""
        if not isinstance(value, str):
            self.refuse(f"a key must be a text, not {shown(value)}; put it into quotes, if it is a name", line)
            return None
        if value in self._open.value:
            self.found.append(self._source.mistakes.key_twice(self._where(line, value), printable(value)))
            return None
        return value

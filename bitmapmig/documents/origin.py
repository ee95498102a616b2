"""Where the values of a document stand in its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from bitmapmig.captures import printable
from bitmapmig.diagnostics import Where

#: Where a value stands: its line, and the places of what is in it, of a mapping by key, of a list by number.
Place: TypeAlias = "int | tuple[int, Mapping[str, Place] | Sequence[Place]]"
#: What leads to a value in a document: keys of mappings and numbers in sequences.
Keys: TypeAlias = "Sequence[str | int]"


@dataclass(frozen=True, slots=True)
class Origin:
    """The file that a document was read from; `top` is None where its format tells no lines (TOML)."""

    file: str
    top: Place | None = None

    def line(self, keys: Keys) -> int | None:
        """The line, counted from 1, of the last of nested `keys` that is there; None where not even the first is."""
        place, line = self.top, None
        for key in keys:
            inside = place[1] if isinstance(place, tuple) else ()
            if isinstance(inside, Mapping):
                place = inside.get(str(key))
            else:
                place = inside[int(key)] if str(key).isdecimal() and int(key) < len(inside) else None
            if place is None:
                break
            line = place[0] if isinstance(place, tuple) else place
        return line

    def below(self, keys: Keys) -> Origin:
        """The places of what is at nested `keys`, for a document within this one."""
        place = self.top
        for key in keys:
            inside = place[1] if isinstance(place, tuple) else ()
            if isinstance(inside, Mapping):
                place = inside.get(str(key))
            else:
                place = inside[int(key)] if int(key) < len(inside) else None
        return Origin(self.file, place)


def where(keys: Keys, origin: Origin | None) -> Where:
    """The place of `keys`: the nearest line, and a key that shows what does not print."""
    key = ".".join(printable(str(key)) for key in keys) or None
    return Where(file=origin.file, line=origin.line(keys), key=key) if origin else Where(key=key)

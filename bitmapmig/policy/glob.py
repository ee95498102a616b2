"""Globs for names, and an index that finds those of very many that match, without trying each."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: The longest text inside a glob that is looked for; it bounds how many substrings of a name are looked up.
_INNER_LENGTH = 32
_PIECE = re.compile(r"\\.|\*|[^\\*]+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern: `*` is any run of characters, also none; a backslash takes the next character as it is.

    Nothing else is special, case counts, and a match takes time linear in the name and the pattern.
    """

    texts: tuple[str, ...]  #: the literal texts, with a wildcard between each two

    @classmethod
    def compile(cls, pattern: str) -> Glob:
        """Read `pattern`; a lone backslash at its end, which a policy may not have, is dropped."""
        if "\\" not in pattern:
            return cls(tuple(pattern.split("*")))
        texts: list[list[str]] = [[]]
        for piece in _PIECE.findall(pattern):
            if piece == "*":
                texts.append([])
            else:
                texts[-1].append(piece[1:] if piece[0] == "\\" else piece)
        return cls(tuple("".join(text) for text in texts))

    @property
    def wild(self) -> bool:
        """Whether there is a wildcard."""
        return len(self.texts) > 1

    def matches(self, name: str) -> bool:
        """Whether all of `name` fits."""
        if not self.wild:
            return name == self.texts[0]
        first, *inner, last = self.texts
        at, end = len(first), len(name) - len(last)
        if at > end or not name.startswith(first) or not name.endswith(last):
            return False
        # each text at its leftmost place: that leaves the most room to the next, and wildcards take whatever is between
        for text in inner:
            at = name.find(text, at, end)
            if at < 0:
                return False
            at += len(text)
        return True


class GlobIndex:
    """Numbered pairs of globs, for an address and for a bitmap's name, to be asked which of them match."""

    def __init__(self, pairs: Sequence[tuple[Glob, Glob]]) -> None:
        """File `pairs`, numbered from 0; equal ones are tried once."""
        self._addresses, self._bitmaps = _Keys(pair[0] for pair in pairs), _Keys(pair[1] for pair in pairs)
        self._index: dict[str, dict[str, dict[tuple[Glob, Glob], list[int]]]] = {}
        for number, pair in enumerate(pairs):
            address, bitmap = self._addresses.of_glob(pair[0]), self._bitmaps.of_glob(pair[1])
            self._index.setdefault(address, {}).setdefault(bitmap, {}).setdefault(pair, []).append(number)

    def matching(self, address: str, bitmap: str) -> tuple[int, ...]:
        """The numbers of the pairs that match, ascending."""
        found: list[int] = []
        bitmap_keys = self._bitmaps.of_name(bitmap)
        for address_key in self._index.keys() & self._addresses.of_name(address):
            inner = self._index[address_key]
            for bitmap_key in inner.keys() & bitmap_keys:
                for globs, numbers in inner[bitmap_key].items():
                    if globs[0].matches(address) and globs[1].matches(bitmap):
                        found += numbers
        return tuple(sorted(found))


class _Keys:
    """What globs are filed under, such that a glob that matches a name is filed under one of the keys of the name.

    A glob without wildcard is filed under all of it (`=`), one with under a text that it begins with (`^`), ends with
    (`$`) or contains (`~`): the one that the fewest globs have. The lengths that occur tell which substrings of a name
    are worth a look.
    """

    def __init__(self, globs: Iterable[Glob]) -> None:
        self._counts = Counter(key for glob in globs for key in _candidates(glob))
        self._lengths: defaultdict[str, set[int]] = defaultdict(set)

    def of_glob(self, glob: Glob) -> str:
        """The key to file `glob` under, which is looked up from now on."""
        key = min(_candidates(glob), key=lambda candidate: (self._counts[candidate], -len(candidate)))
        self._lengths[key[0]].add(len(key) - 1)
        return key

    def of_name(self, name: str) -> set[str]:
        """The keys that a glob that matches `name` may be filed under."""
        size = len(name)
        keys = {"=" + name}
        keys.update("^" + name[:length] for length in self._lengths["^"] if length <= size)
        keys.update("$" + name[size - length :] for length in self._lengths["$"] if length <= size)
        for length in self._lengths["~"]:
            keys.update("~" + name[at : at + length] for at in range(size - length + 1))
        return keys


def _candidates(glob: Glob) -> list[str]:
    if not glob.wild:
        return ["=" + glob.texts[0]]
    first, *inner, last = glob.texts
    # of a long inner text the end, where numbered names differ
    return ["^" + first, "$" + last, *("~" + text[-_INNER_LENGTH:] for text in inner)]

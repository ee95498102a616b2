"""What can be wrong with a file of any kind: each kind has findings of its own for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bitmapmig.diagnostics import Diagnostic, Where


class Mistakes(Protocol):
    """The findings of one kind of document, all of them errors."""

    def unreadable(self, where: Where, path: str, reason: str) -> Diagnostic:
        """The file cannot be read."""

    def syntax(self, where: Where, format_: str, reason: str) -> Diagnostic:
        """The text is not well-formed."""

    def key_twice(self, where: Where, key: str) -> Diagnostic:
        """A mapping has one key twice."""

    def invalid(self, where: Where, reason: str) -> Diagnostic:
        """A value is not one that it may be."""

    def too_large(self, where: Where, reason: str) -> Diagnostic:
        """It is larger than what is read."""

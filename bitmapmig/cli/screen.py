"""Lines and documents -> standard output and standard error.

A reader that has seen enough (`| head`) ends nothing and is told nothing. What the encoding of a stream lacks is
written as an escape. Styles are for terminals only, and with `NO_COLOR` for none.
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType
    from rich.text import Text

_WIDTH = 80
_LEAST_WIDTH = 40


class NotWrittenError(Exception):
    """A stream did not take what was written; the text is the reason."""


class Screen:
    """One of the two standard streams, which may be closed."""

    def __init__(self, stream: TextIO | None) -> None:
        """Take the stream as Python has it: None where it is closed."""
        self._stream = stream

    @property
    def terminal(self) -> bool:
        """Whether somebody looks at it."""
        return self._stream is not None and self._stream.isatty()

    @property
    def unicode(self) -> bool:
        """Whether it takes any character."""
        return self._stream is not None and (self._stream.encoding or "").lower().startswith("utf")

    @property
    def width(self) -> int:
        """In cells: what `COLUMNS` says, else the terminal, else 80."""
        with suppress(KeyError, ValueError):
            if (said := int(os.environ["COLUMNS"])) > 0:
                return max(said, _LEAST_WIDTH)
        if self._stream is not None and self.terminal:
            with suppress(OSError, ValueError):
                return max(os.get_terminal_size(self._stream.fileno()).columns or _WIDTH, _LEAST_WIDTH)
        return _WIDTH

    def write(self, raw: bytes) -> None:
        """Write `raw`, whole. Raises `NotWrittenError` where it cannot be, other than for a closed pipe."""
        if self._stream is None:
            return
        try:
            self._stream.flush()
            self._stream.buffer.write(raw)
            self._stream.buffer.flush()
        except BrokenPipeError:
            self._abandon()
        except OSError as error:
            self._abandon()
            raise NotWrittenError(error.strerror or str(error)) from error

    def _abandon(self) -> None:
        """Let what is still buffered go nowhere, so that Python does not stumble over it when it ends."""
        if self._stream is not None:
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)

    def text(self, text: str) -> None:
        """Write text and a line end."""
        encoding = self._stream.encoding if self._stream is not None else "utf-8"
        self.write((text + "\n").encode(encoding or "utf-8", errors="backslashreplace"))

    @property
    def styled(self) -> bool:
        """Whether escape sequences are wanted: on a terminal that knows them, without `NO_COLOR`."""
        return self.terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in ("dumb", "unknown")

    def lines(self, lines: Iterable[Text]) -> None:
        """Write styled lines, which fit the width already."""
        if self.styled:
            self.render(*lines)
        else:
            self.text("\n".join(line.plain for line in lines))

    def render(self, *parts: RenderableType) -> None:
        """Write what rich makes of `parts`, one below the other, on a terminal."""
        made = io.StringIO()
        # only here, because it takes longer to load than the rest of an answer to take
        console = import_module("rich.console").Console(
            file=made, force_terminal=True, width=self.width, highlight=False
        )
        console.print(*parts, sep="\n", soft_wrap=all(hasattr(part, "plain") for part in parts))
        self.text(made.getvalue().removesuffix("\n"))

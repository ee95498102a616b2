"""What takes longer than a second -> a line on the terminal that says what it is; nothing where nobody looks."""

from __future__ import annotations

import os
import sys
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from rich.status import Status

#: Seconds until somebody who looks wants to know what is going on.
_PATIENCE = 1.0


class Progress:
    """Says on standard error what goes on, from the second second on, and takes it back at the end."""

    def __init__(self, doing: str) -> None:
        """Say `doing`, at first."""
        self._doing = doing
        self._lock = threading.Lock()
        self._over = False
        self._status: Status | None = None
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        if sys.stderr is not None and sys.stderr.isatty():
            self._timer = threading.Timer(_PATIENCE, self._start)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._over = True
            if self._status is not None:
                self._status.stop()

    def says(self, doing: str) -> None:
        """Say something else from now on."""
        with self._lock:
            self._doing = doing
            if self._status is not None:
                self._status.update(f"{doing} ...")

    def _start(self) -> None:
        with self._lock:
            if not self._over:
                # only here, because it takes longer to load than most answers to take
                console = import_module("rich.console").Console
                err = console(file=sys.stderr, markup=False, no_color=bool(os.environ.get("NO_COLOR")))
                self._status = err.status(f"{self._doing} ...")
                self._status.start()

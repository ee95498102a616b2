"""The parser while its commands are added, one after the other."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bitmapmig import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

_EXITS = (
    "exit codes: 0 done, 2 could not run, 3 refused, 4 plan is stale,\n"
    "5 verification or rehearsal failed, 6 lock held by another, 130 interrupted"
)


class Commands:
    """The parser of the whole command line, and its list of commands."""

    def __init__(self) -> None:
        """Begin with none."""
        self.parser = argparse.ArgumentParser(
            prog="bitmapmig",
            description="Plans the migration of QEMU dirty bitmaps: a validated map, or a refusal that\nsays why.",
            epilog=f"example:\n  bitmapmig plan unix:/run/source.qmp unix:/run/destination.qmp\n\n{_EXITS}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.parser.add_argument("--version", action="version", version=f"bitmapmig {__version__}")
        self._commands = self.parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(self, name: str, does: str, description: str, examples: Iterable[str]) -> argparse.ArgumentParser:
        """Add a command; `does` is its line in the list of commands."""
        lines = "\n".join(f"  {example}" for example in examples)
        return self._commands.add_parser(
            name,
            help=does,
            description=description,
            epilog=f"example:\n{lines}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

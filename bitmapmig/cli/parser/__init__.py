"""Words of the command line -> what is asked for. Imports nothing but the standard library, and little of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig.cli.parser import carrying_out, planning, reference, trying, what_if
from bitmapmig.cli.parser.commands import Commands
from bitmapmig.cli.parser.words import RULES, SCHEMAS, SCRIPTS, SHELLS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["RULES", "SCHEMAS", "SCRIPTS", "SHELLS", "build", "parse"]

#: The commands, in the order of the help.
_COMMANDS = (
    *(planning.capture, planning.preview, planning.plan),
    *(carrying_out.apply, carrying_out.verify, carrying_out.finish),
    *(trying.rehearse, trying.selftest),
    *(what_if.check, what_if.simulate),
    *(reference.explain, reference.schema, reference.completion),
)
#: What says why words are wrong that are right each by itself.
_COMPLAINTS = {"rehearse": trying.complaint, "check": what_if.complaint}


def build() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    commands = Commands()
    for add in _COMMANDS:
        add(commands)
    return commands.parser


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What `words` ask for, those of the process where none are given. Raises `SystemExit`, as argparse does."""
    parser = build()
    arguments = parser.parse_args(words)
    complaint = _COMPLAINTS.get(arguments.command)
    wrong = complaint(arguments) if complaint else None
    if wrong is not None:
        parser.error(f"{arguments.command}: {wrong}")
    return arguments

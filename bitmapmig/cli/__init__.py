"""The command line: composes the stages, and is the only place that prints and exits.

What a command needs is imported when it is asked for, because the libraries behind the stages take far longer to load
than `--version` may take.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from bitmapmig.cli import exits
from bitmapmig.cli.parser import parse
from bitmapmig.cli.screen import NotWrittenError, Screen

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def main(words: Sequence[str] | None = None) -> int:
    """Do what `words` ask for, those of the process where none are given; the exit code."""
    try:
        try:
            arguments = parse(words)
        except SystemExit as done:  # help, the version or a complaint is printed already
            try:
                Screen(sys.stdout).write(b"")
            except NotWrittenError:
                return exits.COULD_NOT_RUN
            return done.code if isinstance(done.code, int) else exits.COULD_NOT_RUN
        return _answered(arguments)
    except KeyboardInterrupt:
        return exits.INTERRUPTED


def _answered(arguments: argparse.Namespace) -> int:
    code: int = import_module("bitmapmig.cli.answer").answer(arguments, Screen(sys.stdout), Screen(sys.stderr))
    return code

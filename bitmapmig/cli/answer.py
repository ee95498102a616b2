"""What is asked for -> what the command says, and the exit code; here every error becomes a finding that is told."""

from __future__ import annotations

import gc
import json
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING

from rich.text import Text

from bitmapmig import codes
from bitmapmig.cli import exits
from bitmapmig.cli.screen import NotWrittenError, Screen
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.report import findings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from bitmapmig.diagnostics import Diagnostic


def answer(arguments: argparse.Namespace, out: Screen, err: Screen) -> int:
    """Run the command on `out`; where it could not run, the findings go to `err`, and with `--format json` to both."""
    try:
        with _without_collector():
            code: int = import_module(f"bitmapmig.cli.{arguments.command}").run(arguments, out)
    except CannotRunError as error:
        return _failed(error.diagnostics, arguments, out, err)
    except NotWrittenError as error:
        found = codes.FILE_NOT_WRITTEN.at(Where(), path="standard output", reason=str(error))
        return _failed([found], arguments, out, err)
    return code


@contextmanager
def _without_collector() -> Iterator[None]:
    """A large plan is made of millions of values that all live until the end: do not look for cycles in them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _failed(found: Sequence[Diagnostic], arguments: argparse.Namespace, out: Screen, err: Screen) -> int:
    with suppress(NotWrittenError):  # nowhere is left to say so
        if getattr(arguments, "format", None) == "json":
            errors = [one.model_dump(mode="json") for one in found]
            out.write((json.dumps({"format_version": 1, "errors": errors}, indent=2) + "\n").encode())
        err.lines([Text("bitmapmig could not run", "bold red"), *findings(found, err.width)])
    return exits.COULD_NOT_RUN

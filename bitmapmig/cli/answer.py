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
from bitmapmig.diagnostics import BitmapmigError, Severity, Where
from bitmapmig.report import findings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from bitmapmig.diagnostics import Diagnostic

#: What is said first where a command did not do what it was asked for.
_TITLES = {
    exits.STALE: "STALE: the plan does not fit what is there any more",
    exits.LOCK_HELD: "LOCKED: another process writes to this VM",
    exits.INTERRUPTED: "INTERRUPTED",
}


def answer(arguments: argparse.Namespace, out: Screen, err: Screen) -> int:
    """Run the command on `out`; where it could not run, the findings go to `err`, and with `--format json` to both."""
    try:
        with _without_collector():
            code: int = import_module(f"bitmapmig.cli.{arguments.command}").run(arguments, out)
    except BitmapmigError as error:
        return _failed(error.diagnostics, arguments, out, err, _exit_code(error.diagnostics))
    except NotWrittenError as error:
        found = codes.FILE_NOT_WRITTEN.at(Where(), path="standard output", reason=str(error))
        return _failed([found], arguments, out, err)
    return code


def _exit_code(found: Sequence[Diagnostic]) -> int:
    """The exit code of a command that ends with these findings."""
    said = {one.code for one in found}
    if codes.APPLY_INTERRUPTED.code in said:
        return exits.INTERRUPTED
    if codes.LOCK_HELD.code in said:
        return exits.LOCK_HELD
    return exits.STALE if any(one.severity is Severity.STALE for one in found) else exits.COULD_NOT_RUN


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


def _failed(
    found: Sequence[Diagnostic],
    arguments: argparse.Namespace,
    out: Screen,
    err: Screen,
    code: int = exits.COULD_NOT_RUN,
) -> int:
    with suppress(NotWrittenError):  # nowhere is left to say so
        if getattr(arguments, "format", None) == "json":
            errors = [one.model_dump(mode="json") for one in found]
            out.write((json.dumps({"format_version": 1, "errors": errors}, indent=2) + "\n").encode())
        err.lines([Text(_TITLES.get(code, "bitmapmig could not run"), "bold red"), *findings(found, err.width)])
    return code

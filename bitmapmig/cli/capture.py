"""`bitmapmig capture`: an endpoint -> one capture document."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bitmapmig.captures import dump
from bitmapmig.cli import exits, file
from bitmapmig.cli.progress import Progress
from bitmapmig.collect import collect
from bitmapmig.redaction import redact

if TYPE_CHECKING:
    import argparse

    from bitmapmig.cli.screen import Screen


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Capture, and write the document. Raises `CannotRunError`."""
    with Progress("reading the endpoint"):
        capture = asyncio.run(collect(arguments.endpoint, timeout=arguments.timeout))
        raw = dump(redact(capture) if arguments.redact else capture)
    if arguments.output in (None, file.STANDARD_OUTPUT):
        screen.write(raw)
    else:
        file.write(arguments.output, raw)
    return exits.DONE

"""`bitmapmig preview`: one endpoint or two -> the block graphs with their bitmaps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bitmapmig.cli import exits
from bitmapmig.cli.progress import Progress
from bitmapmig.collect import collect, collect_both
from bitmapmig.previews import preview
from bitmapmig.report import ASCII, UNICODE, UNLIMITED, Limits, preview_lines

if TYPE_CHECKING:
    import argparse

    from bitmapmig.captures import Capture
    from bitmapmig.cli.screen import Screen


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Capture and draw; a capture that is not to be trusted is drawn, and refused. Raises `CannotRunError`."""
    with Progress("reading the endpoints") as progress:
        source, destination = _captures(arguments)
        progress.says("resolving")
        shown = preview(source, destination, arguments.resolve or "explicit")
    if arguments.format == "json":
        screen.write(shown.model_dump_json(indent=2, ensure_ascii=True).encode() + b"\n")
    else:
        limits = UNLIMITED if arguments.all else Limits()
        screen.lines(preview_lines(shown, screen.width, limits, UNICODE if screen.unicode else ASCII))
    sides = [shown.source, shown.destination]
    return exits.REFUSED if any(side and side.findings for side in sides) else exits.DONE


def _captures(arguments: argparse.Namespace) -> tuple[Capture, Capture | None]:
    if arguments.destination is None:
        return asyncio.run(collect(arguments.source, timeout=arguments.timeout)), None
    return asyncio.run(collect_both(arguments.source, arguments.destination, timeout=arguments.timeout))

"""`bitmapmig finish`: a plan after its migration -> both ends without what the plan had set on them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bitmapmig import plan_file
from bitmapmig.cli import exits
from bitmapmig.cli.progress import Progress
from bitmapmig.finishing.document import FinishRefused
from bitmapmig.finishing.finisher import finish
from bitmapmig.report import UNLIMITED, Limits, finished_lines
from bitmapmig.whereabouts import check_named

if TYPE_CHECKING:
    import argparse

    from bitmapmig.cli.screen import Screen


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Clean both ends and show what was done. Raises `CannotRunError`, and what the lock raises."""
    with Progress("cleaning both ends"):
        check_named(arguments.source, arguments.destination)
        plan = plan_file.read(arguments.plan)
        try:
            finished = asyncio.run(
                finish(
                    plan,
                    source=arguments.source,
                    destination=arguments.destination,
                    failed=arguments.failed,
                    dry_run=arguments.dry_run,
                    lock=arguments.lock,
                    lock_timeout=arguments.lock_timeout,
                    timeout=arguments.timeout,
                )
            )
        except FinishRefused as refused:
            finished = refused.finished
    if arguments.format == "json":
        screen.write(finished.model_dump_json(indent=2, ensure_ascii=True).encode() + b"\n")
    else:
        screen.lines(finished_lines(finished, screen.width, UNLIMITED if arguments.all else Limits()))
    return exits.REFUSED if finished.outcome == "refused" else exits.DONE

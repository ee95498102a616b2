"""`bitmapmig verify`: a plan after its migration -> what became of every bitmap, and how that is known."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bitmapmig import plan_file
from bitmapmig.cli import exits
from bitmapmig.cli.progress import Progress
from bitmapmig.report import UNLIMITED, Limits, verified_lines
from bitmapmig.verifying import VerificationFailed
from bitmapmig.verifying.verifier import verify
from bitmapmig.whereabouts import check_named

if TYPE_CHECKING:
    import argparse

    from bitmapmig.cli.screen import Screen


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Look at both ends and show what became of the plan. Raises `CannotRunError`."""
    with Progress("looking at both ends"):
        check_named(arguments.source, arguments.destination)
        plan = plan_file.read(arguments.plan)
        try:
            verified = asyncio.run(
                verify(
                    plan,
                    source=arguments.source,
                    destination=arguments.destination,
                    log=arguments.log,
                    strict=arguments.strict,
                    timeout=arguments.timeout,
                )
            )
        except VerificationFailed as failed:
            verified = failed.verified
    if arguments.format == "json":
        screen.write(verified.model_dump_json(indent=2, ensure_ascii=True).encode() + b"\n")
    else:
        screen.lines(verified_lines(verified, screen.width, UNLIMITED if arguments.all else Limits()))
    return exits.VERIFICATION_FAILED if verified.verdict == "failed" else exits.DONE

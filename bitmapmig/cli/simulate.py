"""`bitmapmig simulate`: a capture and steps -> what would become of the graph and the bitmaps."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from bitmapmig.cli import exits
from bitmapmig.cli.document import tell, written
from bitmapmig.cli.progress import Progress
from bitmapmig.collect import collect, collect_both
from bitmapmig.diagnostics import CannotRunError, Diagnostic
from bitmapmig.policy import Policy
from bitmapmig.policy.read import read
from bitmapmig.report import ASCII, UNICODE, simulated_lines
from bitmapmig.simulating import simulate

if TYPE_CHECKING:
    import argparse

    from bitmapmig.captures import Capture
    from bitmapmig.cli.screen import Screen


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Capture, simulate, and show what comes of it; nothing is changed. Raises `CannotRunError`."""
    with Progress("reading the endpoints") as progress:
        policy, source, destination = _inputs(arguments)
        progress.says("simulating")
        made = simulate(
            source,
            arguments.steps,
            release=arguments.release,
            rules=arguments.resolve,
            each=arguments.step_by_step,
            destination=destination,
            policy=policy,
            provisional=arguments.provisional,
        )
        document = written(made)
    guides = UNICODE if screen.unicode else ASCII
    tell(document, partial(simulated_lines, made, guides=guides), arguments, screen)
    return exits.REFUSED if made.verdict == "refused" else exits.DONE


def _inputs(arguments: argparse.Namespace) -> tuple[Policy, Capture, Capture | None]:
    """The policy and the captures. Raises `CannotRunError` with what is wrong with any of them."""
    found: list[Diagnostic] = []
    policy, source, destination = Policy(), None, None
    try:
        if arguments.policy is not None:
            policy = read(arguments.policy)
    except CannotRunError as error:
        found += error.diagnostics
    try:
        if arguments.destination is None:
            source = asyncio.run(collect(arguments.capture, timeout=arguments.timeout))
        else:
            ends = collect_both(arguments.capture, arguments.destination, timeout=arguments.timeout)
            source, destination = asyncio.run(ends)
    except CannotRunError as error:
        found += error.diagnostics
    if found or source is None:
        raise CannotRunError(*found)
    return policy, source, destination

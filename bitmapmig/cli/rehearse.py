"""`bitmapmig rehearse`: a plan, or two endpoints to make one of -> what becomes of it on throw-away QEMUs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rich.text import Text

from bitmapmig import plan_file
from bitmapmig.cli import exits, file
from bitmapmig.cli.document import tell, written
from bitmapmig.cli.plan import inputs, planned, show
from bitmapmig.cli.progress import Progress
from bitmapmig.cli.signals import ended_in_order
from bitmapmig.rehearsing.rehearser import rehearse
from bitmapmig.report import rehearsed_lines

if TYPE_CHECKING:
    import argparse

    from bitmapmig.captures import Capture
    from bitmapmig.cli.screen import Screen
    from bitmapmig.plans import Plan

_EXITS = {"survives": exits.DONE, "fails": exits.VERIFICATION_FAILED, "refused": exits.REFUSED}


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Rehearse, and show what came of it; a refused plan is only shown, unless `--anyway`. Raises `CannotRunError`."""
    with Progress("reading the plan") as progress:
        plan, captures = _plan(arguments)
        rehearsed = None
        if plan.verdict == "planned" or arguments.anyway:
            rehearsed = ended_in_order(
                rehearse(
                    plan,
                    arguments.source_qemu or arguments.qemu,
                    arguments.destination_qemu or arguments.qemu,
                    captures=captures,
                    anyway=arguments.anyway,
                    seed=arguments.seed,
                    says=progress.says,
                )
            )
    if rehearsed is None:
        code = show(plan, arguments, screen)
        if arguments.format == "text" and arguments.output != file.STANDARD_OUTPUT:
            screen.lines([Text(), Text("with --anyway a rehearsal shows what QEMU would do", "dim")])
        return code
    tell(written(rehearsed), partial(rehearsed_lines, rehearsed), arguments, screen)
    return _EXITS[rehearsed.outcome]


def _plan(arguments: argparse.Namespace) -> tuple[Plan, tuple[Capture, Capture] | None]:
    """The plan, and what it was made from where it was made here. Raises `CannotRunError`."""
    if arguments.destination is None:
        return plan_file.read(arguments.source), None
    given = inputs(arguments)
    return planned(arguments, given), (given.source, given.destination)

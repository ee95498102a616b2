"""`bitmapmig apply`: a plan -> both QEMUs set as it says, or the commands to do so."""

from __future__ import annotations

import asyncio
import gc
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rich.text import Text

from bitmapmig import plan_file
from bitmapmig.applying.applier import apply
from bitmapmig.applying.document import Applied
from bitmapmig.applying.intake import commands
from bitmapmig.applying.interruption import Stop
from bitmapmig.applying.scripts import script
from bitmapmig.cli import exits
from bitmapmig.cli.progress import Progress
from bitmapmig.cli.screen import NotWrittenError, Screen
from bitmapmig.cli.signals import Signals
from bitmapmig.report import UNLIMITED, Limits, applied_lines, findings, migrated_lines
from bitmapmig.waiting.document import Migrated, MigrationFailed
from bitmapmig.waiting.migrator import apply_and_wait

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from bitmapmig.diagnostics import Diagnostic
    from bitmapmig.plans import Plan


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Apply, and show what came of it. Raises `BitmapmigError`."""
    with Signals(Screen(sys.stderr)) as signals:
        with signals.raised():
            plan = plan_file.read(arguments.plan)
        if arguments.wait_migration:
            return _migrated(arguments, plan, signals, screen)
        if arguments.script:
            made = commands(plan)
            done = Applied(outcome="script", commands=made, script=script(plan, arguments.script))
        else:
            with Progress("applying the plan"):
                done = asyncio.run(_applied(arguments, plan, signals))
        what = "both QEMUs are as planned" if done.outcome == "applied" else "nothing was set"
        with _even_so(what):
            if arguments.format == "json":
                _document(done, screen)
            elif done.script is not None:
                screen.write(done.script.encode())
            else:
                screen.lines(applied_lines(done, plan, screen.width, _limits(arguments)))
        return signals.too_late(what) or exits.DONE


async def _applied(arguments: argparse.Namespace, plan: Plan, signals: Signals) -> Applied:
    stop = Stop()
    with signals.told_to(stop.now):
        return await apply(
            plan,
            source=arguments.source,
            destination=arguments.destination,
            timeout=arguments.timeout,
            lock=arguments.lock,
            lock_timeout=arguments.lock_timeout,
            dry_run=arguments.dry_run,
            stop=stop,
        )


# waiting for the migration


def _migrated(arguments: argparse.Namespace, plan: Plan, signals: Signals, screen: Screen) -> int:
    gc.enable()  # it may wait for hours
    try:
        done = asyncio.run(_waited(arguments, plan, signals))
    except MigrationFailed as failed:
        done = failed.migrated
    clean = "what was cleaned is not known" if done.problems else "both ends are clean"
    with _even_so(f"the migration has {done.outcome}, and {clean}"):
        if arguments.format == "json":
            _document(done, screen)
        else:
            screen.lines(migrated_lines(done, screen.width, _limits(arguments)))
    if done.outcome == "failed":
        return exits.VERIFICATION_FAILED
    if done.problems:
        return exits.COULD_NOT_RUN
    return signals.too_late("the migration has ended, and both ends are clean") or exits.DONE


async def _waited(arguments: argparse.Namespace, plan: Plan, signals: Signals) -> Migrated:
    stop, err = Stop(), Screen(sys.stderr)

    def applied(_done: Applied) -> None:
        words = "both sides are set as planned; waiting for the migration to be started and to end"
        with suppress(NotWrittenError):  # that nobody can be told is no reason to leave both as they are
            err.lines([Text(f"bitmapmig: {words}")])

    def warn(found: Diagnostic) -> None:
        with suppress(NotWrittenError):  # the document has it, too
            err.lines(findings([found], err.width))

    with signals.told_to(stop.now):
        return await apply_and_wait(
            plan,
            source=arguments.source,
            destination=arguments.destination,
            timeout=arguments.timeout,
            lock=arguments.lock,
            lock_timeout=arguments.lock_timeout,
            wait_timeout=arguments.wait_timeout,
            stop=stop,
            applied=applied,
            warn=warn,
        )


# what is shown


def _document(done: Applied | Migrated, screen: Screen) -> None:
    screen.write(done.model_dump_json(indent=2, ensure_ascii=True).encode() + b"\n")


@contextmanager
def _even_so(what: str) -> Iterator[None]:
    """Where the answer cannot be written, say at least on standard error what is so: something was done by then."""
    try:
        yield
    except NotWrittenError:
        with suppress(NotWrittenError):
            Screen(sys.stderr).lines([Text(f"bitmapmig: {what}")])
        raise


def _limits(arguments: argparse.Namespace) -> Limits:
    return UNLIMITED if arguments.all else Limits()

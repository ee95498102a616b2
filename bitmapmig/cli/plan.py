"""`bitmapmig plan`: two endpoints and a policy -> the plan, or the refusal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bitmapmig.cli import exits, file
from bitmapmig.cli.progress import Progress
from bitmapmig.collect import collect_both
from bitmapmig.diagnostics import CannotRunError, Diagnostic
from bitmapmig.planner import plan
from bitmapmig.plans import Plan, Refused, dump
from bitmapmig.policy import Policy
from bitmapmig.policy.read import read
from bitmapmig.report import UNLIMITED, Limits, plan_lines

if TYPE_CHECKING:
    import argparse

    from bitmapmig.captures import Capture
    from bitmapmig.cli.screen import Screen


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Capture, plan, and show what came of it. Raises `CannotRunError`."""
    with Progress("reading both endpoints") as progress:
        policy, (source, destination) = _inputs(arguments)
        progress.says("planning")
        made = _planned(arguments, policy, source, destination)
        document = dump(made)
    to_screen = arguments.format == "json" or arguments.output == file.STANDARD_OUTPUT
    if arguments.output not in (None, file.STANDARD_OUTPUT):
        file.write(arguments.output, document)
    if to_screen:
        screen.write(document)
    else:
        screen.lines(plan_lines(made, screen.width, UNLIMITED if arguments.all else Limits()))
    return exits.REFUSED if made.verdict == "refused" else exits.DONE


def _inputs(arguments: argparse.Namespace) -> tuple[Policy, tuple[Capture, Capture]]:
    """The policy and both captures. Raises `CannotRunError` with what is wrong with any of them."""
    findings: list[Diagnostic] = []
    policy, ends = Policy(), None
    try:
        if arguments.policy is not None:
            policy = read(arguments.policy)
    except CannotRunError as error:
        findings += error.diagnostics
    try:
        ends = asyncio.run(collect_both(arguments.source, arguments.destination, timeout=arguments.timeout))
    except CannotRunError as error:
        findings += error.diagnostics
    if findings or ends is None:
        raise CannotRunError(*findings)
    if arguments.resolve is not None:
        policy = policy.model_copy(update={"resolve": arguments.resolve})
    return policy, ends


def _planned(arguments: argparse.Namespace, policy: Policy, source: Capture, destination: Capture) -> Plan:
    try:
        return plan(source, destination, policy, provisional=arguments.provisional, strict=arguments.strict)
    except Refused as refused:
        return refused.plan

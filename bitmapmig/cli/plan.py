"""`bitmapmig plan`: two endpoints and a policy -> the plan, or the refusal."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from bitmapmig import profile_file
from bitmapmig.cli import exits
from bitmapmig.cli.document import tell
from bitmapmig.cli.progress import Progress
from bitmapmig.collect import collect_both
from bitmapmig.diagnostics import CannotRunError, Diagnostic
from bitmapmig.planner import plan
from bitmapmig.plans import Plan, Refused, dump
from bitmapmig.policy import Policy
from bitmapmig.policy.read import read
from bitmapmig.profile import Profile
from bitmapmig.report import plan_lines

if TYPE_CHECKING:
    import argparse

    from bitmapmig.captures import Capture
    from bitmapmig.cli.screen import Screen


class Inputs(NamedTuple):
    """What a plan is made from."""

    source: Capture
    destination: Capture
    policy: Policy
    profiles: tuple[Profile, ...]


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Capture, plan, and show what came of it. Raises `CannotRunError`."""
    with Progress("reading both endpoints") as progress:
        given = inputs(arguments)
        progress.says("planning")
        made = planned(arguments, given)
    return show(made, arguments, screen)


def show(made: Plan, arguments: argparse.Namespace, screen: Screen) -> int:
    """Write the plan, or the refusal, where it is asked for; the exit code. Raises `CannotRunError`."""
    tell(dump(made), partial(plan_lines, made), arguments, screen)
    return exits.REFUSED if made.verdict == "refused" else exits.DONE


def inputs(arguments: argparse.Namespace) -> Inputs:
    """The policy, the profiles and both captures. Raises `CannotRunError` with what is wrong with any of them."""
    findings: list[Diagnostic] = []
    policy, ends = Policy(), None
    profiles: list[Profile] = []
    try:
        if arguments.policy is not None:
            policy = read(arguments.policy)
    except CannotRunError as error:
        findings += error.diagnostics
    for path in arguments.profile:
        try:
            profiles.append(profile_file.read(path))
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
    return Inputs(*ends, policy, tuple(profiles))


def planned(arguments: argparse.Namespace, given: Inputs) -> Plan:
    """The plan, also where it is refused. Raises `CannotRunError`."""
    try:
        return plan(
            given.source,
            given.destination,
            given.policy,
            provisional=arguments.provisional,
            strict=arguments.strict,
            profiles=given.profiles,
        )
    except Refused as refused:
        return refused.plan

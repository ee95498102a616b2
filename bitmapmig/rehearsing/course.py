"""A plan on the two that stand in for its ends -> what happened, step by step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bitmapmig.applying.applier import apply
from bitmapmig.diagnostics import BitmapmigError, CannotRunError, Diagnostic
from bitmapmig.fate import LogLine, Qemu, foretell
from bitmapmig.rehearsing.migration import aftermath, look, migrate
from bitmapmig.rehearsing.moved import attempted, moved
from bitmapmig.throwaway import QemuGoneError, QemuRefusedError, printed
from bitmapmig.verifying import VerificationFailed
from bitmapmig.verifying.verifier import verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.fate import Foretold
    from bitmapmig.plans import Plan
    from bitmapmig.rehearsing.migration import Aftermath, Ended, Sight
    from bitmapmig.rehearsing.rebuilt import End, Pair
    from bitmapmig.verifying import Verified

#: Is told what is being done.
Says: TypeAlias = Callable[[str], None]


@dataclass(frozen=True)
class Course:
    """What happened. `foretold` is what the model said of the two with everything set.

    `before` and `there` are what they showed before the migration, `after` and `left` as in `judge.Case`. `ended` is
    None where it did not come to a migration: `stopped` are the findings of `apply` then, or `refused` is what QEMU
    said to what was to be set.
    """

    foretold: Foretold
    before: Sight
    there: Sight
    ended: Ended | None
    after: Sight | None = None
    left: Aftermath | None = None
    verified: Verified | None = None
    stopped: tuple[Diagnostic, ...] = ()
    refused: str = ""
    log: tuple[LogLine, ...] = ()


async def course(plan: Plan, pair: Pair, says: Says) -> Course:
    """Carry the plan out, or what a refused one would have set; migrate, verify, go on, and shut down.

    Raises `CannotRunError`, `QemuGoneError`, `TimeoutError` where a stand-in does not answer.
    """
    source, destination = await asyncio.gather(pair.source.place(plan.source), pair.destination.place(plan.destination))
    made = None
    try:
        if plan.attempt is not None:
            says("setting what was refused")
            commands = attempted(plan.attempt, source, destination)
            await pair.destination.send(commands.destination)
            await pair.source.send(commands.source)
        else:
            says("applying the plan")
            made = moved(plan, source, destination)
            await apply(made)
    except QemuRefusedError as error:
        return await _not_begun(pair, (), f"{error.command}: {error.desc}")
    except BitmapmigError as error:
        return await _not_begun(pair, error.diagnostics)
    return await _migrated(pair, made, says)


async def _not_begun(pair: Pair, stopped: tuple[Diagnostic, ...], refused: str = "") -> Course:
    """What there is where no migration was begun."""
    before, there = await asyncio.gather(look(pair.source.qemu), look(pair.destination.qemu))
    return Course(_foretold(pair, before, there), before, there, None, stopped=stopped, refused=refused)


async def _migrated(pair: Pair, made: Plan | None, says: Says) -> Course:
    """Migrate, verify where a plan was `made`, let the destination go on, and look at what is left."""
    here, other = pair.source.qemu, pair.destination.qemu
    before, there = await asyncio.gather(look(here), look(other))
    told = _foretold(pair, before, there)
    begun = len(here.log()), len(other.log())
    says("migrating")
    ended = await migrate(here, other)
    completed = ended.migration == "completes"
    after = await _looked(pair) if completed else None
    says("verifying")
    verified = None if made is None else await _verified(pair, made)
    left = None
    if completed:
        says("shutting down, and looking into the images")
        left = await aftermath(here, other, pair.stored)
    log = (*_logged(pair.source, begun[0]), *_logged(pair.destination, begun[1]))
    return Course(told, before, there, ended, after, left, verified, log=log)


def _foretold(pair: Pair, before: Sight, there: Sight) -> Foretold:
    """What the model says of the two as they are, with what is set on them."""
    here, other = pair.source.known(before.state), pair.destination.known(there.state)
    return foretell(Qemu.of(before.graph, here), Qemu.of(there.graph, other), pair.images(there.graph))


def _logged(end: End, since: int) -> Iterator[LogLine]:
    """The lines that a stand-in has printed, from character `since` of its log on."""
    return (LogLine(side=end.side, text=line) for line in printed(end.qemu, since))


async def _looked(pair: Pair) -> Sight | None:
    """What the destination shows; None where it cannot list its nodes, as where an image could not be activated."""
    try:
        return await look(pair.destination.qemu)
    except (CannotRunError, QemuGoneError):
        return None


async def _verified(pair: Pair, made: Plan) -> Verified | None:
    """What `verify` says; None where it could not find anything out."""
    log = pair.destination.qemu.folder / f"{pair.destination.qemu.name}.log"
    try:
        return await verify(made, log=str(log))
    except VerificationFailed as failed:
        return failed.verified
    except CannotRunError:
        return None

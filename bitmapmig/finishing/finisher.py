"""Plan, after its migration -> both ends without what the plan had set on them.

    lock -> connect -> capture -> may it be? -> clean (each side for itself) -> read back

An end that is gone has nothing set on it any more. What is done can be done again: a second `finish` finds nothing left
to do, and one that was interrupted is completed by the next.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

from bitmapmig import codes, graph, state, temporaries
from bitmapmig.control import CommandRefusedError, Control, InForce, UnconfirmedError
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.fate.process import UNDER_WAY
from bitmapmig.finishing.cleaning import cleaning
from bitmapmig.finishing.document import Finished, FinishedEnd, FinishRefused
from bitmapmig.lock import Holder, held
from bitmapmig.whereabouts import check_identity, check_plan, endpoints, vm, why_gone

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from bitmapmig.diagnostics import Diagnostic
    from bitmapmig.finishing.cleaning import Cleaning
    from bitmapmig.lock import Lock
    from bitmapmig.plans import Plan
    from bitmapmig.plans.document import Command
    from bitmapmig.state import State


async def finish(
    plan: Plan,
    *,
    source: str | None = None,
    destination: str | None = None,
    failed: bool = False,
    dry_run: bool = False,
    lock: str | None = None,
    lock_timeout: float = 0.0,
    timeout: float = 10.0,  # noqa: ASYNC109  of each step
) -> Finished:
    """Leave both ends clean after the migration of `plan`; what each has now.

    `dirty-bitmaps` is turned off again where the plan turned it on, a map that the plan set is replaced by the neutral
    one for the graph as it is now, and temporary bitmaps are removed. With `failed` the attempt is given up: the
    migration need not have completed. With `dry_run` nothing is sent. Endpoints, lock and timeouts are as for `apply`.

    Raises `FinishRefused` where it must not be done (BM901 to BM903); `CannotRunError` where it cannot be (BM102 to
    BM108, BM111, BM704, BM705, BM707, BM711, BM714), or not all of it could be (BM721 to BM723, each with its side);
    and what the lock raises. Whatever was raised, it can be done again.
    """
    check_plan(plan)
    ends = endpoints(plan, source, destination)
    key = await vm(plan, ends[0])
    here = _End(plan, Control("source", ends[0], timeout), plan.temporaries | temporaries.load(key))
    there = _End(plan, Control("destination", ends[1], timeout))
    async with AsyncExitStack() as stack:
        if dry_run:
            lock_held = None
        else:
            holding = held(key, url=lock, timeout=lock_timeout, holder=Holder.here("finish"))
            lock_held = await stack.enter_async_context(holding)
        for end in (here, there):
            # pushed last, so that the sessions have ended when the lock is free
            stack.push_async_callback(end.control.close)
        await _both(here.look(), there.look())
        found = tuple(_refusals(here, there, failed=failed))
        if found:
            raise FinishRefused(
                Finished(outcome="refused", source=here.untouched, destination=there.untouched, refusals=found)
            )
        if lock_held is not None:
            await _both(here.clean(lock_held), there.clean(lock_held))
            with suppress(OSError, CannotRunError):  # a note of what is not there any more does no harm
                temporaries.save(key, here.cleaning.kept if here.cleaning else ())
    return Finished(
        outcome="dry-run" if dry_run else "finished",
        source=here.document,
        destination=there.document,
        advice=tuple(one for end in (here, there) if end.cleaning is not None for one in end.cleaning.advice),
    )


async def _both(*acts: Coroutine[Any, Any, None]) -> None:
    """Do both, to the end. Raises `CannotRunError` with the findings of both, or what else was raised."""
    found: list[Diagnostic] = []
    for result in await asyncio.gather(*acts, return_exceptions=True):
        if isinstance(result, CannotRunError):
            found += result.diagnostics
        elif isinstance(result, BaseException):
            raise result
    if found:
        raise CannotRunError(*found)


class _End:
    """One side: `gone` says why it is not there; else `state` is what it is in, and `cleaning` what is to be done."""

    def __init__(self, plan: Plan, control: Control, made: frozenset[tuple[str, str]] = frozenset()) -> None:
        """Take the end; `made` are the temporaries that may be on it."""
        self.control = control
        self._made = made
        self.gone: str | None = None
        self.state: State | None = None
        self.cleaning: Cleaning | None = None
        self._plan = plan
        self._identity = plan.source if control.side == "source" else plan.destination

    @property
    def document(self) -> FinishedEnd:
        """What became of this side."""
        if self.cleaning is not None:
            return self.cleaning.end
        return self.untouched

    @property
    def untouched(self) -> FinishedEnd:
        """This side, on which nothing was done."""
        return FinishedEnd(endpoint=self.control.endpoint.text, gone=self.gone)

    async def look(self) -> None:
        """See what is there. Raises `CannotRunError` where it does not tell, or is another QEMU (BM711)."""
        try:
            capture = await self.control.capture()
        except CannotRunError as error:
            self.gone = why_gone(error)
            if self.gone is None:
                raise
            return
        self.state = state.read(capture)
        check_identity(self.control.side, self._identity, self.state)
        self.cleaning = cleaning(
            self._plan,
            self.control.side,
            graph.read(capture, self.control.side)[0],
            InForce.of(capture),
            endpoint=self.control.endpoint.text,
            waiting=self.state.run_state == "inmigrate",
            temporaries=self._made,
        )

    async def clean(self, lock: Lock) -> None:
        """Send what is to be sent, and see that it is so. Raises `CannotRunError` (BM721 to BM723), or a lost lock."""
        if self.cleaning is None or not self.cleaning.commands:
            return
        where = Where(side=self.control.side)
        for command in self.cleaning.commands:
            await lock.check()
            await self._send(command, where)
        capture = await self.control.capture()
        there = graph.read(capture, self.control.side)[0]
        differences = self.cleaning.differences(InForce.of(capture), there)
        if differences:
            facts: dict[str, Any] = {"side": self.control.side, "differences": differences}
            raise CannotRunError(codes.READ_BACK_DIFFERS.at(where, **facts))

    async def _send(self, command: Command, where: Where) -> None:
        facts: dict[str, Any] = {"side": self.control.side, "command": command.execute}
        try:
            await self.control.send(command)
        except CommandRefusedError as error:
            raise CannotRunError(codes.COMMAND_REFUSED.at(where, **facts, error=str(error))) from error
        except UnconfirmedError as error:
            # whether it has run is seen when it is read back; where nothing more can be read, nobody knows
            try:
                await self.control.look()
            except CannotRunError as lost:
                looked = f"it could not be asked again, {lost.diagnostics[0].message}"
                unconfirmed = codes.COMMAND_UNCONFIRMED.at(where, **facts, reason=str(error), looked=looked)
                raise CannotRunError(unconfirmed) from error


def _refusals(source: _End, destination: _End, *, failed: bool) -> Iterator[Diagnostic]:
    """Why nothing may be touched yet (BM901 to BM903)."""
    if source.state is None and destination.state is None:
        reason = f"{source.gone} at {source.control.endpoint.text!r}, {destination.gone} at the other"
        yield codes.ENDS_UNREACHABLE.at(Where(), reason=reason)
        return
    under_way = False
    for end in (source, destination):
        if end.state is not None and _under_way(end.state):
            under_way = True
            side = end.control.side
            yield codes.MIGRATION_UNDER_WAY.at(Where(side=side), side=side, status=end.state.migration.status)
    if under_way or failed:
        return
    for end in (source, destination):
        if end.state is not None and end.state.migration.status != "completed":
            side, status = end.control.side, end.state.migration.status or "none"
            yield codes.MIGRATION_NOT_OVER.at(Where(side=side), reason=f"the {side} says {status!r}")


def _under_way(found: State) -> bool:
    """Whether a migration goes on; a destination that only listens for one (`setup`) is not in the middle of any."""
    listening = found.run_state == "inmigrate" and found.migration.status == "setup"
    return found.migration.status in UNDER_WAY and not listening

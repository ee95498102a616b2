"""Plan -> both QEMUs set as it says, or as they were.

    lock -> connect -> capture -> compare -> set (destination, source) -> capture -> compare
                                             '------- put back what was set, where anything fails -------'

Until the first command that sets something, `apply` can be ended at any moment and has changed nothing. From then on
nothing is cut short: the answer to the command in flight is awaited, and then either all is set and read back, or what
was set is put back.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from bitmapmig import codes, recorded
from bitmapmig.applying.document import Applied, ApplyInterruptedError, NotAppliedError, StaleError
from bitmapmig.applying.intake import commands
from bitmapmig.applying.interruption import Stop, StoppedError, until_stopped
from bitmapmig.applying.putback import (
    Aims,
    neutral_destination,
    neutral_source,
    put_back,
    side_now,
    told,
    untouched,
)
from bitmapmig.applying.staleness import Seen, check
from bitmapmig.applying.temporaries import Temporaries
from bitmapmig.control import CommandRefusedError, Control, InForce, UnconfirmedError
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.lock import Holder, LockLostError, held
from bitmapmig.whereabouts import endpoints, vm

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from bitmapmig.applying.document import SideNow
    from bitmapmig.captures import Capture
    from bitmapmig.diagnostics import Diagnostic, Side
    from bitmapmig.endpoint import Endpoint
    from bitmapmig.lock import Lock
    from bitmapmig.plans import Plan
    from bitmapmig.plans.document import Command, Commands

    #: What goes on once all is set: gets the sessions with source and destination, what was done, and the lock.
    Then: TypeAlias = Callable[[Control, Control, Applied, Lock], Awaitable[None]]

_T = TypeVar("_T")


async def apply(
    plan: Plan,
    *,
    source: Endpoint | str | None = None,
    destination: Endpoint | str | None = None,
    timeout: float = 10.0,  # noqa: ASYNC109  of each step
    lock: str | None = None,
    lock_timeout: float = 0.0,
    dry_run: bool = False,
    stop: Stop | None = None,
    then: Then | None = None,
) -> Applied:
    """Set on both QEMUs what `plan` says, after a look that it still fits; what each side has then.

    `source` and `destination` are used in place of the plan's own endpoints. `timeout` is in seconds: connecting takes
    at most so long, and so does each answer. `lock` is the URL of the lock, else a file of this host, and
    `lock_timeout` how many seconds to wait for it. With `dry_run` nothing is set. `then` is called once all is set,
    with the sessions still open and the lock held; `stop` ends it, and all stays set.

    Raises `StaleError` (BM711 to BM714) where the plan does not fit any more; `CannotRunError` where it cannot be
    applied at all (BM701 to BM707, and what a capture raises); `NotAppliedError` where setting failed, `LockHeldError`
    and `LockLostError`; `ApplyInterruptedError` where `stop` was told. Unless a finding (BM725) says that a side does
    not answer, both are then as they were but for a neutral map in place of none, and findings (BM724) say so. The same
    holds where the task is cancelled.
    """
    made = commands(plan)
    run = _Run(
        plan,
        made,
        endpoints(plan, source, destination),
        _Options(timeout, lock, lock_timeout, dry_run, then),
        stop or Stop(),
    )
    return await run.guarded()


@dataclass(frozen=True)
class _Options:
    timeout: float
    lock: str | None
    lock_timeout: float
    dry_run: bool
    then: Then | None


# carrying it out


@dataclass
class _Run:
    """One run of `apply`. `changing` is whether something was, or may have been, set."""

    plan: Plan
    commands: Commands
    ends: tuple[Endpoint, Endpoint]
    options: _Options
    stop: Stop
    changing: bool = False
    outcome: str = "nothing was set, both QEMUs are as they were"
    touched: set[Side] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.source = Control("source", self.ends[0], self.options.timeout)
        self.destination = Control("destination", self.ends[1], self.options.timeout)

    async def guarded(self) -> Applied:
        """Run to the end, or until told to stop: at once before anything is set, after that once it is put back."""
        try:
            return await until_stopped(self._run(), self.stop, lambda: not self.changing)
        except StoppedError as error:
            raise ApplyInterruptedError(self._interrupted(self.outcome)) from error

    async def _run(self) -> Applied:
        async with AsyncExitStack() as stack:
            if self.options.dry_run:
                stack.push_async_callback(self._close)
                self.temporaries = Temporaries(self.plan, await vm(self.plan, self.ends[0]))
                aims, irrelevant = await self._compared()
                now = tuple(self._said(control, aims[control.side]) for control in self._controls)
                return Applied(outcome="dry-run", commands=self.commands, now=now, irrelevant=irrelevant)
            key = await vm(self.plan, self.ends[0])
            holding = held(key, url=self.options.lock, timeout=self.options.lock_timeout, holder=Holder.here("apply"))
            lock = await stack.enter_async_context(holding)
            # pushed last, so that the sessions have ended when the lock is free
            stack.push_async_callback(self._close)
            self.temporaries = Temporaries(self.plan, key)
            aims, irrelevant = await self._compared()
            self.changing = True
            try:
                now = await self._changed(lock, aims)
            except BaseException as cause:
                raise await self._undone(cause, lock, aims) from cause
            done = Applied(outcome="applied", commands=self.commands, now=now, irrelevant=irrelevant)
            # what was noted of an earlier attempt would accuse this one
            with suppress(OSError, CannotRunError):
                recorded.forget(self.plan)
            self.changing, self.outcome = False, "all is set as planned, and the migration is not waited for any more"
            if self.options.then is not None:
                self.stop.check()
                await self.options.then(self.source, self.destination, done, lock)
        return done

    async def _close(self) -> None:
        for control in self._controls:
            await control.close()

    async def _compared(self) -> tuple[dict[Side, Aims], tuple[str, ...]]:
        """What each side has and is to have, and what differs without mattering. Raises `StaleError`."""
        captures = await self._both(lambda control: control.capture())
        seen = self._seen(captures)
        self.temporaries.see(seen["source"].graph)
        aims = self._aims(captures, seen)
        try:
            return aims, check(self.plan, seen["source"], seen["destination"])
        except StaleError as error:
            # an earlier run may have set what does harm now
            left = [one for one in self._controls if aims[one.side].left_over]
            raise StaleError(
                *error.diagnostics, *(told(one, aims[one.side], aims[one.side].before) for one in left)
            ) from error

    @staticmethod
    def _said(control: Control, aims: Aims) -> SideNow:
        return side_now(control, aims, aims.before, "planned")

    @property
    def _controls(self) -> tuple[Control, Control]:
        return self.destination, self.source

    def _seen(self, captures: Mapping[Side, Capture]) -> dict[Side, Seen]:
        return {
            "source": Seen.of("source", self.plan.source, captures["source"], self.temporaries.ignored),
            "destination": Seen.of("destination", self.plan.destination, captures["destination"]),
        }

    def _aims(self, captures: Mapping[Side, Capture], seen: Mapping[Side, Seen]) -> dict[Side, Aims]:
        before: dict[Side, InForce] = {side: InForce.of(capture) for side, capture in captures.items()}
        maps = self.plan.block_bitmap_mapping
        # the source's commands end with the capability, where they set it at all
        on = before["source"].dirty_bitmaps if not self.commands.source else maps.source is not None
        there = seen["destination"].graph
        return {
            "source": Aims(before["source"], maps.source, on, neutral_source(seen["source"].own)),
            "destination": Aims(
                before["destination"],
                maps.destination,
                before["destination"].dirty_bitmaps,
                neutral_destination(self.plan, there),
            ),
        }

    async def _both(self, act: Callable[[Control], Awaitable[_T]]) -> dict[Side, _T]:
        """What `act` gives for each side, both at once. Raises `CannotRunError` with the findings of both."""
        done = await asyncio.gather(*map(act, self._controls), return_exceptions=True)
        found: list[Diagnostic] = []
        results: dict[Side, _T] = {}
        for control, result in zip(self._controls, done, strict=True):
            if isinstance(result, CannotRunError):
                found += result.diagnostics
            elif isinstance(result, BaseException):
                raise result
            else:
                results[control.side] = result
        if found:
            raise CannotRunError(*found)
        return results

    # setting

    def _steps(self) -> Iterator[tuple[Control, Command]]:
        """What is sent where, in order: what needs the destination at all is set before the source sends by it."""
        for command in self.commands.destination:
            yield self.destination, command
        for command in self.temporaries.commands():
            yield self.source, command
        for command in self.commands.source:
            if command.execute != "transaction":
                yield self.source, command

    async def _changed(self, lock: Lock, aims: Mapping[Side, Aims]) -> tuple[SideNow, ...]:
        """Set everything, and prove it; what each side has then."""
        for control, command in self._steps():
            self.stop.check()
            await lock.check()
            self.stop.check()
            if command.execute == "transaction":
                self.temporaries.note()
            self.touched.add(control.side)
            await self._set(control, command, aims[control.side])
        self.stop.check()
        captures = await self._both(lambda control: control.capture())
        after = self._seen(captures)
        check(self.plan, after["source"], after["destination"])
        self.stop.check()
        missing = self.temporaries.differing(after["source"].graph)
        if missing:
            differences = f"temporary bitmaps {', '.join(missing)}"
            where = Where(side="source")
            raise NotAppliedError(codes.READ_BACK_DIFFERS.at(where, side="source", differences=differences))
        there, here = (self._proven(one, aims[one.side], captures[one.side]) for one in self._controls)
        await self.temporaries.remove_foreign(self.source)
        names = tuple(sorted(name for _, name in self.plan.temporaries))
        return there, here.model_copy(update={"temporaries": names})

    async def _set(self, control: Control, command: Command, aims: Aims) -> None:
        """Send one command; where its answer does not come, see whether it has run."""
        where = Where(side=control.side)
        facts: dict[str, Any] = {"side": control.side, "command": command.execute}
        try:
            await control.send(command)
        except CommandRefusedError as error:
            raise NotAppliedError(codes.COMMAND_REFUSED.at(where, **facts, error=str(error))) from error
        except UnconfirmedError as error:
            reason = str(error)
            try:
                if await self._has_run(control, command, aims):
                    return
            except CannotRunError as lost:
                looked = f"it could not be asked again, {lost.diagnostics[0].message}"
            else:
                looked = "asked again, it has not done it"
            unconfirmed = codes.COMMAND_UNCONFIRMED.at(where, **facts, reason=reason, looked=looked)
            raise NotAppliedError(unconfirmed) from error

    async def _has_run(self, control: Control, command: Command, aims: Aims) -> bool:
        if command.execute == "migrate-set-parameters":
            return (await control.look()).maps(aims.mapping)
        if command.execute == "migrate-set-capabilities":
            return (await control.look()).dirty_bitmaps == aims.dirty_bitmaps
        return await self.temporaries.has_run(control, command)

    def _proven(self, control: Control, aims: Aims, capture: Capture) -> SideNow:
        """What one side has; raises `NotAppliedError` (BM722) where it is not what was set."""
        now = InForce.of(capture)
        if not aims.planned(now):
            differences = [] if now.maps(aims.mapping) else ["block-bitmap-mapping"]
            differences += [] if now.dirty_bitmaps == aims.dirty_bitmaps else ["dirty-bitmaps"]
            raise NotAppliedError(
                codes.READ_BACK_DIFFERS.at(
                    Where(side=control.side), side=control.side, differences=" and ".join(differences)
                )
            )
        return side_now(control, aims, now, "planned")

    # putting back

    async def _undone(self, cause: BaseException, lock: Lock, aims: Mapping[Side, Aims]) -> BaseException:
        """Put back what was set; what to raise, which says what caused it and what each side has now.

        Without the lock nothing is written: another may have begun to.
        """
        sides: list[Diagnostic] = []
        for control in reversed(self._controls):
            if control.side in self.touched:
                sides.append(await put_back(control, aims[control.side], write=await _held(lock)))
            else:
                sides.append(untouched(control))
        if "source" in self.touched and self.plan.merges:
            sides += await self.temporaries.put_back(self.source, write=await _held(lock))
        if isinstance(cause, StoppedError):
            return ApplyInterruptedError(self._interrupted("what was set was put back"), *sides)
        if isinstance(cause, StaleError | LockLostError):
            return type(cause)(*cause.diagnostics, *sides)
        if isinstance(cause, CannotRunError):
            return NotAppliedError(*cause.diagnostics, *sides)
        for one in sides:
            cause.add_note(one.message)
        return cause

    def _interrupted(self, outcome: str) -> Diagnostic:
        return codes.APPLY_INTERRUPTED.at(Where(), signal=self.stop.reason or "", outcome=outcome)


async def _held(lock: Lock) -> bool:
    try:
        await lock.check()
    except LockLostError:
        return False
    return True

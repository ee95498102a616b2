"""Plan -> a migration that somebody else starts, with the plan set before it, and verified and cleaned up after it.

apply -> watch (sessions and lock held) -> verify -> finish
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bitmapmig import codes, recorded
from bitmapmig.applying.applier import apply
from bitmapmig.applying.interruption import Stop
from bitmapmig.diagnostics import BitmapmigError, CannotRunError, Diagnostic, Where
from bitmapmig.finishing.finisher import finish
from bitmapmig.verifying import VerificationFailed
from bitmapmig.verifying.verifier import verify
from bitmapmig.waiting.document import Migrated, MigrationFailed
from bitmapmig.waiting.watcher import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from bitmapmig.applying.document import Applied
    from bitmapmig.control import Control
    from bitmapmig.finishing.document import Finished
    from bitmapmig.lock import Lock
    from bitmapmig.plans import Plan
    from bitmapmig.verifying import Verified


@dataclass(frozen=True)
class _Ends:
    """Where both are, and how long each step may take, as `apply`, `verify` and `finish` take it."""

    source: str | None
    destination: str | None
    timeout: float
    lock: str | None
    lock_timeout: float


async def apply_and_wait(
    plan: Plan,
    *,
    source: str | None = None,
    destination: str | None = None,
    timeout: float = 10.0,  # noqa: ASYNC109  of each step
    lock: str | None = None,
    lock_timeout: float = 0.0,
    wait_timeout: float | None = None,
    stop: Stop | None = None,
    applied: Callable[[Applied], None] = lambda _: None,
    warn: Callable[[Diagnostic], None] = lambda _: None,
) -> Migrated:
    """Apply `plan`, wait for the migration that somebody else starts, verify what came, and leave both ends clean.

    Endpoints, timeouts and lock are as for `apply`. `wait_timeout` is in seconds, from when all is set until the
    migration has ended; None waits for ever. `applied` is called once all is set: the migration may start. `warn` is
    called at once with what changes while it is waited for (BM731, BM734).

    Raises `MigrationFailed`, which carries the document, where the migration did not complete (BM733) or what it
    brought is not as planned; `CannotRunError` (BM732) after `wait_timeout`, and what `apply` raises.
    """
    at = _Ends(source, destination, timeout, lock, lock_timeout)
    watch = Watch(plan, warn)

    async def then(here: Control, there: Control, what: Applied, held: Lock) -> None:
        applied(what)
        await watch.ended(here, there, held, wait_timeout)

    done = await apply(
        plan,
        source=source,
        destination=destination,
        timeout=timeout,
        lock=lock,
        lock_timeout=lock_timeout,
        stop=stop,
        then=then,
    )
    verified, failures, open_ = await _verified(plan, at, watch)
    finished, problems = await _finished(plan, at, failed=watch.failed)
    came = Migrated(
        outcome="failed" if failures else "completed",
        applied=done,
        recorded=len(watch.digests),
        warnings=tuple(watch.warnings),
        verified=verified,
        finished=finished,
        failures=failures,
        problems=(*open_, *problems),
    )
    if failures:
        raise MigrationFailed(came)
    return came


async def _verified(
    plan: Plan, at: _Ends, watch: Watch
) -> tuple[Verified | None, tuple[Diagnostic, ...], tuple[Diagnostic, ...]]:
    """What came of the bitmaps, why that is not what was planned, and why it could not be found out."""
    if watch.failed:
        # what was noted of an attempt that is over would accuse the next one
        with suppress(OSError, CannotRunError):
            recorded.forget(plan)
        return None, (codes.ATTEMPT_FAILED.at(Where(), status=watch.status or "none", reason=watch.reason),), ()
    digests = watch.digests or None
    try:
        verified = await verify(plan, source=at.source, destination=at.destination, digests=digests, timeout=at.timeout)
    except VerificationFailed as failed:
        return failed.verified, failed.diagnostics, ()
    except CannotRunError as error:
        return None, (), error.diagnostics  # both ends are to be left clean all the same
    return verified, (), ()


async def _finished(plan: Plan, at: _Ends, *, failed: bool) -> tuple[Finished | None, tuple[Diagnostic, ...]]:
    """What was cleaned, or why it could not be."""
    try:
        finished = await finish(
            plan,
            source=at.source,
            destination=at.destination,
            failed=failed,
            lock=at.lock,
            lock_timeout=at.lock_timeout,
            timeout=at.timeout,
        )
    except BitmapmigError as error:
        return None, (*error.diagnostics, codes.NOT_CLEANED.at(Where()))
    return finished, ()

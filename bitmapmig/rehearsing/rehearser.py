"""A plan -> a rehearsal of it: both block graphs rebuilt on throw-away QEMUs, and the plan carried out on them.

    stands -> rebuilt -> apply -> migrate -> verify -> go on, shut down, look into the images -> judge

`apply` and `verify` are those that a user runs. Nothing of the user's is opened: of images only their sizes count.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from typing import TYPE_CHECKING

from bitmapmig import codes, graph, state, state_directory
from bitmapmig.captures import printable
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.rehearsing.course import course
from bitmapmig.rehearsing.rebuilt import rebuilt
from bitmapmig.rehearsing.stand import stands
from bitmapmig.rehearsing.telling import told
from bitmapmig.throwaway import Binary, NotBuiltError, QemuGoneError, private_folder
from bitmapmig.validate import End

if TYPE_CHECKING:
    from pathlib import Path

    from bitmapmig.captures import Capture
    from bitmapmig.diagnostics import Side
    from bitmapmig.plans import Plan
    from bitmapmig.rehearsing.course import Says
    from bitmapmig.rehearsing.document import Rehearsal

#: Seconds that a whole rehearsal may take; it takes one.
SECONDS = 180.0


async def rehearse(
    plan: Plan,
    source_qemu: Binary | str | Path | None = None,
    destination_qemu: Binary | str | Path | None = None,
    *,
    captures: tuple[Capture, Capture] | None = None,
    anyway: bool = False,
    seed: int | None = None,
    says: Says = lambda _: None,
) -> Rehearsal:
    """Carry `plan` out between throw-away QEMUs of these programs, built like its ends; what came of it.

    Programs are paths, or names on PATH; by default the first QEMU of this machine. `captures` are what the plan was
    made from, source and destination; without them both are rebuilt as far as the plan document tells, which is all of
    the graphs, and of what is set what a refusal names. A refused plan is rehearsed with `anyway`: then what it would
    have set is set. `seed` gives the dirty bits again that an earlier rehearsal had. `says` is told what is being done.

    Raises `CannotRunError`: BM704 for a refused plan without `anyway`, BM108 and BM111 where a capture cannot be
    evaluated, BM121 and BM122 where a program is no QEMU or does not start, BM123 where a graph cannot be rebuilt,
    BM851 where a stand-in does not answer, or the whole takes longer than `SECONDS`.
    """
    if plan.verdict == "refused" and not (anyway and plan.attempt):
        raise CannotRunError(codes.PLAN_REFUSED.at(Where(), refusals=len(plan.refusals)))
    seed = secrets.randbits(32) if seed is None else seed
    bits = random.Random(seed)  # noqa: S311  not for secrets
    found = stands(plan, None if captures is None else _ends(captures))
    programs = _programs(source_qemu, destination_qemu)
    says("rebuilding both block graphs")
    try:
        # what `apply` keeps for later runs is nobody's business here
        with private_folder() as folder, state_directory.elsewhere(folder / "state"):
            async with (
                asyncio.timeout(SECONDS),
                rebuilt(plan, found, programs, folder, bits) as pair,
            ):
                return told(plan, pair, await course(plan, pair, says), seed)
    except NotBuiltError as error:
        where = Where(node=error.node)
        raise CannotRunError(codes.GRAPH_NOT_REBUILT.at(where, reason=str(error))) from error
    except (TimeoutError, QemuGoneError) as error:
        reason = str(error) or f"it was not over within {SECONDS:g} s"
        raise CannotRunError(codes.REHEARSAL_STUCK.at(Where(), reason=printable(reason))) from error


def _programs(source: Binary | str | Path | None, destination: Binary | str | Path | None) -> tuple[Binary, Binary]:
    """Both programs; each is asked once what it is. Raises `CannotRunError` (BM121)."""
    here = Binary.chosen(source)
    return here, here if source == destination else Binary.chosen(destination)


def _ends(captures: tuple[Capture, Capture]) -> tuple[End, End]:
    sides: tuple[Side, Side] = "source", "destination"
    source, destination = (
        End(side, graph.read(capture, side)[0], state.read(capture))
        for side, capture in zip(sides, captures, strict=True)
    )
    return source, destination

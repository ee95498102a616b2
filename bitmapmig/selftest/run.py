"""A QEMU program -> its behaviour profile: every experiment, some of them at a time."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

from bitmapmig import codes
from bitmapmig.captures import printable
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.profile import Answer, Profile
from bitmapmig.selftest.experiment import Experiment, NotApplicable
from bitmapmig.selftest.lab import Lab
from bitmapmig.selftest.materials import prepared
from bitmapmig.selftest.table import EXPERIMENTS
from bitmapmig.throwaway import Binary, NotBuiltError, QemuGoneError, QemuRefusedError, private_folder, running

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bitmapmig.behaviour import Version
    from bitmapmig.selftest.materials import Materials

#: Seconds that one experiment may take; it takes a fifth of one.
PATIENCE = 10.0
#: Experiments that are made at once, at most, and for each processor; each spends half of its time waiting.
AT_ONCE, OF_ONE_PROCESSOR = 8, 2
#: Experiments that are made once more, alone, at most: of those that came to no answer, and of those whose answer
#: differs. Where more differ, that is no chance.
AGAIN_WITHOUT, AGAIN_DIFFERING = 8, 24
#: Lines of QEMU's that are kept of one experiment, and characters of each.
_LINES, _LINE = 12, 300
#: What a QEMU that behaves as nobody expects makes of an experiment: it says no, or what it says is not understood.
_SAID_NO = (QemuRefusedError, QemuGoneError, NotBuiltError, CannotRunError)
#: How a QEMU says of a driver that it knows that it was built not to open it (`bdrv_open_common`).
_NOT_BUILT_IN = re.compile(r"is not whitelisted|can only be used for read-only")
_UNREADABLE = (OSError, LookupError, ValueError, TypeError)


async def profile_of(
    qemu: Binary | str | Path | None = None,
    *,
    says: Callable[[str], None] = lambda _: None,
    experiments: Sequence[Experiment] | None = None,
) -> Profile:
    """The behaviour profile of a QEMU: a path, a name on PATH, or by default the first of this machine.

    `says` is told how far it is.

    All but the lines of logs is the same each time. Raises `CannotRunError` where the program is no QEMU (BM121), does
    not start or has no bitmaps (BM122), or there is no room for it (BM001).
    """
    experiments = EXPERIMENTS if experiments is None else experiments
    binary = Binary.chosen(qemu)
    with private_folder() as folder:
        async with running(binary, folder=folder, name="bench") as bench:
            try:
                told = await bench.execute("query-version")
                version = (told["qemu"]["major"], told["qemu"]["minor"], told["qemu"]["micro"])
                materials = await prepared(bench)
            except (*_SAID_NO, *_UNREADABLE) as error:
                reason = f"nothing can be tried on it: {printable(repr(error), 300)}"
                raise CannotRunError(
                    codes.QEMU_NOT_STARTED.at(Where(), path=str(binary.path), reason=reason)
                ) from error
            answers = await _Course(binary, version, materials, says).answers(experiments)
    behaviours = {
        experiment.behaviour.name: experiment.harms(answer.answer)
        for experiment, answer in zip(experiments, answers, strict=True)
        if experiment.behaviour is not None and answer.answer is not None
    }
    return Profile(
        qemu_version=".".join(map(str, version)),
        package=told["package"],
        behaviours=behaviours,
        answers=answers,
        differs=tuple(answer.name for answer in answers if not answer.agrees),
    )


class _Course:
    """All experiments on one QEMU."""

    def __init__(self, binary: Binary, version: Version, materials: Materials, says: Callable[[str], None]) -> None:
        self._binary = binary
        self._version = version
        self._materials = materials
        self._says = says
        self._places = asyncio.Semaphore(min(AT_ONCE, OF_ONE_PROCESSOR * (os.cpu_count() or 1)))
        self._done = 0

    async def answers(self, experiments: Sequence[Experiment]) -> tuple[Answer, ...]:
        """The answers, in the order of the experiments; what does not agree is tried again, alone."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(experiment, len(experiments))) for experiment in experiments]
        answers = [task.result() for task in tasks]
        without = [number for number, answer in enumerate(answers) if answer.answer is None and not answer.agrees]
        differing = [number for number, answer in enumerate(answers) if answer.answer is not None and not answer.agrees]
        for number in sorted((*without[:AGAIN_WITHOUT], *differing[:AGAIN_DIFFERING])):
            again = await self._asked(experiments[number], f"{experiments[number].name}-again")
            answers[number] = settled(experiments[number], answers[number], again)
        return tuple(answers)

    async def _one(self, experiment: Experiment, of: int) -> Answer:
        async with self._places:
            answer = await self._asked(experiment, experiment.name)
        self._done += 1
        self._says(f"{self._done} of {of} experiments")
        return answer

    async def _asked(self, experiment: Experiment, folder: str) -> Answer:
        """The answer to one experiment."""
        own = self._materials.bench.folder / folder
        own.mkdir(mode=0o700)
        found: str | NotApplicable | None = None
        reason = ""
        async with AsyncExitStack() as stack:
            lab = Lab(self._binary, self._materials, own, stack)
            try:
                async with asyncio.timeout(PATIENCE):
                    found = await experiment.run(lab)
            except TimeoutError as error:
                reason = str(error) or f"it was not over within {PATIENCE:g} s"
            except _SAID_NO as error:
                reason = str(error)
                found = NotApplicable(reason) if _NOT_BUILT_IN.search(reason) else None
            except _UNREADABLE as error:
                reason = printable(f"what it says is not understood: {error!r}", 1000)
            log = tuple(printable(line, _LINE) for line in lab.log())[:_LINES]
            with suppress(TimeoutError):  # the stack ends it once more
                await lab.over()
        await asyncio.to_thread(shutil.rmtree, own, ignore_errors=True)
        return _answer(experiment, experiment.assumed(self._version), found, reason, log)


def settled(experiment: Experiment, first: Answer, again: Answer) -> Answer:
    """What counts of two answers to one experiment, of which the first is none, or not as assumed.

    No answer at all was chance where the second time there is one. Otherwise two answers that are not the same are
    told of in the reason, and the one that harms counts: a QEMU that loses a bitmap now and then is one that loses
    bitmaps. No answer the second time is none that can be relied on either.
    """
    if first.answer is None or first.answer == again.answer:
        return again
    harmful = next((one for one in (first, again) if one.answer is not None and experiment.harms(one.answer)), again)
    said = again.answer or f"nothing, since {again.reason}"
    reason = printable(f"it answers now this, now that: first {first.answer}, then {said}", 1000)
    return harmful.model_copy(update={"reason": reason})


def _answer(
    experiment: Experiment, assumed: str, found: str | NotApplicable | None, reason: str, log: tuple[str, ...]
) -> Answer:
    untried = isinstance(found, NotApplicable)
    return Answer(
        name=experiment.name,
        section=experiment.section,
        question=experiment.question,
        kind=experiment.kind,
        behaviour=experiment.behaviour and experiment.behaviour.name,
        assumed=assumed,
        answer=None if isinstance(found, NotApplicable) else found,
        agrees=untried or found == assumed,
        reason=found.reason if isinstance(found, NotApplicable) else reason,
        log=log,
    )

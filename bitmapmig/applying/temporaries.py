"""The temporaries of a plan on its source: noted before they are made, made in one go, and removed again.

What is there when a run begins was left by an earlier one. Of the plan's own it is merged anew, at no moment being
absent, since the map in force may name it; any other that is noted of the VM is removed once all is set, unless the map
that is in force then names it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bitmapmig import codes, graph, temporaries
from bitmapmig.control import CommandRefusedError, UnconfirmedError
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.plans.merging import merge_commands, remove

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.control import Control
    from bitmapmig.diagnostics import Diagnostic
    from bitmapmig.graph import BlockGraph
    from bitmapmig.plans import Plan
    from bitmapmig.plans.document import Command


@dataclass
class Temporaries:
    """The temporaries on one source; `vm` is what it is known by.

    `before` are the plan's own that were there when the run began, `foreign` those of other plans, `wrong` those of the
    plan's own that are not as it would make them.
    """

    plan: Plan
    vm: str
    before: frozenset[tuple[str, str]] = frozenset()
    foreign: frozenset[tuple[str, str]] = frozenset()
    wrong: frozenset[tuple[str, str]] = frozenset()
    noted: frozenset[tuple[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        own = {(node.name, one.name) for node in self.plan.source.structure.nodes for one in node.bitmaps}
        self.noted = temporaries.load(self.vm) - own

    @property
    def ignored(self) -> frozenset[tuple[str, str]]:
        """What does not count where the source is compared with the plan."""
        return self.plan.temporaries | self.noted

    def see(self, there: BlockGraph) -> None:
        """Take note of what is there when the run begins."""
        found = _on(there)
        self.foreign = (self.noted & found) - self.plan.temporaries
        self.before = self.plan.temporaries & found
        self.wrong = frozenset(place for place in self.before if not self._fits(there, place))

    def _fits(self, there: BlockGraph, place: tuple[str, str]) -> bool:
        return not self.differing(there, frozenset([place]))

    def differing(self, there: BlockGraph, places: frozenset[tuple[str, str]] | None = None) -> tuple[str, ...]:
        """The names of the plan's temporaries that are not there, or not as they were made."""
        found = {(str(node.name), str(one.name)): one for node in there.nodes.values() for one in node.bitmaps}
        wrong = []
        for merge in self.plan.merges:
            if places is not None and merge.place not in places:
                continue
            one = found.get(merge.place)
            ordinary = one is not None and one.recording and not one.persistent and not one.inconsistent
            if one is None or not ordinary or one.granularity != merge.granularity:
                wrong.append(merge.temporary)
        return tuple(wrong)

    def commands(self) -> Iterator[Command]:
        """What makes the temporaries, after what is in the way is removed."""
        for place in sorted(self.wrong):
            yield remove(*place)
        yield from merge_commands(self.plan.merges, self.kept)

    def note(self) -> None:
        """Note what is about to be made. Raises `CannotRunError` (BM741, BM756)."""
        try:
            temporaries.save(self.vm, self.foreign | self.plan.temporaries)
        except OSError as error:
            reason = error.strerror or str(error)
            raise CannotRunError(codes.TEMPORARIES_NOT_NOTED.at(Where(side="source"), reason=reason)) from error

    def settle(self, left: frozenset[tuple[str, str]]) -> None:
        """Note what is left; that this cannot be written leaves a note of what is not there, which does no harm."""
        if self.noted | self.plan.temporaries:
            try:
                temporaries.save(self.vm, left)
            except (OSError, CannotRunError):
                return

    async def has_run(self, control: Control, command: Command) -> bool:
        """Whether a command of `commands`, whose answer did not come, has taken effect. Raises `CannotRunError`."""
        if command.execute == "block-dirty-bitmap-remove":
            return (command.arguments["node"], command.arguments["name"]) not in await on(control)
        if self.plan.temporaries != self.kept:
            return self.plan.temporaries <= await on(control)
        # merging anew leaves no trace, and can be done again
        try:
            await control.send(command)
        except (CommandRefusedError, UnconfirmedError):
            return False
        return True

    async def remove_foreign(self, control: Control) -> None:
        """Remove what other plans have left; what cannot be removed stays noted. Raises nothing."""
        left = self.foreign
        try:
            now = await control.look() if left else None
            for place in sorted(left - now.named) if now else ():
                with suppress(CommandRefusedError, UnconfirmedError):
                    await control.send(remove(*place))
            left = left & await on(control) if left else left
        except CannotRunError:
            pass
        self.settle(left | self.plan.temporaries)

    @property
    def kept(self) -> frozenset[tuple[str, str]]:
        """The plan's own temporaries that were there before as they are to be."""
        return self.before - self.wrong

    async def put_back(self, control: Control, *, write: bool) -> tuple[Diagnostic, ...]:
        """Remove those that this run made; a finding (BM742) where one stays. Raises nothing."""
        left = self.plan.temporaries - self.kept
        reason = "the lock is lost, so nothing is written"
        try:
            for place in sorted(left & await on(control)) if write else ():
                try:
                    await control.send(remove(*place))
                except (CommandRefusedError, UnconfirmedError) as error:
                    reason = str(error)
            there = await on(control)
        except CannotRunError as error:
            reason = error.diagnostics[0].message
        else:
            left &= there
            self.settle((self.noted | self.plan.temporaries) & there)
        if not left:
            return ()
        names = sorted(bitmap for _, bitmap in left)
        return (codes.TEMPORARIES_LEFT.at(Where(side="source"), bitmaps=names, reason=reason),)


def _on(there: BlockGraph) -> frozenset[tuple[str, str]]:
    return frozenset((node.name, one.name) for node in there.nodes.values() for one in node.bitmaps)


async def on(control: Control) -> frozenset[tuple[str, str]]:
    """The bitmaps (node, bitmap) that are on a side now. Raises `CannotRunError`."""
    return _on(graph.read(await control.capture(), control.side)[0])

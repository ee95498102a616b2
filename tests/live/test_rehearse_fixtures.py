"""Every recorded case, rehearsed on the QEMUs that it was recorded on: plans survive, refusals show their harm."""

from __future__ import annotations

import asyncio
import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from bitmapmig import codes, plans
from bitmapmig.captures import load
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.rehearsing import Rehearsal, rehearse
from bitmapmig.throwaway import Binary
from tests.live.qemu import binaries
from tests.test_cases import CASES, answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bitmapmig.diagnostics import Side
    from bitmapmig.plans import Plan
    from bitmapmig.rehearsing.document import Happened, RehearsedMigration

_SIDES: tuple[Side, Side] = ("source", "destination")


class Harm(NamedTuple):
    """What a code speaks of, as a rehearsal shows it.

    `source` and `destination` are how they end, empty where no migration is begun; `source` is None where it depends on
    what it still has to send when the destination exits. `happened` is what became of one
    bitmap at least; `said` is in a line of a log, in an error over QMP or in a failure, empty where nothing says it.
    """

    source: str | None
    destination: str
    happened: Happened
    said: str = ""


_UNNAMED = Harm("failed", "exits", "not-migrated", r"in a node with auto-generated name '#block\d+' can't be migrated")
_SWITCH_OVER = Harm("failed", "exits", "not-migrated", r"bdrv_inactivate_all\(\) failed")
_IN_USE = Harm("failed", "exits", "not-migrated", "is currently in use by another operation and cannot be used")
_UNKNOWN_MEMBER = Harm("", "", "not-migrated", "transform' is unexpected")
_SUPERSEDED = Harm("completed", "completed", "leaves-inconsistent")

#: The harm of each code that a recorded case is refused by. Of BM571, BM573 to BM575 it is what becomes of the layers
#: where they are not merged, and of BM577 that 5.2 does not know what would make a merged bitmap persistent.
HARMS = {
    "BM301": _UNNAMED,
    "BM302": _IN_USE,
    "BM501": Harm("completed", "completed", "lost", "Cannot find device='.+' nor node-name='.+'"),
    "BM502": Harm("completed", "completed", "lost", "Device 'drive0' has no medium"),
    "BM503": Harm("", "", "not-migrated", "The node alias 'fmt0' is used twice"),
    "BM504": Harm("completed", "completed", "misplaced", "BM853 .* as planned, misplaced: it is 'b1' on 'disk0'"),
    "BM505": Harm("", "", "not-migrated", "The bitmap alias 'disk0'/'b1' is used twice"),
    "BM511": Harm("refuses", "waiting", "not-migrated", "Guest is waiting for an incoming migration"),
    "BM512": Harm("refuses", "waiting", "not-migrated", "'-incoming' was not specified on the command line"),
    "BM514": Harm("refuses", "waiting", "not-migrated", "does not support live migration"),
    "BM515": Harm("completed", "exits", "not-migrated", "MIG_CMD 0xb unknown"),
    "BM517": Harm("failed", "exits", "not-migrated", "Machine type received is '.+' and local is '.+'"),
    "BM518": _SWITCH_OVER,
    "BM519": _SWITCH_OVER,
    "BM522": _UNKNOWN_MEMBER,
    "BM523": Harm("", "", "not-migrated", "Background-snapshot is not compatible with dirty-bitmaps"),
    "BM524": _SWITCH_OVER,
    "BM525": Harm("failed", "exits", "not-migrated", "UUID received is .+ and local is .+"),
    "BM527": Harm(None, "exits", "not-migrated", "Unknown savevm section or instance '.+/virtio-blk'"),
    "BM531": Harm("failed", "exits", "not-migrated", "Bitmap 'b0' is inconsistent and cannot be used"),
    "BM532": _IN_USE,
    "BM533": Harm("failed", "exits", "not-migrated", "Bitmap 'b0' is readonly and cannot be modified"),
    "BM541": Harm("completed", "aborts", "not-migrated", "serialization_chunk: Assertion"),
    "BM542": Harm("failed", "exits", "not-migrated", "Bitmap with the same name .+ already exists on destination"),
    "BM543": Harm("completed", "completed", "breaks-activation", "Bitmap already exists: b0"),
    "BM544": Harm("completed", "completed", "stale"),
    "BM545": _SUPERSEDED,
    "BM547": Harm("completed", "completed", "lost"),
    "BM548": Harm("completed", "completed", "lost-at-shutdown"),
    "BM549": Harm("failed", "exits", "not-migrated", "Cannot make migrated bitmap 'b0' persistent on read-only node"),
    "BM553": Harm("aborts", "exits", "not-migrated", "bdrv_dirty_bitmap_truncate: Assertion"),
    "BM554": Harm("aborts", "exits", "not-migrated", "bdrv_release_dirty_bitmap_locked: Assertion"),
    "BM555": Harm("failed", "exits", "not-migrated", "Lost persistent bitmaps during inactivation of node 'l0'"),
    "BM556": _SUPERSEDED,
    "BM571": _UNNAMED,
    "BM572": Harm("completed", "completed", "lost", "Cannot find device='l0' nor node-name='l0'"),
    "BM573": _UNNAMED,
    "BM574": _UNNAMED,
    "BM575": _UNNAMED,
    "BM577": _UNKNOWN_MEMBER,
}

#: Of a case that is refused by several codes those whose harm is not reached, because another's comes first.
HIDDEN = {
    ("busy-by-backup", "BM518"): "the source refuses the busy bitmap before it switches over",
    ("chain-named-overlays", "BM501"): "the source refuses a node before the destination looks up any name",
    ("chain-named-overlays-without-place", "BM501"): "the source refuses a node before the destination looks up any",
    ("read-only", "BM549"): "the source refuses the read-only bitmap before the destination has one",
    ("same-process", "BM513"): "two throw-away QEMUs are two processes; what one does with itself is that of BM512",
    ("same-process", "BM542"): "the source is refused before it sends anything",
}

#: Refused cases in which nothing goes wrong on a throw-away pair.
HARMLESS = {
    "chain-layers-left-behind": "BM578: what the layers have recorded stays behind, as the policy says",
    "large-disk": "BM563: the downtime is set to the most that QEMU takes, since there is no guest that would feel it",
    "map-entry-misspelled": "BM411: QEMU does what it is told, which is not what the user meant",
    "mirror-completed-blockdev": "BM550: there is no guest whose writes could pass the bitmap by",
    "node-names-differ-below-device": "BM501: without a map QEMU goes by the device, which has one name on both sides",
    "snapshot-on-source-only": "BM550: there is no guest whose writes could pass the bitmap by",
    "storage-unsaid-rename-onto-another": "BM546: it arrives on separate storage, as which it is rehearsed",
    "temporary-left-over": "BM576: a temporary of an earlier run is one bitmap more, and arrives",
}

#: Cases that cannot be built on a throw-away pair, and the words that say why.
NOT_BUILT = {"name-not-utf8": "is not valid UTF-8"}


@cache
def programs() -> dict[tuple[int, int], Binary]:
    """The QEMUs that are there, by release."""
    return {one.release: Binary.of(one.path) for one in binaries()}


def recorded_on(case: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """The releases that a case was recorded on."""
    qemu = json.loads((case / "how.json").read_text())["qemu"]
    here, there = ([int(part) for part in qemu[side].split(".")] for side in _SIDES)
    return (here[0], here[1]), (there[0], there[1])


def expected(case: Path) -> dict[str, Any]:
    """What is recorded as the answer of the planner."""
    found: dict[str, Any] = json.loads((case / "expected.json").read_text())
    return found


def played(verdict: str) -> Iterator[Any]:
    """The cases with this verdict whose QEMUs are there."""
    for case in CASES:
        if expected(case)["verdict"] == verdict and set(recorded_on(case)) <= set(programs()):
            yield pytest.param(case, id=case.name)


async def rehearsed(case: Path, made: Plan, *, whole: bool) -> Rehearsal:
    """The rehearsal: from the captures, or from nothing but the plan document."""
    here, there = recorded_on(case)
    captures = None
    if whole:
        source, destination = (load((case / f"{side}.json").read_bytes(), side) for side in _SIDES)
        captures = source, destination
    else:
        made = plans.load(plans.dump(made))
    found = programs()
    return await rehearse(made, found[here], found[there], captures=captures, anyway=True, seed=1)


def both_ways(case: Path, made: Plan) -> dict[str, Rehearsal]:
    """The rehearsals of a case, side by side: from the captures, and from the plan document.

    A thousand nodes take some seconds, so they are rehearsed once.
    """
    ways = {"from the document": False} | ({"from captures": True} if len(made.bitmaps) < 1000 else {})

    async def run() -> list[Rehearsal]:
        return await asyncio.gather(*(rehearsed(case, made, whole=whole) for whole in ways.values()))

    return dict(zip(ways, asyncio.run(run()), strict=True))


@pytest.mark.parametrize("case", list(played("planned")))
def test_what_is_planned_survives(case: Path) -> None:
    """Every bitmap that a plan takes arrives or comes with the image, as foretold, and `verify` agrees."""
    made = answer(case)
    for way, found in both_ways(case, made).items():
        assert (found.outcome, found.disagreements, found.failures, found.advice) == ("survives", (), (), ()), way
        ways = {"migrate": "arrived", "merged": "left-behind", "by-storage": "by-storage"}
        wanted = {(one.node, one.bitmap): ways.get(one.fate) for one in (*made.bitmaps, *made.travelling)}
        happened = {(one.node, one.bitmap): one.happened for one in found.bitmaps}
        assert {place: word for place, word in happened.items() if wanted[place]} == {
            place: word for place, word in wanted.items() if word
        }, way
        assert happened.keys() == wanted.keys(), way
        assert found.verified in ("proven", "unproven"), way


@pytest.mark.parametrize("case", list(played("refused")))
def test_what_is_refused_does_the_harm_that_is_spoken_of(case: Path) -> None:
    """With `anyway` a refused plan fails by the harm of its codes, as foretold; or is listed as one that cannot."""
    made = answer(case)
    if case.name in NOT_BUILT:
        for whole in (True, False):
            with pytest.raises(CannotRunError, match=NOT_BUILT[case.name]) as raised:
                asyncio.run(rehearsed(case, made, whole=whole))
            assert [one.code for one in raised.value.diagnostics] == [codes.GRAPH_NOT_REBUILT.code]
        return
    for way, found in both_ways(case, made).items():
        assert found.disagreements == (), way
        assert found.outcome == ("refused" if case.name in HARMLESS else "fails"), way
        spoken = () if case.name in HARMLESS else {one.code for one in made.refusals}
        for code in spoken:
            shown = code in HARMS and _shows(found, HARMS[code])
            assert shown is ((case.name, code) not in HIDDEN), (way, code, found.migration, found.log)


def _shows(found: Rehearsal, harm: Harm) -> bool:
    """Whether it is this harm and no other."""
    ended: RehearsedMigration | None = found.migration
    said = [line.text for line in found.log] + [f"{one.code} {one.message}" for one in found.failures]
    ends = (ended.source, ended.destination) if ended else ("", "")
    return (
        ends == (ends[0] if harm.source is None else harm.source, harm.destination)
        and any(one.happened == harm.happened for one in found.bitmaps)
        and any(re.search(harm.said, text) for text in (*said, ended.error if ended else ""))
    )


def test_the_tables_are_exact() -> None:
    """Each table speaks of recorded cases alone, and each code of a refused case is in one of them."""
    refused = {case.name: set(expected(case)["refusals"]) for case in CASES if expected(case)["verdict"] == "refused"}
    assert set(HARMLESS) | set(NOT_BUILT) <= set(refused)
    assert all(code in refused[case] for case, code in HIDDEN)
    assert all({reason[:5]} == refused[case] for case, reason in HARMLESS.items())
    shown = {
        code
        for case, found in refused.items()
        if case not in HARMLESS and case not in NOT_BUILT
        for code in found
        if (case, code) not in HIDDEN
    }
    assert set(HARMS) == shown

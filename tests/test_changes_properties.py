"""What holds of the changes between any two structures, whether a QEMU could have them or not."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from hypothesis import example, given, settings
from hypothesis import strategies as st

from bitmapmig.changes import KINDS, changes
from bitmapmig.plans.document import Identity
from bitmapmig.plans.fingerprint import WHICH, fingerprint
from bitmapmig.plans.structure import (
    Structure,
    StructureBackend,
    StructureBitmap,
    StructureExport,
    StructureJob,
    StructureNode,
    StructureStored,
)
from tests.build import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import DrawFn

_MANY = settings(max_examples=500)
_NAMES = ("a", "b", "c", "#d", "#e")
_DRIVERS = ("qcow2", "qcow2", "throttle")
_SIZES = (MIB, MIB, 2 * MIB, None)
_COPIES = (None, None, (), (StructureStored(name="x", granularity=512),))


def _flag(dice: Random) -> bool:
    return dice.random() < 0.5


def _bitmaps(dice: Random) -> tuple[StructureBitmap, ...]:
    return tuple(
        StructureBitmap(name=name, granularity=512 << _flag(dice), busy=_flag(dice), recording=_flag(dice))
        for name in dice.choice([(), (), ("x",), ("x", "y")])
    )


def _children(dice: Random, below: Sequence[str]) -> tuple[tuple[str, str], ...]:
    roles = dice.choices(["backing", "file", "target"], k=dice.randint(0, 2)) if below else []
    return tuple(sorted({(role, dice.choice(below)) for role in roles}))


def _node(dice: Random, name: str, below: Sequence[str]) -> StructureNode:
    return StructureNode(
        name=name,
        driver=dice.choice(_DRIVERS),
        read_only=dice.choice([False, False, True, None]),
        virtual_size=dice.choice(_SIZES),
        children=_children(dice, below),
        bitmaps=_bitmaps(dice),
        stored=dice.choice(_COPIES),
    )


def _backends(dice: Random, names: Sequence[str]) -> tuple[StructureBackend, ...]:
    called = (("d0", dice.choice([None, "g0"])), ("there", None), (None, "g1"))
    return tuple(
        StructureBackend(device=device, qdev=qdev, root=dice.choice([None, *names]))
        for device, qdev in called
        if _flag(dice)
    )


def _jobs(dice: Random, names: Sequence[str]) -> tuple[StructureJob, ...]:
    nodes, targets = (tuple(sorted(dice.sample(names, min(len(names), dice.randint(0, 2))))) for _ in range(2))
    return (StructureJob(id="j", type=dice.choice(["mirror", "commit"]), nodes=nodes, targets=targets),)


def _exports(dice: Random, names: Sequence[str]) -> tuple[StructureExport, ...]:
    if not names:
        return ()
    return (StructureExport(id="e", type="nbd", node=dice.choice(names), writable=dice.choice([True, None])),)


def _structure(dice: Random) -> Structure:
    """Any structure, at first without cycles; altered it may have some, as a plan that someone edited may."""
    order = [name for name in dice.sample(_NAMES, len(_NAMES)) if dice.random() < 0.75]
    nodes = [_node(dice, name, order[position + 1 :]) for position, name in enumerate(order)]
    return Structure(
        names=("c", "there"),
        nodes=tuple(sorted(nodes, key=lambda one: one.name)),
        backends=_backends(dice, order),
        jobs=_jobs(dice, order) if _flag(dice) else (),
        exports=_exports(dice, order) if _flag(dice) else (),
    )


def _altered(dice: Random, first: Structure) -> Structure:
    """The same but for one part, or one member of a node, drawn anew; mostly the bitmaps that are there stay."""
    names = [one.name for one in first.nodes]
    part = dice.choice(["nodes", "nodes", "nodes", "backends", "jobs", "exports"])
    if part != "nodes" or not names:
        parts = {"backends": _backends(dice, names), "jobs": _jobs(dice, names), "exports": _exports(dice, names)}
        return first.model_copy(update={part: parts.get(part, ())})
    chosen = dice.choice(names)
    again = _node(dice, chosen, [name for name in names if name > chosen])
    member = dice.choice(["driver", "read_only", "virtual_size", "children", "bitmaps", "stored"])
    nodes = [
        one.model_copy(update={member: getattr(again, member)}) if one.name == chosen else one for one in first.nodes
    ]
    return first.model_copy(update={"nodes": tuple(nodes)})


@st.composite
def _pairs(draw: DrawFn) -> tuple[Structure, Structure]:
    """Two structures: any two, or one and what some alterations make of it."""
    dice = Random(draw(st.integers(0, 1 << 32)))
    first = _structure(dice)
    second = _structure(dice) if dice.random() < 0.3 else first
    for _ in range(dice.randint(0, 3)):
        second = _altered(dice, second)
    return first, second


def _whole(structure: Structure, which: str = "one") -> Identity:
    """An end that has this structure."""
    members: dict[str, str | None] = dict.fromkeys(WHICH, which)
    found = {**members, "endpoint": "-", "structure": structure, "fingerprint": fingerprint(members, structure)}
    return Identity.model_validate(found)


@_MANY
@given(_pairs(), st.booleans())
@example((Structure(), Structure()), True)  # noqa: FBT003  as hypothesis takes it
def test_relevant_changes_are_what_the_fingerprint_is_about(pair: tuple[Structure, Structure], another: bool) -> None:  # noqa: FBT001
    """There is a relevant change exactly when the fingerprints differ."""
    before, now = _whole(pair[0]), _whole(pair[1], "other" if another else "one")
    assert bool(changes(before, now).relevant) is (before.fingerprint != now.fingerprint)


def _lengthless(structure: Structure) -> Structure:
    """The structure without sizes."""
    return structure.model_copy(
        update={"nodes": tuple(one.model_copy(update={"virtual_size": None}) for one in structure.nodes)}
    )


@_MANY
@given(_pairs())
def test_every_change_is_told(pair: tuple[Structure, Structure]) -> None:
    """Nothing is told exactly when nothing changed, but for the sizes of files."""
    before, now = (_whole(_lengthless(one)) for one in pair)
    found = changes(before, now)
    assert bool(found.relevant + found.irrelevant) is (before.structure != now.structure)


@_MANY
@given(_pairs())
def test_the_way_back_is_the_opposite(pair: tuple[Structure, Structure]) -> None:
    """With both sides swapped each change is its opposite, and as relevant as it was."""
    before, now = map(_whole, pair)
    there, back = changes(before, now), changes(now, before)
    for one, other in ((there.relevant, back.relevant), (there.irrelevant, back.irrelevant)):
        assert sorted(KINDS[each.kind].opposite for each in one) == sorted(each.kind for each in other)

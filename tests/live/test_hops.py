"""A VM that migrates on: what a plan set for the first hop must not lose anything at the second."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bitmapmig.plans import dump
from tests.live.migration import carry_out, migrate, set_capability
from tests.live.qemu import Binary, Qemu, binaries
from tests.live.scenes import ALL
from tests.live.test_scenes import answer

if TYPE_CHECKING:
    from bitmapmig.plans import Plan
    from tests.live.scenes import Stage

#: Scenes on null-co nodes, with and without a map on the destination.
SCENES = (
    "filter-on-destination",
    "mapping-in-force-on-destination",
    "mapping-in-force-on-source",
    "own-bitmap-beside-stale-mapping",
)


def onwards(stage: Stage, made: Plan, *, cleaned: bool) -> None:
    """Migrate the destination to a third QEMU like it, as somebody does who knows nothing of the plan."""
    outcome = carry_out(json.loads(dump(made)), stage.source, stage.destination)
    assert outcome.destination == "completed", outcome
    if cleaned:
        for left in made.residue:
            if left.side == "destination":
                for command in left.commands:
                    stage.destination.execute(command.execute, command.arguments)
    there = stage.destination.bitmaps()
    words = [word for word in stage.destination.words if not word.startswith("unix:destination")]
    words.remove("-qmp")
    # the arguments that every process gets are given by Qemu itself
    own = words[words.index("none", words.index("-display")) + 1 :]
    own = [word for word in own if word not in ("-S", "-incoming", "defer")]
    with Qemu(stage.destination.binary, *own, name="third", folder=stage.folder, incoming=True) as third:
        stage.destination.qmp("cont")
        set_capability(stage.destination)
        last = migrate(stage.destination, third)
        assert (last.source, last.destination) == ("completed", "completed"), last
        assert last.bitmaps is not None
        digests = sorted((name, record.digest) for (_, name), record in last.bitmaps.items())
        assert digests == sorted((name, record.digest) for (_, name), record in there.items())


@pytest.mark.parametrize("cleaned", [False, True], ids=["as-left", "residue-neutralised"])
@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)
def test_second_hop(binary: Binary, name: str, *, cleaned: bool) -> None:
    """After source -> destination, the destination -> third keeps every bitmap, residue cleaned up or not."""
    scene = next(one for one in ALL if one.name == name)
    with scene.on(binary) as stage:
        made = answer(scene, stage)
        assert made.verdict == "planned"
        onwards(stage, made, cleaned=cleaned)

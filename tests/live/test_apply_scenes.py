"""Every scene that is planned, on some QEMU: `apply` takes the plan, also after it was interrupted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig.applying.applier import apply
from bitmapmig.applying.document import ApplyInterruptedError
from bitmapmig.applying.interruption import Stop
from tests.live.proxy import Proxy
from tests.live.qemu import Binary, binaries
from tests.live.scenes import ALL, Scene
from tests.live.test_apply import WRITING, in_force
from tests.live.test_scenes import answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bitmapmig.diagnostics import Diagnostic
    from bitmapmig.plans import Plan
    from tests.live.scenes import Stage

#: Where all bitmaps are on nodes without a usable name, so that no map does what none does.
WITHOUT_NEUTRAL = frozenset(("auto-named-mapped-by-path",))


def played() -> Iterator[Any]:
    """Each scene that is planned, on one of the QEMUs that can play it, in turns."""
    planned = [one for one in ALL if not one.refusals and not dict(one.options).get("provisional")]
    for number, scene in enumerate(planned):
        able = [binary for binary in binaries() if scene.runs_on(binary)]
        if able:
            binary = able[number % len(able)]
            yield pytest.param(scene, binary, id=f"{scene.name}-{binary.version}")


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks go to a folder of the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


async def interrupted(stage: Stage, made: Plan) -> tuple[Diagnostic, ...]:
    """What is said of both sides by a run that is told to end when it has sent its last command."""
    stop, left = Stop(), len(made.commands.source) + len(made.commands.destination)

    def hook(message: dict[str, Any]) -> None:
        nonlocal left
        left -= message["execute"] in (*WRITING, "transaction")
        if not left:
            stop.now("test")

    async with Proxy(stage.source, sent=hook).served() as here, Proxy(stage.destination, sent=hook).served() as there:
        with pytest.raises(ApplyInterruptedError) as caught:
            await apply(made, source=here, destination=there, stop=stop)
    return caught.value.diagnostics[1:]


@pytest.mark.parametrize(("scene", "binary"), list(played()))
def test_applied(scene: Scene, binary: Binary) -> None:
    """A plan that was just made is not stale; interrupted, it is put back; and then it can be applied after all."""
    with scene.on(binary) as stage:
        made = answer(scene, stage)
        before = in_force(stage.source), in_force(stage.destination)
        if made.commands.source or made.commands.destination:
            sides = asyncio.run(interrupted(stage, made))
            for qemu, was, said in zip((stage.source, stage.destination), before, sides, strict=True):
                mapping, on = in_force(qemu)
                assert on == was[1]
                if mapping != was[0]:
                    word = "planned" if scene.name in WITHOUT_NEUTRAL else "neutral"
                    assert (was[0], said.facts["block_bitmap_mapping"]) == (None, word)
                    assert "as it was but for the map" in said.message
        done = asyncio.run(apply(made))
        maps = made.block_bitmap_mapping
        for now, mapped in zip(done.now, (maps.destination, maps.source), strict=True):
            assert mapped is None or now.block_bitmap_mapping == "planned"

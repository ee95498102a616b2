"""What a preview says of QEMU by itself, and what QEMU then does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig.collect import collect_both
from bitmapmig.previews import preview
from tests.live.qemu import Binary, binaries
from tests.live.scenes import ALL, filters, maps, names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.fate import Foretold
    from tests.live.scenes import Scene, Stage

#: The scenes in which names alone decide.
SCENES = [scene for scene in ALL for module in (names, filters, maps) if scene in vars(module).values()]


def played() -> Iterator[Any]:
    """Each of these scenes on each QEMU."""
    for scene in SCENES:
        for binary in binaries():
            if scene.runs_on(binary):
                yield pytest.param(scene, binary, id=f"{scene.name}-{binary.version}")


def foretold(stage: Stage) -> tuple[Foretold, set[tuple[str | None, str | None]]]:
    """What a preview says of the migration as a whole, and which bitmaps it says arrive where."""
    seen = preview(*asyncio.run(collect_both(stage.source.endpoint, stage.destination.endpoint)))
    told = seen.foretold_with_dirty_bitmaps
    arriving = ("arrives", "lost-at-shutdown", "worthless")
    return told, {(one.destination_node, one.destination_bitmap) for one in told.bitmaps if one.outcome in arriving}


@pytest.mark.parametrize(("scene", "binary"), list(played()))
def test_qemu_by_itself(scene: Scene, binary: Binary) -> None:
    """Without a plan QEMU does what the preview says: it fails, all is dropped, or each arrives there."""
    with scene.on(binary) as stage:
        told, arriving = foretold(stage)
        outcome = stage.ignored()
        assert outcome.source == ("failed" if told.migration == "fails" else "completed")
        assert set(outcome.bitmaps or ()) == arriving
        logs = {"source": outcome.source_log, "destination": outcome.destination_log}
        assert all(line.text in logs[line.side] for line in told.log)

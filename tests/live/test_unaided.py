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

    from bitmapmig.previews import PreviewBitmap
    from tests.live.scenes import Scene, Stage

#: The scenes in which names alone decide.
SCENES = [scene for scene in ALL for module in (names, filters, maps) if scene in vars(module).values()]


def played() -> Iterator[Any]:
    """Each of these scenes on each QEMU."""
    for scene in SCENES:
        for binary in binaries():
            if scene.runs_on(binary):
                yield pytest.param(scene, binary, id=f"{scene.name}-{binary.version}")


def foretold(stage: Stage) -> tuple[str, set[tuple[str | None, str | None]]]:
    """What a preview says becomes of all bitmaps, and which are sent where."""
    seen = preview(*asyncio.run(collect_both(stage.source.endpoint, stage.destination.endpoint)))
    bitmaps: list[PreviewBitmap] = [bitmap for node in seen.source.nodes for bitmap in node.bitmaps]
    outcomes = {bitmap.unaided.outcome for bitmap in bitmaps}
    worst = next((one for one in ("fails", "dropped") if one in outcomes), "sent")
    sent = {
        (one.unaided.destination_node, one.unaided.bitmap_alias) for one in bitmaps if one.unaided.outcome == "sent"
    }
    return worst, sent if worst == "sent" else set()


@pytest.mark.parametrize(("scene", "binary"), list(played()))
def test_qemu_by_itself(scene: Scene, binary: Binary) -> None:
    """Without a plan QEMU does what the preview says: the migration fails, all is dropped, or each arrives there."""
    with scene.on(binary) as stage:
        worst, sent = foretold(stage)
        outcome = stage.ignored()
        assert outcome.source == ("failed" if worst == "fails" else "completed")
        assert set(outcome.bitmaps or ()) == sent

"""Random worlds on real QEMUs: the migration, each bitmap and each log line are as they were foretold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig.fate import LogLine
from tests.live.fuzz.campaign import CHUNK, Chunk, Figures, chunks, run, upward
from tests.live.fuzz.compare import compare
from tests.live.fuzz.differential import judge
from tests.live.fuzz.shrink import candidates, shrink
from tests.live.fuzz.world import Bitmap, Disk, Image, Node, Place, Side, World, readable
from tests.live.qemu import Binary, binaries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.fate import Foretold
    from tests.live.fuzz.differential import Verdict

#: How many worlds are played, at least, in chunks of fixed seeds; and where the seeds begin.
WORLDS, SEED = 320, 1
KEPT = sorted((Path(__file__).parent / "fuzz" / "kept").glob("*.json"))


@pytest.mark.parametrize("chunk", [*chunks(WORLDS, SEED, upward())], ids=str)
def test_worlds(chunk: Chunk) -> None:
    """Of random worlds all is foretold as it happens, and nearly all of them can be built."""
    verdicts = run(chunk)
    disagreeing = [verdict.readable() for verdict in verdicts if verdict.disagreements]
    assert not disagreeing, "\n\n".join(disagreeing)
    assert Figures.of(verdicts).statuses["compared"] >= CHUNK - 4, [verdict.note for verdict in verdicts]


def kept() -> Iterator[Any]:
    """Each world that was kept, on each pair of QEMUs; 5.2 has no preallocate filter."""
    for file in KEPT:
        for source, destination in upward():
            if "preallocate" not in file.read_text() or source.release > (5, 2):
                yield pytest.param(file, source, destination, id=f"{file.stem}-{source.version}-{destination.version}")


@pytest.mark.parametrize(("file", "source", "destination"), list(kept()))
def test_kept(file: Path, source: Binary, destination: Binary) -> None:
    """What was once foretold wrong is foretold right."""
    verdict = judge(World.model_validate_json(file.read_text()), source, destination)
    assert verdict.status == "compared", verdict.readable()
    assert not verdict.disagreements, verdict.readable()


# the harness itself


def _side(image: str, *bitmaps: Bitmap) -> Side:
    root = Node(driver="qcow2", name="fmt0", children={"file": Node(driver="file", image=image)})
    return Side(disks=(Disk(root=root, device="drive0"),), bitmaps=bitmaps, capability=True)


KEPT_ONE = Bitmap(at=Place(disk=0), name="b0", persistent=True)
PLAIN = World(
    source=_side("s0.qcow2", KEPT_ONE, Bitmap(at=Place(disk=0), name="b1")),
    destination=_side("d0.qcow2"),
    images=(Image(name="s0.qcow2"), Image(name="d0.qcow2")),
    writes=(0, 3, 17),
)


@pytest.fixture(scope="module")
def plain() -> Verdict:
    """A world in which all goes well, as it was foretold and as it went."""
    return judge(PLAIN, binaries()[-1], binaries()[-1])


def test_agreement(plain: Verdict) -> None:
    """A plain world is compared in all its parts, and agrees."""
    assert (plain.status, plain.disagreements) == ("compared", ())
    assert plain.compared == {"migration": 1, "bitmap": 2, "log": 0, "proposal": 1}


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({"migration": "fails"}, {"migration"}),
        ({"source": "failed"}, {"migration"}),
        ({"destination": "exits"}, {"migration"}),
        ({"log": (LogLine(side="source", text="nothing of the kind"),)}, {"log"}),
        ({"bitmaps": ()}, {"bitmap"}),
    ],
)
def test_wrong_migration_is_noticed(plain: Verdict, change: dict[str, Any], kinds: set[str]) -> None:
    """A migration that was foretold otherwise is a disagreement of its kind."""
    assert {one.kind for one in _compared(plain, change)} == kinds


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "dropped"},
        {"outcome": "lost-at-shutdown"},
        {"outcome": "breaks-activation"},
        {"destination_node": "other"},
        {"destination_bitmap": "other"},
        {"recording": False},
        {"persistent": False},
        {"granularity": 512},
    ],
)
def test_wrong_bitmap_is_noticed(plain: Verdict, change: dict[str, Any]) -> None:
    """A bitmap that was foretold otherwise is a disagreement, and nothing else is."""
    assert plain.foretold is not None
    first, *rest = plain.foretold.bitmaps
    found = _compared(plain, {"bitmaps": (first.model_copy(update=change), *rest)})
    assert {one.kind for one in found} == {"bitmap"}


def test_unforetold_line_is_noticed() -> None:
    """A line about bitmaps that QEMU prints, and that nobody foretold, is a disagreement."""
    bare = Side(disks=(Disk(root=Node(driver="null-co", name="other", size=1 << 24)),))
    verdict = judge(PLAIN.model_copy(update={"destination": bare}), binaries()[-1], binaries()[-1])
    assert verdict.disagreements == ()
    assert {one.kind for one in _compared(verdict, {"log": ()})} == {"log"}


def _compared(verdict: Verdict, change: dict[str, Any]) -> tuple[Any, ...]:
    """The disagreements of what really happened with what was foretold, were that otherwise."""
    assert verdict.foretold is not None
    assert verdict.real is not None
    foretold: Foretold = verdict.foretold.model_copy(update=change)
    found, _ = compare(verdict.world, foretold, verdict.real, {Place(disk=0): "fmt0"})
    return found


def test_shrinking() -> None:
    """A world is made as small as what it shows allows, and each smaller one is one thing less."""
    found = shrink(PLAIN, lambda world: any(bitmap.persistent for bitmap in world.source.bitmaps))
    assert (len(found.source.bitmaps), len(found.source.disks), found.destination.disks) == (1, 1, ())
    assert all(len(readable(one)) < len(readable(PLAIN)) for one in candidates(PLAIN))

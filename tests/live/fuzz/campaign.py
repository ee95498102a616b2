"""Seeds -> verdicts: the same worlds for the same seed, on every pair of QEMUs."""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise, product
from multiprocessing import get_context
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.live.fuzz.differential import HIDDEN_ORDER, judge
from tests.live.fuzz.generate import worlds
from tests.live.qemu import Binary, binaries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.live.fuzz.differential import Verdict
    from tests.live.fuzz.world import World

#: Worlds of one seed: what one process works on at a time.
CHUNK = 20


@dataclass(frozen=True, slots=True)
class Chunk:
    """Worlds that belong together: so many of them, drawn with `seed`, on one pair of QEMUs."""

    source: Binary
    destination: Binary
    seed: int
    worlds: int = CHUNK

    def __str__(self) -> str:
        return f"{self.source.version}-{self.destination.version}-seed{self.seed}"


def drawn(number: int, count: int) -> tuple[World, ...]:
    """The worlds of a seed; those of an odd seed have images, those of an even one null-co only."""
    found: list[World] = []

    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(worlds(images=number % 2 == 1))
    def draw(world: World) -> None:
        found.append(world)

    draw()
    return tuple(found)


def upward() -> tuple[tuple[Binary, Binary], ...]:
    """Every QEMU with itself, and with the next newer one."""
    found = binaries()
    return (*((binary, binary) for binary in found), *((old, new) for old, new in pairwise(found)))


def pairs() -> tuple[tuple[Binary, Binary], ...]:
    """Every QEMU with every one; the upward pairs first, since the others mostly die of something else."""
    first = upward()
    return (*first, *((one, two) for one, two in product(binaries(), repeat=2) if (one, two) not in first))


def chunks(count: int, first_seed: int, on: Iterable[tuple[Binary, Binary]]) -> Iterator[Chunk]:
    """Chunks for at least `count` worlds in all, with seeds that count up, over the pairs in turn."""
    listed = tuple(on)
    for number in range(-(-count // CHUNK)):
        source, destination = listed[number % len(listed)]
        yield Chunk(source, destination, 2 * (first_seed + number) + number // len(listed) % 2)


def run(chunk: Chunk) -> list[Verdict]:
    """The verdicts on the worlds of a chunk; every third is foretold before it is set as well, which costs as much."""
    worlds = enumerate(drawn(chunk.seed, chunk.worlds))
    return [judge(world, chunk.source, chunk.destination, propose=number % 3 == 0) for number, world in worlds]


def run_all(work: Iterable[Chunk], processes: int) -> Iterator[tuple[Chunk, list[Verdict]]]:
    """The verdicts chunk by chunk, as they are done, from several processes."""
    with get_context("spawn").Pool(
        processes, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)
    ) as pool:
        yield from pool.imap_unordered(_run, work)


def _run(chunk: Chunk) -> tuple[Chunk, list[Verdict]]:
    return chunk, run(chunk)


@dataclass(frozen=True, slots=True)
class Figures:
    """What the verdicts on one pair of versions come to."""

    statuses: Counter[str]
    migrations: Counter[str]
    outcomes: Counter[str]
    compared: Counter[str]
    disagreed: Counter[str]
    worlds_disagreed: int
    hidden_order: int  #: worlds that agree only once the order is known in which nodes were created

    @classmethod
    def of(cls, verdicts: Iterable[Verdict]) -> Figures:
        """Count."""
        statuses, migrations, outcomes, compared, disagreed = (Counter[str]() for _ in range(5))
        worlds = hidden = 0
        for verdict in verdicts:
            statuses[verdict.status] += 1
            if verdict.status != "compared" or verdict.real is None or verdict.foretold is None:
                continue
            migrations[verdict.real.migration] += 1
            outcomes.update(one.outcome for one in verdict.foretold.bitmaps)
            compared.update(verdict.compared or {})
            disagreed["migration"] += any(one.kind == "migration" for one in verdict.disagreements)
            disagreed.update(one.kind for one in verdict.disagreements if one.kind != "migration")
            worlds += bool(verdict.disagreements)
            hidden += verdict.note == HIDDEN_ORDER
        return cls(statuses, migrations, outcomes, compared, disagreed, worlds, hidden)

"""A source and a destination that are fakes, with what is set on each, and a plan for them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bitmapmig.applying.applier import apply
from bitmapmig.graph import read
from bitmapmig.plans.mapping import neutral
from tests.build import destination, drive, node, planned, source
from tests.fake_monitor import FakeMonitor, Settings, answers_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from bitmapmig.applying.document import Applied
    from bitmapmig.captures import Capture
    from bitmapmig.plans import Plan

#: A name that a map on the source alone cannot say, so that the destination gets a map too.
LONG = "b" * 300
UUID = "6a3a6d0e-1111-4222-8333-444455556666"
WITH_UUID = {"replies": {"query-uuid": {"UUID": UUID}}}

WRITING = ("migrate-set-parameters", "migrate-set-capabilities")


def here(*names: str, **more: Any) -> Capture:
    """A source with bitmaps of these names."""
    bitmaps = names or (LONG, "daily")
    return source(node("n0", bitmaps=bitmaps), drive("drive0", "n0", "disk0"), **{**WITH_UUID, **more})


def there(*names: str, **more: Any) -> Capture:
    """A destination for it, with bitmaps of its own."""
    own = node("n1", bitmaps=names or ["own"])
    return destination(node("n0"), own, drive("drive0", "n0", "disk0"), **{**WITH_UUID, **more})


@dataclass
class End:
    """One side: what it shows, what is set on it, and the fake that serves it."""

    capture: Capture
    settings: Settings = field(default_factory=Settings)
    answers: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.fake = FakeMonitor(self.settings.over(answers_of(self.capture)) | self.answers)

    @property
    def written(self) -> list[str]:
        """The commands that set something, in their order."""
        return [one["execute"] for one in self.fake.received if one["execute"] in WRITING]

    @property
    def now(self) -> tuple[Any, bool]:
        """What is set."""
        return self.settings.mapping, self.settings.dirty_bitmaps


@dataclass
class Pair:
    """Both sides, and the plan that was made for them."""

    source: End = field(default_factory=lambda: End(here()))
    destination: End = field(default_factory=lambda: End(there()))
    plan: Plan | None = None

    def __post_init__(self) -> None:
        #: ends the fakes, where they are served by a thread
        self.over: Callable[[], object] = lambda: None
        self.made: Plan = self.plan or planned(self.source.capture, self.destination.capture)
        assert self.made.verdict == "planned"
        self.before = self.source.now, self.destination.now

    @property
    def ends(self) -> tuple[End, End]:
        """Destination and source, in the order in which they are written to."""
        return self.destination, self.source

    def at(self, hook: Callable[[int, dict[str, Any]], None]) -> None:
        """Call `hook` at each message to either side, counted over both."""
        counted = 0

        def one(_place: int, message: dict[str, Any]) -> None:
            nonlocal counted
            counted += 1
            hook(counted, message)

        for end in self.ends:
            end.fake.at = one

    @asynccontextmanager
    async def served(self) -> AsyncIterator[tuple[str, str]]:
        """Serve both; their endpoints. Over TCP, because both are served by one process."""
        async with self.source.fake.tcp() as first, self.destination.fake.tcp() as second:
            yield first, second

    async def applied(self, **options: Any) -> Applied:
        """What `apply` comes to."""
        async with self.served() as (first, second):
            return await apply(self.made, source=first, destination=second, **options)

    # what may be the case afterwards

    @property
    def as_planned(self) -> bool:
        """Whether all is set that the plan says, and nothing else."""
        maps = self.made.block_bitmap_mapping.model_dump(mode="json")
        source = maps["source"], True
        destination = maps["destination"] or self.before[1][0], self.before[1][1]
        return (self.source.now, self.destination.now) == (source, destination)

    @property
    def as_before(self) -> bool:
        """Whether all is as it was, but for neutral maps in place of none."""
        return all(
            end.settings.dirty_bitmaps == before[1] and end.settings.mapping in (before[0], *_stand_ins(before[0], end))
            for end, before in zip((self.source, self.destination), self.before, strict=True)
        )


def _stand_ins(before: Any, end: End) -> list[Any]:
    """Neutral maps that may stand where none was: they list bitmaps of the graph, and those that arrive."""
    if before is not None or end.settings.mapping is None:
        return []
    graph, _ = read(end.capture, "source")
    names = {name: [one.name for one in found.bitmaps] for name, found in graph.nodes.items()}
    arriving = {name: [*listed, *(("daily",) if name == "n0" else ())] for name, listed in names.items()}
    both = [neutral(graph, names), neutral(graph, {name: dict.fromkeys(found) for name, found in arriving.items()})]
    return [[entry.model_dump(mode="json") for entry in one.entries] for one in both]

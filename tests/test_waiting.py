"""Waiting for a migration on two fakes: when it has ended, and what is taken for a digest."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig import codes, recorded
from bitmapmig.control import Control
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.endpoint import parse
from bitmapmig.lock import Lock, LockLostError
from bitmapmig.report import migrated_lines
from bitmapmig.waiting.migrator import apply_and_wait
from bitmapmig.waiting.watcher import Watch
from tests.fake_monitor import Turns, hang
from tests.fake_pair import Pair

if TYPE_CHECKING:
    from pathlib import Path

    from bitmapmig.waiting.document import Migrated

FAILED, ACTIVE = {"status": "failed"}, {"status": "active"}


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests go to a folder of the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


class Held(Lock):
    """A lock that is held, or `lost`."""

    def __init__(self, *, lost: bool) -> None:
        self.lost = lost

    async def check(self) -> None:
        """Raise where it is lost."""
        if self.lost:
            raise LockLostError(codes.LOCK_LOST.at(Where(), key="vm", reason="it was taken away"))


@dataclass
class Waited:
    """A wait on two fakes, the source of which says `status` of its migration, one look after the other."""

    status: tuple[Any, ...]
    there: Any = field(default_factory=dict)
    digest: Any = None
    lost: bool = False
    gone: bool = False  #: whether nobody answers on the destination

    def watch(self) -> Watch:
        """What was seen. Raises `CannotRunError` where it did not end."""
        pair = Pair()
        found = Watch(pair.made, lambda _: None)
        here = {"query-migrate": Turns(self.status), "x-debug-block-dirty-bitmap-sha256": self.digest}
        pair.source.fake.answers = {**pair.source.fake.answers, **here}
        pair.destination.fake.answers = {**pair.destination.fake.answers, "query-migrate": self.there}

        async def run() -> None:
            async with pair.served() as ends:
                there = "unix:/nonexistent/destination.qmp" if self.gone else ends[1]
                source, destination = Control("source", parse(ends[0]), 1), Control("destination", parse(there), 1)
                try:
                    await found.ended(source, destination, Held(lost=self.lost), 2)
                finally:
                    await source.close()
                    await destination.close()

        asyncio.run(run())
        return found


@pytest.mark.parametrize(
    "waited",
    [
        Waited(({}, FAILED)),
        Waited((FAILED, ACTIVE, FAILED)),
        Waited((FAILED,), there=FAILED),
    ],
    ids=["the first attempt", "a second that fails as the first", "a second that fails between two looks"],
)
def test_a_failure_ends_the_wait(waited: Waited) -> None:
    """An attempt that fails is seen, also after an earlier one of which QEMU said the same."""
    assert waited.watch().failed


def test_an_earlier_failure_does_not_end_the_wait() -> None:
    """What the source says of an attempt that was over before is not the end of the one that is waited for."""
    with pytest.raises(CannotRunError) as error:
        Waited((FAILED,)).watch()
    assert [one.code for one in error.value.diagnostics] == ["BM732"]


def test_ends_are_clean_where_nothing_could_be_verified() -> None:
    """A source that gives no answer when it is verified is told of; its capability is turned off all the same."""
    pair = Pair()
    for end in pair.ends:
        completed = {"query-migrate": Turns(({}, {}, {"status": "completed"}))}
        end.fake.answers = {**end.fake.answers, **completed}
    digest = "x-debug-block-dirty-bitmap-sha256"
    pair.source.fake.answers = {**pair.source.fake.answers, digest: {}}
    pair.source.fake.faults = {digest: hang}

    async def run() -> Migrated:
        async with pair.served() as (source, destination):
            return await apply_and_wait(pair.made, source=source, destination=destination, timeout=1, wait_timeout=5)

    done = asyncio.run(run())
    assert (done.outcome, done.verified, [one.code for one in done.problems]) == ("completed", None, ["BM104"])
    assert done.finished is not None
    assert pair.source.now[1] is False
    assert next(migrated_lines(done, 80)).plain.startswith("NOT VERIFIED")


@pytest.mark.parametrize("digest", [None, {}, [], {"sha256": None}, {"sha256": "x"}])
def test_what_is_no_digest(digest: Any) -> None:
    """An answer that holds no SHA-256 is not recorded as one, and ends nothing."""
    watch = Waited(({}, {"status": "pre-switchover"}, {"status": "completed"}), {"status": "completed"}, digest).watch()
    assert (watch.status, watch.digests, recorded.load(watch.plan)) == ("completed", {}, None)


def _warned(watch: Watch) -> list[tuple[str, str]]:
    return [(one.code, one.message) for one in watch.warnings]


def test_a_lost_lock_is_told_once() -> None:
    """Another may write from then on; the wait goes on, since the migration does."""
    warned = _warned(Waited(({}, ACTIVE, {"status": "completed"}), {"status": "completed"}, lost=True).watch())
    assert [message for code, message in warned if code == "BM752"] == ["the lock on 'vm' is lost: it was taken away"]


def test_what_is_set_otherwise_is_told() -> None:
    """A plan that is not in force any more is told before the migration loses the bitmaps."""
    watch = Waited(({}, {}, ACTIVE, {"status": "completed"}), {"status": "completed"}).watch()
    said = " ".join(message for code, message in _warned(watch) if code == "BM731")
    assert "dirty-bitmaps is off" in said
    assert "the block-bitmap-mapping in force is not the planned one any more" in said


def test_a_destination_that_goes_before_anything_began_is_told() -> None:
    """It will take no migration; the wait ends when its time is over, or the source says that an attempt failed."""
    watch = Waited(({}, {}, FAILED), gone=True).watch()
    assert [code for code, _ in _warned(watch) if code == "BM735"] == ["BM735"]
    assert watch.failed

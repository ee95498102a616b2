"""Locks in a real Redis: who gets them, who is named, and what takes them away.

The server is one of the test's own, on a unix socket; without `redis-server` these tests fail.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from redis import Redis

from bitmapmig.diagnostics import CannotRunError
from bitmapmig.lock import Holder, LockHeldError, LockLostError, address, cluster, held
from bitmapmig.lock.coordinator import Coordinator
from tests import contender
from tests.live.monitor import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

KEY = "5e2f7a10-9d3c-4c52-8a10-0123456789ab"
ME = Holder.here("apply")


class Server:
    """A Redis server of its own, alive inside `with`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bitmapmig-")
        self.socket = Path(self._folder.name) / "redis.sock"

    def __enter__(self) -> Self:
        words = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", self._folder.name]
        self.process = subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL)
        try:
            until(self._answers, "redis-server did not listen")
        except BaseException:
            self._end()
            raise
        return self

    def _answers(self) -> bool:
        assert self.process.poll() is None, "redis-server has ended"
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(str(self.socket)) == 0

    def url(self, lease: int = 30) -> str:
        """The lock in it, which outlives its holder by `lease` seconds."""
        return f"redis://{self.socket}?lock_timeout={lease}"

    def keys(self) -> list[bytes]:
        """All that is stored."""
        with Redis(unix_socket_path=str(self.socket)) as client:
            return sorted(client.scan_iter())

    def lock_key(self) -> bytes:
        """The one key that is a lock."""
        (key,) = [key for key in self.keys() if key.endswith(b"_lock")]
        return key

    def take_away(self, other: str | None) -> None:
        """Remove the lock, or give it to another."""
        with Redis(unix_socket_path=str(self.socket)) as client:
            key = self.lock_key()
            if other is None:
                client.delete(key)
            else:
                client.set(key, other)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._folder.cleanup()


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    """One server for all tests that leave it as it was."""
    with Server() as server:
        yield server


@pytest.fixture
def redis(shared: Server) -> Iterator[Server]:
    """The server, without a key before and after."""
    assert shared.keys() == []
    yield shared
    with Redis(unix_socket_path=str(shared.socket)) as client:
        client.flushall()


@pytest.fixture
def own() -> Iterator[Server]:
    """A server that may be killed."""
    with Server() as server:
        yield server


@contextmanager
def holding(url: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock."""
    command = [sys.executable, "-m", "tests.contender", "hold", KEY, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


async def refused(url: str) -> Holder | None:
    """Whom the refusal names."""
    with pytest.raises(LockHeldError) as raised:
        async with held(KEY, url=url, holder=ME):
            pass
    return raised.value.holder


async def unusable(url: str) -> str:
    """The message of the finding that there can be no lock."""
    with pytest.raises(CannotRunError, match="BM755") as raised:
        async with held(KEY, url=url, holder=ME):
            pass
    return raised.value.diagnostics[0].message


def test_sixteen_processes(redis: Server, tmp_path: Path) -> None:
    """Of 16 processes one at a time holds the lock, and each gets it, after one that is killed with it as well."""
    command = [sys.executable, "-m", "tests.contender", "compete", str(tmp_path), redis.url(lease=2)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == contender.FAIR


def test_killed_holder(redis: Server) -> None:
    """The lock of a killed holder, who is named until then, ends with its lease."""
    url = redis.url(lease=3)

    async def follow() -> float:
        named = await refused(url)
        assert named
        assert (named.pid, named.purpose) == (process.pid, "hold")
        begun = time.monotonic()
        async with held(KEY, url=url, timeout=60, holder=ME) as lock:
            await lock.check()
        return time.monotonic() - begun

    with holding(url) as process:
        process.kill()
        process.wait()
        waited = asyncio.run(follow())
    assert waited < 30


def test_ended_holder(redis: Server) -> None:
    """A holder who ends in order frees the lock at once, and leaves nothing in the store."""
    with holding(redis.url()) as process:
        assert redis.lock_key() == f"_tooz_bitmapmig-{KEY}_lock".encode()
        process.communicate("")
    assert redis.keys() == []


def test_holder_is_kept_alive(redis: Server) -> None:
    """A lock outlives its lease as long as its holder lives, even one whose event loop is busy."""

    async def outlive() -> None:
        async with held(KEY, url=redis.url(lease=2), holder=ME) as lock:
            time.sleep(2.3)  # noqa: ASYNC251  busy
            named = await refused(redis.url(lease=2))
            assert named
            assert named.purpose == "apply"
            await lock.check()

    asyncio.run(outlive())
    assert redis.keys() == []


def test_holder_who_waited_long(redis: Server) -> None:
    """One who waited for longer than the lease is alive to the others, and named, when he has the lock."""

    async def wait() -> None:
        async def second() -> str | None:
            async with held(KEY, url=redis.url(lease=2), timeout=60, holder=ME):
                named = await refused(redis.url())
                return named.purpose if named else None

        async with held(KEY, url=redis.url(), holder=Holder.here("first")):
            waiting = asyncio.create_task(second())
            await asyncio.sleep(2.3)
        assert await waiting == "apply"

    asyncio.run(wait())


@pytest.mark.parametrize("other", [None, "another"])
def test_lost(redis: Server, other: str | None) -> None:
    """The holder whose lock is deleted, or given to another, is told so, and does not free the other's."""

    async def lose() -> None:
        async with held(KEY, url=redis.url(), holder=ME) as lock:
            await lock.check()
            redis.take_away(other)
            with pytest.raises(LockLostError, match=r"BM752 .* has given it away or forgotten it"):
                await lock.check()

    asyncio.run(lose())
    assert redis.keys() == ([] if other is None else [redis.lock_key()])


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGSTOP])
def test_server_gone(own: Server, way: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is killed, or that hangs, confirms no lock: the next check says so in bounded time, and so on."""

    async def lose() -> float:
        async with held(KEY, url=own.url(), holder=ME) as lock:
            await lock.check()
            own.process.send_signal(way)
            monkeypatch.setattr(address, "PATIENCE", 0.3)
            begun = time.monotonic()
            with pytest.raises(LockLostError, match=r"BM752 .* does not confirm it: "):
                await lock.check()
            with pytest.raises(LockLostError):
                await lock.check()
        return time.monotonic() - begun

    assert asyncio.run(lose()) < 10


def test_unreachable(own: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing listens, or what listens says nothing, or is no Redis, the finding says so in bounded time."""
    monkeypatch.setattr(address, "PATIENCE", 0.3)
    begun = time.monotonic()
    own.process.send_signal(signal.SIGSTOP)
    assert asyncio.run(unusable(own.url())).endswith(": no answer within 0.6 s")
    own.process.kill()
    own.process.wait()
    assert asyncio.run(unusable(own.url())).endswith(": Connection refused")
    own.socket.unlink()
    assert asyncio.run(unusable(own.url())).endswith(": No such file or directory")
    assert time.monotonic() - begun < 20


def test_interrupted_in_a_call(redis: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that Redis grants after the one who wanted it was interrupted is given back, not kept for its lease."""

    class Slow(Coordinator):
        """A coordinator whose answers take their time."""

        def take(self, holder: Holder) -> bool:
            """Take it, late."""
            time.sleep(0.3)
            return super().take(holder)

    async def interrupt() -> None:
        async def take() -> None:
            async with held(KEY, url=redis.url(), holder=ME):
                pytest.fail("it was interrupted before")

        taking = asyncio.create_task(take())
        await asyncio.sleep(0.15)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking

    monkeypatch.setattr(cluster, "Coordinator", Slow)
    asyncio.run(interrupt())
    assert redis.keys() == []


def test_quiet(redis: Server) -> None:
    """What tooz has to say of a lost lock does not reach standard error: the finding says it."""
    program = f"""
import asyncio
from tests.live import test_lock_redis as live

class Here(live.Server):
    def __init__(self):
        self.socket = {str(redis.socket)!r}

live.test_lost(Here(), None)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")

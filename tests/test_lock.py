"""Locks of this host, and of tooz's file driver: who gets them, who is named, and what takes them away."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from bitmapmig.diagnostics import CannotRunError
from bitmapmig.lock import Holder, LockHeldError, LockLostError, address, cluster, coordinator, held, host
from bitmapmig.lock.holder import name_of
from bitmapmig.lock.worker import Worker
from tests import contender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "5e2f7a10-9d3c-4c52-8a10-0123456789ab"
ME = Holder.here("apply")
HOSTILE = ("", "../../etc/x", "a/b", "nul\0", "\udcff", "x" * 5000, KEY.upper(), "contest\n", ".", "%2e", "*")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory, which is not there yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "bitmapmig"


@pytest.fixture(params=["host", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """The lock of this host, and tooz's on a folder."""
    return f"file://{tmp_path}/locks" if request.param == "file" else None


@pytest.fixture
def lock_file(url: str | None, state: Path, tmp_path: Path) -> Path:
    """Where the lock on `KEY` is."""
    return tmp_path / "locks" / name_of(KEY) if url else state / f"{name_of(KEY)}.lock"


@contextmanager
def holding(url: str | None, key: str = KEY) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock."""
    command = [sys.executable, "-m", "tests.contender", "hold", key, url or ""]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


async def refused(url: str | None, key: str = KEY, timeout: float = 0) -> LockHeldError:  # noqa: ASYNC109
    """The error of one who wants a lock that is held."""
    with pytest.raises(LockHeldError) as raised:
        async with held(key, url=url, timeout=timeout, holder=ME):
            pass
    return raised.value


async def free(url: str | None, key: str = KEY) -> None:
    """Pass where the lock can be had at once."""
    async with held(key, url=url, holder=ME) as lock:
        await lock.check()


async def unusable(url: str | None) -> tuple[str, str]:
    """The code and the message of the finding that there can be no lock."""
    with pytest.raises(CannotRunError) as raised:
        await free(url)
    (found,) = raised.value.diagnostics
    return found.code, found.message


# who gets it


def test_sixteen_processes(url: str | None, tmp_path: Path) -> None:
    """Of 16 processes one at a time holds the lock, each gets it, and one that is killed with it frees it."""
    command = [sys.executable, "-m", "tests.contender", "compete", str(tmp_path), url or ""]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == contender.FAIR


def test_killed_holder(url: str | None) -> None:
    """A holder that is killed frees the lock at once."""
    with holding(url) as holder:
        asyncio.run(refused(url))
        holder.kill()
        holder.wait()
        asyncio.run(free(url))


def test_other_keys(url: str | None) -> None:
    """Locks on other keys are other locks, whatever text a key is."""

    async def nest(keys: tuple[str, ...]) -> None:
        if keys:
            async with held(keys[0], url=url, holder=ME):
                await refused(url, keys[0])
                await nest(keys[1:])

    asyncio.run(nest((KEY, *HOSTILE)))


def test_waiting(url: str | None) -> None:
    """One who waits gets the lock when it is freed, and is refused when his time is over, not before."""

    async def wait() -> None:
        order = []

        async def second() -> None:
            async with held(KEY, url=url, timeout=30, holder=ME):
                order.append("second")

        async with held(KEY, url=url, holder=ME):
            begun = time.monotonic()
            await refused(url, timeout=0.2)
            assert time.monotonic() - begun >= 0.2
            waiting = asyncio.create_task(second())
            await asyncio.sleep(0.2)
            order.append("first")
        await waiting
        assert order == ["first", "second"]

    asyncio.run(wait())


@pytest.mark.parametrize("after", [0, 0.02, 0.15])
def test_interrupted_waiting(url: str | None, after: float) -> None:
    """One who is interrupted while he waits gets nothing later."""

    async def interrupt() -> None:
        async with held(KEY, url=url, holder=ME):
            waiting = asyncio.create_task(refused(url, timeout=30))
            await asyncio.sleep(after)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await free(url)

    asyncio.run(interrupt())


def test_interrupted_holding(url: str | None) -> None:
    """Whatever ends the block frees the lock."""

    async def fail() -> None:
        with pytest.raises(ZeroDivisionError):
            async with held(KEY, url=url, holder=ME):
                raise ZeroDivisionError
        await free(url)

    asyncio.run(fail())


def test_nothing_is_left(state: Path) -> None:
    """A freed lock of this host leaves no file behind; its folder is for its owner only."""
    asyncio.run(free(None))
    assert list(state.iterdir()) == []
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


# who is named


def test_holder_is_named(url: str | None) -> None:
    """The one who is refused learns process, user, host, time and purpose of the holder."""
    with holding(url) as process:
        error = asyncio.run(refused(url))
    assert error.holder
    assert error.holder == ME.model_copy(update={"pid": process.pid, "purpose": "hold", "since": error.holder.since})
    assert ME.since < error.holder.since
    (found,) = error.diagnostics
    assert (found.code, found.message) == ("BM751", f"the lock on {KEY!r} is held by {error.holder}")
    assert found.facts["holder"] == error.holder.model_dump(mode="json")


def test_dead_holder_is_not_named(url: str | None, lock_file: Path) -> None:
    """What a killed holder wrote is not taken for the word of the next one, who has not signed yet."""
    with holding(url) as process:
        process.kill()
        process.wait()
    with lock_file.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX) if url is None else fcntl.lockf(file, fcntl.LOCK_EX)
        command = [sys.executable, "-m", "tests.contender", "hold", KEY, url or ""]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert f"BM751 the lock on {KEY!r} is held by another process; the lock does not tell which" in done.stderr


@pytest.mark.parametrize("word", ["", "{", "null", "[]", '{"pid": 1}', "\x1b]0;x\x07", "[" * 100_000])
def test_signature_of_a_stranger(word: str) -> None:
    """What is no signature names nobody."""
    assert Holder.read(word) is None


def test_hostile_holder() -> None:
    """A holder's own words cannot write to a terminal."""
    words = {"user": "\x1b[2J", "host": "\x9b", "purpose": "x\n\x07"}
    assert str(ME.model_copy(update=words)).isprintable()


# what takes it away


def remove(file: Path) -> None:
    """As somebody who cleans up."""
    file.unlink()


def replace(file: Path) -> None:
    """As somebody who restores a backup."""
    (file.parent / "new").touch()
    (file.parent / "new").replace(file)


def move_folder(file: Path) -> None:
    """As somebody who makes room for a new one."""
    file.parent.rename(file.parent.with_name("old"))


def put_back(file: Path) -> None:
    """As the next holder does, for one."""
    file.parent.mkdir(exist_ok=True)
    file.touch()


@pytest.mark.parametrize("take_away", [remove, replace, move_folder])
def test_lost(url: str | None, lock_file: Path, take_away: Callable[[Path], None]) -> None:
    """The holder finds out that his lock was taken away, for good, and takes none from the next holder."""

    async def lose() -> None:
        async with held(KEY, url=url, holder=ME) as lock:
            await lock.check()
            take_away(lock_file)
            with pytest.raises(LockLostError, match=r"BM752 .* was removed or replaced"):
                await lock.check()
            put_back(lock_file)
            with pytest.raises(LockLostError):
                await lock.check()

    asyncio.run(lose())
    assert lock_file.exists()


def test_next_holder_keeps_his(state: Path) -> None:
    """After a loss, another holds a lock of the same name, and the first one's end does not touch it."""

    async def lose() -> None:
        first = held(KEY, holder=ME)
        await first.__aenter__()
        (state / f"{name_of(KEY)}.lock").unlink()
        async with held(KEY, holder=ME.model_copy(update={"purpose": "second"})) as second:
            await first.__aexit__(None, None, None)
            await second.check()
            named = (await refused(None)).holder
            assert named
            assert named.purpose == "second"

    asyncio.run(lose())


@pytest.mark.parametrize("take_away", [remove, replace])
def test_replaced_while_taking(
    url: str | None, lock_file: Path, take_away: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock on a file that was replaced after it was opened is none: the new file is locked instead."""
    if url:
        asyncio.run(free(url))  # makes the folder
    name = "flock" if url is None else "lockf"
    real, left = getattr(fcntl, name), [lock_file]

    def locking(file: Any, operation: int) -> None:
        of_the_key = os.fstat(file if isinstance(file, int) else file.fileno()).st_ino == inode()
        if left and of_the_key:
            take_away(left.pop())
        real(file, operation)

    def inode() -> int | None:
        return lock_file.stat().st_ino if lock_file.exists() else None

    async def take() -> None:
        async with held(KEY, url=url, holder=ME) as lock:
            await lock.check()
            if url is None:
                await refused(url)

    monkeypatch.setattr(fcntl, name, locking)
    asyncio.run(take())
    assert not left


# where there can be none


def link(state: Path) -> None:
    """A link in place of the folder."""
    (state.parent / "elsewhere").mkdir(parents=True)
    state.symlink_to(state.parent / "elsewhere")


def plain_file(state: Path) -> None:
    """A file in place of the folder."""
    state.parent.mkdir()
    state.touch()


def no_folder(state: Path) -> None:
    """A file in place of the folder above."""
    state.parent.touch()


def writable(state: Path) -> None:
    """A folder that its group may write to."""
    state.mkdir(parents=True)
    state.chmod(0o770)


def linked_lock(state: Path) -> None:
    """A link in place of the lock."""
    state.mkdir(parents=True)
    (state.parent / "victim").touch()
    (state / f"{name_of(KEY)}.lock").symlink_to(state.parent / "victim")


def fifo(state: Path) -> None:
    """Something that would not return when it is opened."""
    state.mkdir(parents=True)
    os.mkfifo(state / f"{name_of(KEY)}.lock")


def folder(state: Path) -> None:
    """A folder in place of the lock."""
    (state / f"{name_of(KEY)}.lock").mkdir(parents=True)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (link, "it is a symbolic link"),
        (plain_file, "Not a directory"),
        (no_folder, "Not a directory"),
        (writable, "others than its owner may write to it"),
        (linked_lock, "Too many levels of symbolic links"),
        (fifo, f"{name_of(KEY)}.lock in it is no plain file of this user"),
        (folder, "Is a directory"),
    ],
)
def test_unusable_state_directory(state: Path, prepare: Callable[[Path], None], reason: str) -> None:
    """What is not safely ours is refused, with the reason."""
    prepare(state)
    assert asyncio.run(unusable(None)) == ("BM756", f"the state directory {str(state)!r} cannot be used: {reason}")


def test_foreign_state_directory(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that another user made in our place is refused."""
    state.mkdir(parents=True)
    owner = state.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    _, message = asyncio.run(unusable(None))
    assert message.endswith(f"it belongs to the user {owner}")


MALFORMED = {
    "": "its scheme is none of",
    "nosuch://host": "its scheme is none of file:///FOLDER, redis://HOST:PORT, etcd3+http://HOST:PORT",
    "mysql://host": "its scheme is none of",
    "file://folder/locks": "a folder is written with its whole path",
    "file:///": "a folder is written with its whole path",
    "redis://": "no host follows",
    "zookeeper://": "no host follows",
    "redis://[::1": "Invalid IPv6 URL",
    "redis://host:99999": "Port out of range",
    "redis://host:port": "Port could not be cast",
    "redis://host?timeout=soon": "timeout is no whole number of seconds from 1 on",
    "redis://host?lock_timeout=0": "lock_timeout is no whole number of seconds from 1 on",
    "redis://host?lock_timeout=0.5": "lock_timeout is no whole number of seconds from 1 on",
}


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_url(text: str) -> None:
    """A URL that names no service is refused before anything is asked."""
    code, message = asyncio.run(unusable(text))
    assert (code, MALFORMED[text] in message) == ("BM753", True)


def test_passwords_are_not_shown() -> None:
    """Neither the user's part of a URL nor its options are repeated."""
    shown = address.parse("redis://me:secret@host:1/x?sentinel_password=secret#secret").shown
    assert shown == "redis://host:1/x"
    assert "secret" not in asyncio.run(unusable("nosuch://me:secret@host?password=secret"))[1]


def test_lease() -> None:
    """The lease is that of the URL, for lock and membership alike, else 30 seconds."""
    leases = {"redis://h": 30, "redis://h?timeout=7": 7, "redis://h?timeout=7&lock_timeout=9": 9, "file:///x": 30}
    assert {url: address.parse(url).lease for url in leases} == leases
    options = address.parse("etcd3+http://h?lock_timeout=9&membership_timeout=3").options
    assert (options["lock_timeout"], options["membership_timeout"]) == ("9", "9")


@pytest.mark.parametrize("package", ["tooz", "redis"])
def test_extra_missing(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a package that the driver needs, the finding names the command that brings it."""
    monkeypatch.setattr(cluster, "find_spec", lambda name: None if name == package else name)
    with pytest.raises(CannotRunError) as raised:
        asyncio.run(free("redis://localhost"))
    (found,) = raised.value.diagnostics
    assert (found.code, found.facts["package"]) == ("BM754", package)
    assert found.remedy == "pip install 'bitmapmig[lock]'"


def test_extra_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tooz that gives locks other names than later ones do would exclude nobody: it counts as missing."""
    monkeypatch.setattr(cluster, "version", lambda _: "8.1.0")
    with pytest.raises(CannotRunError, match=r"BM754 .* needs the package 'tooz>=9', which is not installed"):
        asyncio.run(free("redis://localhost"))


def test_driver_that_refuses(tmp_path: Path) -> None:
    """What the system says reaches the finding where the driver hides it."""
    (tmp_path / "file").touch()
    code, message = asyncio.run(unusable(f"file://{tmp_path}/file/locks"))
    assert (code, message.rpartition(": ")[2]) == ("BM755", "Not a directory")


# a driver's calls block


class Slow(coordinator.Coordinator):
    """A coordinator whose answers take their time."""

    seconds: ClassVar[float] = 0.3

    def take(self, holder: Holder) -> bool:
        """Take it, late."""
        time.sleep(self.seconds)
        return super().take(holder)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The URL of a lock that takes 0.3 s to be had."""
    monkeypatch.setattr(cluster, "Coordinator", Slow)
    return f"file://{tmp_path}/locks"


def test_slow_service_does_not_block(slow: str) -> None:
    """While a driver blocks, the event loop goes on."""

    async def count() -> int:
        taking = asyncio.create_task(free(slow))
        turns = 0
        while not taking.done():
            await asyncio.sleep(0.01)
            turns += 1
        await taking
        return turns

    assert asyncio.run(count()) >= 5


def test_interrupted_in_a_call(slow: str) -> None:
    """A lock that is granted after the one who wanted it was interrupted is freed."""

    async def interrupt() -> None:
        taking = asyncio.create_task(free(slow))
        await asyncio.sleep(0.15)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        await free(slow)

    asyncio.run(interrupt())


def test_late_service(slow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that answers too late is given up, and what it grants later is given back."""
    monkeypatch.setattr(Slow, "seconds", 0.8)
    monkeypatch.setattr(address, "PATIENCE", 0.4)

    async def give_up() -> None:
        assert (await unusable(slow))[1].endswith("no answer within 0.4 s")
        monkeypatch.setattr(Slow, "seconds", 0)
        async with held(KEY, url=slow, timeout=10, holder=ME):
            pass

    asyncio.run(give_up())


def test_beats_of_an_idle_worker() -> None:
    """The thread beats by itself, also while the event loop is busy and after a beat failed, until it is to end."""
    beats = []

    def beat() -> None:
        beats.append(1)
        raise OSError

    async def idle() -> int:
        worker = Worker(beat, 0.01)
        time.sleep(0.3)  # noqa: ASYNC251  the loop is busy
        worker.finish()
        with pytest.raises(TimeoutError):
            await worker.do(list, 0.1)
        return len(beats)

    assert asyncio.run(idle()) >= 3


def test_names_of_locks() -> None:
    """The name of a lock is fit for a file of any system, a UUID can be read in it, and no two keys have one."""
    names = {name_of(key) for key in (KEY, *HOSTILE)}
    assert len(names) == 1 + len(HOSTILE)
    assert all(name.replace("-", "").isalnum() and name == name.lower() and len(name) < 100 for name in names)
    assert name_of(KEY) == f"bitmapmig-{KEY}"


def test_no_turn_is_lost_to_a_stale_file(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lock files that change for ever under the one who tries end in a refusal, not in a loop."""
    monkeypatch.setattr("bitmapmig.state_directory.Directory.holds", lambda *_: False)
    assert asyncio.run(refused(None)).holder is None
    assert host.HostLock.pause > 0
    assert state.exists()

"""tooz -> one lock and the word of its holder. Everything here blocks, and is called from one thread.

The holder is named through a group that bears the name of the lock: whoever has the lock joins it and tells in his
capabilities who he is. A member that has died stays for a while; each holder counts on from those that he finds, and
the highest turn is the one that counts.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
import stat
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from bitmapmig.lock import address
from bitmapmig.lock.holder import Holder

if TYPE_CHECKING:
    from tooz.coordination import CoordinationDriver
    from tooz.locking import Lock

#: How often what another removes at that very moment is made anew: a group, a lock file.
_TRIES = 5


class Coordinator:
    """One session with a service. Any method may raise whatever the driver does, but for `end`."""

    def __init__(self, service: address.Address, name: str) -> None:
        self._service = service
        self._name = name.encode()
        self._member = f"bitmapmig-{uuid4().hex}".encode()
        self._driver: CoordinationDriver | None = None
        self._lock: Lock | None = None
        self._file = _LockFile(Path(service.folder) / name) if service.folder else None
        self._taken = False

    def start(self) -> None:
        """Connect. What nobody listens to is found before the driver, which tries for a minute, is asked."""
        for package in (
            "tooz",
            "kazoo",
            "fasteners",
            "stevedore",
        ):  # they tell of what is lost, and so does this package
            logging.getLogger(package).addHandler(logging.NullHandler())
        _probe(self._service.place)
        tooz = importlib.import_module("tooz.coordination")
        driver: CoordinationDriver = tooz.get_coordinator(self._service.url, self._member, **self._service.options)
        # not with the driver's own heart, which never stops beating for a service that is gone
        driver.start(start_heart=False)
        self._driver = driver

    @property
    def _started(self) -> CoordinationDriver:
        if self._driver is None:
            raise RuntimeError("it is not connected")
        return self._driver

    def take(self, holder: Holder) -> bool:
        """Take the lock if it is free, and sign for it."""
        if self._file is None:
            self._lock = self._lock or self._started.get_lock(self._name)
            self._taken = self._lock.acquire(blocking=False)
        else:
            self._taken = self._take_file(self._file)
        if self._taken:
            self._sign(holder)
        return self._taken

    def _take_file(self, file: _LockFile) -> bool:
        """The driver may keep the file open between its tries: one that was replaced meanwhile needs a new lock."""
        for _ in range(_TRIES):
            if self._lock is None or not file.unchanged():
                file.note()
                self._lock = self._started.get_lock(self._name)
            if not self._lock.acquire(blocking=False):
                _close(self._lock)
                return False
            if file.unchanged():
                return True
            self._lock.release()
        return False

    def _sign(self, holder: Holder) -> None:
        """Tell who has the lock, as far as the service has groups."""
        with _unless_unknown():
            driver = self._started
            turns = [turn for turn, _ in self._members()]
            words = {"holder": holder.from_now().model_dump_json(), "turn": max(turns, default=0) + 1}
            errors = importlib.import_module("tooz.coordination")
            for _ in range(_TRIES):
                with suppress(errors.GroupAlreadyExist):
                    driver.create_group(self._name).get(address.PATIENCE)
                with suppress(errors.GroupNotCreated):
                    driver.join_group(self._name, words).get(address.PATIENCE)
                    break

    def holder(self) -> Holder | None:
        """Who signed last."""
        with _unless_unknown():
            _, holder = max(self._members(), key=lambda member: member[0], default=(0, None))
            # a dead process holds no lock on a file, and its word outlives it by the lease
            if holder and self._file is not None and holder.host == socket.gethostname() and _dead(holder.pid):
                return None
            return holder
        return None

    def _members(self) -> list[tuple[int, Holder]]:
        """The turn of each member of the group, and who it is."""
        errors = importlib.import_module("tooz.coordination")
        found = []
        with suppress(errors.GroupNotCreated):
            for member in self._started.get_members(self._name).get(address.PATIENCE):
                with suppress(errors.MemberNotJoined):
                    words: Any = self._started.get_member_capabilities(self._name, member).get(address.PATIENCE)
                    holder = Holder.read(words["holder"]) if _signed(words) else None
                    if holder:
                        found.append((words["turn"], holder))
        return found

    def beat(self) -> bool:
        """Give a sign of life, without which a member counts as dead; whether the lock is still held."""
        self._started.heartbeat()
        if not self._taken or self._lock is None:
            return False
        if self._file is not None:
            return self._file.unchanged()
        with _unless_unknown():
            return self._lock.is_still_owner()
        # etcd has no such question, but a member whose lease has ended is none any more
        return self._member in self._started.get_members(self._name).get(address.PATIENCE)

    def end(self) -> None:
        """Free the lock and leave nothing behind, as far as the service still answers."""
        driver, self._driver = self._driver, None
        if driver is None:
            return
        if self._taken and self._lock is not None:
            for call in (driver.leave_group, driver.delete_group):
                with suppress(Exception):
                    call(self._name).get(address.PATIENCE)
            with suppress(Exception):
                self._lock.release()
            self._taken = False
        client = getattr(driver, "_client", None)  # of Redis, which the driver leaves to the garbage collector
        with suppress(Exception):
            driver.stop()
        if client is not None:
            with suppress(Exception):
                client.close()


class _LockFile:
    """The file behind a lock of `file://`; the driver does not notice when it is removed or replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._noted: os.stat_result | None = None

    def note(self) -> None:
        """Remember which file it is, and make it if it is missing.

        Not by opening it: to close it again would free every lock that this process has on it (fcntl(2), lockf).
        """
        with suppress(FileExistsError):
            os.mknod(self._path, 0o666 | stat.S_IFREG)
        self._noted = self._path.stat()

    def unchanged(self) -> bool:
        """Whether it is still the file that was noted."""
        try:
            return self._noted is not None and os.path.samestat(self._noted, self._path.stat())
        except OSError:
            return False


def _close(refused: Lock) -> None:
    """Close the file of a lock that another process has; the driver leaves it to the garbage collector."""
    file = getattr(getattr(refused, "_lock", None), "lockfile", None)
    if file is not None:
        file.close()


def _unless_unknown() -> suppress:
    """Goes on after what the driver has no means for."""
    return suppress(importlib.import_module("tooz").NotImplemented)


def _signed(words: object) -> bool:
    return isinstance(words, dict) and isinstance(words.get("holder"), str) and isinstance(words.get("turn"), int)


def _dead(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def _probe(place: tuple[str, int] | str | None) -> None:
    """Raise `OSError` where nothing listens at `place`."""
    if isinstance(place, tuple):
        socket.create_connection(place, timeout=address.PATIENCE).close()
    elif place is not None:
        with closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.settimeout(address.PATIENCE)
            connection.connect(place)

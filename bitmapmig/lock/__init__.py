"""A VM -> the right to be its one writer, for as long as the lock is held.

    async with held(uuid, holder=Holder.here("apply")) as lock:
        await lock.check()  # before each command that writes

By default the lock is one of this host, in the state directory, and excludes the processes of one user; a URL names a
coordination service that a cluster shares. A lock can be lost while it is held, and only `check` tells.
"""

from bitmapmig.lock.acquire import Lock, held
from bitmapmig.lock.holder import Holder, LockHeldError, LockLostError
from bitmapmig.state_directory import state_directory

__all__ = ["Holder", "Lock", "LockHeldError", "LockLostError", "held", "state_directory"]

"""A command -> a process that ends when this one does, however this one ends.

The kernel ends it by its pid with the *thread* that has started it (prctl(2), `PR_SET_PDEATHSIG`): so it is started
right here, in the thread of whoever asks, which is that of the event loop, and never in a thread of a pool.

It leads a process group of its own, so the terminal's Ctrl-C reaches us alone, who then end it in order; and what it
has started ends with it (`end`). Who leaves the group (setsid(2)) is not found any more: only a reaper of orphans would
(`PR_SET_CHILD_SUBREAPER`), which the whole of this process would have to be, and it may be anybody's. Nor is there
anybody to end the group where this process is killed: then the kernel ends the leader alone. A real QEMU cannot start
anything, since its sandbox forbids it.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: KiB of address space of a throw-away process: a QEMU takes 2 GiB of it, of which it uses 50 MiB.
ADDRESS_SPACE = 16 << 20

#: Run under the promise of the kernel; it looks whether it came too late, then becomes the command that follows.
_BECOME = 'test "$PPID" = "$1" || exit 125; shift; ulimit -c 0; ulimit -v "$1"; shift; exec "$@"'

#: The same for a system without setpriv(1).
_BECOME_IN_PYTHON = (
    "import ctypes, os, resource, signal, sys\n"
    "ctypes.CDLL(None).prctl(1, signal.SIGKILL)\n"
    "if os.getppid() != int(sys.argv[1]): sys.exit(125)\n"
    "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
    "resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]) << 10,) * 2)\n"
    "os.execv(sys.argv[3], sys.argv[3:])\n"
)


def tied(
    command: Sequence[str], *, folder: Path, output: int | IO[bytes], errors: int | IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start `command`, whose first word is a path, in `folder`: without input, core dump, or endless memory.

    Raises `OSError`. Of what is returned neither `poll` nor `kill` is to be used, but `status` and `end`.
    """
    bounds = (str(os.getpid()), str(_address_space()))
    starter: tuple[str, ...]
    setpriv = shutil.which("setpriv")
    if setpriv is not None:
        starter = (setpriv, "--pdeathsig", "KILL", "/bin/sh", "-c", _BECOME, "sh", *bounds)
    else:
        starter = (sys.executable, "-I", "-S", "-c", _BECOME_IN_PYTHON, *bounds)
    return subprocess.Popen(  # noqa: S603  no shell reads any word of it
        (*starter, *command), cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, process_group=0
    )


def _address_space() -> int:
    """KiB that a process may have: where less is allowed here already, that."""
    limits = [limit >> 10 for limit in resource.getrlimit(resource.RLIMIT_AS) if limit != resource.RLIM_INFINITY]
    return min([ADDRESS_SPACE, *limits])


def status(process: subprocess.Popen[bytes]) -> int | None:
    """None while a `tied` process lives, then its exit status; a signal that ended it is negative.

    The kernel keeps its pid, which is the name of its group, until `end`.
    """
    if process.returncode is not None:
        return process.returncode
    try:
        found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # this process takes no notice of its children (SIGCHLD)
        return process.poll()
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """End a `tied` process and its group at once; again it does nothing.

    One that the kernel does not let go of within so many seconds is not waited for.
    """
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)

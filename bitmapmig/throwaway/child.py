"""A command -> a process that ends when this one does, however this one ends.

The kernel ends it by its pid with the *thread* that has started it (prctl(2), `PR_SET_PDEATHSIG`): so it is started
right here, in the thread of whoever asks, which is that of the event loop, and never in a thread of a pool.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
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

    Raises `OSError`.
    """
    bounds = (str(os.getpid()), str(ADDRESS_SPACE))
    starter: tuple[str, ...]
    setpriv = shutil.which("setpriv")
    if setpriv is not None:
        starter = (setpriv, "--pdeathsig", "KILL", "/bin/sh", "-c", _BECOME, "sh", *bounds)
    else:
        starter = (sys.executable, "-I", "-S", "-c", _BECOME_IN_PYTHON, *bounds)
    return subprocess.Popen(  # noqa: S603  no shell reads any word of it
        (*starter, *command), cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=errors
    )

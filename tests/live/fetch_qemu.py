"""Debian suites -> QEMU binaries of other versions, in a cache folder.

Each suite gets a private apt state, so nothing of the machine's own is touched and no root is needed: apt resolves and
downloads `qemu-system-x86` and `qemu-utils` with every library that they need, `dpkg-deb` unpacks them into a folder,
and a small wrapper starts the binary through that folder's own loader. The mirror is the one that the machine's own
apt is configured with.

    python -m tests.live.fetch_qemu [SUITE ...]

Prints one line a suite. Exit status: 0 when each suite asked for is in the cache, 1 otherwise.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SUITES = ("bullseye", "trixie", "sid")
PACKAGES = ("qemu-system-x86", "qemu-utils", "seabios", "ipxe-qemu")
PROGRAMS = ("qemu-system-x86_64", "qemu-img")
APT_SETTINGS = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))


def cache() -> Path:
    """The folder that holds one sub-folder a suite (`$BITMAPMIG_QEMU_CACHE`, else below the user's cache folder)."""
    named = os.environ.get("BITMAPMIG_QEMU_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else home / "bitmapmig" / "qemu"


def mirror() -> str:
    """The Debian mirror of the machine's own apt configuration, as a URL."""
    listed, folder = APT_SETTINGS
    texts = [path.read_text() for path in (*sorted(folder.glob("*")), listed) if path.is_file()]
    lines = [line for text in texts for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in lines:
        found = re.search(r"(?:^URIs:|^deb\b.*?)\s*((?:https?|file):\S*/debian)/?(?:\s|$)", line)
        if found:
            return found[1]
    raise LookupError("apt is configured with no Debian mirror: no line of its sources names one that ends on /debian")


def apt(folder: Path, *words: str) -> None:
    """Run apt-get with all of its state below `folder`."""
    state = folder / "apt"
    options = {
        "Dir::State": state / "state",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Dir::Etc::SourceList": state / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        "APT::Get::List-Cleanup": "false",
        "APT::Sandbox::User": "",
        "Acquire::Check-Valid-Until": "false",  # a mirror's copy of the unstable suite may be old
        "Acquire::Languages": "none",
        "Debug::NoLocking": "true",
    }
    flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    subprocess.run(["apt-get", "-q", "-y", *flags, *words], check=True, stdout=sys.stderr)


def fetch(suite: str, into: Path) -> None:
    """Download and unpack the packages of `suite`; the folder appears under its name only when it is complete."""
    work = into / f".{suite}.{os.getpid()}"
    state, root = work / "apt", work / "root"
    for path in (state / "state/lists/partial", state / "cache/archives/partial", root):
        path.mkdir(parents=True)
    try:
        (state / "status").touch()
        (state / "sources.list").write_text(f"deb {mirror()} {suite} main\n")
        apt(work, "update")
        apt(work, "install", "--download-only", "--no-install-recommends", *PACKAGES)
        for package in sorted((state / "cache/archives").glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, root], check=True)
        shutil.rmtree(state)
        for program in PROGRAMS:
            wrap(work, into / suite, program)
        shutil.rmtree(into / suite, ignore_errors=True)
        work.rename(into / suite)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def wrap(work: Path, home: Path, program: str) -> None:
    """Write a starter for `program` that runs it with the loader, libraries and firmware of its own folder."""
    tree = home / "root"
    libraries = [
        tree / place
        for place in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
        for place in (place, f"{place}/pulseaudio", f"{place}/ceph")
    ]
    # the loader is at the same place in every suite, whether /lib is a folder of its own or merged into /usr
    loader = next(work.glob("root/**/x86_64-linux-gnu/ld-linux-x86-64.so.2"), None) or next(
        work.glob("root/**/x86_64-linux-gnu/ld-2.*.so")
    )
    firmware = f' -L "{tree}/usr/share/qemu" -L "{tree}/usr/share/seabios"' if "system" in program else ""
    starter = work / program
    starter.write_text(
        "#!/bin/sh\n"
        f'export QEMU_MODULE_DIR="{tree}/usr/lib/x86_64-linux-gnu/qemu"\n'
        f'exec "{home / loader.relative_to(work)}" --library-path "{":".join(map(str, libraries))}" '
        f'"{tree}/usr/bin/{program}"{firmware} "$@"\n'
    )
    starter.chmod(0o755)


def main(suites: list[str]) -> int:
    """Fetch what is not there yet; say of each suite what became of it."""
    into = cache()
    into.mkdir(parents=True, exist_ok=True)
    failed = False
    for suite in suites or SUITES:
        binary = into / suite / PROGRAMS[0]
        try:
            if not binary.exists():
                fetch(suite, into)
            said = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True).stdout
            print(f"{suite}: {said.splitlines()[0]}")
        except (OSError, LookupError, StopIteration, subprocess.CalledProcessError) as error:
            print(f"{suite}: not to be had: {error}")
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

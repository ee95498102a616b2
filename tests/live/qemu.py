"""Real QEMU processes for tests: found, started, spoken to over QMP, migrated, and ended.

A process gets its folder as working directory and names sockets and images relative to it, so that what it reports
holds no path of this machine. It has two monitors: one that the harness keeps to itself, and `NAME.qmp` for whatever is
under test. Nothing here knows anything of the package that is tested.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.live import fetch_qemu
from tests.live.monitor import PATIENCE, Monitor, QemuGoneError, QmpError, until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

PROGRAM = "qemu-system-x86_64"


@dataclass(frozen=True, slots=True)
class Binary:
    """A QEMU: `version` as `7.2.22`, `path` of qemu-system-x86_64, `img` of the qemu-img that belongs to it."""

    version: str
    path: Path
    img: Path

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor version, for comparing."""
        major, minor, *_ = self.version.split(".")
        return int(major), int(minor)

    def image(self, *words: str, folder: Path) -> str:
        """Run this QEMU's qemu-img in `folder`; its standard output. Raises `CalledProcessError`."""
        return subprocess.run([self.img, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@cache
def binaries() -> tuple[Binary, ...]:
    """Every QEMU that is there, one a version, oldest first: from PATH, `$QEMU`, and the cache of `fetch_qemu`.

    `$BITMAPMIG_TEST_QEMU` narrows to versions that begin with one of its words, as `7.2 11`. Raises `LookupError` where
    none is left: a test that needs QEMU must fail without it.
    """
    named = [os.environ.get("QEMU"), shutil.which(PROGRAM)]
    paths = [Path(name).absolute() for name in named if name]
    paths += sorted(fetch_qemu.cache().glob(f"*/{PROGRAM}"))
    found: dict[str, Binary] = {}
    for path in paths:
        version = _version(path)
        beside = path.parent / "qemu-img"
        img = beside if beside.exists() else Path(shutil.which("qemu-img") or beside)
        found.setdefault(version, Binary(version, path, img))
    wanted = os.environ.get("BITMAPMIG_TEST_QEMU", "").split()
    left = [
        binary
        for binary in found.values()
        if not wanted or any(f"{binary.version}.".startswith(f"{w}.") for w in wanted)
    ]
    if not left:
        message = f"no {PROGRAM} on PATH, in $QEMU or in the cache that is among the versions {wanted or 'any'}"
        raise LookupError(message)
    return tuple(sorted(left, key=lambda binary: [int(part) for part in binary.version.split(".")]))


def _version(path: Path) -> str:
    said = subprocess.run([path, "--version"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"version (\d+\.\d+\.\d+)", said)
    if not found:
        message = f"{path} does not tell its version: {said[:100]!r}"
        raise LookupError(message)
    return found[1]


def _spelling(name: str) -> str:
    return name.replace("__", "\0").replace("_", "-").replace("\0", "_")


@dataclass(frozen=True, slots=True)
class BitmapRecord:
    """A bitmap as `query-named-block-nodes` shows it; `digest` is None where QEMU takes none.

    It takes none of an inconsistent bitmap or of one whose name is not UTF-8, and none at all where it runs with
    `-compat unstable-input=reject`.
    """

    granularity: int
    count: int
    recording: bool
    busy: bool
    persistent: bool
    inconsistent: bool
    digest: str | None


class Qemu:
    """One QEMU process, alive inside `with`; killed by its own pid at the end, and with the thread that started it.

    `words` are the arguments that come after what every process gets; relative file names are relative to `folder`.
    `paused` is `-S`, `incoming` is `-incoming defer`.
    """

    def __init__(
        self,
        binary: Binary,
        *words: str,
        name: str = "source",
        folder: Path | None = None,
        machine: str = "none",
        incoming: bool = False,
        paused: bool = True,
    ) -> None:
        self.binary = binary
        self.name = name
        self._own_folder = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="bitmapmig-"))
        self.words = (
            *("-machine", machine, "-nodefaults", "-no-user-config", "-display", "none"),
            *(("-S",) if paused else ()),
            *(("-incoming", "defer") if incoming else ()),
            *("-qmp", f"unix:{name}.qmp,server=on,wait=off"),
            *words,
        )
        self.events: list[dict[str, Any]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._monitor: Monitor | None = None

    @property
    def socket(self) -> Path:
        """The monitor that is free for whatever is under test."""
        return self.folder / f"{self.name}.qmp"

    @property
    def endpoint(self) -> str:
        """The same as `bitmapmig` spells it."""
        return f"unix:{self.socket}"

    @property
    def log(self) -> str:
        """What QEMU has printed to standard error so far."""
        return (self.folder / f"{self.name}.log").read_text(errors="replace")

    def __enter__(self) -> Self:
        try:
            try:
                self._start(PATIENCE / 4)
            except (TimeoutError, QmpError):
                self.kill()
                self._start(PATIENCE)  # 5.2 hangs, or does not understand, in a few of thousands of starts
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self.kill()
        if self._own_folder:
            shutil.rmtree(self.folder)

    def _start(self, seconds: float) -> None:
        private = self.folder / f"{self.name}.harness"
        for path in (private, self.socket):
            path.unlink(missing_ok=True)
        # setpriv and the starters of the cache use exec, so the pid is that of QEMU
        command = ["setpriv", "--pdeathsig", "KILL", self.binary.path, *self.words]
        with (self.folder / f"{self.name}.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "-qmp", f"unix:{private.name},server=on,wait=off"],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        until(lambda: private.exists() or self.status is not None, f"{self.name} did not start", seconds)
        if self.status is not None:
            message = f"{self.name} ({self.binary.version}) did not start: {self.log}"
            raise QemuGoneError(message)
        self._monitor = Monitor(private, seconds)
        self.greeting = self._monitor.greeting
        self.qmp("qmp_capabilities")

    # the process

    @property
    def status(self) -> int | None:
        """None while the process lives, then its exit status; a signal that killed it is negative."""
        return None if self._process is None else self._process.poll()

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait until the process has ended; its `status`. Raises `TimeoutError`."""
        until(lambda: self.status is not None, f"{self.name} did not end", seconds)
        return self.status or 0

    def kill(self) -> None:
        """End the process at once, as a crash does: nothing is stored, `in-use` flags stay."""
        if self._monitor is not None:
            self._monitor.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def quit(self) -> int:
        """Shut QEMU down in order, which stores persistent bitmaps; its exit status."""
        with suppress(QemuGoneError):
            self.qmp("quit")
        return self.wait()

    # the monitor

    def execute(self, command: str, arguments: Mapping[str, Any]) -> Any:
        """Run a QMP command with arguments as they are; its return value. Raises `QmpError`, `QemuGoneError`."""
        if self._monitor is None:
            message = f"{self.name} was not started"
            raise QemuGoneError(message)
        return self._monitor.execute(command, arguments, self.events)

    def qmp(self, command: str, **arguments: Any) -> Any:
        """As `execute`, with `_` in argument names standing for `-`, and `__` for `_`."""
        return self.execute(command, {_spelling(name): value for name, value in arguments.items()})

    def hmp(self, line: str) -> str:
        """Run a line of the human monitor; what it prints, where it prints to the monitor."""
        return str(self.qmp("human-monitor-command", command_line=line))

    def wait_event(self, name: str, **data: Any) -> dict[str, Any]:
        """The first event of that name whose data hold `data`; waits for it. Raises `TimeoutError`."""
        wanted = {_spelling(key): value for key, value in data.items()}.items()

        def seen() -> list[dict[str, Any]]:
            self.qmp("query-status")  # events arrive in between
            return [e for e in self.events if e["event"] == name and wanted <= e.get("data", {}).items()]

        return until(seen, f"{self.name} sent no {name} {dict(wanted)}")[0]

    # what is in it

    def nodes(self) -> dict[str, dict[str, Any]]:
        """`query-named-block-nodes`, by node-name."""
        return {node["node-name"]: node for node in self.qmp("query-named-block-nodes", flat=True)}

    def root(self, device: str) -> str:
        """The node-name that `query-block` shows for a device, by device name or qdev."""
        found = (info for info in self.qmp("query-block") if device in (info["device"], info.get("qdev")))
        return str(next(found)["inserted"]["node-name"])

    def bitmaps(self) -> dict[tuple[str, str], BitmapRecord]:
        """Every named bitmap by node-name and name."""
        return {
            (node, bitmap["name"]): BitmapRecord(
                granularity=bitmap["granularity"],
                count=bitmap["count"],
                recording=bitmap["recording"],
                busy=bitmap["busy"],
                persistent=bitmap["persistent"],
                inconsistent=bitmap.get("inconsistent", False),
                digest=self.digest(node, bitmap["name"]),
            )
            for node, record in self.nodes().items()
            for bitmap in record.get("dirty-bitmaps", ())
            if "name" in bitmap
        }

    def digest(self, node: str, bitmap: str) -> str | None:
        """SHA-256 of the bits of a bitmap (`x-debug-block-dirty-bitmap-sha256`); None where QEMU takes none."""
        try:
            return str(self.qmp("x-debug-block-dirty-bitmap-sha256", node=node, name=bitmap)["sha256"])
        except QmpError as error:
            if any(said in error.desc for said in ("is inconsistent", "disabled by policy", "not found")):
                return None
            raise

    def write(self, node: str, *offsets: int, length: int = 65536, qdev: bool = False) -> None:
        """Write `length` bytes at each offset, which sets bits in each recording bitmap of the node.

        `node` is a node-name (generated ones too), a device name, or with `qdev` a guest device, whose writes are
        those of the guest. Raises `QmpError` where QEMU did not write.
        """
        option = "-d " if qdev else ""
        for offset in offsets:
            said = self.hmp(f'qemu-io {option}{node} "write -P 1 {offset} {length}"')
            if said:
                raise QmpError("qemu-io", said.strip())
        recording = [b for b in self.nodes().get(node, {}).get("dirty-bitmaps", ()) if "name" in b and b["recording"]]
        if offsets and any(not bitmap["count"] for bitmap in recording):
            raise QmpError("qemu-io", f"the writes to {node} left a recording bitmap clean")

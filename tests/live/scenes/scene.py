"""What a scene is: two real QEMUs in a wanted state, what planning between them must come to, and why.

A scene is written as a function that sets the stage; its name and the first line of its docstring become the name and
the sentence of the scene. A scene that is refused has a `harm`: it ignores the refusal and asserts what QEMU then
really does, where both sides are of one version. A planned scene may have one too: what QEMU does without the plan.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.live.migration import SECONDS, Outcome, migrate, set_capability, set_mapping
from tests.live.qemu import Binary, Qemu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

MIB = 1 << 20
#: The virtual size of a disk, where nothing is said about it.
SIZE = 16 * MIB
GRANULE = 65536
OLDEST, NEWEST = (5, 2), (99, 0)


class Stage:
    """Where a scene is set: a folder, and a source and a destination that run in it once they are started."""

    def __init__(self, source: Binary, destination: Binary, folder: Path, stack: ExitStack) -> None:
        self.binaries = {"source": source, "destination": destination}
        self.folder = folder
        self._stack = stack
        self._qemus: dict[str, Qemu] = {}

    @property
    def source(self) -> Qemu:
        """The running source."""
        return self._qemus["source"]

    @property
    def destination(self) -> Qemu:
        """The running destination; the source itself where a scene has but one process."""
        return self._qemus.get("destination", self.source)

    def start_source(self, *words: str, machine: str = "none", incoming: bool = False) -> Qemu:
        """Start the source: running where there is no guest that could run, else paused before its first step."""
        paused = machine != "none"
        return self._start("source", *words, machine=machine, incoming=incoming, paused=paused)

    def start_destination(self, *words: str, machine: str = "none", incoming: bool = True) -> Qemu:
        """Start the destination, waiting for a migration unless told otherwise, and paused after it."""
        return self._start("destination", *words, machine=machine, incoming=incoming, paused=True)

    def _start(self, name: str, *words: str, machine: str, incoming: bool, paused: bool) -> Qemu:
        releases = sorted({binary.release for binary in self.binaries.values()})
        if machine == "q35" and len(releases) > 1:  # the alias means another machine in each version
            machine = "pc-q35-{}.{}".format(*releases[0])
        qemu = Qemu(
            self.binaries[name],
            *words,
            name=name,
            folder=self.folder,
            machine=machine,
            incoming=incoming,
            paused=paused,
        )
        self._qemus[name] = self._stack.enter_context(qemu)
        return self._qemus[name]

    def image(self, name: str, size: int = SIZE, *, options: str = "", backing: str = "", filled: bool = False) -> str:
        """Create a qcow2 image with the source's qemu-img; its name. `options` are those of `-o`.

        A filled one has data all over.
        """
        img = self.binaries["source"]
        if filled:
            (self.folder / f"{name}.raw").write_bytes(b"\1" * size)
            img.image("convert", "-O", "qcow2", f"{name}.raw", name, folder=self.folder)
            (self.folder / f"{name}.raw").unlink()
            if backing:
                img.image("rebase", "-u", "-b", backing, "-F", "qcow2", name, folder=self.folder)
            return name
        words = ["-o", options] if options else []
        words += ["-b", backing, "-F", "qcow2"] if backing else []
        img.image("create", "-q", "-f", "qcow2", *words, name, str(size), folder=self.folder)
        return name

    def bitmap(
        self, node: str, name: str = "b0", *, qdev: str | None = None, through: str | None = None, **arguments: Any
    ) -> None:
        """Add a bitmap on the source and dirty five granules, the same ones each time the scene is set.

        The writes go to the node itself, or `through` a node above it, or through a guest device (`qdev`) where that
        holds the node for itself.
        """
        self.source.qmp("block-dirty-bitmap-add", node=node, name=name, **arguments)
        granules = random.Random(name).sample(range(SIZE // GRANULE), 5)
        self.source.write(
            qdev or through or node, *(GRANULE * granule for granule in sorted(granules)), qdev=bool(qdev)
        )

    def ignored(
        self,
        mapping: Iterable[Mapping[str, Any]] | None = None,
        *,
        destination_mapping: Iterable[Mapping[str, Any]] | None = None,
        seconds: float = SECONDS,
    ) -> Outcome:
        """Migrate as someone does who knows nothing of the refusal: with these mappings, or with QEMU's own names."""
        if destination_mapping is not None:
            set_mapping(self.destination, destination_mapping)
        if mapping is not None:
            set_mapping(self.source, mapping)
        set_capability(self.source)
        return migrate(self.source, self.destination, seconds=seconds)


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene: `refusals` are the codes of the refusal, none for a plan; `versions` the releases that can play it.

    `policy` is the policy document, `options` are arguments of planning beside it (`resolve`, `strict`, `provisional`).
    `downward` is the release that the destination must be of, where it must not be that of the source.
    """

    name: str
    shows: str
    build: Callable[[Stage], None]
    refusals: frozenset[str]
    policy: Mapping[str, Any] | None
    options: Mapping[str, Any]
    versions: tuple[tuple[int, int], tuple[int, int]]
    downward: tuple[int, int] | None
    harm: Callable[[Stage], None] | None
    record: str  #: the release on which its fixture is recorded

    def runs_on(self, source: Binary, destination: Binary | None = None) -> bool:
        """Whether these QEMUs can play the scene; without a destination: the source's QEMU on both sides."""
        first, last = self.versions
        other = destination or source
        if self.downward is not None:
            return first <= source.release <= last and other.release == self.downward
        return all(first <= binary.release <= last for binary in (source, other)) and source.release <= other.release

    @contextmanager
    def on(self, source: Binary, destination: Binary | None = None) -> Iterator[Stage]:
        """Set the stage; both QEMUs are started and in the wanted state, and end with the `with`."""
        folder = Path(tempfile.mkdtemp(prefix="bitmapmig-"))
        try:
            with ExitStack() as stack:
                stage = Stage(source, destination or source, folder, stack)
                self.build(stage)
                yield stage
        finally:
            shutil.rmtree(folder)


def scene(
    *refusals: str,
    policy: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    since: tuple[int, int] = OLDEST,
    until: tuple[int, int] = NEWEST,
    downward: tuple[int, int] | None = None,
    harm: Callable[[Stage], None] | None = None,
    record: str = "7.2",
) -> Callable[[Callable[[Stage], None]], Scene]:
    """Make a scene of the function that sets its stage."""

    def of(build: Callable[[Stage], None]) -> Scene:
        return Scene(
            name=build.__name__.replace("_", "-"),
            shows=(build.__doc__ or "").strip().splitlines()[0],
            build=build,
            refusals=frozenset(refusals),
            policy=None if policy is None else {"version": 1, **policy},
            options=options or {},
            versions=(since, until),
            downward=downward,
            harm=harm,
            record=record,
        )

    return of


def null(node: str, size: int = SIZE) -> tuple[str, str]:
    """Arguments for a node that keeps nothing."""
    return "-blockdev", f"driver=null-co,node-name={node},size={size},read-zeroes=on"


def disk(node: str, image: str, driver: str = "qcow2", more: str = "") -> tuple[str, str]:
    """Arguments for a node over an image file, its protocol node named `NODE-file`."""
    rest = f",{more}" if more else ""
    return (
        "-blockdev",
        f"driver={driver},node-name={node},file.driver=file,file.node-name={node}-file,file.filename={image}{rest}",
    )


def drive(device: str, image: str, more: str = "") -> tuple[str, str]:
    """Arguments for a named device over an image file; its nodes are auto-named."""
    rest = f",{more}" if more else ""
    return "-drive", f"if=none,id={device},format=qcow2,file={image}{rest}"

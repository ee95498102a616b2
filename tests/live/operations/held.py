"""One operation held against real QEMU: done to a live one and to the graph of its capture, and both compared."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig import graph, transforms
from bitmapmig.captures import QUERIES, Capture, Exchange
from bitmapmig.changes import unlike
from bitmapmig.transforms.jobs import at_rest
from tests.live.monitor import QmpError, until
from tests.live.qemu import Qemu

if TYPE_CHECKING:
    from collections.abc import Callable

    from bitmapmig.graph import BlockGraph
    from tests.live.qemu import Binary

#: A word and its arguments.
Step = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Held:
    """What is there, and what is done: after each step the simulated graph must be the captured one.

    `images` makes files before the start, `words` are for the command line, `setup` goes on over QMP. With `refused`
    the last step is refused by both; the text is part of QEMU's own message. `counts` compares how dirty bitmaps are.
    `words` and `setup` are the configuration: a step that is about the whole process has them done to the next one.
    `guest` does, before an event is waited for, what a guest would do.
    """

    name: str
    steps: tuple[Step, ...]
    words: tuple[str, ...] = ()
    setup: Callable[[Qemu], None] | None = None
    images: Callable[[Binary, Path], None] | None = None
    machine: str = "none"
    refused: str | None = None
    since: tuple[int, int] = (0, 0)
    until: tuple[int, int] = (99, 0)
    counts: bool = False
    guest: Callable[[Qemu], None] | None = None

    def on(self, binary: Binary) -> bool:
        """Whether the case is about this QEMU."""
        return self.since <= binary.release <= self.until

    def hold(self, binary: Binary, folder: Path) -> None:
        """Do all of it."""
        if self.images is not None:
            left_out = shutil.ignore_patterns("*.qmp", "*.harness", "*.log")
            shutil.copytree(_made(self.images, binary), folder, dirs_exist_ok=True, ignore=left_out)
        with ExitStack() as processes:
            qemu = self._started(processes, binary, folder, "source")
            simulated = captured(qemu)
            for number, (word, arguments) in enumerate(self.steps, 1):
                operation = transforms.read(word, arguments)
                if self.refused is not None and number == len(self.steps):
                    with pytest.raises(transforms.OperationRefusedError, match="BM253"):
                        operation.applied(simulated, binary.release)
                    with pytest.raises(QmpError) as error:
                        qemu.execute(word, operation.arguments)
                    assert self.refused in error.value.desc
                    return
                simulated = operation.applied(simulated, binary.release)
                if operation.kind == "process":
                    end(qemu, operation)
                    qemu = self._started(processes, binary, folder, f"process{number}", word)
                else:
                    if self.guest is not None and operation.kind == "event":
                        self.guest(qemu)
                    do(qemu, operation)
                if word == "block-job-set-speed" or not at_rest(simulated):
                    continue  # a real QEMU is past this graph at any time; the next event ends that
                found = compared(simulated, qemu, counts=self.counts)
                assert not found, f"after {word} {arguments}: {found}"

    def _started(self, processes: ExitStack, binary: Binary, folder: Path, name: str, word: str = "") -> Qemu:
        """A process with the case's configuration, which ends with `processes`."""
        incoming = word == "incoming"
        qemu = processes.enter_context(
            Qemu(binary, *self.words, name=name, folder=folder, machine=self.machine, incoming=incoming)
        )
        if self.setup is not None:
            self.setup(qemu)
        return qemu


@cache
def _made(images: Callable[[Binary, Path], None], binary: Binary) -> Path:
    """A folder with the images of a case, made once for all that have the same, and gone with this process."""
    folder = Path(tempfile.mkdtemp(prefix="bitmapmig-images-"))
    atexit.register(shutil.rmtree, folder)
    images(binary, folder)
    return folder


def do(qemu: Qemu, operation: transforms.Operation) -> None:
    """Do an operation to a live QEMU: send the command, or wait for the event; see `end` for a whole process."""
    if operation.kind == "event":
        qemu.wait_event(operation.word, **operation.arguments)
    elif operation.kind == "command":
        qemu.execute(operation.word, operation.arguments)
    else:
        message = f"{operation.word} happens to a whole process"
        raise NotImplementedError(message)


def end(qemu: Qemu, operation: transforms.Operation) -> None:
    """Do to a process what comes before another one takes its place; a source of `incoming` lives on."""
    match operation.word:
        case "shutdown-and-restart":
            assert qemu.quit() == 0
        case "crash-and-restart":
            qemu.kill()
        case word:
            assert word == "incoming"


#: What tells the block graph; the rest of a capture takes many times as long.
STRUCTURE = tuple(
    query
    for query in QUERIES
    if query.execute
    in ("query-named-block-nodes", "query-block", "x-debug-query-block-graph", "query-jobs", "query-block-exports")
)


def captured(qemu: Qemu) -> BlockGraph:
    """The graph of a live QEMU, read again where it changed between two queries."""

    def whole() -> BlockGraph | None:
        exchanges = [
            Exchange.model_validate({**query.message, "return": qemu.execute(query.execute, dict(query.arguments))})
            for query in STRUCTURE
        ]
        found, problems = graph.read(Capture(endpoint=qemu.endpoint, greeting={}, exchanges=exchanges), "source")
        return None if problems else found

    found = until(whole, "the graph does not come to rest")
    assert found is not None
    return found


def compared(simulated: BlockGraph, qemu: Qemu, *, counts: bool) -> tuple[str, ...]:
    """What differs between a simulated graph and a live QEMU, once that has come to rest."""
    found: list[tuple[str, ...]] = []

    def alike() -> bool:
        found.append(unlike(simulated, captured(qemu), counts=counts))
        return not found[-1]

    try:
        until(alike, "it does not become what was simulated", 10.0)
    except TimeoutError:
        return found[-1]
    return ()

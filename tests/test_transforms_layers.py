"""Commit and stream: what is not simulated since it was not measured, or since the graph does not tell it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bitmapmig.graph import Backend, Bitmap, BlockGraph, Edge, Job, Node, Orders
from bitmapmig.qapi import BitmapName, DeviceName, NodeName
from bitmapmig.transforms import OperationRefusedError, read

if TYPE_CHECKING:
    from collections.abc import Mapping

_OLD, _BETWEEN, _NEW = (7, 2), (8, 2), (10, 0)
_TOP, _MIDDLE, _BASE = map(NodeName, ("n2", "n1", "n0"))


def _graph(*jobs: Job, **changed: Node) -> BlockGraph:
    """`d0` on a chain of three, of which only the top is writable; the file of each is opened with it."""
    sizes = {_TOP: 1 << 24, _MIDDLE: 1 << 24, _BASE: 1 << 24}
    nodes = {name: Node(name, "qcow2", read_only=name != _TOP, virtual_size=size) for name, size in sizes.items()}
    nodes |= {
        NodeName(f"#f-{name}"): Node(NodeName(f"#f-{name}"), "file", node.read_only) for name, node in nodes.items()
    }
    nodes |= {node.name: node for node in changed.values()}
    edges = [Edge("node", _TOP, _MIDDLE, "backing"), Edge("node", _MIDDLE, _BASE, "backing")]
    edges += [Edge("node", name, NodeName(f"#f-{name}"), "file") for name in sizes]
    return BlockGraph(nodes.values(), edges, [Backend(DeviceName("d0"), None, _TOP)], jobs)


def _inconsistent() -> Bitmap:
    return Bitmap(BitmapName("b0"), 65536, 0, recording=False, busy=False, persistent=True, inconsistent=True)


_COMMIT: dict[str, object] = {"device": "d0", "job-id": "j"}
_UNKNOWN: Mapping[str, tuple[BlockGraph, str, dict[str, object]]] = {
    "base of a commit by file name": (_graph(), "block-commit", {**_COMMIT, "base": "n0.qcow2"}),
    "top of a commit by file name": (_graph(), "block-commit", {**_COMMIT, "top": "n1.qcow2"}),
    "base of a stream by file name": (_graph(), "block-stream", {**_COMMIT, "base": "n0.qcow2"}),
    "base that grows under an inconsistent bitmap": (
        _graph(base=Node(_BASE, "qcow2", read_only=True, virtual_size=1 << 23, bitmaps=(_inconsistent(),))),
        "block-commit",
        _COMMIT,
    ),
    "driver that may be a filter": (
        BlockGraph([Node(_TOP, "unheard-of"), Node(_BASE, "null-co")], [Edge("node", _TOP, _BASE, "file")]),
        "block-stream",
        {"device": "n2", "job-id": "j"},
    ),
}


@pytest.mark.parametrize("which", _UNKNOWN)
def test_what_the_graph_does_not_tell_is_not_simulated(which: str) -> None:
    """Where QEMU knows more than the graph, the operation says so and guesses nothing."""
    graph, word, arguments = _UNKNOWN[which]
    with pytest.raises(OperationRefusedError, match="BM254"):
        read(word, arguments).applied(graph, _NEW)


def _streaming(release: tuple[int, int]) -> BlockGraph:
    """A stream into the middle image runs, as on a QEMU of that release."""
    return read("block-stream", {"device": "n1", "job-id": "j"}).applied(_graph(), release)


def _cancelled(graph: BlockGraph) -> BlockGraph:
    """The same, cancelled by force and about to end."""
    return read("block-job-cancel", {"device": "j", "force": True}).applied(graph, _OLD)


@pytest.mark.parametrize(("release", "read_only"), [((5, 2), True), (_OLD, True), (_NEW, False), ((11, 1), False)])
def test_a_streamed_image_is_read_only_again_up_to_7_2(release: tuple[int, int], read_only: bool) -> None:  # noqa: FBT001
    """The last release that was seen to make it read-only again is 7.2, the first that was not is 10.0."""
    after = read("BLOCK_JOB_COMPLETED", {"device": "j"}).applied(_streaming(release), release)
    assert after.nodes[_MIDDLE].read_only is read_only


@pytest.mark.parametrize(("release", "read_only"), [((5, 2), False), (_OLD, False), (_NEW, True), ((11, 1), True)])
def test_the_base_of_a_cancelled_active_commit_is_read_only_again_from_10_0(
    release: tuple[int, int],
    read_only: bool,  # noqa: FBT001
) -> None:
    """The last release that was seen to leave it writable is 7.2, the first that was not is 10.0."""
    running = read("block-commit", _COMMIT).applied(_graph(), release)
    after = read("BLOCK_JOB_CANCELLED", {"device": "j"}).applied(_cancelled(running), release)
    assert after.nodes[_BASE].read_only is read_only


def test_releases_that_differ_in_what_was_not_measured_are_not_simulated() -> None:
    """Between 7.2 and 10.0 nobody knows whether the image is read-only again."""
    running = read("block-commit", _COMMIT).applied(_graph(), _BETWEEN)
    for word, graph in (("BLOCK_JOB_COMPLETED", _streaming(_BETWEEN)), ("BLOCK_JOB_CANCELLED", _cancelled(running))):
        with pytest.raises(OperationRefusedError, match="BM254"):
            read(word, {"device": "j"}).applied(graph, _BETWEEN)


@pytest.mark.parametrize(
    ("of_monitor", "said"),
    [
        (True, "BM253.*'f0' is read-only, and is not reopened"),
        (None, "BM254.*whether 'f0', which is read-only, was opened"),
    ],
)
def test_a_base_in_a_read_only_file_of_its_own_is_not_made_writable(of_monitor: bool | None, said: str) -> None:  # noqa: FBT001
    """QEMU reopens a file with its image where both were opened in one go; of a named file that may not be known."""
    graph = _graph()
    own = Node(NodeName("f0"), "file", read_only=True, of_monitor=of_monitor)
    edges = [edge._replace(child=own.name) if edge.parent == _BASE else edge for edge in graph.edges()]
    there = [node for name, node in graph.nodes.items() if name != "#f-n0"]
    with pytest.raises(OperationRefusedError, match=said):
        read("block-commit", {"device": "n2", "job-id": "j"}).applied(BlockGraph([*there, own], edges), _NEW)


def test_a_job_that_was_captured_makes_its_base_read_only_again() -> None:
    """No query shows whether the base was read-only before: it is a backing image, and taken to have been."""
    running = read("block-commit", {**_COMMIT, "top-node": "n1"}).applied(_graph(), _NEW)
    forgotten = BlockGraph(
        running.nodes.values(),
        running.edges(),
        running.backends,
        [replace(job, orders=Orders()) for job in running.jobs],
    )
    after = read("BLOCK_JOB_COMPLETED", {"device": "j"}).applied(forgotten, _NEW)
    assert after.nodes[_BASE].read_only is True

"""Recipes: which commands, when, for which bitmaps; that following them keeps the bits is shown in tests/live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmapmig import graph
from bitmapmig.recipes import RECIPES, Recipe, recipe
from bitmapmig.recipes.actions import free_name
from bitmapmig.transforms import OPERATIONS
from tests.build import SIZE, bitmap, drive, export, guest, job, node, source, stored

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitmapmig.graph import BlockGraph
    from tests.build import Part

QCOW2 = "qcow2"
OTHER_SIZE = 1 << 20


def _graph(*parts: Part) -> BlockGraph:
    found, problems = graph.read(source(*parts), "source")
    assert not problems
    return found


def _made(shown: BlockGraph, word: str, **arguments: Any) -> Recipe:
    made = recipe(shown, word, {key.replace("_", "-"): value for key, value in arguments.items()})
    assert made is not None
    return made


def _outline(made: Recipe) -> list[str]:
    """The steps in short: what is waited for, the command, the actions of a transaction."""
    lines = []
    for step in made.steps:
        wait = f"{step.after.event}: " if step.after else ""
        actions = step.command.arguments.get("actions", ())
        assert isinstance(actions, list | tuple)
        inside = [_action(one) for one in actions if isinstance(one, dict)]
        lines.append(f"{wait}{step.command.execute}{' ' if inside else ''}{', '.join(inside)}")
    return lines


def _action(one: Any) -> str:
    data = one["data"]
    kind = str(one["type"]).removeprefix("block-dirty-bitmap-")
    words = [kind, f"{data.get('node', '')}/{data.get('name', data.get('target', ''))}".strip("/")]
    words += ["persistent"] if data.get("persistent") else []
    words += ["disabled"] if data.get("disabled") else []
    words += [f"<- {source['node']}/{source['name']}" for source in data.get("bitmaps", ())]
    return " ".join(word for word in words if word)


def _results(made: Recipe) -> dict[str, str]:
    return {f"{one.node}/{one.bitmap}": one.result for one in made.bitmaps}


DISK = (
    node("fmt0", QCOW2, file="file0", bitmaps=[bitmap("b0", "persistent"), bitmap("off", "disabled")]),
    node("file0", "file"),
    node("target", QCOW2, file="file1"),
    node("file1", "file"),
)
ON_TARGET = (
    "add target/b0 persistent, merge target/b0 <- fmt0/b0, add target/off disabled, merge target/off <- fmt0/off"
)
MIRROR = {"job_id": "m0", "device": "fmt0", "target": "target", "sync": "full"}


def test_every_recipe_is_for_an_operation() -> None:
    """There is no recipe for a word that no operation has."""
    assert set(RECIPES) <= set(OPERATIONS)


# mirror


def test_mirror() -> None:
    """The bitmaps are made while the job waits before the pivot; the old ones, whose node stays, are removed."""
    made = _made(_graph(*DISK, guest("vd0", "fmt0")), "blockdev-mirror", **MIRROR)
    assert _outline(made) == [
        "blockdev-mirror",
        "BLOCK_JOB_READY: block-job-complete",
        f"BLOCK_JOB_PENDING: transaction {ON_TARGET}",
        "block-job-finalize",
        "BLOCK_JOB_COMPLETED: block-dirty-bitmap-remove",
        "block-dirty-bitmap-remove",
    ]
    assert made.steps[0].command.arguments["auto-finalize"] is False
    assert _results(made) == {"fmt0/b0": "exact", "fmt0/off": "exact"}


def test_mirror_of_a_drive() -> None:
    """The nodes of a drive end with the pivot, so nothing is left to be removed."""
    made = _made(_graph(*DISK, drive("drive0", "fmt0")), "blockdev-mirror", **{**MIRROR, "device": "drive0"})
    assert _outline(made)[-1] == "block-job-finalize"


def test_drive_mirror_names_its_target() -> None:
    """A target that QEMU is to open gets a node-name, by which its bitmaps are made."""
    made = _made(_graph(*DISK, drive("drive0", "fmt0")), "drive-mirror", device="drive0", target="t.qcow2", sync="full")
    assert made.steps[0].command.arguments["node-name"] == "target0"
    assert {one.kept_on for one in made.bitmaps} == {"target0"}


@pytest.mark.parametrize(
    ("target", "bitmaps", "reason"),
    [
        (node("target", QCOW2, file="file1", size=OTHER_SIZE), ["b0"], "another virtual size"),
        (node("target", QCOW2, file="file1", bitmaps=["b0"]), ["b0"], "a bitmap of that name already"),
        (node("target", QCOW2, file="file1", stored=[stored("b0")]), ["b0"], "a bitmap of that name already"),
        (node("target", QCOW2, file="file1"), [bitmap("b0", "persistent", "inconsistent")], "it is inconsistent"),
        (node("target", QCOW2, file="file1"), [bitmap("b0", "busy")], "it is busy"),
    ],
)
def test_mirror_cannot_keep(target: Part, bitmaps: list[Any], reason: str) -> None:
    """Where a bitmap cannot be carried over, the recipe says why and has no steps."""
    shown = _graph(
        node("fmt0", QCOW2, file="file0", bitmaps=bitmaps), node("file0", "file"), target, node("file1", "file")
    )
    made = _made(shown, "blockdev-mirror", **MIRROR)
    assert (_results(made), made.steps) == ({"fmt0/b0": "lost"}, ())
    assert reason in made.bitmaps[0].reason


def test_mirror_to_raw() -> None:
    """A target that stores no bitmaps gets one that is not persistent, and that is said."""
    shown = _graph(*DISK[:2], node("target", "raw", file="file1"), node("file1", "file"))
    made = _made(shown, "blockdev-mirror", **MIRROR)
    assert "add target/b0, merge" in _outline(made)[2]
    assert "no longer persistent" in made.bitmaps[0].reason


def test_mirror_of_a_filter() -> None:
    """Bitmaps below filters go along; of two of one name only the upper one can."""
    shown = _graph(
        node("thr", "throttle", file="fmt0", bitmaps=["b0"]),
        node("fmt0", QCOW2, file="file0", bitmaps=["b0", "b1"]),
        node("file0", "file"),
        *DISK[2:],
    )
    made = _made(shown, "blockdev-mirror", **{**MIRROR, "device": "thr"})
    assert _results(made) == {"thr/b0": "exact", "fmt0/b0": "lost", "fmt0/b1": "exact"}


@pytest.mark.parametrize(
    ("word", "arguments"),
    [
        ("blockdev-mirror", {**MIRROR, "target": "nosuch"}),
        ("blockdev-mirror", {**MIRROR, "device": "nosuch"}),
        ("blockdev-mirror", {**MIRROR, "device": "target", "target": "fmt0"}),
        ("blockdev-snapshot", {"node": "fmt0", "overlay": "nosuch"}),
        ("blockdev-snapshot", {"node": "target", "overlay": "fmt0"}),
        ("block-commit", {"device": "fmt0", "top": "a.qcow2"}),
        ("block-commit", {"device": "fmt0"}),
        ("block-stream", {"device": "fmt0", "base": "a.qcow2"}),
        ("block-stream", {"device": "fmt0"}),
        ("block-job-complete", {"device": "nosuch"}),
        ("blockdev-backup", {"device": "fmt0", "target": "target", "sync": "full"}),
        ("blockdev-del", {"node-name": "target"}),
        ("device_del", {"id": "nosuch"}),
        ("block-dirty-bitmap-add", {"node": "fmt0", "name": "b7"}),
    ],
)
def test_no_recipe(word: str, arguments: dict[str, Any]) -> None:
    """Nothing is said where no bitmap is concerned, or where it is not known which are."""
    assert recipe(_graph(*DISK), word, {key.replace("_", "-"): value for key, value in arguments.items()}) is None


@pytest.mark.parametrize(("status", "wait"), [("ready", ""), ("running", "BLOCK_JOB_READY: ")])
def test_mirror_that_runs_already(status: str, wait: str) -> None:
    """Where the job runs already, the bitmaps are made once it is ready; one that does not record is exact."""
    shown = _graph(
        node("#top", "mirror_top", backing="fmt0"),
        *DISK,
        guest("vd0", "#top"),
        job("m0", "mirror", status, main="#top", source="fmt0", target="target"),
    )
    made = _made(shown, "block-job-complete", device="m0")
    assert _outline(made)[0].startswith(f"{wait}transaction add target/b0 persistent")
    assert _results(made) == {"fmt0/b0": "superset", "fmt0/off": "exact"}


# layers


def test_snapshot() -> None:
    """Bitmaps are made on the overlay in the transaction of the snapshot, and hold what the old ones hold."""
    made = _made(_graph(*DISK), "blockdev-snapshot", node="fmt0", overlay="target")
    assert _outline(made) == [f"transaction blockdev-snapshot fmt0, {ON_TARGET}"]


@pytest.mark.parametrize(
    ("parts", "made"),
    [
        ((), False),
        ((drive("drive0", "fmt0"),), True),
        ((guest("vd0", "fmt0"),), True),
        ((export("e0", "fmt0"),), True),
        ((node("thr", "throttle", file="fmt0"),), True),
        ((job("j0", "backup", "concluded", main="fmt0"),), False),
    ],
)
def test_snapshot_sync_of_what_nothing_uses(parts: tuple[Part, ...], *, made: bool) -> None:
    """An overlay that nothing takes over ends at once, and no bitmap is made on it: the old ones stay, and why."""
    words = {"node_name": "fmt0", "snapshot_file": "o.qcow2", "snapshot_node_name": "ov"}
    done = _made(_graph(*DISK, *parts), "blockdev-snapshot-sync", **words)
    assert bool(done.steps) is made
    assert {(one.result, one.kept_on) for one in done.bitmaps} == {("exact", "ov") if made else ("stays", "fmt0")}
    assert all(("ends at once" in one.reason) is not made for one in done.bitmaps)


def test_snapshot_sync_names_its_overlay() -> None:
    """An overlay that QEMU makes gets a node-name."""
    made = _made(_graph(*DISK, drive("drive0", "fmt0")), "blockdev-snapshot-sync", device="drive0", snapshot_file="o")
    assert "add overlay0/b0 persistent" in _outline(made)[0]


def test_snapshots_in_a_transaction() -> None:
    """Snapshots of several disks keep their bitmaps in the one transaction; what that makes itself is left to it."""
    shown = _graph(
        *DISK, drive("drive0", "fmt0"), node("d1", QCOW2, file="file3", bitmaps=["x", "y"]), node("file3", "file"),
        drive("drive1", "d1"),
    )  # fmt: skip
    sync = "blockdev-snapshot-sync"
    actions: list[Any] = [
        {"type": sync, "data": {"device": "drive0", "snapshot-file": "a"}},
        {"type": sync, "data": {"device": "drive1", "snapshot-file": "b", "snapshot-node-name": "top1"}},
        {"type": "block-dirty-bitmap-add", "data": {"node": "top1", "name": "y"}},
    ]
    made = _made(shown, "transaction", actions=actions)
    assert _results(made) == {"fmt0/b0": "exact", "fmt0/off": "exact", "d1/x": "exact"}
    (line,) = _outline(made)
    assert line.startswith("transaction blockdev-snapshot-sync, blockdev-snapshot-sync, add top1/y, add overlay0/b0")
    assert line.endswith("add top1/x, merge top1/x <- d1/x")
    assert recipe(shown, "transaction", {"actions": actions[2:]}) is None


def test_snapshot_of_another_size() -> None:
    """Bitmaps of different sizes are not merged: the overlay's begins empty, and both are the record."""
    shown = _graph(*DISK[:2], node("target", QCOW2, file="file1", size=OTHER_SIZE), node("file1", "file"))
    made = _made(shown, "blockdev-snapshot", node="fmt0", overlay="target")
    assert "merge" not in _outline(made)[0]
    assert _results(made) == {"fmt0/b0": "stays", "fmt0/off": "stays"}


def _chain(base: list[Any], mid: list[Any], top: list[Any], sizes: Mapping[str, int] | None = None) -> BlockGraph:
    size = {"base": SIZE, "mid": SIZE, "top": SIZE, **(sizes or {})}
    return _graph(
        node("base", QCOW2, file="f0", bitmaps=base, size=size["base"]),
        node("mid", QCOW2, file="f1", bitmaps=mid, size=size["mid"], backing="base"),
        node("top", QCOW2, file="f2", bitmaps=top, size=size["top"], backing="mid"),
        *(node(f"f{number}", "file") for number in range(3)),
        guest("vd0", "top"),
    )


P, OFF = bitmap("b", "persistent"), bitmap("b", "disabled")


@pytest.mark.parametrize(
    ("layers", "before", "during"),
    [
        (
            ([P], [P], [P]),
            "transaction add base/b.tmp disabled, merge base/b.tmp <- base/b",
            "clear base/b, merge base/b <- base/b.tmp <- top/b <- mid/b, remove base/b.tmp",
        ),
        (([OFF], [OFF], [P]), None, "merge base/b <- top/b <- mid/b, enable base/b"),
        (([], [], [P]), None, "add base/b persistent, merge base/b <- top/b"),
        (
            ([], [P], []),
            "transaction add base/b.tmp",
            "add base/b persistent, merge base/b <- mid/b <- base/b.tmp, remove base/b.tmp",
        ),
        (([P], [], [P]), None, "merge base/b <- top/b"),
    ],
)
def test_active_commit(layers: Any, before: str | None, during: str) -> None:
    """What the layers hold is merged into the base while the job waits, without what it has copied."""
    made = _made(_chain(*layers), "block-commit", job_id="j0", device="top")
    assert _outline(made) == [
        *([before] if before else []),
        "block-commit",
        "BLOCK_JOB_READY: block-job-complete",
        f"BLOCK_JOB_PENDING: transaction {during}",
        "block-job-finalize",
    ]


def test_intermediate_commit() -> None:
    """A commit of layers that are not active ends by itself, once it is allowed to."""
    made = _made(_chain([P], [P], [P]), "block-commit", job_id="j0", device="top", top_node="mid")
    assert "BLOCK_JOB_READY: block-job-complete" not in _outline(made)
    assert _results(made) == {"mid/b": "exact", "base/b": "exact"}


@pytest.mark.parametrize(
    ("layers", "sizes", "results", "reason"),
    [
        (([bitmap("b", "persistent", "inconsistent")], [], [P]), {}, {"base/b": "lost", "top/b": "lost"}, "'base'"),
        (([P], [], [P]), {"base": OTHER_SIZE}, {"base/b": "lost", "top/b": "lost"}, "different virtual sizes"),
        (([OFF], [], [P]), {}, {"base/b": "stays", "top/b": "lost"}, "does not record"),
    ],
)
def test_commit_cannot_keep(layers: Any, sizes: dict[str, int], results: dict[str, str], reason: str) -> None:
    """Where there is no way to merge, it is said why."""
    made = _made(_chain(layers[0], layers[1], layers[2], sizes), "block-commit", job_id="j0", device="top")
    assert (_results(made), made.steps) == (results, ())
    assert any(reason in one.reason for one in made.bitmaps)


@pytest.mark.parametrize(
    ("layers", "arguments", "results"),
    [
        (([P], [P], [P]), {}, {"mid/b": "exact", "base/b": "exact"}),
        (([P], [P], [P]), {"base_node": "base"}, {"mid/b": "exact"}),
        (([P], [P], [P]), {"bottom": "mid"}, {"mid/b": "exact"}),
        (([P], [P], []), {}, {"mid/b": "lost", "base/b": "lost"}),
        (([P], [], [P]), {}, {"base/b": "lost"}),
        (([P], [P], [bitmap("b", "busy")]), {}, {"mid/b": "lost", "base/b": "lost"}),
    ],
)
def test_stream(layers: Any, arguments: dict[str, str], results: dict[str, str]) -> None:
    """What the layers hold is merged into the top before they go, unless the record has a gap."""
    made = _made(_chain(*layers), "block-stream", job_id="j0", device="top", **arguments)
    assert _results(made) == results
    assert bool(made.steps) is ("exact" in results.values())


# what ends


def test_restart() -> None:
    """What is in memory alone is made persistent without missing a write; where nothing is stored, it is lost."""
    shown = _graph(
        node("fmt0", QCOW2, file="file0", bitmaps=[bitmap("b0", "persistent"), "b1"]),
        node("file0", "file", bitmaps=["b2"]),
    )
    made = _made(shown, "shutdown-and-restart")
    assert _results(made) == {"fmt0/b0": "stays", "fmt0/b1": "exact", "file0/b2": "lost"}
    assert _outline(made) == [
        "transaction add fmt0/b1.tmp, merge fmt0/b1.tmp <- fmt0/b1",
        "block-dirty-bitmap-remove",
        "transaction add fmt0/b1 persistent, merge fmt0/b1 <- fmt0/b1.tmp, remove fmt0/b1.tmp",
    ]


def test_crash() -> None:
    """Nothing is kept from a crash: what the image holds is removed and made anew, and a full backup is asked for."""
    shown = _graph(
        node("fmt0", QCOW2, file="file0", bitmaps=[P, bitmap("new", "persistent"), "t"], stored=[stored("b")]),
        node("file0", "file"),
        node("ro", QCOW2, file="file1", bitmaps=[P], stored=[stored("b", clean=True)], ro=True),
        node("file1", "file"),
    )
    made = _made(shown, "crash-and-restart")
    assert _results(made) == {"fmt0/b": "lost", "fmt0/new": "lost", "fmt0/t": "lost", "ro/b": "stays"}
    assert _outline(made) == ["block-dirty-bitmap-remove", "block-dirty-bitmap-add"]
    assert "full backup" in made.remark


def test_unplug() -> None:
    """The nodes of a drive end with the device; explicit ones stay."""
    disk = (node("fmt0", QCOW2, file="file0", bitmaps=["b"]), node("file0", "file"))
    of_drive = _graph(*disk, drive("drive0", "fmt0", "/machine/peripheral/vd0/virtio-backend"))
    assert _results(_made(of_drive, "device_del", id="vd0")) == {"fmt0/b": "exact"}
    of_node = _graph(*disk, guest("vd0", "fmt0"))
    assert _results(_made(of_node, "device_del", id="vd0")) == {"fmt0/b": "stays"}
    assert _results(_made(of_node, "blockdev-del", node_name="fmt0")) == {"fmt0/b": "exact"}


def test_backup() -> None:
    """A backup keeps its bitmap busy and loses nothing."""
    made = _made(_graph(*DISK), "blockdev-backup", device="fmt0", target="target", sync="incremental", bitmap="b0")
    assert (_results(made), made.steps) == ({"fmt0/b0": "stays"}, ())
    assert "busy" in made.bitmaps[0].reason


# names


@given(st.text(min_size=1, max_size=40), st.integers(0, 3))
def test_temporary_names_are_free(name: str, taken: int) -> None:
    """A temporary bitmap has a name of its own, however many there are, and none that is too long."""
    names = [name, *(f"{name}.tmp{number or ''}" for number in range(taken))]
    shown = _graph(node("n0", bitmaps=list(dict.fromkeys(names))))
    made = free_name(next(iter(shown.nodes.values())), name)
    assert made not in names
    assert len(free_name(None, "x" * 1023).encode()) <= 1023


@given(st.text(min_size=1, max_size=20))
def test_hostile_names_are_data(name: str) -> None:
    """Whatever a bitmap is called, the commands hold its name as it is."""
    shown = _graph(node("n0", bitmaps=[name]), node("n1"))
    made = _made(shown, "blockdev-mirror", job_id="m", device="n0", target="n1", sync="full")
    actions: Any = made.steps[2].command.arguments["actions"]
    assert actions[0]["data"]["name"] == name

"""Throw-away QEMUs on every QEMU that is there: safe, gone afterwards, and built as the graph says."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from bitmapmig.collect import collect
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.graph import Backend, Bitmap, BlockGraph, Edge, Export, Job, Node, StoredBitmap
from bitmapmig.qapi import BitmapName, DeviceName, NodeName
from bitmapmig.throwaway import (
    Binary,
    Built,
    NotBuiltError,
    QemuGoneError,
    QemuRefusedError,
    Throwaway,
    build,
    images,
    machine_for,
    private_folder,
    process,
    running,
)
from bitmapmig.throwaway import binary as binary_module
from tests.live.monitor import until
from tests.live.qemu import binaries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

MIB = 1 << 20
HOSTILE = ("a b", "quote'\"", "comma,file=/etc/passwd", "line\nquit", "back\\slash", "\x1b[31m", "%s", "ä💾", "é" * 511)


@pytest.fixture(params=binaries(), ids=lambda binary: binary.version)
def qemu(request: pytest.FixtureRequest) -> Binary:
    """Each QEMU that is there."""
    return Binary.of(request.param.path)


def bitmap(name: str, **members: Any) -> Bitmap:
    """A bitmap as QEMU makes it, but for `members`."""
    plain = {"count": 0, "recording": True, "busy": False, "persistent": False, "inconsistent": False}
    words: dict[str, Any] = {"name": BitmapName(name), "granularity": 65536} | plain | members
    return Bitmap(**words)


def null(name: str, *bitmaps: Bitmap, **members: Any) -> Node:
    """A node that keeps nothing."""
    words: dict[str, Any] = {"driver": "null-co", "virtual_size": 16 * MIB, "bitmaps": bitmaps} | members
    return Node(NodeName(name), **words)


def image(name: str, *bitmaps: Bitmap, driver: str = "file", **members: Any) -> tuple[tuple[Node, ...], Edge]:
    """A qcow2 node and its file, of that driver."""
    file = Node(NodeName(f"{name}-file"), driver, virtual_size=MIB)
    words: dict[str, Any] = {"virtual_size": 16 * MIB, "bitmaps": bitmaps, "stored": (), "compat": "1.1"} | members
    return (file, Node(NodeName(name), "qcow2", **words)), Edge("node", name, file.name, "file")


def on(binary: Binary, act: Callable[[Throwaway], Awaitable[Any]], **words: Any) -> Any:
    """What `act` gives on a throw-away QEMU."""

    async def acted() -> Any:
        async with running(binary, **words) as found:
            return await act(found)

    return asyncio.run(acted())


def built(
    binary: Binary,
    graph: BlockGraph,
    bits: Mapping[tuple[NodeName, BitmapName], tuple[int, ...]] | None = None,
    **words: Any,
) -> Built:
    """The graph, built on a throw-away QEMU."""

    async def act(found: Throwaway) -> Built:
        return await build(found, graph, bits)

    answer: Built = on(binary, act, machine=machine_for(graph), **words)
    return answer


def codes_of(binary: str | Path) -> list[str]:
    """The findings about a program."""

    async def started() -> None:
        async with running(Binary.of(binary)):
            pass

    with pytest.raises(CannotRunError) as raised:
        asyncio.run(started())
    return [found.code for found in raised.value.diagnostics]


def gone(pid: int) -> bool:
    """Whether the process has ended, reaped by somebody or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except FileNotFoundError:
        return True


def words_of(pid: int) -> list[str]:
    """The command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def folder_of(found: Throwaway) -> Path:
    """Its folder."""
    return found.folder


# processes


def test_starts_and_ends(qemu: Binary) -> None:
    """One runs in a folder of mode 0700, under no name of anybody, answers on a second monitor, and leaves nothing."""

    async def act(found: Throwaway) -> tuple[int, Path]:
        assert stat.S_IMODE(folder_of(found).stat().st_mode) == 0o700
        assert (await collect(found.endpoint)).greeting == (await found.captured()).greeting
        assert {"-nodefaults", "-no-user-config", "-sandbox"} <= set(words_of(found.pid))
        assert (found.status, found.log()) == (None, "")
        return found.pid, found.folder

    pid, folder = on(qemu, act)
    assert (gone(pid), folder.exists()) == (True, False)


def test_end_in_order_and_by_force(qemu: Binary) -> None:
    """`quit` ends one with status 0, `kill` at once; afterwards whoever speaks to it hears that it is gone."""

    async def in_order(found: Throwaway) -> int:
        return await found.quit()

    async def by_force(found: Throwaway) -> int | None:
        os.kill(found.pid, signal.SIGKILL)
        with pytest.raises(QemuGoneError):
            await found.execute("query-status")
        return found.status

    assert (on(qemu, in_order), on(qemu, by_force)) == (0, -signal.SIGKILL)


def test_refusal_and_event(qemu: Binary) -> None:
    """A refused command is an error with QEMU's text; an event is waited for, no longer than asked."""

    async def act(found: Throwaway) -> None:
        with pytest.raises(QemuRefusedError, match="nosuch") as raised:
            await found.execute("blockdev-del", {"node-name": "nosuch"})
        assert raised.value.command == "blockdev-del"
        with pytest.raises(TimeoutError):
            await found.event("RESET", seconds=0.05)
        await found.execute("system_reset")
        assert (await found.event("RESET"))["guest"] is False

    on(qemu, act, machine="pc")


def test_event_is_taken_once(qemu: Binary) -> None:
    """Each event is there for one who waits: whoever waits again gets the next one, also one that came long before."""

    async def act(found: Throwaway) -> None:
        for _ in range(2):
            await found.execute("system_reset")
            await found.event("RESET")
            with pytest.raises(TimeoutError):
                await found.event("RESET", seconds=0.1)
        for name in ("first", "second", "first"):
            words = {"driver": "null-co", "size": MIB, "read-zeroes": True}
            for end in ("from", "to"):
                await found.execute("blockdev-add", words | {"node-name": end})
            await found.execute("blockdev-backup", {"job-id": name, "device": "from", "target": "to", "sync": "full"})
            await found.event("JOB_STATUS_CHANGE", id=name, status="null")
            for end in ("from", "to"):
                await found.execute("blockdev-del", {"node-name": end})
        for name in ("second", "first", "first"):
            assert (await found.event("BLOCK_JOB_COMPLETED", device=name, seconds=0))["device"] == name
        with pytest.raises(TimeoutError):
            await found.event("BLOCK_JOB_COMPLETED", seconds=0)

    on(qemu, act, machine="pc")


async def migrate(source: Throwaway, destination: Throwaway) -> list[str]:
    """Migrate over a socket in their folder; the status on each side in the end."""
    events = {"capabilities": [{"capability": "events", "state": True}]}
    for end in (source, destination):
        await end.execute("migrate-set-capabilities", events)
    await destination.execute("migrate-incoming", {"uri": "unix:migrate.sock"})
    await source.execute("migrate", {"uri": "unix:migrate.sock"})
    answers = []
    for end in (source, destination):
        await end.event("MIGRATION", status="completed")
        answers.append((await end.execute("query-migrate"))["status"])
    return answers


def test_two_in_one_folder(qemu: Binary) -> None:
    """A source and a waiting destination share a folder, and the source migrates to the destination in it."""

    async def migrated() -> list[str]:
        with private_folder() as folder:
            ends = running(qemu, folder=folder), running(qemu, folder=folder, name="destination", incoming=True)
            async with ends[0] as source, ends[1] as destination:
                return await migrate(source, destination)

    assert asyncio.run(migrated()) == ["completed", "completed"]


_CHILD = """
import asyncio, sys
from bitmapmig.throwaway import Binary, running
async def main():
    async with running(Binary.of(sys.argv[1])) as found:
        print(found.pid, found.folder, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


def test_killed_parent_leaves_nothing(qemu: Binary) -> None:
    """A QEMU ends with the process that has started it, even when that is killed; the next run removes the folder."""
    with subprocess.Popen((sys.executable, "-c", _CHILD, str(qemu.path)), stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        assert not gone(int(pid))
        parent.kill()
    until(lambda: gone(int(pid)), f"QEMU {pid} did not end")
    assert Path(folder).exists()
    with private_folder():  # another test may be about to remove it as well
        until(lambda: not Path(folder).exists(), f"{folder} was not removed")


def test_folder_in_use_stays() -> None:
    """A folder that is in use is not removed by another run, nor is one that is not ours to judge."""
    with private_folder() as first, private_folder() as second:
        assert first.is_dir()
        assert second.is_dir()
    assert not first.exists()


# programs


def script(folder: Path, text: str) -> Path:
    """A program that is a shell script."""
    path = folder / "qemu-system-fake"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


SAYS = "echo 'QEMU emulator version 7.2.22'"


def test_not_a_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not say that it is a QEMU, at length, at all, or in time, is not started (BM121)."""
    monkeypatch.setattr(binary_module, "PATIENCE", 0.3)
    programs: list[str | Path] = ["/nosuch", tmp_path, script(tmp_path, "echo hello; touch started")]
    assert [codes_of(program) for program in programs] == [["BM121"]] * 3
    for text in ("exec sleep 60", "while :; do echo; done", "echo version 7.2.22", "exit 3"):
        assert codes_of(script(tmp_path, text)) == ["BM121"]


def test_only_says_that_it_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What says that it is a QEMU, and then ends, or makes no monitor, does not start (BM122)."""
    monkeypatch.setattr(process, "STARTS", (0.2, 0.2))
    for text in (SAYS, f'{SAYS}; test "$1" = --version || exec sleep 60'):
        assert codes_of(script(tmp_path, text)) == ["BM122"]


def test_starter_that_stays(qemu: Binary, tmp_path: Path) -> None:
    """A script that starts QEMU as its child, which would outlive us, is refused (BM121) and its QEMU ended."""
    path = script(tmp_path, f'"{qemu.path}" "$@" & echo $! > "{tmp_path}/pid"; wait')
    assert codes_of(path) == ["BM121"]
    until(lambda: gone(int((tmp_path / "pid").read_text())), "the QEMU did not end")


def test_starter_that_becomes_it(qemu: Binary, tmp_path: Path) -> None:
    """A script that becomes QEMU is one."""

    async def act(found: Throwaway) -> Any:
        return await found.execute("query-status")

    found = Binary.of(script(tmp_path, f'exec "{qemu.path}" "$@"'))
    assert found.version == qemu.version
    assert on(found, act)["status"] == "prelaunch"


def test_own_qemu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where no QEMU is named it is the first of the usual names that is one; without any, that is said (BM121)."""
    real = binaries()[0]
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin:/bin")
    names = [str(tmp_path / name) for name in ("none", "qemu-system-fake", "real")]
    monkeypatch.setattr(binary_module, "DEFAULTS", tuple(names))
    script(tmp_path, "echo hello")
    (tmp_path / "real").symlink_to(real.path)
    assert (Binary.default().path, Binary.default().told) == (tmp_path / "real", real.version)
    monkeypatch.setattr(binary_module, "DEFAULTS", tuple(names[:2]))
    with pytest.raises(CannotRunError) as raised:
        Binary.default()
    (found,) = raised.value.diagnostics
    assert found.code == "BM121"
    assert "--qemu" in found.remedy


def test_words_of_a_command_line(qemu: Binary) -> None:
    """Nothing but a plain word can be a machine or a name on the command line."""
    for words in ({"machine": "none,accel=x"}, {"name": "a/../b"}):
        with pytest.raises(ValueError, match="command line"):
            on(qemu, lambda found: found.execute("query-status"), **words)


def test_uuid(qemu: Binary) -> None:
    """A VM has the UUID that it is to have; what is none does not get onto the command line."""
    number = UUID("7b1c5f64-8a0e-4a7e-9c3e-0123456789ab")
    assert on(qemu, lambda found: found.execute("query-uuid"), uuid=number) == {"UUID": str(number)}
    with pytest.raises(AttributeError):
        on(qemu, lambda found: found.execute("query-uuid"), uuid="7b1c5f64,x=y")


def machine_of(source: Binary, destination: Binary) -> str:
    """A machine that both have, of the older one's version."""
    major, minor = min(source.release, destination.release)
    return f"pc-i440fx-{major}.{minor}"


@pytest.mark.parametrize("older", binaries(), ids=lambda binary: binary.version)
def test_between_versions(qemu: Binary, older: Any) -> None:
    """With one versioned machine each QEMU migrates to each, guest devices and all, whatever their order on each."""
    destination = Binary.of(older.path)
    names = ["disk0", "disk1", "disk2", "disk3"]
    qdevs = [f"/machine/peripheral/v{n}/virtio-backend" for n in (0, 1)] + ["s0", "s1"]
    backends = [Backend(None, qdev, NodeName(name)) for qdev, name in zip(qdevs, names, strict=True)]
    nodes = [null(name) for name in names]
    sides = BlockGraph(nodes, backends=backends), BlockGraph(nodes, backends=backends[::-1])

    async def migrated() -> list[str]:
        machine = machine_of(qemu, destination)
        with private_folder() as folder:
            ends = (
                running(qemu, folder=folder, machine=machine),
                running(destination, folder=folder, name="destination", incoming=True, machine=machine),
            )
            async with ends[0] as one, ends[1] as other:
                await build(one, sides[0])
                await build(other, sides[1])
                return await migrate(one, other)

    assert asyncio.run(migrated()) == ["completed", "completed"]


# names


def test_hostile_names_go_as_json(qemu: Binary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of bitmaps with quotes, commas, line ends, or 1023 bytes long are there, and in no line for a human."""
    sent: list[str] = []
    kept = process.Throwaway.answers

    async def spy(found: Throwaway, messages: Any) -> Any:
        sent.extend(one.execute for one in messages)
        return await kept(found, messages)

    monkeypatch.setattr(process.Throwaway, "answers", spy)
    names = (*HOSTILE, "x" * 1023)
    (file, disk), edge = image("disk0", *(bitmap(name, persistent=name != "x" * 1023) for name in names))
    graph = BlockGraph([file, disk], [edge], listing={file.name: [], disk.name: [BitmapName(name) for name in names]})
    bits = {(disk.name, BitmapName(name)): (0, 65536 * (number + 1)) for number, name in enumerate(names)}
    shown = built(qemu, graph, bits).graph
    assert {one.name: one.count for one in shown.nodes[disk.name].bitmaps} == dict.fromkeys(names, 131072)
    assert list(shown.listing[disk.name]) == list(names)
    assert "human-monitor-command" not in sent
    assert sent


@pytest.mark.parametrize("name", ["drive0,file=/etc/passwd", "a b", 'x"', "drive0\nquit", "1drive", ""])
def test_hostile_device_is_not_built(qemu: Binary, name: str) -> None:
    """A device or a node below it whose name is no plain id is not built, and says so."""
    root = null("#block1")
    if name:
        with pytest.raises(NotBuiltError, match="line of the human monitor"):
            built(qemu, BlockGraph([root], backends=[Backend(DeviceName(name), None, root.name)]))
    below = null(name or "a,b")
    with pytest.raises(NotBuiltError, match="line of the human monitor"):
        built(qemu, BlockGraph([below], backends=[Backend(DeviceName("drive0"), None, below.name)]))


def test_hostile_guest_device_is_an_id_or_nothing(qemu: Binary) -> None:
    """The id of a guest device is taken as one text, or refused by QEMU: 10.0 takes any."""
    graph = BlockGraph([null("disk0")], backends=[Backend(None, "disk,drive=x", NodeName("disk0"))])
    try:
        found = built(qemu, graph)
    except NotBuiltError as error:
        said = error.reason
    else:
        said = "device_add: it is one text"
        assert found.graph.backends == graph.backends
    assert said.startswith("device_add")


# what is built


def test_nothing_outside_is_opened(qemu: Binary) -> None:
    """Nodes of the outside are replaced under the same names, and that is told; sizes stay."""
    (file, disk), edge = image("disk0", driver="rbd")
    others = [
        Node(NodeName(name), driver, virtual_size=10 * MIB)
        for name, driver in {"remote": "nbd", "local": "host_device", "huge": "file"}.items()
    ]
    others[2] = Node(NodeName("huge"), "file", virtual_size=1 << 60)
    found = built(qemu, BlockGraph([file, disk, *others], [edge]))
    assert found.substituted == {
        "disk0-file": "file in place of rbd",
        "remote": "null-co in place of nbd",
        "local": "null-co in place of host_device",
        "huge": "null-co in place of file",
    }
    assert [found.graph.nodes[one.name].virtual_size for one in others] == [10 * MIB, 10 * MIB, 1 << 60]


def test_bits_in_memory_and_stored(qemu: Binary) -> None:
    """Wanted bits are set in bitmaps in memory, recording or not, and in those that an image held before."""
    stored = tuple(StoredBitmap(BitmapName(name), 65536, in_use=True) for name in ("old", "off"))
    held = (
        bitmap("old", persistent=True),
        bitmap("off", persistent=True, recording=False),
        bitmap("new", granularity=4096, recording=False),
    )
    (file, disk), edge = image("disk0", *held, stored=stored)
    graph = BlockGraph([file, disk], [edge])
    bits = {(disk.name, BitmapName(name)): (0, 5 * MIB, 16 * MIB - 1) for name in ("old", "off", "new")}
    shown = built(qemu, graph, bits).graph.nodes[disk.name]
    assert {(one.name, one.recording, one.persistent, one.count) for one in shown.bitmaps} == {
        ("old", True, True, 3 * 65536),
        ("off", False, True, 3 * 65536),
        ("new", False, False, 3 * 4096),
    }
    assert shown.stored == tuple(sorted(stored))


def test_stored_copies_of_a_waiting_destination(qemu: Binary) -> None:
    """A waiting destination shows what its image holds, clean or in use, and has loaded nothing of it."""
    stored = (
        StoredBitmap(BitmapName("clean"), 65536, in_use=False),
        StoredBitmap(BitmapName("used"), 65536, in_use=True),
    )
    (file, disk), edge = image("disk0", stored=stored)
    shown = built(qemu, BlockGraph([file, disk], [edge]), incoming=True).graph.nodes[disk.name]
    assert (shown.stored, shown.bitmaps) == (stored, ())


def test_many_guest_devices(qemu: Binary) -> None:
    """More virtio disks than a machine has slots are built."""
    names = [f"disk{number}" for number in range(40)]
    backends = [Backend(None, f"/machine/peripheral/v-{name}/virtio-backend", NodeName(name)) for name in names]
    found = built(qemu, BlockGraph([null(name) for name in names], backends=backends)).graph
    assert sorted(one.qdev or "" for one in found.backends) == sorted(one.qdev or "" for one in backends)


@pytest.mark.parametrize("count", [2, 29, 30])
def test_guest_device_is_unplugged_alone(qemu: Binary, count: int) -> None:
    """A disk that the guest lets go leaves all others, also those that share a slot since there are so many."""
    names = [NodeName(f"disk{number}") for number in range(count)]
    backends = [Backend(None, f"/machine/peripheral/v-{name}/virtio-backend", name) for name in names]
    graph = BlockGraph([null(name) for name in names], backends=backends)

    async def act(found: Throwaway) -> BlockGraph:
        await build(found, graph)
        await found.execute("device_del", {"id": "v-disk0"})
        await found.execute("system_reset")
        await found.event("DEVICE_DELETED", device="v-disk0")
        return await found.graph()

    left: BlockGraph = on(qemu, act, machine=machine_for(graph))
    assert {one.root for one in left.backends} == set(names[1:])


def test_numbered_and_scsi_devices_have_slots_of_their_own(qemu: Binary) -> None:
    """The SCSI controller, and what is plugged only so that the next one gets its number, take slots as well."""
    numbered = Backend(None, "/machine/peripheral-anon/device[3]/virtio-backend", NodeName("disk0"))
    virtio = [Backend(None, f"/machine/peripheral/v{n}/virtio-backend", NodeName(f"disk{n}")) for n in range(1, 25)]
    backends = [numbered, *virtio, Backend(None, "s0", NodeName("disk25"))]
    graph = BlockGraph([null(f"disk{number}") for number in range(26)], backends=backends)

    async def act(found: Throwaway) -> list[tuple[int, int]]:
        await build(found, graph)
        (bus,) = await found.execute("query-pci")
        return [(one["slot"], one["function"]) for one in bus["devices"] if one["slot"] > 2]

    places = on(qemu, act, machine=machine_for(graph))
    # 1 + 24 disks, 3 before the numbered one, and the controller: as many as there are slots
    assert sorted(places) == [(slot, 0) for slot in range(3, 32)]


def test_writable_export_beside_a_guest(qemu: Binary) -> None:
    """A node that a guest device and an export both write to has both."""
    root = null("disk0")
    backends = [Backend(None, "/machine/peripheral/virtio0/virtio-backend", root.name)]
    exports = [Export("export.0-strange", "nbd", root.name, writable=True)]
    found = built(qemu, BlockGraph([root], backends=backends, exports=exports)).graph
    assert found.exports == tuple(exports)


def test_busy_without_reason(qemu: Binary) -> None:
    """A busy bitmap that no export or job of the graph explains is made busy by an export, and that is told."""
    graph = BlockGraph([null("disk0", bitmap("b0", busy=True), bitmap("b1", busy=True, recording=False))])
    found = built(qemu, graph)
    assert {(one.name, one.busy, one.recording) for one in found.graph.nodes[NodeName("disk0")].bitmaps} == {
        ("b0", True, True),
        ("b1", True, False),
    }
    assert sorted(found.substituted) == [one.id for one in found.graph.exports]


def test_busy_below_a_guest(qemu: Binary) -> None:
    """A recording bitmap of a guest's disk is kept busy by an export that writes, beside the guest."""
    root = null("disk0", bitmap("b0", busy=True))
    for qdev in ("/machine/peripheral/virtio0/virtio-backend", "scsi0"):
        found = built(qemu, BlockGraph([root], backends=[Backend(None, qdev, root.name)])).graph
        assert [one.root for one in found.backends if one.qdev == qdev] == [root.name]
        assert [(one.name, one.busy, one.recording) for one in found.nodes[root.name].bitmaps] == [("b0", True, True)]


def test_busy_on_the_overlay_of_a_guest(qemu: Binary) -> None:
    """The same where the bitmap is on an overlay that a snapshot of the guest's drive has put there."""
    (base_file, base), base_edge = image("#block100", read_only=True)
    (file, overlay), edge = image("#block200", bitmap("b0", busy=True))
    nodes = (base, base_file, overlay, file)
    backing = Edge("node", overlay.name, base.name, "backing")
    drive = Backend(DeviceName("drive0"), "/machine/peripheral/virtio0/virtio-backend", overlay.name)
    listing: dict[NodeName, list[BitmapName]] = {one.name: [] for one in nodes}
    made = built(qemu, BlockGraph(nodes, [base_edge, edge, backing], backends=[drive], listing=listing))
    (bitmap_,) = made.graph.nodes[made.names[overlay.name]].bitmaps
    assert (bitmap_.name, bitmap_.busy, bitmap_.recording) == ("b0", True, True)


def test_filled_layers_hide_nothing(qemu: Binary) -> None:
    """Each layer of a filled chain has data at a place of its own, so that a stream has something to copy."""
    names = ("base", "middle", "top")
    made = [image(name) for name in names]
    backing = [Edge("node", above, NodeName(below), "backing") for below, above in pairwise(names)]
    nodes = [node for pair, _ in made for node in pair]
    graph = BlockGraph(nodes, [edge for _, edge in made] + backing)

    async def act(found: Throwaway) -> list[int]:
        await build(found, graph, filled=True)
        told = []
        for base in ("top", "middle", "base", None):
            if base != "top":
                words = {"job-id": "s0", "device": "top"} | ({"base-node": base} if base else {})
                await found.execute("block-stream", words)
                await found.event("BLOCK_JOB_COMPLETED", device="s0")
            shown = await found.execute("query-named-block-nodes", {"flat": True})
            told += [one["image"]["actual-size"] // images.DATA for one in shown if one["node-name"] == "top"]
        return told

    # the stream down to `middle` has nothing to do, each other one copies one layer
    assert on(qemu, act) == [1, 1, 2, 3]


def test_concluded_jobs(qemu: Binary) -> None:
    """Jobs that have concluded, and hold no node any more, are there again with their ids."""
    # those of 5.2 hold their nodes until they are dismissed
    kinds = ("create",) if qemu.release < (6, 0) else ("backup", "mirror", "create")
    jobs = [Job(f"{kind}-0", kind, "concluded", (), ()) for kind in kinds]
    found = built(qemu, BlockGraph([null("disk0")], jobs=jobs)).graph
    assert sorted((one.id, one.type, one.status, one.nodes) for one in found.jobs) == sorted(
        (one.id, one.type, one.status, one.nodes) for one in jobs
    )
    assert set(found.nodes) == {"disk0"}


NOT_BUILT = {
    "memory": BlockGraph([null("disk0", bitmap("b0", granularity=512), virtual_size=1 << 62)]),
    "is inconsistent": BlockGraph([null("disk0", bitmap("b0", inconsistent=True))]),
    "only a job": BlockGraph(
        [null("disk0"), Node(NodeName("top"), "mirror_top", virtual_size=MIB)],
        [Edge("node", "top", NodeName("disk0"), "backing")],
    ),
    "nothing that can be built": BlockGraph([null("#block1")]),
    "cannot be built": BlockGraph(
        [null("disk0"), Node(NodeName("top"), "replication", virtual_size=MIB)],
        [Edge("node", "top", NodeName("disk0"), "file")],
    ),
    "size is not known": BlockGraph([null("disk0", virtual_size=None)]),
    "what kind of guest device": BlockGraph(
        [null("disk0")], backends=[Backend(None, "/machine/unattached/device[7]", NodeName("disk0"))]
    ),
}


@pytest.mark.parametrize("reason", NOT_BUILT)
def test_what_cannot_be_built_is_said(qemu: Binary, reason: str) -> None:
    """What no QEMU can be brought into here is refused, with the reason."""
    with pytest.raises(NotBuiltError, match=reason):
        built(qemu, NOT_BUILT[reason])

"""What a stranger's capture, an odd place to live in, or a sudden end cannot do to a throw-away QEMU, or by it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitmapmig import plans
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.graph import Backend, BlockGraph, Edge, Export, Job, Node, StoredBitmap
from bitmapmig.qapi import BitmapName, DeviceName, NodeName
from bitmapmig.rehearsing import rehearse
from bitmapmig.throwaway import Binary, NotBuiltError, Throwaway, bounds, build, child, machine_for
from bitmapmig.throwaway import process as process_module
from tests.build import bitmap as part
from tests.build import destination, node, planned, source
from tests.live.monitor import until
from tests.live.qemu import binaries
from tests.live.test_throwaway import MIB, bitmap, built, gone, image, null, on

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bitmapmig.allowlist import Message
    from bitmapmig.plans import Plan


@pytest.fixture(params=binaries(), ids=lambda binary: binary.version)
def qemu(request: pytest.FixtureRequest) -> Binary:
    """Each QEMU that is there."""
    return Binary.of(request.param.path)


# what is open


def opened(pid: int) -> set[str]:
    """What a process has open, but for what lies in the kernel."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(str(entry.readlink()))
    return {one for one in found if not one.startswith(("anon_inode:", "/dev/null", "pipe:", "/memfd:"))}


def sockets(pid: int, of: str) -> set[str]:
    """The sockets of one family that a process has, by their inode."""
    rows = [row.split() for row in Path(f"/proc/{pid}/net/{of}").read_text().splitlines()[1:]]
    column = 6 if of == "unix" else 9
    listed = {f"socket:[{row[column]}]" for row in rows if len(row) > column}
    return opened(pid) & listed


def everything() -> BlockGraph:
    """A graph in which there is some of all that can reach outside: remote disks, jobs, exports, guest devices."""
    (file, disk), edge = image("disk0", bitmap("b0", persistent=True, busy=True), driver="rbd")
    remote = Node(NodeName("remote"), "nbd", virtual_size=16 * MIB)
    local = Node(NodeName("local"), "host_device", virtual_size=16 * MIB)
    backends = [
        Backend(None, "/machine/peripheral/virtio0/virtio-backend", disk.name),
        Backend(DeviceName("drive0"), None, remote.name),
    ]
    exports = [Export("export0", "vhost-user-blk", local.name, writable=True)]
    return BlockGraph([file, disk, remote, local], [edge], backends=backends, exports=exports)


def test_nothing_outside_is_open(qemu: Binary) -> None:
    """A throw-away has open what is in its folder and its own program, unix sockets, and none of the network."""
    graph = everything()

    async def act(found: Throwaway) -> tuple[Path, set[str], set[str], list[set[str]]]:
        await build(found, graph)
        others = [sockets(found.pid, of) for of in ("tcp", "tcp6", "udp", "udp6", "packet", "raw") if present(of)]
        return found.folder, opened(found.pid), sockets(found.pid, "unix"), others

    folder, files, unix, others = on(qemu, act, machine=machine_for(graph))
    outside = {one for one in files - unix if not one.startswith(f"{folder}/")}
    assert outside == set()
    assert unix
    assert others == [set()] * len(others)


def present(family: str) -> bool:
    """Whether the kernel has that family of sockets."""
    return Path(f"/proc/self/net/{family}").exists()


# hostile names

TARGETS = (
    "/etc/passwd",
    "nbd:localhost:10809",
    "json:{}",
    "../in-use",
    "x,file=/etc/passwd",
    "id=x\nquit",
    "a b",
    '"',
    "",
)
HOSTILE = st.one_of(
    st.sampled_from(TARGETS),
    st.sampled_from(["file", "raw", "disk0", "qcow2", "null-co", "blkdebug", "config", "filename", "server.path"]),
    st.text(max_size=12),
)


@st.composite
def strangers(draw: st.DrawFn) -> BlockGraph:
    """A graph in which each text may be anything, and most are as they should be."""

    def said(*plain: str) -> str:
        return draw(HOSTILE if draw(st.integers(0, 9)) == 0 else st.sampled_from(plain))

    names = list(dict.fromkeys([said("top"), said("middle"), said("leaf")]))
    busy = draw(st.lists(st.booleans(), max_size=2))
    held = tuple(bitmap(said(f"b{number}"), busy=one) for number, one in enumerate(busy))
    drivers = [
        said("raw", "throttle", "copy-on-read", "blkdebug"),
        said("qcow2", "raw"),
        said("file", "null-co", "nbd"),
    ]
    nodes = [
        Node(NodeName(name), driver, virtual_size=MIB, bitmaps=held, stored=(), compat=said("1.1"))
        for name, driver in zip(names, drivers[-len(names) :], strict=True)
    ]
    edges = [
        Edge("node", above.name, below.name, said("image" if above.driver == "blkdebug" else "file"))
        for above, below in pairwise(nodes)
    ]
    root = nodes[0].name
    device = draw(st.one_of(st.none(), st.builds(lambda: said("drive0"))))
    qdev = draw(st.sampled_from([None, "/machine/peripheral/{}/virtio-backend", "{}"]))
    backends = [Backend(DeviceName(device) if device is not None else None, qdev and qdev.format(said("q0")), root)]
    exports = [Export(said("export0"), said("nbd"), root, writable=draw(st.booleans()))] * draw(st.integers(0, 1))
    jobs = [Job(said("job0"), said("backup", "mirror"), said("concluded"), (), ())] * draw(st.integers(0, 1))
    return BlockGraph(nodes, edges, backends=backends, exports=exports, jobs=jobs)


#: What an answer to `drive_add` is made of, and no text of a stranger.
LINE = re.compile(r"drive_add 0 if=none,id=[A-Za-z][A-Za-z0-9._-]*(,read-only=(on|off),file=json:\{[^ \n]*\})?")


def texts(value: object) -> Iterator[str]:
    """Every text in JSON, with the keys."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from (key, *texts(one))
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, str):
        yield value


def paths(value: object) -> Iterator[str]:
    """What QEMU takes for the name of a file, wherever it is in the arguments of a command."""
    if isinstance(value, dict):
        for key, one in value.items():
            if key in ("filename", "snapshot-file", "path", "config", "server", "uri") and isinstance(one, str):
                yield one
            yield from paths(one)
    elif isinstance(value, list):
        for one in value:
            yield from paths(one)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(graph=strangers())
def test_a_stranger_opens_nothing(graph: BlockGraph) -> None:
    """Whatever a graph says, files have names of ours, and lines for the human monitor are generated."""
    sent: list[Message] = []
    kept = process_module.Throwaway.answers

    async def spy(found: Throwaway, messages: Any) -> Any:
        sent.extend(messages)
        return await kept(found, messages)

    async def act(found: Throwaway) -> tuple[Path, int, set[str]]:
        with suppress(NotBuiltError):
            await build(found, graph)
        return found.folder, found.pid, opened(found.pid) - sockets(found.pid, "unix")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process_module.Throwaway, "answers", spy)
        folder, _, files = on(Binary.of(binaries()[0].path), act, machine="pc")
    assert {one for one in files if not one.startswith(f"{folder}/")} == set()
    lines = [one.arguments["command-line"] for one in sent if one.execute == "human-monitor-command"]
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    for line in lines:
        listed = line.partition("json:")[2].replace(",,", ",")
        assert [
            text for text in texts(json.loads(listed or "{}")) if not re.fullmatch("[A-Za-z][A-Za-z0-9._-]*", text)
        ] == []
    named = [path for one in sent if one.execute != "human-monitor-command" for path in paths(dict(one.arguments))]
    assert [path for path in named if not re.fullmatch("source[A-Za-z0-9._-]*", path)] == []


ROLES = ["config", "filename", "server.path", "children.x", "children.-1", "x-raw", "file.filename", ""]


@pytest.mark.parametrize("role", ROLES)
def test_role_is_no_option(role: str) -> None:
    """The role of a child becomes the name of an option only where it is one that a child can have."""
    nodes = [null("disk0"), Node(NodeName("top"), "blkdebug", virtual_size=MIB)]
    with pytest.raises(NotBuiltError, match="in the role"):
        built(Binary.of(binaries()[0].path), BlockGraph(nodes, [Edge("node", "top", NodeName("disk0"), role)]))


# bounds


def huge(count: int, **members: Any) -> list[Node]:
    """Many images."""
    return [Node(NodeName(f"n{number}"), "vmdk", virtual_size=1 << 40, **members) for number in range(count)]


TOO_MUCH: Mapping[str, BlockGraph] = {
    "more than 10000 nodes": BlockGraph([null(f"n{number}") for number in range(10_001)]),
    "more than 10000 bitmaps": BlockGraph([null("n0", *(bitmap(f"b{number}") for number in range(10_001)))]),
    "bytes of memory": BlockGraph([null("n0", bitmap("b0", granularity=512), virtual_size=8 << 40)]),
    "bytes of disk": BlockGraph(huge(600)),
    "bytes large": BlockGraph([null("n0", virtual_size=1 << 80)]),
}


@pytest.mark.parametrize("reason", TOO_MUCH)
def test_too_much_is_refused(reason: str) -> None:
    """A graph that asks for more than a bound is refused before any process or file is made for it."""
    with pytest.raises(NotBuiltError, match=reason):
        built(Binary.of(binaries()[0].path), TOO_MUCH[reason])


def test_disk_that_is_taken(qemu: Binary) -> None:
    """Large disks with fine stored bitmaps take little: what is dirty, and not what could be."""
    size = 1 << 40
    stored = (StoredBitmap(BitmapName("b0"), 65536, in_use=True),)
    (file, disk), edge = image("disk0", bitmap("b0", persistent=True), stored=stored, virtual_size=size)
    graph = BlockGraph([file, disk], [edge])
    bits = {(disk.name, BitmapName("b0")): tuple(range(0, size, size // 8))}

    async def act(found: Throwaway) -> int:
        await build(found, graph, bits)
        return sum(one.stat().st_blocks * 512 for one in found.folder.iterdir() if one.is_file())

    assert on(qemu, act) < 4 * MIB


def test_building_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building that takes too long is given up, and said so."""
    monkeypatch.setattr(bounds, "SECONDS", 0.0)
    with pytest.raises(NotBuiltError, match="takes longer than 0 s"):
        built(Binary.of(binaries()[0].path), BlockGraph([null("n0")]))


# the end


_BUILDING = """
import asyncio, sys
from bitmapmig.graph import Bitmap, BlockGraph, Edge, Node, StoredBitmap
from bitmapmig.qapi import BitmapName, NodeName
from bitmapmig.throwaway import Binary, build, private_folder, running
stored = tuple(StoredBitmap(BitmapName(f"b{n}"), 65536, True) for n in range(9))
nodes, edges = [], []
for n in range(300):
    file, disk = NodeName(f"f{n}"), NodeName(f"d{n}")
    nodes.append(Node(file, "file", virtual_size=1 << 20))
    nodes.append(Node(disk, "qcow2", virtual_size=1 << 24, stored=stored, compat="1.1"))
    edges.append(Edge("node", disk, file, "file"))
async def main():
    with private_folder() as folder:
        print(folder, flush=True)
        async with running(Binary.of(sys.argv[1]), folder=folder, incoming=True) as found:
            await build(found, BlockGraph(nodes, edges))
asyncio.run(main())
"""


def children(folder: str) -> set[int]:
    """The processes that work in a folder."""
    found = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and str((entry / "cwd").readlink()) == folder and not gone(int(entry.name)):
                found.add(int(entry.name))
    return found


def test_killed_while_it_builds(qemu: Binary) -> None:
    """Killed in the middle of building, while a second QEMU makes images, it leaves no process."""
    command = (sys.executable, "-c", _BUILDING, str(qemu.path))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        folder = parent.stdout.readline().strip()
        until(lambda: len(children(folder)) > 1, "no second QEMU")
        there = children(folder)
        parent.send_signal(signal.SIGKILL)
    until(lambda: all(gone(pid) for pid in there), f"{there} did not end")
    assert children(folder) == set()


#: Answers as a QEMU does, and leaves a process behind, whose pid it writes beside itself.
_LEAVING = """#!/bin/sh
sleep 600 </dev/null >/dev/null 2>&1 &
echo $! > "$0.left"
echo "QEMU emulator version 7.2.0"
"""


def test_what_a_program_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    """Who is asked for the version and starts something else meanwhile does not leave it running."""
    program = tmp_path / "leaving"
    program.write_text(_LEAVING)
    program.chmod(0o700)
    assert Binary.of(program).version == (7, 2, 0)
    left = int(Path(f"{program}.left").read_text())
    until(lambda: gone(left), f"{left} did not end")


def test_what_a_process_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    """And so where it ends by itself first, with an exit status that is told as often as one asks."""
    program = tmp_path / "leaving"
    program.write_text(_LEAVING + "exit 3\n")
    program.chmod(0o700)
    process = child.tied([str(program)], folder=tmp_path, output=subprocess.DEVNULL, errors=subprocess.DEVNULL)
    until(lambda: child.status(process) is not None, "it did not end")
    left = int(Path(f"{program}.left").read_text())
    assert (child.status(process), child.status(process), gone(left)) == (3, 3, False)
    child.end(process, 5)
    until(lambda: gone(left), f"{left} did not end")
    assert child.status(process) == 3
    child.end(process, 5)


def test_a_process_that_is_ended(tmp_path: Path) -> None:
    """It dies of the signal, which its status says, and is reaped."""
    program = shutil.which("sleep")
    assert program is not None
    process = child.tied([program, "600"], folder=tmp_path, output=subprocess.DEVNULL, errors=subprocess.DEVNULL)
    assert child.status(process) is None
    child.end(process, 5)
    assert child.status(process) == -signal.SIGKILL
    assert not Path(f"/proc/{process.pid}").exists()


def test_the_terminal_does_not_reach_it(qemu: Binary) -> None:
    """It leads a group of its own: Ctrl-C is for whoever started it, who then ends it."""

    async def act(found: Throwaway) -> tuple[int, int]:
        return os.getpgid(found.pid), found.pid

    group, pid = on(qemu, act)
    assert group == pid != os.getpgid(0)


_LIMITED = """
import resource, subprocess, sys
from pathlib import Path
from bitmapmig.throwaway import child
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[2])))
process = child.tied(["/bin/sh", "-c", "ulimit -v"], folder=Path("/"), output=None, errors=None)
process.wait()
"""


@pytest.mark.parametrize("setpriv", [True, False], ids=["setpriv", "python"])
@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [(-1, -1, child.ADDRESS_SPACE), (4 << 30, 8 << 30, 4 << 20), (4 << 30, -1, 4 << 20), (64 << 30, -1, 16 << 20)],
)
def test_a_lower_limit_stays(soft: int, hard: int, expected: int, setpriv: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """The address space is what was allowed already, or less, and nothing is said about it."""
    if resource.getrlimit(resource.RLIMIT_AS) != (resource.RLIM_INFINITY, resource.RLIM_INFINITY):
        pytest.skip("the address space is limited here already")
    path = os.environ["PATH"] if setpriv else str(tmp_path)
    command = (sys.executable, "-c", _LIMITED, str(soft), str(hard))
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"PATH": path})
    assert (said.stdout.strip(), said.stderr) == (str(expected), "")


# what a rehearsal does not begin, or ends by name


def not_rebuilt(made: Plan, binary: Binary, **options: Any) -> tuple[str, str]:
    """The finding by which a rehearsal says that something is not to be rebuilt."""
    with pytest.raises(CannotRunError) as raised:
        asyncio.run(rehearse(made, binary, binary, seed=1, **options))
    (found,) = raised.value.diagnostics
    return found.code, found.message


def edited(made: Plan, **members: Any) -> Plan:
    """The plan after somebody has edited what it says of the source's node `n`."""
    document = json.loads(plans.dump(made))
    for one in document["source"]["structure"]["nodes"]:
        if one["name"] == "n":
            one.update(members)
    return plans.load(json.dumps(document).encode())


def test_a_graph_that_is_none_starts_no_qemu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a plan document has a node below itself the rehearsal ends before any process is started for it."""
    binary = Binary.of(binaries()[0].path)
    made = planned(source(node("n", bitmaps=["b"])), destination(node("n")))
    monkeypatch.setattr(process_module.Throwaway, "start", None)
    assert not_rebuilt(edited(made, children=[["file", "n"]]), binary) == (
        "BM123",
        "the block graph cannot be rebuilt on a throw-away QEMU: 'n': it is below itself",
    )


def test_what_was_set_and_cannot_be(qemu: Binary) -> None:
    """A map that this QEMU does not take is told as such: the capture of the side is another's, or was edited."""
    in_force = {"block-bitmap-mapping": [{"node-name": "n", "alias": "a" * 300, "bitmaps": []}]}
    here = source(node("n", bitmaps=["b"]), version=qemu.version, parameters=in_force)
    there = destination(node("n"), version=qemu.version)
    code, message = not_rebuilt(planned(here, there), qemu, captures=(here, there), anyway=True)
    assert code == "BM123"
    assert "what was set on the source cannot be set: migrate-set-parameters" in message


def test_a_capability_that_is_not_known() -> None:
    """One that was on, and that this QEMU does not know, is told by the side and QEMU's own words."""
    old = [one for one in binaries() if one.release < (6, 0)]
    if not old:
        pytest.skip("every QEMU here knows background-snapshot")
    qemu = Binary.of(old[0].path)
    captures = source(node("n", bitmaps=["b"]), capabilities=["background-snapshot"]), destination(node("n"))
    code, message = not_rebuilt(planned(*captures), qemu, captures=captures, anyway=True)
    assert code == "BM123"
    assert "what was set on the source cannot be set: migrate-set-capabilities" in message


def test_a_copy_that_contradicts_the_bitmap(qemu: Binary) -> None:
    """A stored bitmap of another granularity than the one in memory cannot be, and is told by its name."""
    here = (node("n", "qcow2", [part("b", "persistent")], stored=["b"], file="f"), node("f", "file"))
    there = (node("n", "qcow2", file="f"), node("f", "file"))
    captures = source(*here, version=qemu.version), destination(*there, version=qemu.version)
    made = planned(*captures, {"storage": "separate"})
    code, message = not_rebuilt(edited(made, stored=[{"name": "b", "granularity": 512}]), qemu)
    assert code == "BM123"
    assert message.endswith("'n': the bitmap 'b' comes out with granularity 512 instead of 65536")


def test_a_copy_without_a_bitmap(qemu: Binary) -> None:
    """A stored bitmap is in memory once its image is open for writing: one that is not said to be cannot be."""
    here = (node("n", "qcow2", ["b"], file="f"), node("f", "file"))
    there = (node("n", "qcow2", file="f"), node("f", "file"))
    captures = source(*here, version=qemu.version), destination(*there, version=qemu.version)
    made = planned(*captures, {"storage": "separate"})
    code, message = not_rebuilt(edited(made, stored=[{"name": "c", "granularity": 65536}]), qemu)
    assert code == "BM123"
    assert message.endswith("'n': its image brings the bitmap 'c', which is not said to be in memory")


# where it lives

_ELSEWHERE = """
import asyncio, os, stat, sys
from bitmapmig.graph import BlockGraph, Edge, Node
from bitmapmig.qapi import NodeName
from bitmapmig.throwaway import Binary, build, running
file, disk = NodeName("f"), NodeName("d")
nodes = [Node(file, "file", virtual_size=1 << 20), Node(disk, "qcow2", virtual_size=1 << 24, stored=())]
binary = Binary.of(sys.argv[1])
if sys.argv[2] == "nobody":
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
async def main():
    async with running(binary) as found:
        await build(found, BlockGraph(nodes, [Edge("node", disk, file, "file")]))
        status = os.stat(f"/proc/{found.pid}").st_uid
        print(os.getuid(), status, oct(stat.S_IMODE(found.folder.stat().st_mode)), found.folder)
    print(found.folder.exists())
asyncio.run(main())
"""


def lives(binary: Binary, who: str, **environment: str) -> list[str]:
    """What one says that runs elsewhere, or as another user."""
    command = (sys.executable, "-c", _ELSEWHERE, str(binary.path), who)
    words = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | environment).stdout
    return words.split("\n")[0].split(" ", 3) + words.split("\n")[1:2]


@pytest.mark.parametrize("name", ["plain", "a b,c'é\"", "x" * 90, "missing", "file"])
def test_odd_folder_for_temporary_files(tmp_path: Path, name: str) -> None:
    """Wherever temporary files are to be, the folder is private, and gone in the end."""
    place = tmp_path / name
    if name == "file":
        place.write_text("")
    elif name != "missing":
        place.mkdir()
    *_, mode, folder, left = lives(Binary.of(binaries()[0].path), "me", TMPDIR=str(place))
    assert (mode, left) == ("0o700", "False")
    assert not Path(folder).exists()


def test_ordinary_user() -> None:
    """An ordinary user, where we are root one who owns nothing, can do it, and QEMU runs as that user."""
    program = shutil.which("qemu-system-x86_64")  # those in a cache are for one user
    assert program is not None
    expected = str(os.getuid() or 65534)
    uid, owner, mode, _, left = lives(Binary.of(program), "me" if os.getuid() else "nobody")
    assert (uid, owner, mode, left) == (expected, expected, "0o700", "False")

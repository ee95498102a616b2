"""The harness itself, on every QEMU that is there: what tests rely on is really so."""

from __future__ import annotations

import re
import signal

import pytest

from bitmapmig.codes import BY_CODE
from tests.live.migration import carry_out, entry, migrate, set_capability, set_mapping
from tests.live.monitor import QemuGoneError, QmpError
from tests.live.qemu import Binary, Qemu, binaries
from tests.live.scenes import ALL

MIB = 1 << 20


@pytest.fixture(params=binaries(), ids=lambda binary: binary.version)
def binary(request: pytest.FixtureRequest) -> Binary:
    """Each QEMU that is there."""
    found: Binary = request.param
    return found


def null(name: str, size: int = 16 * MIB) -> tuple[str, str]:
    """Arguments for a node that keeps nothing."""
    return "-blockdev", f"driver=null-co,node-name={name},size={size},read-zeroes=on"


def pair(binary: Binary, source_size: int = 16 * MIB) -> tuple[Qemu, Qemu]:
    """A source and a destination with one node of the same name each."""
    source = Qemu(binary, *null("disk0", source_size))
    return source, Qemu(binary, *null("disk0"), name="destination", folder=source.folder, incoming=True)


def test_starts(binary: Binary) -> None:
    """A QEMU starts, is of the version that was asked for, has a monitor for others, and ends by its own pid."""
    with Qemu(binary) as qemu:
        version = qemu.qmp("query-version")["qemu"]
        assert f"{version['major']}.{version['minor']}.{version['micro']}" == binary.version
        assert qemu.socket.is_socket()
        assert (qemu.status, qemu.folder.exists()) == (None, True)
    assert (qemu.status, qemu.folder.exists()) == (-signal.SIGKILL, False)


def test_start_fails(binary: Binary) -> None:
    """A QEMU that does not start is an error that holds what QEMU printed."""
    with pytest.raises(QemuGoneError, match="nosuch"), Qemu(binary, "-blockdev", "driver=nosuch,node-name=n"):
        pass


def test_qmp_error(binary: Binary) -> None:
    """An error of QEMU is raised with its text, and the monitor can be used after it."""
    with Qemu(binary) as qemu:
        with pytest.raises(QmpError, match="nosuch"):
            qemu.qmp("block-dirty-bitmap-add", node="nosuch", name="b0")
        assert qemu.qmp("query-status")["status"] == "prelaunch"


def test_write_dirties(binary: Binary) -> None:
    """A write sets exactly the bits that it covers, on a named and on an auto-named node and through a device."""
    with Qemu(binary, *null("disk0"), "-drive", "if=none,id=drive0,driver=null-co,size=16M") as qemu:
        auto = qemu.root("drive0")
        assert auto.startswith("#block")
        for node in ("disk0", auto):
            qemu.qmp("block-dirty-bitmap-add", node=node, name="b0", granularity=65536)
            qemu.write(node, 0, MIB)
        qemu.write("drive0", 2 * MIB)
        counts = {node: record.count for (node, _), record in qemu.bitmaps().items()}
        assert counts == {"disk0": 2 * 65536, auto: 3 * 65536}


def test_write_checked(binary: Binary) -> None:
    """A write that fails is an error, whether the node is missing or cannot be written."""
    with Qemu(binary, "-blockdev", "driver=null-co,node-name=ro0,read-only=on") as qemu:
        qemu.qmp("block-dirty-bitmap-add", node="ro0", name="b0")
        for node in ("nosuch", "ro0"):
            with pytest.raises(QmpError):
                qemu.write(node, 0)


def test_migration_arrives(binary: Binary) -> None:
    """Under QEMU's own names a bitmap arrives with its digest, its granularity and its state."""
    source, destination = pair(binary)
    with source, destination:
        source.qmp("block-dirty-bitmap-add", node="disk0", name="b0", granularity=32768)
        source.write("disk0", 0, 5 * MIB)
        source.qmp("block-dirty-bitmap-disable", node="disk0", name="b0")
        set_capability(source)
        sent = source.bitmaps()
        outcome = migrate(source, destination)
        assert (outcome.source, outcome.destination, outcome.exit) == ("completed", "completed", None)
        assert outcome.bitmaps == sent
        assert sent["disk0", "b0"].count == 2 * 65536


def test_commands_of_a_plan(binary: Binary) -> None:
    """The commands of a plan document are run on the side that they are for."""
    source, destination = pair(binary)
    capability = {"capabilities": [{"capability": "dirty-bitmaps", "state": True}]}
    mapping = {"block-bitmap-mapping": [entry("disk0", "disk0", {"b0": "renamed"})]}
    plan = {
        "commands": {
            "destination": [],
            "source": [
                {"execute": "migrate-set-parameters", "arguments": mapping},
                {"execute": "migrate-set-capabilities", "arguments": capability},
            ],
        }
    }
    with source, destination:
        source.qmp("block-dirty-bitmap-add", node="disk0", name="b0")
        outcome = carry_out(plan, source, destination)
        assert list(outcome.bitmaps or ()) == [("disk0", "renamed")]


def test_loss_is_seen(binary: Binary) -> None:
    """A bitmap that QEMU drops while both sides say `completed` is missing in the outcome, and the log says why."""
    source, destination = pair(binary)
    with source, destination:
        source.qmp("block-dirty-bitmap-add", node="disk0", name="b0")
        set_mapping(source, [entry("disk0", "nosuch", {"b0": "b0"})])
        set_capability(source)
        outcome = migrate(source, destination)
        assert (outcome.source, outcome.destination, outcome.bitmaps) == ("completed", "completed", {})
        assert re.search("Cannot find device='?nosuch'? nor node.name='?nosuch", outcome.destination_log)


def test_death_is_seen(binary: Binary) -> None:
    """A destination that aborts is seen with its signal, though the source says `completed`."""
    source, destination = pair(binary, source_size=10 * MIB)
    with source, destination:
        source.qmp("block-dirty-bitmap-add", node="disk0", name="b0", granularity=65536)
        set_capability(source)
        outcome = migrate(source, destination)
        assert (outcome.source, outcome.destination, outcome.exit) == ("completed", None, -signal.SIGABRT)
        assert outcome.bitmaps is None
        assert "serialization_chunk" in outcome.destination_log


def test_exit_is_seen(binary: Binary) -> None:
    """A destination that ends itself is seen with its exit status."""
    source, destination = pair(binary)
    with source, destination:
        for qemu in (source, destination):
            qemu.qmp("block-dirty-bitmap-add", node="disk0", name="b0")
        set_capability(source)
        outcome = migrate(source, destination)
        assert (outcome.destination, outcome.exit) == (None, 1)
        assert "already exists on destination" in outcome.destination_log


def test_scenes_are_told_apart() -> None:
    """Each scene has a name of its own and a sentence that says what it shows."""
    names = [scene.name for scene in ALL]
    assert sorted(set(names)) == sorted(names)
    assert [scene.name for scene in ALL if not scene.shows.endswith(".")] == []


def test_refusals_show_their_harm() -> None:
    """Each refused scene expects codes that exist, and can show what QEMU does where the refusal is ignored."""
    refused = [scene for scene in ALL if scene.refusals]
    assert [scene.name for scene in refused if scene.harm is None] == []
    assert sorted({code for scene in refused for code in scene.refusals} - BY_CODE.keys()) == []


def test_scenes_can_be_played(binary: Binary) -> None:
    """A scene is for some releases and not for others, and never for a destination older than it asks for."""
    unversioned = next(scene for scene in ALL if scene.name == "downward-unversioned")
    fleecing = next(scene for scene in ALL if scene.name == "fleecing")
    assert not unversioned.runs_on(binary)
    assert fleecing.runs_on(binary) == (binary.release >= (7, 2))

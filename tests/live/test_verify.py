"""What `verify` says after real migrations, good ones and each kind of loss."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig.cli import main
from bitmapmig.collect import collect_both
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.planner import plan
from bitmapmig.plans import Plan, dump
from bitmapmig.policy import Policy
from bitmapmig.verifying import VerificationFailed, Verified
from bitmapmig.verifying.verifier import verify
from tests.live.migration import carry_out, entry, migrate, set_capability, set_mapping
from tests.live.qemu import Binary, Qemu, binaries
from tests.live.scenes.scene import GRANULE, SIZE, Scene, Stage, disk, null, scene

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

every_qemu = pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is recorded and locked stays in this test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@scene()
def two_disks(stage: Stage) -> None:
    """Two disks: one with a bitmap that records and one that does not, the other with one that records."""
    stage.start_source(*null("n0"), *null("n1"))
    stage.start_destination(*null("n0"), *null("n1"))
    stage.bitmap("n0", "b0")
    stage.bitmap("n0", "frozen")
    stage.source.qmp("block-dirty-bitmap-disable", node="n0", name="frozen")
    stage.bitmap("n1", "b1")


def planned(stage: Stage, policy: Mapping[str, Any] | None = None) -> Plan:
    """The plan between both sides, over the product's own connections."""
    captures = asyncio.run(collect_both(stage.source.endpoint, stage.destination.endpoint))
    return plan(*captures, Policy.parse({"version": 1, **policy}) if policy else None)


@contextmanager
def migrated(binary: Binary, made_of: Scene = two_disks, policy: Mapping[str, Any] | None = None) -> Iterator[Any]:
    """A stage after the migration that its plan asked for, and the plan; the destination is paused."""
    with made_of.on(binary) as stage:
        made = planned(stage, policy)
        outcome = carry_out(json.loads(dump(made)), stage.source, stage.destination)
        assert (outcome.source, outcome.destination) == ("completed", "completed")
        yield stage, made


def verified(made: Plan, **options: Any) -> Verified:
    """What `verify` says, whether it raises it or returns it."""
    try:
        return asyncio.run(verify(made, **options))
    except VerificationFailed as failed:
        return failed.verified


def said(found: Verified) -> dict[str, tuple[str, str]]:
    """The outcome and the proof of each bitmap, by its name."""
    return {one.bitmap: (one.outcome, one.proof) for one in found.bitmaps}


def codes_of(found: Verified) -> list[str]:
    """The codes of all findings, each once."""
    return sorted({one.code for one in (*found.failures, *found.advice)})


_BOTH = ("proven", "digest-of-both")


@every_qemu
def test_paused_destination(binary: Binary) -> None:
    """After a good migration, before the guest runs, the digests of both sides prove every bitmap."""
    with migrated(binary) as (_, made):
        found = verified(made, strict=True)
        assert (found.verdict, said(found)) == ("proven", {"b0": _BOTH, "frozen": _BOTH, "b1": _BOTH})
        assert codes_of(found) == []


@every_qemu
def test_running_destination(binary: Binary) -> None:
    """A guest that writes takes the proof away from what it writes to, and from nothing else; only --strict fails."""
    with migrated(binary) as (stage, made):
        stage.destination.qmp("cont")
        assert verified(made).verdict == "proven"
        stage.destination.write("n0", 200 * GRANULE)
        found = verified(made)
        assert found.verdict == "unproven"
        assert said(found) == {"b0": ("unproven", "count-and-flags"), "frozen": _BOTH, "b1": _BOTH}
        assert codes_of(found) == ["BM811"]
        strict = verified(made, strict=True)
        assert (strict.verdict, [one.code for one in strict.failures]) == ("failed", ["BM811"])


@every_qemu
def test_bits_that_vanish_while_the_guest_runs(binary: Binary) -> None:
    """Writes only add bits: a running destination with fewer dirty bytes than the source, or as many others, fails."""
    with migrated(binary) as (stage, made):
        stage.destination.qmp("cont")
        stage.destination.qmp("block-dirty-bitmap-clear", node="n0", name="b0")
        stage.destination.write("n0", 200 * GRANULE)
        assert said(verified(made))["b0"] == ("failed", "digest-of-both")
        stage.destination.write("n0", *(GRANULE * granule for granule in range(201, 205)))
        found = verified(made)
        assert said(found)["b0"] == ("failed", "digest-of-both")
        assert codes_of(found) == ["BM806"]


@every_qemu
def test_source_gone(binary: Binary) -> None:
    """Without the source, recorded digests prove the bitmaps; without these granularity and flags are all there is."""
    with migrated(binary) as (stage, made):
        digests = {place: record.digest for place, record in stage.source.bitmaps().items()}
        stage.source.kill()
        found = verified(made, digests=digests)
        assert (found.verdict, found.source.gone) == ("proven", "Connection refused")
        assert {one.proof for one in found.bitmaps} == {"digest-recorded"}
        wrong = verified(made, digests={**digests, ("n1", "b1"): "0" * 64})
        assert (wrong.verdict, said(wrong)["b1"]) == ("failed", ("failed", "digest-recorded"))
        bare = verified(made)
        assert (bare.verdict, {one.proof for one in bare.bitmaps}) == ("unproven", {"flags"})


@every_qemu
def test_source_ran_on(binary: Binary) -> None:
    """A source that was continued is no measure: its bitmaps are not compared, and that is said."""
    with migrated(binary) as (stage, made):
        stage.source.qmp("cont")
        stage.source.write("n0", 200 * GRANULE)
        found = verified(made)
        assert (found.verdict, {one.proof for one in found.bitmaps}) == ("unproven", {"flags"})
        assert codes_of(found) == ["BM811", "BM813"]


def disabled(destination: Qemu) -> None:
    """Disable a bitmap."""
    destination.qmp("block-dirty-bitmap-disable", node="n0", name="b0")


def coarser(destination: Qemu) -> None:
    """Put another of that name and another granularity in its place."""
    destination.qmp("block-dirty-bitmap-remove", node="n0", name="b0")
    destination.qmp("block-dirty-bitmap-add", node="n0", name="b0", granularity=2 * GRANULE)


def emptied(destination: Qemu) -> None:
    """Put an empty one in its place."""
    destination.qmp("block-dirty-bitmap-remove", node="n0", name="b0")
    destination.qmp("block-dirty-bitmap-add", node="n0", name="b0")


def removed(destination: Qemu) -> None:
    """Remove it."""
    destination.qmp("block-dirty-bitmap-remove", node="n0", name="b0")


def displaced(destination: Qemu) -> None:
    """Put one of its name on the other disk."""
    removed(destination)
    destination.qmp("block-dirty-bitmap-add", node="n1", name="b0")


@every_qemu
@pytest.mark.parametrize(
    ("manipulate", "code", "differs", "words"),
    [
        (disabled, "BM805", ["recording"], "it is not recording"),
        (coarser, "BM805", ["granularity"], f"its granularity is {2 * GRANULE}, not {GRANULE}"),
        (emptied, "BM806", ["content"], "the digests differ"),
        (removed, "BM804", ["presence"], "is not on the destination node 'n0' as 'b0'"),
        (displaced, "BM804", ["presence"], "likely cause: a bitmap of that name is on 'n1'"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_manipulated(
    binary: Binary, manipulate: Callable[[Qemu], None], code: str, differs: list[str], words: str
) -> None:
    """Whatever is done to an arrived bitmap is found, with its name, and the others stay proven."""
    with migrated(binary) as (stage, made):
        manipulate(stage.destination)
        found = verified(made)
        assert (found.verdict, codes_of(found)) == ("failed", [code])
        assert said(found) | {"b0": ()} == {"b0": (), "frozen": _BOTH, "b1": _BOTH}
        (bad,) = [one for one in found.bitmaps if one.outcome == "failed"]
        assert ([one.what for one in bad.differences], bad.bitmap) == (differs, "b0")
        assert words in found.failures[0].message


_VIRTIO = "/machine/peripheral/vd0/virtio-backend"


@scene()
def guest_disk(stage: Stage) -> None:
    """The disk of a guest device, with a bitmap."""
    for start, name in ((stage.start_source, "a.qcow2"), (stage.start_destination, "b.qcow2")):
        device = ("-device", "virtio-blk,drive=n0,id=vd0", "-m", "32")
        start(*disk("n0", stage.image(name)), *device, machine="q35")
    stage.bitmap("n0", "b0", qdev=_VIRTIO)


@every_qemu
def test_paused_again(binary: Binary) -> None:
    """On a destination that is paused again, what its guest device wrote is no difference; anything else is one."""
    with migrated(binary, guest_disk) as (stage, made):
        there = stage.destination
        assert verified(made).verdict == "proven"
        there.qmp("cont")
        there.qmp("stop")
        assert verified(made).verdict == "proven"
        there.write(_VIRTIO, 200 * GRANULE, qdev=True)  # qemu-io's own write, which is not counted as the guest's
        found = verified(made)
        assert said(found) == {"b0": ("failed", "digest-of-both")}
        assert "no guest device has written to it" in found.failures[0].message
        there.hmp(f'qemu-io -d {_VIRTIO} "aio_write -P 1 {201 * GRANULE} {GRANULE}"')
        there.qmp("query-status")
        assert said(verified(made)) == {"b0": ("unproven", "count-and-flags")}


# silent losses


def wrong_alias(stage: Stage) -> None:
    """The source's map has one alias that the destination does not know."""
    set_mapping(stage.source, [entry("n0", "nope", {"b0": "b0", "frozen": "frozen"}), entry("n1", "n1", {"b1": "b1"})])


def wrong_node_on_destination(stage: Stage) -> None:
    """The destination's map leads to a node that is not there."""
    set_mapping(stage.destination, [entry("nosuch", "n0", {"b0": "b0"}), entry("n1", "n1", {"b1": "b1"})])


def node_not_on_destination(stage: Stage) -> None:
    """The destination's map lacks a node."""
    set_mapping(stage.destination, [entry("n1", "n1", {"b1": "b1"})])


def bitmap_not_on_destination(stage: Stage) -> None:
    """The destination's map lacks a bitmap of a node."""
    set_mapping(stage.destination, [entry("n0", "n0", {"b0": "b0"}), entry("n1", "n1", {"b1": "b1"})])


def empty_map(stage: Stage) -> None:
    """The source's map is empty."""
    set_mapping(stage.source, [])


LOSSES = (
    (wrong_alias, "Cannot find device", "BM501"),
    (wrong_node_on_destination, "Cannot find device", "BM501"),
    (node_not_on_destination, "Error: Unknown node alias 'n0'", "BM561"),
    (bitmap_not_on_destination, "Error: Unknown bitmap alias 'frozen' on node 'n0' (alias 'n0')", "BM561"),
    (empty_map, None, None),
)


@every_qemu
@pytest.mark.parametrize(("lose", "line", "explained"), LOSSES, ids=[one[0].__name__ for one in LOSSES])
def test_silent_loss(binary: Binary, lose: Callable[[Stage], None], line: str | None, explained: str | None) -> None:
    """Both sides say `completed` and everything is gone: each bitmap is named, with the cause, and the log's line."""
    with two_disks.on(binary) as stage:
        made = planned(stage)
        lose(stage)
        set_capability(stage.source)
        outcome = migrate(stage.source, stage.destination)
        assert (outcome.source, outcome.destination, outcome.bitmaps) == ("completed", "completed", {})
        log = str(stage.folder / "destination.log")
        found = verified(made, log=log)
        assert (found.verdict, codes_of(found)) == ("failed", ["BM804"])
        assert {one.where.bitmap for one in found.failures} == {"b0", "frozen", "b1"}
        shown = {one.log.text if one.log else None for one in found.bitmaps}
        assert shown == {None} if line is None else all(text and text.startswith(line) for text in shown)
        assert all(one.cause for one in found.bitmaps)
        assert explained is None or any(f"bitmapmig explain {explained}" in one.remedy for one in found.failures)
        assert all("the log says: " in one.message for one in found.failures if line)


@every_qemu
def test_bitmaps_confused(binary: Binary) -> None:
    """Two bitmaps that arrive under each other's names are found by their bits, and whose these are is said."""
    with two_disks.on(binary) as stage:
        made = planned(stage)
        swapped = {"b0": "frozen", "frozen": "b0"}
        set_mapping(stage.source, [entry("n0", "n0", swapped), entry("n1", "n1", {"b1": "b1"})])
        stage.source.qmp("block-dirty-bitmap-enable", node="n0", name="frozen")
        set_capability(stage.source)
        assert migrate(stage.source, stage.destination).destination == "completed"
        found = verified(made)
        assert said(found)["b1"] == _BOTH
        assert {one.code for one in found.failures} == {"BM805", "BM806"}
        (confused,) = [one for one in found.failures if one.code == "BM806"]
        assert "likely cause: it has the bits of 'frozen' on 'n0'" in confused.message


@every_qemu
def test_capability_off(binary: Binary) -> None:
    """Nothing is sent and nothing is logged; the model tells the cause."""
    with two_disks.on(binary) as stage:
        made = planned(stage)
        migrate(stage.source, stage.destination)
        found = verified(made)
        assert codes_of(found) == ["BM804"]
        assert all("dirty-bitmaps" in (one.cause or "") for one in found.bitmaps)


# migrations that do not complete


@every_qemu
def test_not_begun(binary: Binary) -> None:
    """Before the migration nothing is judged."""
    with two_disks.on(binary) as stage:
        found = verified(planned(stage))
        assert (codes_of(found), {one.outcome for one in found.bitmaps}) == (["BM801"], {"unproven"})


@every_qemu
def test_destination_dead(binary: Binary) -> None:
    """A destination that exited is said to be gone, and the log says why; the source keeps its bitmaps."""
    with two_disks.on(binary) as stage:
        made = planned(stage)
        stage.destination.qmp("block-dirty-bitmap-add", node="n0", name="b0")
        outcome = carry_out(json.loads(dump(made)), stage.source, stage.destination)
        assert outcome.exit == 1
        found = verified(made, log=str(stage.folder / "destination.log"))
        assert set(codes_of(found)) <= {"BM802", "BM803"}
        assert "BM803" in codes_of(found)
        shown = {one.bitmap: one.log.text for one in found.bitmaps if one.log}
        assert shown["b0"] == "Bitmap with the same name ('b0') already exists on destination"


# what is refused, absent or another


@pytest.mark.parametrize("binary", [one for one in binaries() if one.release >= (7, 2)], ids=lambda one: one.version)
@pytest.mark.parametrize("side", ["source", "destination"])
def test_digest_refused(binary: Binary, side: str) -> None:
    """Where QEMU refuses unstable commands, dirty bytes and flags are what is left, and that is said."""
    reject = ("-compat", "unstable-input=reject")

    @scene()
    def refusing(stage: Stage) -> None:
        """One disk, on a QEMU that refuses what is unstable."""
        stage.start_source(*null("n0"), *(reject if side == "source" else ()))
        stage.start_destination(*null("n0"), *(reject if side == "destination" else ()))
        stage.bitmap("n0", "b0")

    storage = {"storage": "separate"}
    with refusing.on(binary) as stage:
        stage.source.qmp("block-dirty-bitmap-disable", node="n0", name="b0")
        made = planned(stage, storage)
        carry_out(json.loads(dump(made)), stage.source, stage.destination)
        found = verified(made)
        assert (said(found), codes_of(found)) == ({"b0": ("unproven", "count-and-flags")}, ["BM811", "BM812"])
        assert [one.where.side for one in found.advice if one.code == "BM812"] == [side]
        stage.destination.qmp("block-dirty-bitmap-clear", node="n0", name="b0")
        assert said(verified(made)) == {"b0": ("failed", "count-and-flags")}


@every_qemu
def test_another_qemu(binary: Binary) -> None:
    """A QEMU that is not the one of the plan is not judged by it."""

    @scene()
    def named(stage: Stage) -> None:
        """A VM with a name."""
        stage.start_source(*null("n0"), "-name", "vm")
        stage.start_destination(*null("n0"), "-name", "vm")
        stage.bitmap("n0", "b0")

    with named.on(binary) as stage:
        made = planned(stage)
        carry_out(json.loads(dump(made)), stage.source, stage.destination)
        with Qemu(binary, *null("n0"), "-name", "other") as other, pytest.raises(CannotRunError) as another:
            asyncio.run(verify(made, destination=other.endpoint))
        assert [one.code for one in another.value.diagnostics] == ["BM711"]


@scene()
def shared_image(stage: Stage) -> None:
    """One image on both sides, with a persistent bitmap that migrates and one that the policy leaves out."""
    stage.image("disk.qcow2")
    stage.start_source(*disk("n0", "disk.qcow2"), "-device", "virtio-blk,drive=n0,share-rw=on", "-m", "32",
                       machine="q35")  # fmt: skip
    stage.start_destination(*disk("n0", "disk.qcow2"), "-device", "virtio-blk,drive=n0,share-rw=on", "-m", "32",
                            machine="q35")  # fmt: skip
    stage.bitmap("n0", "b0", persistent=True)
    stage.bitmap("n0", "stays", persistent=True)
    stage.bitmap("n0", "gone")


@every_qemu
def test_by_storage_and_left_behind(binary: Binary) -> None:
    """What travels in the image is found once the image is active; what was left behind is only said to be."""
    policy = {"storage": "shared", "deny": [{"bitmap": "stays"}, {"bitmap": "gone"}]}
    with migrated(binary, shared_image, policy) as (stage, made):
        digests = {("n0", "stays"): stage.source.digest("n0", "b0")}
        assert {one.bitmap: one.fate for one in made.bitmaps} == {
            "b0": "migrate",
            "gone": "left-behind",
            "stays": "by-storage",
        }
        found = verified(made)
        assert said(found)["b0"] == _BOTH
        assert said(found)["gone"] == ("left-behind", "none")
        assert said(found)["stays"][0] == "unproven"
        stage.destination.qmp("cont")
        assert said(verified(made))["stays"] == ("unproven", "flags")
        assert digests
        stage.destination.qmp("block-dirty-bitmap-remove", node="n0", name="stays")
        lost = verified(made)
        assert [(one.code, one.where.bitmap) for one in lost.failures] == [("BM804", "stays")]


# the command


@every_qemu
def test_command(binary: Binary, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 0 for proof, 5 for a difference, and the text says the verdict first; JSON is one document."""
    path = tmp_path / "plan.json"
    with migrated(binary) as (stage, made):
        path.write_bytes(dump(made))
        assert main(["verify", str(path)]) == 0
        assert capsys.readouterr().out.startswith("PROVEN: 3 bitmaps on the destination, bit for bit\n")
        stage.destination.qmp("block-dirty-bitmap-disable", node="n0", name="b0")
        assert main(["verify", str(path), "--log", str(stage.folder / "destination.log")]) == 5
        assert capsys.readouterr().out.startswith("FAILED: 1 bitmap failed, 0 not proven, 2 proven\n")
        assert main(["verify", str(path), "--format", "json"]) == 5
        assert Verified.model_validate_json(capsys.readouterr().out).verdict == "failed"
        assert main(["verify", str(path), "--log", "nosuch"]) == 2
        assert "BM814 log-unreadable" in capsys.readouterr().err
        stage.destination.kill()
        assert main(["verify", str(path)]) == 5
        assert "BM803 destination-gone" in capsys.readouterr().out


def test_size_is_what_the_scenes_have() -> None:
    """The granules that these tests write to are inside of the disks."""
    assert 205 * GRANULE <= SIZE

"""Chains that collapse, on real QEMUs: what arrives is, bit for bit, what was written while each layer was the top."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from bitmapmig.applying.applier import apply
from bitmapmig.applying.scripts import script
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.finishing.finisher import finish
from bitmapmig.plans import Refused
from bitmapmig.policy import Policy
from bitmapmig.policy.model import merged
from bitmapmig.verifying.verifier import verify
from bitmapmig.waiting.migrator import apply_and_wait
from tests.build import codes
from tests.cli.process import environment
from tests.live.chain import COLLAPSE, UUID, WRITTEN, ends, expected, made, temporaries, written
from tests.live.migration import Outcome, migrate, set_capability
from tests.live.monitor import QmpError, until
from tests.live.qemu import Binary, Qemu, binaries
from tests.live.scenes.scene import GRANULE, SIZE, disk, drive, null

every = pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)
newest = pytest.mark.parametrize("binary", binaries()[-1:], ids=lambda binary: binary.version)


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks and notes go to a folder of the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def completed(source: Qemu, destination: Qemu) -> Outcome:
    """Migrate, which both sides say has completed."""
    outcome = migrate(source, destination)
    assert (outcome.source, outcome.destination) == ("completed", "completed"), outcome
    return outcome


@every
def test_union_arrives(binary: Binary) -> None:
    """Applied, written to once more, migrated: the destination has what was written to all layers, bit for bit."""
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        asyncio.run(apply(planned))
        source.write("drive0", GRANULE * 100)
        outcome = completed(source, destination)
        assert outcome.bitmaps is not None
        root = destination.root("drive0")
        came = outcome.bitmaps[root, "daily"]
        assert came.digest == expected(binary, written(100))
        assert (came.recording, came.persistent, came.granularity) == (True, False, GRANULE)
        assert set(outcome.bitmaps) == {(root, "daily"), ("n1", "other")}
        found = asyncio.run(verify(planned, strict=True))
        assert {one.outcome for one in found.bitmaps} == {"proven"}
        assert temporaries(source) == [planned.merges[0].temporary]
        done = asyncio.run(finish(planned))
        assert (temporaries(source), len(done.source.temporaries)) == ([], 1)


@pytest.mark.parametrize(
    "granularities", [(GRANULE, 2 * GRANULE, GRANULE), (2 * GRANULE, GRANULE, 4 * GRANULE)], ids=str
)
@every
def test_granularities_and_persistence(binary: Binary, granularities: tuple[int, ...]) -> None:
    """Layers of other granularities are merged into that of the top; a persistent one comes up persistent."""
    with ends(binary, persistent=True, granularities=granularities) as (source, destination):
        policy = COLLAPSE
        if binary.release < (6, 0):
            with pytest.raises(Refused) as caught:
                made(source, destination)
            (found,) = caught.value.plan.refusals
            assert found.code == "BM577"
            policy = Policy.parse(merged(COLLAPSE.model_dump(by_alias=True), found.fragments[0]))
        planned = made(source, destination, policy)
        asyncio.run(apply(planned))
        outcome = completed(source, destination)
        assert outcome.bitmaps is not None
        came = outcome.bitmaps[destination.root("drive0"), "daily"]
        # a granule of a layer that is coarser is dirty as a whole
        granules = {
            granule * size // GRANULE + part
            for layer, size in zip(WRITTEN, granularities, strict=True)
            for granule in {one * GRANULE // size for one in layer}
            for part in range(size // GRANULE)
        }
        assert came.digest == expected(binary, granules, granularities[-1])
        assert (came.persistent, came.granularity) == (binary.release >= (6, 0), granularities[-1])
        assert {one.outcome for one in asyncio.run(verify(planned, strict=True)).bitmaps} == {"proven"}
        (merge,) = planned.merges
        fate = next(one for one in planned.foretold.bitmaps if one.bitmap == merge.temporary)
        told = fate.outcome, fate.destination_node, fate.destination_bitmap, fate.persistent, fate.granularity
        assert told == ("arrives", destination.root("drive0"), "daily", came.persistent, came.granularity)
        asyncio.run(finish(planned))
        assert temporaries(source) == []
        source.qmp("cont")  # fail-back: the originals are all there, those that were stored too
        assert len([name for _, name in source.bitmaps() if name == "daily"]) == 3


@every
def test_named_nodes(binary: Binary) -> None:
    """The same with -blockdev, `blockdev-snapshot`, and the bitmap added with the snapshot in one transaction."""
    with TemporaryDirectory(prefix="bitmapmig-") as name:
        folder = Path(name)
        for image in ("l0.qcow2", "l1.qcow2", "l2.qcow2", "flat.qcow2"):
            binary.image("create", "-q", "-f", "qcow2", image, str(SIZE), folder=folder)
        words = [word for depth in range(3) for word in disk(f"l{depth}", f"l{depth}.qcow2")]
        there = disk("l2", "flat.qcow2")
        with (
            Qemu(binary, *words, name="source", folder=folder, paused=False) as source,
            Qemu(binary, *there, name="destination", folder=folder, incoming=True) as destination,
        ):
            for depth, granules in enumerate(WRITTEN):
                add = {"type": "block-dirty-bitmap-add", "data": {"node": f"l{depth}", "name": "daily"}}
                put = {"type": "blockdev-snapshot", "data": {"node": f"l{depth - 1}", "overlay": f"l{depth}"}}
                source.qmp("transaction", actions=[add] if not depth else [put, add])
                source.write(f"l{depth}", *(GRANULE * granule for granule in granules))
            with pytest.raises(Refused) as caught:
                made(source, destination, Policy())
            assert [(one.code, one.fragments[0]) for one in caught.value.plan.refusals] == [
                ("BM501", {"collapse": True})
            ] * 2
            planned = made(source, destination)
            asyncio.run(apply(planned))
            outcome = completed(source, destination)
            assert outcome.bitmaps is not None
            assert {place: one.digest for place, one in outcome.bitmaps.items()} == {
                ("l2", "daily"): expected(binary, written())
            }


@newest
def test_top_with_another_bitmap(binary: Binary) -> None:
    """A bitmap of the top that no layer has travels beside the merged one, under its own name."""
    with ends(binary) as (source, destination):
        top, root = source.root("drive0"), destination.root("drive0")
        source.qmp("block-dirty-bitmap-add", node=top, name="new")
        source.write("drive0", GRANULE * 200)
        planned = made(source, destination)
        asyncio.run(apply(planned))
        outcome = completed(source, destination)
        assert outcome.bitmaps is not None
        assert outcome.bitmaps[root, "new"].digest == expected(binary, {200})
        assert outcome.bitmaps[root, "daily"].digest == expected(binary, written(200))


@every
def test_scripts(binary: Binary) -> None:
    """The lines for qmp-shell and for virsh merge and set what `apply` does."""
    for dialect in ("qmp", "virsh"):
        with ends(binary) as (source, destination):
            planned = made(source, destination)
            if dialect == "qmp":
                lines = [line for line in script(planned, "qmp").splitlines() if not line.startswith("#")]
                done = subprocess.run(
                    [Path(sys.executable).with_name("qmp-shell"), str(source.socket)],
                    input="".join(f"{line}\n" for line in lines),
                    capture_output=True,
                    text=True,
                    check=True,
                    env=environment({"HOME": os.fspath(source.folder)}),
                )
                assert done.stdout.count('{"return": {}') == len(lines), done.stdout
            else:
                for line in script(planned, "virsh").splitlines():
                    if line.startswith("virsh"):
                        command = json.loads(shlex.split(line)[-1])
                        source.execute(command["execute"], command["arguments"])
            outcome = completed(source, destination)
            assert outcome.bitmaps is not None
            assert outcome.bitmaps[destination.root("drive0"), "daily"].digest == expected(binary, written())


@every
def test_applied_again(binary: Binary) -> None:
    """A second `apply` merges anew: what was cleared in between is not in it, and what the guest wrote since is."""
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        asyncio.run(apply(planned))
        before = temporaries(source)
        top = planned.merges[0].node
        source.qmp("block-dirty-bitmap-clear", node=top, name="daily")
        source.write("drive0", GRANULE * 7)
        asyncio.run(apply(planned))
        assert temporaries(source) == before
        outcome = completed(source, destination)
        assert outcome.bitmaps is not None
        left = {granule for layer in WRITTEN[:2] for granule in layer} | {7}
        assert outcome.bitmaps[destination.root("drive0"), "daily"].digest == expected(binary, left)


@every
def test_waited_for(binary: Binary) -> None:
    """`--wait-migration` records the digest of the temporary, proves what came, and removes the temporary."""
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        uri = f"unix:{source.folder / 'migration'}"

        async def run() -> None:
            ready = asyncio.Event()
            waiting = asyncio.create_task(apply_and_wait(planned, wait_timeout=30, applied=lambda _: ready.set()))
            started = asyncio.create_task(ready.wait())
            await asyncio.wait({waiting, started}, return_when=asyncio.FIRST_COMPLETED)
            started.cancel()
            destination.qmp("migrate-incoming", uri=uri)
            source.qmp("migrate", uri=uri)
            done = await waiting
            assert (done.outcome, done.warnings, done.problems, done.recorded) == ("completed", (), (), 2)
            assert done.verified is not None
            assert done.verified.verdict == "proven"

        asyncio.run(run())
        assert temporaries(source) == []


@every
def test_failed_and_given_up(binary: Binary) -> None:
    """After a migration that failed, `finish --failed` removes the temporary, and the same plan can be made again."""
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        asyncio.run(apply(planned))
        destination.kill()
        with suppress(QmpError):
            source.qmp("migrate", uri=f"unix:{source.folder / 'nobody'}")
        until(lambda: source.qmp("query-migrate").get("status") in (None, "none", "failed"), "it did not fail")
        done = asyncio.run(finish(planned, failed=True))
        assert (temporaries(source), len(done.source.temporaries)) == ([], 1)
        assert [one.execute for one in done.source.commands][-1] == "block-dirty-bitmap-remove"
        assert asyncio.run(finish(planned, failed=True)).source.temporaries == ()
        words = ("-uuid", UUID, *drive("drive0", "flat.qcow2"), *null("n1"))
        with Qemu(binary, *words, name="again", folder=source.folder, incoming=True) as again:
            asyncio.run(apply(made(source, again)))
            outcome = completed(source, again)
            assert outcome.bitmaps is not None
            assert outcome.bitmaps[again.root("drive0"), "daily"].digest == expected(binary, written())


@newest
def test_capability_and_map_cleaned(binary: Binary) -> None:
    """What `finish` leaves on the source migrates on by QEMU's own names, without the temporary."""
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        asyncio.run(apply(planned))
        asyncio.run(finish(planned, failed=True))
        mapping = source.qmp("query-migrate-parameters").get("block-bitmap-mapping")
        listed = {one["name"] for entry in mapping for one in entry["bitmaps"]}
        assert listed == {"daily", "other"}
        set_capability(source)
        assert temporaries(source) == []


@newest
def test_plan_needs_no_merge_twice(binary: Binary) -> None:
    """A plan for a flat source is the same with `collapse: true` as without."""
    with (
        Qemu(binary, *null("n0"), name="source") as source,
        Qemu(binary, *null("n0"), name="destination", folder=source.folder, incoming=True) as destination,
    ):
        source.qmp("block-dirty-bitmap-add", node="n0", name="daily")
        assert made(source, destination) == made(source, destination, Policy())


@newest
def test_refused_twice(binary: Binary) -> None:
    """A plan whose temporaries are wrong in the document is refused as altered."""
    with ends(binary) as (source, destination):
        planned = made(source, destination)
        merge = planned.merges[0].model_copy(update={"sources": planned.merges[0].sources[:2]})
        with pytest.raises(CannotRunError) as caught:
            asyncio.run(apply(planned.model_copy(update={"merges": (merge,)})))
        assert codes(caught.value.diagnostics) == ["BM706"]
        assert temporaries(source) == []

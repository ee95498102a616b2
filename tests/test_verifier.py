"""What is made of both ends after a migration, and what cannot be looked at; on hand-built captures."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig import graph, state
from bitmapmig.captures import dump as dump_capture
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.verifying import Gone, Seen, VerificationFailed, Verified, judge
from bitmapmig.verifying.log import parse
from bitmapmig.verifying.verifier import verify
from tests.build import GRANULE, bitmap, destination, drive, node, planned, source
from tests.fake_monitor import FakeMonitor, QmpError, answers_of, hang

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from bitmapmig.captures import Capture
    from bitmapmig.diagnostics import Side
    from bitmapmig.plans import Plan
    from tests.build import Raw

_B0 = ("n0", "b0")
A, B = "a" * 64, "b" * 64
COMPLETED = {"migration": {"status": "completed"}}


def before(*flags: str, count: int = 0) -> tuple[Capture, Capture]:
    """Both sides before the migration of one bitmap."""
    return source(node("n0", bitmaps=[bitmap("b0", *flags, count=count)])), destination(node("n0"))


def after(*bitmaps: Raw | str, run_state: str, **more: Any) -> Capture:
    """A side after the migration."""
    return source(node("n0", bitmaps=bitmaps), **{"run_state": run_state, **COMPLETED, **more})


def seen(capture: Capture, side: Side, **more: Any) -> Seen:
    """What a capture shows."""
    return Seen(graph.read(capture, side)[0], state.read(capture), **more)


GONE = Gone("unix:source.qmp", "Connection refused")


# content


@dataclass(frozen=True)
class _Case:
    """One bitmap: its digest, dirty bytes and flags on either side, and what is known of the destination's node."""

    claim: str
    expected: tuple[str, str]
    digests: tuple[str | None, str | None] = (A, A)
    dirty: tuple[int, int] = (GRANULE, GRANULE)
    flags: tuple[str, ...] = ()
    run_states: tuple[str | None, str] = ("postmigrate", "paused")
    recorded: str | None = None
    known: Mapping[str, Any] = field(default_factory=dict)


_N0 = frozenset(("n0",))
CASES = [
    _Case("equal digests", ("proven", "digest-of-both")),
    _Case("equal digests, though the guest runs", ("proven", "digest-of-both"), run_states=("postmigrate", "running")),
    _Case("the digests differ before the guest ran", ("failed", "digest-of-both"), (A, B)),
    _Case("more is dirty, and the node is inactive", ("failed", "digest-of-both"), (A, B), (1, 2),
          known={"inactive": _N0}),
    _Case("more is dirty, and nothing was written", ("failed", "digest-of-both"), (A, B), (1, 2),
          known={"untouched": _N0}),
    _Case("more is dirty, and no guest wrote", ("failed", "digest-of-both"), (A, B), (1, 2),
          known={"guest_silent": _N0}),
    _Case("more is dirty, and whether a guest wrote is not told", ("failed", "digest-of-both"), (A, B), (1, 2)),
    _Case("more is dirty, and the guest wrote before it was paused", ("unproven", "count-and-flags"), (A, B), (1, 2),
          known={"guest_written": _N0}),
    _Case("more is dirty, and the guest runs", ("unproven", "count-and-flags"), (A, B), (1, 2),
          run_states=("postmigrate", "running")),
    _Case("as much is dirty and not the same, and the guest runs", ("failed", "digest-of-both"), (A, B), (2, 2),
          run_states=("postmigrate", "running")),
    _Case("less is dirty, and the guest runs", ("failed", "digest-of-both"), (A, B), (2, 1),
          run_states=("postmigrate", "running")),
    _Case("more is dirty, and the destination was migrated on", ("unproven", "count-and-flags"), (A, B), (1, 2),
          run_states=("postmigrate", "postmigrate"), known={"inactive": _N0}),
    _Case("the guest runs, and the bitmap does not record", ("failed", "digest-of-both"), (A, B), (1, 2), ("disabled",),
          ("postmigrate", "running")),
    _Case("the source ran on, and its digest counts for nothing", ("unproven", "flags"),
          run_states=("running", "paused")),
    _Case("the source ran on, and a digest was recorded", ("proven", "digest-recorded"), (B, A),
          run_states=("running", "paused"), recorded=A),
    _Case("the source is there, and what was recorded counts for nothing", ("proven", "digest-of-both"), recorded=B),
    _Case("the source gives no digest, and one was recorded", ("proven", "digest-recorded"), (None, A), recorded=A),
    _Case("the source is gone, and a digest was recorded", ("proven", "digest-recorded"), (None, A),
          run_states=(None, "paused"), recorded=A),
    _Case("the source is gone, and the recorded digest is another", ("failed", "digest-recorded"), (None, B),
          run_states=(None, "paused"), recorded=A),
    _Case("the source is gone, another was recorded, and the guest runs", ("unproven", "flags"), (None, B),
          run_states=(None, "running"), recorded=A),
    _Case("the source is gone, nothing was recorded", ("unproven", "flags"), (None, A), run_states=(None, "paused")),
    _Case("no digests, and as much is dirty", ("unproven", "count-and-flags"), (None, None)),
    _Case("no digests, and less is dirty", ("failed", "count-and-flags"), (None, None), (2, 1)),
    _Case("no digests, and more is dirty before the guest ran", ("failed", "count-and-flags"), (None, None), (1, 2)),
    _Case("no digests, and more is dirty while the guest runs", ("unproven", "count-and-flags"), (None, None), (1, 2),
          run_states=("postmigrate", "running")),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.claim)
def test_content(case: _Case) -> None:
    """What the bits of a bitmap on both sides come to, and what that rests on."""
    plan = planned(*before(*case.flags, count=case.dirty[0]))
    here: Seen | Gone = GONE
    if case.run_states[0] is not None:
        capture = after(bitmap("b0", *case.flags, count=case.dirty[0]), run_state=case.run_states[0])
        here = seen(capture, "source", digests={_B0: case.digests[0]} if case.digests[0] else {})
    capture = after(bitmap("b0", *case.flags, count=case.dirty[1]), run_state=case.run_states[1])
    digests = {_B0: case.digests[1]} if case.digests[1] else {}
    there = seen(capture, "destination", digests=digests, **case.known)
    found = judge(plan, here, there, recorded={_B0: case.recorded} if case.recorded else None)
    (one,) = found.bitmaps
    assert (one.outcome, one.proof) == case.expected
    assert found.verdict == one.outcome
    assert [one.code for one in found.failures] == (["BM806"] if one.outcome == "failed" else [])
    strict = judge(plan, here, there, recorded={_B0: case.recorded} if case.recorded else None, strict=True)
    assert strict.verdict == ("proven" if one.outcome == "proven" else "failed")


def test_fewer_dirty_bytes_than_planned_is_a_hint() -> None:
    """Dirty bytes of the plan are older than the migration: fewer of them is said, and proves nothing."""
    plan = planned(*before(count=2))
    found = judge(plan, GONE, seen(after(bitmap("b0", count=1), run_state="paused"), "destination"))
    assert (found.verdict, [one.code for one in found.advice]) == ("unproven", ["BM811"])
    assert "1 bytes are dirty, and 2 were when it was planned" in found.bitmaps[0].reason


# flags and places


@pytest.mark.parametrize(
    ("there", "transform", "differences"),
    [
        (bitmap("b0", "disabled"), None, {"recording": False}),
        (bitmap("b0", "persistent"), None, {"persistent": True}),
        (bitmap("b0"), True, {"persistent": False}),
        (bitmap("b0", "persistent"), True, {}),
        (bitmap("b0", "busy"), None, {"busy": True}),
        (bitmap("b0", granularity=2 * GRANULE), None, {"granularity": 2 * GRANULE}),
        (bitmap("b0", "inconsistent"), None, {"inconsistent": True, "persistent": True}),
        (bitmap("b1"), None, {"presence": False}),
    ],
)
def test_flags(there: Raw, transform: bool | None, differences: dict[str, Any]) -> None:  # noqa: FBT001
    """Every flag that is not as planned is a difference with its value, whatever the digests say."""
    qcow2 = [node("n0", "qcow2", bitmaps=["b0"])], [node("n0", "qcow2")]
    policy: dict[str, Any] = {"storage": "separate"}
    if transform is not None:
        target = {"node-name": "n0", "bitmap": "b0", "persistent": transform}
        policy["map"] = [{"source": {"node-name": "n0", "bitmap": "b0"}, "destination": target}]
    plan = planned(source(*qcow2[0]), destination(*qcow2[1]), policy)
    here = seen(after("b0", run_state="postmigrate"), "source", digests={_B0: A})
    found = judge(plan, here, seen(after(there, run_state="paused"), "destination", digests={_B0: A}))
    assert {one.what: one.found for one in found.bitmaps[0].differences} == differences
    assert found.verdict == ("failed" if differences else "proven")


def test_names_and_places_of_the_plan() -> None:
    """A bitmap is looked for where the plan sends it, under its new name."""
    policy = {"map": [{"source": {"node-name": "n0", "bitmap": "b0"},
                       "destination": {"node-name": "n1", "bitmap": "c0"}}], "storage": "separate"}  # fmt: skip
    plan = planned(source(node("n0", bitmaps=["b0"])), destination(node("n0"), node("n1")), policy)
    here = seen(after("b0", run_state="postmigrate"), "source", digests={_B0: A})

    def there(first: list[str], second: list[str]) -> Verified:
        capture = source(node("n0", bitmaps=first), node("n1", bitmaps=second), run_state="paused", **COMPLETED)
        return judge(plan, here, seen(capture, "destination", digests={("n1", "c0"): A}))

    assert there([], ["c0"]).verdict == "proven"
    (lost,) = there(["b0"], []).failures
    assert (lost.code, lost.where.node, lost.where.bitmap) == ("BM804", "n1", "c0")
    assert "a bitmap of that name is on 'n0'" in there(["c0"], []).failures[0].message


def test_left_behind_is_said() -> None:
    """What was left behind is listed with the entry that said so, and proves or fails nothing."""
    plan = planned(*before(), {"deny": [{"bitmap": "b0"}], "storage": "separate"})
    found = judge(plan, GONE, seen(after(run_state="paused"), "destination"))
    assert (found.verdict, found.bitmaps[0].outcome, found.advice) == ("proven", "left-behind", ())
    assert "deny.0" in found.bitmaps[0].reason


@pytest.mark.parametrize(
    ("there", "inactive", "outcome"),
    [
        ([bitmap("b0", "persistent")], False, ("proven", "digest-recorded")),
        ([bitmap("b0", "inconsistent")], False, ("failed", "flags")),
        ([], False, ("failed", "none")),
        ([], True, ("unproven", "none")),
    ],
)
def test_by_storage(there: list[Raw], inactive: bool, outcome: tuple[str, str]) -> None:  # noqa: FBT001
    """A bitmap that travels in the image is looked for at its address; before the image is active it cannot be."""
    image = node("n0", "qcow2", bitmaps=[bitmap("b0", "persistent")], stored=["b0"])
    policy = {"storage": "shared", "deny": [{"bitmap": "b0"}]}
    plan = planned(source(image), destination(node("n0", "qcow2", stored=["b0"])), policy)
    assert [one.fate for one in plan.bitmaps] == ["by-storage"]
    nodes = frozenset(("n0",)) if inactive else frozenset()
    end = seen(after(*there, run_state="paused"), "destination", digests={_B0: A}, inactive=nodes)
    found = judge(plan, GONE, end, recorded={_B0: A})
    assert (found.bitmaps[0].outcome, found.bitmaps[0].proof) == outcome


# the migration as a whole


_STATUSES: list[tuple[str | None, str, str | None, str, list[str]]] = [
    ("none", "running", "none", "inmigrate", ["BM801"]),
    ("active", "running", "active", "inmigrate", ["BM801"]),
    ("pre-switchover", "finish-migrate", "active", "inmigrate", ["BM801"]),
    ("completed", "postmigrate", "postcopy-active", "paused", ["BM801"]),
    ("completed", "postmigrate", "completed", "inmigrate", ["BM801"]),
    ("completed", "postmigrate", "none", "paused", ["BM801"]),
    ("failed", "running", None, "", ["BM802", "BM803"]),
    ("failed", "running", "failed", "inmigrate", ["BM802", "BM802"]),
    ("cancelled", "running", None, "", ["BM802", "BM803"]),
    ("completed", "postmigrate", None, "", ["BM803"]),
    (None, "", None, "", ["BM803"]),
    (None, "", "none", "inmigrate", ["BM801"]),
    (None, "", "failed", "inmigrate", ["BM802"]),
    (None, "", "completed", "paused", []),
    ("completed", "postmigrate", "completed", "paused", []),
]


@pytest.mark.parametrize(("here", "run_state", "there", "runs", "expected"), _STATUSES)
def test_migration(here: str | None, run_state: str, there: str | None, runs: str, expected: list[str]) -> None:
    """Nothing is compared unless both sides that are there say `completed`; what was left behind stays that."""
    plan = planned(*before())
    ends: list[Seen | Gone] = []
    for side, status, state_of in (("source", here, run_state), ("destination", there, runs)):
        if status is None:
            ends.append(Gone(f"unix:{side}.qmp", "Connection refused"))
        else:
            migration = {} if status == "none" else {"status": status}
            capture = after("b0", run_state=state_of, migration=migration)
            ends.append(seen(capture, "source", digests={_B0: A}))
    found = judge(plan, ends[0], ends[1], recorded={_B0: A})
    assert [one.code for one in found.failures] == expected
    assert found.bitmaps[0].outcome == ("unproven" if expected else "proven")


def test_log_of_a_dead_destination() -> None:
    """Where the destination is dead, its log still shows what each bitmap met."""
    plan = planned(*before())
    log = parse(b"q: Bitmap with the same name ('b0') already exists on destination\nq: load of migration failed: x\n")
    found = judge(plan, GONE, Gone("unix:destination.qmp", "Connection refused"), log=log)
    assert found.bitmaps[0].log == log[0]
    assert found.log == log


# looking


def verified(plan: Plan, **options: Any) -> Verified:
    """What `verify` says, whether it raises it or returns it."""
    try:
        return asyncio.run(verify(plan, **{"digests": {}, **options}))
    except VerificationFailed as failed:
        return failed.verified


def refused(plan: Plan, **options: Any) -> list[str]:
    """The codes with which `verify` could not run."""
    with pytest.raises(CannotRunError) as error:
        asyncio.run(verify(plan, **{"digests": {}, **options}))
    return [one.code for one in error.value.diagnostics]


def stored(folder: Path, **captures: Capture) -> dict[str, str]:
    """Captures as files; the options that name them."""
    for name, capture in captures.items():
        (folder / f"{name}.json").write_bytes(dump_capture(capture))
    return {name: str(folder / f"{name}.json") for name in captures}


def test_stored_captures(tmp_path: Path) -> None:
    """Captures that were taken since can be verified too: without digests, dirty bytes and flags decide."""
    plan = planned(*before())
    ends = stored(tmp_path, source=after("b0", run_state="postmigrate"),
                  destination=after("b0", run_state="paused", process="another"))  # fmt: skip
    found = verified(plan, **ends)
    assert (found.verdict, found.bitmaps[0].proof) == ("unproven", "count-and-flags")
    assert [one.code for one in found.advice] == ["BM811", "BM812", "BM812"]


def test_what_cannot_be_verified(tmp_path: Path) -> None:
    """A refusal, a provisional plan, captures of before, another VM, one process for both: each says so."""
    plan = planned(*before())
    one = after("b0", run_state="postmigrate")
    other = after("b0", run_state="paused", process="another", replies={"query-name": {"name": "other"}})
    assert refused(planned(source(node("n0", bitmaps=["b0"])), destination(node("n1")))) == ["BM704"]
    assert refused(planned(*before(), provisional=True)) == ["BM705"]
    assert refused(plan, **stored(tmp_path, source=one, destination=one)) == ["BM714"]
    assert refused(plan, **stored(tmp_path, source=one, destination=other)) == ["BM711"]
    assert refused(plan, source="nosuch", log=str(tmp_path / "nosuch")) == ["BM814"]
    assert refused(plan, source="bogus:x") == ["BM101"]
    of_files = plan.model_copy(update={"source": plan.source.model_copy(update={"endpoint": "source.json"})})
    assert refused(of_files) == ["BM815"]


def test_ends_that_are_gone(tmp_path: Path) -> None:
    """A socket that nobody serves is an end that is gone."""
    plan = planned(*before())
    found = verified(plan, source=f"unix:{tmp_path / 'a'}", destination=f"unix:{tmp_path / 'b'}")
    assert (found.verdict, [one.code for one in found.failures]) == ("failed", ["BM803"])
    assert (found.source.gone, found.destination.gone) == ("No such file or directory",) * 2


def served(plan: Plan, make: Callable[[FakeMonitor, FakeMonitor], None]) -> Callable[[], Verified]:
    """Verify against two fakes that `make` has spoilt."""
    ends = [FakeMonitor(answers_of(after("b0", run_state=run_state))) for run_state in ("postmigrate", "paused")]
    for end in ends:
        end.answers = {**end.answers, "x-debug-block-dirty-bitmap-sha256": {"sha256": A}, "query-chardev": []}
    make(*ends)

    async def run() -> Verified:
        async with ends[0].tcp() as first, ends[1].tcp() as second:
            return await verify(plan, source=first, destination=second, digests={}, timeout=1)

    return lambda: asyncio.run(run())


def _answer(fake: FakeMonitor, **answers: Any) -> None:
    fake.answers = {**fake.answers, **{name.replace("_", "-"): answer for name, answer in answers.items()}}


def test_disk_lost() -> None:
    """A destination that cannot list its nodes, because one is ejected, has lost a disk."""
    ejected = QmpError("Block device node0 is ejected")
    with pytest.raises(VerificationFailed) as failed:
        served(planned(*before()), lambda _, there: _answer(there, query_named_block_nodes=ejected))()
    assert [one.code for one in failed.value.diagnostics] == ["BM807"]


def test_monitor_that_hangs() -> None:
    """An end that is there and does not answer leaves everything open: that is an error, not a verdict."""
    with pytest.raises(CannotRunError) as error:
        served(planned(*before()), lambda here, _: here.faults.update({"query-status": hang}))()  # type: ignore[attr-defined]
    assert [(one.code, one.where.side) for one in error.value.diagnostics] == [("BM104", "source")]


def test_only_queries_are_sent() -> None:
    """Nothing that `verify` sends changes a QEMU."""
    fakes: list[FakeMonitor] = []
    assert served(planned(*before()), lambda *ends: fakes.extend(ends))().verdict == "proven"
    sent = {message["execute"] for fake in fakes for message in fake.received}
    assert all(one.startswith(("query-", "x-debug-", "qom-get", "qmp_capabilities")) for one in sent)
    assert "x-debug-block-dirty-bitmap-sha256" in sent


@pytest.mark.parametrize("answer", [{}, {"sha256": None}, {"sha256": ""}, {"sha256": [A]}, {"sha256": A[1:]}, [A], A])
def test_what_is_no_digest_proves_nothing(answer: Any) -> None:
    """The same answer of both sides is no proof where it is no SHA-256."""

    def make(*ends: FakeMonitor) -> None:
        for end in ends:
            _answer(end, **{"x-debug-block-dirty-bitmap-sha256": answer})

    found = served(planned(*before()), make)()
    assert (found.verdict, found.bitmaps[0].proof) == ("unproven", "count-and-flags")


def test_document_is_stable() -> None:
    """The document is what its schema says, and reads back as it was written."""
    plan = planned(*before())
    found = judge(plan, GONE, seen(after(run_state="paused"), "destination"))
    assert Verified.model_validate_json(found.model_dump_json()) == found
    assert json.loads(found.model_dump_json())["failures"][0]["severity"] == "failure"


def test_devices_that_wrote(tmp_path: Path) -> None:
    """Counters of guest devices tell whether a paused guest has written."""

    def stats(operations: int) -> list[Raw]:
        return [{"device": "", "qdev": "vd0", "stats": {"wr_operations": operations, "unmap_operations": 0}}]

    def there(operations: Iterable[Raw]) -> Capture:
        disk = (node("n0", bitmaps=[bitmap("b0", count=2 * GRANULE)]), drive("d0", "n0", "vd0"))
        replies = {"query-blockstats": operations}
        return source(*disk, run_state="paused", process="another", replies=replies, **COMPLETED)

    disk = (node("n0", bitmaps=[bitmap("b0", count=GRANULE)]), drive("d0", "n0", "vd0"))
    plan = planned(source(*disk), destination(node("n0"), drive("d0", "n0", "vd0")))
    here = source(*disk, run_state="postmigrate", **COMPLETED)
    outcomes = [
        verified(plan, **stored(tmp_path, source=here, destination=there(stats(operations)))).bitmaps[0].outcome
        for operations in (0, 1)
    ]
    assert outcomes == ["failed", "unproven"]


def test_a_node_of_another_size() -> None:
    """A destination that was started again with a disk of another size is told by the size, not by the bits."""
    plan = planned(*before())
    here = seen(after("b0", run_state="postmigrate"), "source", digests={_B0: A})
    larger = source(node("n0", size=32 << 20, bitmaps=["b0"]), run_state="paused", **COMPLETED)
    (one,) = judge(plan, here, seen(larger, "destination", digests={_B0: B})).bitmaps
    assert [(found.what, found.expected, found.found) for found in one.differences] == [
        ("virtual-size", 16 << 20, 32 << 20)
    ]


def test_no_cause_is_read_from_what_finish_has_left() -> None:
    """With the capability off and a map in force the source was cleaned up: neither tells what was set before."""
    plan = planned(*before())
    neutral = {"block-bitmap-mapping": [{"node-name": "n0", "alias": "n0", "bitmaps": [{"name": "b0", "alias": "b0"}]}]}
    lost = seen(after(run_state="paused"), "destination")
    for parameters, words in ((neutral, "cleaned up since"), ({}, "the capability dirty-bitmaps is off")):
        here = seen(after("b0", run_state="postmigrate", parameters=parameters), "source")
        (found,) = judge(plan, here, lost).failures
        assert words in found.message

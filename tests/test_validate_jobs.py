"""Jobs and filters of the source at the switch-over, and whether the migration converges, through the whole planner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.build import MIB, Part, bitmap, codes, destination, drive, guest, job, node, planned, source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bitmapmig.diagnostics import Diagnostic
    from bitmapmig.plans import Plan


def _with(*more: Part, version: tuple[int, int, int] = (7, 2, 22)) -> Plan:
    """The plan for one disk, with more on the source; both sides are of one version."""
    here, there = (node("fmt0", bitmaps=["b0"]), node("idle")), (node("fmt0"), node("idle"))
    return planned(source(*here, *more, version=version), destination(*there, version=version))


_RUNNING: list[tuple[str, tuple[int, int, int], list[str]]] = [
    *(("mirror", version, []) for version in ((5, 2, 0), (7, 2, 0), (8, 0, 0), (10, 0, 0), (11, 1, 0))),
    *(("commit", version, ["BM518"]) for version in ((5, 2, 0), (6, 2, 0), (7, 2, 0), (10, 0, 0), (12, 0, 0))),
    ("backup", (5, 2, 0), []),
    *(("backup", version, ["BM518"]) for version in ((6, 0, 0), (7, 2, 0), (11, 1, 0), (12, 0, 0))),
    *(("stream", version, ["BM518"]) for version in ((5, 2, 0), (6, 0, 0), (7, 1, 0))),
    *(("stream", version, []) for version in ((7, 2, 0), (8, 0, 0), (10, 0, 0), (12, 0, 0))),
    ("create", (7, 2, 0), []),
]


@pytest.mark.parametrize(("kind", "version", "expected"), _RUNNING)
def test_jobs_that_stop_the_switch_over(kind: str, version: tuple[int, int, int], expected: list[str]) -> None:
    """By the measured table; between two measured versions the cautious side is taken, and the plan says so."""
    plan = _with(drive("d", "idle"), job("j0", kind, main="idle"), version=version)
    assert codes(plan.refusals) == expected
    assert plan.assumed_from_version == (() if kind in ("mirror", "create") else (f"{kind}-job-stops-switch-over",))


@pytest.mark.parametrize(
    ("kind", "version", "driver", "expected"),
    [
        ("commit", (7, 2, 0), "mirror_top", []),
        ("backup", (7, 2, 0), "copy-before-write", []),
        ("backup", (11, 1, 0), "copy-before-write", []),
        ("commit", (7, 2, 0), "commit_top", ["BM518"]),
        ("commit", (5, 2, 0), "mirror_top", ["BM518"]),
        ("stream", (5, 2, 0), "copy-on-read", ["BM518"]),
    ],
)
def test_jobs_on_what_no_device_uses(
    kind: str, version: tuple[int, int, int], driver: str, expected: list[str]
) -> None:
    """From 7.2 a backup and an active commit do no harm on a bare node; a commit below an overlay does."""
    above = [node("over", "qcow2", backing="#f")] if driver == "commit_top" else []
    more = (*above, node("#f", driver, file="idle"), job("j0", kind, main="#f"))
    assert codes(_with(*more, version=version).refusals) == expected


def test_a_job_that_has_ended_stops_nothing() -> None:
    """A concluded job holds no node any more."""
    assert _with(drive("d", "idle"), job("j0", "commit", "concluded")).verdict == "planned"


@pytest.mark.parametrize(
    ("driver", "version", "expected"),
    [
        ("copy-before-write", (7, 2, 0), ["BM519"]),
        ("copy-before-write", (6, 2, 0), ["BM519"]),
        ("copy-before-write", (5, 2, 0), []),
        ("copy-on-read", (7, 2, 0), []),
        ("throttle", (7, 2, 0), []),
    ],
)
def test_filters_that_stop_the_switch_over(driver: str, version: tuple[int, int, int], expected: list[str]) -> None:
    """A copy-before-write node without a job does as a backup does, from 7.2."""
    assert codes(_with(node("f0", driver, file="idle"), version=version).refusals) == expected


def test_the_filter_of_a_job_is_told_of_as_the_job() -> None:
    """What a running backup inserted goes with it, so only the job is refused, and may be accepted."""
    more = (node("#cbw", "copy-before-write", file="idle"), drive("d", "#cbw"))
    running = job("j0", "backup", main="#cbw", source="idle")
    assert codes(_with(*more, running).refusals) == ["BM518"]
    assert codes(_with(*more, job("j0", "backup", "concluded")).refusals) == ["BM519"]


@pytest.mark.parametrize("status", ["running", "ready", "paused", "standby", "pending"])
def test_a_mirror_in_any_phase_is_advice(status: str) -> None:
    """BM564 names the bitmaps that a pivot would take away: those on its source, not those on its target."""
    parts = [
        node("#m", "mirror_top", backing="s"),
        node("s", bitmaps=["b0", "b1"]),
        node("t", bitmaps=["b2"]),
        node("u", bitmaps=["b3"]),
        drive("drive0", "#m"),
        job("m0", "mirror", status, main="#m", source="s", target="t"),
    ]
    plan = planned(source(*parts), destination(node("s"), node("t"), node("u")))
    assert plan.verdict == "planned"
    (found,) = [one for one in plan.advice if one.code == "BM564"]
    assert found.facts["bitmaps"] == ["s/b0", "s/b1"]


def test_a_mirror_of_what_has_no_bitmap_is_no_matter() -> None:
    """Without a bitmap on its source a mirror takes nothing away."""
    plan = _with(job("m0", "mirror", main="idle"))
    assert (plan.verdict, codes(plan.advice)) == ("planned", [])


@pytest.mark.parametrize(
    ("size", "parameters", "lacks", "cure"),
    [
        ((1 << 36) - MIB, {}, [], None),
        (1 << 36, {}, [], "avail-switchover-bandwidth"),
        (1 << 36, {}, ["avail-switchover-bandwidth"], "coarser granularity"),
        (1 << 40, {"avail-switchover-bandwidth": 1 << 30}, [], None),
        (1 << 42, {"avail-switchover-bandwidth": 1 << 20}, [], "avail-switchover-bandwidth"),
    ],
)
def test_convergence(size: int, parameters: Mapping[str, Any], lacks: Sequence[str], cure: str | None) -> None:
    """From 64 GiB at 64 KiB granularity on it is doubtful (BM563), unless a switch-over bandwidth lets it through."""
    plan = planned(
        source(node("n", bitmaps=["b0"], size=size), guest("vd0", "n"), parameters=parameters, lacks=lacks),
        destination(node("n", size=size), guest("vd0", "n")),
    )
    assert plan.verdict == "planned"
    found: list[Diagnostic] = [one for one in plan.advice if one.code == "BM563"]
    assert [cure in one.remedy for one in found if cure] == ([True] if cure else [])
    assert [one.facts["pending"] for one in found] == ([size // 65536] if cure else [])


def test_the_pending_figure_sums_over_what_migrates() -> None:
    """Bytes of size over granularity, of each bitmap that migrates, rounded up."""
    size = (1 << 35) + 512
    names = [bitmap("b0"), bitmap("b1", granularity=32768), bitmap("left", granularity=512)]
    plan = planned(
        source(node("n", bitmaps=names, size=size)), destination(node("n", size=size)), {"deny": [{"bitmap": "left"}]}
    )
    assert [one.facts["pending"] for one in plan.advice] == [(1 << 19) + 1 + (1 << 20) + 1]

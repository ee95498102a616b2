"""The stories of `fixtures/scenarios` are what real QEMUs do: each is gone through on every QEMU that it is about."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from bitmapmig import codes
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.enacting.live import live
from bitmapmig.enacting.stage import Stage
from bitmapmig.report.checked import checked_lines
from bitmapmig.scenarios.checked import Run
from bitmapmig.scenarios.read import Scenario, parse, read
from bitmapmig.throwaway import Binary, private_folder
from tests.live.qemu import Binary as Found
from tests.live.qemu import binaries


def _release(binary: Found) -> str:
    """The version as a scenario says it."""
    return f"{binary.release[0]}.{binary.release[1]}"


FIXTURES = Path(__file__).parents[2] / "fixtures" / "scenarios"
_STORIES = [(path.name.split(".")[0], read(path)) for path in sorted(FIXTURES.glob("*.bitmapmig.yaml"))]
_ON = [
    pytest.param(scenario, binary, id=f"{name}-{binary.version}")
    for name, scenario in _STORIES
    for binary in binaries()
    if _release(binary) in scenario.worlds
]
_START = """\
version: 1
title: a
qemu: {release!r}
start:
  nodes:
    fmt0: {{driver: qcow2, size: 1G, bitmaps: {{daily: {{dirty: 640K}}, weekly: {{persistent: true, dirty: 64K}}}}}}
    t1: {{driver: qcow2, size: 1G}}
  guest-devices: {{virtio-disk0: fmt0}}
"""


def _told(scenario: Scenario, binary: Found) -> Run:
    """The scenario on throw-away QEMUs of a binary whose version it is about."""
    run = asyncio.run(live(scenario, Binary.of(binary.path)))
    assert run is not None
    return run


def _done(rest: str, binary: Found) -> Run:
    """The same of a start with two qcow2 nodes, and the rest of a scenario."""
    text = _START.format(release=_release(binary)) + rest
    return _told(parse(text.encode(), "a.yaml", "yaml", Path()), binary)


def _amiss(run: Run) -> list[tuple[str, str, str | None]]:
    """What is not passed: its key, how it came out, and the code."""
    return [
        (one.expectation.key, one.verdict, one.problem.code if one.problem else None)
        for one in run.judged
        if one.verdict != "passed"
    ]


@pytest.mark.parametrize(("scenario", "binary"), _ON)
def test_a_story_is_what_a_real_qemu_does(scenario: Scenario, binary: Found) -> None:
    """It is gone through to its end: each graph is as simulated, and each expectation holds of what is captured."""
    run = _told(scenario, binary)
    problems = [one.problem.message for one in run.judged if one.problem]
    assert (_amiss(run), problems) == ([], [])


def test_each_story_is_told() -> None:
    """Each has a title of its own, and a description that says more."""
    titles = [scenario.document.title for _, scenario in _STORIES]
    assert len(set(titles)) == len(titles)
    assert [name for name, scenario in _STORIES if len(scenario.document.description or "") < len(name)] == []


@pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)
def test_what_qemu_refuses_against_the_simulation_is_told(binary: Found) -> None:
    """Buses are not simulated: without a SCSI controller QEMU refuses a SCSI disk, and what follows is not reached."""
    steps = "steps:\n- device_add: {driver: scsi-hd, id: s0, drive: t1}\n  expect: {guest-devices: {s0: t1}}\n"
    assert _amiss(_done(steps, binary)) == [
        ("steps.0.device_add", "not-reached", None),
        ("steps.0.expect.guest-devices.s0", "not-reached", None),
        ("steps.0.device_add", "failed", codes.REALITY_DIFFERS.code),
    ]


#: Jobs over an overlay that a step has put there: it is empty, so a real one is ready at once.
_AT_ONCE = {
    "commit": "block-commit: {job-id: j0, device: over}",
    "mirror": "blockdev-mirror: {job-id: j0, device: over, target: t1, sync: top}",
}


@pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)
@pytest.mark.parametrize("job", _AT_ONCE)
def test_job_that_is_ready_at_once_waits_for_its_event(binary: Found, job: str) -> None:
    """It is running until the scenario says that it is ready, and then it is: also a second one of that name."""
    steps = f"""\
steps:
- blockdev-snapshot-sync: {{node-name: fmt0, snapshot-file: over.qcow2, snapshot-node-name: over}}
- {_AT_ONCE[job]}
  expect: {{jobs: {{j0: running}}}}
- BLOCK_JOB_READY: {{device: j0}}
  expect: {{jobs: {{j0: ready}}}}
- block-job-cancel: {{device: j0}}
- BLOCK_JOB_COMPLETED: {{device: j0}}
  expect: {{jobs: {{j0: absent}}}}
- {_AT_ONCE[job]}
  expect: {{jobs: {{j0: running}}}}
- BLOCK_JOB_READY: {{device: j0}}
- block-job-complete: {{device: j0}}
- BLOCK_JOB_COMPLETED: {{device: j0}}
  expect: {{jobs: {{j0: absent}}}}
"""
    run = _done(steps, binary)
    assert (_amiss(run), [one.problem.message for one in run.judged if one.problem]) == ([], [])


#: Jobs that have nothing to copy, and so may end at once.
_ENDS_AT_ONCE = {
    "commit": "block-commit: {job-id: j0, device: over1, top-node: over0, base-node: fmt0}",
    "stream": "block-stream: {job-id: j0, device: over1, base-node: fmt0}",
}
_OVERLAYS = """\
- blockdev-snapshot-sync: {node-name: fmt0, snapshot-file: over0.qcow2, snapshot-node-name: over0}
- blockdev-snapshot-sync: {node-name: over0, snapshot-file: over1.qcow2, snapshot-node-name: over1}
"""


@pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)
@pytest.mark.parametrize("job", _ENDS_AT_ONCE)
def test_job_that_ends_at_once_waits_for_its_event(binary: Found, job: str) -> None:
    """It runs, whatever a real one does, until the scenario says that it has completed, and then all is compared."""
    begun = f"steps:\n{_OVERLAYS}- {_ENDS_AT_ONCE[job]}\n  expect: {{jobs: {{j0: running}}}}\n"
    between = "- block-dirty-bitmap-add: {node: t1, name: other}\n"
    ended = "- BLOCK_JOB_COMPLETED: {device: j0}\n  expect: {jobs: {j0: absent}, nodes: {over0: absent}}\n"
    run = _done(begun + between + ended, binary)
    assert (_amiss(run), [one.problem.message for one in run.judged if one.problem]) == ([], [])


@pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)
def test_what_reaches_outside_is_not_enacted(binary: Found) -> None:
    """A step that would open what is no file of a throw-away QEMU is not taken, and the scenario says so."""
    steps = "steps:\n- blockdev-add: {driver: host_device, node-name: h0, filename: /dev/null}\n"
    assert _amiss(_done(steps, binary)) == [
        ("steps.0.blockdev-add", "not-reached", None),
        ("steps.0.blockdev-add", "failed", codes.NOT_ENACTED.code),
    ]


@pytest.mark.parametrize("binary", binaries()[:1], ids=lambda binary: binary.version)
def test_a_start_that_cannot_be_built(binary: Found) -> None:
    """A scenario that real QEMUs cannot even begin is told as such, and reported without a graph."""
    text = _START.format(release=_release(binary)).replace("size: 1G, bitmaps", "size: 4P, bitmaps")
    run = _told(parse((text + "expect: {no-bitmap-lost: true}\n").encode(), "a.yaml", "yaml", Path()), binary)
    assert _amiss(run) == [
        ("expect.no-bitmap-lost", "not-reached", None),
        ("start", "failed", codes.NOT_ENACTED.code),
    ]
    assert any("BM275" in line.plain for line in checked_lines([[run]], (), 80))


@pytest.mark.parametrize("binary", binaries()[:1], ids=lambda binary: binary.version)
def test_a_qemu_that_is_killed_between_two_steps(binary: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of one QEMU ends one scenario, whoever asks it next, and not the whole check."""
    whole = Stage.do

    async def killed(stage: Stage, *step: Any) -> None:
        await whole(stage, *step)
        os.kill(stage.qemu.pid, signal.SIGKILL)

    monkeypatch.setattr(Stage, "do", killed)
    run = _done("steps:\n- block-dirty-bitmap-add: {node: fmt0, name: new}\n", binary)
    (problem,) = [one.problem for one in run.judged if one.problem]
    assert problem.code == codes.NOT_ENACTED.code
    assert "has ended" in problem.message


def test_nowhere_to_put_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder for its files no QEMU is started, and the reason is told."""
    monkeypatch.setattr("tempfile.tempdir", "/proc/gone")
    with pytest.raises(CannotRunError, match="No such file or directory"), private_folder():
        pass

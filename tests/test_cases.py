"""Every recorded case through the planner: dropping a folder into fixtures/ adds a test."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bitmapmig.captures import load
from bitmapmig.planner import plan
from bitmapmig.plans import Plan, Refused, dump
from bitmapmig.policy import Policy
from bitmapmig.policy.model import merged
from bitmapmig.policy.read import read

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
CASES = sorted(path.parent for path in FIXTURES.glob("*/expected.json"))


def answer(case: Path, policy: Policy | None = None) -> Plan:
    """The plan of a case, refused or not; with its own policy unless another is given."""
    captures = [load((case / f"{side}.json").read_bytes(), side) for side in ("source", "destination")]
    own = read(case / "policy.yaml") if (case / "policy.yaml").exists() else Policy()
    options: dict[str, Any] = json.loads((case / "how.json").read_text())["options"]
    rules = options.pop("resolve", None)
    wanted = policy or own
    if rules:
        wanted = wanted.model_copy(update={"resolve": rules})
    try:
        return plan(captures[0], captures[1], wanted, **options)
    except Refused as refused:
        return refused.plan


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Path) -> None:
    """A recorded pair gives the plan, or the codes, that are recorded with it."""
    made = json.loads(dump(answer(case)))
    found = {
        "verdict": made["verdict"],
        "refusals": sorted({one["code"] for one in made["refusals"]}),
        "advice": sorted({one["code"] for one in made["advice"]}),
        "block_bitmap_mapping": made["block_bitmap_mapping"],
    }
    assert found == json.loads((case / "expected.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_replay_is_byte_stable(case: Path) -> None:
    """The same captures give the same bytes, every time."""
    assert dump(answer(case)) == dump(answer(case))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_fragments_cure(case: Path) -> None:
    """Applying a fragment of each refusal gives a plan, but for refusals whose cure is no policy."""
    refused = answer(case)
    left = {one.code for one in refused.refusals if not one.fragments}
    own = read(case / "policy.yaml") if (case / "policy.yaml").exists() else Policy()
    document: dict[str, Any] = own.model_dump(by_alias=True)
    choices = [[json.dumps(fragment) for fragment in one.fragments] for one in refused.refusals if one.fragments]
    for chosen in product(*choices) if len(choices) == 1 else [[fragments[0] for fragments in choices]]:
        cured = document
        for fragment in dict.fromkeys(chosen):
            cured = merged(cured, json.loads(fragment))
        assert {one.code for one in answer(case, Policy.parse(cured)).refusals} <= left


def test_enough_cases() -> None:
    """The cases that the project promises are there: at least 25, and a pair of a thousand nodes."""
    assert len(CASES) >= 25
    assert any(len(answer(case).bitmaps) == 1000 for case in CASES if "thousand" in case.name)

"""Findings as people read them, and the policy fragments that cure several at once."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from bitmapmig import codes
from bitmapmig.diagnostics import Where
from bitmapmig.report import Limits, findings
from bitmapmig.report.findings import merged
from tests.printed import text


def test_place_in_a_file() -> None:
    """A finding in a file names file, line and key."""
    found = codes.POLICY_INVALID.at(Where(file="policy.yaml", line=12, key="map.3"), reason="`x` is wrong")
    assert "  policy.yaml:12 map.3: `x` is wrong" in text(findings([found], 80))


def test_place_is_not_said_twice() -> None:
    """A file that the message names is not named before it as well."""
    where = Where(side="source", file="a.json")
    found = codes.CAPTURE_UNREADABLE.at(where, path="a.json", reason="there is no such file")
    assert "\n  source: the capture 'a.json' cannot be read" in text(findings([found], 80))


@pytest.mark.parametrize(
    ("fragments", "whole"),
    [
        ([{"map": [1]}, {"map": [2]}], {"map": [1, 2]}),
        ([{"map": [1]}, {"map": [1]}], {"map": [1]}),
        ([{"storage": "shared"}, {"storage": "shared"}], {"storage": "shared"}),
        ([{"storage": "shared"}, {"storage": "separate"}], None),
        (
            [{"storage": {"disks": {"a": "x"}}}, {"storage": {"disks": {"b": "y"}}}],
            {"storage": {"disks": {"a": "x", "b": "y"}}},
        ),
        ([{"storage": {"disks": {"a": "x"}}}, {"storage": {"disks": {"a": "y"}}}], None),
        ([{"accept": ["BM512"]}, {"map": [1]}], {"accept": ["BM512"], "map": [1]}),
    ],
)
def test_fragments_of_several_findings(fragments: list[dict[str, Any]], whole: dict[str, Any] | None) -> None:
    """Fragments become one that says what all say, or none where they contradict each other."""
    assert merged(fragments) == whole


def test_fragments_stay_as_they_are() -> None:
    """Putting fragments together changes none of them."""
    fragments: list[dict[str, Any]] = [{"map": [1]}, {"map": [2]}]
    merged(fragments)
    assert fragments == [{"map": [1]}, {"map": [2]}]


def test_every_alternative_of_one_finding() -> None:
    """The alternatives of a single finding are all shown, and are YAML."""
    found = codes.SIZES_DIFFER.at(
        Where(side="source", node="n0"),
        node="n0",
        destination_node="n0",
        source=1,
        destination=2,
        fragments=[{"map": [{"source": "n0", "destination": other}]} for other in ("a", "b", None)],
    )
    said = text(findings([found], 80))
    blocks = said[said.index("policy") + 6 : said.index("  more")].split("  or  ")
    assert [yaml.safe_load(f"          {block.strip()}")["map"][0]["destination"] for block in blocks] == [
        "a",
        "b",
        None,
    ]


def test_acceptable_refusal_offers_it() -> None:
    """A refusal that a policy may accept says how, unless it is accepted already."""
    found = codes.DESTINATION_NOT_WAITING.at(Where(side="destination"), reason="its run state is 'running'")
    assert "\n  or      accept: [BM512] in the policy" in text(findings([found], 80))
    assert "accept" not in text(findings([found], 80, offer=False))


def test_remedies_of_one_cause_apart() -> None:
    """Where findings of one cause have different remedies, each stands below its findings."""
    where = Where(side="source")
    cures = ("use a coarser granularity", "set avail-switchover-bandwidth")
    found = [codes.CONVERGENCE_DOUBTFUL.at(where, pending=number, cure=cure) for number, cure in enumerate(cures)]
    said = text(findings(found, 80))
    first, second = said.index(cures[0]), said.index(cures[1])
    assert said.index("source: 0 bytes") < first < said.index("source: 1 bytes") < second
    assert text(findings(found * 20, 80, Limits(findings=3))).count("source: ") == 3


def test_long_messages_are_cut() -> None:
    """A message that lists thousands of names is cut, and what is left out is counted."""
    found = codes.NODES_MERGE.at(Where(side="source"), nodes=[f"n{number}" for number in range(5000)], destination="n")
    said = " ".join(text(findings([found], 80, Limits())).split())
    assert "'n4999'" not in said
    assert re.search(r"\.\.\. and 4\d,\d{3} characters more", said)
    assert "'n4999'" in text(findings([found], 80))

"""The plan document: what it says of bitmaps and ends, its order and its bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from bitmapmig.diagnostics import order
from bitmapmig.plans import dump, load
from tests.build import MIB, Error, Part, bitmap, codes, destination, node, planned, source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bitmapmig.plans import Plan


def _plan(here: Sequence[Part], there: Sequence[Part], policy: Mapping[str, Any] | None = None, **more: Any) -> Plan:
    plan = planned(source(*here), destination(*there, **more), policy)
    assert codes(plan.refusals) == []
    return plan


def _rename(name: str, **target: Any) -> dict[str, Any]:
    return {"map": [{"source": {"node-name": "n", "bitmap": "b0"}, "destination": {"node-name": name, **target}}]}


_N = [node("n", "qcow2", ["b0"])]


def test_a_refused_plan_has_the_shape_of_a_plan() -> None:
    """The same members; no map, no commands, nothing left set, and what would become of each bitmap."""
    here = [node("n", bitmaps=["b0"]), node("m", bitmaps=["b1"]), node("o", bitmaps=["b2"])]
    there = [node("n"), node("m", size=MIB)]
    plan = planned(source(*here), destination(*there), {"deny": [{"bitmap": "b2"}]})
    document, like = json.loads(dump(plan)), json.loads(dump(_plan(_N, [node("n")])))
    assert document.keys() == like.keys()
    assert document["bitmaps"][0].keys() == like["bitmaps"][0].keys()
    assert (plan.verdict, plan.guarantee) == ("refused", False)
    assert (document["commands"], document["residue"]) == ({"source": [], "destination": []}, [])
    assert document["block_bitmap_mapping"] == {"source": None, "destination": None}
    assert [(one.node, one.fate) for one in plan.bitmaps] == [("m", "refused"), ("n", "migrate"), ("o", "left-behind")]
    assert not any(one.node_alias or one.bitmap_alias for one in plan.bitmaps)


def test_a_planned_bitmap_says_where_what_and_why() -> None:
    """Location, address and rule, fate and entry, destination, aliases, transform, sizes and flags."""
    here = [node("n", "qcow2", [bitmap("b0", "disabled", granularity=512, count=1024)])]
    (one,) = _plan(here, [node("n", "qcow2")], _rename("n", bitmap="c0", persistent=True)).bitmaps
    assert one.model_dump() == {
        "node": "n",
        "bitmap": "b0",
        "address": "n",
        "address_kind": "node-name",
        "rule": "explicit node-name",
        "fate": "migrate",
        "by": "map.0",
        "destination_node": "n",
        "destination_bitmap": "c0",
        "node_alias": "n",
        "bitmap_alias": "c0",
        "transform": {"persistent": True},
        "granularity": 512,
        "virtual_size": 16 * MIB,
        "dirty_bytes": 1024,
        "recording": False,
        "busy": False,
        "persistent": False,
        "inconsistent": False,
    }


def test_findings_are_sorted() -> None:
    """Refusals of all stages stand in one order: by code, then by place."""
    here = [*_N, node("a", bitmaps=["b1"])]
    lacking = {"lacks": ["block-bitmap-mapping"], "run_state": "postmigrate"}
    plan = planned(source(*here, **lacking), destination(node("n"), node("a", size=MIB)))
    assert codes(plan.refusals) == ["BM511", "BM521", "BM541"]
    assert list(plan.refusals) == sorted(plan.refusals, key=order)


def test_the_document_can_be_read_again() -> None:
    """`load` gives back what `dump` wrote, whatever is in the names, in ASCII; what is no plan is refused."""
    odd = "\u00e4\U0001f4be\u202e[bold]\x1b[31m\n\"'"
    plan = _plan([node("n", bitmaps=[odd])], [node("n")])
    raw = dump(plan)
    assert (load(raw), raw.isascii(), raw[-1:]) == (plan, True, b"\n")
    assert plan.bitmaps[0].bitmap == odd
    for broken in (b"{}", b"[]", raw.replace(b'"verdict"', b'"invented"'), raw.replace(b"planned", b"perhaps")):
        with pytest.raises(ValidationError):
            load(broken)


def test_the_identities_of_both_ends() -> None:
    """Endpoint, uuid and name where there is one, version and machine type, and the fingerprint of the graph."""
    there = destination(node("n"), machine=None, replies={"query-name": Error(), "query-uuid": {"UUID": "1-2"}})
    plan = planned(source(*_N), there)
    shown = [
        (one.endpoint, one.uuid, one.name, one.qemu_version, one.machine_type)
        for one in (plan.source, plan.destination)
    ]
    assert shown == [
        ("unix:source.qmp", None, "vm", "7.2.22", "pc-q35-7.2"),
        ("unix:destination.qmp", "1-2", None, "7.2.22", None),
    ]
    assert plan.source.fingerprint != plan.destination.fingerprint

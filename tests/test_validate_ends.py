"""Whether two processes can migrate at all: each finding and its near miss, through the whole planner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from bitmapmig import codes as table
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.planner import plan
from bitmapmig.plans import Plan, Refused
from bitmapmig.policy import Policy
from tests.build import (
    MIB,
    Error,
    Part,
    bitmap,
    codes,
    destination,
    drive,
    export,
    guest,
    node,
    planned,
    source,
)
from tests.build_schema import schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_DISK = (node("fmt0", bitmaps=["b0"]), node("idle"))
_THERE = (node("fmt0"), node("idle"), node("image", "qcow2"))
_LISTED = [{"node-name": "fmt0", "alias": "a", "bitmaps": [{"name": "b0", "alias": "b"}]}]


def _ends(
    here: Mapping[str, Any] | None = None,
    there: Mapping[str, Any] | None = None,
    policy: Mapping[str, Any] | None = None,
    *more: Part,
    **options: bool,
) -> Plan:
    """The plan for one disk with what is said of the source, the destination, the policy and the source's parts."""
    return planned(source(*_DISK, *more, **(here or {})), destination(*_THERE, **(there or {})), policy, **options)


@dataclass(frozen=True)
class _Case:
    """What is found between a source and a destination that differ from the usual in what is said here."""

    code: str
    claim: str
    found: bool = True
    here: Mapping[str, Any] = field(default_factory=dict)
    there: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    more: Sequence[Part] = ()
    more_there: Sequence[Part] = ()


def _no(code: str, claim: str, **rest: Any) -> _Case:
    return _Case(code, claim, found=False, **rest)


_DOWN = {"version": (10, 0, 0), "machine": "pc"}
_TCP = {"process": None}
_LEFT = {"map": [{"source": "fmt0", "destination": None}]}
_MAPPED = {"parameters": {"block-bitmap-mapping": _LISTED}}
_PERSISTENT = {"map": [{"source": "fmt0", "destination": {"node-name": "image", "persistent": True}}]}
_VIRTIO, _SCSI = guest("vda", "fmt0"), drive("", "fmt0", "vda")
_ANON = drive("", "fmt0", "/machine/peripheral-anon/device[0]/virtio-backend")


def _monitors(*names: str) -> dict[str, Any]:
    shown = [{"label": name, "filename": f"tcp:127.0.0.1:{name}", "frontend-open": True} for name in names]
    return {"process": None, "replies": {"query-chardev": shown}}


def _uuid(digit: str, *capabilities: str) -> dict[str, Any]:
    uuid = "00000000-0000-0000-0000-00000000000" + digit
    return {"replies": {"query-uuid": {"UUID": uuid}}, "capabilities": capabilities}


def _other_schema() -> list[dict[str, Any]]:
    """A schema whose `migrate-set-capabilities` takes no `state`."""
    capability = {"name": "21", "meta-type": "object", "members": [{"name": "capability", "type": "22"}]}
    return [capability if one["name"] == "21" else one for one in schema()]


_CASES = [
    *(
        _Case("BM511", f"the source is in run state {state}", here={"run_state": state})
        for state in ("inmigrate", "postmigrate", "finish-migrate", "save-vm", "restore-vm", "colo")
    ),
    *(
        _no("BM511", f"the source is in run state {state}", here={"run_state": state})
        for state in ("running", "paused", "prelaunch", "shutdown", "io-error", "suspended", "watchdog")
    ),
    *(
        _Case("BM511", f"the source's migration is {status}", here={"migration": {"status": status}})
        for status in ("setup", "active", "pre-switchover", "device", "cancelling", "postcopy-active", "wait-unplug")
    ),
    *(
        _no("BM511", f"the source's last migration is {status}", here={"migration": {"status": status}})
        for status in ("none", "completed", "failed", "cancelled")
    ),
    _Case("BM512", "the destination runs", there={"run_state": "running"}),
    _Case("BM512", "the destination is paused", there={"run_state": "paused"}),
    _Case("BM512", "the destination is receiving already", there={"migration": {"status": "active"}}),
    _Case("BM512", "the destination has received", there={"migration": {"status": "completed"}}),
    _Case("BM512", "the destination has failed to receive", there={"migration": {"status": "failed"}}),
    _no("BM512", "the destination waits", there={"migration": {"status": "none"}}),
    _no("BM512", "the destination listens", there={"migration": {"status": "setup"}}),
    _Case("BM513", "one process answers on both sockets", here={"process": "x"}, there={"process": "x"}),
    _Case("BM513", "both have one list of monitors", here=_monitors("4444", "4445"), there=_monitors("4444", "4445")),
    _no("BM513", "lists are equal and processes are not", there={**_monitors("1"), "process": "y"},
        here={**_monitors("1"), "process": "x"}),
    _no("BM513", "the lists differ", here=_monitors("4444"), there=_monitors("4445")),
    _no("BM513", "threads differ", here={**_monitors("1"), "threads": [7]}, there={**_monitors("1"), "threads": [8]}),
    _no("BM513", "nothing is told", here={**_TCP, "replies": {"query-chardev": Error(), "query-cpus-fast": Error()}},
        there={**_TCP, "replies": {"query-chardev": Error(), "query-cpus-fast": Error()}}),
    _Case("BM514", "something blocks", here={"migration": {"blocked": True, "blocked-reasons": ["vfio"]}}),
    _Case("BM514", "something blocks and 5.2 does not say what", here={"migration": {"blocked": True}}),
    _no("BM514", "nothing blocks", here={"migration": {"blocked": False}}),
    _no("BM514", "the destination is blocked", there={"migration": {"blocked": True, "blocked-reasons": ["vfio"]}}),
    _Case("BM515", "10.0 to 7.2 without versions", here=_DOWN, there={"machine": "pc"}),
    _Case("BM515", "11.1 to 5.2 without versions", here={**_DOWN, "version": (11, 1, 3)},
          there={"machine": "pc", "version": (5, 2, 0)}),
    _Case("BM515", "8.2 to 7.2, which was not measured", here={**_DOWN, "version": (8, 2, 0)}, there={"machine": "pc"}),
    _Case("BM515", "10.0 to 9.2, which was not measured", here=_DOWN, there={"machine": "pc", "version": (9, 2, 0)}),
    _no("BM515", "10.0 to 7.2 with one versioned machine type", here={"version": (10, 0, 0)}),
    _no("BM515", "7.2 to 5.2", here={"machine": "pc"}, there={"machine": "pc", "version": (5, 2, 0)}),
    _no("BM515", "11.1 to 10.0", here={**_DOWN, "version": (11, 1, 0)}, there=_DOWN),
    _no("BM515", "upwards", here={"machine": "pc", "version": (5, 2, 0)}, there={**_DOWN, "version": (11, 1, 3)}),
    _no("BM515", "another micro version", here=_DOWN, there={**_DOWN, "version": (10, 0, 13)}),
    _Case("BM516", "downwards, and the source does not tell", here={**_DOWN, "machine": None}),
    _Case("BM516", "downwards, and the destination does not tell", here=_DOWN, there={"machine": None}),
    _no("BM516", "upwards nobody needs to tell", here={"machine": None}, there={"machine": None}),
    _Case("BM517", "two machine types", there={"machine": "pc-i440fx-7.2"}),
    _Case("BM517", "two versions of one", there={"machine": "pc-q35-7.1"}),
    _no("BM517", "one of them is unknown", there={"machine": None}),
    _Case("BM520", "the source is too old", here={"lacks": ["dirty-bitmaps"]}),
    _Case("BM520", "the destination is too old", there={"lacks": ["dirty-bitmaps"]}),
    _Case("BM521", "the source knows no mapping", here={"lacks": ["block-bitmap-mapping"]}),
    _Case("BM521", "the destination knows none and needs one", there={"lacks": ["block-bitmap-mapping"], **_MAPPED}),
    _no("BM521", "the destination knows none and needs none", there={"lacks": ["block-bitmap-mapping"]}),
    _no("BM521", "nothing migrates", here={"lacks": ["block-bitmap-mapping"]}, policy=_LEFT),
    _Case("BM522", "persistence changes and 5.2 cannot", here={"lacks": ["transform"]}, policy=_PERSISTENT),
    _no("BM522", "persistence stays", here={"lacks": ["transform"]}),
    _no("BM522", "the source can", there={"lacks": ["transform"]}, policy=_PERSISTENT),
    _Case("BM523", "background-snapshot is on", here={"capabilities": ["background-snapshot"]}),
    _no("BM523", "it is on at the destination", there={"capabilities": ["background-snapshot"]}),
    _no("BM523", "others are on", here={"capabilities": ["postcopy-ram", "events"]}),
    _Case("BM524", "clients of an export write", more=[export("e0", "fmt0", writable=True)]),
    _Case("BM524", "clients of an export may write, for all that is shown", here={"shows": "children"},
          more=[export("e0", "idle")]),
    _no("BM524", "clients of an export only read", more=[export("e0", "fmt0")]),
    _Case("BM525", "another VM, and the source is to check", here=_uuid("1", "validate-uuid"), there=_uuid("2")),
    _no("BM525", "another VM, and nobody checks", here=_uuid("1"), there=_uuid("2", "validate-uuid")),
    _no("BM525", "the same VM", here=_uuid("1", "validate-uuid"), there=_uuid("1")),
    _no("BM525", "a destination without uuid, of which QEMU only warns", here=_uuid("1", "validate-uuid")),
    _Case("BM527", "the destination has none", more=[_VIRTIO]),
    _Case("BM527", "the destination has one of two", more=[_VIRTIO, guest("vdb", "idle")], more_there=[_VIRTIO]),
    _Case("BM527", "the device has no id", more=[_ANON]),
    _Case("BM527", "a SCSI device of the id is another device", more=[_VIRTIO], more_there=[_SCSI]),
    _no("BM527", "as many", more=[_VIRTIO], more_there=[_VIRTIO]),
    _no("BM527", "as many under another id, maybe at the same place", more=[_VIRTIO], more_there=[guest("b", "fmt0")]),
    _no("BM527", "as many without an id, maybe at the same place", more=[_VIRTIO], more_there=[_ANON]),
    _no("BM527", "more than the source has", more=[_VIRTIO], more_there=[_VIRTIO, guest("vdb", "idle")]),
    _no("BM527", "it may be an IDE disk, which is not missed", more=[_SCSI]),
    _no("BM527", "without an id either", more=[drive("d", "fmt0", "/machine/peripheral-anon/device[0]")]),
    _no("BM527", "one device of which QEMU speaks twice", more=[_VIRTIO, drive("d", None, _VIRTIO.qdev)],
        more_there=[_VIRTIO]),
    _Case("BM561", "a mapping is in force on the source", here=_MAPPED),
    _Case("BM561", "a mapping is in force on the destination", there=_MAPPED),
    _Case("BM561", "an empty mapping is one too", here={"parameters": {"block-bitmap-mapping": []}}),
    _no("BM561", "no mapping is in force"),
    _Case("BM562", "the capability is on at the source", here={"capabilities": ["dirty-bitmaps"]}),
    _Case("BM562", "the capability is on at the destination", there={"capabilities": ["dirty-bitmaps"]}),
    _no("BM562", "the capability is off"),
    _Case("BM601", "the schema spells it otherwise", here={"replies": {"query-qmp-schema": _other_schema()}}),
    _no("BM601", "the schema allows it"),
    _Case("BM602", "the source does not tell its schema", here={"replies": {"query-qmp-schema": Error()}}),
    _Case("BM602", "the destination does not tell its schema", there={"replies": {"query-qmp-schema": []}}),
]  # fmt: skip


@pytest.mark.parametrize(
    "case", _CASES, ids=[f"{one.code} {'yes' if one.found else 'no'} {one.claim}" for one in _CASES]
)
def test_what_is_found_between_two_processes(case: _Case) -> None:
    """Each row is found, as its severity and alone of its severity; a near miss is a plan without it."""
    here, there = source(*_DISK, *case.more, **case.here), destination(*_THERE, *case.more_there, **case.there)
    plan = planned(here, there, case.policy)
    found = plan.advice if table.BY_CODE[case.code].severity == "advice" else plan.refusals
    assert codes(found) == ([case.code] if case.found else [])
    assert (plan.verdict == "refused") == bool(plan.refusals)


@pytest.mark.parametrize("code", table.ACCEPTABLE)
def test_what_can_be_accepted_is_what_may_change_before_migrate(code: str) -> None:
    """A running job or export, the destination not waiting, storage and machine type unknown: and nothing else."""
    assert code in {"BM512", "BM516", "BM518", "BM524", "BM546"}


def test_an_accepted_finding_takes_the_guarantee_away() -> None:
    """The plan goes on, lists what was accepted, and guarantees nothing; what is not there is not accepted."""
    waiting, accept = {"run_state": "running"}, {"accept": ["BM512", "BM518"]}
    plan = _ends(None, waiting, accept)
    assert (plan.verdict, plan.guarantee, codes(plan.accepted)) == ("planned", False, ["BM512"])
    plan = _ends(None, None, accept)
    assert (plan.verdict, plan.guarantee, codes(plan.accepted)) == ("planned", True, [])
    plan = _ends({"run_state": "postmigrate"}, waiting, accept)
    assert (plan.verdict, codes(plan.refusals), codes(plan.accepted)) == ("refused", ["BM511"], ["BM512"])


def test_nothing_else_can_be_accepted() -> None:
    """Neither a document nor Python may accept another code, and a policy that was forced to does not help."""
    others = sorted(table.BY_CODE.keys() - set(table.ACCEPTABLE))
    for code in others:
        with pytest.raises(CannotRunError, match="BM406"):
            Policy.parse({"version": 1, "accept": [code]})
        with pytest.raises(ValidationError):
            Policy(accept=(code,))
    forced = Policy().model_copy(update={"accept": tuple(others)})
    with pytest.raises(Refused) as caught:
        plan(source(*_DISK), destination(node("fmt0", size=MIB)), forced)
    assert codes(caught.value.plan.refusals) == ["BM541"]


def test_a_destination_that_does_not_exist_yet() -> None:
    """With `provisional` nothing is asked of its waiting, and the plan says that it is provisional."""
    plan = _ends(None, {"run_state": "running"}, None, provisional=True)
    assert (plan.verdict, plan.provisional, plan.guarantee) == ("planned", True, True)


def test_a_destination_of_its_like_has_the_devices() -> None:
    """With `provisional` it is held against the destination that it lacks a guest device, which is named."""
    here = source(*_DISK, guest("vda", "fmt0"), guest("vdb", "idle"))
    plan = planned(here, destination(*_THERE, guest("vda", "fmt0")), None, provisional=True)
    assert [one.facts for one in plan.refusals] == [{"source": 2, "destination": 1, "lacking": ["vdb"]}]


def test_strict_makes_advice_refuse() -> None:
    """With `strict` every advice is a refusal."""
    plan = _ends({"capabilities": ["dirty-bitmaps"]}, None, None, strict=True)
    assert (plan.verdict, codes(plan.refusals), plan.advice) == ("refused", ["BM562"], ())
    assert {one.severity for one in plan.refusals} == {"refusal"}


def test_a_vm_without_named_bitmaps_is_planned() -> None:
    """There is nothing to do, so nothing can stand in its way, and nothing is sent."""
    plan = planned(
        source(node("n", bitmaps=[bitmap(None)]), run_state="postmigrate", capabilities=["dirty-bitmaps"]),
        destination(run_state="running", machine="other"),
    )
    assert (plan.verdict, plan.bitmaps, codes(plan.advice), plan.residue) == ("planned", (), ["BM528"], ())
    assert (plan.commands.source, plan.commands.destination) == ((), ())
    assert (plan.block_bitmap_mapping.source, plan.block_bitmap_mapping.destination) == (None, None)


@pytest.mark.parametrize(
    ("here", "there", "explained_by"),
    [
        ({}, {}, None),
        ({"parts": [export("e", "n", writable=True)]}, {}, "BM524"),
        ({}, {"run_state": "running"}, "BM512"),
        ({"machine": "a"}, {"machine": "b"}, "BM517"),
    ],
)
def test_without_bitmaps_a_migration_that_fails_is_advice(
    here: Mapping[str, Any], there: Mapping[str, Any], explained_by: str | None
) -> None:
    """Nothing can be lost, so it is planned; BM528 says that the VM does not migrate, and which code explains it."""
    parts = [node("n"), drive("d", "n"), *here.get("parts", [])]
    ends = (
        source(*parts, **{key: value for key, value in here.items() if key != "parts"}),
        destination(node("n"), drive("d", "n"), **there),
    )
    made = planned(*ends)
    assert made.verdict == "planned"
    assert [(one.code, one.facts["explained_by"]) for one in made.advice] == (
        [("BM528", explained_by)] if explained_by else []
    )
    if "run_state" in there:
        assert planned(*ends, provisional=True).advice == ()

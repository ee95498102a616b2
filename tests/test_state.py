"""What is read of a QEMU besides its block graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig import state
from bitmapmig.diagnostics import CannotRunError
from tests.build import ABSENT, Error, source

if TYPE_CHECKING:
    from collections.abc import Mapping

_LISTED = [
    {"node-name": "n", "alias": "a", "bitmaps": [{"name": "b", "alias": "c", "transform": {"persistent": True}}]}
]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, {"version": (7, 2, 22), "version_text": "7.2.22", "run_state": "running", "name": "vm", "uuid": None}),
        ({"version": (11, 1, 3)}, {"version": (11, 1, 3), "version_text": "11.1.3"}),
        ({"machine": "pc-q35-7.2"}, {"machine_type": "pc-q35-7.2"}),
        ({"machine": "none"}, {"machine_type": "none"}),
        ({"machine": None}, {"machine_type": None}),
        ({"run_state": "inmigrate"}, {"run_state": "inmigrate"}),
        ({"process": "p"}, {"process": "p", "endpoint": "unix:source.qmp"}),
        ({"threads": [9, 7]}, {"threads": (7, 9)}),
        ({"replies": {"query-name": {}, "query-uuid": {"UUID": "1-2"}}}, {"name": None, "uuid": "1-2"}),
        (
            {"replies": dict.fromkeys(("query-name", "query-uuid", "query-chardev", "query-cpus-fast"), Error())},
            {"name": None, "uuid": None, "monitors": (), "threads": ()},
        ),
        ({"replies": {"query-qmp-schema": ABSENT, "qom-get": ABSENT}}, {"schema": None, "machine_type": None}),
    ],
)
def test_the_state_of_a_process(more: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Each member from its reply; None where QEMU does not tell."""
    found = state.read(source(**more))
    assert {name: getattr(found, name) for name in expected} == expected


def test_migration_capabilities_and_parameters() -> None:
    """What is set already, and what blocks."""
    found = state.read(
        source(
            migration={"status": "failed", "blocked-reasons": ["x"], "blocked": True},
            capabilities=["dirty-bitmaps"],
            parameters={"block-bitmap-mapping": _LISTED, "avail-switchover-bandwidth": 5},
        )
    )
    assert (found.migration.status, found.migration.blocked, found.migration.blocked_reasons) == (
        "failed",
        True,
        ("x",),
    )
    assert (found.capabilities["dirty-bitmaps"], found.capabilities["events"]) == (True, False)
    assert (found.parameters.downtime_limit, found.parameters.avail_switchover_bandwidth) == (300, 5)
    assert [one.node_name for one in found.parameters.block_bitmap_mapping or ()] == ["n"]


def test_no_mapping_and_an_empty_one_are_two_things() -> None:
    """`[]` drops everything: it is not "no mapping"."""
    without, empty = state.read(source()), state.read(source(parameters={"block-bitmap-mapping": []}))
    assert (without.parameters.block_bitmap_mapping, empty.parameters.block_bitmap_mapping) == (None, ())


_NEEDED = ("query-version", "query-status", "query-migrate", "query-migrate-capabilities", "query-migrate-parameters")


@pytest.mark.parametrize("command", _NEEDED)
@pytest.mark.parametrize("reply", [Error("no"), ABSENT])
def test_what_every_decision_needs(command: str, reply: Error) -> None:
    """Without these queries nothing can be decided (BM108)."""
    with pytest.raises(CannotRunError) as caught:
        state.read(source(replies={command: reply}))
    assert [(one.code, one.facts["command"]) for one in caught.value.diagnostics] == [("BM108", command)]


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("query-version", {"qemu": {"major": "7", "minor": 2, "micro": 0}}),
        ("query-version", {"qemu": {"major": 7.2, "minor": 2, "micro": 0}}),
        ("query-status", {}),
        ("query-status", "running"),
        ("query-migrate", []),
        ("query-migrate", {"blocked-reasons": "x"}),
        ("query-migrate-capabilities", [{"capability": "x", "state": "on"}]),
        ("query-migrate-parameters", {"downtime-limit": "5"}),
        ("query-migrate-parameters", {"block-bitmap-mapping": [{"alias": "a"}]}),
        ("query-uuid", {"uuid": "x"}),
        ("query-name", {"name": 5}),
        ("query-chardev", [{}]),
        ("query-cpus-fast", [{"thread-id": "7"}]),
        ("qom-get", ["pc"]),
        ("query-qmp-schema", [{"name": "x", "meta-type": "invented"}]),
        ("query-qmp-schema", {"name": "x"}),
    ],
)
def test_replies_of_other_types(command: str, reply: Any) -> None:
    """Wrong types end the run and say where (BM111)."""
    with pytest.raises(CannotRunError) as caught:
        state.read(source(replies={command: reply}))
    assert [(one.code, command in one.message) for one in caught.value.diagnostics] == [("BM111", True)]

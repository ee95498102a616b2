"""Which messages have the shapes that may be sent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig.allowlist import (
    READING,
    WRITING,
    Message,
    digest,
    merges,
    reads_digest,
    removes_temporary,
    sets_capability,
    sets_mapping,
)
from bitmapmig.captures import QUERIES
from bitmapmig.endpoint import parse
from bitmapmig.monitor import ForbiddenMessageError, connected
from tests.fake_monitor import FakeMonitor

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = {"node-name": "n0", "alias": "a", "bitmaps": [{"name": "b", "alias": "b", "transform": {"persistent": True}}]}


def parameters(**arguments: Any) -> dict[str, Any]:
    """`migrate-set-parameters`, `_` in names standing for `-`."""
    return {
        "execute": "migrate-set-parameters",
        "arguments": {name.replace("_", "-"): value for name, value in arguments.items()},
    }


def capabilities(*listed: tuple[Any, Any]) -> dict[str, Any]:
    """`migrate-set-capabilities`."""
    return {
        "execute": "migrate-set-capabilities",
        "arguments": {"capabilities": [{"capability": name, "state": state} for name, state in listed]},
    }


TEMPORARY = "bitmapmig-tmp-0123456789abcdef"


def transaction(*actions: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """`transaction` of actions about bitmaps."""
    listed = [{"type": f"block-dirty-bitmap-{kind}", "data": data} for kind, data in actions]
    return {"execute": "transaction", "arguments": {"actions": listed}}


def remove(name: Any) -> dict[str, Any]:
    """`block-dirty-bitmap-remove`."""
    return {"execute": "block-dirty-bitmap-remove", "arguments": {"node": "n0", "name": name}}


CLEAR: tuple[str, dict[str, Any]] = ("clear", {"node": "n0", "name": TEMPORARY})
ADD: tuple[str, dict[str, Any]] = ("add", {**CLEAR[1], "granularity": 65536, "persistent": False})
MERGE: tuple[str, dict[str, Any]] = (
    "merge",
    {"node": "n0", "target": TEMPORARY, "bitmaps": [{"node": "n1", "name": "daily"}]},
)

ALLOWED = [
    transaction(ADD, MERGE),
    transaction(CLEAR, MERGE, ADD, MERGE),
    remove(TEMPORARY),
    parameters(block_bitmap_mapping=[ENTRY]),
    parameters(block_bitmap_mapping=[]),
    capabilities(("dirty-bitmaps", True)),
    capabilities(("dirty-bitmaps", False)),
]

FORBIDDEN = [
    transaction(),
    transaction(ADD),
    transaction(MERGE),
    transaction(ADD, MERGE, MERGE),
    transaction(MERGE, ADD),
    transaction(ADD, CLEAR),
    transaction(("remove", CLEAR[1]), MERGE),
    transaction(("add", {**ADD[1], "name": "daily"}), ("merge", {**MERGE[1], "target": "daily"})),
    transaction(ADD, ("merge", {**MERGE[1], "target": "daily"})),
    transaction(("clear", {**CLEAR[1], "name": "daily"}), MERGE),
    transaction(ADD, ("merge", {**MERGE[1], "node": "n1"})),
    transaction(("add", {**ADD[1], "persistent": True}), MERGE),
    transaction(("add", {**ADD[1], "disabled": True}), MERGE),
    transaction(("add", {**ADD[1], "granularity": True}), MERGE),
    transaction(ADD, ("merge", {**MERGE[1], "bitmaps": ["daily"]})),
    transaction(ADD, MERGE, ("quit", {})),
    {**transaction(ADD, MERGE), "control": {}},
    remove("daily"),
    remove(TEMPORARY + "0"),
    remove(TEMPORARY + "\n"),
    remove(1),
    {"execute": "quit"},
    {"execute": "migrate", "arguments": {"uri": "exec:id"}},
    {"execute": "migrate-set-parameters"},
    {"exec-oob": "migrate-set-parameters", "arguments": {"block-bitmap-mapping": []}},
    {**parameters(block_bitmap_mapping=[]), "control": {}},
    parameters(),
    parameters(block_bitmap_mapping=None),
    parameters(block_bitmap_mapping={}),
    parameters(block_bitmap_mapping=[ENTRY], downtime_limit=1),
    parameters(downtime_limit=1),
    parameters(block_bitmap_mapping=[{**ENTRY, "more": 1}]),
    parameters(block_bitmap_mapping=[{**ENTRY, "alias": 1}]),
    parameters(block_bitmap_mapping=[{**ENTRY, "bitmaps": [{"name": "b"}]}]),
    parameters(block_bitmap_mapping=[{**ENTRY, "bitmaps": [{"name": "b", "alias": "b", "transform": {"x": 1}}]}]),
    capabilities(),
    capabilities(("xbzrle", True)),
    capabilities(("dirty-bitmaps", 1)),
    capabilities(("dirty-bitmaps", True), ("dirty-bitmaps", True)),
    capabilities(("dirty-bitmaps", True), ("xbzrle", True)),
    {"execute": "x-debug-block-dirty-bitmap-sha256", "arguments": {"node": "n0", "name": "b"}},
]


@pytest.mark.parametrize("message", ALLOWED, ids=str)
def test_writing(message: dict[str, Any]) -> None:
    """What sets map or capability, merges into temporaries or removes them has exactly one of the shapes."""
    assert [callable(shape) and shape(message) for shape in WRITING].count(True) == 1


@pytest.mark.parametrize("message", FORBIDDEN, ids=str)
def test_not_writing(message: dict[str, Any]) -> None:
    """Any other command, argument or type has none of them."""
    assert not sets_mapping(message)
    assert not sets_capability(message)
    assert not merges(message)
    assert not removes_temporary(message)


def test_digest() -> None:
    """A digest is asked for with node and name, both text."""
    assert reads_digest(digest("n0", "b").message)
    for arguments in ({"node": "n0"}, {"node": "n0", "name": 1}, {"node": "n0", "name": "b", "more": 1}):
        assert not reads_digest(Message("x-debug-block-dirty-bitmap-sha256", arguments).message)
    assert not reads_digest(Message("block-dirty-bitmap-remove", {"node": "n0", "name": "b"}).message)


def test_reading_is_what_a_capture_asks() -> None:
    """Reading is the exact queries of a capture, each of which only queries."""
    assert list(READING) == [query.message for query in QUERIES]
    words = ("query-", "x-debug-query-", "qom-get")
    assert all(str(message["execute"]).startswith(words) for message in READING)


def test_shapes_on_the_wire(tmp_path: Path) -> None:
    """A session with shapes sends what has one of them, and nothing else reaches the other side."""
    fake = FakeMonitor({"migrate-set-parameters": {}, "quit": {}})

    async def send(message: dict[str, Any]) -> object:
        async with fake.unix(tmp_path / "fake.qmp") as endpoint, connected(parse(endpoint), WRITING) as monitor:
            (answer,) = await monitor.ask((Message(message["execute"], message.get("arguments", {})),))
        return answer.return_

    assert asyncio.run(send(parameters(block_bitmap_mapping=[]))) == {}
    for message in ({"execute": "quit"}, parameters(block_bitmap_mapping=[], downtime_limit=1)):
        with pytest.raises(ForbiddenMessageError):
            asyncio.run(send(message))
    sent = [one for one in fake.received if one["execute"] != "qmp_capabilities"]
    assert [{key: one[key] for key in one if key != "id"} for one in sent] == [parameters(block_bitmap_mapping=[])]

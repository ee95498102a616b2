"""QEMU itself says whether a map is one: what we emit it takes, and what it refuses we never emit.

One QEMU of each version lives through all examples; `migrate-set-parameters` never looks at the block graph.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from bitmapmig.captures import schema_closure
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.introspect import Schema
from bitmapmig.plans.mapping import ALIAS_LIMIT, well_formed
from bitmapmig.policy import Policy
from bitmapmig.qapi import SchemaInfo
from bitmapmig.validate.bitmaps import BITMAP_NAME_LIMIT, NODE_NAME_LIMIT
from tests.build import Part, destination, drive, guest, node, planned, source
from tests.live.monitor import QmpError
from tests.live.qemu import Qemu, binaries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hypothesis.strategies import DrawFn

    from bitmapmig.plans.document import Command

_MANY = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
_PREFIX = "Invalid mapping given for block-bitmap-mapping: "


@pytest.fixture(scope="module", params=binaries(), ids=lambda binary: binary.version)
def qemu(request: pytest.FixtureRequest) -> Iterator[Qemu]:
    """One process of each version, for all examples."""
    with Qemu(request.param) as started:
        yield started


@pytest.fixture(scope="module")
def schema(qemu: Qemu) -> Schema:
    """What that process tells of the commands that are used here."""
    entries = schema_closure(qemu.qmp("query-qmp-schema"))
    return Schema(TypeAdapter(tuple[SchemaInfo, ...]).validate_python(entries))


def _refusal(qemu: Qemu, arguments: Any) -> str | None:
    """Why QEMU does not take the map; None where it does."""
    try:
        qemu.execute("migrate-set-parameters", arguments)
    except QmpError as error:
        return error.desc
    return None


# names of any kind; QEMU's JSON knows no NUL, and no code point that is not a character

_NONE = [*range(0xFDD0, 0xFDF0), *(plane << 16 | last for plane in range(17) for last in (0xFFFE, 0xFFFF))]
_letters = st.characters(exclude_characters=["\0", *map(chr, _NONE)], exclude_categories=["Cs"])
_words = st.from_regex(r"\A[A-Za-z][A-Za-z0-9._-]{0,30}\Z")
_bitmap_names = st.text(_letters, min_size=1, max_size=30) | st.sampled_from(
    ["x" * 255, "x" * 256, "x" * 1023, "\u00e4" * 127, "\u00e4" * 128, "\u00e4" * 511, '"', "\\", "\x7f", "\ud7ff", " "]
)
_node_names = _words | _words.map(lambda word: f"#{word[:30]}")


@st.composite
def _sides(draw: DrawFn) -> tuple[list[Part], list[Part], dict[str, Any]]:
    """The parts of a source and a destination with random names, and a policy that sends each disk to its like."""
    count = draw(st.integers(1, 4))
    names = [draw(st.lists(_node_names, min_size=count, max_size=count, unique=True)) for _ in range(2)]
    devices = draw(st.lists(_words, min_size=2 * count, max_size=2 * count, unique=True))
    assume(not set(devices) & {*names[0], *names[1]})
    here: list[Part] = []
    there: list[Part] = []
    entries = []
    for number in range(count):
        bitmaps = draw(st.lists(_bitmap_names, min_size=1, max_size=3, unique=True))
        here += [node(names[0][number], bitmaps=bitmaps), guest(f"vd{number}", names[0][number])]
        there += [node(names[1][number]), guest(f"vd{number}", names[1][number])]
        if draw(st.booleans()):
            there.append(drive(devices[number], names[1][number]))
        target: dict[str, Any] = {"qdev": f"vd{number}"}
        entries.append({"source": {"qdev": f"vd{number}"}, "destination": target})
        if draw(st.booleans()):
            changed = {**target, "bitmap": draw(_bitmap_names)}
            entries.append({"source": {"qdev": f"vd{number}", "bitmap": bitmaps[0]}, "destination": changed})
    return here, there, {"map": entries}


@_MANY
@given(sides=_sides(), in_force=st.booleans())
def test_every_map_that_is_emitted_is_taken(
    qemu: Qemu,
    schema: Schema,
    sides: tuple[list[Part], list[Part], dict[str, Any]],
    in_force: bool,  # noqa: FBT001
) -> None:
    """QEMU takes the commands of a plan as they are, and shows the map that was meant."""
    here, there, policy = sides
    set_already: dict[str, Any] = {"parameters": {"block-bitmap-mapping": []}} if in_force else {}
    plan = planned(source(*here), destination(*there, **set_already), policy)
    assume(plan.verdict == "planned")
    commands: Sequence[Command] = [*plan.commands.destination, *plan.commands.source]
    commands = [*commands, *(command for residue in plan.residue for command in residue.commands)]
    for command in commands:
        message = command.model_dump(mode="json")
        assert schema.problems(message) == ()
        qemu.execute(command.execute, command.arguments)
        if command.execute == "migrate-set-parameters":
            shown = qemu.qmp("query-migrate-parameters")["block-bitmap-mapping"]
            assert _as_sets(shown) == _as_sets(message["arguments"]["block-bitmap-mapping"])
    event("two maps" if plan.block_bitmap_mapping.destination else "one map")


def _as_sets(entries: Any) -> set[Any]:
    return {
        (entry["node-name"], entry["alias"], one["name"], one["alias"]) for entry in entries for one in entry["bitmaps"]
    }


@pytest.mark.parametrize("letter", ["\ufdd0", "\ufdef", "\ufffe", "\uffff", "\U0001fffe", "\U0010ffff"])
def test_a_name_that_qemu_cannot_read_cannot_be_planned(qemu: Qemu, letter: str) -> None:
    """QEMU's JSON refuses what is no character, and so does the policy as a new name; its neighbours are taken."""
    name = {"node-name": "n", "bitmap": "b0"}
    for text, taken in ((letter, False), (chr(ord(letter) - 0x20), True)):
        entry = {"node-name": "n", "alias": "a", "bitmaps": [{"name": "b0", "alias": text}]}
        assert (_refusal(qemu, {"block-bitmap-mapping": [entry]}) is None) is taken
        policy = {"version": 1, "map": [{"source": name, "destination": {**name, "bitmap": text}}]}
        if taken:
            Policy.parse(policy)
        else:
            with pytest.raises(CannotRunError, match="BM404"):
                Policy.parse(policy)


# the reverse

_aliases = (
    _words | st.sampled_from(["", "#a", "0a", "_a", "a b", "\u00e4", "a" * 255, "a" * 256, "a\n"]) | st.text(_letters)
)
_names = st.sampled_from(["n", "m", "#block1", "n" * 31, "n" * 32, "\u00e4" * 15, "\u00e4" * 16, ""])
_bitmap_entries = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["b", "c", "", "x" * 1023, "x" * 1024, "\u00e4" * 511, "\u00e4" * 512]),
        "alias": st.sampled_from(["b", "c", "#", "x" * 255, "x" * 256, "\u00e4" * 127, "\u00e4" * 128]),
    }
)
_entries = st.fixed_dictionaries(
    {"node-name": _names, "alias": _aliases, "bitmaps": st.lists(_bitmap_entries, max_size=2)}
)


def _bytes(text: str) -> int:
    return len(text.encode())


def _twice(texts: Iterable[str]) -> bool:
    return any(count > 1 for count in Counter(texts).values())


def _wrong(entries: list[dict[str, Any]]) -> set[str]:
    """By our own rules and limits, what is wrong with a map, in the words of QEMU's complaints."""
    bitmaps = [one for entry in entries for one in entry["bitmaps"]]
    each = [entry["bitmaps"] for entry in entries]
    complaints = {
        "is not well-formed": any(not well_formed(entry["alias"][:ALIAS_LIMIT]) for entry in entries),
        f"is longer than {ALIAS_LIMIT} bytes": any(_bytes(one["alias"]) > ALIAS_LIMIT for one in (*entries, *bitmaps)),
        f"is longer than {NODE_NAME_LIMIT} bytes": any(_bytes(one["node-name"]) > NODE_NAME_LIMIT for one in entries),
        f"is longer than {BITMAP_NAME_LIMIT} bytes": any(_bytes(one["name"]) > BITMAP_NAME_LIMIT for one in bitmaps),
        "is mapped twice": _twice(entry["node-name"] for entry in entries)
        or any(_twice(one["name"] for one in some) for some in each),
        "is used twice": _twice(entry["alias"] for entry in entries)
        or any(_twice(one["alias"] for one in some) for some in each),
    }
    return {complaint for complaint, found in complaints.items() if found}


@_MANY
@given(entries=st.lists(_entries, max_size=3))
def test_qemu_refuses_what_our_rules_call_wrong_and_nothing_else(qemu: Qemu, entries: list[dict[str, Any]]) -> None:
    """The limits and forms that plans keep to are QEMU's own, each with the complaint that QEMU.md quotes."""
    refusal = _refusal(qemu, {"block-bitmap-mapping": entries})
    wrong = _wrong(entries)
    event("refused" if refusal else "taken")
    assert bool(refusal) == bool(wrong)
    assert refusal is None or (refusal.startswith(_PREFIX) and any(one in refusal for one in wrong))


_junk = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(0.1, 0.9) | st.text("ab", max_size=2)
_loose: st.SearchStrategy[Any] = st.recursive(
    _junk,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["node-name", "alias", "bitmaps", "name", "transform", "persistent", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
_transforms = st.fixed_dictionaries({}, optional={"persistent": st.booleans() | _loose, "x": _loose})
_nearly = st.lists(
    st.fixed_dictionaries(
        {"node-name": st.just("n") | _loose, "alias": st.just("a") | _loose},
        optional={
            "bitmaps": _loose
            | st.lists(
                st.fixed_dictionaries(
                    {"name": st.just("b"), "alias": st.just("c")}, optional={"transform": _transforms | _loose}
                ),
                max_size=1,
            )
        },
    ),
    max_size=1,
)


@_MANY
@given(mapping=_loose | _nearly, name=st.sampled_from(["block-bitmap-mapping"] * 9 + ["block-bitmap-mappings"]))
def test_the_schema_says_what_qemu_says_of_types(qemu: Qemu, schema: Schema, mapping: Any, name: str) -> None:
    """Arguments of other names, types and nesting are refused by QEMU exactly where its schema does not allow them."""
    arguments = {name: mapping}
    refusal = _refusal(qemu, arguments)
    problems = schema.problems({"execute": "migrate-set-parameters", "arguments": arguments})
    by_type = refusal is not None and not refusal.startswith(_PREFIX)
    event("refused" if by_type else "taken")
    assert bool(problems) == by_type, (refusal, problems)

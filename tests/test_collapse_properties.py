"""Random chains: what is refused and merged is what a second, plain account of the rules says."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from bitmapmig.applying.intake import commands
from tests.build import MIB, SIZE, Part, bitmap, codes, destination, drive, node, planned, source

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a layer has: its size, and the flag of each of its bitmaps by name; the top first.
Layer: TypeAlias = tuple[int, dict[str, str]]

layers = st.lists(
    st.tuples(
        st.sampled_from([SIZE, SIZE, SIZE, MIB]),
        st.dictionaries(
            st.sampled_from(["a", "b", "c"]), st.sampled_from(["", "", "", "", "disabled", "busy", "inconsistent"])
        ),
    ),
    min_size=1,
    max_size=5,
)


def parts(chain: list[Layer]) -> Iterator[Part]:
    """The chain as the disk of a device, its nodes without names of their own."""
    for depth, (size, bitmaps) in enumerate(chain):
        records = [bitmap(name, *([flag] if flag else [])) for name, flag in bitmaps.items()]
        below = {"backing": f"#l{depth + 1}"} if depth + 1 < len(chain) else {}
        yield node(f"#l{depth}", "qcow2", records, size, ro=depth > 0, children=below)
    yield drive("drive0", "#l0")


def account(chain: list[Layer]) -> tuple[set[str], set[str]]:
    """The codes of the refusals, and the names that are merged."""
    found: set[str] = set()
    merged: set[str] = set()
    top_size, top = chain[0]
    mapped = False
    for name in {name for _, bitmaps in chain for name in bitmaps}:
        depths = [depth for depth, (_, bitmaps) in enumerate(chain) if name in bitmaps]
        if depths == [0]:
            mapped = True
            continue
        wrong = set() if len(depths) == depths[-1] + 1 else {"BM571"}
        for depth in depths:
            size, flag = chain[depth][0], chain[depth][1][name]
            wrong |= {"BM574"} if flag == "disabled" else set()
            wrong |= {"BM572"} if size != top_size else set()
            wrong |= {"BM575"} if depth and flag in ("busy", "inconsistent") else set()
        found |= wrong
        if not wrong:
            mapped = True
            merged.add(name)
    if mapped:
        found |= {
            {"busy": "BM532", "inconsistent": "BM531"}[flag]
            for flag in top.values()
            if flag in ("busy", "inconsistent")
        }
    return found, merged


@given(layers)
def test_chains(chain: list[Layer]) -> None:
    """Refusals and merges are those of the account; each bitmap has one fate, and a plan carries itself out."""
    there = (node("#flat", "qcow2", size=chain[0][0]), drive("drive0", "#flat"))
    made = planned(source(*parts(chain)), destination(*there), {"collapse": True})
    found, merged = account(chain)
    assert set(codes(made.refusals)) == found
    places = [(one.node, one.bitmap) for one in made.bitmaps]
    assert sorted(places) == sorted((f"#l{depth}", name) for depth, (_, names) in enumerate(chain) for name in names)
    if made.verdict == "planned":
        assert {one.sources[0].bitmap for one in made.merges} == merged
        assert {one.bitmap for one in made.bitmaps if one.fate == "merged"} == merged
        assert commands(made) == made.commands


@given(layers)
def test_offer(chain: list[Layer]) -> None:
    """What is offered without `collapse: true` cures, and where that alone gives a plan it is offered."""
    there = (node("#flat", "qcow2", size=chain[0][0]), drive("drive0", "#flat"))
    both = source(*parts(chain)), destination(*there)
    refused, collapsed = planned(*both), planned(*both, {"collapse": True})
    offering = [one for one in refused.refusals if {"collapse": True} in one.fragments]
    left = {(one.code, one.where.node, one.where.bitmap) for one in collapsed.refusals}
    assert all((one.code, one.where.node, one.where.bitmap) not in left for one in offering)
    if collapsed.verdict == "planned" and refused.verdict == "refused":
        assert offering

"""Which bitmaps of a chain are merged, and what keeps them from it; on hand-built captures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig.applying.intake import commands
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.plans import dump, load
from bitmapmig.policy.model import merged
from bitmapmig.report import plan_lines
from tests.build import MIB, SIZE, Part, bitmap, codes, destination, drive, guest, node, planned, source, stored
from tests.printed import text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bitmapmig.plans import Plan
    from tests.build import Raw

COLLAPSE = {"collapse": True}
DAILY = {"source": {"device": "drive0", "bitmap": "daily"}}
LAYER = {"source": {"device": "drive0", "path": "backing", "bitmap": "daily"}}
ELSEWHERE = {"node-name": "other"}


def chain(
    top: Iterable[str | Raw] = ("daily",),
    middle: Iterable[str | Raw] = ("daily",),
    base: Iterable[str | Raw] = ("daily",),
    sizes: tuple[int | None, int | None, int | None] = (SIZE, SIZE, SIZE),
    *more: Part,
) -> tuple[Part, ...]:
    """A -drive disk of three auto-named layers."""
    return (
        node("#top", "qcow2", top, sizes[0], backing="#middle"),
        node("#middle", "qcow2", middle, sizes[1], ro=True, backing="#base"),
        node("#base", "qcow2", base, sizes[2], ro=True),
        drive("drive0", "#top"),
        *more,
    )


FLAT = (node("#flat", "qcow2"), node("other", "qcow2"), drive("drive0", "#flat"))


def plan(here: tuple[Part, ...], policy: Mapping[str, Any] | None = None, there: tuple[Part, ...] = FLAT) -> Plan:
    """The plan, with `collapse: true` unless the policy says otherwise."""
    return planned(source(*here), destination(*there), {**COLLAPSE, **(policy or {})})


def fates(made: Plan) -> dict[str, str]:
    """What becomes of the bitmaps, by place."""
    return {f"{one.node}/{one.bitmap}": one.fate for one in made.bitmaps}


def test_merged() -> None:
    """All three are merged into one on the top, which goes where the top's would, and each is listed once."""
    made = plan(chain())
    assert fates(made) == {"#base/daily": "merged", "#middle/daily": "merged", "#top/daily": "merged"}
    assert {(one.destination_node, one.destination_bitmap, one.node_alias) for one in made.bitmaps} == {
        ("#flat", "daily", None)
    }
    (merge,) = made.merges
    assert [(one.node, one.bitmap) for one in merge.sources] == [
        ("#top", "daily"),
        ("#middle", "daily"),
        ("#base", "daily"),
    ]
    (entry,) = made.block_bitmap_mapping.source or ()
    assert (entry.node_name, entry.alias) == ("#top", "drive0")
    assert [(one.name, one.alias) for one in entry.bitmaps] == [(merge.temporary, "daily")]
    assert [one.execute for one in made.commands.source] == [
        "transaction",
        "migrate-set-parameters",
        "migrate-set-capabilities",
    ]
    assert [one.what for one in made.residue] == ["block-bitmap-mapping", "temporary-bitmap", "dirty-bitmaps"]
    assert all(merge.temporary not in json.dumps(one.arguments) for one in made.residue[0].commands)
    told = {f"{one.node}/{one.bitmap}": one.outcome for one in made.foretold.bitmaps}
    assert told[f"#top/{merge.temporary}"] == "arrives"
    assert "bitmapmig-tmp-" not in made.source.structure.model_dump_json()
    assert load(dump(made)) == made
    assert commands(made) == made.commands


def test_the_rest_is_mapped_as_ever() -> None:
    """Beside the temporary the map has what needs no merge, and a layer below the deepest may lack the bitmap."""
    made = plan(chain(["daily", "own"], ["daily"], []))
    assert fates(made) == {"#middle/daily": "merged", "#top/daily": "merged", "#top/own": "migrate"}
    (entry,) = made.block_bitmap_mapping.source or ()
    assert sorted(one.alias for one in entry.bitmaps) == ["daily", "own"]


def test_granularity_and_persistence_are_those_of_the_top() -> None:
    """The temporary has the granularity of the top's, is transient, and becomes what the top's is."""
    top = bitmap("daily", "persistent", granularity=32768, count=3 * MIB)
    made = plan(chain([top], [bitmap("daily", count=15 * MIB)], ["daily"]))
    (merge,) = made.merges
    assert (merge.granularity, merge.dirty_bytes) == (32768, SIZE)
    assert merge.transform is not None
    assert merge.transform.persistent is True
    add = made.commands.source[0].arguments["actions"][0]["data"]
    assert add == {"node": "#top", "name": merge.temporary, "granularity": 32768, "persistent": False}


@pytest.mark.parametrize(("persistent", "said"), [(True, True), (False, None)])
def test_the_policy_says_what_it_becomes(*, persistent: bool, said: bool | None) -> None:
    """An entry for the top's bitmap gives name and persistence of what comes of the merge."""
    target = {"device": "drive0", "bitmap": "new", "persistent": persistent}
    made = plan(chain([bitmap("daily", "persistent")]), {"map": [{**DAILY, "destination": target}]})
    (merge,) = made.merges
    transform = merge.transform.persistent if merge.transform else None
    assert (merge.destination_bitmap, transform) == ("new", said)


def test_name_that_is_taken() -> None:
    """A temporary never gets a name that is there, in memory or in the image."""
    first = plan(chain()).merges[0].temporary
    there = plan(chain([bitmap("daily"), bitmap(first)]), {"deny": [{"bitmap": first}]})
    image = node("#top", "qcow2", ["daily"], stored=[stored(first)], backing="#middle")
    names = {first, there.merges[0].temporary, plan((image, *chain()[1:])).merges[0].temporary}
    assert len(names) == 2


REFUSED: list[tuple[str, tuple[Part, ...], dict[str, Any], list[str]]] = [
    ("middle lacks it", chain(middle=[]), {}, ["BM571"]),
    ("top lacks it", chain(top=[]), {}, ["BM571"]),
    ("top and middle lack it", chain(top=["own"], middle=[]), {}, ["BM571"]),
    ("layer is smaller", chain(sizes=(SIZE, SIZE, MIB)), {}, ["BM572"]),
    ("size is not told", chain(sizes=(SIZE, None, SIZE)), {}, ["BM205"]),
    ("layer is denied by the map", chain(), {"map": [{**LAYER, "destination": None}]}, ["BM573"]),
    ("layer is sent elsewhere", chain(), {"map": [{**LAYER, "destination": ELSEWHERE}]}, ["BM573"]),
    (
        "layer gets another name",
        chain(),
        {"map": [{**LAYER, "destination": {"device": "drive0", "bitmap": "x"}}]},
        ["BM573"],
    ),
    ("top is disabled", chain(top=[bitmap("daily", "disabled")]), {}, ["BM574"]),
    ("layer is disabled", chain(base=[bitmap("daily", "disabled")]), {}, ["BM574"]),
    ("layer is busy", chain(base=[bitmap("daily", "busy")]), {}, ["BM575"]),
    ("layer is inconsistent", chain(middle=[bitmap("daily", "inconsistent")]), {}, ["BM575"]),
    ("top is inconsistent", chain(top=[bitmap("daily", "inconsistent")]), {}, ["BM531"]),
    ("another of the top is busy", chain(top=["daily", bitmap("own", "busy")]), {}, ["BM532"]),
    ("name is garbled", chain(["x\ufffd"], ["x\ufffd"], ["x\ufffd"]), {}, ["BM552"]),
    ("storage is said to be shared", chain(), {"storage": "shared"}, ["BM547"]),
]


@pytest.mark.parametrize(("here", "policy", "expected"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(here: tuple[Part, ...], policy: dict[str, Any], expected: list[str]) -> None:
    """What would make the merged bitmap wrong, or keep QEMU from merging, is refused, and every fragment cures it."""
    made = plan(here, policy)
    assert codes(made.refusals) == expected
    assert made.merges == ()
    for found in made.refusals:
        for fragment in found.fragments:
            assert plan(here, merged({**COLLAPSE, **policy}, fragment)).verdict == "planned", fragment


#: Near misses: what is planned, and which bitmaps are merged.
PLANNED: list[tuple[str, tuple[Part, ...], dict[str, Any], set[str]]] = [
    (
        "read-only layer",
        (
            *chain()[:2],
            node("#base", "qcow2", [bitmap("daily", "persistent")], stored=[stored("daily", clean=True)], ro=True),
            drive("drive0", "#top"),
        ),
        {},
        {"#top", "#middle", "#base"},
    ),
    ("layer is sent to the same place", chain(), {"map": [{**LAYER, "destination": {"device": "drive0"}}]},
     {"#top", "#middle", "#base"}),
    ("allow names the address of the top", chain(), {"allow": [{"address": "drive0"}]}, {"#top", "#middle", "#base"}),
    ("only the top is covered", chain(), {"defaults": False, "map": [{**DAILY, "destination": {"device": "drive0"}}]},
     {"#top", "#middle", "#base"}),
    ("the name is denied everywhere", chain(), {"deny": [{"bitmap": "daily"}]}, set()),
    ("inconsistent below what is merged", chain(base=[bitmap("old", "inconsistent")]),
     {"map": [{"source": {"device": "drive0", "path": "backing.backing"}, "destination": None}]}, {"#top", "#middle"}),
]  # fmt: skip


@pytest.mark.parametrize(("here", "policy", "expected"), [one[1:] for one in PLANNED], ids=[one[0] for one in PLANNED])
def test_planned(here: tuple[Part, ...], policy: dict[str, Any], expected: set[str]) -> None:
    """What does no harm is not refused."""
    made = plan(here, policy)
    assert codes(made.refusals) == []
    assert {one.node for one in made.bitmaps if one.fate == "merged"} == expected


def test_destination_with_a_chain() -> None:
    """Where the destination has a chain as well, each bitmap goes to its own layer, or is refused as ever."""
    layers = ("t", "b")
    here = (node("t", "qcow2", ["daily"], backing="b"), node("b", "qcow2", ["daily"], ro=True), drive("d", "t"))
    there = (node("t", "qcow2", backing="b"), node("b", "qcow2", ro=True), drive("d", "t"))
    made = plan(here, there=there)
    assert ([one.destination_node for one in made.bitmaps], made.merges) == (sorted(layers), ())


def test_filters_in_between() -> None:
    """Filters of the chain, and above it on either side, are no layers."""
    here = (
        node("throttle", "throttle", file="#top"),
        node("#top", "qcow2", ["daily"], backing="cor"),
        node("cor", "copy-on-read", file="#base"),
        node("#base", "qcow2", ["daily"], ro=True),
        guest("disk0", "throttle"),
    )
    there = (node("t1", "throttle", file="flat"), node("flat", "qcow2"), guest("disk0", "t1"))
    made = planned(source(*here), destination(*there), {**COLLAPSE, "resolve": "guest-device"})
    assert codes(made.refusals) == []
    assert (made.merges[0].node, made.merges[0].destination_node) == ("#top", "flat")


def test_layer_of_two_disks() -> None:
    """A layer that two disks have in common is merged for neither where both have a bitmap of that name."""
    both = (
        node("#a", "qcow2", ["daily"], backing="#base"),
        node("#b", "qcow2", ["daily"], backing="#base"),
        node("#base", "qcow2", ["daily"], ro=True),
        drive("drive0", "#a"),
        drive("drive1", "#b"),
    )
    there = (node("#x", "qcow2"), node("#y", "qcow2"), drive("drive0", "#x"), drive("drive1", "#y"))
    assert codes(plan(both, there=there).refusals) == ["BM301"]
    one = (node("#b", "qcow2", backing="#base"), *(part for part in both if getattr(part, "name", "") != "#b"))
    assert len(plan(one, there=there).merges) == 1


# without `collapse`


def test_offered() -> None:
    """Without it, each refusal of a layer's bitmap offers it first, and so offers nothing where it would not help."""
    made = plan(chain(), {"collapse": False})
    assert [(one.code, one.fragments[0]) for one in made.refusals] == [("BM301", COLLAPSE)] * 2
    assert plan(chain()).verdict == "planned"
    for here in (chain(middle=[]), chain(sizes=(SIZE, SIZE, MIB)), chain(top=[])):
        unmended = plan(here, {"collapse": False})
        assert all(COLLAPSE not in one.fragments for one in unmended.refusals)


def test_offered_where_one_node_gets_them_all() -> None:
    """Entries that send the layers to one node are refused as a merge that no map can do, and it is offered there."""
    entries = [{**LAYER, "destination": {"device": "drive0"}}]
    made = plan(chain(base=[]), {"collapse": False, "map": entries})
    assert [(one.code, one.fragments[0]) for one in made.refusals] == [("BM503", COLLAPSE)]
    assert plan(chain(base=[]), {"map": entries}).verdict == "planned"


def test_left_over() -> None:
    """A temporary of an earlier plan is refused whatever the policy says of collapsing, unless it is left behind."""
    name = "bitmapmig-tmp-0123456789abcdef"
    here = (node("n0", bitmaps=["daily", name]),)
    for collapsing in (True, False):
        made = planned(source(*here), destination(node("n0")), {"collapse": collapsing})
        assert codes(made.refusals) == ["BM576"]
        left = planned(source(*here), destination(node("n0")), made.refusals[0].fragments[0])
        assert [one.fate for one in left.bitmaps] == ["left-behind", "migrate"]


# the document


def altered(made: Plan, **changes: Any) -> list[str]:
    """The codes with which a plan is turned away whose first merge was edited."""
    edited = made.model_copy(update={"merges": (made.merges[0].model_copy(update=changes), *made.merges[1:])})
    with pytest.raises(CannotRunError) as caught:
        commands(edited)
    return codes(caught.value.diagnostics)


def test_edited() -> None:
    """A plan whose merges, bitmaps and commands do not say the same is not carried out."""
    made = plan(chain())
    merge = made.merges[0]
    assert altered(made, temporary="daily") == ["BM706"]
    assert altered(made, sources=merge.sources[:2]) == ["BM706"]
    assert altered(made, sources=(*merge.sources, merge.sources[0])) == ["BM706"]
    assert altered(made, sources=()) == ["BM706"]
    assert altered(made, node="#base") == ["BM706"]
    assert altered(made, granularity=4096) == ["BM706"]
    assert altered(made, bitmap_alias="x") == ["BM706"]


def test_in_words() -> None:
    """The text says what is merged, through what, and what comes of it."""
    lines = text(plan_lines(plan(chain([bitmap("daily", count=65536)])), 80))
    assert lines.startswith("PLANNED: 3 bitmaps are merged into 1\n")
    assert "Merged: each chain into one temporary bitmap, which migrates" in lines
    assert "  #top/daily + #middle/daily + #base/daily -> drive0/daily" in lines
    assert "the temporary bitmap" in lines

"""What became of a bitmap, and where the model was wrong: judged by hand-made sights of two stand-ins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pytest

from bitmapmig import state
from bitmapmig.fate import Foretold, ForetoldBitmap, LogLine
from bitmapmig.graph import Bitmap, BlockGraph, Node, StoredBitmap
from bitmapmig.qapi import BitmapName, NodeName
from bitmapmig.rehearsing import judge
from bitmapmig.rehearsing.document import Happened
from bitmapmig.rehearsing.migration import Aftermath, Ended, Held, Record, Sight
from tests.build import source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitmapmig.plans.document import Fate

_HERE, _THERE = ("n", "b"), ("m", "c")
_EMPTY = BlockGraph(())
_STATE = state.read(source())
_COMPLETED = Ended("completed", "completed")
_EXISTS = "Could not reopen qcow2 layer: Bitmap already exists: c"


def record(digest: str | None = "bits", **change: Any) -> Record:
    """A transient bitmap that records, with these bits."""
    usual = {"granularity": 65536, "count": 65536, "recording": True, "busy": False}
    flags = {"persistent": False, "inconsistent": False}
    return Record(Bitmap(name=BitmapName("b"), **{**usual, **flags, **change}), digest)


def sight(records: Mapping[tuple[str, str], Record] | None = None) -> Sight:
    """What a stand-in shows."""
    return Sight(_EMPTY, _STATE, records or {})


def told(outcome: Any = "arrives", **change: Any) -> ForetoldBitmap:
    """What is foretold of the bitmap: by default that it arrives at `c` of `m`."""
    usual = {"node": "n", "bitmap": "b", "outcome": outcome, "reason": "by the map", "recording": True}
    names = {"node_alias": "m", "bitmap_alias": "c", "destination_node": "m", "destination_bitmap": "c"}
    flags = {"persistent": False, "granularity": 65536}
    return ForetoldBitmap(**{**usual, **names, **flags, **change})


_NOWHERE: dict[str, Any] = {
    "node_alias": None,
    "bitmap_alias": None,
    "destination_node": None,
    "destination_bitmap": None,
}
_UNSENT = told("by-storage", **_NOWHERE, persistent=True)


def aftermath(
    records: Mapping[tuple[str, str], Record] | None = None, stored: Held | None = None, cont: str = ""
) -> Aftermath:
    """What is left on a destination that went on with these bitmaps, and holds `stored` in the image of `m`."""
    return Aftermath(cont, sight(records), {"m": stored or Held()})


def case(one: ForetoldBitmap | None = None, fate: Fate = "migrate", **change: Any) -> judge.Case:
    """A rehearsal of one bitmap, which arrives whole, but for what is said."""
    arrived = {_THERE: record()}
    usual: dict[str, Any] = {
        "wanted": {_HERE: judge.Wanted(fate, *(_THERE if fate == "migrate" else (None, None)))},
        "foretold": Foretold(
            migration="completes",
            source="completed",
            destination="completed",
            log=(),
            bitmaps=(one or told(),),
        ),
        "before": sight({_HERE: record()}),
        "there": sight(),
        "ended": _COMPLETED,
        "after": sight(arrived),
        "aftermath": aftermath(arrived),
        "shared": frozenset(),
        "log": (),
    }
    return judge.Case(**{**usual, **change})


def _seen(found: Record, after: Record | None = None, stored: Held | None = None, cont: str = "") -> dict[str, Any]:
    """Members of a case in which this was found after the migration, and `after` once the destination went on."""
    left = aftermath({_THERE: after or found}, stored, cont)
    return {"after": sight({_THERE: found}), "aftermath": left}


def _came_up(found: Record | None, **change: Any) -> dict[str, Any]:
    """Members of a case in which nothing was found after the migration, and this once the destination went on."""
    before = sight({_HERE: record(persistent=True)})
    left = aftermath({_HERE: found} if found else {})
    return {"before": before, "after": sight(), "aftermath": left, **change}


_KEPT = told(persistent=True)
_PERSISTENT: dict[str, Any] = {"before": sight({_HERE: record(persistent=True)})}
_DEAD: dict[str, Any] = {"after": None, "aftermath": None}

#: What is found, the word for it, and words of the reason.
_HAPPENED: list[tuple[judge.Case, Happened, str]] = [
    (case(), "arrived", "bits and flags are equal"),
    (
        case(wanted={_HERE: judge.Wanted("migrate", "m", "d")}),
        "misplaced",
        "it is 'c' on 'm', and was to be 'd' on 'm'",
    ),
    (
        case(_KEPT, **_PERSISTENT, **_seen(record(persistent=True), stored=Held(frozenset("c")))),
        "arrived",
        "the image holds it",
    ),
    (case(**_PERSISTENT), "arrived", "bits and flags"),
    (case(_KEPT, **_PERSISTENT, **_seen(record(persistent=True))), "lost-at-shutdown", "no image holds it"),
    (
        case(_KEPT, **_PERSISTENT, **_seen(record(persistent=True), stored=Held(frozenset("b")))),
        "lost-at-shutdown",
        "no image",
    ),
    (case(**_seen(record(), stored=Held(in_use=frozenset("b")))), "leaves-inconsistent", "inconsistent"),
    (
        case(_KEPT, **_PERSISTENT, **_seen(record(persistent=True), stored=Held(frozenset("c"), frozenset("b")))),
        "leaves-inconsistent",
        "inconsistent",
    ),
    (case(**_seen(record(), stored=Held(in_use=frozenset("z")))), "arrived", "equal"),
    (case(**_seen(record("others"))), "altered", "its bits are others"),
    (case(**_seen(record(granularity=512))), "altered", "granularity is 512 and not 65536"),
    (case(**_seen(record(recording=False))), "altered", "recording is False and not True"),
    (case(**_seen(record(persistent=True))), "altered", "persistent is True and not False"),
    (case(**_seen(record(inconsistent=True))), "altered", "inconsistent is True"),
    (case(**_seen(record(), record(inconsistent=True))), "altered", "is inconsistent once the destination goes on"),
    (case(after=sight({_THERE: record()}), aftermath=aftermath()), "altered", "is gone once the destination"),
    (case(told(recording=False), **_seen(record(recording=False))), "arrived", "equal"),
    (case(after=sight(), aftermath=aftermath()), "lost", "it is not on the destination"),
    (case(there=sight({_THERE: record()})), "lost", "it is not on the destination"),
    (case(after=None, aftermath=aftermath()), "lost", "cannot list its nodes"),
    (case(told("dropped", **_NOWHERE), "left-behind", after=sight(), aftermath=aftermath()), "left-behind", "planned"),
    (case(fate="merged"), "left-behind", "merged into a temporary"),
    (case(_UNSENT, "by-storage", **_came_up(None)), "lost", "it is not on the destination"),
    (
        case(_UNSENT, "left-behind", **_came_up(record(persistent=True), shared=frozenset("n"))),
        "by-storage",
        "both sides have open",
    ),
    (case(_UNSENT, "left-behind", **_came_up(record(persistent=True))), "arrived", "it is there"),
    (case(_UNSENT, "left-behind", **_came_up(record("old", persistent=True))), "stale", "a copy with other bits"),
    (
        case(_UNSENT, "left-behind", **_came_up(record(None, inconsistent=True))),
        "altered",
        "comes up from the image is inconsistent",
    ),
    (
        case(_UNSENT, "left-behind", **_came_up(record(), there=sight({_HERE: record()}))),
        "left-behind",
        "not on the destination",
    ),
    (case(**_seen(record(), cont=_EXISTS)), "breaks-activation", _EXISTS),
    (
        case(after=None, aftermath=Aftermath("", None, {}), log=(LogLine(side="destination", text=_EXISTS),)),
        "breaks-activation",
        "could not be activated",
    ),
    (
        case(after=sight(), aftermath=Aftermath(_EXISTS, None, {}), log=()),
        "breaks-activation",
        "could not be activated",
    ),
    (
        case(after=None, aftermath=aftermath(), log=(LogLine(side="source", text=_EXISTS),)),
        "lost",
        "cannot list its nodes",
    ),
    (case(aftermath=None), "breaks-activation", "could not be activated"),
    (case(ended=None, **_DEAD), "not-migrated", "no migration was begun"),
    (case(ended=Ended("refuses", "waiting", "no"), **_DEAD), "not-migrated", "were refused: no"),
    (case(ended=Ended("failed", "exits"), **_DEAD), "not-migrated", "failed on the source"),
    (case(ended=Ended("aborts", "exits"), **_DEAD), "not-migrated", "the source aborted"),
    (case(ended=Ended("completed", "aborts"), **_DEAD), "not-migrated", "the destination is dead"),
    (case(ended=Ended("aborts", "completed")), "arrived", "equal"),
]


@pytest.mark.parametrize(("found", "happened", "reason"), _HAPPENED)
def test_what_became_of_a_bitmap(found: judge.Case, happened: Happened, reason: str) -> None:
    """Each word for what happened, by what both sides and the images show."""
    (one,) = judge.bitmaps(found)
    assert one.happened == happened
    assert reason in one.reason


def sized(size: int, place: tuple[str, str], found: Record) -> Sight:
    """What a stand-in shows whose disk has this size."""
    disk = BlockGraph([Node(NodeName(place[0]), "null-co", virtual_size=size)])
    return Sight(disk, _STATE, {place: found})


@pytest.mark.parametrize(
    ("sizes", "count", "happened"),
    [((1, 1), 65536, "altered"), ((1, 2), 65536, "arrived"), ((1, 2), 0, "altered")],
)
def test_digests_are_of_one_size(sizes: tuple[int, int], count: int, happened: Happened) -> None:
    """On a disk of another size the digest is another for the same bits, so there only their number can differ."""
    found = record("of a larger disk", count=count)
    seen = case(
        before=sized(sizes[0], _HERE, record()),
        after=sized(sizes[1], _THERE, found),
        aftermath=aftermath({_THERE: found}),
    )
    assert [one.happened for one in judge.bitmaps(seen)] == [happened]


def test_every_word_is_in_the_table() -> None:
    """No word for what happened goes untried."""
    assert {word for _, word, _ in _HAPPENED} == set(get_args(Happened))


@pytest.mark.parametrize(
    ("text", "speaks"),
    [
        ("Cannot find device='m' nor node-name='m'", True),
        ("Unknown bitmap alias 'c' on node 'm' (alias 'm')", True),
        ("Unable to read node alias string", True),
        ("load of migration failed: Invalid argument", False),
        ("error while loading state for instance 0x0 of device 'dirty-bitmap'", False),
        ("failed to save SaveStateEntry with id(name): 2(dirty-bitmap): -5", False),
    ],
)
def test_the_line_that_speaks_of_a_bitmap(text: str, speaks: bool) -> None:  # noqa: FBT001
    """It is with what was lost, not with what arrived; a line that every failure ends with says nothing."""
    line = LogLine(side="destination", text=text)
    (lost,) = judge.bitmaps(case(after=sight(), aftermath=aftermath(), log=(line,)))
    (arrived,) = judge.bitmaps(case(log=(line,)))
    assert (lost.log, arrived.log) == (line if speaks else None, None)


def test_the_line_with_its_own_name_comes_first() -> None:
    """Of several lines the one that names the bitmap is meant."""
    other, own = (LogLine(side="destination", text=f"Cannot find device='{one}'") for one in ("z", "m"))
    (found,) = judge.bitmaps(case(after=sight(), aftermath=aftermath(), log=(other, own)))
    assert found.log == own


@pytest.mark.parametrize(
    ("fate", "happened", "fulfilled"),
    [
        ("migrate", "arrived", True),
        ("migrate", "by-storage", False),
        ("migrate", "leaves-inconsistent", False),
        ("migrate", "lost-at-shutdown", False),
        ("migrate", "left-behind", False),
        ("by-storage", "by-storage", True),
        ("by-storage", "arrived", False),
        ("by-storage", "stale", False),
        ("left-behind", "left-behind", True),
        ("left-behind", "by-storage", True),
        ("left-behind", "stale", False),
        ("left-behind", "altered", True),
        ("merged", "left-behind", True),
        ("merged", "lost", False),
        ("refused", "arrived", True),
        ("refused", "lost", False),
    ],
)
def test_what_is_as_planned(fate: Fate, happened: Happened, fulfilled: bool) -> None:  # noqa: FBT001
    """What came true of a plan, by the fate that it says."""
    (one,) = judge.bitmaps(case())
    wanted = judge.Wanted(fate, None, None)
    assert judge.as_planned(one.model_copy(update={"happened": happened}), wanted) is fulfilled


@pytest.mark.parametrize(
    ("node", "bitmap", "happened"),
    [("m", "c", "arrived"), ("m", "b", "misplaced"), ("n", "c", "misplaced"), (None, None, "arrived")],
)
def test_what_arrives_elsewhere_is_not_as_planned(node: str | None, bitmap: str | None, happened: str) -> None:
    """Where a plan says where to, it is to be there, under that name."""
    wanted = judge.Wanted("migrate", node, bitmap)
    (one,) = judge.bitmaps(case(wanted={_HERE: wanted}))
    assert one.happened == happened
    assert judge.as_planned(one, wanted) is (happened == "arrived")
    assert one.agrees


def test_what_was_not_tried_agrees_with_nothing() -> None:
    """Without a migration it cannot be told whether the model is right; what QEMU refused is the reason."""
    (one,) = judge.bitmaps(case(ended=None, after=None, aftermath=None, refused="it is used twice"))
    assert (one.agrees, one.reason) == (None, "no migration was begun: it is used twice")


def test_what_was_sent_is_no_stale_copy() -> None:
    """Of two bitmaps of one name the one that arrives is not taken for a copy of the one that is left behind."""
    left = told("dropped", **_NOWHERE, node="base", bitmap="c")
    kept = {_HERE: judge.Wanted("migrate", *_THERE), ("base", "c"): judge.Wanted("left-behind", None, None)}
    found = case(
        wanted=kept,
        foretold=_foretold().model_copy(update={"bitmaps": (told(), left)}),
        before=sight({_HERE: record(), ("base", "c"): record("others")}),
    )
    assert [one.happened for one in judge.bitmaps(found)] == ["arrived", "left-behind"]


# the model


def _foretold(one: ForetoldBitmap | None = None, log: tuple[str, ...] = (), **change: Any) -> Foretold:
    usual = {"migration": "completes", "source": "completed", "destination": "completed"}
    lines = tuple(LogLine(side="destination", text=text) for text in log)
    return Foretold(**{**usual, "log": lines, "bitmaps": (one or told(),), **change})


def _failing(source: str | None = "failed", destination: str | None = "exits", **change: Any) -> Foretold:
    """The model's word that the migration fails over the bitmap."""
    migration = "destination-dies" if source == "completed" else "fails"
    return _foretold(
        told("blocks-source"), **{"migration": migration, "source": source, "destination": destination, **change}
    )


def _printed(*texts: str) -> dict[str, Any]:
    return {"log": tuple(LogLine(side="destination", text=text) for text in texts)}


_LOST: dict[str, Any] = {"after": sight(), "aftermath": aftermath()}
_FAILED: dict[str, Any] = {"ended": Ended("failed", "exits"), **_DEAD}
_CANNOT = "Cannot find device='m' nor node-name='m'"
_ASSERTION = "hbitmap.c:1: serialization_chunk: Assertion `x' failed."


#: What was foretold and what happened, and what differs: kind and side.
_DIFFERING: list[tuple[judge.Case, list[tuple[str, str | None]]]] = [
    # the migration
    (case(), []),
    (case(**_FAILED), [("migration", None), ("side", "source"), ("side", "destination"), ("bitmap", None)]),
    (case(foretold=_failing()), [("migration", None), ("side", "source"), ("side", "destination"), ("bitmap", None)]),
    (case(foretold=_failing(), **_FAILED), []),
    (case(foretold=_failing(), ended=Ended("aborts", "exits"), **_DEAD), [("side", "source")]),
    (case(foretold=_failing("aborts"), **_FAILED), [("side", "source")]),
    (case(foretold=_failing(), ended=Ended("failed", "aborts"), **_DEAD), [("side", "destination")]),
    (
        case(foretold=_failing(), ended=Ended("completed", "exits"), **_DEAD),
        [("migration", None), ("side", "source")],
    ),
    # where either may happen
    (case(foretold=_failing(None), ended=Ended("completed", "exits"), **_DEAD), []),
    (case(foretold=_failing(None), **_FAILED), []),
    (case(foretold=_failing(None, None), ended=Ended("completed", "aborts"), **_DEAD), []),
    (case(foretold=_failing(None)), [("migration", None), ("side", "destination"), ("bitmap", None)]),
    (case(foretold=_foretold(migration="unknown", source=None, destination=None), **_FAILED), []),
    (case(foretold=_foretold(source=None), ended=Ended("aborts", "completed")), []),
    (case(foretold=_foretold(), ended=Ended("aborts", "completed")), [("side", "source")]),
    # nothing was begun
    (case(foretold=_failing(), ended=None, **_DEAD), []),
    (case(ended=None, **_DEAD), []),
    # bitmaps
    (case(**_LOST), [("bitmap", None)]),
    (case(told("dropped"), **_LOST), []),
    (case(told("lost-with-another"), **_LOST), []),
    (case(told("dropped")), [("bitmap", None)]),
    (case(told("lost-at-shutdown")), [("bitmap", None)]),
    (case(told("worthless")), []),
    (case(told("worthless"), **_seen(record("others"))), [("bitmap", None)]),
    (case(told("unknown"), **_LOST), []),
    (case(**_seen(record("others"))), [("bitmap", None)]),
    (case(**_seen(record(), stored=Held(in_use=frozenset("b")))), []),
    (case(told("breaks-activation"), **_seen(record(), cont=_EXISTS)), []),
    (case(**_seen(record(), cont=_EXISTS)), [("bitmap", None)]),
    (case(_UNSENT, "by-storage", **_came_up(record(persistent=True), shared=frozenset("n"))), []),
    (case(_UNSENT, "by-storage", **_came_up(record(persistent=True))), [("bitmap", None)]),
    # lines
    (case(foretold=_foretold(told("dropped"), (_CANNOT,)), **_LOST, **_printed(_CANNOT)), []),
    (case(foretold=_foretold(told("dropped"), (_CANNOT,)), **_LOST), [("log", "destination")]),
    (case(told("dropped"), **_LOST, **_printed(_CANNOT)), [("log", "destination")]),
    (
        case(foretold=_foretold(told("dropped"), (_CANNOT,)), **_LOST, **_printed(_CANNOT.replace("m", "o"))),
        [("log", "destination"), ("log", "destination")],
    ),
    (case(**_printed("warning: host lacks a feature", "load of migration failed: Invalid argument")), []),
    (case(**_printed("error while loading state for instance 0x0 of device 'dirty-bitmap': Bitmap")), []),
    (
        case(foretold=_foretold(told("dropped"), (_CANNOT,)), **_LOST, log=(LogLine(side="source", text=_CANNOT),)),
        [("log", "source"), ("log", "destination")],
    ),
    (case(foretold=_failing(), **_FAILED, **_printed(_ASSERTION)), [("log", "destination")]),
    (case(foretold=_failing(destination=None), ended=Ended("failed", "aborts"), **_DEAD, **_printed(_ASSERTION)), []),
]


@pytest.mark.parametrize(("found", "differing"), _DIFFERING)
def test_where_the_model_is_wrong(found: judge.Case, differing: list[tuple[str, str | None]]) -> None:
    """Each difference between what was foretold and what happened, and no other, is a disagreement."""
    bitmaps = judge.bitmaps(found)
    assert [(one.what, one.side) for one in judge.disagreements(found, bitmaps)] == differing
    assert all(one.agrees is not False for one in bitmaps) is (("bitmap", None) not in differing)


def test_every_kind_of_difference_is_in_the_table() -> None:
    """A difference of each kind is tried."""
    assert {kind for _, differing in _DIFFERING for kind, _ in differing} == {"migration", "side", "bitmap", "log"}


def test_the_words_of_a_disagreement() -> None:
    """Both what was foretold and what happened are said, each with its reason."""
    found = case(**_LOST)
    (one,) = judge.disagreements(found, judge.bitmaps(found))
    assert (one.node, one.bitmap) == _HERE
    assert one.foretold == "arrives (by the map)"
    assert one.happened == "lost (the migration completed, and it is not on the destination)"
    failing = case(foretold=_failing(reason="it is busy"))
    first = next(iter(judge.disagreements(failing, judge.bitmaps(failing))))
    assert (first.foretold, first.happened) == ("fails (it is busy)", "completes")


@pytest.mark.parametrize(("stored", "happened"), [(None, "arrived"), ("c", "breaks-activation")])
def test_another_image_is_broken(stored: str | None, happened: str) -> None:
    """Where the nodes cannot be listed any more, an image that holds what it did not hold before was activated."""
    copies = (StoredBitmap(BitmapName(stored), 65536, in_use=False),) if stored else ()
    there = Sight(BlockGraph([Node(NodeName("m"), "qcow2", stored=copies)]), _STATE, {})
    left = Aftermath("Could not reopen qcow2 layer: Bitmap already exists: x", None, {"m": Held(frozenset("c"))})
    (one,) = judge.bitmaps(case(told(persistent=True), there=there, after=None, aftermath=left))
    assert one.happened == happened

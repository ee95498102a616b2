"""What `rehearse` prints for people."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from bitmapmig import codes
from bitmapmig.diagnostics import Where
from bitmapmig.rehearsing.document import Happened, RehearsedMigration
from bitmapmig.report import Limits, rehearsed_lines
from tests.printed import text
from tests.rehearsals import bitmap, end, printed, rehearsal, wrong

_KILLED = printed("Unknown bitmap alias 'b0'")
_REFUSED = (
    codes.SIZES_DIFFER.at(
        Where(side="source", node="n0", bitmap="b0"),
        node="n0",
        source=1,
        destination_node="n0",
        destination=2,
    ),
)
HOSTILE = "a\x1b[31m\u202e[bold]"


def test_survives() -> None:
    """The outcome is first, then both sides, then each bitmap with what was foretold and what happened."""
    left = bitmap("b1", "dropped", "left-behind", fate="left-behind", agrees=True)
    done = rehearsal(bitmap(), left, source=end(planned_version="7.2.0"), seed=7)
    assert text(rehearsed_lines(done, 100)) == (
        "SURVIVES: 1 bitmap is whole on the destination, 1 left behind as planned\n"
        "\n"
        "  source       QEMU 7.2.22 in place of 7.2.0, /usr/bin/qemu\n"
        "  destination  QEMU 7.2.22, /usr/bin/qemu\n"
        "  migration    completes: source completed, destination completed\n"
        "\n"
        "Bitmaps\n"
        "  PLAN         SOURCE      DESTINATION  FORETOLD  HAPPENED     AGREE\n"
        "  migrate      n0/b0   ->  n0/b0        arrives   arrived      yes\n"
        "  left behind  n0/b1                    dropped   left-behind  yes\n"
        "\n"
        "--seed 7 gives the same dirty bits again"
    )


@pytest.mark.parametrize(
    ("fate", "happened", "harm"),
    [
        *(("migrate", happened, happened not in ("arrived", "by-storage")) for happened in get_args(Happened)),
        ("refused", "lost", True),
        ("left-behind", "not-migrated", False),
        ("left-behind", "lost-at-shutdown", False),
        ("left-behind", "stale", True),
        ("merged", "left-behind", False),
        ("merged", "leaves-inconsistent", True),
    ],
)
def test_what_is_harm(fate: str, happened: str, *, harm: bool) -> None:
    """What was to arrive is harmed unless it is whole; what was not, if it is there and wrong."""
    said = text(rehearsed_lines(rehearsal(bitmap(happened=happened, fate=fate, reason="it is why", agrees=True)), 100))
    assert ("it is why" in said) is harm


def test_what_was_not_to_arrive() -> None:
    """Merged and left behind is as planned; a stale copy in the place of what is left behind is harm."""
    merged = [bitmap(name, "dropped", "left-behind", fate="merged", agrees=True) for name in ("b0", "b1")]
    said = text(rehearsed_lines(rehearsal(bitmap("bm-0"), *merged), 100))
    assert said.startswith("SURVIVES: 1 bitmap is whole on the destination, 2 merged into others\n")
    stale = bitmap("b2", "dropped", "stale", fate="left-behind", agrees=True, reason="it has other bits")
    said = text(rehearsed_lines(rehearsal(stale, outcome="fails"), 100))
    assert said.startswith("DOES NOT SURVIVE: the plan brings 0 of 0 bitmaps, 1 left behind as planned; 1 stale\n")
    assert "n0/b2: stale, it has other bits" in said


def test_disagreement_is_first() -> None:
    """Where the model is wrong, that stands before all else, whatever the outcome; the bitmap is first and marked."""
    found = (
        wrong(),
        wrong(what="log", side="destination", node=None, bitmap=None, foretold="", happened="Unknown alias"),
        wrong(what="side", side="source", node=None, bitmap=None, foretold="completed", happened="aborts"),
    )
    lost = bitmap(happened="lost", reason="it is nowhere", log=_KILLED)
    done = rehearsal(bitmap("a0"), lost, outcome="fails", disagreements=found)
    said = text(rehearsed_lines(done, 100, Limits(rows=1)))
    assert said.startswith(
        "THE MODEL IS WRONG: QEMU did otherwise than was foretold, in 3 points\n"
        "  bitmap n0/b0\n"
        "    foretold  arrives\n"
        "    QEMU      lost\n"
        "  log of the destination\n"
        "    foretold  nothing\n"
        "    QEMU      Unknown alias\n"
        "  source\n"
        "    foretold  completed\n"
        "    QEMU      aborts\n"
    )
    assert "\n\nDOES NOT SURVIVE: the plan brings 1 of 2 bitmaps; 1 lost\n" in said
    assert (
        "  migrate  n0/b0                  arrives   lost      NO\n"
        "  ... and 1 more; --all shows them\n"
        "  n0/b0: lost, it is nowhere\n"
        "    destination: Unknown bitmap alias 'b0'\n"
    ) in said


def test_agreement_says_nothing_of_the_model() -> None:
    """Where QEMU did what was foretold, the model is not spoken of."""
    assert "MODEL" not in text(rehearsed_lines(rehearsal(bitmap()), 100))


def test_harm_beside_its_refusal() -> None:
    """What became of the bitmaps of a refusal stands below it, with QEMU's own line once."""
    about = [
        bitmap(
            name,
            "kills-destination",
            "not-migrated",
            agrees=True,
            code=codes.SIZES_DIFFER.code,
            reason="the destination aborts",
            log=_KILLED,
        )
        for name in ("b0", "b1")
    ]
    done = rehearsal(
        *about,
        bitmap("b2", node="n1"),
        outcome="fails",
        verdict="refused",
        migration=RehearsedMigration(migration="destination-dies", source="completed", destination="aborts"),
        refusals=_REFUSED,
        log=(_KILLED,),
    )
    said = text(rehearsed_lines(done, 100))
    assert said.startswith("DOES NOT SURVIVE: the refused plan brings 1 of 3 bitmaps; 2 not migrated\n")
    assert (
        "  more    bitmapmig explain BM541\n"
        "  harm    n0/b0, n0/b1: not migrated, the destination aborts\n"
        "          destination: Unknown bitmap alias 'b0'\n"
    ) in said
    assert said.count("the destination aborts") == 1
    assert "would migrate  n1/b2   ->  n1/b2 " in said
    assert "or      accept" not in said
    assert said.index("Refused, and what came of it") < said.index("What QEMU printed")


def test_failures_of_a_refused_plan() -> None:
    """Of a refused plan those failures are shown that are not told as harm already."""
    stopped = codes.REHEARSAL_NOT_MIGRATED.at(Where(), source="refuses", destination="waiting", said="")
    refused = {"outcome": "fails", "verdict": "refused", "refusals": _REFUSED, "failures": (stopped,)}
    assert "BM852" in text(rehearsed_lines(rehearsal(**refused), 100))
    assert "BM852" not in text(rehearsed_lines(rehearsal(bitmap(happened="not-migrated"), **refused), 100))
    other = codes.FILE_NOT_WRITTEN.at(Where(), path="x", reason="y")
    refused["failures"] = (other,)
    assert "BM001" in text(rehearsed_lines(rehearsal(bitmap(happened="not-migrated"), **refused), 100))


def test_refused_without_harm() -> None:
    """A refused plan that did no harm is not called good."""
    done = rehearsal(bitmap(), outcome="refused", verdict="refused", refusals=_REFUSED)
    said = text(rehearsed_lines(done, 100))
    assert said.startswith("REFUSED, AND NO HARM SEEN: this proves nothing, the plan stays refused\n")
    assert "harm  " not in said


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "SURVIVES: there is no bitmap"),
        ({"migration": None}, "  migration    none was begun"),
        (
            {
                "migration": RehearsedMigration(
                    migration="fails", source="refuses", destination="waiting", error="Bitmap 'b0' is busy"
                )
            },
            "  migration    fails: source refuses, destination waiting; Bitmap 'b0' is busy",
        ),
        (
            {"source": end(substituted={"n0": "a null-co node", "n1": "a null-co node"})},
            "source       n0, n1: a null-co",
        ),
        ({"failures": _REFUSED}, "What is not as planned\nBM541"),
        ({"advice": _REFUSED}, "Advice\nBM541"),
    ],
)
def test_parts(members: dict[str, Any], said: str) -> None:
    """What there is of migration, substitutes and findings is said."""
    assert said in text(rehearsed_lines(rehearsal(**members), 100))


def test_long_lists_are_cut() -> None:
    """Of hundreds of bitmaps, disagreements and lines the first are shown, and the rest is counted; --all shows all."""
    names = [f"b{number:03}" for number in range(300)]
    done = rehearsal(
        *(bitmap(name, happened="lost", log=printed(name)) for name in names),
        outcome="fails",
        disagreements=tuple(wrong(bitmap=name) for name in names),
        log=tuple(printed(f"line {name}") for name in names),
        source=end(substituted=dict.fromkeys(names, "a null-co node")),
    )
    said = text(rehearsed_lines(done, 100, Limits()))
    assert len(said.splitlines()) < 300
    for words in ("280 more; --all", "200 more; --all", "280 more reasons; --all", "280 lines more of the destination"):
        assert f"... and {words}" in said
    assert "b019 and 280 more: a null-co node" in " ".join(said.split())
    assert "more" not in text(rehearsed_lines(done, 100)).replace("more    ", "")


@pytest.mark.parametrize("width", [40, 80])
def test_narrow_and_hostile(width: int) -> None:
    """Names and lines of strangers are shown escaped, and no line is wider than the screen."""
    lost = bitmap(HOSTILE, happened="lost", node=HOSTILE, reason=HOSTILE, log=printed(HOSTILE), code="BM541")
    done = rehearsal(
        lost,
        bitmap(HOSTILE, node=HOSTILE),
        outcome="fails",
        disagreements=(wrong(node=HOSTILE, bitmap=HOSTILE, foretold=HOSTILE, happened=HOSTILE),),
        source=end(binary=HOSTILE, qemu_version=HOSTILE, planned_version=HOSTILE + "x", substituted={HOSTILE: HOSTILE}),
        migration=RehearsedMigration(migration="fails", source="failed", destination="waiting", error=HOSTILE),
        refusals=_REFUSED,
        log=(printed(HOSTILE), printed(HOSTILE, "source")),
    )
    said = text(rehearsed_lines(done, width))
    assert set(said) <= {"\n", *map(chr, range(32, 127))}
    assert max(map(len, said.splitlines())) <= width
    assert "they DISAGREE" in " ".join(said.split())

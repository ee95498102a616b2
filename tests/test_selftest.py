"""The table of experiments, and what is made of what they answer, without any QEMU."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from bitmapmig import behaviour
from bitmapmig.behaviour import MEASURED, Behaviour
from bitmapmig.profile import Answer
from bitmapmig.selftest import EXPERIMENTS, Experiment
from bitmapmig.selftest.experiment import ABORTS, ARRIVES, DROPPED, EXITS, FAILS, MIGRATE_REFUSED, SOURCE_ABORTS, YES
from bitmapmig.selftest.outcome import Outcome, Seen
from bitmapmig.selftest.run import settled

if TYPE_CHECKING:
    from bitmapmig.selftest.lab import Lab

PLACE = ("disk0", "b0")
SOME_BITS = Seen(65536, recording=True, busy=False, persistent=False, inconsistent=False, digest="01")
OTHER_BITS = Seen(65536, recording=True, busy=False, persistent=False, inconsistent=False, digest="02")


async def _yes(_lab: Lab) -> str:
    return YES


def test_every_behaviour_has_an_experiment_and_no_other_is_tried() -> None:
    """The experiments and the table of behaviours are held equal both ways; none is tried twice."""
    tried = Counter(one.behaviour.name for one in EXPERIMENTS if one.behaviour is not None)
    assert tried == Counter(one.name for one in behaviour.ALL)


def test_names_are_unique() -> None:
    """No two experiments have one name, or one question."""
    assert [name for name, count in Counter(one.name for one in EXPERIMENTS).items() if count > 1] == []
    assert [words for words, count in Counter(one.question for one in EXPERIMENTS).items() if count > 1] == []


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda one: one.name)
def test_an_experiment_is_a_question_with_a_short_answer(experiment: Experiment) -> None:
    """A question ends as one; answers are a few plain words, and a harmful one is not the usual one."""
    assert experiment.question.endswith("?")
    answers = [experiment.usual, experiment.harmful] if experiment.behaviour else [experiment.usual]
    assert all(0 < len(answer) <= 30 and answer.strip() == answer for answer in answers)
    assert len(set(answers)) == len(answers)


def test_a_section_is_one_block() -> None:
    """The experiments of a section stand together, in the order of the profile."""
    sections = [one.section for one in EXPERIMENTS]
    changes = [here for before, here in zip([None, *sections], sections, strict=False) if here != before]
    assert len(changes) == len(set(sections))


@pytest.mark.parametrize(("release", "assumed"), [(MEASURED[0], "bad"), (MEASURED[1], "good"), ((6, 0), "bad")])
def test_what_is_assumed_of_a_behaviour_follows_from_the_table(release: tuple[int, int], assumed: str) -> None:
    """The harmful answer is that of the releases that it harms on, and of those between that may be like them."""
    harms = Behaviour("harms", frozenset(MEASURED[:1]))
    experiment = Experiment("name", "section", "What?", "good", _yes, harms, "bad")
    assert experiment.assumed((*release, 0)) == assumed


@pytest.mark.parametrize(("answer", "harms"), [("good", False), ("bad", True), ("unheard of", True)])
def test_an_answer_that_nobody_expects_is_taken_for_harm(answer: str, harms: bool) -> None:  # noqa: FBT001
    """The cautious side is taken."""
    harm = Behaviour("harms", frozenset())
    assert Experiment("name", "section", "What?", "good", _yes, harm, "bad").harms(answer) is harms


@pytest.mark.parametrize(("of", "harmful"), [(Behaviour("harms", frozenset()), ""), (None, "bad")])
def test_only_a_behaviour_has_a_harmful_answer(of: Behaviour | None, harmful: str) -> None:
    """One without the other is a mistake in the table."""
    with pytest.raises(ValueError, match="has a harmful answer"):
        Experiment("name", "section", "What?", "good", _yes, of, harmful)


_HARM = Behaviour("harms", frozenset(MEASURED[:1]))
_NEW, _OLD = (*MEASURED[1], 0), (*MEASURED[0], 0)


@pytest.mark.parametrize(
    ("version", "both", "counts", "agrees", "told"),
    [
        (_NEW, ("bad", "bad"), "bad", False, ""),
        (_NEW, ("bad", "good"), "bad", False, "first bad, then good"),
        (_NEW, ("odd", "bad"), "odd", False, "first odd, then bad"),
        (_NEW, ("bad", None), "bad", False, "first bad, then nothing, since it fails"),
        (_NEW, (None, "good"), "good", True, ""),
        (_NEW, (None, "bad"), "bad", False, ""),
        (_NEW, (None, None), None, False, "it fails"),
        (_OLD, ("good", "good"), "good", False, ""),
        (_OLD, ("good", "bad"), "bad", True, "first good, then bad"),
        (_OLD, ("good", None), None, False, "first good, then nothing, since it fails"),
    ],
)
def test_of_two_answers_the_harmful_one_counts(
    version: tuple[int, int, int],
    both: tuple[str | None, str | None],
    counts: str | None,
    agrees: bool,  # noqa: FBT001
    told: str,
) -> None:
    """Unless they are the same; none at all is no answer, and is overruled by one that comes the second time."""
    experiment = Experiment("name", "section", "What?", "good", _yes, _HARM, "bad")
    found = settled(experiment, *(_answered(experiment, version, one) for one in both))
    assert (found.answer, found.agrees) == (counts, agrees)
    assert found.reason.removeprefix("it answers now this, now that: ") == told


def _answered(experiment: Experiment, version: tuple[int, int, int], answer: str | None) -> Answer:
    assumed = experiment.assumed(version)
    return Answer(
        name=experiment.name,
        section=experiment.section,
        question=experiment.question,
        kind=experiment.kind,
        assumed=assumed,
        answer=answer,
        agrees=answer == assumed,
        reason="" if answer else "it fails",
    )


def outcome(**members: object) -> Outcome:
    """A migration that completed with `b0` on the destination, but for `members`."""
    words: dict[str, object] = {
        "source": "completed",
        "destination": "completed",
        "destination_exit": None,
        "refused": "",
        "source_log": (),
        "destination_log": (),
        "before": {PLACE: SOME_BITS},
        "bitmaps": {PLACE: SOME_BITS},
    }
    return Outcome(**(words | members))  # type: ignore[arg-type]


_DEAD = {"source": "failed", "destination": None, "destination_exit": 1}


@pytest.mark.parametrize(
    ("members", "answer"),
    [
        ({}, ARRIVES),
        ({"bitmaps": {PLACE: OTHER_BITS}}, "arrives altered"),
        ({"bitmaps": {("disk1", "b0"): SOME_BITS}}, DROPPED),
        ({"bitmaps": None}, DROPPED),
        ({"refused": "it is refused"}, MIGRATE_REFUSED),
        ({"source": None}, SOURCE_ABORTS),
        ({"destination": None, "destination_exit": -6}, ABORTS),
        ({"destination": None, "destination_exit": 1}, EXITS),
        (_DEAD | {"source_log": ("Unable to write to socket: Broken pipe",)}, EXITS),
        (_DEAD | {"source_log": ("failed to save SaveStateEntry with id(name): 3(dirty-bitmap): -5",)}, EXITS),
        (_DEAD | {"source_log": ("Bitmap 'b0' is inconsistent and cannot be used",)}, FAILS),
        (_DEAD | {"source_log": ("bdrv_inactivate_all() failed: -1",)}, FAILS),
        ({"source": "cancelled"}, "source cancelled, destination completed"),
    ],
)
def test_what_became_of_a_bitmap(members: dict[str, object], answer: str) -> None:
    """A migration comes to one answer: of what ended it first, and then of the bitmap."""
    assert outcome(**members).of() == answer


def test_a_bitmap_is_looked_for_where_it_is_to_be() -> None:
    """Under another node-name and another name, where the map gives it these."""
    assert outcome(bitmaps={("fmt0", "new"): SOME_BITS}).of(to=("fmt0", "new")) == ARRIVES


@pytest.mark.parametrize(
    ("bitmaps", "answer"),
    [
        ({PLACE: SOME_BITS}, "below"),
        ({("above0", "b0"): SOME_BITS, PLACE: SOME_BITS}, "above and below"),
        ({("drive9", "b0"): SOME_BITS}, "at drive9"),
        ({("disk0", "b1"): SOME_BITS}, DROPPED),
    ],
)
def test_where_a_bitmap_arrived(bitmaps: dict[tuple[str, str], Seen], answer: str) -> None:
    """By the words for the nodes, and by its name where there are none."""
    assert outcome(bitmaps=bitmaps).where("b0", above0="above", disk0="below") == answer


@pytest.mark.parametrize(
    ("bitmaps", "answer"),
    [
        ({}, "all dropped"),
        ({PLACE: SOME_BITS, ("disk1", "b0"): SOME_BITS}, "all arrives"),
        ({PLACE: SOME_BITS}, "arrives and dropped"),
    ],
)
def test_what_became_of_all(bitmaps: dict[tuple[str, str], Seen], answer: str) -> None:
    """One word where it is the same for all of them."""
    before = {PLACE: SOME_BITS, ("disk1", "b0"): SOME_BITS}
    assert outcome(before=before, bitmaps=bitmaps).all_of() == answer

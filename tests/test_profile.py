"""What a profile of a QEMU changes in a plan: the table by version gives way, and the model's own facts do not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings

from bitmapmig import state
from bitmapmig.applying.document import StaleError
from bitmapmig.applying.staleness import Seen, check
from bitmapmig.behaviour import ALL
from bitmapmig.diagnostics import CannotRunError
from bitmapmig.plans import dump, load
from bitmapmig.profile import Answer, Profile
from bitmapmig.report import plan_lines
from bitmapmig.verifying.cause import Causes
from bitmapmig.verifying.document import Difference
from bitmapmig.verifying.seen import Seen as SeenAfterwards
from tests.build import Part, bitmap, codes, destination, drive, job, node, planned, source
from tests.strategies import World, worlds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bitmapmig.behaviour import Version
    from bitmapmig.captures import Capture
    from bitmapmig.plans import Plan

_OLD: Version = (5, 2, 0)
_SEVEN: Version = (7, 2, 22)
_TEN: Version = (10, 0, 13)
_PACKAGE = "Debian 1:7.2+dfsg-7+deb12u18"


def _profile(measured: Mapping[str, bool] | None = None, *answers: Answer, **more: Any) -> Profile:
    """A profile of the QEMU that `tests.build` makes by default."""
    version = more.pop("version", _SEVEN)
    said: dict[str, Any] = {"qemu_version": ".".join(map(str, version)), "package": "", **more}
    return Profile(behaviours=dict(measured or {}), answers=answers, differs=(), **said)


def _answer(name: str = "unlisted-stay", **more: Any) -> Answer:
    """A fact that the model takes for granted, and that is none."""
    said: dict[str, Any] = {"section": "s", "question": "q?", "kind": "fact", "assumed": "yes", "answer": "no"}
    return Answer(name=name, **{**said, "agrees": False, **more})


def _ends(*more: Part, package: str = "", version: Version = _SEVEN) -> tuple[Capture, Capture]:
    """One disk with a bitmap, and a source that has more."""
    of: dict[str, Any] = {"version": version, "package": package}
    idle = node("idle")
    return source(node("n0", bitmaps=["b0"]), idle, *more, **of), destination(node("n0"), idle, **of)


def _job(kind: str) -> tuple[Part, ...]:
    return drive("d", "idle"), job("j0", kind, main="idle")


# behaviours


class _Case(NamedTuple):
    """A pair that is refused with `code` exactly where a behaviour harms."""

    behaviour: str
    code: str
    here: Sequence[Part]
    there: Sequence[Part] = (node("n0"), node("idle"))
    policy: Mapping[str, Any] = {}


_PLAIN = node("n0", bitmaps=["b0"])
_STORED = node("n0", "qcow2", [bitmap("b0", "persistent")])

_CASES = [
    *(_Case(f"{kind}-job-stops-switch-over", "BM518", (_PLAIN, node("idle"), *_job(kind)))
      for kind in ("commit", "backup", "stream")),
    _Case("copy-before-write-stops-switch-over", "BM519", (_PLAIN, node("f0", "copy-before-write", file="n0"))),
    _Case(
        "preallocate-below-format-stops-switch-over",
        "BM519",
        (_PLAIN, node("f0", "preallocate", file="n0"), node("top", "qcow2", file="f0")),
    ),
    _Case(
        "nodes-without-backend-are-passed-over",
        "BM548",
        (_STORED, drive("d", "n0")),
        (node("n0", "qcow2"), node("other"), drive("e", "other")),
    ),
    _Case(
        "storing-bitmaps-grows-the-file",
        "BM553",
        (node("n0", "file", ["b0"]), node("top", "qcow2", [bitmap("p0", "persistent")], file="n0")),
        (node("n0", "file"), node("top", "qcow2", file="n0")),
        {"deny": [{"bitmap": "p0"}]},
    ),
    _Case("blocked-reasons-are-not-told", "BM514", (_PLAIN, node("v0", "vmdk"))),
    _Case(
        "unreached-job-stops-switch-over",
        "BM518",
        (_PLAIN, node("idle"), node("#f", "mirror_top", file="idle"), job("j0", "commit", main="#f")),
    ),
]  # fmt: skip


@pytest.mark.parametrize("version", [_OLD, _SEVEN, _TEN], ids=lambda version: f"{version[0]}")
@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.behaviour)
def test_a_behaviour_that_was_measured(case: _Case, version: Version) -> None:
    """What a profile says refuses, or does not, whatever is known of the version; and nothing is assumed any more."""
    pair = source(*case.here, version=version), destination(*case.there, version=version)
    # below an unreached job, the job is one that harms
    others = {"commit-job-stops-switch-over": True, "storing-bitmaps-grows-the-file": False}
    for harms in (True, False):
        told = {**others, case.behaviour: harms}
        plan = planned(*pair, case.policy, profiles=[_profile(told, version=version)])
        assert codes(plan.refusals) == ([case.code] if harms else [])
        assert case.behaviour not in plan.assumed_from_version


@pytest.mark.parametrize("harms", [True, False])
def test_what_is_foretold_goes_by_the_profile(harms: bool) -> None:  # noqa: FBT001
    """Also where it makes no difference to the verdict: how both processes end, and what becomes of a bitmap."""
    told = {
        "mirror-may-abort-the-source-after-the-switch-over": harms,
        "persistent-bitmap-on-read-only-node-kills": harms,
    }
    profiles = [_profile(told)]
    assert planned(*_ends(*_job("mirror")), profiles=profiles).foretold.source == (None if harms else "completed")
    plan = planned(source(_STORED), destination(node("n0", "qcow2", ro=True)), profiles=profiles)
    assert plan.foretold.bitmaps[0].outcome == ("kills-destination" if harms else "lost-at-shutdown")


def test_only_what_was_measured_is_not_assumed() -> None:
    """A profile without an answer about the job leaves the table in force, and the plan says so."""
    pair = _ends(*_job("commit"))
    plan = planned(*pair, profiles=[_profile({"stream-job-stops-switch-over": True})])
    assert (codes(plan.refusals), plan.assumed_from_version) == (["BM518"], ("commit-job-stops-switch-over",))


def test_what_no_profile_can_tell_stays_assumed() -> None:
    """Whether an older QEMU takes what a newer one sends is nothing that a profile of one of them says."""
    here, there = _ends(version=_TEN)[0], _ends()[1]
    everything = dict.fromkeys((one.name for one in ALL), False)
    profiles = [_profile(everything, version=_TEN), _profile(everything)]
    plan = planned(here, there, profiles=profiles)
    assert plan.assumed_from_version == ("migration-to-an-older-version",)


def test_a_behaviour_of_a_newer_selftest_is_passed_over() -> None:
    """A switch that this model does not have changes nothing, and is not in the plan."""
    plan = planned(*_ends(), profiles=[_profile({"of-the-future": True, "stream-job-stops-switch-over": False})])
    assert (plan.verdict, plan.source.measured) == ("planned", {"stream-job-stops-switch-over": False})


# facts


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (_answer(), ["BM526"]),
        (_answer(agrees=True, answer="yes"), []),
        (_answer(answer=None, agrees=True, reason="no such command"), []),
        (_answer(answer=None, reason="it was not over within 10 s"), []),
        (_answer(kind="words"), []),
        (_answer(kind="behaviour", behaviour="of-the-future"), []),
        (_answer(kind="behaviour", behaviour="commit-job-stops-switch-over"), []),
    ],
)
def test_facts(answer: Answer, expected: list[str]) -> None:
    """A fact that is none on this QEMU refuses; not words, switches of the model, or what was not found out."""
    assert codes(planned(*_ends(), profiles=[_profile(None, answer)]).refusals) == expected


def test_all_facts_of_a_side_are_one_finding() -> None:
    """One finding an end lists every experiment, with what was asked, and what is printed cannot harm a terminal."""
    here, there = _ends()[0], _ends(version=_TEN)[1]
    two = _profile(None, _answer("b", question="\x1b[2J?"), _answer("a"))
    (found,) = planned(here, there, profiles=[two]).refusals
    assert (found.where.side, found.facts["experiments"]) == ("source", ["a", "b"])
    assert "'a' ('q?'): assumed 'yes', answered 'no'; 'b' (" in found.message
    assert "\x1b" not in found.message
    both = planned(*_ends(), profiles=[two]).refusals
    assert [one.where.side for one in both] == ["destination", "source"]


def test_nothing_is_promised_of_no_bitmaps() -> None:
    """A VM without named bitmaps is planned, whatever its QEMU does with bitmaps."""
    pair = source(node("n0")), destination(node("n0"))
    assert planned(*pair, profiles=[_profile(None, _answer())]).verdict == "planned"


# which end a profile is of


def test_a_profile_counts_for_the_end_that_it_is_of() -> None:
    """Version and package together say of which end it is; both ends may be of one build."""
    told = {"stream-job-stops-switch-over": True}
    here, there = _ends(package=_PACKAGE)[0], _ends()[1]
    for package, expected in ((_PACKAGE, (told, {})), ("", ({}, told))):
        plan = planned(here, there, profiles=[_profile(told, package=package)])
        assert (plan.source.measured, plan.destination.measured) == expected
    plan = planned(*_ends(package=_PACKAGE), profiles=[_profile(told, package=_PACKAGE)])
    assert (plan.source.measured, plan.destination.measured) == (told, told)


@pytest.mark.parametrize("other", [{"package": "another"}, {"version": _TEN}, {"qemu_version": "7.2"}])
def test_a_profile_of_another_qemu(other: dict[str, Any]) -> None:
    """A profile of neither end is an error that names it and both ends, one for each such profile."""
    with pytest.raises(CannotRunError) as raised:
        planned(*_ends(), profiles=[_profile(), _profile(**other), _profile(package="third")])
    first, second = raised.value.diagnostics
    assert codes(raised.value.diagnostics) == ["BM134"]
    assert (first.facts["source"], first.facts["destination"]) == ("7.2.22", "7.2.22")
    assert second.facts["profile"] == "7.2.22 (third)"


@pytest.mark.parametrize(
    ("one", "other", "about"),
    [
        (_profile({"a": True}), _profile({"a": False}), ["a"]),
        (_profile(None, _answer()), _profile(None, _answer(answer="yes", agrees=True)), ["unlisted-stay"]),
        (
            _profile({"b": True}, _answer(answer="yes", agrees=True)),
            _profile({"b": False}, _answer()),
            ["b", "unlisted-stay"],
        ),
    ],
)
def test_profiles_that_contradict_each_other(one: Profile, other: Profile, about: list[str]) -> None:
    """Two profiles of one build that say different things are an error; in which order makes no difference."""
    for profiles in ([one, other], [other, one]):
        with pytest.raises(CannotRunError) as raised:
            planned(*_ends(), profiles=profiles)
        (found,) = raised.value.diagnostics
        assert (found.code, found.facts["about"]) == ("BM135", about)


def test_profiles_of_one_build_add_up() -> None:
    """The same profile twice is as once, and two that were asked different things say both."""
    stream, commit = ({f"{kind}-job-stops-switch-over": True} for kind in ("stream", "commit"))
    untold = _answer(answer=None, agrees=True)
    plan = planned(*_ends(), profiles=[_profile(stream, untold), _profile(stream), _profile(commit, _answer())])
    assert plan.source.measured == {**commit, **stream}
    assert codes(plan.refusals) == ["BM526"]


# the plan has it


def test_a_plan_carries_what_was_measured() -> None:
    """It is written, sorted, and read again; the fingerprint, which says what the graph is, does not depend on it."""
    told = {"stream-job-stops-switch-over": True, "commit-job-stops-switch-over": False}
    pair = _ends(package=_PACKAGE)
    plan = planned(*pair, profiles=[_profile(told, package=_PACKAGE)])
    document = json.loads(dump(plan))["source"]
    assert (list(document["measured"].items()), document["package"]) == (sorted(told.items()), _PACKAGE)
    assert load(dump(plan)) == plan
    without = planned(*pair)
    assert without.source.fingerprint == plan.source.fingerprint
    assert not {"measured", "package"} & set(json.loads(dump(without))["source"])
    assert load(dump(without)).source.measured == {}


def test_the_text_says_that_a_profile_was_used() -> None:
    """In the line of the end whose profile there is."""
    here, there = _ends(package=_PACKAGE)[0], _ends()[1]
    plan = planned(here, there, profiles=[_profile({ALL[0].name: True}, package=_PACKAGE)])
    said = [line.plain for line in plan_lines(plan, 120) if "7.2.22" in line.plain]
    assert ["as its profile says" in line for line in said] == [True, False]


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(worlds())
def test_a_profile_of_what_is_assumed_changes_nothing(world: World) -> None:
    """Where every answer is what is assumed of the version, the plan is the same but for what says where it is from."""
    ends = world.captures()
    profiles = {}
    for found in map(state.read, ends):
        assumed = {one.name: one.assumed(found.version) for one in ALL}
        profiles[found.program] = _profile(assumed, version=found.version, package=found.package)
    plan = planned(*ends, world.policy, profiles=list(profiles.values()))
    if world.plan().bitmaps:
        assert not set(plan.assumed_from_version) & {one.name for one in ALL}
    assert plan.source.measured
    assert plan.destination.measured
    as_before: dict[str, Any] = {"measured": {}, "package": ""}
    again = plan.model_copy(
        update={
            "source": plan.source.model_copy(update=as_before),
            "destination": plan.destination.model_copy(update=as_before),
            "assumed_from_version": world.plan().assumed_from_version,
        }
    )
    assert dump(again) == dump(world.plan())


# afterwards


def _check(plan: Plan, here: Capture, there: Capture) -> list[str]:
    """What makes the plan stale, by the codes."""
    seen = Seen.of("source", plan.source, here), Seen.of("destination", plan.destination, there)
    try:
        check(plan, *seen)
    except StaleError as error:
        return codes(error.diagnostics)
    return []


def _forgetful(plan: Plan) -> Plan:
    """The plan without what was measured."""
    nothing: dict[str, Any] = {"measured": {}, "package": ""}
    ends = {side: getattr(plan, side).model_copy(update=nothing) for side in ("source", "destination")}
    return plan.model_copy(update=ends)


def test_a_plan_is_looked_at_again_by_its_profile() -> None:
    """What does no harm on this build does not make the plan stale; what does harm here, and is new, makes it so."""
    commits = _ends(*_job("commit"))
    plan = planned(*commits, profiles=[_profile({"commit-job-stops-switch-over": False})])
    assert plan.verdict == "planned"
    assert [_check(load(dump(plan)), *commits), _check(_forgetful(plan), *commits)] == [[], ["BM713"]]
    calm, streams = _ends(drive("d", "idle")), _ends(*_job("stream"))
    plan = planned(*calm, profiles=[_profile({"stream-job-stops-switch-over": True})])
    assert [_check(load(dump(plan)), *streams), _check(_forgetful(plan), *streams)] == [["BM713"], []]


def test_another_build_is_another_qemu() -> None:
    """What was measured of one build says nothing of another of that version; without a profile it does not matter."""
    profile = _profile({"commit-job-stops-switch-over": False}, package=_PACKAGE)
    before, after = _ends(package=_PACKAGE), _ends(package=f"{_PACKAGE}.1")
    assert _check(planned(*before, profiles=[profile]), *after) == ["BM711"]
    assert _check(planned(*before), *after) == []


def test_causes_are_looked_for_by_the_profile() -> None:
    """`verify` explains a loss by what this build of QEMU does."""
    here, there = _ends(*_job("stream"))
    plan = planned(*_ends(drive("d", "idle")), profiles=[_profile({"stream-job-stops-switch-over": True})])
    ends = Seen.of("source", plan.source, here), Seen.of("destination", plan.destination, there)
    on = {"dirty-bitmaps": True}
    one, two = (SeenAfterwards(end.graph, replace(end.state, capabilities=on, measured={})) for end in ends)
    (bitmap,) = plan.bitmaps
    missing = Difference(what="presence", expected=True, found=False)
    cause, code = Causes(plan, one, two, ()).likely(bitmap, missing)
    assert (code, "'j0' still runs" in str(cause)) == ("BM518", True)
    assert Causes(_forgetful(plan), one, two, ()).likely(bitmap, missing)[1] is None

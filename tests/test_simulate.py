"""Simulations: steps in every spelling, what they do, what would keep the bitmaps, and whether a plan still holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.report import ASCII, UNLIMITED, simulated_lines
from bitmapmig.simulating import Simulated, simulate
from bitmapmig.simulating.spelling import spelled
from bitmapmig.simulating.stories import ABOUT, WHOLE
from tests.build import bitmap, destination, drive, guest, job, node, source, stored

if TYPE_CHECKING:
    from bitmapmig.captures import Capture

WHERE = Where(key="step 1")
FILE = {"driver": "file", "filename": "t.qcow2"}


def _vm() -> Capture:
    return source(
        node("base0", "qcow2", file="file1", bitmaps=[bitmap("daily", "persistent")], ro=True),
        node("file1", "file", ro=True),
        node(
            "fmt0",
            "qcow2",
            file="file0",
            backing="base0",
            bitmaps=[bitmap("daily", "persistent")],
            stored=[stored("daily")],
        ),
        node("file0", "file"),
        node("raw0", "raw", file="file2", bitmaps=["t"]),
        node("file2", "file"),
        drive("drive0", "fmt0", "/machine/peripheral/vd0/virtio-backend"),
        guest("vd1", "raw0"),
    )


def _simulated(*steps: str, **options: Any) -> Simulated:
    return simulate(_vm(), steps, **options)


def _became(made: Simulated) -> dict[str, str]:
    return {f"{one.node}/{one.bitmap}": one.outcome for one in made.bitmaps}


def _words(made: Simulated) -> list[str]:
    return [one.operation for step in made.steps for one in step.operations]


def _error(*steps: str, **options: Any) -> tuple[str, str | None, str]:
    with pytest.raises(CannotRunError) as raised:
        _simulated(*steps, **options)
    (found,) = raised.value.diagnostics
    return found.code, found.where.key, found.message


# spellings


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("w", {}),
        ("w a=1 b=true c=False d=x e=-3", {"a": 1, "b": True, "c": False, "d": "x", "e": -3}),
        ("w file.driver=file file.filename=t.qcow2", {"file": FILE}),
        ("w a.b.c=1 a.d=2", {"a": {"b": {"c": 1}, "d": 2}}),
        ('w bitmaps=[{"node":"n","name":"b 0"},"b1"]', {"bitmaps": [{"node": "n", "name": "b 0"}, "b1"]}),
        ("w bitmaps=[{'node':'n','x':null,'y':true}]", {"bitmaps": [{"node": "n", "x": None, "y": True}]}),
        ('w a="b c" d=\'e', None),
        ('w name="b c"', {"name": "b c"}),
        ("w a=b=c", {"a": "b=c"}),
        ("w name=[x", {"name": "[x"}),
        ("w a=1.5", {"a": "1.5"}),
        ('{"execute": "w"}', {}),
        ('{"execute": "w", "arguments": {"a": [1]}, "id": 7}', {"a": [1]}),
        ('{"w": {"a": 1}}', {"a": 1}),
        ('{"w": null}', {}),
    ],
)  # fmt: skip
def test_spellings(text: str, arguments: dict[str, Any] | None) -> None:
    """A step is read as qmp-shell reads it, as QMP, or as in a scenario."""
    if arguments is None:
        with pytest.raises(CannotRunError, match="BM252"):
            spelled(text, WHERE)
    else:
        assert spelled(text, WHERE)[:2] == ("w", arguments)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "w a", "w =1", "w a=1 a=2", "w a=1 a.b=2", "w a.b=1 a=2", 'w a="', "{", "{}", '{"execute": 1}',
        '{"execute": "w", "arguments": []}', '{"execute": "w", "more": 1}', '{"a": {}, "b": {}}', '{"w": 1}',
        '{"w": {"a": 1, "a": 2}}', '{"w": {"a": "\\ud800"}}', '{"w": {"a": NaN}}',
        '{"w": {"a": ' + "[" * 60 + "]" * 60 + "}}",
        '{"w": ' + "[" * 100_000,
    ],
)  # fmt: skip
def test_misspellings(text: str) -> None:
    """What is no step is told with its place, and is no crash."""
    with pytest.raises(CannotRunError) as raised:
        spelled(text, WHERE)
    assert [(one.code, one.where.key) for one in raised.value.diagnostics] == [("BM252", "step 1")]


_LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | st.text()
_JSON = st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(st.dictionaries(st.text("abc-", min_size=1), _JSON))
def test_json_is_read_as_it_is(arguments: dict[str, Any]) -> None:
    """Both ways to write JSON give back what was written."""
    assert spelled(json.dumps({"execute": "w", "arguments": arguments}), WHERE).arguments == arguments
    assert spelled(json.dumps({"w": arguments}), WHERE).arguments == arguments


def test_bytes_that_are_no_text() -> None:
    """A step that is no UTF-8 is told so, also where it is not taken."""
    assert _error("\udcff x=1")[:2] == ("BM252", "step 1")
    assert _error("block-job-complete device=x", "mirror \udcff")[:2] == ("BM252", "step 2")


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes anything else than a step or BM252."""
    try:
        assert spelled(text, WHERE).word
    except CannotRunError as error:
        assert {one.code for one in error.diagnostics} == {"BM252"}  # noqa: PT017


def test_unknown_and_malformed_steps() -> None:
    """A step that is none says where it stands."""
    assert _error("mirror drive0", "blockdev-mirorr a=1")[:2] == ("BM251", "step 2")
    assert _error("block-stream job-id=7")[:2] == ("BM252", "step 1")


# stories


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (("mirror drive0",), ["blockdev-add", "blockdev-mirror", "BLOCK_JOB_READY"]),
        (("mirror drive0", "pivot drive0"), ["block-job-complete", "BLOCK_JOB_COMPLETED"]),
        (("mirror fmt0", "pivot mirror0"), ["block-job-complete", "BLOCK_JOB_COMPLETED"]),
        (("mirror vd0", "cancel drive0"), ["block-job-cancel", "BLOCK_JOB_COMPLETED"]),
        (("snapshot drive0",), ["blockdev-snapshot-sync"]),
        (("snapshot vd1",), ["blockdev-snapshot-sync"]),
        (("commit drive0",), ["block-commit", "BLOCK_JOB_READY", "block-job-complete", "BLOCK_JOB_COMPLETED"]),
        (("stream drive0",), ["block-stream", "BLOCK_JOB_COMPLETED"]),
        (("backup vd1",), ["blockdev-add", "blockdev-backup"]),
        (("backup drive0", "end drive0"), ["BLOCK_JOB_COMPLETED"]),
        (("backup drive0", "cancel drive0"), ["block-job-cancel", "BLOCK_JOB_CANCELLED"]),
        (("throttle vd1",), ["blockdev-add", "blockdev-reopen"]),
        (("unplug vd0",), ["device_del", "DEVICE_DELETED"]),
        (("restart",), ["shutdown-and-restart"]),
        (("crash",), ["crash-and-restart"]),
    ],
)
def test_stories(steps: tuple[str, ...], words: list[str]) -> None:
    """A story stands for these operations, and they can be done."""
    made = _simulated(*steps)
    assert made.verdict == "simulated"
    assert [one.operation for one in made.steps[-1].operations] == words


def test_pivot_of_a_job_that_is_not_ready() -> None:
    """A mirror that is in the capture becomes ready before it is completed."""
    vm = source(
        node("#top", "mirror_top", backing="n0"), node("n0"), node("n1"), guest("vd0", "#top"),
        job("m0", "mirror", main="#top", source="n0", target="n1"),
    )  # fmt: skip
    assert _words(simulate(vm, ["pivot vd0"])) == ["BLOCK_JOB_READY", "block-job-complete", "BLOCK_JOB_COMPLETED"]


_NOTHING = (
    *(f"{word} nosuch" for word in ABOUT if word != "unplug"),
    *ABOUT,
    *(f"{word} drive0" for word in WHOLE),
    "pivot drive0",
    "throttle drive0",
)


@pytest.mark.parametrize("step", _NOTHING)
def test_stories_about_nothing(step: str) -> None:
    """A story about what is not there, or without a name, is malformed."""
    assert _error(step)[:2] == ("BM252", "step 1")


# what comes of it


def test_mirror_and_pivot() -> None:
    """The old root of a drive ends with its bitmap; the recipe has it on the target."""
    made = _simulated("mirror drive0", "pivot drive0")
    assert _became(made)["fmt0/daily"] == "is-lost"
    (recipe,) = made.recipes
    assert (recipe.step, recipe.operation) == (1, "blockdev-mirror")
    assert made.followed is not None
    kept = {one.name: [b.name for b in one.bitmaps] for one in made.followed.nodes}
    assert kept["target0"] == ["daily"]
    assert "target0" in {backend.root for backend in made.followed.backends}


def test_a_cancelled_mirror_needs_no_recipe() -> None:
    """Nothing is lost where nothing pivots."""
    made = _simulated("mirror drive0", "cancel drive0")
    assert set(_became(made).values()) == {"stays"}
    assert (made.recipes, made.followed) == ((), None)


def test_recipes_build_on_one_another() -> None:
    """A later recipe is for the bitmaps that an earlier one has kept."""
    made = _simulated("mirror drive0", "pivot drive0", "snapshot drive0", "restart")
    assert [(one.step, one.operation) for one in made.recipes] == [
        (1, "blockdev-mirror"), (3, "blockdev-snapshot-sync"), (4, "shutdown-and-restart")]  # fmt: skip
    assert ("target0", "overlay0") in {(one.node, one.kept_on) for one in made.recipes[1].bitmaps}
    assert made.followed is not None
    assert [one.name for one in made.followed.nodes if one.name == "overlay0" and one.bitmaps] == ["overlay0"]


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        (("commit drive0",), "base0"),
        (("stream drive0",), "fmt0"),
        (("mirror vd1", "pivot vd1", "mirror vd1", "pivot vd1"), "fmt0"),
        (("crash",), "fmt0"),
        (
            ('transaction actions=[{"type":"blockdev-snapshot-sync","data":{"device":"drive0","snapshot-file":"o"}}]',),
            "overlay0",
        ),
    ],
)
def test_recipes_can_be_simulated(steps: tuple[str, ...], kept: str) -> None:
    """Every step of a recipe is one that QEMU takes, in that order; at the end the bitmap is where it is to be."""
    made = _simulated(*steps)
    assert made.recipes
    assert made.followed is not None
    assert "daily" in [b.name for one in made.followed.nodes if one.name == kept for b in one.bitmaps]
    assert not [b.name for one in made.followed.nodes for b in one.bitmaps if ".tmp" in b.name]


def test_recipe_of_a_job_that_runs_already() -> None:
    """Where the capture has the mirror, the recipe is for its completion."""
    vm = source(
        node("#top", "mirror_top", backing="n0"), node("n0", bitmaps=["b"]), node("n1"), guest("vd0", "#top"),
        job("m0", "mirror", main="#top", source="n0", target="n1"),
    )  # fmt: skip
    made = simulate(vm, ["pivot vd0"])
    assert [(one.operation, one.bitmaps[0].result) for one in made.recipes] == [("block-job-complete", "superset")]
    assert made.followed is not None
    assert [one.name for one in made.followed.nodes if one.bitmaps] == ["n1"]


def test_what_the_user_does_himself() -> None:
    """Where the steps make the bitmap themselves, a recipe would be in their way: there is no graph to show for it."""
    made = _simulated(
        "mirror drive0", "pivot drive0", "block-dirty-bitmap-add node=target0 name=daily granularity=65536"
    )
    assert (made.verdict, made.followed) == ("simulated", None)


def test_refused() -> None:
    """Where QEMU would refuse a step, it is said which and why, and no step is taken after it."""
    made = _simulated("mirror drive0", "mirror drive0", "pivot drive0")
    assert made.verdict == "refused"
    assert made.refusal is not None
    assert (made.refusal.code, made.refusal.where.key) == ("BM253", "step 2")
    assert [len(step.operations) for step in made.steps] == [3, 2, 0]
    assert made.steps[1].operations[1].refusal == made.refusal


def test_not_simulated() -> None:
    """What is not simulated is an error, with its place."""
    code, place, _ = _error("restart", "block-commit job-id=c0 device=drive0 top=some.qcow2")
    assert (code, place) == ("BM254", "step 2")


def test_release() -> None:
    """Another release behaves otherwise."""
    assert {one.driver for one in _simulated("backup drive0", release=(5, 2)).after.nodes} >= {"backup-top"}
    assert {one.driver for one in _simulated("backup drive0", release=(10, 0)).after.nodes} >= {"copy-before-write"}
    assert _simulated("backup drive0").release == "7.2"


def test_step_by_step() -> None:
    """With each operation comes the graph after it; the last one is the graph after all."""
    made = _simulated("mirror drive0", "pivot drive0", each=True)
    shown = [one.structure for step in made.steps for one in step.operations]
    assert (len(shown), shown[-1]) == (5, made.after)
    assert all(one.structure is None for step in _simulated("mirror drive0").steps for one in step.operations)


def test_rules() -> None:
    """Addresses are those of the rule set that was asked for."""
    made = _simulated("snapshot drive0", rules="qemu")
    became = {one.node: one for one in made.bitmaps if one.bitmap == "daily"}["fmt0"]
    assert became.address_before == "drive0"


# the plan


def _there(root: str) -> Capture:
    return destination(
        node(root, "qcow2", file="file0", backing="base0"),
        node("file0", "file"),
        node("base0", "qcow2", file="file1"),
        node("file1", "file"),
        node("raw0", "raw", file="file2"),
        node("file2", "file"),
        drive("drive0", root, "/machine/peripheral/vd0/virtio-backend"),
        guest("vd1", "raw0"),
    )


def _quiet() -> Capture:
    """A source on which a plan needs no more than a destination of the same names."""
    return source(
        node("fmt0", "qcow2", file="file0", bitmaps=["daily"]), node("file0", "file"), guest("vd0", "fmt0"),
        node("other", bitmaps=["x"]),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "outcome"),
    [
        (["backup other"], "stale"),
        (["block-dirty-bitmap-add node=other name=y"], "stale"),
        (["blockdev-add driver=null-co node-name=free"], "holds"),
        (["blockdev-add driver=null-co node-name=free", "block-dirty-bitmap-add node=free name=b"], "refused"),
    ],
)
def test_plan(steps: list[str], outcome: str) -> None:
    """A plan holds, is stale, or is refused after the steps."""
    there = destination(node("fmt0", "qcow2", file="file0"), node("file0", "file"), guest("vd0", "fmt0"), node("other"))
    made = simulate(_quiet(), steps, destination=there)
    assert made.plan is not None
    assert (made.plan.before.verdict, made.plan.outcome) == ("planned", outcome), made.plan.before.refusals


def test_plan_that_is_mended() -> None:
    """What cannot be planned before may be planned after."""
    made = simulate(_quiet(), ["block-dirty-bitmap-remove node=fmt0 name=daily"],
                    destination=destination(node("other"), node("new"), guest("vd0", "new")))  # fmt: skip
    assert made.plan is not None
    assert made.plan.outcome == "mended"


# the text


def _text(made: Simulated, width: int = 100) -> str:
    return "\n".join(line.plain for line in simulated_lines(made, width, UNLIMITED, ASCII))


def test_text_beside_and_below() -> None:
    """Both graphs are beside one another where there is room, else one below the other; what differs is marked."""
    made = _simulated("snapshot vd1")
    wide = _text(made, 200).splitlines()
    title = next(line for line in wide if line.startswith("Before"))
    assert title.endswith("After")
    assert any(line.startswith("- `- raw0") and "+ `- overlay0" in line for line in wide)
    narrow = _text(made, 40).splitlines()
    assert {"Before", "After"} <= set(narrow)


def test_commands_are_never_folded() -> None:
    """Each command of a recipe is JSON on one line, in any width, as the document has it."""
    made = _simulated("mirror drive0", "pivot drive0")
    lines = [json.loads(line) for line in _text(made, 40).splitlines() if line.startswith("{")]
    steps = [step.command.model_dump(exclude_defaults=True) for one in made.recipes for step in one.steps]
    assert lines == steps


def test_recipe_begins_with_what_is_done_before() -> None:
    """The commands of the same step that come before the operation are in its recipe, with what a shell has to do."""
    made = _simulated("block-dirty-bitmap-disable node=raw0 name=t", "mirror drive0", "pivot drive0")
    (recipe,) = made.recipes
    first, second, *_ = recipe.steps
    assert (first.command.execute, second.command.execute) == ("blockdev-add", "blockdev-mirror")
    assert first.command.arguments == made.steps[1].operations[0].arguments
    assert first.note.startswith("qemu-img create -f qcow2 target0.qcow2 ")
    assert _text(made, 40).count(f"# {first.note}\n") == 2
    (alone,) = _simulated("snapshot drive0").recipes
    assert [step.command.execute for step in alone.steps] == ["transaction"]


def test_throttle_group_is_a_command() -> None:
    """The group of a throttle filter is made by a QMP command, printed as the others are; each filter has its own."""
    made = _simulated("throttle vd1")
    first = made.steps[0].operations[0].first
    assert first is not None
    assert (first.execute, first.arguments) == ("object-add", {"qom-type": "throttle-group", "id": "group0"})
    assert f"     {json.dumps(first.model_dump())}" in _text(made).splitlines()
    assert made.steps[0].operations[0].arguments["throttle-group"] == "group0"


def test_guest_device_by_its_id() -> None:
    """A guest device is drawn by its id, and by its place in QEMU's tree where it has none."""
    without = "/machine/peripheral-anon/device[0]/virtio-backend"
    vm = source(node("n0"), guest("vd1", "n0"), node("n1"), drive("drive0", "n1", without))
    lines = _text(simulate(vm, ["restart"])).splitlines()
    assert "  guest device vd1" in lines
    assert f"  device drive0, guest device {without}" in lines


def test_one_picture_where_nothing_changes() -> None:
    """Where the first step is refused, the graph is drawn once."""
    said = _text(_simulated("block-job-complete device=x")).splitlines()
    assert "Before and after" in said
    assert sum("raw0" in line and "16 MiB" in line for line in said) == 1
    assert "Before and after" not in _text(_simulated("snapshot vd1")).splitlines()


@settings(max_examples=30)
@given(st.text(min_size=1, max_size=12), st.integers(40, 120))
def test_hostile_names(name: str, width: int) -> None:
    """Whatever a bitmap is called, the text is printable, and its commands are still JSON."""
    made = simulate(source(node("n0", bitmaps=[name]), guest("vd0", "n0")), ["mirror vd0", "pivot vd0"])
    for line in _text(made, width).splitlines():
        assert line.isprintable()
        if line.startswith("{"):
            json.loads(line)


def test_text_of_a_refusal() -> None:
    """A refusal stands first, with its step; steps after it are not taken."""
    said = _text(_simulated("block-job-complete device=x", "restart"))
    assert said.startswith("REFUSED: step 1 of 2")
    assert "BM253" in said
    assert "restart  not taken" in said

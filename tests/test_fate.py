"""The model of QEMU, rule by rule; tests/live holds it against QEMU itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bitmapmig import graph, state
from bitmapmig.fate import Foretold, Images, Qemu, foretell
from tests.build import MIB, bitmap, destination, drive, export, guest, job, node, source, stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bitmapmig.captures import Capture
    from bitmapmig.fate.outcome import Outcome
    from tests.build import Part, Raw

ON = {"dirty-bitmaps": True}


def side(capture: Capture, name: Any) -> Qemu:
    """One side of a hand-built pair, as it is."""
    return Qemu.of(graph.read(capture, name)[0], state.read(capture))


def told(here: Sequence[Part], there: Sequence[Part] | None, images: Images | None = None, **more: Any) -> Foretold:
    """What is foretold of hand-built sides; `more` is said of the source, or of the destination as `there_...`."""
    of_destination = {key.removeprefix("there_"): value for key, value in more.items() if key.startswith("there_")}
    of_source = {key: value for key, value in more.items() if not key.startswith("there_")}
    taker = None if there is None else side(destination(*there, **of_destination), "destination")
    return foretell(side(source(*here, **{"capabilities": ON, **of_source}), "source"), taker, images)


def entry(name: str, alias: str, **bitmaps: str) -> Raw:
    """A node of a mapping, its bitmap aliases by name."""
    listed = [{"name": one, "alias": other} for one, other in bitmaps.items()]
    return {"node-name": name, "alias": alias, "bitmaps": listed}


def mapping(*entries: Raw) -> Raw:
    """Migration parameters with a mapping in force."""
    return {"block-bitmap-mapping": list(entries)}


N = node("n", bitmaps=["b"])
AUTO = node("#n", bitmaps=["b"])
HELD = "Bitmap 'b' is currently in use by another operation and cannot be used"


@pytest.mark.parametrize(
    ("here", "alias"),
    [
        ([N], "n"),
        ([N, drive("d", "n")], "d"),
        ([AUTO, drive("d", "#n")], "d"),
        ([N, node("t", "throttle", file="n"), drive("d", "t")], "d"),
        ([N, node("t", "throttle", file="n", bitmaps=["own"]), drive("d", "t")], "n"),
        ([N, node("r", "raw", file="n"), drive("d", "r")], "n"),
        ([N, guest("vda", "n")], "n"),
        ([N, drive("cd", None)], "n"),
    ],
)
def test_names_without_a_mapping(here: list[Part], alias: str) -> None:
    """A device gives its name to the first node below its root that is no filter, if no filter above has a bitmap."""
    fates = {one.node: one for one in told(here, None).bitmaps if one.bitmap == "b"}
    (fate,) = fates.values()
    assert (fate.outcome, fate.node_alias, fate.bitmap_alias) == ("sent", alias, "b")


@pytest.mark.parametrize(
    ("here", "line"),
    [
        ([AUTO], "Bitmap 'b' in a node with auto-generated name '#n' can't be migrated"),
        ([node("n", bitmaps=[bitmap("b", "busy")])], HELD),
        ([node("n", bitmaps=[bitmap("b", "inconsistent")])], "Bitmap 'b' is inconsistent and cannot be used"),
        (
            [node("n", "qcow2", bitmaps=[bitmap("b", "persistent")], stored=["b"], ro=True)],
            "Bitmap 'b' is readonly and cannot be modified",
        ),
        ([N, drive("d0", "n"), drive("d1", "n")], HELD),
    ],
)
def test_the_source_refuses(here: list[Part], line: str) -> None:
    """One bitmap that cannot be sent fails the whole migration, with a line that names it."""
    foretold = told([*here, node("other", bitmaps=["c"])], [node("n"), node("other")])
    assert (foretold.migration, foretold.source, foretold.destination) == ("fails", "failed", "exits")
    assert (foretold.log[0].side, foretold.log[0].text) == ("source", line)
    fates = {one.bitmap: one for one in foretold.bitmaps}
    assert (fates["b"].outcome, fates["b"].others_lost) == ("blocks-source", 1)
    assert fates["c"].outcome == "lost-with-another"


def test_the_source_refuses_what_the_mapping_does_not_list() -> None:
    """The state of every bitmap of a mapped node counts, though the list of its bitmaps be empty; others' does not."""
    here = [node("n", bitmaps=[bitmap("b", "busy")]), node("m", bitmaps=["c"])]
    assert told(here, [node("n")], parameters=mapping(entry("n", "n"))).migration == "fails"
    unmapped = told(here, [node("m")], parameters=mapping(entry("m", "m", c="c")))
    assert (unmapped.migration, [one.outcome for one in unmapped.bitmaps]) == ("completes", ["arrives", "dropped"])


def test_a_name_is_too_long_by_default_only() -> None:
    """A name over 255 bytes fails by default and arrives under an alias."""
    here, there = [node("n", bitmaps=["x" * 256])], [node("n")]
    assert told(here, there).migration == "fails"
    listed = {"node-name": "n", "alias": "n", "bitmaps": [{"name": "x" * 256, "alias": "x"}]}
    assert told(here, there, parameters=mapping(listed)).bitmaps[0].destination_bitmap == "x"


@pytest.mark.parametrize(
    ("here", "there", "more", "line"),
    [
        ([N], [node("m")], {}, "Cannot find device='n' nor node-name='n'"),
        ([N, drive("d", "n")], [node("n"), drive("d", None)], {}, "Device 'd' has no medium"),
        ([N], [node("n")], {"there_parameters": mapping(entry("n", "m", b="b"))}, "Error: Unknown node alias 'n'"),
        (
            [N],
            [node("n")],
            {"there_parameters": mapping(entry("n", "n", c="c"))},
            "Error: Unknown bitmap alias 'b' on node 'n' (alias 'n')",
        ),
        (
            [N],
            [node("n")],
            {"there_parameters": mapping(entry("gone", "n", b="b"))},
            "Cannot find device='' nor node-name='gone'",
        ),
        ([N], [node("n")], {"there_parameters": mapping()}, "Error: Unknown node alias 'n'"),
    ],
)
def test_what_is_not_found_drops_everything(here: list[Part], there: list[Part], more: Raw, line: str) -> None:
    """Both sides say `completed`, every bitmap is gone, and one line on the destination tells why."""
    foretold = told([*here, node("other", bitmaps=["c"])], [*there, node("other")], **more)
    assert (foretold.migration, foretold.source, foretold.destination) == ("completes", "completed", "completed")
    assert [(one.side, one.text) for one in foretold.log] == [("destination", line)]
    fates = {one.bitmap: one.outcome for one in foretold.bitmaps}
    assert fates["b"] == "dropped"
    assert fates["c"] in ("dropped", "lost-with-another")


def test_nothing_is_sent_without_the_capability() -> None:
    """With `dirty-bitmaps` off on the source nothing is sent; the destination's does not count."""
    assert told([N], [node("n")], capabilities={}, there_capabilities=ON).bitmaps[0].outcome == "dropped"
    assert told([N], [node("n")], there_capabilities={}).bitmaps[0].outcome == "arrives"


def test_an_empty_mapping_is_not_no_mapping() -> None:
    """With `[]` nothing is sent."""
    fate = told([N], [node("n")], parameters=mapping()).bitmaps[0]
    assert (fate.outcome, fate.reason) == ("dropped", "the mapping of the source does not have its node")


def test_a_device_as_node_name_of_a_mapping_matches_nothing() -> None:
    """A mapping knows node-names only."""
    here: list[Part] = [AUTO, drive("d", "#n")]
    assert told(here, [node("n")], parameters=mapping(entry("d", "n", b="b"))).bitmaps[0].outcome == "dropped"
    assert told(here, [node("n")], parameters=mapping(entry("#n", "n", b="b"))).bitmaps[0].outcome == "arrives"


def test_a_device_of_the_destination_is_its_very_root() -> None:
    """The destination does not skip filters."""
    there: list[Part] = [node("n"), node("t", "throttle", file="n"), drive("d", "t")]
    assert told([N, drive("d", "n")], there).bitmaps[0].destination_node == "t"


@pytest.mark.parametrize("transform", [None, True, False])
def test_transforms(transform: bool | None) -> None:  # noqa: FBT001
    """`transform.persistent` of the destination wins over the source's, which wins over what the bitmap is."""
    listed: Raw = {"name": "b", "alias": "b", "transform": {"persistent": True}}
    both: Raw = dict(listed) if transform is None else {**listed, "transform": {"persistent": transform}}
    here = mapping({"node-name": "n", "alias": "n", "bitmaps": [listed]})
    there = mapping(
        {"node-name": "n", "alias": "n", "bitmaps": [{"name": "b", "alias": "b"} if transform is None else both]}
    )
    fate = told([N], [node("n", "qcow2", stored=[])], parameters=here, there_parameters=there).bitmaps[0]
    assert fate.persistent is (transform is not False)


@pytest.mark.parametrize(
    ("sizes", "outcome"),
    [
        ((16 * MIB, 16 * MIB), "arrives"),
        ((10 * MIB, 16 * MIB), "kills-destination"),
        ((16 * MIB, 10 * MIB), "kills-destination"),
        ((16 * MIB, 16 * MIB - 512), "arrives"),  # as many granules
        ((16 * MIB, 20 * MIB), "arrives"),  # whole pieces of 64 granules
        ((4 * MIB, 8 * MIB), "arrives"),
        ((4 * MIB + 65536, 8 * MIB), "kills-destination"),
    ],
)
def test_sizes(sizes: tuple[int, int], outcome: Outcome) -> None:
    """Bits that do not fit abort the destination after the source said `completed`."""
    foretold = told([node("n", size=sizes[0], bitmaps=["b"])], [node("n", size=sizes[1])])
    assert foretold.bitmaps[0].outcome == outcome
    ends = ("completed", "aborts") if outcome == "kills-destination" else ("completed", "completed")
    assert (foretold.source, foretold.destination) == ends


def test_a_bitmap_in_the_way() -> None:
    """A bitmap of that name on the destination's node, its own or one that arrived before, ends the process."""
    foretold = told([N], [node("n", bitmaps=["b"])])
    line = "Bitmap with the same name ('b') already exists on destination"
    assert (foretold.migration, foretold.destination, foretold.log[0].text) == ("destination-dies", "exits", line)
    here = [node("m", bitmaps=["b"]), N]
    both = told(here, [node("n"), drive("d", "n")], parameters=mapping(entry("n", "n", b="b"), entry("m", "d", b="b")))
    assert both.destination == "exits"


def test_what_is_met_first_decides() -> None:
    """Names are gone through in the order of the nodes: what drops everything spares what would have killed."""
    missing, clashing = node("gone", bitmaps=["x"]), N
    there = [node("n", bitmaps=["b"])]
    assert told([missing, clashing], there).migration == "completes"
    assert told([clashing, missing], there).migration == "destination-dies"
    aborting = node("s", size=10 * MIB, bitmaps=["y"])
    assert told([aborting, missing], [node("s")]).migration == "completes"


def test_a_guest_device_less() -> None:
    """The state of a virtio-blk device that the destination lacks ends it, after the bits, whatever became of names."""
    here, line = [N, guest("vda", "n")], "Make sure that your current VM setup matches your saved VM setup"
    lacking = told(here, [node("n")])
    assert (lacking.migration, lacking.source, lacking.destination) == ("destination-dies", None, "exits")
    assert [one.outcome for one in lacking.bitmaps] == ["lost-with-another"]
    assert line in [one.text for one in lacking.log]
    dropped = [one.text for one in told(here, [node("m")]).log]
    assert dropped[:2] == ["Cannot find device='n' nor node-name='n'", line]
    assert told(here, [node("n", size=10 * MIB)]).destination == "aborts"
    assert told(here, [node("n"), guest("other", "n")]).migration == "completes"
    assert told([N], [node("n"), guest("vda", "n")]).migration == "completes"


def test_an_empty_alias() -> None:
    """An empty bitmap alias is accepted when set, and ends the destination."""
    foretold = told([N], [node("n")], parameters=mapping(entry("n", "n", b="")))
    assert (foretold.destination, foretold.log[0].text) == ("exits", "Unable to read bitmap alias string")


PERSISTENT = node("n", "qcow2", bitmaps=[bitmap("b", "persistent")], stored=["b"])


@pytest.mark.parametrize(
    ("there", "outcome"),
    [
        ([node("n", "qcow2", stored=[])], "arrives"),
        ([node("n", "raw")], "lost-at-shutdown"),
        ([node("n", "qcow2", stored=[], compat="0.10")], "lost-at-shutdown"),
        ([node("n", "qcow2", stored=[], ro=True)], "lost-at-shutdown"),
        ([node("n", "qcow2", stored=[stored("b", clean=True)])], "breaks-activation"),
        ([node("n", "qcow2", stored=["b"])], "arrives"),
    ],
)
def test_persistent_bitmaps(there: list[Part], outcome: Outcome) -> None:
    """A persistent bitmap is worth what the image that it arrives on can keep."""
    assert told([PERSISTENT], there).bitmaps[0].outcome == outcome


def test_persistent_on_a_read_only_node_kills_the_newest() -> None:
    """From 11.1 on it ends the process."""
    foretold = told([PERSISTENT], [node("n", "qcow2", stored=[], ro=True)], there_version=(11, 1, 3))
    assert foretold.log[0].text == "Cannot make migrated bitmap 'b' persistent on read-only node 'n'"


def test_a_bare_node_of_10_0_is_never_active() -> None:
    """Beside a device a node without one stays inactive, and stores nothing."""
    there = [node("n", "qcow2", stored=[]), node("m"), drive("d", "m")]
    assert told([PERSISTENT], there, there_version=(10, 0, 13)).bitmaps[0].outcome == "lost-at-shutdown"


def test_left_out_on_shared_storage() -> None:
    """What the mapping leaves out travels in an image that both sides share, and only there."""
    counterpart = side(destination(node("n", "qcow2", stored=["b"])), "destination").graph.nodes
    name = next(iter(counterpart))
    for sharing, outcome in (("shared", "by-storage"), ("separate", "dropped"), ("unknown", "dropped")):
        images = Images({name: counterpart[name]}, {name: sharing})  # type: ignore[dict-item]
        foretold = told([PERSISTENT], [node("n", "qcow2", stored=["b"])], images, parameters=mapping())
        assert foretold.bitmaps[0].outcome == outcome


def test_worthless() -> None:
    """A bitmap that no guest write reached, on a disk of the guest, is worth nothing."""
    here = [N, node("root"), guest("vda", "root")]
    assert told(here, [node("n"), guest("vda", "n")]).bitmaps[0].outcome == "worthless"
    assert told(here, [node("n"), guest("vda", None)]).bitmaps[0].outcome == "arrives"


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (job("j", "commit", source="n"), "the job 'j' still runs"),
        (export("e", "n", writable=True), "clients may write to the export 'e'"),
        (node("cbw", "copy-before-write", file="other", target="other"), "the node 'cbw' is in the graph"),
    ],
)
def test_the_switch_over_fails(part: Part, reason: str) -> None:
    """What keeps block nodes from being inactivated fails the migration after all bitmaps were announced."""
    foretold = told([N, node("other"), drive("d", "n"), part], [node("n"), drive("d", "n")])
    assert (foretold.migration, foretold.source, foretold.destination) == ("fails", "failed", "exits")
    assert (foretold.reason, foretold.log[0].text) == (reason, "bdrv_inactivate_all() failed (-1)")
    assert foretold.bitmaps[0].outcome == "lost-with-another"


@pytest.mark.parametrize(
    ("here", "there", "ends"),
    [
        ({"run_state": "inmigrate"}, {}, ("refuses", "waiting")),
        ({"run_state": "postmigrate"}, {}, ("refuses", "waiting")),
        ({}, {"run_state": "running"}, ("refuses", "waiting")),
        ({"machine": "a"}, {"machine": "b"}, (None, "exits")),
        ({"version": (10, 0, 0)}, {"version": (7, 2, 0)}, (None, "exits")),
        ({"capabilities": ON | {"background-snapshot": True}}, {}, ("refuses", "waiting")),
    ],
)
def test_the_migration_of_the_vm(here: Raw, there: Raw, ends: tuple[str | None, str]) -> None:
    """What stops the migration of the whole VM takes every bitmap with it."""
    if "version" in here:
        here, there = {**here, "machine": "q35"}, {**there, "machine": "q35"}
    foretold = told([N], [node("n")], **here, **{f"there_{key}": value for key, value in there.items()})
    assert (foretold.source, foretold.destination) == ends
    assert foretold.bitmaps[0].outcome == "lost-with-another"


def test_an_unknown_driver() -> None:
    """Where a driver may be a filter or not, nothing is foretold."""
    here = [node("x", "new-driver", file="n"), N, drive("d", "x")]
    foretold = told(here, [node("n")])
    assert (foretold.migration, foretold.bitmaps[0].outcome) == ("unknown", "unknown")


def test_two_problems_are_both_told() -> None:
    """What is wrong with a bitmap is said of it even where another one is met first."""
    here = [node("m", bitmaps=[bitmap("c", "busy")]), node("n", bitmaps=[bitmap("b", "inconsistent")])]
    assert {one.code for one in told(here, [node("m"), node("n")]).bitmaps} == {"BM531", "BM532"}


def test_what_is_left_behind_must_not_be_in_use_when_its_image_stores_it() -> None:
    """A busy persistent bitmap that is not sent aborts the source, and takes all along; a transient one does not."""
    there = [node("n"), node("m", "qcow2", stored=[])]
    for flags, migration in ((["busy", "persistent"], "fails"), (["busy"], "completes")):
        here = [N, node("m", "qcow2", bitmaps=[bitmap("c", *flags)], stored=[])]
        foretold = told(here, there, parameters=mapping(entry("n", "n", b="b")))
        assert foretold.migration == migration
        fates = {one.bitmap: (one.outcome, one.others_lost) for one in foretold.bitmaps}
        assert fates["c"] == (("blocks-source", 1) if migration == "fails" else ("dropped", 0))


@pytest.mark.parametrize(
    ("flags", "more", "version", "stops"),
    [
        (["persistent"], {"ro": True}, (5, 2, 0), True),
        (["persistent"], {"ro": True}, (10, 0, 13), True),
        (["persistent", "disabled"], {"ro": True}, (7, 2, 22), True),
        (["persistent", "busy"], {"ro": True}, (7, 2, 22), True),
        (["persistent"], {"ro": True, "stored": ["c"]}, (7, 2, 22), False),
        (["persistent"], {"ro": True, "stored": ["other"]}, (7, 2, 22), True),
        (["persistent"], {"ro": True, "compat": "0.10"}, (7, 2, 22), True),
        (["persistent"], {"ro": False}, (7, 2, 22), False),
        (["inconsistent"], {"ro": True}, (7, 2, 22), False),
        ([], {"ro": True}, (7, 2, 22), False),
    ],
)
def test_what_is_left_behind_must_not_be_new_in_a_read_only_image(
    flags: list[str], more: Raw, version: tuple[int, int, int], *, stops: bool
) -> None:
    """A persistent bitmap that a read-only image does not hold yet fails the switch-over, unless it migrates."""
    here = [N, node("m", "qcow2", bitmaps=[bitmap("c", *flags)], **more)]
    there = [node("n"), node("m", "qcow2")]
    foretold = told(here, there, version=version, there_version=version, parameters=mapping(entry("n", "n", b="b")))
    assert (foretold.migration == "fails") is stops
    fates = {one.bitmap: (one.outcome, one.code) for one in foretold.bitmaps}
    assert fates["c"] == (("blocks-source", "BM555") if stops else ("dropped", None))
    assert fates["b"] == (("lost-with-another", "BM555") if stops else ("arrives", None))
    if stops:
        status = ": -22" if version >= (10, 0, 0) else " (-22)"
        assert [line.text for line in foretold.log] == [
            "Lost persistent bitmaps during inactivation of node 'm': No write access",
            f"bdrv_inactivate_all() failed{status}",
            "load of migration failed: ",
        ]


def test_a_read_only_image_that_is_passed_over_stores_nothing() -> None:
    """10.0 does not inactivate a node that no device uses beside others; a device gives its name to the log."""
    there = [node("n"), node("m"), drive("d", "n")]
    new = node("m", "qcow2", bitmaps=[bitmap("c", "persistent")], ro=True)
    more: Raw = {"version": (10, 0, 13), "there_version": (10, 0, 13), "parameters": mapping(entry("n", "n", b="b"))}
    assert told([N, new, drive("d", "n")], there, **more).migration == "completes"
    foretold = told([N, new, drive("d", "n"), drive("e", "m")], there, **more)
    assert foretold.log[0].text == "Lost persistent bitmaps during inactivation of node 'e': No write access"


def test_a_new_bitmap_of_a_read_only_image_may_migrate() -> None:
    """What migrates is not stored on the source; the other one of the node still is."""
    for names, migration in ((["c"], "completes"), (["c", "e"], "fails")):
        here = [node("m", "qcow2", bitmaps=[bitmap(name, "persistent") for name in names], ro=True)]
        foretold = told(here, [node("m", "qcow2")], parameters=mapping(entry("m", "m", c="c")))
        assert foretold.migration == migration


def test_a_file_that_grows() -> None:
    """Bitmaps that qcow2 stores make its file grow, which aborts a source whose bitmap of that file is on its way."""
    above = node("f", "qcow2", bitmaps=[bitmap("kept", "persistent")], stored=["kept"], file="n")
    maps = mapping(entry("n", "n", b="b"))
    for version, source_end in (((7, 2, 0), "completed"), ((10, 0, 0), "aborts")):
        assert told([N, above], [node("n")], parameters=maps, version=version).source == source_end


def test_an_empty_alias_ends_the_destination_even_where_all_is_dropped() -> None:
    """Names are read before anything is made of them; both lines are printed."""
    here = [node("gone", bitmaps=["x"]), N]
    foretold = told(here, [node("n")], parameters=mapping(entry("gone", "gone", x="x"), entry("n", "n", b="")))
    assert [one.text for one in foretold.log[:2]] == [
        "Cannot find device='gone' nor node-name='gone'",
        "Unable to read bitmap alias string",
    ]


def test_the_second_of_a_name_ends_the_destination_before_bits_that_do_not_fit() -> None:
    """A bitmap is created when its name is read, though its bits will not fit."""
    here = [node("m", size=8 * MIB + 512, bitmaps=["x"]), N]
    maps = mapping(entry("m", "d", x="b"), entry("n", "n", b="b"))
    foretold = told(here, [node("n"), drive("d", "n")], parameters=maps)
    assert (foretold.destination, foretold.log[0].text[:28]) == ("exits", "Bitmap with the same name ('")


def test_a_mirror_may_abort_the_source() -> None:
    """On 7.2 a mirror that still runs may write to inactive nodes after everything has arrived."""
    here = [N, node("t"), drive("d", "n"), job("j", "mirror", source="n", target="t")]
    there = [node("n"), drive("d", "n")]
    assert told(here, there).source is None
    assert told(here, there, version=(10, 0, 0), there_version=(10, 0, 0)).source == "completed"


def test_a_child_that_was_opened_with_its_parent_comes_after_it() -> None:
    """A child without a name of its own is listed before its parent, and met after it."""
    child, parent = node("#0", "null-co", bitmaps=["below"]), node("#1", "throttle", file="#0", bitmaps=["above"])
    assert "'above'" in told([child, parent], [node("n")]).log[0].text


def test_of_two_images_that_cannot_be_activated_the_first_is_named() -> None:
    """Activation stops at the first, in the order of the devices."""
    here = [node("a", bitmaps=["x"]), node("z", bitmaps=["y"])]
    there = [
        node("a", "qcow2", stored=[stored("x", clean=True)]),
        node("z", "qcow2", stored=[stored("y", clean=True)]),
        drive("d", "z"),
        drive("e", "a"),
    ]
    foretold = told(here, there)
    assert [one.text for one in foretold.log] == ["Could not reopen qcow2 layer: Bitmap already exists: y"]


def test_a_bare_node_below_a_job_is_not_inactivated() -> None:
    """A filter that a job has put on top of a bare node is not reached, nor is an export of what is below."""
    jobs = [node("#top", "mirror_top", backing="n"), job("j", "mirror", source="#top"), export("e", "n", writable=True)]
    there = [node("n")]
    assert told([N, *jobs], there, version=(10, 0, 0)).migration == "completes"
    assert told([N, *jobs], there, version=(5, 2, 0)).migration == "fails"


@pytest.mark.parametrize(("clash", "whole"), [("first", []), ("second", ["first/b", "first/t"])])
def test_an_image_that_cannot_be_activated_takes_those_after_it_along(clash: str, whole: list[str]) -> None:
    """Its own other bitmaps are lost with it, and those of each image after it; those before it are whole."""
    names = ("first", "second")
    here = [node(name, "qcow2", bitmaps=[bitmap("b", "persistent"), "t"]) for name in names]
    there = [node(name, "qcow2", stored=[stored("b", clean=True)] if name == clash else []) for name in names]
    fates = told(here, there).bitmaps
    assert sorted(f"{one.node}/{one.bitmap}" for one in fates if one.outcome == "arrives") == whole
    assert {one.code for one in fates if one.outcome == "breaks-activation"} == {"BM543"}
    assert {one.others_lost for one in fates if (one.node, one.bitmap) == (clash, "b")} == {3 - len(whole)}


@pytest.mark.parametrize(("read_only", "migration"), [(False, "fails"), (True, "completes")])
def test_a_preallocate_filter_below_a_format(read_only: bool, migration: str) -> None:  # noqa: FBT001
    """It is in the way where the format is written; below a read-only one it does no harm."""
    here = [node("f", "qcow2", bitmaps=["b"], file="p", ro=read_only), node("p", "preallocate", file="x"), node("x")]
    assert told(here, [node("f", "qcow2")], version=(11, 1, 3), there_version=(11, 1, 3)).migration == migration


@pytest.mark.parametrize(
    ("more", "lines"),
    [
        ({"ro": True}, ["Lost persistent bitmaps during inactivation of node 'n': No write access"]),
        ({"ro": True, "compat": "0.10"}, ["Lost persistent bitmaps during inactivation of node 'n': No write access"]),
        ({"compat": "0.10"}, []),
    ],
)
def test_what_a_read_only_destination_says_when_it_ends(more: Raw, lines: list[str]) -> None:
    """It could not store what has arrived, and says so by its node-name; one that is written says nothing."""
    here = [PERSISTENT, drive("d", "n")]
    foretold = told(here, [node("n", "qcow2", **more), drive("d", "n")], version=(10, 0, 13), there_version=(10, 0, 13))
    assert (foretold.bitmaps[0].outcome, [line.text for line in foretold.log]) == ("lost-at-shutdown", lines)

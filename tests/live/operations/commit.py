"""`block-commit`, active and intermediate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.live.operations.held import Held, Step
from tests.live.operations.layers import GO, SLOW, ask, bitmaps, blockdev, device, drive, event, images, start
from tests.live.qemu import Qemu

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.qemu import Binary


def _commit(on: str, **more: Any) -> Step:
    return start("block-commit", on, **{"speed": SLOW, **more})


def _case(name: str, words: tuple[str, ...], *steps: Step, **more: Any) -> Held:
    return Held(name, steps, words, **{"setup": bitmaps, "images": images, **more})


def _refused(name: str, text: str, *steps: Step, words: tuple[str, ...] = (), **more: Any) -> Held:
    return _case(f"refused-{name}", words or drive(), *steps, refused=text, **more)


def _growing(binary: Binary, folder: Path) -> None:
    """The top is larger than what is below it."""
    images(binary, folder)
    binary.image("resize", "img2.qcow2", "18M", folder=folder)
    binary.image("resize", "img3.qcow2", "20M", folder=folder)


def _throttled(qemu: Qemu) -> None:
    """A throttle above the chain and one inside it; it is no guest device that writes."""
    bitmaps(qemu)
    qemu.qmp("blockdev-add", driver="throttle", node_name="above", file="n3", throttle_group="group")


def _running(qemu: Qemu) -> None:
    """An intermediate commit that runs already."""
    bitmaps(qemu)
    qemu.execute(*_commit("d0", top_node="n1", base_node="n0"))


def _running_active(qemu: Qemu) -> None:
    bitmaps(qemu)
    qemu.execute(*_commit("d0", base_node="n1"))


def _ready(qemu: Qemu) -> None:
    """An active commit that is ready already."""
    _running_active(qemu)
    qemu.execute(*GO)
    qemu.wait_event("BLOCK_JOB_READY")


def _kept(qemu: Qemu) -> None:
    """An intermediate commit that has ended and is not dismissed."""
    bitmaps(qemu)
    qemu.execute(*start("block-commit", "d0", top_node="n2", base_node="n1", auto_dismiss=False))
    qemu.wait_event("BLOCK_JOB_COMPLETED")


def _crashed(binary: Binary, folder: Path) -> None:
    """The bitmap of the base was in use when its process ended."""
    images(binary, folder)
    with Qemu(binary, folder=folder, name="crashed") as qemu:
        qemu.qmp("blockdev-add", driver="qcow2", node_name="n1", file={"driver": "file", "filename": "img1.qcow2"})


def _on_raw(binary: Binary, folder: Path) -> None:
    """One overlay of a raw image."""
    binary.image("create", "-f", "raw", "base.raw", "16M", folder=folder)
    binary.image("create", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "top.qcow2", folder=folder)
    binary.image("bench", "-w", "-c", "8", "-s", "524288", "top.qcow2", folder=folder)


def _branch(qemu: Qemu) -> None:
    """A second overlay of `n2`, which nobody uses."""
    bitmaps(qemu)
    qemu.qmp(
        "blockdev-add", driver="qcow2", node_name="m2", file={"driver": "file", "filename": "m2.qcow2"}, backing="n2"
    )


def _branching(binary: Binary, folder: Path) -> None:
    images(binary, folder)
    for number in (1, 2):
        backing = ("-b", f"img{number}.qcow2", "-F", "qcow2")
        binary.image("create", "-f", "qcow2", *backing, f"m{number}.qcow2", folder=folder)


def _exported(*nodes: str) -> Any:
    def setup(qemu: Qemu) -> None:
        bitmaps(qemu)
        qemu.qmp("nbd-server-start", addr={"type": "unix", "data": {"path": "nbd.sock"}})
        for node in nodes:
            qemu.qmp("block-export-add", id=f"e-{node}", type="nbd", node_name=node, name=node)

    return setup


ANON = blockdev()
GUEST = (*ANON, *device("n3"))
THROTTLE = ("-object", "throttle-group,id=group")
BRANCH = "qcow2,node-name=m1,file.driver=file,file.filename=m1.qcow2,backing=n1"
BRANCHED = (*ANON, "-blockdev", BRANCH, "-device", "virtio-blk-pci,drive=m1,id=vm")
READY = (GO, event("READY"))
PIVOT = (*READY, ask("block-job-complete"), event("COMPLETED"))
SOFT = (*READY, ask("block-job-cancel"), event("COMPLETED"))
HARD = (*READY, ask("block-job-cancel", force=True), event("CANCELLED"))
ENDS = (GO, event("COMPLETED"))
CANCEL = (ask("block-job-cancel"), event("CANCELLED"))
FROM_N2 = {"top-node": "n2"}

ACTIVE = (
    _case("active-pivots", drive(), _commit("d0", base_node="n1"), *PIVOT),
    _case("active-pivots-to-the-bottom", drive(named=False), _commit("d0"), *PIVOT),
    _case("active-of-a-guest", GUEST, _commit("n3", base_node="n1"), *PIVOT, machine="q35"),
    _case("active-with-a-named-filter", GUEST, _commit("n3", filter_node_name="above"), *PIVOT, machine="q35"),
    _case("active-top-named", drive(), _commit("d0", top_node="n3", base_node="n2"), *PIVOT),
    _case("active-cancelled", drive(), _commit("d0", base_node="n1"), *CANCEL),
    _case("active-cancelled-when-ready", drive(), _commit("d0", base_node="n1"), *SOFT),
    _case("active-cancelled-by-force", drive(), _commit("d0", base_node="n1"), *HARD),
    _case("active-anonymous-cancelled-by-force", ANON, _commit("n3", base_node="n1"), *HARD),
    _case("active-of-a-read-only-top", drive(more="read-only=on"), _commit("d0", base_node="n1"), *PIVOT),
    _case("active-to-a-writable-base", drive(more="backing.read-only=off"), _commit("d0", base_node="n2"), *HARD),
    _case("active-grows-the-base", drive(), _commit("d0", base_node="n1"), *PIVOT, images=_growing),
    _case(
        "active-takes-the-throttle-out", (*THROTTLE, *ANON), _commit("above", base_node="n1"), *PIVOT, setup=_throttled
    ),
    _case(
        "active-below-the-throttle",
        (*THROTTLE, *ANON),
        _commit("above", top_node="n3", base_node="n1"),
        *PIVOT,
        setup=_throttled,
    ),
    _case("active-of-a-branch", ANON, _commit("n3", base_node="n1"), *PIVOT, setup=_branch, images=_branching),
    _case("active-running-before", drive(), *PIVOT, setup=_running_active),
    _case("active-cancelled-running-before", drive(), *CANCEL, setup=_running_active),
    _case("active-ready-before", drive(), *PIVOT[2:], setup=_ready),
    _case("active-to-a-crashed-base", drive(), _commit("d0", base_node="n1"), *PIVOT, images=_crashed),
    _case(
        "active-to-raw",
        ("-drive", "if=none,id=d0,format=qcow2,file=top.qcow2"),
        _commit("d0"),
        *PIVOT,
        images=_on_raw,
    ),
    _case("active-of-an-export", ANON, _commit("n3", base_node="n1"), *PIVOT, setup=_exported("n3")),
    _case(
        "active-kept",
        drive(),
        _commit("d0", base_node="n1", auto_dismiss=False),
        *PIVOT,
        ("job-dismiss", {"id": "j"}),
    ),
)

INTERMEDIATE = (
    _case("ends", drive(), _commit("d0", top_node="n2", base_node="n1"), *ENDS),
    _case("ends-anonymous", GUEST, _commit("n3", top_node="n2", base_node="n1"), *ENDS, machine="q35"),
    _case("ends-two-layers", drive(), _commit("d0", top_node="n2", filter_node_name="filter"), *ENDS),
    _case("ends-two-layers-anonymous", ANON, _commit("n3", top_node="n2", base_node="n0"), *ENDS),
    _case("ends-lower", drive(), _commit("d0", top_node="n1", backing_file="img0.qcow2"), *ENDS),
    _case("cancelled", GUEST, _commit("n3", top_node="n2", base_node="n1"), *CANCEL, machine="q35"),
    _case(
        "writable-base",
        drive(more="backing.backing.read-only=off"),
        _commit("d0", top_node="n2", base_node="n1"),
        *ENDS,
    ),
    _case("grows-the-base", drive(), _commit("d0", top_node="n2", base_node="n1"), *ENDS, images=_growing),
    _case("of-a-branch", ANON, _commit("n3", top_node="n2", base_node="n1"), *ENDS, setup=_branch, images=_branching),
    _case("of-an-export", ANON, _commit("n3", top_node="n2", base_node="n1"), *ENDS, setup=_exported("n2")),
    _case("to-a-crashed-base", drive(), _commit("d0", top_node="n2", base_node="n1"), *ENDS, images=_crashed),
    _case("running-before", drive(), *ENDS, setup=_running),
    _case("cancelled-running-before", drive(), *CANCEL, setup=_running),
    _case(
        "pending",
        drive(),
        _commit("d0", top_node="n2", base_node="n1", auto_finalize=False),
        GO,
        ("BLOCK_JOB_PENDING", {"id": "j"}),
        ("job-finalize", {"id": "j"}),
        event("COMPLETED"),
    ),
    _case(
        "kept",
        drive(),
        _commit("d0", top_node="n2", base_node="n1", auto_dismiss=False),
        *ENDS,
        ("job-dismiss", {"id": "j"}),
    ),
    _case("with-a-masked-protocol", drive(), _commit("d0", **FROM_N2, backing_mask_protocol=True), *ENDS, since=(9, 0)),
)

REFUSED = (
    _refused("unknown-device", "not found", _commit("nosuch")),
    _refused("no-root", "Need a root block node", _commit("n2")),
    _refused("unknown-base", "Cannot find", _commit("d0", base_node="nosuch")),
    _refused("unknown-top", "Cannot find", _commit("d0", top_node="nosuch")),
    _refused("base-above-top", "is not in this backing file chain", _commit("d0", top_node="n1", base_node="n2")),
    _refused(
        "top-elsewhere",
        "is not in this backing file chain",
        _commit("n3", top_node="x"),
        words=(*ANON, "-blockdev", "null-co,node-name=x"),
    ),
    _refused("base-is-top", "cannot commit an image into itself", _commit("d0", top_node="n1", base_node="n1")),
    _refused("bottom-is-top", "cannot commit an image into itself", _commit("d0", top_node="n0")),
    _refused("backing-file-when-active", "is the active layer", _commit("d0", backing_file="img0.qcow2")),
    _refused("two-bases", "mutually exclusive", _commit("d0", base="img0.qcow2", base_node="n0")),
    _refused("two-tops", "mutually exclusive", _commit("d0", top="img1.qcow2", top_node="n1")),
    _refused("bad-id", "Invalid job ID", ("block-commit", {"device": "d0", "job-id": "1st"})),
    _refused("no-id", "Invalid job ID", ("block-commit", {"device": "n3"}), words=ANON),
    _refused("filter-name-taken", "", _commit("d0", filter_node_name="n1")),
    _refused("filter-name-of-a-device", "conflicting with a device id", _commit("d0", filter_node_name="d0")),
    _refused("negative-speed", "non-negative", _commit("d0", speed=-1)),
    _refused("masked-protocol", "backing-mask-protocol", _commit("d0", backing_mask_protocol=True), until=(8, 99)),
    _refused(
        "busy", "Need a root block node", _commit("d0", top_node="n2", base_node="n1", job_id="k"), setup=_running
    ),
    _refused("kept-not-dismissed", "Need a root block node", _commit("d0", base_node="n0", job_id="k"), setup=_kept),
    _refused(
        "overlay-of-the-base",
        "does not allow 'write'",
        _commit("n3", base_node="n1"),
        words=BRANCHED,
        machine="q35",
        images=_branching,
        until=(5, 2),
    ),
    _refused(
        "overlay-of-the-base",
        "Permission conflict",
        _commit("n3", base_node="n1"),
        words=BRANCHED,
        machine="q35",
        images=_branching,
        since=(6, 0),
    ),
    _refused(
        "overlay-of-a-layer",
        "consistent read",
        _commit("n3", top_node="n2", base_node="n0"),
        words=BRANCHED,
        machine="q35",
        images=_branching,
    ),
    _refused("export-of-a-layer", "consistent read", _commit("n3", base_node="n1"), words=ANON, setup=_exported("n2")),
)

CASES = (*ACTIVE, *INTERMEDIATE, *REFUSED)

"""`block-stream`, whole and to a base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.live.operations.held import Held, Step
from tests.live.operations.layers import GO, SLOW, ask, bitmaps, blockdev, device, drive, event, images, start

if TYPE_CHECKING:
    from tests.live.qemu import Qemu


def _stream(on: str, **more: Any) -> Step:
    return start("block-stream", on, **{"speed": SLOW, **more})


def _case(name: str, words: tuple[str, ...], *steps: Step, **more: Any) -> Held:
    return Held(name, steps, words, **{"setup": bitmaps, "images": images, **more})


def _refused(name: str, text: str, *steps: Step, words: tuple[str, ...] = (), **more: Any) -> Held:
    return _case(f"refused-{name}", words or drive(), *steps, refused=text, **more)


def _throttled(qemu: Qemu) -> None:
    """A throttle above the chain."""
    bitmaps(qemu)
    qemu.qmp("blockdev-add", driver="throttle", node_name="above", file="n3", throttle_group="group")


def _copying(qemu: Qemu) -> None:
    """A copy-on-read filter that is the user's own."""
    bitmaps(qemu)
    qemu.qmp("blockdev-add", driver="copy-on-read", node_name="above", file="n3")


def _running(qemu: Qemu) -> None:
    """A stream that runs already."""
    bitmaps(qemu)
    qemu.execute(*_stream("d0", base_node="n0"))


def _running_below(qemu: Qemu) -> None:
    """A stream into an image that backs another one runs already."""
    bitmaps(qemu)
    qemu.execute(*_stream("n1"))


def _committing(qemu: Qemu) -> None:
    """An intermediate commit that runs already."""
    bitmaps(qemu)
    qemu.execute(*start("block-commit", "d0", top_node="n1", base_node="n0", speed=SLOW))


def _exported(qemu: Qemu) -> None:
    """Exports of what is streamed into and of a layer."""
    bitmaps(qemu)
    qemu.qmp("nbd-server-start", addr={"type": "unix", "data": {"path": "nbd.sock"}})
    for node in ("n3", "n2"):
        qemu.qmp("block-export-add", id=f"e-{node}", type="nbd", node_name=node, name=node)


ANON = blockdev()
GUEST = (*ANON, *device("n3"))
THROTTLE = ("-object", "throttle-group,id=group")
ENDS = (GO, event("COMPLETED"))
CANCEL = (ask("block-job-cancel"), event("CANCELLED"))
FILTER: dict[str, Any] = {"since": (6, 0)}
KEPT = (*ENDS, ("job-dismiss", {"id": "j"}))

WHOLE = (
    _case("whole", drive(), _stream("d0"), *ENDS),
    _case("whole-without-names", drive(named=False), _stream("d0"), *ENDS),
    _case("whole-anonymous", GUEST, _stream("n3"), *ENDS, machine="q35"),
    _case("whole-with-a-named-filter", drive(), _stream("d0", filter_node_name="copies"), *ENDS, **FILTER),
    _case("cancelled", GUEST, _stream("n3"), *CANCEL, machine="q35"),
)
TO_A_BASE = (
    _case("to-a-base", drive(), _stream("d0", base_node="n1"), *ENDS),
    _case("to-a-base-anonymous", GUEST, _stream("n3", base_node="n0"), *ENDS, machine="q35"),
    _case("to-a-bottom", drive(), _stream("d0", bottom="n1"), *ENDS, **FILTER),
    _case("to-a-base-cancelled", drive(), _stream("d0", base_node="n0", backing_file="img0.qcow2"), *CANCEL),
    _case("into-a-backing-image", drive(), _stream("n2", base_node="n0"), *ENDS),
    _case("into-a-backing-image-anonymous", ANON, _stream("n2"), *ENDS),
    _case("into-a-backing-image-cancelled", drive(), _stream("n2", base_node="n0"), *CANCEL),
    _case("into-a-writable-backing-image", drive(more="backing.read-only=off"), _stream("n2", base_node="n0"), *ENDS),
    _case("below-a-throttle", (*THROTTLE, *ANON), _stream("n3", base_node="n1"), *ENDS, setup=_throttled),
    _case("above-a-throttle", (*THROTTLE, *ANON), _stream("above", base_node="n1"), *ENDS, setup=_throttled),
    _case("above-a-copy-on-read-filter", ANON, _stream("above", base_node="n1"), *ENDS, setup=_copying),
    _case("of-an-export", ANON, _stream("n3", base_node="n0"), *ENDS, setup=_exported),
    _case("running-before", drive(), *ENDS, setup=_running),
    _case("cancelled-running-before", drive(), *CANCEL, setup=_running),
    _case("below-running-before", drive(), *ENDS, setup=_running_below),
    _case(
        "pending",
        drive(),
        _stream("d0", base_node="n1", auto_finalize=False),
        GO,
        ("BLOCK_JOB_PENDING", {"id": "j"}),
        ("job-finalize", {"id": "j"}),
        event("COMPLETED"),
    ),
    _case("kept", drive(), _stream("d0", base_node="n1", auto_dismiss=False), *KEPT, until=(5, 2)),
    _case("kept-with-its-filter", drive(), _stream("d0", base_node="n1", auto_dismiss=False), *KEPT, since=(10, 0)),
    _case(
        "kept-cancelled",
        drive(),
        _stream("d0", base_node="n1", auto_dismiss=False),
        *CANCEL,
        ("job-dismiss", {"id": "j"}),
        since=(10, 0),
    ),
)
REFUSED = (
    _refused("unknown-device", "Cannot find", _stream("nosuch")),
    _refused("unknown-base", "Cannot find", _stream("d0", base_node="nosuch")),
    _refused("base-is-top", "is not a backing image of", _stream("d0", base_node="n3")),
    _refused("base-above", "is not a backing image of", _stream("n1", base_node="n2")),
    _refused("two-bases", "cannot be specified at the same time", _stream("d0", base="img0.qcow2", base_node="n0")),
    _refused(
        "base-and-bottom", "cannot be specified at the same time", _stream("d0", bottom="n1", base_node="n0"), **FILTER
    ),
    _refused("bottom-elsewhere", "is not in a chain", _stream("n1", bottom="n2"), **FILTER),
    _refused(
        "bottom-is-a-filter",
        "is a filter",
        _stream("above", bottom="above"),
        words=(*THROTTLE, *ANON),
        setup=_throttled,
        **FILTER,
    ),
    _refused("bottom-unknown-yet", "unexpected", _stream("d0", bottom="n1"), until=(5, 2)),
    _refused("filter-unknown-yet", "unexpected", _stream("d0", filter_node_name="copies"), until=(5, 2)),
    _refused("backing-file-of-nothing", "streaming the entire chain", _stream("d0", backing_file="img0.qcow2")),
    _refused("no-id", "Invalid job ID", ("block-stream", {"device": "n2"})),
    _refused("negative-speed", "non-negative", _stream("d0", speed=-1)),
    _refused("id-taken", "", _stream("n1"), setup=_running),
    _refused("busy", "in use by block job", _stream("d0", base_node="n2", job_id="k"), setup=_running),
    _refused("layer-busy", "in use by block job", _stream("d0", job_id="k"), setup=_running_below),
    _refused("commit-below", "in use by block job", _stream("n2", job_id="k"), setup=_committing),
    _refused("filter-that-may-go", "Cannot freeze", _stream("n2", base_node="n1", job_id="k"), setup=_committing),
)

CASES = (*WHOLE, *TO_A_BASE, *REFUSED)

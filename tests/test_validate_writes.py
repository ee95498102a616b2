"""Whether guest writes reach a bitmap, and what follows where they do not, or nobody can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.build import Part, codes, destination, drive, guest, job, node, planned, source

if TYPE_CHECKING:
    from collections.abc import Sequence

_USED = (node("n", bitmaps=["b0"]), guest("vd0", "n"))
_ORPHAN = (node("n", bitmaps=["b0"]), node("new"), guest("vd0", "new"))
_BACKING = (node("top", "qcow2", backing="n"), node("n", bitmaps=["b0"]), guest("vd0", "top"))
_BELOW = (node("t", "throttle", file="n"), node("n", bitmaps=["b0"]), guest("vd0", "t"))
_UNATTACHED = (node("n", bitmaps=["b0"]), drive("drive0", "n"))
_FLEECING = (node("c", "copy-before-write", file="x", target="n"), node("x"), node("n", bitmaps=["b0"]))
_PROTOCOL = (node("f", "qcow2", file="n"), node("n", bitmaps=["b0"]), guest("vd0", "f"))
_DISK, _IDLE = (node("n"), guest("vd0", "n")), (node("n"), node("else"), guest("vd0", "else"))
_SECOND = (node("x", "qcow2", backing="n"), node("n"), guest("vd0", "x"))


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        (_USED, _DISK, []),
        (_BELOW, _DISK, []),
        (_PROTOCOL, _DISK, []),
        (_ORPHAN, _DISK, ["BM550"]),
        (_BACKING, _DISK, ["BM550"]),
        (_UNATTACHED, _DISK, ["BM550"]),
        (_ORPHAN, _IDLE, []),
        (_BACKING, _SECOND, []),
        (_USED, _IDLE, []),
    ],
)
@pytest.mark.parametrize("shows", ["debug", "children"])
def test_a_bitmap_that_no_guest_write_reaches(
    here: Sequence[Part], there: Sequence[Part], expected: list[str], shows: str
) -> None:
    """It must not come up on a disk that the guest writes to; on a node that nothing writes to it may."""
    assert codes(planned(source(*here, shows=shows), destination(*there, shows=shows)).refusals) == expected


def test_the_target_of_fleecing_gets_old_data_not_guest_writes() -> None:
    """What a copy-before-write node keeps in its target is no write of the guest."""
    plan = planned(source(*_FLEECING, guest("vd0", "c"), version=(5, 2, 0)), destination(*_DISK, version=(5, 2, 0)))
    assert codes(plan.refusals) == ["BM550"]


def test_a_pivoted_mirror_leaves_an_orphan() -> None:
    """After the pivot of a -blockdev disk the old node still says `recording`, and sees no guest write any more."""
    parts = [node("n", bitmaps=["b0"]), node("t"), guest("vd0", "t"), job("m0", "mirror", "concluded")]
    plan = planned(source(*parts), destination(*_DISK))
    (found,) = plan.refusals
    assert (found.code, found.where.node, found.where.bitmap) == ("BM550", "n", "b0")
    assert planned(source(*parts), destination(*_DISK), found.fragments[0]).verdict == "planned"


_QUORUM = (node("q", "quorum", children={"children.0": "n", "children.1": "o"}), node("o"))


@pytest.mark.parametrize(
    ("here", "there", "shows", "expected"),
    [
        # the source does not show the children of a quorum: the bitmap's node may be one of them
        ((*_QUORUM, node("n", bitmaps=["b0"]), guest("vd0", "q")), _DISK, "", ["BM206"]),
        ((*_QUORUM, node("n", bitmaps=["b0"]), guest("vd0", "q")), _DISK, "debug", []),
        ((*_QUORUM, node("n", bitmaps=["b0"]), guest("vd0", "q")), _IDLE, "", []),
        # the destination does not: the node may be one that the guest writes to
        (_ORPHAN, (*_QUORUM, node("n"), guest("vd0", "q")), "", ["BM206"]),
        (_ORPHAN, (*_QUORUM, node("n"), guest("vd0", "q")), "debug", ["BM550"]),
        (_USED, (*_QUORUM, node("n"), guest("vd0", "q")), "", []),
        (_ORPHAN, _DISK, "", ["BM550"]),
    ],
)
def test_what_cannot_be_known_of_guest_writes_is_refused(
    here: Sequence[Part], there: Sequence[Part], shows: str, expected: list[str]
) -> None:
    """Where a side hides children of a disk of the guest, BM206 says so unless the answer does not matter."""
    plan = planned(source(*here, shows=shows), destination(*there, shows=shows))
    assert codes(plan.refusals) == expected
    for found in plan.refusals:
        cured = planned(source(*here, shows=shows), destination(*there, shows=shows), found.fragments[0])
        assert cured.verdict == "planned"

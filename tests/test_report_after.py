"""What `verify` and `finish` print for people."""

from __future__ import annotations

from typing import Any

import pytest

from bitmapmig.finishing.document import Finished, FinishedEnd
from bitmapmig.report import Limits, finished_lines, verified_lines
from bitmapmig.verifying import Gone, Verified, judge
from tests.build import GRANULE, bitmap, destination, node, planned, source
from tests.printed import text
from tests.test_verifier import A, after, seen


def verified(*there: Any, bitmaps: tuple[str, ...] = ("b0", "b1"), **options: Any) -> Verified:
    """A verification of some bitmaps of one disk; the last of them was left behind."""
    policy = {"deny": [{"bitmap": bitmaps[-1]}], "storage": "separate"}
    here = source(node("n0", bitmaps=[bitmap(name, count=GRANULE) for name in bitmaps]))
    plan = planned(here, destination(node("n0")), policy)
    digests = {("n0", name): A for name in bitmaps}
    ran = after(*(bitmap(name, count=GRANULE) for name in bitmaps), run_state="postmigrate")
    arrived = seen(after(*there, run_state="paused"), "destination", digests=digests)
    return judge(plan, options.pop("here", seen(ran, "source", digests=digests)), arrived, **options)


def test_proven() -> None:
    """The verdict is first, then both sides, then each bitmap with its proof."""
    said = text(verified_lines(verified(bitmap("b0", count=GRANULE)), 100))
    assert said == (
        "PROVEN: 1 bitmap on the destination, bit for bit, 1 left behind as planned\n"
        "\n"
        "  source       unix:source.qmp, postmigrate, migration completed\n"
        "  destination  unix:source.qmp, paused, migration completed\n"
        "\n"
        "Bitmaps\n"
        "  OUTCOME      SOURCE      DESTINATION  PROOF\n"
        "  proven       n0/b0   ->  n0/b0        digest of both sides\n"
        "  left-behind  n0/b1"
    )


def test_failed() -> None:
    """What is not as planned is named, with its remedy; a narrow screen gets lines for it."""
    found = verified()
    for width in (40, 100):
        said = text(verified_lines(found, width))
        assert said.startswith("FAILED: 1 bitmap failed")
        assert "BM804 bitmap-lost" in said
        assert max(map(len, said.splitlines())) <= width


def test_not_proven() -> None:
    """What may be right is never called proven; an end that is gone is said to be."""
    gone = Gone("unix:source.qmp", "Connection refused")
    said = text(verified_lines(verified(bitmap("b0", count=GRANULE), here=gone), 100))
    assert said.startswith("NOT PROVEN: 1 may be right and cannot be proven, 0 proven")
    assert "unix:source.qmp, gone: Connection refused" in said
    assert "granularity and flags only" in said


def test_long_lists_are_cut() -> None:
    """Of a long list the failures are shown first, and the rest is counted."""
    names = tuple(f"b{number}" for number in range(9))
    found = verified(*(bitmap(name, count=GRANULE) for name in names if name != "b7"), bitmaps=names)
    said = text(verified_lines(found, 100, Limits(rows=2)))
    rows = said[said.index("OUTCOME") :].splitlines()[1:4]
    assert rows[0].split()[:2] == ["failed", "n0/b7"]
    assert rows[2] == "  ... and 7 more; --all shows them"


def test_hostile_names() -> None:
    """A name that would write to the terminal is shown escaped, also where the log says it."""
    name = "b\x1b[31m"
    here, there = source(node("n0", bitmaps=[name])), destination(node("n0"))
    gone = Gone("unix:source.qmp", "Connection refused")
    found = judge(planned(here, there), gone, seen(after(run_state="paused"), "destination"))
    assert "\x1b" not in text(verified_lines(found, 100))


_DONE = FinishedEnd(endpoint="unix:a.qmp", gone=None, dirty_bitmaps="turned-off", block_bitmap_mapping="neutralised")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (_DONE, ["dirty-bitmaps is turned off again", "is replaced by a neutral one"]),
        (FinishedEnd(endpoint="unix:a.qmp", gone="Connection refused"), ["gone, and with it all that was set"]),
        (_DONE.model_copy(update={"reasons": ("it was on before",)}), ["it was on before"]),
        (_DONE.model_copy(update={"not_in_map": ("#a/b\x1b",)}), ["1 bitmap in no map", "#a/b\\x1b"]),
    ],
)
def test_finished(source: FinishedEnd, words: list[str]) -> None:
    """Each side says what was set back, and what was left as it is."""
    end = FinishedEnd(endpoint="unix:b.qmp", gone=None, dirty_bitmaps="off", block_bitmap_mapping="none")
    said = text(finished_lines(Finished(outcome="finished", source=source, destination=end), 100))
    assert said.startswith("FINISHED: ")
    assert all(word in said for word in words)
    assert "no block-bitmap-mapping is set" in said

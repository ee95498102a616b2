"""Block graphs as people see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rich.cells import cell_len

from bitmapmig.previews import preview
from bitmapmig.report import ASCII, Limits, preview_lines
from tests.build import MIB, bitmap, destination, drive, export, job, node, source, stored
from tests.printed import text

if TYPE_CHECKING:
    from tests.build import Part


def test_tree_in_words() -> None:
    """A picture has devices at the top, nodes below them, and on each node its bitmaps with address and reason."""
    here = source(
        node("#block1", "throttle", file="#block2"),
        node("#block2", "qcow2", bitmaps=[bitmap("b0", "persistent", count=65536)], stored=["b0"], file="#block3"),
        node("#block3", "file", size=1 * MIB),
        node("target0", ro=True, stored=[]),
        drive("drive0", "#block1", "/machine/peripheral/disk0/virtio-backend"),
        drive("cd0", None),
        job("mirror0", "mirror", source="#block1", target="target0"),
        export("export0", "target0"),
    )
    there = destination(
        node("t0", "throttle", file="f0"),
        node("f0", "qcow2", stored=[stored("old", clean=True)]),
        drive("drive0", "t0", "/machine/peripheral/disk0/virtio-backend"),
    )
    assert (
        text(preview_lines(preview(here, there), 80))
        == """\
source  vm, QEMU 7.2.22, machine pc-q35-7.2, running, unix:source.qmp
  1 bitmap on 4 nodes, addresses by the rule set explicit
  by itself, QEMU would drop all of them and say `completed`, since
  dirty-bitmaps is off; with it on, it would complete, and not bring all of
  them: 1 lost-at-shutdown

device cd0
└─ no medium

device drive0, guest device disk0
└─ #block1  throttle, 16 MiB, filter
   │  job mirror0  mirror, running
   └─ file: #block2  qcow2, 16 MiB
      │  bitmap b0  persistent, 64 KiB dirty, granularity 64 KiB
      │      address drive0/b0 -> f0: root of device 'drive0', below throttle
      │      QEMU by itself brings it as drive0/b0 -> t0, and forgets it at
      │        shutdown: 't0' cannot store it: its driver is 'throttle'
      └─ file: #block3  file, 1 MiB

used by no device
└─ target0  null-co, 16 MiB, read-only
      job mirror0  mirror, running
      export export0  nbd

destination  vm, QEMU 7.2.22, machine pc-q35-7.2, inmigrate,
  unix:destination.qmp
  0 bitmaps on 2 nodes

device drive0, guest device disk0
└─ t0  throttle, 16 MiB, filter
   └─ file: f0  qcow2, 16 MiB
         stored old  in the image, not loaded: a clean copy, granularity 64 KiB"""
    )


@pytest.mark.parametrize(
    ("here", "there", "words"),
    [
        ([node("n0", bitmaps=["b0"])], [node("n1")], "address n0/b0 -> nothing of this name: explicit node-name"),
        ([node("n0", bitmaps=["b0"])], [node("n1")], "QEMU would drop all of them and say `completed`"),
        (
            [node("#b", bitmaps=["b0"])],
            [],
            "with it on, it would fail the whole migration: bitmap 'b0' on '#b': its node has no name",
        ),
        ([node("#b", bitmaps=["b0"])], [], "no address: bitmap 'b0' is on the node '#b'"),
        (
            [node("n0", bitmaps=[bitmap("b0", "busy")])],
            [],
            "QEMU by itself fails the migration over it: it is in use by another",
        ),
        ([node("n0", bitmaps=[bitmap("b0", "inconsistent")])], [], "granularity 64 KiB, inconsistent"),
        ([node("n0", bitmaps=[bitmap("b0", "disabled")])], [], "granularity 64 KiB, not recording"),
        (
            [node("n0", bitmaps=["x" * 300])],
            [],
            "QEMU by itself fails the migration over it: its name is longer than 255 bytes",
        ),
        ([node("n0", "new-driver", file="n1"), node("n1", bitmaps=["b0"]), drive("d0", "n0")], [], "perhaps a filter"),
        (
            [node("n0", "new-driver", file="#1"), node("#1", bitmaps=["b0"]), drive("d0", "n0")],
            [],
            "cannot be known from",
        ),
        (
            [node("n0", bitmaps=["b0"]), drive("d0", "n0"), drive("d1", "n0")],
            [],
            "its node is met again below device 'd1'",
        ),
        ([node("n0", bitmaps=["b0"])], [], "no write of the guest reaches this node"),
    ],
)
def test_facts_of_a_picture(here: list[Part], there: list[Part], words: str) -> None:
    """What is amiss with a bitmap, and what QEMU would make of it, is said where it is."""
    seen = preview(source(*here), destination(*there) if there else None)
    flat = " ".join(text(preview_lines(seen, 200)).split())
    assert " ".join(words.split()) in flat


def test_mapping_in_force_decides() -> None:
    """With a mapping in force, QEMU by itself sends what is in it, and only that."""
    listed = {"node-name": "n0", "alias": "elsewhere", "bitmaps": [{"name": "b0", "alias": "other"}]}
    here = source(
        node("n0", bitmaps=["b0", "b1"]), node("n1", bitmaps=["b2"]), parameters={"block-bitmap-mapping": [listed]}
    )
    said = text(preview_lines(preview(here, None), 200))
    assert "a `block-bitmap-mapping` is in force on the source already: as it is, the next migration drops 2" in said
    assert "QEMU by itself sends it as elsewhere/other: by the mapping of the source" in said
    assert "QEMU by itself drops it: the mapping of the source does not list it" in said
    assert "QEMU by itself drops it: the mapping of the source does not have its node" in said
    assert "it would complete, and not bring all of them: 2 dropped" in said


def test_mapping_in_force_on_the_other_side() -> None:
    """A mapping on the destination decides where QEMU by itself puts a bitmap."""
    listed = {"node-name": "n9", "alias": "n0", "bitmaps": [{"name": "b0", "alias": "b0"}]}
    there = destination(node("n0"), node("n9"), parameters={"block-bitmap-mapping": [listed]})
    said = text(preview_lines(preview(source(node("n0", bitmaps=["b0"])), there), 200))
    assert "address n0/b0 -> n0: explicit node-name\n" in said
    assert "QEMU by itself brings it as n0/b0 -> n9: " in said


def test_shared_node_is_drawn_once() -> None:
    """A node that two others use is drawn below the first and named below the second."""
    here = source(
        node("a", "raw", file="shared"),
        node("b", "raw", file="shared"),
        node("shared", bitmaps=["b0"]),
        drive("d", "shared"),
    )
    said = text(preview_lines(preview(here, None), 80))
    assert said.count("bitmap b0") == 1
    assert said.count("file: shared, drawn above") == 2


def test_deep_chain_goes_on_below() -> None:
    """A chain of a thousand images is drawn in pieces, all of it, and each line fits."""
    nodes = [node(f"n{number}", "qcow2", backing=f"n{number + 1}") for number in range(1000)]
    seen = preview(source(*nodes, node("n1000", "qcow2", bitmaps=["last"])), None)
    lines = [line.plain for line in preview_lines(seen, 80)]
    assert all(cell_len(line) <= 80 for line in lines)
    assert (
        sum(
            f"backing: n{number}  qcow2" in line or f"─ n{number}  qcow2" in line
            for line in lines
            for number in range(1001)
        )
        == 1001
    )
    assert any("bitmap last" in line for line in lines)


def test_large_pictures_are_cut() -> None:
    """Of a thousand nodes a hundred are drawn, those with bitmaps first, and what is left out is counted."""
    nodes = [node(f"n{number:03}", bitmaps=["b0"] if number > 950 else []) for number in range(1000)]
    said = text(preview_lines(preview(source(*nodes), None), 80, Limits()))
    assert said.count("bitmap b0") == 49
    assert "\n└─ ... 900 more\n" in said
    assert said.endswith("\n... and 900 nodes with 0 bitmaps more; --all shows them")


def test_ascii_guides() -> None:
    """Where the encoding has no lines to draw with, a tree is drawn in ASCII."""
    seen = preview(source(node("a", "raw", file="b"), node("b", bitmaps=["b0"]), node("c")), None)
    said = text(preview_lines(seen, 80, guides=ASCII))
    assert said.isascii()
    assert "\n|- a  raw, 16 MiB\n|  `- file: b  null-co, 16 MiB\n" in said


def test_untrustworthy_capture_is_drawn_and_named() -> None:
    """A cycle does not keep the picture from being drawn, and is said below it."""
    seen = preview(source(node("a", "raw", file="b"), node("b", "raw", file="a", bitmaps=["b0"])), None)
    said = text(preview_lines(seen, 80))
    assert "bitmap b0" in said
    assert "This is no genuine capture" in said
    assert "BM201 graph-cyclic" in said

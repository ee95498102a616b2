"""What `migrate-set-parameters` checks of `block-bitmap-mapping`, which is never the graph.

Source: `check_dirty_bitmap_mig_alias_map`.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from bitmapmig.selftest.end import entry
from bitmapmig.selftest.experiment import ACCEPTED, NO, REFUSED, YES, Experiment
from bitmapmig.throwaway import QemuRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bitmapmig.selftest.lab import Lab

_SECTION = "what migrate-set-parameters checks"
#: Before whatever else is said of a map.
_PREFIX = "Invalid mapping given for block-bitmap-mapping: "

_TWO_BYTES = "\u00e4"
_WELL = entry("n", "a", b="x")
#: What is checked, a map that fails, and what is said of it.
_REFUSED: tuple[tuple[str, str, Sequence[Mapping[str, Any]], str], ...] = (
    (
        "a node alias that is not well-formed",
        "generated-node-alias",
        [entry("n", "#a", b="x")],
        "The node alias '#a' is not well-formed",
    ),
    (
        "a node alias with too many bytes",
        "long-node-alias",
        [entry("n", "a" * 256, b="x")],
        f"The node alias '{'a' * 256}' is longer than 255 bytes",
    ),
    (
        "a bitmap alias with too many bytes",
        "long-bitmap-alias",
        [entry("n", "a", b=_TWO_BYTES * 128)],
        f"The bitmap alias '{_TWO_BYTES * 128}' is longer than 255 bytes",
    ),
    (
        "a node-name with too many bytes",
        "long-node-name",
        [entry("n" * 32, "a", b="x")],
        f"The node name '{'n' * 32}' is longer than 31 bytes",
    ),
    (
        "a bitmap name with too many bytes",
        "long-bitmap-name-in-map",
        [entry("n", "a", **{"b" * 1024: "x"})],
        f"The bitmap name '{'b' * 1024}' is longer than 1023 bytes",
    ),
    ("a node-name that is there twice", "node-twice", [_WELL, entry("n", "z")], "The node name 'n' is mapped twice"),
    (
        "a node alias that is there twice",
        "node-alias-twice",
        [_WELL, entry("m", "a")],
        "The node alias 'a' is used twice",
    ),
    (
        "a bitmap that is there twice",
        "bitmap-twice",
        [{**_WELL, "bitmaps": [{"name": "b", "alias": one} for one in "xy"]}],
        "The bitmap 'n'/'b' is mapped twice",
    ),
    (
        "a bitmap alias that is there twice",
        "bitmap-alias-twice",
        [entry("n", "a", b="x", c="x")],
        "The bitmap alias 'a'/'x' is used twice",
    ),
)


async def _refusal(lab: Lab, mapping: Sequence[Mapping[str, Any]] | None) -> str | None:
    """Why QEMU refuses a map; None where it takes it. Nothing migrates from the bench, so that may be tried there."""
    try:
        await lab.materials.bench.execute("migrate-set-parameters", {"block-bitmap-mapping": mapping})
    except QemuRefusedError as error:
        return error.desc
    return None


async def _asked(lab: Lab, *, mapping: Sequence[Mapping[str, Any]] | None) -> str:
    return ACCEPTED if await _refusal(lab, mapping) is None else REFUSED


async def _words(lab: Lab) -> str:
    for _, _, mapping, words in _REFUSED:
        said = await _refusal(lab, mapping)
        if said != f"{_PREFIX}{words}":
            return NO
    return YES


async def _in_force(lab: Lab, *, second: Sequence[Mapping[str, Any]]) -> str:
    """Which of two maps is in force once it was tried to set both."""
    source = await lab.start("source")
    first = [entry("n", "a", b="x"), entry("m", "z", b="y")]
    await source.map(*first)
    with suppress(QemuRefusedError):
        await source.map(*second)
    shown = _nodes((await source.do("query-migrate-parameters"))["block-bitmap-mapping"])
    if shown == _nodes(first):
        return "the first"
    return "the second" if shown == _nodes(second) else "neither"


def _nodes(mapping: Sequence[Mapping[str, Any]]) -> set[str]:
    return {one["node-name"] for one in mapping}


EXPERIMENTS = (
    *(
        Experiment(
            f"map-{name}", _SECTION, f"What of a map with a fault: {what}?", REFUSED, partial(_asked, mapping=mapping)
        )
        for what, name, mapping, _ in _REFUSED
    ),
    Experiment(
        "map-bitmap-alias-of-any-form",
        _SECTION,
        "What of a map with a bitmap alias that would be no node alias?",
        ACCEPTED,
        partial(_asked, mapping=[entry("n", "a", b="# \u00e4\n")]),
    ),
    Experiment(
        "map-null",
        _SECTION,
        "What of null in place of a map, which would un-set it?",
        REFUSED,
        partial(_asked, mapping=None),
    ),
    Experiment(
        "map-refusals",
        _SECTION,
        "Is what QEMU says of maps with faults worded as it is known?",
        YES,
        _words,
        words=True,
    ),
    Experiment(
        "map-set-again",
        _SECTION,
        "Which map is in force after another one was set?",
        "the second",
        partial(_in_force, second=[entry("k", "a", b="x")]),
    ),
    Experiment(
        "map-refused",
        _SECTION,
        "Which map is in force after another one was refused?",
        "the first",
        partial(_in_force, second=[entry("k", "#a", b="x")]),
    ),
)

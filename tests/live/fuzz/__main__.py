"""Worlds by the thousand, or one again: `make fuzz N=10000`.

    python -m tests.live.fuzz [--count N] [--seed S] [--processes P] [--figures FILE] [--page FILE] [--found FOLDER]
    python -m tests.live.fuzz --replay FILE [--source VERSION] [--destination VERSION]

The worlds go over every pair of QEMUs in turn. Each disagreement is made smaller and written to `--found`. Exit
status: 0 where all agree, else 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from tests.live.fuzz import agreement, campaign
from tests.live.fuzz.differential import Verdict, judge
from tests.live.fuzz.shrink import shrink
from tests.live.fuzz.world import World, readable
from tests.live.qemu import Binary, binaries

DEFAULT = 1000
#: How many disagreements are made smaller, a minute each at most; the rest are written as they were drawn.
SHRUNK = 10


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.live.fuzz")
    parser.add_argument("--count", type=int, default=DEFAULT)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--figures", type=Path)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--found", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--source", default="")
    parser.add_argument("--destination", default="")
    words = parser.parse_args()
    return _replay(words) if words.replay else _campaign(words)


def _replay(words: argparse.Namespace) -> int:
    world = World.model_validate_json(words.replay.read_text())
    bad = 0
    for source, destination in campaign.upward():
        if _wanted(source, words.source) and _wanted(destination, words.destination):
            verdict = judge(world, source, destination)
            print(verdict.readable())
            bad += bool(verdict.disagreements)
    return int(bad > 0)


def _wanted(binary: Binary, version: str) -> bool:
    return f"{binary.version}.".startswith(f"{version}." if version else "")


def _campaign(words: argparse.Namespace) -> int:
    work = list(campaign.chunks(words.count, words.seed, campaign.pairs()))
    verdicts: dict[tuple[str, str], list[Verdict]] = {}
    begun = time.monotonic()
    shrunk = 0
    for number, (chunk, found) in enumerate(campaign.run_all(work, words.processes), 1):
        verdicts.setdefault((chunk.source.version, chunk.destination.version), []).extend(found)
        for index, verdict in enumerate(found):
            if verdict.disagreements:
                shrunk += 1
                _report(words.found, f"{chunk}-{index}", verdict, smaller=shrunk <= SHRUNK)
        if sys.stderr.isatty():
            print(f"\r{number} of {len(work)} chunks, {time.monotonic() - begun:.0f} s", end="", file=sys.stderr)
    figures = {versions: campaign.Figures.of(listed) for versions, listed in verdicts.items()}
    told = json.dumps(agreement.as_json(figures), indent=1)
    if words.figures:
        words.figures.write_text(told + "\n")
    if words.page:
        seeds = f"{2 * words.seed} to {work[-1].seed}, {campaign.CHUNK} worlds each"
        words.page.write_text(agreement.page(figures, seeds, DEFAULT))
    print(told)
    return int(any(one.worlds_disagreed for one in figures.values()))


def _report(folder: Path, name: str, verdict: Verdict, *, smaller: bool) -> None:
    """Write the world, made smaller where wanted, and print what it is about."""
    pair = [next(one for one in binaries() if one.version == version) for version in verdict.versions]
    kinds = {one.kind for one in verdict.disagreements}

    def shows(world: World) -> bool:
        return bool(kinds & {one.kind for one in judge(world, *pair).disagreements})

    world = shrink(verdict.world, shows) if smaller else verdict.world
    last = judge(world, *pair) if smaller else verdict
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(readable(world) + "\n")
    (folder / f"{name}.txt").write_text((last if last.disagreements else verdict).readable() + "\n")
    print(f"{folder / name}.json: QEMU {' to '.join(verdict.versions)}", *map(str, verdict.disagreements), sep="\n  ")


if __name__ == "__main__":
    sys.exit(main())

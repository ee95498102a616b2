"""Figures of a campaign -> docs/agreement.md and its JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.live.fuzz.campaign import Figures

Versions = tuple[str, str]
KINDS = ("migration", "bitmap", "log", "proposal")
PAGE = """\
# How well the model agrees with QEMU

`bitmapmig.fate` foretells what a migration would do with every bitmap. This page says how often it is right: worlds
that are drawn at random are built in two real QEMUs, captured by the product itself, foretold, and migrated; then what
was foretold is held against what happened. `make fuzz N={count}` writes it; the last run drew the worlds of the seeds
{seeds}.

| source | destination | worlds | completed / failed / destination died | migrations | bitmaps | log lines | proposals |
|---|---|---|---|---|---|---|---|
{rows}

A cell is *agreed of compared*. **Migrations**: the outcome as a whole, the source's status, and the destination's or
how its process ended. **Bitmaps**: the outcome of each named bitmap of the source; where it arrives, its node, name,
granularity, flags and the SHA-256 of its bits, once more after `cont`, and after the shutdown what `qemu-img` finds in
the image; and nothing else may have arrived. **Log lines**: each foretold line is in that side's log, and each line
there that speaks of bitmaps was foretold. **Proposals**: the same is foretold of maps and capabilities that are
proposed as of the same ones once set.

Worlds that were not compared: {left_out}. Worlds that disagree in something: {disagreements}.

QEMU meets bitmaps in the order in which nodes were created, and no query tells whether a node with a name was built
within the one above it, which is then the older one. The model takes it that they were built one by one; otherwise
another one of two lines may be printed. Worlds that agree only in the true order: {hidden}.

## What is drawn

One to three disks, bare or below named devices, qcow2, raw, null-co or a chain, with explicit and generated
node-names, nested or built one by one, below throttle, copy-on-read, blkdebug and compress filters; on each up to two
bitmaps of several granularities, transient or persistent, recording or disabled, some with long or odd names. Then
none to four troubles: bitmaps that are busy, inconsistent, read-only, on filters, protocol nodes or backing images;
two devices over one node; jobs and exports; disks that the destination lacks, or has under other names, in other
sizes, read-only, in formats that keep nothing; bitmaps that are there already, in memory or in the image; the
capability off. And maps on none, one or both sides, right ones and wrong ones. Images are separate, shared, or copies.
In one of 25 worlds there is a machine with virtio disks; its guest does not run before the migration.

Of the bitmaps of these worlds it was foretold: {outcomes}.

## Doing it again

`make fuzz` plays {default} worlds, `make fuzz N=10000` more, on every pair of QEMUs that is found; `SEED=1000` draws
others. A disagreement is written as the smallest world that shows it, and ends the run with exit status 1. Once
understood that world is kept in `tests/live/fuzz/kept/`, which CI plays on every QEMU, beside 320 worlds of fixed
seeds; `python -m tests.live.fuzz --replay FILE` plays one and prints everything. A seed gives the same worlds as long
as the generator and the version of hypothesis are the same: what must last is kept as a file.
"""


def as_json(figures: Mapping[Versions, Figures]) -> list[dict[str, Any]]:
    """The figures of each pair, for machines."""
    return [
        {
            "source": versions[0],
            "destination": versions[1],
            "statuses": dict(sorted(one.statuses.items())),
            "migrations": dict(sorted(one.migrations.items())),
            "outcomes": dict(sorted(one.outcomes.items())),
            "agreements": {
                kind: {"compared": one.compared[kind], "agreed": one.compared[kind] - one.disagreed[kind]}
                for kind in KINDS
            },
            "worlds_of_hidden_order": one.hidden_order,
            "worlds_that_disagree": one.worlds_disagreed,
        }
        for versions, one in sorted(figures.items(), key=_by_version)
    ]


def page(figures: Mapping[Versions, Figures], seeds: str, default: int) -> str:
    """The text of docs/agreement.md."""
    listed = sorted(figures.items(), key=_by_version)
    left_out = {
        "unbuildable": "QEMU does not start with them, or dies while they are built",
        "uncaptured": "the product refuses to capture them, since the query would kill that QEMU",
        "unsettled": "QEMU hangs while they are built or migrated",
        "unknown": "the model says that it does not know",
    }
    lefts = [
        f"{sum(one.statuses[status] for _, one in listed)} ({words})"
        for status, words in left_out.items()
        if any(one.statuses[status] for _, one in listed)
    ]
    outcomes = {name for _, one in listed for name in one.outcomes}
    counted = {name: sum(one.outcomes[name] for _, one in listed) for name in outcomes}
    return PAGE.format(
        count=sum(sum(one.statuses.values()) for _, one in listed),
        seeds=seeds,
        rows="\n".join(_row(versions, one) for versions, one in listed),
        left_out=", ".join(lefts) or "none",
        hidden=sum(one.hidden_order for _, one in listed),
        disagreements=sum(one.worlds_disagreed for _, one in listed),
        outcomes=", ".join(f"{counted[name]} {name}" for name in sorted(counted, key=lambda name: -counted[name])),
        default=default,
    )


def _row(versions: Versions, one: Figures) -> str:
    cells = [f"{one.compared[kind] - one.disagreed[kind]} of {one.compared[kind]}" for kind in KINDS]
    ends = " / ".join(str(one.migrations[end]) for end in ("completes", "fails", "destination-dies"))
    return f"| {versions[0]} | {versions[1]} | {one.statuses['compared']} | {ends} | {' | '.join(cells)} |"


def _by_version(item: tuple[Versions, Figures]) -> list[list[int]]:
    return [[int(part) for part in version.split(".")] for version in item[0]]

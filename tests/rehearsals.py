"""Rehearsals and profiles, made by hand."""

from __future__ import annotations

from typing import Any

from bitmapmig.fate import ForetoldBitmap, LogLine
from bitmapmig.profile import Answer, Profile
from bitmapmig.rehearsing.document import (
    Disagreement,
    Rehearsal,
    RehearsedBitmap,
    RehearsedEnd,
    RehearsedMigration,
)

_COMPLETED = RehearsedMigration(migration="completes", source="completed", destination="completed")


def end(**members: Any) -> RehearsedEnd:
    """One side, on the very version that was planned for."""
    told = {"binary": "/usr/bin/qemu", "qemu_version": "7.2.22", "planned_version": "7.2.22", "substituted": {}}
    return RehearsedEnd(**(told | members))


def bitmap(name: str = "b0", outcome: Any = "arrives", happened: Any = "arrived", **members: Any) -> RehearsedBitmap:
    """A bitmap of `n0`: what was foretold, and what happened."""
    node = members.pop("node", "n0")
    foretold = ForetoldBitmap(
        node=node,
        bitmap=name,
        outcome=outcome,
        reason="so the model says",
        code=members.pop("code", None),
        recording=True,
        persistent=False,
        granularity=65536,
    )
    there = {"destination_node": node, "destination_bitmap": name} if happened == "arrived" else {}
    told = {"fate": "migrate", "reason": "so it was", "agrees": (outcome, happened) == ("arrives", "arrived"), **there}
    return RehearsedBitmap(node=node, bitmap=name, foretold=foretold, happened=happened, **(told | members))


def rehearsal(*bitmaps: RehearsedBitmap, **members: Any) -> Rehearsal:
    """A rehearsal of a plan that survives, but for what is said."""
    told = {
        "outcome": "survives",
        "verdict": "planned",
        "seed": 0,
        "source": end(),
        "destination": end(),
        "migration": _COMPLETED,
        "bitmaps": bitmaps,
        "verified": None,
    }
    told |= dict.fromkeys(("disagreements", "failures", "advice", "refusals", "log"), ())
    return Rehearsal(**(told | members))


def printed(text: str, side: Any = "destination") -> LogLine:
    """A line of a log."""
    return LogLine(side=side, text=text)


def wrong(**members: Any) -> Disagreement:
    """A disagreement: by default about a bitmap."""
    told = {"what": "bitmap", "node": "n0", "bitmap": "b0", "foretold": "arrives", "happened": "lost"}
    return Disagreement(**(told | members))


def answer(name: str = "one", *, agrees: bool = True, **members: Any) -> Answer:
    """An answer that is as assumed, or is not."""
    told = {
        "name": name,
        "section": "maps",
        "question": "what becomes of it?",
        "kind": "behaviour",
        "behaviour": f"{name}-harms",
        "assumed": "it harms",
        "answer": "it harms" if agrees else "it does not harm",
        "agrees": agrees,
    }
    return Answer(**(told | members))


def profile(*answers: Answer, **members: Any) -> Profile:
    """A profile of QEMU 7.2.22 with these answers."""
    told = {
        "qemu_version": "7.2.22",
        "package": "Debian 1:7.2",
        "behaviours": {one.behaviour: one.agrees for one in answers if one.behaviour},
        "answers": answers,
        "differs": tuple(one.name for one in answers if not one.agrees),
    }
    return Profile(**(told | members))

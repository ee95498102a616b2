"""A plan -> where its ends are, whether they are still there, and whether they are the ones that it was made for."""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from bitmapmig import codes, peer
from bitmapmig.collect import on_side, one_monitor
from bitmapmig.diagnostics import CannotRunError, Side, Where
from bitmapmig.endpoint import Endpoint, UnixSocket, parse
from bitmapmig.plans.fingerprint import WHICH

if TYPE_CHECKING:
    from bitmapmig.diagnostics import Diagnostic
    from bitmapmig.plans import Plan
    from bitmapmig.plans.document import Identity
    from bitmapmig.state import State

#: Why a connection cannot be made where nobody listens any more.
_NOBODY = frozenset(map(os.strerror, (errno.ENOENT, errno.ECONNREFUSED)))


def check_plan(plan: Plan) -> None:
    """Raise `CannotRunError` for a plan that nobody carries out.

    That is a refusal (BM704), a provisional one (BM705), and one from which bitmaps were edited out (BM706): one that a
    plan is silent about would be dropped as silently.
    """
    if plan.verdict == "refused":
        raise CannotRunError(codes.PLAN_REFUSED.at(Where(), refusals=len(plan.refusals)))
    if plan.provisional:
        raise CannotRunError(codes.PLAN_PROVISIONAL.at(Where()))
    there = sorted((node.name, one.name) for node in plan.source.structure.nodes for one in node.bitmaps)
    fates = sorted((one.node, one.bitmap) for one in plan.bitmaps if one.fate != "refused")
    if fates != there or len(fates) != len(plan.bitmaps):
        raise CannotRunError(codes.PLAN_ALTERED.at(Where(), what="it does not say what becomes of every bitmap"))


def endpoints(
    plan: Plan, source: Endpoint | str | None, destination: Endpoint | str | None
) -> tuple[Endpoint, Endpoint]:
    """Where the source and the destination are, the plan's own unless others are given.

    Raises `CannotRunError` (BM101, BM707, BM714).
    """
    found: list[Diagnostic] = []
    ends: list[Endpoint] = []
    wanted: tuple[tuple[Side, Endpoint | str], ...] = (
        ("source", source or plan.source.endpoint),
        ("destination", destination or plan.destination.endpoint),
    )
    for side, named in wanted:
        try:
            end = parse(named) if isinstance(named, str) else named
        except CannotRunError as error:
            found += on_side(side, error)
            continue
        if not end.live:
            found.append(codes.ENDPOINT_STORED.at(Where(side=side), side=side, endpoint=end.text))
        ends.append(end)
    if not found and one_monitor(ends[0], ends[1]):
        found.append(codes.ENDS_ARE_ONE.at(Where()))
    if found:
        raise CannotRunError(*found)
    return ends[0], ends[1]


def check_named(source: str | None, destination: str | None) -> None:
    """Raise `CannotRunError` (BM101, BM102) where a socket that a user names is not there.

    That is a slip; the plan's own socket that is not there is an end that is gone.
    """
    found: list[Diagnostic] = []
    named: tuple[tuple[Side, str | None], ...] = ("source", source), ("destination", destination)
    for side, text in named:
        if text is None:
            continue
        place = parse(text).place
        if isinstance(place, UnixSocket) and not os.path.lexists(place.path):
            reason = "there is no such socket"
            found.append(codes.ENDPOINT_UNREACHABLE.at(Where(side=side), endpoint=text, reason=reason))
    if found:
        raise CannotRunError(*found)


async def vm(plan: Plan, source: Endpoint) -> str:
    """By what the VM of a plan is known, for its lock: its uuid; else, on this host, its process; else its name.

    Last comes the endpoint as it is spelled, where nothing else is known of a QEMU behind TCP.
    """
    if plan.source.uuid:
        return plan.source.uuid
    if isinstance(source.place, UnixSocket):
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                connection = await peer.connect_unix(source.place.path)
            with connection:
                process = peer.process(connection)
            if process is not None:
                return process.identity
    return plan.source.name or source.text


def why_gone(error: CannotRunError) -> str | None:
    """Why the QEMU that could not be reached is gone for good; None where it may be there and not answer."""
    unreachable = [one for one in error.diagnostics if one.code == codes.ENDPOINT_UNREACHABLE.code]
    reasons = [str(one.facts["reason"]) for one in unreachable]
    return next((reason for reason in reasons if reason in _NOBODY), None)


def check_identity(side: Side, planned: Identity, found: State) -> None:
    """Raise `CannotRunError` (BM711) where this is certainly not the QEMU that was planned for."""
    now = {
        "uuid": found.uuid,
        "name": found.name,
        "qemu_version": found.version_text,
        "machine_type": found.machine_type,
    }
    differences = [
        f"its {member} is {now[member]!r}, not {wanted!r}"
        for member in WHICH
        if (wanted := getattr(planned, member)) is not None and now[member] not in (None, wanted)
    ]
    if differences:
        raise CannotRunError(codes.ANOTHER_QEMU.at(Where(side=side), side=side, differences="; ".join(differences)))

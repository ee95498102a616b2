"""Plans the migration of QEMU dirty bitmaps: a validated map, or a refusal that says why.

    endpoint -> capture -> graph -> resolve -> policy -> pair -> validate -> plan

A capture is what one QEMU says over QMP. Two captures and a policy make a plan; everything between them is pure.

    source, destination = await capture("unix:/run/a.qmp"), await capture("unix:/run/b.qmp")
    try:
        made = plan(source, destination)
    except Refused as refused:
        made = refused.plan

The names below are the whole public interface. They are imported when they are first used, because the libraries behind
them take far longer to load than `bitmapmig --version` may take.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bitmapmig.applying.applier import apply
    from bitmapmig.applying.document import Applied, StaleError
    from bitmapmig.captures import Capture
    from bitmapmig.collect import collect as capture
    from bitmapmig.diagnostics import BitmapmigError, CannotRunError, Diagnostic
    from bitmapmig.finishing.document import Finished, FinishRefused
    from bitmapmig.finishing.finisher import finish
    from bitmapmig.graph import BlockGraph
    from bitmapmig.lock import LockHeldError
    from bitmapmig.planner import plan
    from bitmapmig.plans import Plan, Refused
    from bitmapmig.policy import Policy
    from bitmapmig.profile import Profile
    from bitmapmig.rehearsing.document import Rehearsal
    from bitmapmig.rehearsing.rehearser import rehearse
    from bitmapmig.selftest.run import profile_of
    from bitmapmig.simulating import Simulated
    from bitmapmig.simulating.simulator import simulate
    from bitmapmig.verifying import VerificationFailed, Verified
    from bitmapmig.verifying.verifier import verify
    from bitmapmig.waiting.document import Migrated, MigrationFailed
    from bitmapmig.waiting.migrator import apply_and_wait

__all__ = [
    "Applied",
    "BitmapmigError",
    "BlockGraph",
    "CannotRunError",
    "Capture",
    "Diagnostic",
    "FinishRefused",
    "Finished",
    "LockHeldError",
    "Migrated",
    "MigrationFailed",
    "Plan",
    "Policy",
    "Profile",
    "Refused",
    "Rehearsal",
    "Simulated",
    "StaleError",
    "VerificationFailed",
    "Verified",
    "__version__",
    "apply",
    "apply_and_wait",
    "capture",
    "finish",
    "plan",
    "profile_of",
    "rehearse",
    "simulate",
    "verify",
]

__version__ = "0.1.0"

#: Where each public name is defined, and what it is called there.
_HOMES = {
    "Applied": ("applying.document", "Applied"),
    "BitmapmigError": ("diagnostics", "BitmapmigError"),
    "BlockGraph": ("graph", "BlockGraph"),
    "CannotRunError": ("diagnostics", "CannotRunError"),
    "Capture": ("captures", "Capture"),
    "Diagnostic": ("diagnostics", "Diagnostic"),
    "FinishRefused": ("finishing.document", "FinishRefused"),
    "Finished": ("finishing.document", "Finished"),
    "LockHeldError": ("lock", "LockHeldError"),
    "Migrated": ("waiting.document", "Migrated"),
    "MigrationFailed": ("waiting.document", "MigrationFailed"),
    "Plan": ("plans", "Plan"),
    "Policy": ("policy", "Policy"),
    "Profile": ("profile", "Profile"),
    "Refused": ("plans", "Refused"),
    "Rehearsal": ("rehearsing.document", "Rehearsal"),
    "Simulated": ("simulating", "Simulated"),
    "StaleError": ("applying.document", "StaleError"),
    "VerificationFailed": ("verifying", "VerificationFailed"),
    "Verified": ("verifying", "Verified"),
    "apply": ("applying.applier", "apply"),
    "apply_and_wait": ("waiting.migrator", "apply_and_wait"),
    "capture": ("collect", "collect"),
    "finish": ("finishing.finisher", "finish"),
    "plan": ("planner", "plan"),
    "profile_of": ("selftest.run", "profile_of"),
    "rehearse": ("rehearsing.rehearser", "rehearse"),
    "simulate": ("simulating.simulator", "simulate"),
    "verify": ("verifying.verifier", "verify"),
}


def __getattr__(name: str) -> object:
    """Import a public name on its first use (PEP 562)."""
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    module, there = _HOMES[name]
    value: object = getattr(import_module(f"{__name__}.{module}"), there)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

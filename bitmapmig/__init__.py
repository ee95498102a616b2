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
    from bitmapmig.captures import Capture
    from bitmapmig.collect import collect as capture
    from bitmapmig.diagnostics import CannotRunError, Diagnostic
    from bitmapmig.graph import BlockGraph
    from bitmapmig.planner import plan
    from bitmapmig.plans import Plan, Refused
    from bitmapmig.policy import Policy

__all__ = [
    "BlockGraph",
    "CannotRunError",
    "Capture",
    "Diagnostic",
    "Plan",
    "Policy",
    "Refused",
    "__version__",
    "capture",
    "plan",
]

__version__ = "0.1.0"

#: Where each public name is defined, and what it is called there.
_HOMES = {
    "BlockGraph": ("graph", "BlockGraph"),
    "CannotRunError": ("diagnostics", "CannotRunError"),
    "Capture": ("captures", "Capture"),
    "Diagnostic": ("diagnostics", "Diagnostic"),
    "Plan": ("plans", "Plan"),
    "Policy": ("policy", "Policy"),
    "Refused": ("plans", "Refused"),
    "capture": ("collect", "collect"),
    "plan": ("planner", "plan"),
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

"""The words that may be chosen from; a test holds each list equal to what it names, which takes longer to load."""

from __future__ import annotations

#: The rule sets of `bitmapmig.resolve`.
RULES = ("explicit", "qemu", "root-only", "guest-device")
#: The documents of `bitmapmig.schemas`.
SCHEMAS = (
    "applied",
    "capture",
    "checked",
    "finished",
    "migrated",
    "plan",
    "policy",
    "preview",
    "profile",
    "rehearsal",
    "scenario",
    "simulated",
    "verified",
)
#: The dialects of `bitmapmig.applying.scripts`.
SCRIPTS = ("qmp", "virsh")
#: The shells that there are completions for.
SHELLS = ("bash", "fish", "tcsh", "zsh")

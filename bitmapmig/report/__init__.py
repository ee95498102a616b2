"""Values -> text for people. Documents for machines are the values' own JSON; nothing here is needed for them."""

from bitmapmig.report.applied import applied_lines, migrated_lines
from bitmapmig.report.escape import escaped
from bitmapmig.report.findings import UNLIMITED, Limits, findings
from bitmapmig.report.finished import finished_lines
from bitmapmig.report.plan import plan_lines
from bitmapmig.report.preview import preview_lines
from bitmapmig.report.profiled import profiled_lines
from bitmapmig.report.rehearsed import rehearsed_lines
from bitmapmig.report.simulated import simulated_lines
from bitmapmig.report.tree import ASCII, UNICODE
from bitmapmig.report.verified import verified_lines

__all__ = [
    "ASCII",
    "UNICODE",
    "UNLIMITED",
    "Limits",
    "applied_lines",
    "escaped",
    "findings",
    "finished_lines",
    "migrated_lines",
    "plan_lines",
    "preview_lines",
    "profiled_lines",
    "rehearsed_lines",
    "simulated_lines",
    "verified_lines",
]

"""Values -> text for people. Documents for machines are the values' own JSON; nothing here is needed for them."""

from bitmapmig.report.escape import escaped
from bitmapmig.report.findings import UNLIMITED, Limits, findings
from bitmapmig.report.plan import plan_lines
from bitmapmig.report.preview import preview_lines
from bitmapmig.report.tree import ASCII, UNICODE

__all__ = ["ASCII", "UNICODE", "UNLIMITED", "Limits", "escaped", "findings", "plan_lines", "preview_lines"]

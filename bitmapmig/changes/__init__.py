"""An end as it was planned, and the same end now -> what changed, in words, and whether the plan depends on it."""

from bitmapmig.changes.compare import Changes, changes
from bitmapmig.changes.kinds import KINDS, Change
from bitmapmig.changes.unlike import unlike

__all__ = ["KINDS", "Change", "Changes", "changes", "unlike"]

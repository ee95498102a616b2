"""A plan that is set -> watched through the migration that somebody else starts, then verified, and both ends clean."""

from bitmapmig.waiting.document import Migrated, MigrationFailed
from bitmapmig.waiting.migrator import apply_and_wait

__all__ = ["Migrated", "MigrationFailed", "apply_and_wait"]

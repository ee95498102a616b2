"""A plan -> set on both QEMUs, or nothing changed: a look that it still fits, the lock, the commands, the way back."""

from bitmapmig.applying.applier import apply
from bitmapmig.applying.document import Applied, ApplyInterruptedError, NotAppliedError, StaleError

__all__ = ["Applied", "ApplyInterruptedError", "NotAppliedError", "StaleError", "apply"]

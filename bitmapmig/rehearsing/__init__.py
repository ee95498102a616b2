"""A plan and throw-away QEMUs -> what a real QEMU does with the plan, beside what the model foretold."""

from bitmapmig.rehearsing.document import Rehearsal
from bitmapmig.rehearsing.rehearser import rehearse

__all__ = ["Rehearsal", "rehearse"]

"""A QEMU program -> what it really does with bitmaps: small experiments on throw-away processes of it, as a profile."""

from bitmapmig.selftest.experiment import Experiment, NotApplicable
from bitmapmig.selftest.run import profile_of
from bitmapmig.selftest.table import EXPERIMENTS

__all__ = ["EXPERIMENTS", "Experiment", "NotApplicable", "profile_of"]

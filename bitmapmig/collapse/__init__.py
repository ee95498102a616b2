"""Decisions -> the same, with same-named bitmaps of a backing chain merged where the destination has one flat image."""

from bitmapmig.collapse.chains import Chain, chains, is_flat
from bitmapmig.collapse.merge import Collapsed, Merge, collapse
from bitmapmig.collapse.temporary import is_temporary

__all__ = ["Chain", "Collapsed", "Merge", "chains", "collapse", "is_flat", "is_temporary"]

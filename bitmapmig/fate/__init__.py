"""Two graphs with what is set on them -> what QEMU would do with every bitmap, and which lines it would print."""

from bitmapmig.fate.foretell import foretell
from bitmapmig.fate.outcome import Foretold, ForetoldBitmap, LogLine
from bitmapmig.fate.qemu import Images, Qemu, Sharing

__all__ = ["Foretold", "ForetoldBitmap", "Images", "LogLine", "Qemu", "Sharing", "foretell"]

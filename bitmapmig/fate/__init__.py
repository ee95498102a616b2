"""Two graphs with what is set on them -> what QEMU would do with every bitmap, and which lines it would print."""

from bitmapmig.fate.foretell import foretell
from bitmapmig.fate.outcome import DestinationEnd, Foretold, ForetoldBitmap, LogLine, MigrationEnd, Outcome, SourceEnd
from bitmapmig.fate.qemu import Images, Qemu, Sharing

__all__ = [
    "DestinationEnd",
    "Foretold",
    "ForetoldBitmap",
    "Images",
    "LogLine",
    "MigrationEnd",
    "Outcome",
    "Qemu",
    "Sharing",
    "SourceEnd",
    "foretell",
]

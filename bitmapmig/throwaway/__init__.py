"""A QEMU program -> throw-away QEMU processes, and a block graph built on one: real, private, gone afterwards."""

from bitmapmig.throwaway.binary import Binary
from bitmapmig.throwaway.build import Built, build, make_images
from bitmapmig.throwaway.folder import private_folder
from bitmapmig.throwaway.guests import machine_for
from bitmapmig.throwaway.process import Throwaway, running
from bitmapmig.throwaway.reason import NotBuiltError
from bitmapmig.throwaway.rest import at_rest, printed
from bitmapmig.throwaway.session import QemuGoneError, QemuRefusedError
from bitmapmig.throwaway.words import THROTTLE_GROUP

__all__ = [
    "THROTTLE_GROUP",
    "Binary",
    "Built",
    "NotBuiltError",
    "QemuGoneError",
    "QemuRefusedError",
    "Throwaway",
    "at_rest",
    "build",
    "machine_for",
    "make_images",
    "printed",
    "private_folder",
    "running",
]

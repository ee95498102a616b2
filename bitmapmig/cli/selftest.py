"""`bitmapmig selftest`: a QEMU program -> its behaviour profile, and where that differs from what is assumed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bitmapmig.cli import exits
from bitmapmig.cli.document import tell, written
from bitmapmig.cli.progress import Progress
from bitmapmig.cli.signals import ended_in_order
from bitmapmig.report import profiled_lines
from bitmapmig.selftest.run import profile_of

if TYPE_CHECKING:
    import argparse

    from bitmapmig.cli.screen import Screen


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Ask the program, and show its answers. Raises `CannotRunError`."""
    with Progress("asking the program for its version") as progress:
        profile = ended_in_order(profile_of(arguments.qemu, says=progress.says))
    tell(written(profile), partial(profiled_lines, profile), arguments, screen)
    return exits.REFUSED if profile.differs else exits.DONE

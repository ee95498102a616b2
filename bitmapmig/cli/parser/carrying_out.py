"""`apply`, `verify` and `finish`: what is done with a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig.cli.parser import options
from bitmapmig.cli.parser.words import SCRIPTS

if TYPE_CHECKING:
    from bitmapmig.cli.parser.commands import Commands


def apply(commands: Commands) -> None:
    """Add `apply`."""
    parser = commands.add(
        "apply",
        "carry a plan out",
        "Looks whether the plan still fits both QEMUs, sets what it says on the\n"
        "destination and then on the source, and reads it back; or sets nothing and says\n"
        "why (exit code 4 where the plan is stale). What was set is put back where\n"
        "anything fails. It does not start the migration; with --wait-migration it waits\n"
        "for one, verifies it (exit code 5 where a bitmap is not as planned) and cleans\n"
        "up.",
        [
            "bitmapmig apply plan.json",
            "bitmapmig apply plan.json --dry-run",
            "bitmapmig apply plan.json --script virsh",
        ],
    )
    parser.add_argument("plan", metavar="PLAN", help="the file that `plan -o FILE` wrote, or - for standard input")
    parser.add_argument("--source", metavar="ENDPOINT", help="the source, where it is not where the plan says")
    parser.add_argument("--destination", metavar="ENDPOINT", help="the same, for the destination")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="look and compare, and show the commands, but set nothing")
    how.add_argument(
        "--script",
        metavar="SHELL",
        choices=SCRIPTS,
        help="print lines that set it, for qmp-shell (qmp) or for a shell with virsh (virsh); nothing is connected to",
    )
    how.add_argument(
        "--wait-migration",
        action="store_true",
        help="stay until the migration that you start has ended: warn where a graph changes, then verify and finish",
    )
    parser.add_argument(
        "--wait-timeout",
        metavar="SECONDS",
        type=options.seconds,
        help="how long to wait for the end of the migration (without it: for ever)",
    )
    options.lock(parser)
    options.timeout(parser)
    options.formats(parser)
    options.everything(parser)


def verify(commands: Commands) -> None:
    """Add `verify`."""
    parser = commands.add(
        "verify",
        "prove that the bitmaps arrived",
        "Compares every bitmap of a plan on both sides after the migration, and says on\n"
        "what proof. Best while the destination is paused (started with -S) and the\n"
        "source is still there. Exit code 5 where a bitmap is not as planned; one that\n"
        "may be right and cannot be proven is said, with --strict it is 5 as well.\n"
        "Nothing is changed on either side.",
        ["bitmapmig verify plan.json", "bitmapmig verify plan.json --strict --log destination.log --format json"],
    )
    options.plan_and_ends(parser)
    parser.add_argument("--log", metavar="FILE", help="what the destination printed to standard error, for the causes")
    parser.add_argument("--strict", action="store_true", help="fail for what is not proven as well")
    options.timeout(parser)
    options.formats(parser)
    options.everything(parser)


def finish(commands: Commands) -> None:
    """Add `finish`."""
    parser = commands.add(
        "finish",
        "leave both ends clean after a migration",
        "Turns dirty-bitmaps off where the plan turned it on (with it on, a later savevm\n"
        "never returns), and replaces the maps that the plan set by neutral ones (left on\n"
        "a destination, a map is its outgoing one at the next migration). Refuses (exit\n"
        "code 3) while a migration is under way, or where none has completed. An end that\n"
        "is gone is said to be. It can be run again at any time.",
        ["bitmapmig finish plan.json", "bitmapmig finish plan.json --failed --dry-run"],
    )
    options.plan_and_ends(parser)
    parser.add_argument("--failed", action="store_true", help="give the attempt up: no migration need have completed")
    parser.add_argument("--dry-run", action="store_true", help="print what would be sent, and send nothing")
    options.lock(parser)
    options.timeout(parser)
    options.formats(parser)
    options.everything(parser)

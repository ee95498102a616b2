"""`capture`, `preview` and `plan`: what looks at QEMUs and touches none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig.cli.parser import options
from bitmapmig.cli.parser.options import ENDPOINT

if TYPE_CHECKING:
    from bitmapmig.cli.parser.commands import Commands


def capture(commands: Commands) -> None:
    """Add `capture`."""
    parser = commands.add(
        "capture",
        "store what one QEMU says of itself",
        "Asks a QEMU everything that a plan needs, with read-only commands, and writes\n"
        "one JSON document. A plan from stored captures is the plan from the live QEMUs.",
        ["bitmapmig capture unix:/run/vm.qmp -o source.json", "bitmapmig capture tcp:10.0.0.7:4444 --redact | gzip"],
    )
    parser.add_argument("endpoint", metavar="ENDPOINT", help=ENDPOINT)
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write to FILE, whole or not at all; else, or for -, to standard output"
    )
    parser.add_argument("--redact", action="store_true", help="replace file names and URLs by stable placeholders")
    options.timeout(parser)
    options.formats(parser, ("json",), "json")


def preview(commands: Commands) -> None:
    """Add `preview`."""
    parser = commands.add(
        "preview",
        "show the block graph with its bitmaps",
        "Draws the block graph of one QEMU or of both: where each bitmap is, its address\n"
        "and why, where it goes, and what QEMU would do with it by itself. Nothing is\n"
        "judged; that is what `plan` is for.",
        ["bitmapmig preview unix:/run/vm.qmp", "bitmapmig preview source.json destination.json --resolve qemu"],
    )
    parser.add_argument("source", metavar="SOURCE", help=ENDPOINT)
    parser.add_argument("destination", metavar="DESTINATION", nargs="?", help="the same, for the other side")
    options.rules(parser)
    options.timeout(parser)
    options.formats(parser)
    options.everything(parser)


def plan(commands: Commands) -> None:
    """Add `plan`."""
    parser = commands.add(
        "plan",
        "plan a migration, or refuse it",
        "Works out where every bitmap of the source goes and prints the commands that\n"
        "send it there, or refuses and says why (exit code 3). Nothing is changed on\n"
        "either side.",
        [
            "bitmapmig plan unix:/run/source.qmp unix:/run/destination.qmp",
            "bitmapmig plan source.json destination.json --policy policy.yaml -o plan.json",
        ],
    )
    parser.add_argument("source", metavar="SOURCE", help=ENDPOINT)
    parser.add_argument("destination", metavar="DESTINATION", help="the same, for the other side")
    parser.add_argument(
        "--policy", metavar="FILE", help="what you want of the migration: YAML, JSON or TOML, by suffix"
    )
    options.rules(parser)
    options.profiles(parser)
    parser.add_argument(
        "--provisional",
        action="store_true",
        help="the destination is one of its like, it need not wait for a migration",
    )
    parser.add_argument("--strict", action="store_true", help="refuse for advice as well")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write the plan document to FILE as well; a refusal too, it has the same form; - leaves the text out",
    )
    options.timeout(parser)
    options.formats(parser)
    options.everything(parser)

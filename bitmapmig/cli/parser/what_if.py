"""`check` and `simulate`: what would become of bitmaps, without any QEMU."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bitmapmig.cli.parser import options
from bitmapmig.cli.parser.options import ENDPOINT

if TYPE_CHECKING:
    from bitmapmig.cli.parser.commands import Commands


def check(commands: Commands) -> None:
    """Add `check`."""
    parser = commands.add(
        "check",
        "run scenarios in CI: a start, steps, and where every bitmap must be then",
        "A scenario is a start, steps such as a mirror and its pivot, and where every\n"
        "bitmap must be then; what a plan must say can be expected as well. What QEMU\n"
        "would do is simulated; no QEMU is needed, but for --live. Exit code 3 where an\n"
        "expectation fails, 2 where a file cannot be read; all others are run.",
        [
            "bitmapmig check scenarios/",
            "bitmapmig check scenarios/ --junit report.xml --format github",
            "bitmapmig check mirror.bitmapmig.yaml --update",
        ],
    )
    parser.add_argument(
        "paths", metavar="PATH", nargs="+", help="a scenario file, or a folder with files such as mirror.bitmapmig.yaml"
    )
    parser.add_argument("--junit", metavar="FILE", help="write a JUnit report to FILE as well")
    parser.add_argument(
        "--live",
        metavar="QEMU",
        action="append",
        default=[],
        help="go through the same steps on throw-away processes of this program too, where a scenario is about its "
        "version or says none, and report where it does otherwise; may be given several times",
    )
    parser.add_argument(
        "--update", action="store_true", help="write what was found into the files, after asking on the terminal"
    )
    parser.add_argument("--yes", action="store_true", help="with --update: do not ask")
    options.formats(parser, ("text", "json", "github", "sarif"))
    options.everything(parser)


def simulate(commands: Commands) -> None:
    """Add `simulate`."""
    parser = commands.add(
        "simulate",
        "what would become of the bitmaps, if",
        "Takes steps on the block graph of one QEMU, without touching it, and shows the\n"
        "graph before and after, what became of each bitmap, and the QMP commands that\n"
        "keep it. A step is a command as in qmp-shell, its JSON, or a story: mirror,\n"
        "pivot, cancel, snapshot, commit, stream, backup, end or throttle, with a device\n"
        "or node; unplug with the id of a device; restart; crash. Exit code 3 where QEMU\n"
        "would refuse a step.",
        [
            "bitmapmig simulate vm.json 'mirror drive0' 'pivot drive0'",
            "bitmapmig simulate unix:/run/vm.qmp 'block-stream job-id=s0 device=drive0'",
        ],
    )
    parser.add_argument("capture", metavar="CAPTURE", help=ENDPOINT)
    parser.add_argument("steps", metavar="STEP", nargs="+", help="a command in quotation marks, JSON, or a story")
    parser.add_argument(
        "--release",
        metavar="VERSION",
        type=_release,
        help="behave like this QEMU, such as 10.0; else like the one there",
    )
    parser.add_argument("--step-by-step", action="store_true", help="show the graph after each operation as well")
    parser.add_argument(
        "--destination", metavar="ENDPOINT", help="say whether a plan for this destination still holds afterwards"
    )
    parser.add_argument("--policy", metavar="FILE", help="the policy of that plan: YAML, JSON or TOML, by suffix")
    parser.add_argument("--provisional", action="store_true", help="that destination need not wait for a migration")
    options.rules(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write the document to FILE as well; - leaves the text out"
    )
    options.timeout(parser)
    options.formats(parser)
    options.everything(parser)


def complaint(arguments: argparse.Namespace) -> str | None:
    """What is wrong with the words of `check` taken together."""
    return "--yes is an answer to --update, which is not there" if arguments.yes and not arguments.update else None


def _release(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    if not all(part.isascii() and part.isdecimal() and len(part) < _DIGITS for part in (major, minor)):
        message = f"{text!r} is no version such as 10.0"
        raise argparse.ArgumentTypeError(message)
    return int(major), int(minor)


_release.__name__ = "version"  # what argparse calls the type in its message
#: More digits than that no part of a version has.
_DIGITS = 4

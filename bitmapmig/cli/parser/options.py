"""Options that several commands have."""

from __future__ import annotations

import argparse
import math

from bitmapmig.cli.parser.words import RULES

#: What an endpoint is, in the help of the first one.
ENDPOINT = "unix:PATH, tcp:HOST:PORT, the path of a socket or of a stored capture, or - for one on standard input"


def rules(parser: argparse.ArgumentParser) -> None:
    """Add `--resolve`."""
    parser.add_argument(
        "--resolve",
        metavar="RULES",
        choices=RULES,
        help=f"the rule set that gives addresses: {', '.join(RULES)}; else the policy's, else explicit",
    )


def profiles(parser: argparse.ArgumentParser) -> None:
    """Add `--profile`."""
    parser.add_argument(
        "--profile",
        metavar="FILE",
        action="append",
        default=[],
        help="what `selftest -o FILE` found of the QEMU of either side counts, in place of what its version is known "
        "for; may be given several times",
    )


def lock(parser: argparse.ArgumentParser) -> None:
    """Add `--lock` and `--lock-timeout`."""
    parser.add_argument(
        "--lock",
        metavar="URL",
        help="where the lock of the VM is kept: a coordination service of tooz such as redis://HOST:6379; "
        "else a file of this host",
    )
    parser.add_argument(
        "--lock-timeout",
        metavar="SECONDS",
        type=_waiting,
        default=0.0,
        help="how long to wait for another who holds the lock (%(default)g)",
    )


def plan_and_ends(parser: argparse.ArgumentParser) -> None:
    """Add a plan, and where its two sides are."""
    parser.add_argument("plan", metavar="PLAN", help="the file that `bitmapmig plan -o FILE` wrote, or -")
    parser.add_argument("--source", metavar="ENDPOINT", help="where the source is, if not where it was planned for")
    parser.add_argument("--destination", metavar="ENDPOINT", help="the same, for the destination")


def timeout(parser: argparse.ArgumentParser) -> None:
    """Add `--timeout`."""
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=10.0,
        help="how long connecting to a QEMU, and each of its answers, may take (%(default)g)",
    )


def formats(parser: argparse.ArgumentParser, which: tuple[str, ...] = ("text", "json"), default: str = "text") -> None:
    """Add `--format`."""
    parser.add_argument(
        "--format",
        choices=which,
        default=default,
        help="json: standard output is one document, also where the command could not run (default: %(default)s)",
    )


def everything(parser: argparse.ArgumentParser) -> None:
    """Add `--all`."""
    parser.add_argument("--all", action="store_true", help="leave nothing out of the text, however long it gets")


# their values


def seconds(text: str) -> float:
    """A number of seconds above 0. Raises `ValueError`, `argparse.ArgumentTypeError`."""
    found = float(text)
    if not (math.isfinite(found) and found > 0):
        message = f"{text!r} is no positive number of seconds"
        raise argparse.ArgumentTypeError(message)
    return found


def _waiting(text: str) -> float:
    return 0.0 if float(text) == 0 else seconds(text)


seconds.__name__ = _waiting.__name__ = "number"  # what argparse calls the types in its message

"""Words of the command line -> what is asked for. Imports nothing but the standard library, and little of that."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from bitmapmig import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The rule sets of `bitmapmig.resolve`; a test holds them equal.
RULES = ("explicit", "qemu", "root-only", "guest-device")
#: The documents of `bitmapmig.schemas`; a test holds them equal.
SCHEMAS = ("capture", "plan", "policy", "preview")
#: The shells that there are completions for.
SHELLS = ("bash", "fish", "tcsh", "zsh")

_ENDPOINT = "unix:PATH, tcp:HOST:PORT, the path of a socket or of a stored capture, or - for one on standard input"
_EXITS = "exit codes: 0 done, 2 could not run, 3 refused"


class _Commands:
    """The parser while its commands are added."""

    def __init__(self) -> None:
        self.parser = argparse.ArgumentParser(
            prog="bitmapmig",
            description="Plans the migration of QEMU dirty bitmaps: a validated map, or a refusal that\nsays why.",
            epilog=f"example:\n  bitmapmig plan unix:/run/source.qmp unix:/run/destination.qmp\n\n{_EXITS}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.parser.add_argument("--version", action="version", version=f"bitmapmig {__version__}")
        self._commands = self.parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(self, name: str, does: str, description: str, examples: Iterable[str]) -> argparse.ArgumentParser:
        """Add a command; `does` is its line in the list of commands."""
        lines = "\n".join(f"  {example}" for example in examples)
        return self._commands.add_parser(
            name,
            help=does,
            description=description,
            epilog=f"example:\n{lines}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )


def build() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    commands = _Commands()
    for add in (_capture, _preview, _plan, _explain, _schema, _completion):
        add(commands)
    return commands.parser


def _capture(commands: _Commands) -> None:
    parser = commands.add(
        "capture",
        "store what one QEMU says of itself",
        "Asks a QEMU everything that a plan needs, with read-only commands, and writes\n"
        "one JSON document. A plan from stored captures is the plan from the live QEMUs.",
        ["bitmapmig capture unix:/run/vm.qmp -o source.json", "bitmapmig capture tcp:10.0.0.7:4444 --redact | gzip"],
    )
    parser.add_argument("endpoint", metavar="ENDPOINT", help=_ENDPOINT)
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write to FILE, whole or not at all; else, or for -, to standard output"
    )
    parser.add_argument("--redact", action="store_true", help="replace file names and URLs by stable placeholders")
    _timeout(parser)
    _format(parser, ("json",), "json")


def _preview(commands: _Commands) -> None:
    parser = commands.add(
        "preview",
        "show the block graph with its bitmaps",
        "Draws the block graph of one QEMU or of both: where each bitmap is, its address\n"
        "and why, where it goes, and what QEMU would do with it by itself. Nothing is\n"
        "judged; that is what `plan` is for.",
        ["bitmapmig preview unix:/run/vm.qmp", "bitmapmig preview source.json destination.json --resolve qemu"],
    )
    parser.add_argument("source", metavar="SOURCE", help=_ENDPOINT)
    parser.add_argument("destination", metavar="DESTINATION", nargs="?", help="the same, for the other side")
    _resolve(parser)
    _timeout(parser)
    _format(parser)
    _all(parser)


def _plan(commands: _Commands) -> None:
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
    parser.add_argument("source", metavar="SOURCE", help=_ENDPOINT)
    parser.add_argument("destination", metavar="DESTINATION", help="the same, for the other side")
    parser.add_argument(
        "--policy", metavar="FILE", help="what you want of the migration: YAML, JSON or TOML, by suffix"
    )
    _resolve(parser)
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
    _timeout(parser)
    _format(parser)
    _all(parser)


def _explain(commands: _Commands) -> None:
    parser = commands.add(
        "explain",
        "explain a code, offline",
        "Prints the page of a code: what was found, what QEMU would do, an example, the\n"
        "remedy. Without a code it lists all of them.",
        ["bitmapmig explain BM501"],
    )
    parser.add_argument("code", metavar="CODE", nargs="?", help="such as BM501, bm501 or destination-missing")
    _format(parser)


def _schema(commands: _Commands) -> None:
    parser = commands.add(
        "schema",
        "print a JSON Schema",
        "Prints the JSON Schema of a document. Lists the documents without a name.",
        ["bitmapmig schema policy"],
    )
    parser.add_argument("name", metavar="NAME", nargs="?", choices=SCHEMAS, help=f"one of {', '.join(SCHEMAS)}")
    _format(parser)


def _completion(commands: _Commands) -> None:
    parser = commands.add(
        "completion",
        "print the completion script of a shell",
        "Prints a script that makes a shell complete the words of bitmapmig.",
        ["source <(bitmapmig completion bash)"],
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=f"one of {', '.join(SHELLS)}")


# options of several commands


def _resolve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resolve",
        metavar="RULES",
        choices=RULES,
        help=f"the rule set that gives addresses: {', '.join(RULES)}; else the policy's, else explicit",
    )


def _timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=10.0,
        help="how long connecting to a QEMU, and each of its answers, may take (%(default)g)",
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds > 0):
        message = f"{text!r} is no positive number of seconds"
        raise argparse.ArgumentTypeError(message)
    return seconds


_seconds.__name__ = "number"  # what argparse calls the type in its message


def _format(
    parser: argparse.ArgumentParser, formats: tuple[str, ...] = ("text", "json"), default: str = "text"
) -> None:
    parser.add_argument(
        "--format",
        choices=formats,
        default=default,
        help="json: standard output is one document, also where the command could not run (default: %(default)s)",
    )


def _all(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="leave nothing out of the text, however long it gets")

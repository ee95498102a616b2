"""Words of the command line -> what is asked for. Imports nothing but the standard library, and little of that."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from bitmapmig import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: The rule sets of `bitmapmig.resolve`; a test holds them equal.
RULES = ("explicit", "qemu", "root-only", "guest-device")
#: The documents of `bitmapmig.schemas`; a test holds them equal.
SCHEMAS = (
    "applied",
    "capture",
    "checked",
    "finished",
    "migrated",
    "plan",
    "policy",
    "preview",
    "scenario",
    "simulated",
    "verified",
)
#: The dialects of `bitmapmig.applying.scripts`; a test holds them equal.
SCRIPTS = ("qmp", "virsh")
#: The shells that there are completions for.
SHELLS = ("bash", "fish", "tcsh", "zsh")

_ENDPOINT = "unix:PATH, tcp:HOST:PORT, the path of a socket or of a stored capture, or - for one on standard input"
_EXITS = (
    "exit codes: 0 done, 2 could not run, 3 refused, 4 plan is stale,\n"
    "5 verification failed, 6 lock held by another, 130 interrupted"
)


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
    for add in (_capture, _preview, _plan, _apply, _verify, _finish, _check, _simulate, _explain, _schema, _completion):
        add(commands)
    return commands.parser


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What `words` ask for, those of the process where none are given. Raises `SystemExit`, as argparse does."""
    parser = build()
    arguments = parser.parse_args(words)
    if arguments.command == "check" and arguments.yes and not arguments.update:
        parser.error("check: --yes is an answer to --update, which is not there")
    return arguments


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


def _apply(commands: _Commands) -> None:
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
        type=_seconds,
        help="how long to wait for the end of the migration (without it: for ever)",
    )
    _lock(parser)
    _timeout(parser)
    _format(parser)
    _all(parser)


def _verify(commands: _Commands) -> None:
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
    _plan_and_ends(parser)
    parser.add_argument("--log", metavar="FILE", help="what the destination printed to standard error, for the causes")
    parser.add_argument("--strict", action="store_true", help="fail for what is not proven as well")
    _timeout(parser)
    _format(parser)
    _all(parser)


def _finish(commands: _Commands) -> None:
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
    _plan_and_ends(parser)
    parser.add_argument("--failed", action="store_true", help="give the attempt up: no migration need have completed")
    parser.add_argument("--dry-run", action="store_true", help="print what would be sent, and send nothing")
    _lock(parser)
    _timeout(parser)
    _format(parser)
    _all(parser)


def _check(commands: _Commands) -> None:
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
    _format(parser, ("text", "json", "github", "sarif"))
    _all(parser)


def _simulate(commands: _Commands) -> None:
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
    parser.add_argument("capture", metavar="CAPTURE", help=_ENDPOINT)
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
    _resolve(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write the document to FILE as well; - leaves the text out"
    )
    _timeout(parser)
    _format(parser)
    _all(parser)


def _release(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    if not all(part.isascii() and part.isdecimal() and len(part) < _DIGITS for part in (major, minor)):
        message = f"{text!r} is no version such as 10.0"
        raise argparse.ArgumentTypeError(message)
    return int(major), int(minor)


_release.__name__ = "version"  # what argparse calls the type in its message
#: More digits than that no part of a version has.
_DIGITS = 4


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


def _lock(parser: argparse.ArgumentParser) -> None:
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


def _waiting(text: str) -> float:
    return 0.0 if float(text) == 0 else _seconds(text)


_waiting.__name__ = "number"  # what argparse calls the type in its message


def _plan_and_ends(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", metavar="PLAN", help="the file that `bitmapmig plan -o FILE` wrote, or -")
    parser.add_argument("--source", metavar="ENDPOINT", help="where the source is, if not where it was planned for")
    parser.add_argument("--destination", metavar="ENDPOINT", help="the same, for the destination")


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

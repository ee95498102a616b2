"""`explain`, `schema` and `completion`: what is known without any input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig.cli.parser import options
from bitmapmig.cli.parser.words import SCHEMAS, SHELLS

if TYPE_CHECKING:
    from bitmapmig.cli.parser.commands import Commands


def explain(commands: Commands) -> None:
    """Add `explain`."""
    parser = commands.add(
        "explain",
        "explain a code, offline",
        "Prints the page of a code: what was found, what QEMU would do, an example, the\n"
        "remedy. Without a code it lists all of them.",
        ["bitmapmig explain BM501"],
    )
    parser.add_argument("code", metavar="CODE", nargs="?", help="such as BM501, bm501 or destination-missing")
    options.formats(parser)


def schema(commands: Commands) -> None:
    """Add `schema`."""
    parser = commands.add(
        "schema",
        "print a JSON Schema",
        "Prints the JSON Schema of a document. Lists the documents without a name.",
        ["bitmapmig schema policy"],
    )
    parser.add_argument("name", metavar="NAME", nargs="?", choices=SCHEMAS, help=f"one of {', '.join(SCHEMAS)}")
    options.formats(parser)


def completion(commands: Commands) -> None:
    """Add `completion`."""
    parser = commands.add(
        "completion",
        "print the completion script of a shell",
        "Prints a script that makes a shell complete the words of bitmapmig.",
        ["source <(bitmapmig completion bash)"],
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=f"one of {', '.join(SHELLS)}")

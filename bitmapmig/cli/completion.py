"""`bitmapmig completion`: a shell -> its completion script."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import shtab

from bitmapmig import codes
from bitmapmig.cli import exits
from bitmapmig.cli.parser import build

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.cli.screen import Screen

#: The arguments that are completed with the names of files; an endpoint may be a socket or a capture.
_FILES = frozenset(
    (
        *("endpoint", "source", "destination", "plan", "policy", "profile", "output"),
        *("qemu", "source_qemu", "destination_qemu"),
    )
)


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Print the script."""
    parser = build()
    for action in _actions(parser):
        if action.dest in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks for it
        elif action.dest == "code":
            action.choices = [code.code for code in codes.ALL]
    screen.text(shtab.complete(parser, arguments.shell).removesuffix("\n"))
    return exits.DONE


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:  # noqa: SLF001  argparse has no public way to them
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for command in action.choices.values():
                yield from _actions(command)

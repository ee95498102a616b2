"""`bitmapmig explain`: a code -> its page; none -> the table of codes."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING

from rich.markdown import Markdown
from rich.text import Text

from bitmapmig import codes
from bitmapmig.cli import exits
from bitmapmig.diagnostics import CannotRunError, Code, Where
from bitmapmig.pages import page
from bitmapmig.report.findings import STYLES
from bitmapmig.report.layout import columns

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from bitmapmig.cli.screen import Screen

#: How alike a word and a code must be for the one to be taken for the other misspelt.
_NEAR = 0.75


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Print a page: for a terminal as it looks, else as it is. Raises `CannotRunError` (BM002)."""
    if arguments.code is None:
        if arguments.format == "json":
            _write_json([_entry(code) for code in codes.ALL], screen)
        else:
            screen.lines(_listed())
        return exits.DONE
    code = find(arguments.code)
    if arguments.format == "json":
        _write_json({**_entry(code), "page": page(code)}, screen)
    elif screen.styled:
        screen.render(Markdown(page(code)))
    else:
        screen.text(page(code).removesuffix("\n"))
    return exits.DONE


def find(word: str) -> Code:
    """The code that `word` means, by number or by name, in capitals or not. Raises `CannotRunError` (BM002)."""
    known = {name: code for code in codes.ALL for name in (code.code.lower(), code.name)}
    wanted = word.strip().lower()
    if wanted in known:
        return known[wanted]
    near = difflib.get_close_matches(wanted[:80], known, n=1, cutoff=_NEAR)
    hint = f"did you mean {known[near[0]].code} ({known[near[0]].name})? " if near else ""
    shown = word.encode(errors="backslashreplace").decode()
    raise CannotRunError(codes.CODE_UNKNOWN.at(Where(), code=shown, remedy=hint + codes.CODE_UNKNOWN.remedy))


def _entry(code: Code) -> dict[str, object]:
    return {
        "code": code.code,
        "name": code.name,
        "severity": code.severity,
        "acceptable": code.acceptable,
        "message": code.message,
        "remedy": code.remedy,
    }


def _write_json(document: object, screen: Screen) -> None:
    screen.write((json.dumps(document, indent=2) + "\n").encode())


def _listed() -> Iterator[Text]:
    yield from columns(
        [[Text(code.code, STYLES[code.severity]), Text(code.severity), Text(code.name)] for code in codes.ALL]
    )

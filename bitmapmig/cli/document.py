"""A document and its text -> where they are asked for: `-o FILE`, `--format json`, or the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig.cli import file
from bitmapmig.report import UNLIMITED, Limits

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from pydantic import BaseModel
    from rich.text import Text

    from bitmapmig.cli.screen import Screen


def written(value: BaseModel) -> bytes:
    """A document as it is written: ASCII only, ending with a newline."""
    return value.model_dump_json(indent=2, ensure_ascii=True).encode() + b"\n"


def tell(
    document: bytes, lines: Callable[[int, Limits], Iterator[Text]], arguments: argparse.Namespace, screen: Screen
) -> None:
    """Write `document` to a file and to the screen, or what `lines` makes of a width and limits to the screen.

    Raises `CannotRunError` (BM001) where the file cannot be written; the text is on the screen all the same.
    """
    to_file = arguments.output not in (None, file.STANDARD_OUTPUT)
    if arguments.format == "json" or arguments.output == file.STANDARD_OUTPUT:
        if to_file:
            file.write(arguments.output, document)
        screen.write(document)
        return
    try:
        screen.lines(lines(screen.width, UNLIMITED if arguments.all else Limits()))
    finally:
        if to_file:
            file.write(arguments.output, document)

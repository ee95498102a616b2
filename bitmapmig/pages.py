"""Code -> the page that explains it, which lies in the package, or beside it in a source tree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bitmapmig.diagnostics import Code

_PACKAGE = Path(__file__).parent
#: Where the pages are in an installed package, and in a source tree.
_FOLDERS = (_PACKAGE / "_pages", _PACKAGE.parent / "docs" / "codes")


def page(code: Code) -> str:
    """The page of `code` as Markdown; where it is missing, what the table of codes says."""
    for folder in _FOLDERS:
        path = folder / f"{code.code}.md"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return f"# {code.code} {code.name}\n\n{code.message}\n\n## Remedy\n\n{code.remedy}\n"

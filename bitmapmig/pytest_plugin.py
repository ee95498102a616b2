"""A plugin of pytest: each expectation of a `*.bitmapmig.yaml` is a test (`.yml`, `.json` and `.toml` are taken too).

It is there wherever the package is installed: a folder of scenarios among the tests is all that a project needs. An
item's name is the QEMU version and the key of the expectation, so `-k` selects by either; it carries the marker
`bitmapmig`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from rich.text import Text

    from bitmapmig.scenarios.checked import Run
    from bitmapmig.scenarios.expect import Judged

#: Cells of a line; pytest says none to whoever describes a failure.
_WIDTH = 100
#: Those of `bitmapmig.scenarios.find`; a test holds them equal.
SUFFIXES = tuple(f".bitmapmig.{kind}" for kind in ("yaml", "yml", "json", "toml"))


class ExpectationFailedError(Exception):
    """An expectation of a scenario does not hold; the text is what `bitmapmig check` says of it."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker of scenarios known."""
    config.addinivalue_line("markers", "bitmapmig: an expectation of a graph-transform scenario of bitmapmig")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take the files that are scenarios by their name."""
    if not file_path.name.endswith(SUFFIXES):
        return None
    made: ScenarioFile = ScenarioFile.from_parent(parent, path=file_path)
    return made


class ScenarioFile(pytest.File):
    """One scenario; it is run once for each QEMU version that it is about."""

    def collect(self) -> Iterator[pytest.Item]:
        """An item for each expectation. Raises `CollectError` where the file cannot be read."""
        # what reads scenarios takes longer to load than pytest should take in a project without any
        from bitmapmig.diagnostics import CannotRunError  # noqa: PLC0415
        from bitmapmig.report import findings  # noqa: PLC0415
        from bitmapmig.scenarios import checked, read  # noqa: PLC0415

        try:
            runs = checked.check(read.read(os.path.relpath(self.path)))
        except CannotRunError as error:
            raise self.CollectError(_plain(findings(error.diagnostics, _WIDTH))) from error
        for run in runs:
            for judged in run.judged:
                name = f"{judged.expectation.key}[{run.version}]"
                yield ScenarioItem.from_parent(self, name=name, run=run, judged=judged)


class ScenarioItem(pytest.Item):
    """One expectation of a scenario on one QEMU version."""

    def __init__(self, *, run: Run, judged: Judged, **more: Any) -> None:  # noqa: ANN401  pytest's own
        super().__init__(**more)
        self.add_marker("bitmapmig")
        self._run = run
        self._judged = judged

    def runtest(self) -> None:
        """Fail where the expectation does; skip where an earlier step was not taken, which fails by itself."""
        if self._judged.verdict == "not-reached":
            pytest.skip("an earlier step was not taken as expected")
        if self._judged.problem is not None:
            raise ExpectationFailedError(self._judged.problem.message)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ANN401
        """What `bitmapmig check` says, in place of a traceback into this package."""
        if isinstance(excinfo.value, ExpectationFailedError):
            from bitmapmig.report.checked import failure_lines  # noqa: PLC0415

            return _plain(failure_lines(self._run, self._judged, _WIDTH))
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The place of the expectation in the file; pytest counts lines from 0."""
        line = self._run.scenario.where(*self._judged.expectation.keys).line
        return self.path, None if line is None else line - 1, self.name


def _plain(lines: Iterable[Text]) -> str:
    return "\n".join(line.plain for line in lines)

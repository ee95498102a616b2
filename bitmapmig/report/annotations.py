"""Checked -> what marks lines of files in a review: annotations of GitHub, and SARIF 2.1.0."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from bitmapmig import __version__, codes
from bitmapmig.report.checked import live_words
from bitmapmig.report.escape import escaped
from bitmapmig.report.layout import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitmapmig.diagnostics import Diagnostic
    from bitmapmig.scenarios.checked import Checked


class _Annotation(NamedTuple):
    """A finding at a line of a file; `versions` of QEMU that it is about, none where the file cannot be read."""

    file: str
    line: int | None
    problem: Diagnostic
    versions: tuple[str, ...]

    @property
    def title(self) -> str:
        """The code, and the versions."""
        words = f"{self.problem.code} {self.problem.name}"
        return f"{words} (QEMU {', '.join(self.versions)})" if self.versions else words

    @property
    def message(self) -> str:
        """What is wrong, in one line."""
        return escaped(self.problem.message, backslash=False)


def _annotations(checked: Checked) -> Iterator[_Annotation]:
    for scenario in checked.scenarios:
        alike: defaultdict[tuple[int | None, str], list[tuple[str, Diagnostic]]] = defaultdict(list)
        for run in scenario.runs:
            for one in run.expectations:
                if one.problem is not None:
                    alike[one.line, one.problem.message].append((run.qemu, one.problem))
        for (line, _), found in alike.items():
            yield _Annotation(scenario.file, line, found[0][1], tuple(version for version, _ in found))
    for error in checked.errors:
        yield _Annotation(error.where.file or "", error.where.line, error, ())


def _relative(file: str) -> str:
    """A path as a repository has it: relative to the working directory where it is below that."""
    path = os.path.relpath(file)
    return (file if path.startswith("..") else path).replace(os.sep, "/")


# GitHub


def github(checked: Checked) -> str:
    """Workflow commands, a line each, that make annotations; then a line with the verdict."""
    lines = [_command(one) for one in _annotations(checked)]
    counts = checked.counts
    verdict = (
        f"{checked.verdict}: {counted(counts.scenarios, 'scenario')}, {counts.scenarios_failed:,} failed; "
        f"{counted(counts.expectations, 'expectation')}, {counts.expectations_failed:,} failed, "
        f"{counts.expectations_not_reached:,} not reached; {counted(counts.unreadable, 'file')} unreadable"
    )
    lines.append("; ".join((verdict, *map(live_words, counts.live))))
    return "\n".join(lines)


def _command(one: _Annotation) -> str:
    members = {"file": escaped(_relative(one.file), backslash=False), "line": one.line, "title": one.title}
    said = ",".join(f"{key}={_property(str(value))}" for key, value in members.items() if value not in (None, ""))
    return f"::error {said}::{_data(one.message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


# SARIF


def sarif(checked: Checked) -> bytes:
    """A SARIF 2.1.0 log with one run, ASCII only, ending with a newline."""
    found = list(_annotations(checked))
    used = sorted({one.problem.code for one in found})
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "bitmapmig",
                        "version": __version__,
                        "rules": [
                            {"id": code, "name": codes.BY_CODE[code].name, "help": {"text": codes.BY_CODE[code].remedy}}
                            for code in used
                        ],
                    }
                },
                "results": [_result(one) for one in found],
            }
        ],
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def _result(one: _Annotation) -> dict[str, object]:
    place: dict[str, object] = {"artifactLocation": {"uri": quote(_relative(one.file))}}
    if one.line is not None:
        place["region"] = {"startLine": one.line}
    versions = f" (QEMU {', '.join(one.versions)})" if one.versions else ""
    return {
        "ruleId": one.problem.code,
        "level": "error",
        "message": {"text": one.message + versions},
        "locations": [{"physicalLocation": place}],
    }

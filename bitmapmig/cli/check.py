"""`bitmapmig check`: scenario files and folders -> which expectations hold."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from bitmapmig import codes
from bitmapmig.cli import exits, file
from bitmapmig.cli.progress import Progress
from bitmapmig.cli.screen import Screen
from bitmapmig.diagnostics import CannotRunError, Diagnostic, Where
from bitmapmig.documents.file import plain
from bitmapmig.documents.read import MAX_BYTES, encodable, format_of
from bitmapmig.report import ASCII, UNICODE, UNLIMITED, Limits
from bitmapmig.report.annotations import github, sarif
from bitmapmig.report.checked import change_lines, checked_lines, update_lines
from bitmapmig.report.junit import junit
from bitmapmig.scenarios.checked import Checked, OffQemu, Run, UpdatedFile, UpdatedValue, check, checked
from bitmapmig.scenarios.find import files
from bitmapmig.scenarios.profiles import measured
from bitmapmig.scenarios.read import read
from bitmapmig.scenarios.update import changed_meanwhile, updated

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from bitmapmig.scenarios.read import Scenario
    from bitmapmig.scenarios.update import Updated
    from bitmapmig.throwaway import Binary


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Run every scenario that can be found and read, and show what came of it."""
    paths, missing = files(arguments.paths)
    runs, unread = _runs(paths)
    written: tuple[UpdatedFile, ...] = ()
    left: tuple[Diagnostic, ...] = ()
    aside: tuple[OffQemu, ...] = ()
    if arguments.update:
        written, left = _update(paths, runs, yes=arguments.yes)
        if written:
            runs, unread = _runs(paths)
    if arguments.live:
        runs, aside = _live(runs, arguments.live)
    done = _Done(tuple(runs.values()), (*missing, *unread), aside, written, left)
    if arguments.junit is not None:
        file.write(arguments.junit, junit(done.document))
    _show(arguments, screen, done)
    if done.errors:
        return exits.COULD_NOT_RUN
    return exits.DONE if all(one.passed for of_one in done.runs for one in of_one) else exits.REFUSED


class _Done(NamedTuple):
    """All that the command did, in the order of `checked`."""

    runs: tuple[tuple[Run, ...], ...]
    errors: tuple[Diagnostic, ...]
    not_live: tuple[OffQemu, ...]
    updated: tuple[UpdatedFile, ...]
    not_updated: tuple[Diagnostic, ...]

    @property
    def document(self) -> Checked:
        return checked(*self)


def _runs(paths: Sequence[Path]) -> tuple[dict[Path, tuple[Run, ...]], list[Diagnostic]]:
    """Each scenario that can be read, run; and what is wrong with the others."""
    runs: dict[Path, tuple[Run, ...]] = {}
    errors: list[Diagnostic] = []
    with Progress("reading scenarios") as progress:
        for number, path in enumerate(paths, 1):
            progress.says(f"running scenario {number:,} of {len(paths):,}")
            try:
                runs[path] = check(read(path))
            except CannotRunError as error:
                errors += error.diagnostics
    return runs, errors


def _live(
    runs: dict[Path, tuple[Run, ...]], programs: Sequence[str]
) -> tuple[dict[Path, tuple[Run, ...]], tuple[OffQemu, ...]]:
    """The runs, with those on real QEMUs beside them, and what went over none of a version.

    Raises `CannotRunError`, BM268 where no scenario is about a program.
    """
    # what speaks to a QEMU takes longer to load than many scenarios take
    from bitmapmig.enacting.live import live  # noqa: PLC0415
    from bitmapmig.throwaway import Binary as Program  # noqa: PLC0415

    binaries = [Program.of(program) for program in programs]
    made = {path: list(of_one) for path, of_one in runs.items()}
    aside: list[OffQemu] = []
    with Progress("starting QEMU") as progress:
        for binary in binaries:
            for number, (path, of_one) in enumerate(runs.items(), 1):
                progress.says(f"scenario {number:,} of {len(runs):,} on {binary.path.name}")
                scenario = _about(path, of_one[0].scenario, binary)
                if isinstance(scenario, OffQemu):
                    aside.append(scenario)
                elif (found := asyncio.run(live(scenario, binary))) is not None:
                    made[path].append(found)
            if runs and not any(run.live and run.version == binary.told for of_one in made.values() for run in of_one):
                raise CannotRunError(codes.NOTHING_TO_ENACT.at(Where(), path=str(binary.path), version=binary.told))
    return {path: tuple(of_one) for path, of_one in made.items()}, tuple(aside)


def _about(path: Path, scenario: Scenario, binary: Binary) -> Scenario | OffQemu:
    """The scenario as one about the version of a program, or why it is not about that.

    One that says nothing of a version is about each that was measured; it is read again to begin as that.
    """
    version = f"{binary.version[0]}.{binary.version[1]}"
    if version in scenario.worlds:
        return scenario
    reason = f"it is about QEMU {', '.join(scenario.worlds)}"
    if scenario.of_any_version:
        reason = f"QEMU {version} was not measured"
    if scenario.of_any_version and version in measured():
        try:
            return read(path, version)
        except CannotRunError as error:
            reason = f"it cannot begin as QEMU {version}: {error.diagnostics[0].message}"
    return OffQemu(file=scenario.file, qemu=binary.told, reason=reason)


def _show(arguments: argparse.Namespace, screen: Screen, done: _Done) -> None:
    limits = UNLIMITED if arguments.all else Limits()
    match arguments.format:
        case "json":
            screen.write(done.document.model_dump_json(indent=2, ensure_ascii=True).encode() + b"\n")
        case "sarif":
            screen.write(sarif(done.document))
        case "github":
            screen.text(github(done.document))
        case _:
            guides = UNICODE if screen.unicode else ASCII
            found = (*done.errors, *done.not_updated)
            lines = checked_lines(
                done.runs, found, screen.width, limits, guides, not_live=done.not_live, updated=done.updated
            )
            screen.lines(lines)
    if arguments.format in ("github", "sarif") and arguments.update:
        err = Screen(sys.stderr)
        err.lines(update_lines(done.updated, done.not_updated, err.width, limits))


# --update


def _update(
    paths: Sequence[Path], runs: dict[Path, tuple[Run, ...]], *, yes: bool
) -> tuple[tuple[UpdatedFile, ...], tuple[Diagnostic, ...]]:
    """Write what was found into the files; what was written, and what could not be."""
    made: dict[Path, Updated] = {}
    for path in paths:
        format_ = format_of(path)
        if path in runs and format_ is not None and not all(one.passed for one in runs[path]):
            made[path] = updated(_content(path), format_, path.parent, runs[path])
    left = [one for change in made.values() for one in change.left]
    changes = {path: one for path, one in made.items() if one.changes}
    if not changes or not (yes or _agreed(changes)):
        return (), tuple(left)
    written: list[UpdatedFile] = []
    for path, one in changes.items():
        if _content(path) == one.was:  # whoever is asked takes time
            file.write(str(path), one.raw)
            written.append(_as_written(path, one))
        else:
            left.append(changed_meanwhile(encodable(str(path))))
    return tuple(written), tuple(left)


def _as_written(path: Path, one: Updated) -> UpdatedFile:
    values = (UpdatedValue(key=change.key, was=change.was, value=change.value) for change in one.changes)
    return UpdatedFile(file=encodable(str(path)), values=tuple(values))


def _content(path: Path) -> bytes:
    """What is in the file now; nothing where it has gone."""
    try:
        return plain(path, max(MAX_BYTES.values()))
    except OSError:
        return b""


def _agreed(changes: dict[Path, Updated]) -> bool:
    """Whether who sits at the terminal wants the changes. Raises `CannotRunError` (BM267) where nobody does."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise CannotRunError(codes.UPDATE_UNCONFIRMED.at(Where(), reason="standard input is no terminal"))
    err = Screen(sys.stderr)
    for path, one in changes.items():
        err.lines(change_lines(_as_written(path, one), err.width))
    err.lines([Text("Write this into the files? [y/N]", "bold")])
    return sys.stdin.readline().strip().lower() in ("y", "yes")

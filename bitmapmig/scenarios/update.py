"""Expectations that failed -> the text of the file with what was found in their place; all else stays as it is.

Each value is replaced where it stands, so comments and layout survive. A text is only taken if it reads as the same
document but for that value.
"""

from __future__ import annotations

import copy
import json
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import yaml

from bitmapmig import codes
from bitmapmig.captures import printable
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.documents.read import parse as parse_document
from bitmapmig.scenarios.compare import ABSENT, words
from bitmapmig.scenarios.problems import ScenarioMistakes
from bitmapmig.scenarios.read import parse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydantic import JsonValue

    from bitmapmig.diagnostics import Diagnostic
    from bitmapmig.documents.read import Format
    from bitmapmig.scenarios.checked import Run
    from bitmapmig.scenarios.expect import Judged, Keys
    from bitmapmig.scenarios.read import Scenario

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*\Z")
#: Words that mean something else without quotes, in YAML 1.1 or 1.2.
_RESERVED = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))


@dataclass(frozen=True, slots=True)
class Change:
    """A value that is to be written at nested `keys`, where `was` stands now."""

    keys: Keys
    value: JsonValue
    was: JsonValue = None

    @property
    def key(self) -> str:
        """The keys as findings name them."""
        return ".".join(printable(str(key)) for key in self.keys)


@dataclass(frozen=True, slots=True)
class Updated:
    """The new text of a file and the one that it had, the changes, and BM266 for what could not be written."""

    raw: bytes
    was: bytes
    changes: tuple[Change, ...]
    left: tuple[Diagnostic, ...]


def updated(raw: bytes, format_: Format, folder: Path, runs: Sequence[Run]) -> Updated:
    """`raw`, the file that `runs` are of, with what was found; `folder` is that of the file.

    Nothing is written into a file that is no longer what was run.
    """
    scenario = runs[0].scenario
    if not _is_still(scenario, raw, format_, folder):
        return Updated(raw, raw, (), (changed_meanwhile(scenario.file),))
    changes, left = _changes(scenario, runs)
    done: list[Change] = []
    text = raw.decode()
    before = parse_document(raw, scenario.file, format_, ScenarioMistakes()).value
    for change in changes:
        try:
            text = _with(text, format_, folder, scenario.file, change)
        except _NotWrittenError as error:
            left.append(_left(scenario, change.keys, change.value, str(error)))
            continue
        done.append(replace(change, was=_at(before, change.keys)))
    return Updated(text.encode(), raw, tuple(done), tuple(left))


def changed_meanwhile(file: str) -> Diagnostic:
    """BM266 for a file that somebody else has changed."""
    reason = "it has changed since it was run"
    return codes.SCENARIO_NOT_UPDATED.at(Where(file=file), reason=reason, found=None, remedy="run it again")


def _is_still(scenario: Scenario, raw: bytes, format_: Format, folder: Path) -> bool:
    try:
        return parse(raw, scenario.file, format_, folder).document == scenario.document
    except CannotRunError:
        return False


class _NotWrittenError(Exception):
    """A value cannot be written; the text says why."""


def _left(scenario: Scenario, keys: Keys, found: JsonValue, reason: str) -> Diagnostic:
    return codes.SCENARIO_NOT_UPDATED.at(scenario.where(*keys), reason=reason, found=words(found))


def _undecided_left(scenario: Scenario, failed: Judged, reason: str) -> Diagnostic:
    """BM266 for what is no expectation: its cure is not to write it."""
    place = scenario.where(*failed.expectation.keys)
    remedy = "mend what is named, and run it again"
    return codes.SCENARIO_NOT_UPDATED.at(place, reason=reason, found=words(failed.found), remedy=remedy)


def _differing(scenario: Scenario, keys: Keys, found: Sequence[tuple[str, Judged]]) -> Diagnostic:
    """BM266 where no one value holds for all versions; it tells that of each."""
    told = ", ".join(f"{words(one.found)} as QEMU {version}" for version, one in found)
    remedy = "make a file for each version, with its own `qemu` and its own value"
    reason = f"the versions differ: {told}"
    facts = {version: one.found for version, one in found}
    return codes.SCENARIO_NOT_UPDATED.at(scenario.where(*keys), reason=reason, found=facts, remedy=remedy)


# what is to be written


def _changes(scenario: Scenario, runs: Sequence[Run]) -> tuple[list[Change], list[Diagnostic]]:
    """What is to be written, in the order of the file, and what cannot be decided."""
    judged: defaultdict[Keys, list[tuple[str, Judged]]] = defaultdict(list)
    for run in runs:
        for one in run.judged:
            judged[one.expectation.keys].append((run.version, one))
    changes: dict[Keys, Change] = {}
    left: list[Diagnostic] = []
    for keys, found in judged.items():
        if all(one.verdict != "failed" for _, one in found):
            continue
        values = {json.dumps(one.found): one.found for _, one in found}
        failed = next(one for _, one in found if one.verdict == "failed")
        if len(values) > 1:
            left.append(_differing(scenario, keys, found))
        elif reason := _undecided(failed):
            left.append(_undecided_left(scenario, failed, reason))
        else:
            change = _change(failed)
            changes[change.keys] = change
    kept = [one for one in changes.values() if not any(one.keys[:n] in changes for n in range(len(one.keys)))]
    return kept, left


def _undecided(failed: Judged) -> str | None:
    """Why what was found is no expectation."""
    if failed.nowhere:
        return f"{failed.found}: mend the name"
    if not failed.expectation.path and (failed.expectation.keys[-1] != "refused" or failed.found is None):
        return "the step itself is to be mended"
    return None


def _change(failed: Judged) -> Change:
    keys, path = failed.expectation.keys, failed.expectation.path
    of = path[1:] if path[:1] == ("destination",) else path
    inside = 3
    if failed.found == ABSENT and len(of) == inside and of[0] in ("bitmaps", "nodes"):
        return Change(keys[:-1], ABSENT)
    return Change(keys, failed.found)


# the text


def _with(text: str, format_: Format, folder: Path, file: str, change: Change) -> str:
    """The text with one change. Raises `_NotWrittenError`."""
    if format_ == "toml":
        message = "a TOML file is not changed"
        raise _NotWrittenError(message)
    begin, end = _span(text, change.keys)
    value = json.dumps(change.value) if format_ == "json" else flow(change.value)
    gap = " " if begin == end else ""
    made = f"{text[:begin]}{gap}{value}{text[end:]}"
    wanted = copy.deepcopy(parse_document(text.encode(), file, format_, ScenarioMistakes()).value)
    _put(wanted, change)
    try:
        if parse_document(made.encode(), file, format_, ScenarioMistakes()).value == wanted:
            parse(made.encode(), file, format_, folder)
            return made
    except CannotRunError as error:
        message = f"the file could not be read afterwards: {error.diagnostics[0].message}"
        raise _NotWrittenError(message) from error
    message = "other values of the file would change with it"
    raise _NotWrittenError(message)


def _at(document: Any, keys: Keys) -> Any:  # noqa: ANN401  JSON
    for key in keys:
        document = document[key]
    return document


def _put(document: Any, change: Change) -> None:  # noqa: ANN401  JSON
    _at(document, change.keys[:-1])[change.keys[-1]] = change.value


def _span(text: str, keys: Keys) -> tuple[int, int]:
    """Where in the text the value at nested `keys` begins and ends; JSON is read as YAML."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        message = "its layout is not understood"
        raise _NotWrittenError(message) from error
    for key in keys:
        if isinstance(node, yaml.SequenceNode):
            node = node.value[int(key)]
        else:
            pairs = node.value if isinstance(node, yaml.MappingNode) else []
            node = next((value for name, value in pairs if name.value == str(key)), None)
    if node is None:
        message = "it stands nowhere in the file"
        raise _NotWrittenError(message)
    begin, end = node.start_mark.index, _end(node)
    while end > begin and text[end - 1].isspace():
        end -= 1
    return begin, end


def _end(node: yaml.Node) -> int:
    """The end of a value; the mark of a block collection is that of whatever comes next."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def flow(value: JsonValue) -> str:
    """A value as YAML in one line, ASCII only; YAML 1.1 and 1.2 read it alike."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(key)}: {flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str):
        return value if _PLAIN.match(value) and value.lower() not in _RESERVED else _quoted(value)
    return json.dumps(value)


def _quoted(text: str) -> str:
    shown = json.dumps(text, ensure_ascii=False)
    return "".join(one if " " <= one <= "~" else _escape(one) for one in shown)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004  what four digits hold

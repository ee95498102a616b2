"""A file -> the document in it, with the place of each of its values.

YAML 1.2, JSON or TOML, by the suffix, each as strict as its standard. Of YAML only the core schema counts, so `yes` and
`1:30` are texts, and neither merge keys nor other tags exist. TOML has no null, and tells no places.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml

from bitmapmig.captures import printable
from bitmapmig.diagnostics import CannotRunError, Diagnostic, Where
from bitmapmig.documents.build import MAX_DEPTH, MAX_VALUES, Builder, Source
from bitmapmig.documents.file import plain
from bitmapmig.documents.mistakes import Mistakes
from bitmapmig.documents.origin import Origin

Format = Literal["yaml", "json", "toml"]

#: The formats by suffix, in lower case.
FORMATS: dict[str, Format] = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".toml": "toml"}
#: The longest file that is read, in bytes; tomllib is slow.
MAX_BYTES: dict[Format, int] = {"yaml": 64 << 20, "json": 64 << 20, "toml": 24 << 20}

_TOO_MANY_DIGITS = "a number has more digits than can be read"


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds, as JSON values, and where each of them stands; `found` are keys that no mapping may have."""

    value: Any
    origin: Origin
    found: tuple[Diagnostic, ...] = ()


def read(path: str | Path, mistakes: Mistakes) -> Document:
    """The document in the file at `path`, in the format that its suffix tells.

    Raises `CannotRunError`, where the file cannot be read, or as `parse` does.
    """
    format_ = format_of(path)
    if format_ is None:
        _unreadable(path, f"the suffix {Path(path).suffix!r} tells no format", mistakes)
    try:
        raw = plain(path, MAX_BYTES[format_])
    except OSError as error:
        _unreadable(path, error.strerror or str(error), mistakes)
    return parse(raw, str(path), format_, mistakes)


def format_of(path: str | Path) -> Format | None:
    """The format that the suffix of a file tells."""
    return FORMATS.get(Path(path).suffix.lower())


def parse(raw: bytes, name: str, format_: Format, mistakes: Mistakes) -> Document:
    """The document in `raw`, which findings call `name`; an empty YAML document is an empty mapping.

    Raises `CannotRunError` where it is not well-formed, or too large.
    """
    title, reader = _READERS[format_]
    source = Source(encodable(name), title, mistakes)
    if len(raw) > MAX_BYTES[format_]:
        source.too_large(f"it has more than {MAX_BYTES[format_]} bytes")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        source.malformed("it is not UTF-8", raw.count(b"\n", 0, error.start) + 1)
    return reader(text.removeprefix("\ufeff"), source)


def _unreadable(path: str | Path, reason: str, mistakes: Mistakes) -> NoReturn:
    name = encodable(str(path))
    raise CannotRunError(mistakes.unreadable(Where(file=name), name, printable(reason)))


def encodable(path: str) -> str:
    """A path without the surrogates that stand for bytes that are not UTF-8: JSON has no place for them."""
    return path.encode("utf-8", "backslashreplace").decode()


# JSON

_TOKEN = re.compile(r'[\s,:]*+([\[\]{}]|"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^\s,:\[\]{}"]++)')


def _read_json(text: str, source: Source) -> Document:
    deep = False
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        source.malformed(error.msg, error.lineno)
    except RecursionError:
        deep = True
    except ValueError:  # what int() raises
        source.malformed(_TOO_MANY_DIGITS, None)
    builder = _build_json(text, source)
    if deep:
        source.too_deep()
    return Document(builder.document, builder.origin, tuple(builder.found))


def _build_json(text: str, source: Source) -> Builder:
    """Build a text that is well-formed, at least up to where it is too deep."""
    builder = Builder(source)
    line, at = 1, 0
    for found in _TOKEN.finditer(text):
        word, begin = found[1], found.start(1)
        line += text.count("\n", at, begin)
        at = begin
        if word == "{":
            builder.begin_mapping(line)
        elif word == "[":
            builder.begin_list(line)
        elif word in "]}":
            builder.end()
        elif word in ("NaN", "Infinity", "-Infinity"):
            source.malformed(f"{word} is no number", line)
        else:
            plain = word[0] == '"' and "\\" not in word
            builder.scalar(word[1:-1] if plain else json.loads(word), line)
    return builder


# YAML

_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where PyYAML was built with it
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_CORE = "tag:yaml.org,2002:"
_TAGS: dict[str, tuple[type, ...]] = {
    f"{_CORE}str": (str,),
    f"{_CORE}int": (int,),
    f"{_CORE}float": (float, int),
    f"{_CORE}bool": (bool,),
    f"{_CORE}null": (type(None),),
}
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBERS: tuple[tuple[re.Pattern[str], Callable[[str], float]], ...] = (
    (re.compile(r"[-+]?[0-9]{1,4000}"), int),
    (re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+"), lambda text: int(text, 0)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), lambda text: float(text.replace(".", ""))),
)


def _read_yaml(text: str, source: Source) -> Document:
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        line = text.count("\n", 0, forbidden.start()) + 1
        source.malformed(f"the character U+{ord(forbidden[0]):04X} may not be in YAML", line)
    builder = Builder(source)
    try:
        _build_yaml(text, source, builder)
    except yaml.MarkedYAMLError as error:
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        # libyaml places the end of a file behind its last line
        last = max(1, text.count("\n") + (not text.endswith("\n")))
        mark = error.problem_mark
        source.malformed(reason, min(mark.line + 1, last) if mark else None)
    except yaml.YAMLError as error:
        source.malformed(str(error), None)
    document = {} if builder.document is None and not builder.found else builder.document
    return Document(document, builder.origin, tuple(builder.found))


def _build_yaml(text: str, source: Source, builder: Builder) -> None:
    documents = 0
    for event in yaml.parse(text, Loader=_PARSER):
        line = event.start_mark.line + 1  # type: ignore[union-attr]  # what is parsed has a place
        if isinstance(event, yaml.ScalarEvent):
            _scalar(event, line, builder)
        elif isinstance(event, yaml.MappingStartEvent):
            _check_tag(event.tag, f"{_CORE}map", line, builder)
            builder.begin_mapping(line, event.anchor)
        elif isinstance(event, yaml.SequenceStartEvent):
            _check_tag(event.tag, f"{_CORE}seq", line, builder)
            builder.begin_list(line, event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            builder.end()
        elif isinstance(event, yaml.AliasEvent):
            builder.alias(event.anchor or "", line)
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                source.malformed("a second document begins", line)


def _scalar(event: yaml.ScalarEvent, line: int, builder: Builder) -> None:
    value: object = event.value
    if event.implicit[0] and not event.style:
        if event.value == "<<" and builder.awaits_key:
            builder.refuse_key("YAML 1.2 has no merge key `<<`: write the keys themselves", line)
            return
        value = _plain(event.value)
    elif event.tag in _TAGS:
        value = event.value if event.tag == f"{_CORE}str" else _plain(event.value)
        if not isinstance(value, _TAGS[event.tag]):
            builder.refuse(f"'{printable(event.value, 80)}' is no {event.tag.removeprefix(_CORE)}", line)
    else:
        _check_tag(event.tag, None, line, builder)
    builder.scalar(value, line, event.anchor)


def _check_tag(tag: str | None, allowed: str | None, line: int, builder: Builder) -> None:
    if tag not in (None, "!", allowed):
        builder.refuse(f"the tag '{printable(str(tag), 80)}' is not of YAML's core schema for such a value", line)


def _plain(text: str) -> object:
    """The value of a scalar without quotes, by the core schema of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "+-.0123456789":
        for pattern, convert in _NUMBERS:
            if pattern.fullmatch(text):
                return convert(text)
    return text


# TOML

_TOML_WORD = r"""(?:[\w-]++|"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"|'[^'\n]*+')"""
#: A key that opens too many tables in one another: tomllib takes quadratic time and memory for it.
_TOML_DEEP = re.compile(rf"(?:^|[{{,\[])[ \t]*(?:{_TOML_WORD}[ \t]*\.[ \t]*){{{MAX_DEPTH}}}", re.MULTILINE)
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_TOML_TWICE = re.compile(r"Cannot (?:overwrite a value|declare .* twice)|Duplicate inline table key '(.*)'", re.DOTALL)
_TOML_KEY = re.compile(r"\s*\[*\s*([^\s\[\]{}=#,][^=\]]*?)\s*[=\]]")


def _read_toml(text: str, source: Source) -> Document:
    deep = _TOML_DEEP.search(text)
    if deep:
        source.too_deep(text.count("\n", 0, deep.end()) + 1)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        _malformed_toml(str(error), text, source)
    except RecursionError:
        source.too_deep()
    except ValueError:  # what int() raises
        source.malformed(_TOO_MANY_DIGITS, None)
    _bound(document, source)
    return Document(document, Origin(source.name))


def _malformed_toml(message: str, text: str, source: Source) -> NoReturn:
    """Raise what tomllib complains of: a key that is there twice is a mistake of its own."""
    place = _TOML_PLACE.search(message)
    reason = message[: place.start()] if place else message
    lines = text.removesuffix("\n").split("\n")
    line = (int(place[1]) if place[1] else len(lines)) if place else None
    twice = _TOML_TWICE.match(reason)
    if line and twice:
        # the place is where the value ends: its key is there or on a line above
        above = ((number, _TOML_KEY.match(lines[number - 1])) for number in range(min(line, len(lines)), 0, -1))
        begins = (line, twice) if twice[1] else next(((number, key) for number, key in above if key), None)
        if begins:
            where = Where(file=source.name, line=begins[0], key=printable(begins[1][1]))
            raise CannotRunError(source.mistakes.key_twice(where, where.key or ""))
    source.malformed(reason, line)


def _bound(document: dict[str, Any], source: Source) -> None:
    """Raise where there are too many values."""
    size = 0
    waiting: list[Any] = [document]
    while waiting:
        inside = waiting.pop()
        size += len(inside)
        if size > MAX_VALUES:
            source.too_many()
        values = inside.values() if isinstance(inside, dict) else inside
        waiting += [value for value in values if isinstance(value, dict | list)]


_READERS: dict[Format, tuple[str, Callable[[str, Source], Document]]] = {
    "yaml": ("YAML 1.2", _read_yaml),
    "json": ("JSON", _read_json),
    "toml": ("TOML", _read_toml),
}

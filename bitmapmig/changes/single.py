"""One fact that differs -> its change: what is left once the patterns have taken theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from bitmapmig.changes.facts import OF_BITMAP
from bitmapmig.changes.recognise import Told, Way

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import JsonValue

    from bitmapmig.changes.facts import Key, Value

#: What a fact is about: the names in its key, by their place.
_PLACES = {
    "qdev": ("", "device"),
    "job": ("job", "type"),
    "targets": ("job", "type"),
    "export": ("export", "type", "node"),
    "writable": ("export", "type", "node"),
}
#: Facts that have one value and then another -> the kind that says both.
_VALUES = {
    "driver": "driver-changed",
    "size": "size-changed",
    "compat": "compat-changed",
    "granularity": "granularity-changed",
    "qdev": "guest-device-changed",
    "job": "job-nodes-changed",
    "targets": "job-targets-changed",
    "stored": "stored-copy-changed",
    "writable": "export-writable-told",
    "read-only": "read-only-told",
}
#: Facts that are there or not, or true or false -> the kind that says that they are now.
_FLAGS = {
    "stores": "stored-copies-told",
    "recording": "bitmap-enabled",
    "busy": "bitmap-busy",
    "persistent": "bitmap-persistent",
    "inconsistent": "bitmap-inconsistent",
    "stored": "stored-copy-appeared",
    "export": "export-began",
}


def bitmaps(way: Way) -> Iterator[Told]:
    """A bitmap that was not there, under its name on its node."""
    for what, node, *more in sorted(way.left):
        if what == "bitmap" and way.new.has_bitmap(node, more[0]):
            keys: set[Key] = {(each, node, more[0]) for each in OF_BITMAP}
            yield way.told("bitmap-added", keys, node=node, bitmap=more[0])


def jobs(way: Way) -> Iterator[Told]:
    """A job that was not there."""
    for what, *key in sorted(way.left):
        if what == "job":
            found = next((one for one in way.new.whole.jobs if [one.id, one.type] == key), None)
            if found is not None and not any([one.id, one.type] == key for one in way.old.whole.jobs):
                keys: set[Key] = {("job", *key), ("targets", *key)}
                nodes: list[JsonValue] = [*found.nodes]
                yield way.told("job-began", keys, job=found.id, type=found.type, nodes=nodes)


def exports(way: Way) -> Iterator[Told]:
    """An export that was not there."""
    for what, *key in sorted(way.left):
        if what == "export" and any([one.id, one.type, one.node] == key for one in way.new.whole.exports):
            keys: set[Key] = {("export", *key), ("writable", *key)}
            yield way.told("export-began", keys, export=key[0], type=key[1], node=key[2])


def single(way: Way, old: Mapping[Key, Value], new: Mapping[Key, Value]) -> Iterator[Told]:
    """The change that each fact makes by itself; asked forward alone."""
    back = Way(way.new, way.old, way.left, forward=False)
    for key in sorted(way.left):
        what, before, now = key[0], old.get(key), new.get(key)
        # a flag is there and true, or not; anything else has a value before and a value now
        if what in _FLAGS and (before in (None, False)) != (now in (None, False)):
            yield (way if now not in (None, False) else back).told(_FLAGS[what], {key}, **_place(key))
        else:
            yield way.told(_VALUES[what], {key}, **_place(key), before=_json(before), now=_json(now))


def _place(key: Key) -> dict[str, JsonValue]:
    names = _PLACES.get(key[0], ("node", "bitmap"))
    return {name: one for name, one in zip(names, key[1:], strict=False) if name}


def _json(value: Value) -> JsonValue:
    return cast("JsonValue", list(value) if isinstance(value, tuple) else value)

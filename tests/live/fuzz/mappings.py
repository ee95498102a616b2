"""Draft -> mappings on none, one or both sides: right ones made of the names, and wrong ones made of those."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.live.fuzz.world import Alias, Entry, Place, Stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.live.fuzz.drafts import Choice, Draft, DraftSide

    Entries = list[Entry]


def give(choice: Choice, draft: Draft) -> None:
    """Set mappings, or none."""
    kind = choice.weighted({"none": 42, "source": 28, "destination": 10, "both": 18, "empty": 2})
    if kind == "none":
        return
    if kind == "empty":
        choice.of(draft.source, draft.destination).mapping = ()
        return
    free = kind == "both" and choice.chance(60)
    sent, taken = _right(choice, draft, free=free, rename=kind != "destination" and choice.chance(25))
    wrong = choice.chance(35)
    if kind in {"source", "both"}:
        draft.source.mapping = tuple(_spoilt(choice, draft, sent) if wrong and choice.chance(70) else sent)
    if kind in {"destination", "both"}:
        draft.destination.mapping = tuple(_spoilt(choice, draft, taken) if wrong and choice.chance(70) else taken)


def _default_name(side: DraftSide, place: Place) -> str:
    """About what QEMU calls a node by itself."""
    device = side.disks[place.disk].device
    if device and place == side.layer(place.disk):
        return device
    return side.node(place).name or "auto"


def _right(choice: Choice, draft: Draft, *, free: bool, rename: bool) -> tuple[Entries, Entries]:
    """Entries of both sides that fit each other, as far as the destination has the nodes."""
    sent: Entries = []
    taken: Entries = []
    named = list(draft.source.bitmaps)
    for place in dict.fromkeys(bitmap.at for bitmap in named):
        there = _counterpart(draft, place)
        here = _default_name(draft.source, place)
        if there is not None and draft.destination.node(there).name:
            default = draft.destination.node(there).name or here
        else:
            default = here
        alias = f"alias{len(sent)}" if free else default
        names = [bitmap.name for bitmap in named if bitmap.at == place]
        stored = [one.name for one in _stored(draft, place) if choice.chance(60)]
        aliases = {name: f"n{number}" if rename else name for number, name in enumerate([*names, *stored])}
        persistent = choice.chance(50) if choice.chance(12) else None
        sent.append(
            Entry(
                node=place,
                alias=alias,
                bitmaps=tuple(
                    Alias(name=name, alias=_short(to), persistent=persistent) for name, to in aliases.items()
                ),
            )
        )
        if there is not None:
            back = tuple(Alias(name=name, alias=_short(to)) for name, to in aliases.items())
            taken.append(Entry(node=there, alias=alias if free else here, bitmaps=back))
    return sent, taken


def _short(name: str) -> str:
    return name if len(name.encode()) <= 255 else "short"


def _stored(draft: Draft, place: Place) -> tuple[Stored, ...]:
    leaf = draft.source.node(place).children.get("file")
    image = None if leaf is None or isinstance(leaf, str) else leaf.image
    return draft.images[image].stored if image in draft.images else ()


def _counterpart(draft: Draft, place: Place) -> Place | None:
    """The destination's node for one of the source."""
    if place.disk >= len(draft.destination.disks):
        return None
    if place == draft.source.layer(place.disk):
        return draft.destination.layer(place.disk)
    try:
        draft.destination.node(place)
    except KeyError:
        return None
    return place


# wrong ones


def _spoilt(choice: Choice, draft: Draft, entries: Entries) -> Entries:
    found = list(entries)
    for _ in range(choice.of(1, 1, 2)):
        if found:
            index = choice.among(range(len(found)))
            found[index : index + 1] = choice.among(SPOILERS)(choice, draft, found[index])
    if len(found) > 1 and choice.chance(12):
        first, second, *rest = found
        found = [
            first.model_copy(update={"alias": second.alias}),
            second.model_copy(update={"alias": first.alias}),
            *rest,
        ]
    return found


def _dropped(_choice: Choice, _draft: Draft, _entry: Entry) -> Entries:
    return []


def _misspelt_node(choice: Choice, draft: Draft, entry: Entry) -> Entries:
    names = ["nosuch", *(disk.device for disk in draft.source.disks if disk.device)]
    return [entry.model_copy(update={"node": choice.among(names)})]


def _other_node(choice: Choice, draft: Draft, entry: Entry) -> Entries:
    places = [
        Place(disk=index, path=path)
        for index, disk in enumerate(draft.destination.disks)
        for path, _ in disk.root.walk()
    ]
    return [entry.model_copy(update={"node": choice.among(places)})]


def _other_alias(choice: Choice, draft: Draft, entry: Entry) -> Entries:
    side = choice.of(draft.destination, draft.source)
    devices = [disk.device for disk in side.disks if disk.device]
    nodes = [node.name for disk in side.disks for _, node in disk.root.walk() if node.name]
    return [entry.model_copy(update={"alias": choice.among(["nosuch", *devices, *nodes])})]


def _fewer_bitmaps(_choice: Choice, _draft: Draft, entry: Entry) -> Entries:
    return [entry.model_copy(update={"bitmaps": entry.bitmaps[1:]})]


def _with_bitmap(change: Callable[[Choice, Alias], Alias]) -> Callable[[Choice, Draft, Entry], Entries]:
    def spoil(choice: Choice, _draft: Draft, entry: Entry) -> Entries:
        if not entry.bitmaps:
            return [entry]
        first, *rest = entry.bitmaps
        return [entry.model_copy(update={"bitmaps": (change(choice, first), *rest)})]

    return spoil


def _misspelt(_choice: Choice, bitmap: Alias) -> Alias:
    return bitmap.model_copy(update={"name": "nosuch"})


def _realiased(choice: Choice, bitmap: Alias) -> Alias:
    return bitmap.model_copy(update={"alias": choice.of("new", "", "b0", "b1", "z" * 255)})


def _transformed(choice: Choice, bitmap: Alias) -> Alias:
    return bitmap.model_copy(update={"persistent": choice.chance(50)})


SPOILERS: tuple[Callable[[Choice, Draft, Entry], Entries], ...] = (
    _dropped,
    _misspelt_node,
    _other_node,
    _other_alias,
    _other_alias,
    _fewer_bitmaps,
    _with_bitmap(_misspelt),
    _with_bitmap(_realiased),
    _with_bitmap(_realiased),
    _with_bitmap(_transformed),
)

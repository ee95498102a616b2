"""Blueprint -> what `blockdev-add` takes for each node, and which drivers stand for which.

Nothing of the outside is opened: a protocol node is a sparse file of our own, or `null-co`. What differs from the graph
is told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bitmapmig.qapi import NodeName
from bitmapmig.throwaway.reason import NotBuiltError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bitmapmig.throwaway.blueprint import Blueprint

#: Options of a file of ours: nobody needs it after a crash of the host, and waiting for the disk takes time.
UNFLUSHED: Mapping[str, Any] = {"cache": {"no-flush": True}}

#: The name of a file in the private folder.
_PLAIN_NAME = re.compile("[A-Za-z][A-Za-z0-9._-]*")

#: The roles that a child can have in what is built.
_ROLE = re.compile("backing|children[.][0-9]{1,4}|data-file|file|image|log|raw|target|test")

#: The one throttle group of a throw-away QEMU: without limits.
THROTTLE_GROUP = "bitmapmig-group"

#: Formats that QEMU itself can make an image of (QAPI `BlockdevCreateOptions`).
IMAGES = frozenset(("parallels", "qcow", "qcow2", "qed", "vdi", "vhdx", "vmdk", "vpc"))

#: Drivers that are what they are without more than their children, and the options that they need besides.
_PLAIN: Mapping[str, Mapping[str, Any]] = {
    "blkdebug": {},
    "blklogwrites": {},
    "blkverify": {},
    "compress": {},
    "copy-before-write": {},
    "copy-on-read": {},
    "preallocate": {"prealloc-size": 1 << 20},
    "raw": {},
    "snapshot-access": {},
    "throttle": {"throttle-group": THROTTLE_GROUP},
}
#: Formats with one child for which `raw` stands.
_AS_RAW = frozenset(("bochs", "cloop", "dmg", "luks", "vvfat"))
_NULL = frozenset(("null-co", "null-aio"))
_WITH_CHILDREN = frozenset((*_PLAIN, *IMAGES, *_AS_RAW, "quorum"))
#: Bytes of the largest sparse file; a larger one is more than many file systems take.
LARGEST = 8 << 40


@dataclass(frozen=True, slots=True)
class Image:
    """An image in the private folder: the format node, the node that is its file, and the node of its data file."""

    node: NodeName
    file: str
    leaf: NodeName
    data_file: str | None = None
    data_leaf: NodeName | None = None


@dataclass(slots=True)
class Materials:
    """What stands for each node: images, sparse files by node, and for which node another driver stands."""

    images: dict[NodeName, Image] = field(default_factory=dict)
    files: dict[NodeName, str] = field(default_factory=dict)
    sizes: dict[NodeName, int] = field(default_factory=dict)  #: bytes of the leaves
    substituted: dict[NodeName, str] = field(default_factory=dict)
    data: set[NodeName] = field(default_factory=set)  #: nodes that must hold something to copy
    kept: set[NodeName] = field(default_factory=set)  #: leaves whose file is there already

    def fill(self) -> None:
        """Let everything that can hold data hold some."""
        self.data.update(self.images, self.sizes)

    def reuse(self, files: Mapping[NodeName, str], *, whole: bool) -> None:
        """Take `files` that are there, as far as they are of this graph; with `whole` there must be all.

        Raises `NotBuiltError` where one is missing, or an image is there without its data file.
        """
        if not all(_PLAIN_NAME.fullmatch(file) for file in files.values()):
            raise ValueError("a file in the folder has a plain name")
        self.kept = self.files.keys() & files.keys()
        if whole and self.files.keys() - self.kept:
            raise NotBuiltError("the file that it was is not known", min(self.files.keys() - self.kept))
        self.files |= {leaf: files[leaf] for leaf in self.kept}
        for name, image in self.images.items():
            data_file = None
            if image.data_leaf is not None:
                data_file = self.files[image.data_leaf]
                if (image.leaf in self.kept) != (image.data_leaf in self.kept):
                    raise NotBuiltError("its image and its data file must both be there, or neither", name)
            self.images[name] = replace(image, file=self.files[image.leaf], data_file=data_file)

    def missing(self) -> list[Image]:
        """The images that are to be made."""
        return [image for image in self.images.values() if image.leaf not in self.kept]


def materials(blueprint: Blueprint, prefix: str) -> Materials:
    """What stands for each node of the blueprint; file names begin with `prefix`. Raises `NotBuiltError`."""
    found = Materials()
    for number, name in enumerate(blueprint.order):
        if blueprint.graph.nodes[name].driver in IMAGES:
            image = _image(blueprint, name, f"{prefix}-{number}")
            found.images[name] = image
            found.files[image.leaf] = image.file
            if image.data_leaf is not None and image.data_file is not None:
                found.files[image.data_leaf] = image.data_file
    for number, name in enumerate(blueprint.order):
        for role in blueprint.children[name]:
            # a role becomes the name of an option
            if not _ROLE.fullmatch(role):
                msg = f"a child in the role {role!r} cannot be built"
                raise NotBuiltError(msg, name)
        if blueprint.children[name]:
            driver = blueprint.graph.nodes[name].driver
            if driver not in _WITH_CHILDREN:
                msg = f"a node of the driver {driver!r} cannot be built"
                raise NotBuiltError(msg, name)
            if driver in _AS_RAW:
                found.substituted[name] = "raw"
        else:
            _stand_in(blueprint, found, name, f"{prefix}-{number}.raw")
    found.data.update(_read_by_jobs(blueprint))
    return found


def _stand_in(blueprint: Blueprint, found: Materials, name: NodeName, file: str) -> None:
    """Decide what stands for a node without children."""
    nodes = blueprint.graph.nodes
    above = next((parent for parent, _ in blueprint.parents(name)), name)
    # `preallocate` shows how much was used when it was opened, its file how much was taken since
    size = found.sizes[name] = _size(blueprint, above if nodes[above].driver == "preallocate" else name)
    driver = nodes[name].driver
    if name in found.files:
        if driver != "file":
            found.substituted[name] = "file"
    elif driver == "file" and size <= LARGEST:
        found.files[name] = file
    elif driver not in _NULL:
        found.substituted[name] = "null-co"


def _read_by_jobs(blueprint: Blueprint) -> Iterator[NodeName]:
    """What holds the data that jobs copy which are to go on for ever."""
    for work in blueprint.works:
        if work.job.status not in ("running", "paused"):
            continue
        # what a stream copies is below its top, and not in it
        stream = work.job.type == "stream"
        read = {blueprint.settled(name) for name in work.job.nodes} - {work.top} if stream else {work.top}
        for name in read:
            yield from _holders(blueprint, name)


def _image(blueprint: Blueprint, name: NodeName, prefix: str) -> Image:
    leaf = _leaf(blueprint, blueprint.children[name].get("file"), name)
    data = blueprint.children[name].get("data-file")
    driver = blueprint.graph.nodes[name].driver
    if data is None:
        return Image(name, f"{prefix}.{driver}", leaf)
    return Image(name, f"{prefix}.{driver}", leaf, f"{prefix}.data", _leaf(blueprint, data, name))


def _leaf(blueprint: Blueprint, at: NodeName | None, image: NodeName) -> NodeName:
    """The node that keeps the bytes of an image, below filters."""
    while at is not None:
        below = blueprint.children[at]
        if not below:
            return at
        if blueprint.graph.nodes[at].driver in IMAGES:
            raise NotBuiltError("an image inside an image cannot be built", image)
        at = next(iter(below.values())) if len(below) == 1 else None
    raise NotBuiltError("the file of this image cannot be told", image)


def _holders(blueprint: Blueprint, name: NodeName) -> list[NodeName]:
    """The nodes that keep what is written to `name`: images, and what has no children."""
    found = [name]
    for at in found:
        if blueprint.graph.nodes[at].driver not in IMAGES:
            found += [child for role, child in blueprint.children[at].items() if role not in ("backing", "target")]
    return [at for at in found if blueprint.graph.nodes[at].driver in IMAGES or not blueprint.children[at]]


def _size(blueprint: Blueprint, name: NodeName) -> int:
    """The size of a node, or where no query tells it, that of what uses it."""
    at: NodeName | None = name
    while at is not None:
        size = blueprint.graph.nodes[at].virtual_size
        if size is not None:
            return size
        at = next((parent for parent, _ in blueprint.parents(at)), None)
    raise NotBuiltError("its size is not known", name)


class Words:
    """The options of each node; `names` is graph node-name -> node-name in the throw-away QEMU."""

    def __init__(self, blueprint: Blueprint, found: Materials, names: Mapping[NodeName, NodeName]) -> None:
        """Take what is decided; `names` grows while nodes are built."""
        self._blueprint = blueprint
        self._found = found
        self._names = names

    def references(self, name: NodeName) -> list[NodeName]:
        """The nodes that must be there before the one and all that is opened with it."""
        found = []
        for child in self._blueprint.children[name].values():
            found += self.references(child) if self._blueprint.creator(child) == name else [child]
        return found

    def together(self, name: NodeName) -> list[NodeName]:
        """The node, and what is opened with it."""
        below = [child for child in self._blueprint.children[name].values() if self._blueprint.creator(child) == name]
        return [name, *(one for child in below for one in self.together(child))]

    def tree(self, name: NodeName, role: str | None = None, above: NodeName | None = None) -> dict[str, Any]:
        """The options of a node with those of the nodes that are opened with it; `role` and `above` of an inner one."""
        node = self._blueprint.graph.nodes[name]
        children = {
            part: self.tree(child, part, name) if self._blueprint.creator(child) == name else self._names[child]
            for part, child in self._blueprint.children[name].items()
        }
        words: dict[str, Any] = {"driver": self._found.substituted.get(name, node.driver)}
        if node.explicit:
            words["node-name"] = name
        inherited = above is not None and self._blueprint.graph.nodes[above].read_only == node.read_only
        if role in (None, "backing") or not inherited:
            # what is below an overlay could be written to before the snapshot, which ends that
            words["read-only"] = bool(node.read_only) and name not in self._blueprint.overlays.values()
        return words | self._own(name) | _gathered(children)

    def _own(self, name: NodeName) -> dict[str, Any]:
        """The options that are a driver's own."""
        node = self._blueprint.graph.nodes[name]
        if not self._blueprint.children[name]:
            if name in self._found.files:
                automatic = {} if node.read_only else {"auto-read-only": True}
                return {"filename": self._found.files[name], **automatic, **UNFLUSHED}
            return {"size": self._found.sizes[name], "read-zeroes": name not in self._found.data}
        if node.driver in IMAGES:
            return {"backing": None} if node.driver in ("qcow2", "qed", "qcow", "vmdk") else {}
        if node.driver == "quorum":
            return {"vote-threshold": 1}
        if name in self._found.substituted and node.virtual_size is not None:
            return {"size": node.virtual_size}
        return dict(_PLAIN.get(node.driver, {}))


def _gathered(children: dict[str, Any]) -> dict[str, Any]:
    """The children as options: those of a quorum are a list."""
    numbered = {role: child for role, child in children.items() if role.startswith("children.")}
    plain = {role: child for role, child in children.items() if role not in numbered}
    if numbered:
        ordered = sorted(numbered, key=lambda role: int(role.partition(".")[2]))
        plain["children"] = [numbered[role] for role in ordered]
    return plain

"""What QEMU does with the bitmaps of two hand-built QEMUs: a model of its own, written from what was measured of QEMU.

It shares nothing with the planner, so that the two can be held against each other. What migrates is a stream of (node
alias, bitmap alias) with the size and state of each bitmap; what arrives is said by destination node and name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.build_parts import BackendSpec, NodeSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.build import Part, Raw

_FILTERS = frozenset(
    ("throttle", "copy-on-read", "blkdebug", "blklogwrites", "blkreplay", "mirror_top", "commit_top", "backup-top",
     "copy-before-write", "preallocate", "compress", "replication")
)  # fmt: skip


class FailedError(Exception):
    """The migration fails, a side dies, or bitmaps are dropped: whatever happens, they do not all arrive."""


class Sent(NamedTuple):
    """A bitmap in the stream."""

    node_alias: str
    bitmap_alias: str
    source: tuple[str, str]  #: node and bitmap
    size: int
    persistent: bool


class Arrived(NamedTuple):
    """A bitmap on the destination."""

    source: tuple[str, str]
    persistent: bool


@dataclass(frozen=True)
class QemuModel:
    """One QEMU: its parts, and the `block-bitmap-mapping` that is set; `filters` are drivers taken for filters too."""

    parts: Sequence[Part]
    mapping: Sequence[Mapping[str, Any]] | None = None
    filters: frozenset[str] = frozenset()

    @property
    def nodes(self) -> dict[str, NodeSpec]:
        """Every node by name."""
        return {part.name: part for part in self.parts if isinstance(part, NodeSpec)}

    @property
    def devices(self) -> dict[str, str | None]:
        """The root of every named backend, in their order."""
        return {part.device: part.root for part in self.parts if isinstance(part, BackendSpec) and part.device}

    def bitmaps(self, node: str) -> list[Raw]:
        """The named bitmaps of a node."""
        return [one for one in self.nodes[node].record.get("dirty-bitmaps", []) if "name" in one]

    def default_names(self) -> dict[str, str]:
        """The alias of each node without a mapping; raises where two devices lead to one node with bitmaps."""
        found: dict[str, str] = {}
        for device, root in self.devices.items():
            at = root
            while at is not None and self.is_filter(at) and not self.bitmaps(at):
                at = next((child for role, child in self.nodes[at].children.items() if role != "target"), None)
            if at is None or self.is_filter(at):
                continue
            if at in found and self.bitmaps(at):
                msg = f"two devices over {at}"
                raise FailedError(msg)
            found[at] = device
        return {node: found.get(node, node) for node in self.nodes}

    def is_filter(self, node: str) -> bool:
        """Whether QEMU walks through a node."""
        return self.nodes[node].driver in _FILTERS | self.filters

    def sends(self) -> list[Sent]:
        """The stream; raises where a bitmap on a node that is sent cannot be."""
        if self.mapping is not None:
            named = {
                entry["node-name"]: (entry["alias"], {one["name"]: one for one in entry["bitmaps"]})
                for entry in self.mapping
            }
        else:
            aliases = {node: alias for node, alias in self.default_names().items() if self.bitmaps(node)}
            if any(alias.startswith("#") for alias in aliases.values()):
                raise FailedError("a generated name")
            named = {
                node: (alias, {one["name"]: {"alias": one["name"]} for one in self.bitmaps(node)})
                for node, alias in aliases.items()
            }
        return [sent for node in self.nodes if node in named for sent in self._of_node(node, *named[node])]

    def _of_node(self, node: str, alias: str, listed: Mapping[str, Mapping[str, Any]]) -> Iterable[Sent]:
        record = self.nodes[node].record
        kept = {one["name"] for one in record["image"].get("format-specific", {}).get("data", {}).get("bitmaps", [])}
        for one in self.bitmaps(node):
            read_only = record["ro"] and one["persistent"] and one["name"] in kept
            if one["busy"] or one.get("inconsistent") or read_only:
                msg = f"{one['name']} on {node} cannot be sent"
                raise FailedError(msg)
            if one["name"] not in listed:
                continue
            mapped = listed[one["name"]]
            if len(mapped["alias"].encode()) > 255:
                raise FailedError("Name is longer than 255 bytes")
            persistent = mapped.get("transform", {}).get("persistent", one["persistent"])
            place = (node, one["name"])
            yield Sent(alias, mapped["alias"], place, record["image"]["virtual-size"], persistent)

    def lookup(self, name: str) -> str | None:
        """`bdrv_lookup_bs`: a device means its very root, filter or not."""
        return self.devices.get(name, name if name in self.nodes else None)

    def receives(self, stream: Iterable[Sent]) -> dict[tuple[str, str], Arrived]:
        """What arrives; raises where anything is dropped, in the way, or not kept."""
        arrived: dict[tuple[str, str], Arrived] = {}
        entries = {entry["alias"]: entry for entry in self.mapping or ()}
        for sent in stream:
            if self.mapping is None:
                node, name = self.lookup(sent.node_alias), sent.bitmap_alias
            else:
                entry = entries.get(sent.node_alias, {"node-name": None, "bitmaps": []})
                node = entry["node-name"]
                name = next((one["name"] for one in entry["bitmaps"] if one["alias"] == sent.bitmap_alias), "")
            if node not in self.nodes or not name:
                msg = f"{sent} is dropped"
                raise FailedError(msg)
            self._takes(node, name, sent)
            if (node, name) in arrived:
                msg = f"{sent} is met by another"
                raise FailedError(msg)
            arrived[node, name] = Arrived(sent.source, sent.persistent)
        return arrived

    def _takes(self, node: str, name: str, sent: Sent) -> None:
        record = self.nodes[node].record
        data = record["image"].get("format-specific", {}).get("data", {})
        if record["image"]["virtual-size"] != sent.size:
            raise FailedError("the destination aborts")
        if any(one["name"] == name for one in self.bitmaps(node)):
            raise FailedError("Bitmap with the same name already exists")
        if any(one["name"] == name and "in-use" not in one["flags"] for one in data.get("bitmaps", [])):
            raise FailedError("Could not reopen qcow2 layer")
        if sent.persistent and (record["drv"] != "qcow2" or data["compat"] == "0.10" or record["ro"]):
            raise FailedError("gone at shutdown")

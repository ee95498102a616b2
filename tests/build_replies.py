"""The replies of a hand-built QEMU: what one of its version would send, and what it would not show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from bitmapmig.captures import QUERIES, Exchange
from bitmapmig.captures import Capture as _Capture
from tests.build_parts import BackendSpec, ExportSpec, JobSpec, NodeSpec
from tests.build_schema import schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bitmapmig.diagnostics import Side
    from tests.build_parts import Part, Raw

Capture: TypeAlias = _Capture

#: Drivers whose generated names `query-block` hides.
_IMPLICIT = ("mirror_top", "commit_top")
_FILTERS = ("throttle", "copy-on-read", "blkdebug", "preallocate", "copy-before-write", *_IMPLICIT)


@dataclass(frozen=True)
class Error:
    """A reply that is an error; the description is QEMU's."""

    description: str = "disabled by policy"


#: A reply that is not in the capture at all.
ABSENT = Error("")


@dataclass(frozen=True)
class Qemu:
    """One QEMU; `machine` is None where it does not tell, `shows` are those of debug and children that show edges."""

    side: Side
    parts: Sequence[Part]
    run_state: str
    version: tuple[int, int, int] = (7, 2, 22)
    package: str = ""
    machine: str | None = "pc-q35-7.2"
    shows: str | None = None
    migration: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    capabilities: Sequence[str] = ()
    lacks: Sequence[str] = ()  #: see `build_schema.schema`
    process: str | None = ""
    threads: Sequence[int] = ()
    replies: Mapping[str, Any] = field(default_factory=dict)

    def capture(self) -> Capture:
        """The capture of this QEMU."""
        replies = {**self._blocks(), **self._state(), **self.replies}
        major, minor, micro = self.version
        greeting = {"QMP": {"version": {"qemu": {"major": major, "minor": minor, "micro": micro}}, "capabilities": []}}
        exchanges = [
            Exchange.model_validate(
                {
                    "execute": query.execute,
                    "arguments": dict(query.arguments),
                    **_answer(replies[query.execute]),
                }
            )
            for query in QUERIES
            if replies[query.execute] is not ABSENT
        ]
        return Capture(
            endpoint=f"unix:{self.side}.qmp",
            process=f"{self.side}-process" if self.process == "" else self.process,
            greeting=greeting,
            exchanges=tuple(exchanges),
        )

    def _of(self, kind: type[Any]) -> Iterator[Any]:
        return (part for part in self.parts if isinstance(part, kind))

    def _blocks(self) -> Raw:
        shows = self.shows
        if shows is None:
            shows = "debug children" if self.version >= (11, 0, 0) else "debug"
        nodes = list(self._of(NodeSpec))
        records = [dict(one.record) for one in nodes]
        if "children" in shows:
            for record, one in zip(records, nodes, strict=True):
                record["children"] = [{"child": role, "node-name": name} for role, name in one.children.items()]
        return {
            "query-named-block-nodes": records[::-1],  # the newest first, as QEMU has it
            "query-block": [self._backend(one) for one in self._of(BackendSpec)],
            "x-debug-query-block-graph": self._debug() if "debug" in shows else Error(),
            "query-blockstats": _Stats({one.name: one for one in nodes}).of(self._of(BackendSpec)),
            "query-jobs": [
                {"id": one.id, "type": one.type, "status": one.status, "current-progress": 0, "total-progress": 1}
                for one in self._of(JobSpec)
            ],
            "query-block-exports": [
                {"id": one.id, "type": one.type, "node-name": one.node, "shutting-down": False}
                for one in self._of(ExportSpec)
            ],
        }

    def _backend(self, one: BackendSpec) -> Raw:
        known = {found.name: found for found in self._of(NodeSpec)}
        shown = _visible(known, one.root)
        info: Raw = {"device": one.device, "locked": False, "removable": one.root is None, "type": "unknown"}
        info |= {} if one.qdev is None else {"qdev": one.qdev}
        return info if shown is None else info | {"inserted": {"node-name": shown, "drv": "", "ro": False}}

    def _debug(self) -> Raw:
        """The graph by vertices; a node that is not in the list of nodes has one too."""
        users: list[tuple[str, str, Mapping[str, str]]] = []
        users += [("block-driver", one.name, one.children) for one in self._of(NodeSpec)]
        users += [
            ("block-backend", one.device or one.qdev or "", {} if one.root is None else {"root": one.root})
            for one in self._of(BackendSpec)
        ]
        users += [("block-job", one.id, one.nodes) for one in self._of(JobSpec)]
        users += [("block-backend", "", {"root": one.node}) for one in self._of(ExportSpec)]
        known = {name for kind, name, _ in users if kind == "block-driver"}
        used = sorted({child for _, _, below in users for child in below.values()} - known)
        users += [("block-driver", name, {}) for name in used]
        vertices = [{"id": number, "type": kind, "name": name} for number, (kind, name, _) in enumerate(users, 1)]
        ids = {one["name"]: one["id"] for one in vertices if one["type"] == "block-driver"}
        written = {one.node for one in self._of(ExportSpec) if one.writable}
        edges = [
            {
                "parent": number,
                "child": ids[child],
                "name": role,
                "perm": ["write"] if (kind, name) == ("block-backend", "") and child in written else [],
                "shared-perm": [],
            }
            for number, (kind, name, below) in enumerate(users, 1)
            for role, child in below.items()
        ]
        return {"nodes": vertices, "edges": edges}

    def _state(self) -> Raw:
        major, minor, micro = self.version
        known = ("xbzrle", "auto-converge", "events", "postcopy-ram", "dirty-bitmaps", "background-snapshot")
        threads = [{"thread-id": one, "cpu-index": index} for index, one in enumerate(self.threads)]
        return {
            "query-version": {"qemu": {"major": major, "minor": minor, "micro": micro}, "package": self.package},
            "query-status": {"status": self.run_state, "running": self.run_state == "running"},
            "query-migrate": dict(self.migration),
            "query-migrate-capabilities": [
                {"capability": one, "state": one in self.capabilities}
                for one in dict.fromkeys((*known, *self.capabilities))
            ],
            "query-migrate-parameters": {"downtime-limit": 300, "announce-max": 550, **self.parameters},
            "query-name": {"name": "vm"},
            "query-uuid": {"UUID": "00000000-0000-0000-0000-000000000000"},
            "query-chardev": [
                {"label": "compat_monitor0", "filename": f"unix:{self.side}.qmp,server=on", "frontend-open": True}
            ],
            "query-cpus-fast": threads,
            "qom-get": Error() if self.machine is None else f"{self.machine}-machine",
            "query-qmp-schema": schema(*self.lacks),
        }


class _Stats:
    """The device view of `query-blockstats`: see QEMU's `bdrv_query_bds_stats`."""

    def __init__(self, nodes: Mapping[str, NodeSpec]) -> None:
        self._nodes = nodes
        self._made: dict[str, Raw] = {}

    def of(self, backends: Iterable[BackendSpec]) -> list[Raw]:
        return [
            {"device": one.device, "stats": {}, **({"qdev": one.qdev} if one.qdev else {}), **self._line(one.root)}
            for one in backends
        ]

    def _line(self, root: str | None) -> Raw:
        """The line of a node; made bottom up, since a chain may be longer than the stack is high."""
        at = self._visible(root)
        waiting = [at]
        under_way: set[str] = set()
        while waiting:
            name = waiting[-1]
            if name is None or name in self._made or name not in self._nodes:
                waiting.pop()
                continue
            primary, backing = self._below(self._nodes[name])
            needed = [one for one in (primary, backing) if one in self._nodes and one not in self._made]
            if needed and name not in under_way:
                under_way.add(name)
                waiting += needed
                continue
            line = {"parent": self._made.get(primary or ""), "backing": self._made.get(backing or "")}
            made = {key: value for key, value in line.items() if value is not None}
            self._made[name] = {"node-name": name, "stats": {}, **made}
            waiting.pop()
        return self._made.get(at or "", {})

    def _below(self, spec: NodeSpec) -> tuple[str | None, str | None]:
        """The nodes under `parent` and `backing`."""
        roles = spec.children
        primary = roles.get("data-file") or roles.get("file")
        if spec.driver in _FILTERS:
            only = self._visible(primary or roles.get("backing"))
            return only, only
        return self._visible(primary), self._visible(roles.get("backing"))

    def _visible(self, name: str | None) -> str | None:
        return _visible(self._nodes, name)


def _visible(nodes: Mapping[str, NodeSpec], name: str | None) -> str | None:
    """The node that `query-block` shows for the root `name`: below what a job inserted without a name (`implicit`)."""
    while name is not None and name.startswith("#") and name in nodes and nodes[name].driver in _IMPLICIT:
        name = next(iter(nodes[name].children.values()), None)
    return name


def _answer(reply: Any) -> Raw:
    if isinstance(reply, Error):
        return {"error": {"class": "GenericError", "desc": reply.description}}
    return {"return": reply}

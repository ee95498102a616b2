"""Plan -> the lines that carry it out, for people who have a shell of QEMU's or libvirt's, and no socket.

The same commands in the same order as `apply` sends them, without what it checks. Whatever a name holds is data in
them: nothing in a name ends a quotation or a line, or writes to a terminal.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from bitmapmig.captures import printable

if TYPE_CHECKING:
    from bitmapmig.diagnostics import Side
    from bitmapmig.plans import Plan
    from bitmapmig.plans.document import Command, Identity

#: Whose lines they are.
Dialect: TypeAlias = Literal["qmp", "virsh"]


def script(plan: Plan, dialect: Dialect) -> str:
    """The commands of `plan` as lines of qmp-shell (of qemu.qmp) or of a POSIX shell with virsh; comments begin with #.

    Ends with a newline. qmp-shell knows no comments: it complains of them, and sends nothing.
    """
    lines = list(_HEADS[dialect])
    sides: tuple[tuple[Side, Identity, tuple[Command, ...]], ...] = (
        ("destination", plan.destination, plan.commands.destination),
        ("source", plan.source, plan.commands.source),
    )
    for side, identity, commands in sides:
        if commands:
            lines.append(_comment(f"on the {side}, {_described(identity)}"))
            lines += _LINES[dialect](identity, commands)
    if len(lines) == len(_HEADS[dialect]):
        lines.append(_comment("there is nothing to set"))
    return "\n".join(lines) + "\n"


_HEADS: Mapping[Dialect, tuple[str, ...]] = {
    "qmp": (
        "# lines for qmp-shell, which takes no comments: leave those that begin with # out;",
        "# the destination's come first, and all of them before the migration starts",
    ),
    "virsh": ("# run each part where that VM is; the destination's come first, all before the migration starts",),
}


def _comment(words: str) -> str:
    return f"# {printable(words)}".encode("ascii", "backslashreplace").decode()


def _described(identity: Identity) -> str:
    name = f"{identity.name!r}, " if identity.name else ""
    uuid = f"uuid {identity.uuid}, " if identity.uuid else ""
    return f"{name}{uuid}monitor {identity.endpoint}"


def _compact(value: object) -> str:
    """JSON without white space outside of strings, ASCII only."""
    return json.dumps(value, separators=(",", ":")).replace("\x7f", "\\u007f")


def _qmp(_identity: Identity, commands: tuple[Command, ...]) -> Iterator[str]:
    for command in commands:
        arguments = command.model_dump(mode="json")["arguments"]
        yield " ".join([command.execute, *(f"{name}={_compact(value)}" for name, value in arguments.items())])


def _virsh(identity: Identity, commands: tuple[Command, ...]) -> Iterator[str]:
    # the uuid first: libvirt takes a name that is a number for the id of another VM
    domain = identity.uuid or identity.name
    if domain is None or not domain.isprintable():
        yield "# the plan knows no uuid, and no name that can be written: put the name of the VM in place of DOMAIN"
        domain = "DOMAIN"
    words = ["--domain", domain] if domain.startswith("-") else [domain]
    for command in commands:
        yield shlex.join(["virsh", "qemu-monitor-command", *words, _compact(command.model_dump(mode="json"))])


_LINES: Mapping[Dialect, Callable[[Identity, tuple[Command, ...]], Iterator[str]]] = {"qmp": _qmp, "virsh": _virsh}

"""What every operation is: the words of one QMP command or event, and what it does to a block graph.

Names are QAPI's own in Python's case; an operation is read from, and written as, the arguments that QEMU takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from bitmapmig.transforms.draft import Draft

if TYPE_CHECKING:
    from bitmapmig.behaviour import Release
    from bitmapmig.graph import BlockGraph


class Arguments(BaseModel):
    """Arguments of an operation, or a part of them: frozen, strict, QAPI's spelling, unknown members refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=lambda member: member.replace("_", "-"),
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


class Operation(Arguments):
    """One operation in one phase: a function from a block graph to the one that QEMU has afterwards.

    `word` is its name: of a QMP command, of a QMP event that ends a phase, or of what happens to the whole process.
    """

    word: ClassVar[str]
    kind: ClassVar[Literal["command", "event", "process"]] = "command"

    def applied(self, graph: BlockGraph, release: Release) -> BlockGraph:
        """The graph after the operation, on a QEMU of that (major, minor).

        Raises `OperationRefusedError`: BM253 where QEMU refuses it, BM254 where what comes of it is not simulated.
        """
        draft = Draft(graph, release, self.word)
        self.act(draft)
        return draft.graph()

    def act(self, draft: Draft) -> None:
        """Do it to a draft; a transaction does several to the same one."""
        raise NotImplementedError

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments as QEMU takes them: JSON, without what was left out."""
        return self.model_dump(mode="json", exclude_unset=True)

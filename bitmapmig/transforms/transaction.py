"""Several operations at once: all of them are done, or none.

Sources: QAPI `TransactionAction`; `qmp_transaction`, `external_snapshot_commit`, `block_dirty_bitmap_remove_commit`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, SerializeAsAny, field_validator
from pydantic_core import PydanticCustomError

from bitmapmig.transforms import backup, bitmaps, snapshot
from bitmapmig.transforms.draft import OperationRefusedError
from bitmapmig.transforms.operation import Arguments, Operation
from bitmapmig.transforms.staged import Staged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pydantic import ValidationInfo

    from bitmapmig.transforms.draft import Draft


class Abort(Operation):
    """What makes a transaction fail, for tests of those who use it."""

    word: ClassVar[str] = "abort"

    def act(self, draft: Draft) -> None:
        """Source: `abort_prepare`, `abort_action`."""
        draft.refuse("it aborts the transaction")


#: Every action by its type.
ACTIONS: Mapping[str, type[Operation]] = {
    one.word: one
    for one in (
        Abort,
        backup.BlockdevBackup,
        backup.DriveBackup,
        bitmaps.BlockDirtyBitmapAdd,
        bitmaps.BlockDirtyBitmapRemove,
        bitmaps.BlockDirtyBitmapClear,
        bitmaps.BlockDirtyBitmapEnable,
        bitmaps.BlockDirtyBitmapDisable,
        bitmaps.BlockDirtyBitmapMerge,
        snapshot.BlockdevSnapshot,
        snapshot.BlockdevSnapshotSync,
    )
}
#: The actions that start a job, of which a property of the transaction can say how it ends.
_JOBS = frozenset((backup.BlockdevBackup.word, backup.DriveBackup.word))


class Action(Arguments):
    """One operation of a transaction."""

    type: str
    data: SerializeAsAny[Operation]

    @field_validator("type")
    @classmethod
    def _is_known(cls, word: str) -> str:
        if word not in ACTIONS:
            known = ", ".join(sorted(ACTIONS))
            raise PydanticCustomError(
                "action", "there is no action {word}; there are {known}", {"word": repr(word), "known": known}
            )
        return word

    @field_validator("data", mode="before")
    @classmethod
    def _read(cls, data: object, info: ValidationInfo) -> object:
        kind = ACTIONS.get(info.data.get("type", ""))
        return data if kind is None else kind.model_validate(data)


class Properties(Arguments):
    """How jobs of one transaction end (QAPI `TransactionProperties`)."""

    completion_mode: Literal["individual", "grouped"] = "individual"


class Transaction(Operation):
    """Do all of `actions`, or none of them where one is refused.

    Each action sees what those before it did to graph and bitmaps: after a snapshot the device means the overlay, a new
    bitmap can be merged into at once. What comes at the end: nodes below overlays turn read-only, so that a persistent
    bitmap added to one after the snapshot is still taken, and stored; removed bitmaps go, until then their names are
    taken. Measured alike on 5.2, 7.2, 10.0 and 11.1.

    On all four a transaction that is refused after it was to remove a persistent bitmap leaves that in memory and takes
    its copy out of the image all the same: not simulated.
    """

    word: ClassVar[str] = "transaction"
    actions: tuple[Action, ...] = Field(strict=False)
    properties: Properties = Properties()

    def act(self, draft: Draft) -> None:
        """Source: `qmp_transaction`."""
        try:
            at_the_end = list(self._prepared(draft))
        except OperationRefusedError as error:
            draft.word = self.word
            for node in draft.before.nodes.values():
                after = draft.nodes.get(node.name, node)
                if len(after.stored or ()) < len(node.stored or ()):
                    draft.not_simulated(
                        f"it is refused, and stored bitmaps of {node.name!r} go nevertheless", node.name
                    )
            raise error from None
        for done in at_the_end:
            done()
        draft.word = self.word

    def _prepared(self, draft: Draft) -> Iterator[Callable[[], None]]:
        for action in self.actions:
            draft.word = f"{action.type} in a {self.word}"
            if self.properties.completion_mode == "grouped":
                if action.type in _JOBS:
                    draft.not_simulated("jobs that end together")
                draft.refuse("it cannot be part of a transaction with the completion mode 'grouped'")
            if isinstance(action.data, Staged):
                yield action.data.prepare(draft)
            else:
                action.data.act(draft)

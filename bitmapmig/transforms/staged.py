"""Operations in the two stages that a transaction has: what later actions see, and what is done at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig.transforms.operation import Operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from bitmapmig.transforms.draft import Draft


class Staged(Operation):
    """An operation that a `transaction` can hold and that leaves something for its end."""

    def prepare(self, draft: Draft) -> Callable[[], None]:
        """Do what later actions of one transaction see, refuse what QEMU refuses; return what is done at its end."""
        raise NotImplementedError

    def act(self, draft: Draft) -> None:
        """Do both, as a command by itself does."""
        self.prepare(draft)()

"""What is simulated is what real QEMUs do."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitmapmig.transforms import OPERATIONS
from tests.live.operations import CASES
from tests.live.operations.held import Held
from tests.live.qemu import Binary, binaries

_ON = [
    pytest.param(case, binary, id=f"{name}-{binary.version}")
    for name, case in CASES
    for binary in binaries()
    if case.on(binary)
]


@pytest.mark.parametrize(("case", "binary"), _ON)
def test_an_operation_does_what_a_real_qemu_does(case: Held, binary: Binary, tmp_path: Path) -> None:
    """After each step the simulated graph is the captured one, up to generated names; what one refuses, both do."""
    case.hold(binary, tmp_path)


def test_every_operation_is_held_against_real_qemu() -> None:
    """There is no operation without a case."""
    assert {word for _, case in CASES for word, _ in case.steps} == set(OPERATIONS)

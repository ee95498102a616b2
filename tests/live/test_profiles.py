"""The recorded profiles that scenarios start from are what real QEMUs say of themselves."""

from __future__ import annotations

import pytest

from bitmapmig import state
from bitmapmig.scenarios.profiles import measured, profile
from tests.live.profiles import recorded, release
from tests.live.qemu import Binary, binaries


@pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.version)
def test_a_profile_is_what_a_real_qemu_says(binary: Binary) -> None:
    """Capabilities, commands and their arguments, machine and idle state are those of the real one."""
    assert release(binary) in measured(), "there is no profile of this version: python -m tests.live.profiles"
    real, known = state.read(recorded(binary)), profile(release(binary))
    assert (real.version[:2], real.machine_type) == (known.version[:2], known.machine_type)
    assert (real.run_state, real.migration) == (known.run_state, known.migration)
    assert real.capabilities == known.capabilities
    assert real.schema is not None
    assert known.schema is not None
    for path in (
        ("migrate-set-parameters", "block-bitmap-mapping"),
        ("migrate-set-parameters", "block-bitmap-mapping", "bitmaps", "transform", "persistent"),
        ("migrate-incoming", "exit-on-error"),
        ("migrate-set-parameters", "avail-switchover-bandwidth"),
    ):
        assert real.schema.has(*path) == known.schema.has(*path), path

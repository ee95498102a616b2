"""Scenes: every situation that planning must tell apart, on real QEMUs. See `scene`."""

from tests.live.scenes import chains, ends, filters, jobs, maps, names, states, storage
from tests.live.scenes.scene import Scene, Stage

_MODULES = (names, maps, filters, jobs, states, storage, ends, chains)

ALL: tuple[Scene, ...] = tuple(
    value for module in _MODULES for value in vars(module).values() if isinstance(value, Scene)
)

__all__ = ["ALL", "Scene", "Stage"]

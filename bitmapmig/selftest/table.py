"""All experiments, in the order of the profile."""

from __future__ import annotations

from bitmapmig.selftest import changes, checks, failure, jobs, loss, naming, preserved, reading, storage

EXPERIMENTS = tuple(
    experiment
    for theme in (naming, loss, failure, checks, jobs, preserved, storage, changes, reading)
    for experiment in theme.EXPERIMENTS
)

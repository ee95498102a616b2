"""The one table by version: what was measured, and the cautious side between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bitmapmig import behaviour
from bitmapmig.behaviour import ALL, BY_NAME, FILTERS, JOBS, Behaviour, Conduct, downward_fails

if TYPE_CHECKING:
    from bitmapmig.behaviour import Version

_MEASURED: list[Version] = [(5, 2, 0), (7, 2, 22), (10, 0, 13), (11, 1, 3)]
_BETWEEN: list[Version] = [(4, 2, 0), (6, 0, 0), (8, 2, 0), (11, 0, 0), (12, 0, 0)]


@pytest.mark.parametrize(
    ("kind", "measured", "between"),
    [
        ("commit", [True, True, True, True], [True, True, True, True, True]),
        ("backup", [False, True, True, True], [False, True, True, True, True]),
        ("stream", [True, False, False, False], [True, True, False, False, False]),
    ],
)
def test_jobs_by_version(kind: str, measured: list[bool], between: list[bool]) -> None:
    """As measured; between two measured versions that differ harm is assumed, beyond them the nearest counts."""
    assert [JOBS[kind].assumed(version) for version in _MEASURED] == measured
    assert [JOBS[kind].assumed(version) for version in _BETWEEN] == between


def test_a_mirror_never_harms() -> None:
    """It is the headline case: no phase of it stops the switch-over."""
    assert set(JOBS) == {"commit", "backup", "stream"}


def test_filters_by_version() -> None:
    """copy-before-write, which 5.2 does not have yet, harms from 7.2; the cautious side says from its first release."""
    assert set(FILTERS) == {"copy-before-write"}
    harms = FILTERS["copy-before-write"].assumed
    assert [harms(version) for version in _MEASURED] == [False, True, True, True]
    assert [harms(version) for version in _BETWEEN] == [False, True, True, True, True]


def test_what_was_measured_goes_before_the_table() -> None:
    """A profile counts in both directions; of what it does not tell the version decides."""
    stream, commit = JOBS["stream"], JOBS["commit"]
    patched = Conduct((7, 2, 0), {stream.name: True, commit.name: False})
    assert (stream.harms(patched), commit.harms(patched)) == (True, False)
    assert (stream.harms(Conduct((7, 2, 0))), commit.harms(Conduct((7, 2, 0)))) == (False, True)
    assert stream.harms(Conduct((5, 2, 0), {commit.name: False}))


def test_conducts_are_told_apart() -> None:
    """Two QEMUs of one version that differ in what was measured are not the same key of a cache."""
    plain, patched = Conduct((7, 2, 0)), Conduct((7, 2, 0), {JOBS["stream"].name: True})
    assert len({plain, patched, Conduct((7, 2, 0), {})}) == 2


def test_every_behaviour_is_listed() -> None:
    """`ALL` has each behaviour of the module once, under a name of its own."""
    tables = [value.values() for value in vars(behaviour).values() if isinstance(value, dict) and value is not BY_NAME]
    defined = [value for value in vars(behaviour).values() if isinstance(value, Behaviour)]
    defined += [one for table in tables for one in table if isinstance(one, Behaviour)]
    assert sorted(defined) == sorted(ALL)
    assert len({one.name for one in ALL}) == len(ALL) == len(BY_NAME)


def test_the_micro_version_does_not_count() -> None:
    """7.2.0 and 7.2.99 behave as the 7.2 that was measured."""
    assert [JOBS["stream"].assumed((7, 2, micro)) for micro in (0, 99)] == [False, False]


@pytest.mark.parametrize(
    ("source", "destination", "fails"),
    [
        *(((10, 0, 0), there, True) for there in ((7, 2, 0), (5, 2, 0))),
        *(((11, 1, 0), there, True) for there in ((7, 2, 0), (5, 2, 0))),
        ((11, 1, 0), (10, 0, 0), False),
        ((7, 2, 0), (5, 2, 0), False),
        # not measured: between 7.2 and 10.0 a source is taken for newer, a destination for older
        ((8, 0, 0), (7, 2, 0), True),
        ((9, 2, 0), (8, 0, 0), True),
        ((10, 0, 0), (9, 2, 0), True),
        ((10, 1, 0), (10, 0, 0), False),
        ((7, 0, 0), (6, 2, 0), False),
        # the same, and upwards
        ((10, 0, 13), (10, 0, 0), False),
        ((8, 2, 5), (8, 2, 0), False),
        *((here, (11, 1, 0), False) for here in ((5, 2, 0), (7, 2, 0), (10, 0, 0))),
        ((5, 2, 0), (7, 2, 0), False),
    ],
)
def test_downwards(source: Version, destination: Version, fails: bool) -> None:  # noqa: FBT001
    """From 10.0 or newer to 7.2 or older fails without one versioned machine type on both."""
    assert downward_fails(source, destination) is fails

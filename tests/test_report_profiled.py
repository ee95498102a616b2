"""What `selftest` prints for people."""

from __future__ import annotations

import pytest

from bitmapmig.report import Limits, profiled_lines
from tests.printed import text
from tests.rehearsals import answer, profile

HOSTILE = "a\x1b[31m\u202e[bold]"


def test_as_assumed() -> None:
    """Where nothing differs that is said, and below it stands a line for each section."""
    untold = answer("three", answer=None, reason="there is no such command", section="jobs")
    done = profile(answer(), answer("two"), untold)
    assert text(profiled_lines(done, 80, Limits())) == (
        "AS ASSUMED: 2 answers of QEMU 7.2.22 (Debian 1:7.2), all of them as the model\n"
        "takes them to be\n"
        "\n"
        "  SECTION  AS ASSUMED  DIFFER  DO NOT APPLY\n"
        "  maps     2\n"
        "  jobs     0                   1"
    )


def test_differences_are_first() -> None:
    """Each difference is told before the sections: what was assumed, what was answered, and what QEMU printed."""
    differs = answer("two", agrees=False, log=("qemu: it is so", "qemu: twice"), reason="a patch")
    done = profile(answer(), differs)
    assert text(profiled_lines(done, 100, Limits())) == (
        "DIFFERS: 1 of 2 answers of QEMU 7.2.22 (Debian 1:7.2) is not as assumed\n"
        "\n"
        "two  two-harms\n"
        "  what becomes of it?\n"
        "  assumed   it harms\n"
        "  answered  it does not harm\n"
        "  printed   qemu: it is so\n"
        "  printed   qemu: twice\n"
        "  reason    a patch\n"
        "  the model can take this: plan with --profile and the file that -o writes\n"
        "\n"
        "  SECTION  AS ASSUMED  DIFFER  DO NOT APPLY\n"
        "  maps     1           1"
    )


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("behaviour", "plan with --profile"),
        ("fact", "built into the model"),
        ("words", "only the words differ"),
    ],
)
def test_what_a_difference_means(kind: str, said: str) -> None:
    """What can be done about a difference depends on its kind."""
    assert said in text(profiled_lines(profile(answer(agrees=False, kind=kind, behaviour=None)), 200))


def test_all() -> None:
    """Without a limit every experiment is listed, with its answer."""
    untold = answer("three", answer=None, reason="no such command")
    said = text(profiled_lines(profile(answer(), answer("two", agrees=False), untold), 100))
    assert said.endswith(
        "\n"
        "maps\n"
        "  one: what becomes of it?\n"
        "    it harms\n"
        "  two: what becomes of it?\n"
        "    it does not harm, NOT it harms\n"
        "  three: what becomes of it?\n"
        "    does not apply: no such command"
    )


@pytest.mark.parametrize("width", [40, 80])
def test_narrow_and_hostile(width: int) -> None:
    """Whatever a program says is shown escaped, and no line is wider than the screen."""
    answers = [
        answer(HOSTILE, agrees=False, section=HOSTILE, question=HOSTILE, answer=HOSTILE, log=(HOSTILE,)),
        answer("two", section="x" * 30, answer=None, reason=HOSTILE),
    ]
    said = text(profiled_lines(profile(*answers, qemu_version=HOSTILE, package=HOSTILE), width))
    assert set(said) <= {"\n", *map(chr, range(32, 127))}
    assert max(map(len, said.splitlines())) <= width
    if width == 40:
        assert "1 do not apply" in said

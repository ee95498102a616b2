"""Plans and refusals as people read them."""

from __future__ import annotations

from typing import Any

import pytest

from bitmapmig.report import Limits, plan_lines
from tests.build import bitmap, destination, drive, node, planned, source, stored
from tests.printed import pair, text


def test_plan_in_words() -> None:
    """A plan says the verdict first, then what goes where, the commands, and what stays set."""
    made = planned(
        source(node("fmt0", bitmaps=[bitmap("daily", count=3 * 65536), bitmap("off", "disabled")])),
        destination(node("fmt0")),
        {"deny": [{"bitmap": "off"}]},
    )
    assert (
        text(plan_lines(made, 80))
        == """\
PLANNED: 1 bitmap migrates, 1 left behind

  source       vm, QEMU 7.2.22, machine pc-q35-7.2, unix:source.qmp
  destination  vm, QEMU 7.2.22, machine pc-q35-7.2, unix:destination.qmp

Bitmaps
  migrate        fmt0/daily -> fmt0/daily
                 transient, 192 KiB of 16 MiB dirty, granularity 64 KiB,
                 by default
  left behind    fmt0/off
                 transient, not recording, 0 bytes of 16 MiB dirty,
                 granularity 64 KiB, by deny.0

Commands, to be run in this order before `migrate`
  on the source
    {
      "execute": "migrate-set-parameters",
      "arguments": {
        "block-bitmap-mapping": [
          {
            "node-name": "fmt0",
            "alias": "fmt0",
            "bitmaps": [{"name": "daily", "alias": "daily"}]
          }
        ]
      }
    }
    {
      "execute": "migrate-set-capabilities",
      "arguments": {
        "capabilities": [{"capability": "dirty-bitmaps", "state": true}]
      }
    }

Afterwards: what stays set, and what makes it harmless
  source: the map stays in force and becomes the outgoing one of the next
    migration; it cannot be un-set
    {
      "execute": "migrate-set-parameters",
      "arguments": {
        "block-bitmap-mapping": [
          {
            "node-name": "fmt0",
            "alias": "fmt0",
            "bitmaps": [
              {"name": "daily", "alias": "daily"},
              {"name": "off", "alias": "off"}
            ]
          }
        ]
      }
    }
  source: the capability stays on; with it on, a later savevm never returns
    {
      "execute": "migrate-set-capabilities",
      "arguments": {
        "capabilities": [{"capability": "dirty-bitmaps", "state": false}]
      }
    }"""
    )


def test_table_where_it_fits() -> None:
    """Bitmaps are a line each where all that is to be said fits the width."""
    made = planned(*pair(node("fmt0", bitmaps=["b0"]), node("fmt1", bitmaps=["b1"])))
    assert """
Bitmaps
  FATE     SOURCE       DESTINATION  DIRTY    GRANULARITY  STATE      BY
  migrate  fmt0/b0  ->  fmt0/b0      0 bytes  64 KiB       transient  default
  migrate  fmt1/b1  ->  fmt1/b1      0 bytes  64 KiB       transient  default

""" in text(plan_lines(made, 80))


def test_refusal_in_words() -> None:
    """A refusal groups its findings by cause, with what cures them as lines for a policy."""
    made = planned(source(node("n0", bitmaps=["b0", "b1"]), node("n1", bitmaps=["b0"])), destination(node("n1")))
    said = text(plan_lines(made, 80))
    assert said.startswith("REFUSED: 2 findings of 1 kind; nothing was touched\n")
    assert (
        """
BM501 destination-missing  2 times
  source: bitmap 'b0' on 'n0' goes to 'n0', and the destination has no device or
    node of that name; 2 other bitmaps would be lost with it
  source: bitmap 'b1' on 'n0' goes to 'n0', and the destination has no device or
    node of that name; 2 other bitmaps would be lost with it
"""
        in said
    )
    assert (
        """
  policy  map:
          - source: {node-name: n0, bitmap: b0}
            destination: null
          - source: {node-name: n0, bitmap: b1}
            destination: null
  more    bitmapmig explain BM501
"""
        in said
    )
    assert "\n  refused " in said
    assert "\n  would migrate  n1/b0" in said
    assert "Commands" not in said


def test_no_guarantee_first() -> None:
    """What the policy accepted is said before anything else."""
    there = destination(node("n0"), run_state="running")
    said = text(plan_lines(planned(source(node("n0", bitmaps=["b0"])), there, {"accept": ["BM512"]}), 80))
    first, second, *_ = said.splitlines()
    assert first == "NO GUARANTEE: the policy accepts BM512 destination-not-waiting"
    assert second == "PLANNED: 1 bitmap migrates"


@pytest.mark.parametrize(
    ("bitmaps", "policy", "verdict"),
    [
        ([], {}, "PLANNED: the source has no named bitmap, there is nothing to do"),
        (["b0"], {"deny": [{"bitmap": "*"}]}, "PLANNED: no bitmap migrates, 1 bitmap left behind"),
        (["b0", "b1"], {"deny": [{"bitmap": "b1"}]}, "PLANNED: 1 bitmap migrates, 1 left behind"),
        (
            [bitmap("b0", "persistent"), bitmap("b1", "persistent")],
            {"deny": [{"bitmap": "b1"}], "storage": "shared"},
            "PLANNED: 1 bitmap migrates, 1 in the shared image",
        ),
    ],
)
def test_verdicts(bitmaps: list[Any], policy: dict[str, Any], verdict: str) -> None:
    """The first line counts what becomes of the bitmaps."""
    copies = [stored(one["name"]) for one in bitmaps if isinstance(one, dict)]
    here = source(node("n0", "qcow2", bitmaps=bitmaps, stored=copies))
    there = destination(node("n0", "qcow2", stored=copies))
    assert text(plan_lines(planned(here, there, policy), 80)).splitlines()[0] == verdict


def test_provisional_is_said() -> None:
    """A plan against a destination of its like says so."""
    made = planned(source(node("n0", bitmaps=["b0"])), destination(node("n0"), run_state="running"), provisional=True)
    assert text(plan_lines(made, 80)).startswith("PROVISIONAL: ")


def test_auto_named_destination_by_its_device() -> None:
    """A generated name is not shown where the plan knows a better one."""
    made = planned(
        source(node("#block1", bitmaps=["b0"]), drive("drive0", "#block1")),
        destination(node("#block9"), drive("drive0", "#block9")),
    )
    said = text(plan_lines(made, 80))
    assert "drive0/b0 -> drive0/b0" in said
    assert "#block9" not in said


def test_long_lists_are_cut() -> None:
    """Of a thousand bitmaps a hundred are shown, the unusual ones first, and what is left out is counted."""
    nodes = [node(f"n{number}", bitmaps=["b0"]) for number in range(1000)]
    made = planned(*pair(*nodes), {"deny": [{"address": "n999"}]})
    said = text(plan_lines(made, 80, Limits()))
    assert len(said.splitlines()) < 350
    assert "\n  left behind    n999/b0\n" in said
    assert "\n  ... and 900 more; --all shows them\n" in said
    assert "migrate-set-parameters: " in said
    everything = text(plan_lines(made, 80))
    assert all(f" n{number}/b0" in everything for number in range(1000))


def test_many_findings_are_cut() -> None:
    """Of a thousand findings of one cause some are shown, and the rest is counted."""
    nodes = [node(f"n{number}", bitmaps=["b0"]) for number in range(1000)]
    made = planned(source(*nodes), destination(node("other")))
    said = text(plan_lines(made, 80, Limits()))
    assert "\n  ... and 980 more; --all shows them\n" in said
    assert "\n  policy  1,000 entries; --all shows them\n" in said
    assert "node-name: n999" in text(plan_lines(made, 80))

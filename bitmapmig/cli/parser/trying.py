"""`rehearse` and `selftest`: what is tried on throw-away QEMUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig.cli.parser import options

if TYPE_CHECKING:
    import argparse

    from bitmapmig.cli.parser.commands import Commands

#: Seeds are below that.
_SEEDS = 1 << 63


def rehearse(commands: Commands) -> None:
    """Add `rehearse`."""
    parser = commands.add(
        "rehearse",
        "try a plan on throw-away QEMUs",
        "Builds both block graphs of a plan in two throw-away QEMUs, with the same\n"
        "bitmaps and random dirty bits, applies the plan, migrates, verifies, lets the\n"
        "destination go on, shuts it down and looks into its images. Of the VM only names\n"
        "and sizes are used; its images are not opened, and nothing is sent to it but the\n"
        "queries of a capture, where SOURCE or DESTINATION is live. With these two the\n"
        "plan is made first, as `plan` does. Exit code 5 where the plan does not survive,\n"
        "3 where it is refused.",
        [
            "bitmapmig rehearse plan.json",
            "bitmapmig rehearse source.json destination.json --policy policy.yaml",
            "bitmapmig rehearse plan.json --source-qemu qemu-7.2 --destination-qemu qemu-10",
        ],
    )
    parser.add_argument(
        "source",
        metavar="PLAN|SOURCE",
        help="alone: the file that `plan -o FILE` wrote, or -; before DESTINATION: " + options.ENDPOINT,
    )
    parser.add_argument("destination", metavar="DESTINATION", nargs="?", help="the same as SOURCE, for the other side")
    parser.add_argument("--policy", metavar="FILE", help="the policy of the plan that is made: YAML, JSON or TOML")
    options.rules(parser)
    parser.add_argument(
        "--provisional", action="store_true", help="DESTINATION is one of its like, it need not wait for a migration"
    )
    parser.add_argument("--strict", action="store_true", help="refuse that plan for advice as well")
    options.profiles(parser)
    parser.add_argument("--qemu", metavar="BIN", help="the program that stands for both sides")
    parser.add_argument(
        "--source-qemu", metavar="BIN", help="the program that stands for the source; else the one on PATH"
    )
    parser.add_argument("--destination-qemu", metavar="BIN", help="the same, for the destination")
    parser.add_argument(
        "--anyway", action="store_true", help="rehearse a refused plan too, and see the harm that it was refused for"
    )
    parser.add_argument(
        "--seed", metavar="N", type=_seed, help="the same dirty bits as in the rehearsal that said this number"
    )
    _output(parser)
    options.timeout(parser)
    options.formats(parser)
    options.everything(parser)


def complaint(arguments: argparse.Namespace) -> str | None:
    """What is wrong with the words of `rehearse` taken together."""
    if arguments.qemu is not None and (arguments.source_qemu is not None or arguments.destination_qemu is not None):
        return "--qemu stands for both sides, and one of them is named as well"
    if arguments.destination is not None:
        return None
    if arguments.source.startswith(("unix:", "tcp:")):
        return "one word is a plan document; a plan is made of two endpoints, SOURCE and DESTINATION"
    for option in ("policy", "resolve", "provisional", "strict", "profile"):
        if getattr(arguments, option):
            return f"--{option} is for a plan that is made, from SOURCE and DESTINATION; this one is made already"
    return None


def selftest(commands: Commands) -> None:
    """Add `selftest`."""
    parser = commands.add(
        "selftest",
        "ask a QEMU program what it does with bitmaps",
        "Makes small experiments on throw-away processes of a QEMU program and says where\n"
        "it does otherwise than it is taken to (exit code 3). Distributors patch QEMU:\n"
        "`plan --profile FILE` takes what was found for what this QEMU does.",
        ["bitmapmig selftest", "bitmapmig selftest --qemu /opt/qemu/bin/qemu-system-x86_64 -o profile.json"],
    )
    parser.add_argument("--qemu", metavar="BIN", help="the program; else the one on PATH")
    _output(parser)
    options.formats(parser)
    options.everything(parser)


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write the document to FILE as well; - leaves the text out"
    )


def _seed(text: str) -> int:
    found = int(text)
    if not 0 <= found < _SEEDS:
        raise ValueError
    return found


_seed.__name__ = "seed"  # what argparse calls the type in its message

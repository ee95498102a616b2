"""How long planning takes and how much memory, as JSON: `make bench`.

Each figure stands beside a baseline that is measured in the same run, and the ratio between them is what counts:
planning from two capture files beside `json.loads` of the same files, a live plan beside the bare round trips that it
needs, checking scenarios beside parsing their YAML, rehearsals beside the start of the processes that they need, the
start of a process beside a bare interpreter and beside importing the same libraries. Seconds are the least of several
runs, bytes are the peak of resident memory of a process of its own.

    python -m tests.bench [--nodes 100,1000] [--runs 3]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bitmapmig.captures import QUERIES, Capture, dump
from bitmapmig.collect import collect_both
from tests.bench_rehearsals import rehearsals
from tests.live.qemu import Qemu, binaries
from tests.live.scenes.scene import GRANULE, MIB, null

NODES = "100,1000,10000,50000"
DISKS = 10
RULES = 100
#: Commands of a plan from two files, in a process that has imported everything and reports its own figures.
MEASURED = """
import json, resource, sys, time
{imports}
files = sys.argv[1:]
start = time.perf_counter()
{work}
print(json.dumps([time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""
LOADS = MEASURED.format(imports="", work="kept = [json.loads(open(name, 'rb').read()) for name in files[:2]]")
PLANS = MEASURED.format(
    imports="import contextlib, io\nfrom bitmapmig.cli import main\nimport bitmapmig.cli.plan",
    work="""
with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())):
    status = main(["plan", files[0], files[1], "--policy", files[2], "--format", "json"])
assert status == 0, status
""",
)
READS = MEASURED.format(
    imports="import pathlib, yaml",
    work="""
for path in pathlib.Path(files[0]).iterdir():
    for event in yaml.parse(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        pass
""",
)
CHECKS = MEASURED.format(
    imports="import contextlib, io\nfrom bitmapmig.cli import main\nimport bitmapmig.cli.answer, bitmapmig.cli.check",
    work="""
with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())):
    status = main(["check", files[0]])
assert status == 0, status
""",
)
SCENARIOS = 1000
#: Three steps, one of them refused, and a plan at the end.
SCENARIO = """\
title: Bitmaps come and go by command
start:
  nodes:
    fmt0: {driver: qcow2, size: 1G, bitmaps: {daily: {persistent: true, dirty: 640K}}}
  devices: {drive0: fmt0}
destination: {like: start}
policy: {storage: separate}
steps:
  - block-dirty-bitmap-add: {node: drive0, name: hourly}
    expect: {bitmaps: {fmt0/hourly: {becomes: is-new, address: fmt0}, fmt0/daily: {becomes: stays}}}
  - block-dirty-bitmap-add: {node: fmt0, name: hourly}
    refused: there is a bitmap
  - block-dirty-bitmap-remove: {node: fmt0, name: hourly}
    expect: {bitmaps: {fmt0/hourly: absent}}
expect: {no-bitmap-lost: true, plan: planned, refusals: [], fates: {drive0/daily: migrate}}
"""
LIBRARIES = "import argparse, asyncio, json, networkx, pydantic, qemu.qmp, yaml"


def least(runs: int, *command: str) -> float:
    """The least seconds of `runs` whole processes."""
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - start)
    return min(found)


def measured(runs: int, code: str, *files: Path) -> dict[str, float]:
    """The least seconds and bytes that a child process reports of itself."""
    said = [
        json.loads(subprocess.run([sys.executable, "-c", code, *files], check=True, capture_output=True).stdout)
        for _ in range(runs)
    ]
    return {"seconds": min(one[0] for one in said), "bytes": min(one[1] for one in said)}


def ratio(figure: float, baseline: float) -> float:
    """How many times the baseline a figure is."""
    return round(figure / baseline, 2)


def recorded() -> tuple[Capture, Capture]:
    """A real pair of one drive with a bitmap each: what the large pairs are made of."""
    drive = ("-drive", f"if=none,id=drive@,node-name=node@,driver=null-co,size={MIB},read-zeroes=on")
    newest = binaries()[-1]
    with Qemu(newest, *(word.replace("@", "0") for word in drive)) as source:
        source.qmp("block-dirty-bitmap-add", node="node0", name="bitmap0")
        with Qemu(newest, *(word.replace("@", "0") for word in drive), name="destination", incoming=True) as there:
            return asyncio.run(collect_both(source.endpoint, there.endpoint))


def multiplied(capture: Capture, count: int) -> Capture:
    """The capture with its one drive `count` times over, each under its own names."""
    listed = {"query-named-block-nodes", "query-block", "query-blockstats"}
    exchanges = []
    for exchange in capture.exchanges:
        returned = exchange.return_
        if exchange.execute in listed:
            text = json.dumps(returned[0])
            for name in ("drive0", "node0", "bitmap0"):
                text = text.replace(name, f"{name[:-1]}@")
            returned = [json.loads(text.replace("@", str(number))) for number in range(count)]
        elif exchange.execute == "x-debug-query-block-graph":
            edge = returned["edges"][0]
            pairs = [(2 * number + 1, 2 * number + 2) for number in range(count)]
            returned = {
                "nodes": [
                    vertex
                    for number, (backend, node) in enumerate(pairs)
                    for vertex in (
                        {"id": backend, "type": "block-backend", "name": f"drive{number}"},
                        {"id": node, "type": "block-driver", "name": f"node{number}"},
                    )
                ],
                "edges": [{**edge, "parent": backend, "child": node} for backend, node in pairs],
            }
        exchanges.append(exchange.model_copy(update={"return_": returned}))
    return capture.model_copy(update={"exchanges": tuple(exchanges)})


def policy(folder: Path) -> Path:
    """A policy of a hundred rules, wildcards among them."""
    path = folder / "policy.yaml"
    rules = [{"address": f"node{number}", "bitmap": "scratch-*", "optional": True} for number in range(RULES // 2)]
    rules += [{"bitmap": f"*-{number}-*", "optional": True} for number in range(RULES // 2)]
    path.write_text(json.dumps({"deny": rules}))
    return path


def from_files(nodes: int, pair: tuple[Capture, Capture], runs: int) -> dict[str, Any]:
    """Planning a pair of `nodes` nodes with a bitmap each, from files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [folder / "source.json", folder / "destination.json"]
        for path, capture in zip(files, pair, strict=True):
            path.write_bytes(dump(multiplied(capture, nodes)))
        size = sum(path.stat().st_size for path in files)
        baseline = measured(runs, LOADS, *files)
        plan = measured(runs, PLANS, *files, policy(folder))
    return {
        "nodes": nodes,
        "file_bytes": size,
        "json_loads": baseline,
        "plan": plan,
        "ratio": {key: ratio(plan[key], baseline[key]) for key in plan},
    }


def round_trips(*sockets: Path) -> float:
    """The seconds of the bare queries, all sent at once, on each socket in turn, up to the last byte of the replies."""
    start = time.perf_counter()
    for path in sockets:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            replies = client.makefile("rb")
            replies.readline()
            messages = [{"execute": "qmp_capabilities"}, *(query.message for query in (*QUERIES, QUERIES[0]))]
            client.sendall(b"".join(json.dumps(message).encode() for message in messages))
            answered = 0
            while answered < len(messages):
                answered += replies.readline().startswith((b'{"return"', b'{"error"'))
    return time.perf_counter() - start


def live(runs: int) -> dict[str, Any]:
    """A whole live plan of a pair of ten disks, beside the round trips that it needs and the start of a process."""
    words = [word for number in range(DISKS) for word in null(f"disk{number}")]
    newest = binaries()[-1]
    with (
        Qemu(newest, *words) as source,
        Qemu(newest, *words, name="destination", incoming=True) as destination,
    ):
        for number in range(DISKS):
            source.qmp("block-dirty-bitmap-add", node=f"disk{number}", name="daily")
            source.write(f"disk{number}", GRANULE * number)
        bare = min(round_trips(source.socket, destination.socket) for _ in range(runs))
        start = least(runs, sys.executable, "-c", LIBRARIES)
        whole = least(
            runs, sys.executable, "-m", "bitmapmig", "plan", source.endpoint, destination.endpoint, "--format", "json"
        )
    return {
        "disks": DISKS,
        "qemu": newest.version,
        "round_trips_seconds": bare,
        "libraries_seconds": start,
        "plan_seconds": whole,
        "ratio_to_round_trips_and_libraries": ratio(whole, bare + start),
    }


def starting(pair: tuple[Capture, Capture], runs: int) -> dict[str, Any]:
    """The start of a process: `--version`, and the plan of a small pair."""
    with tempfile.TemporaryDirectory() as name:
        files = [Path(name) / "source.json", Path(name) / "destination.json"]
        for path, capture in zip(files, pair, strict=True):
            path.write_bytes(dump(capture))
        interpreter = least(runs * 5, sys.executable, "-c", "pass")
        libraries = least(runs, sys.executable, "-c", LIBRARIES)
        version = least(runs * 5, sys.executable, "-m", "bitmapmig", "--version")
        plan = least(runs, sys.executable, "-m", "bitmapmig", "plan", *map(str, files), "--format", "json")
    return {
        "interpreter_seconds": interpreter,
        "libraries_seconds": libraries,
        "version": {"seconds": version, "ratio_to_interpreter": ratio(version, interpreter)},
        "plan": {
            "seconds": plan,
            "ratio_to_interpreter": ratio(plan, interpreter),
            "ratio_to_libraries": ratio(plan, libraries),
        },
    }


def checking(count: int, runs: int) -> dict[str, Any]:
    """Checking `count` scenario files with a plan each, beside reading the same files as YAML alone."""
    with tempfile.TemporaryDirectory() as name:
        for number in range(count):
            text = SCENARIO.replace("fmt0", f"fmt{number}")
            (Path(name) / f"{number}.bitmapmig.yaml").write_text(text)
        baseline = measured(runs, READS, Path(name))
        check = measured(runs, CHECKS, Path(name))
    return {
        "scenarios": count,
        "reading_yaml": baseline,
        "check": check,
        "ratio": {key: ratio(check[key], baseline[key]) for key in check},
    }


def main(words: list[str]) -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description="measure planning; prints JSON")
    parser.add_argument("--nodes", default=NODES, help="sizes of the pairs, separated by commas")
    parser.add_argument("--runs", type=int, default=3, help="how often each figure is taken")
    options = parser.parse_args(words)
    pair = recorded()
    sizes = [int(word) for word in options.nodes.split(",")]
    report = {
        "python": platform.python_version(),
        "from_files": [from_files(nodes, pair, options.runs) for nodes in sizes],
        "scenarios": checking(SCENARIOS, options.runs),
        "live": live(options.runs),
        "start": starting(pair, options.runs),
        "rehearsals": rehearsals(options.runs, least),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])

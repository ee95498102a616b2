"""Plan on two real QEMUs with a drive-mirror running, then run into a refusal: `make demo`.

Where no QEMU can be had, the recorded captures of the same two cases are used instead.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.live.qemu import binaries  # noqa: E402  the project's own folder comes first on the path
from tests.live.scenes import ALL  # noqa: E402

#: A scene, and what is to be seen in it.
SHOWN = {
    "mirror-running-drive": "a drive-mirror runs on the source: QEMU hides its filter, the bitmap is below it",
    "sizes-differ": "the destination's disk is a little larger: QEMU would say `completed`, then abort",
}


def say(text: str) -> None:
    """Print a heading."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def bitmapmig(folder: Path, *words: str) -> None:
    """Run the command in `folder` as a user would; a refusal is part of the demonstration."""
    say(f"$ bitmapmig {' '.join(words)}")
    command = [sys.executable, "-m", "bitmapmig", *words]
    subprocess.run(command, check=False, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})


def show(folder: Path, source: str, destination: str, text: str) -> None:
    """Show one case: the graph of the source, then the plan or the refusal."""
    say(text)
    bitmapmig(folder, "preview", source)
    bitmapmig(folder, "plan", source, destination)


def main() -> None:
    """Show each scene on the newest QEMU that is here, or as it was recorded."""
    try:
        newest = binaries()[-1]
    except LookupError:
        for name, text in SHOWN.items():
            show(ROOT / "fixtures" / name, "source.json", "destination.json", f"recorded: {text}")
        return
    for name, text in SHOWN.items():
        scene = next(scene for scene in ALL if scene.name == name)
        with scene.on(newest) as stage:
            sockets = [f"unix:{qemu.socket.name}" for qemu in (stage.source, stage.destination)]
            show(stage.folder, sockets[0], sockets[1], f"QEMU {newest.version}: {text}")


if __name__ == "__main__":
    main()

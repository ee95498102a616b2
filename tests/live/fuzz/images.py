"""Image files of a world, copied from templates that are made once a process."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tests.live.fuzz.world import Image, Stored
from tests.live.qemu import Binary, Qemu, binaries

if TYPE_CHECKING:
    from collections.abc import Iterable


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="bitmapmig-images-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def put(images: Iterable[Image], folder: Path) -> None:
    """Create the files of `images` in `folder`."""
    for image in images:
        if image.format == "raw":
            with (folder / image.name).open("wb") as file:
                file.truncate(image.size)
        else:
            shutil.copyfile(_template(image.model_copy(update={"name": "template"})), folder / image.name)


@cache
def _template(image: Image) -> Path:
    """A qcow2 file as wanted, made by the oldest QEMU that is there, so that all can open it."""
    folder = Path(tempfile.mkdtemp(dir=_folder()))
    binary = binaries()[0]
    if image.filled:
        (folder / "data").write_bytes(b"\1" * image.size)
        binary.image("convert", "-O", "qcow2", "data", "template", folder=folder)
        (folder / "data").unlink()
    else:
        options = f"compat={image.compat}"
        binary.image("create", "-q", "-f", "qcow2", "-o", options, "template", str(image.size), folder=folder)
    broken = [one for one in image.stored if one.inconsistent]
    _store(binary, folder, broken)
    if broken:
        words = "driver=qcow2,node-name=node0,file.driver=file,file.filename=template"
        with Qemu(binary, "-blockdev", words, folder=folder) as qemu:
            qemu.kill()
    _store(binary, folder, [one for one in image.stored if not one.inconsistent])
    return folder / "template"


def _store(binary: Binary, folder: Path, bitmaps: Iterable[Stored]) -> None:
    for bitmap in bitmaps:
        words = ["--disable"] if bitmap.disabled else []
        granularity = str(bitmap.granularity)
        binary.image("bitmap", "--add", "-g", granularity, *words, "template", bitmap.name, folder=folder)

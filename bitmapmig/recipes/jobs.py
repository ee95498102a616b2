"""Jobs that run already, and those that use a bitmap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitmapmig.recipes import mirror
from bitmapmig.recipes.actions import job_id, lookup
from bitmapmig.recipes.document import Recipe, RecipeBitmap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from bitmapmig.graph import BlockGraph

#: What a bitmap holds after a backup, by `bitmap-mode` (QAPI `BitmapSyncMode`).
_AFTER = {
    "on-success": "if the backup succeeds it holds what is written while it runs, else what it holds now as well",
    "never": "afterwards it holds what it holds now, and what is written while the backup runs",
    "always": "afterwards it holds what was not copied, and what is written while the backup runs",
}


def backup(graph: BlockGraph, word: str, arguments: Mapping[str, JsonValue]) -> Recipe | None:
    """What becomes of the bitmap that a backup uses: nothing is lost, but it is busy until the job has ended."""
    root = lookup(graph, arguments.get("device"))
    name = arguments.get("bitmap")
    node = (
        next((graph.nodes[at] for at in graph.chain(root) if graph.nodes[at].bitmap(str(name))), None) if root else None
    )
    if node is None or not isinstance(name, str):
        return None
    mode = arguments.get("bitmap-mode", "on-success" if arguments.get("sync") == "incremental" else None)
    after = f"; {_AFTER[str(mode)]}" if mode in _AFTER else ""
    reason = f"busy, and in the way of a migration, until BLOCK_JOB_COMPLETED of {job_id(arguments)!r}{after}"
    told = RecipeBitmap(node=node.name, bitmap=name, result="stays", kept_on=node.name, reason=reason)
    return Recipe(operation=word, bitmaps=(told,))


def completed(graph: BlockGraph, word: str, arguments: Mapping[str, JsonValue]) -> Recipe | None:
    """The recipe of the end of a job that was there before anybody asked for a recipe."""
    identity = arguments.get("device") or arguments.get("id")
    job = next((one for one in graph.jobs if one.id == identity), None)
    if job is None or job.type != "mirror":
        return None
    made = mirror.completed(graph, job)
    return made.model_copy(update={"operation": word}) if made else None

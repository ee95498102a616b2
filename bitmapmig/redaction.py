"""Capture -> the same capture without file names and URLs, for those to whom they are none of their business."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bitmapmig.captures import Capture

#: Members whose text is a name of QEMU's own or of the user's configuration: no file name, whatever it looks like.
_KEPT = frozenset(
    ("alias", "device", "driver", "drv", "format", "id", "label", "name", "node-name", "qdev", "status", "type")
)
_FILE_MEMBERS = frozenset(
    ("file", "filename", "backing_file", "backing-filename", "full-backing-filename", "data-file", "path")
)


def redact(capture: Capture) -> Capture:
    """The capture with file names and URLs replaced; one text always by the same placeholder.

    A plan from a redacted capture is the plan from the original, but for the endpoint.
    """
    exchanges = tuple(
        exchange.model_copy(
            update={"return_": _redacted(exchange.return_, exchange.execute)}
            if exchange.error is None
            else {"error": {"class": "GenericError", "desc": _placeholder(str(exchange.error.get("desc")))}}
        )
        for exchange in capture.exchanges
    )
    return capture.model_copy(update={"endpoint": _placeholder(capture.endpoint), "exchanges": exchanges})


def _redacted(value: object, command: str) -> Any:  # noqa: ANN401  raw JSON
    def members(found: dict[str, Any]) -> dict[str, Any]:
        return {name: _without_names(inner, name) for name, inner in found.items()}

    # by way of text, because a backing chain nests one level an image, and Python's own recursion ends too soon
    return _without_names(json.loads(json.dumps(value), object_hook=members), command)


def _without_names(value: Any, member: str) -> Any:  # noqa: ANN401  raw JSON
    """`value`, which stands under `member`, with its own texts replaced; objects in it are left alone."""
    if isinstance(value, list):
        # a list in a list is nothing that QEMU sends; it goes whole, so that its depth does not matter
        return [_placeholder(str(type(one))) if isinstance(one, list) else _without_names(one, member) for one in value]
    if isinstance(value, str) and member not in _KEPT and (member in _FILE_MEMBERS or "/" in value or ":" in value):
        return _placeholder(value)
    return value


def _placeholder(text: str) -> str:
    return f"redacted-{hashlib.sha256(text.encode(errors='backslashreplace')).hexdigest()[:16]}"

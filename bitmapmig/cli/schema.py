"""`bitmapmig schema`: the name of a document -> its JSON Schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bitmapmig.cli import exits
from bitmapmig.schemas import NAMES, schema

if TYPE_CHECKING:
    import argparse

    from bitmapmig.cli.screen import Screen


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Print a schema, or what there are schemas of."""
    if arguments.name is not None:
        screen.write(schema(arguments.name))
    elif arguments.format == "json":
        screen.text(json.dumps({"schemas": NAMES}))
    else:
        screen.text("\n".join(NAMES))
    return exits.DONE

"""A hand-made `query-qmp-schema`: the closure of the commands that a plan sends, as QEMU 7.2 tells it, but smaller."""

from __future__ import annotations

from typing import Any

_CAPABILITIES = ("xbzrle", "auto-converge", "events", "postcopy-ram", "dirty-bitmaps", "background-snapshot")


def _builtin(name: str, json_type: str) -> dict[str, Any]:
    return {"name": name, "meta-type": "builtin", "json-type": json_type}


def _object(name: str, *members: tuple[str, str] | tuple[str, str, None]) -> dict[str, Any]:
    """An object type; a member of three is optional."""
    shown = [{"name": one[0], "type": one[1], **({"default": None} if len(one) > 2 else {})} for one in members]
    return {"name": name, "meta-type": "object", "members": shown}


def _array(element: str) -> dict[str, Any]:
    return {"name": f"[{element}]", "meta-type": "array", "element-type": element}


def _command(name: str, argument: str) -> dict[str, Any]:
    return {"name": name, "meta-type": "command", "arg-type": argument, "ret-type": "0", "allow-oob": False}


def schema(*lacks: str) -> list[dict[str, Any]]:
    """The schema of a QEMU that `lacks` what is named: `dirty-bitmaps`, `block-bitmap-mapping`, `transform`.

    `avail-switchover-bandwidth`, which 7.2 lacks, is there unless it is named.
    """
    values = [one for one in _CAPABILITIES if one not in lacks]
    parameters: list[Any] = [("downtime-limit", "int", None)]
    if "avail-switchover-bandwidth" not in lacks:
        parameters.append(("avail-switchover-bandwidth", "int", None))
    if "block-bitmap-mapping" not in lacks:
        parameters.append(("block-bitmap-mapping", "[31]", None))
    alias: list[Any] = [("name", "str"), ("alias", "str")]
    if "transform" not in lacks:
        alias.append(("transform", "33", None))
    return [
        _command("migrate-set-capabilities", "20"),
        _command("migrate-set-parameters", "30"),
        _command("migrate-incoming", "40"),
        _builtin("str", "string"),
        _builtin("bool", "boolean"),
        _builtin("int", "int"),
        _object("0"),
        _object("20", ("capabilities", "[21]")),
        _array("21"),
        _object("21", ("capability", "22"), ("state", "bool")),
        {"name": "22", "meta-type": "enum", "values": values, "members": [{"name": one} for one in values]},
        _object("30", *parameters),
        _array("31"),
        _object("31", ("node-name", "str"), ("alias", "str"), ("bitmaps", "[32]")),
        _array("32"),
        _object("32", *alias),
        _object("33", ("persistent", "bool", None)),
        _object("40", ("uri", "str", None)),
    ]

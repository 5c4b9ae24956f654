"""The JSON Schema of the configuration, put to use: look a key up, read text as its type, check, normalise units.

The schema itself comes from `config.json_schema()`. jsonschema does the checking; what is here turns its errors into
one line for people, which names the key and what is wanted and never repeats a value.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator
from typing import Any, cast

import jsonschema
import msgspec

from realtime_svc.config import DURATION_PATTERN, json_schema

KeyPath = tuple[str | int, ...]
Problem = tuple[KeyPath, str]
Node = dict[str, Any]

SCHEMA: Node = json_schema()
_VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_KINDS = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "array": "a list",
    "object": "a table",
}


def dotted(path: KeyPath) -> str:
    """`path` as a person writes it in TOML: `auth.tokens."a b"`, `http.allowed_origins[0]`; one printable line."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE_KEY.fullmatch(part) else msgspec.json.encode(part).decode()
            text += ("." if text else "") + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in name)
    return text


def resolve(node: Node) -> Node:
    """`node`, or the definition it refers to."""
    while "$ref" in node:
        node = SCHEMA["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def is_table(node: Node) -> bool:
    return resolve(node).get("type") == "object"


def child(node: Node, name: str) -> Node | None:
    """The schema of key `name` in the table `node`; None where there is no such key."""
    table = resolve(node)
    if name in table.get("properties", {}):
        return dict(table["properties"][name])
    others = table.get("additionalProperties")
    return others if isinstance(others, dict) else None


def holds_tables(node: Node) -> bool:
    """Is `node` a table of tables that the user names (listeners, namespaces)?"""
    others = resolve(node).get("additionalProperties")
    return isinstance(others, dict) and is_table(others)


def find(path: tuple[str, ...]) -> Node | None:
    """The schema of the key at `path`; None where there is no such key."""
    node: Node | None = SCHEMA
    for name in path:
        node = child(node, name) if node is not None else None
    return node


def known_keys() -> Iterator[tuple[str, ...]]:
    """Every key that holds a value, with `public` and `default` standing for names that users choose."""
    yield from _known_keys(SCHEMA, ())


def _known_keys(node: Node, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if not is_table(node):
        yield path
        return
    for name, value in resolve(node).get("properties", {}).items():
        yield from _known_keys(value, (*path, name))
    if holds_tables(node):
        name = "public" if path[0] == "listeners" else "default"
        yield from _known_keys(resolve(node)["additionalProperties"], (*path, name))


def wanted(node: Node) -> str:
    """What a value of `node` looks like, in words."""
    if "enum" in node:
        return "one of " + ", ".join(f'"{word}"' for word in node["enum"])
    if node.get("format") == "duration":
        return 'a duration such as "25s", "500ms", "2m", or seconds'
    if node.get("format") == "size":
        return 'a size such as "64KiB", "1MiB", or bytes'
    return _KINDS.get(resolve(node).get("type", ""), "something else")


def from_text(node: Node, text: str) -> Any:
    """A value given as text (environment, command line): plain where the schema wants text, JSON otherwise.

    A list may also be text separated by commas. Raises `ValueError` whose text says what is wanted.
    """
    node = resolve(node)
    kind = node.get("type", "string")
    if kind == "string":
        return text
    if kind == "array" and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, ValueError):
        if isinstance(kind, list):  # a duration or a size with its unit
            return text
        raise ValueError(f"must be {wanted(node)}") from None


def problem_of(document: Any) -> Problem | None:
    """The first place where `document` does not follow the schema: its path, and what is wanted there."""
    try:
        error = next(_VALIDATOR.iter_errors(document), None)
    except RecursionError:
        return (), "is nested too deeply"
    return None if error is None else _explain(error)


def _explain(error: jsonschema.ValidationError) -> Problem:
    path: KeyPath = tuple(error.absolute_path)
    node = cast(Node, error.schema)
    bound: Any = error.validator_value
    match error.validator:
        case "additionalProperties":
            unknown = next(name for name in cast(Node, error.instance) if name not in node.get("properties", {}))
            return (*path, unknown), "unknown key" + _suggestion(path, unknown, list(node.get("properties", {})))
        case "required":
            missing = next(name for name in bound if name not in cast(Node, error.instance))
            return (*path, missing), "is needed"
        case "minimum":
            return path, f"must be at least {in_units(node, bound)}"
        case "maximum":
            return path, f"must be at most {in_units(node, bound)}"
        case "minLength" if bound == 1:
            return path, "must not be empty"
        case "minLength":
            return path, f"must have at least {bound} characters"
        case _:
            return path, f"must be {wanted(node)}"


def _suggestion(path: KeyPath, unknown: str, siblings: list[str]) -> str:
    """The nearest key of the same table, else a key of that name elsewhere."""
    near = difflib.get_close_matches(unknown.lower(), siblings, n=1)
    keys = [dotted((*path, near[0]))] if near else [dotted(key) for key in known_keys() if key[-1] == unknown]
    return f"; did you mean `{keys[0]}`?" if keys else ""


def normalise(value: Any, node: Node = SCHEMA, path: KeyPath = ()) -> Any:
    """`value` with "25s" as 25.0 and "64KiB" as 65536. It must follow the schema already.

    Raises `BadValue` for numbers no schema can refuse: NaN and infinity.
    """
    if isinstance(value, dict):
        return {name: normalise(item, child(node, name) or {}, (*path, name)) for name, item in value.items()}
    kind = node.get("format")
    if isinstance(value, str) and kind in ("duration", "size"):
        value = seconds(value) if kind == "duration" else _bytes(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadValue(path, "must be a finite number")
        if "integer" in node.get("type", ()):
            return int(value)
    return value


class BadValue(Exception):
    """`path` holds what can't be used, for `reason`."""

    def __init__(self, path: KeyPath, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason


def seconds(text: str) -> float:
    """ "500ms" -> 0.5, "2m" -> 120.0. Raises `ValueError` for what is no duration."""
    if not re.search(DURATION_PATTERN, text):
        raise ValueError(text)
    number, unit = re.findall(r"^([0-9.]+)([a-z]+)", text)[0]
    return float(number) / 1000 if unit == "ms" else float(number) * _SECONDS[unit]


def _bytes(text: str) -> int:
    number, unit = re.findall(r"^([0-9]+)([A-Za-z]*)", text)[0]
    return int(number[:30]) * _BYTES[unit or "B"]  # 30 digits are out of every range; int() refuses above 4300


def duration_text(duration: float) -> str | float:
    """25.0 -> "25s", 0.1 -> "100ms", 300.0 -> "5m"; what doesn't read back as the same number stays one."""
    for unit, factor in reversed(_SECONDS.items()):
        if duration % factor == 0:
            return f"{int(duration / factor)}{unit}" if duration else "0s"
    text = f"{duration * 1000:g}ms"
    return text if "e" not in text and seconds(text) == duration else duration


def size_text(count: int) -> str:
    """65536 -> "64KiB"."""
    for unit, factor in reversed(_BYTES.items()):
        if count and count % factor == 0:
            return f"{count // factor}{unit}"
    return "0B"


def in_units(node: Node, number: float) -> str:
    """`number` as text for people: with its unit where `node` is a duration or a size."""
    match node.get("format"):
        case "duration":
            return str(duration_text(number))
        case "size":
            return size_text(int(number))
        case _:
            return str(number)

"""The configuration as text: the documented sample, the published schema, the effective settings."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec

from realtime_svc import configschema
from realtime_svc.config import Config
from realtime_svc.configschema import Node, dotted

MASK = "********"
_WIDTH = 110
_HEAD = """\
# The configuration of realtime_svc: every key with its default. Take the `#` before a key away to change it.
#
# Durations are numbers of seconds or text with a unit: "500ms", "25s", "2m", "1h".
# Sizes are numbers of bytes or text with a unit: "512B", "64KiB", "1MiB", "1GiB".
# Relative paths start from the folder of this file.
#
# The environment overrides this file: REALTIME_SVC_LIMITS__MESSAGE_SIZE=128KiB is `message_size` of [limits]. Names are
# lower-cased, a list is separated by commas (or is JSON), a table is JSON. A secret can be read from a file:
# REALTIME_SVC_AUTH__JWT__SECRET_FILE=/run/secrets/jwt. Flags of the command line override the environment.
#
# `realtime-svc config check FILE` checks a file, `realtime-svc config show FILE` prints what holds in the end.
"""
_EXAMPLES = {
    ("listeners",): "More listeners: further tables, such as [listeners.wss].",
    ("namespaces",): "More namespaces: further tables, such as [namespaces.chat] for `chat:lobby`.",
    ("api", "keys"): 'Such as: [api.keys.backend] with hash = "sha256:..." and scopes = ["publish", "history:chat:"]',
    ("auth", "tokens"): 'Such as: alice = "a-token-of-at-least-16-characters"',
}


def schema_text() -> str:
    """The JSON Schema of the configuration, as `etc/realtime_svc.schema.json` has it."""
    return json.dumps(configschema.SCHEMA, indent=2, ensure_ascii=False) + "\n"


def sample() -> str:
    """`etc/realtime_svc.toml`: every key, documented, commented out, with its default."""
    tables = msgspec.to_builtins(Config())
    return _HEAD + "".join(_sample_table(configschema.SCHEMA, (), tables))


def _sample_table(node: Node, path: tuple[str, ...], values: dict[str, Any]) -> Iterator[str]:
    """The text of a table: its header, its keys, then the tables in it."""
    table = configschema.resolve(node)
    keys = {name: configschema.child(node, name) or {} for name in values}
    if path:
        yield "\n" + _comment(table.get("description", "")) + _comment(_EXAMPLES.get(path, ""))
    if path and not configschema.holds_tables(node):
        yield f"[{dotted(path)}]\n"
    for name, key in keys.items():
        if not configschema.is_table(key):
            yield _comment(key["description"] + _bounds(key))
            yield f"#{name} = {toml_value(_with_unit(key, values[name]))}\n"
    for name, key in keys.items():
        if configschema.is_table(key):
            yield from _sample_table(key, (*path, name), values[name])


def _comment(text: str) -> str:
    lines = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


def _bounds(key: Node) -> str:
    """The values a key may have, where the schema limits them."""
    if "enum" in key:
        return " One of " + ", ".join(f'"{word}"' for word in key["enum"]) + "."
    if "enum" in key.get("items", {}):
        return " Any of " + ", ".join(key["items"]["enum"]) + "."
    least, most = key.get("minimum"), key.get("maximum")
    if least is not None and most is not None:
        return f" {configschema.in_units(key, least)} to {configschema.in_units(key, most)}."
    return f" At least {configschema.in_units(key, least)}." if least else ""


def effective(config: Config) -> str:
    """`config` as TOML that loads to the same, except for secrets, which are masked."""
    return "".join(_effective_table(configschema.SCHEMA, (), msgspec.to_builtins(config))).lstrip("\n")


def _effective_table(node: Node, path: tuple[str, ...], values: dict[str, Any]) -> Iterator[str]:
    keys = {name: configschema.child(node, name) or {} for name in values}
    plain = {name: key for name, key in keys.items() if not configschema.is_table(key)}
    if path and (plain or not values):
        yield f"\n[{dotted(path)}]\n"
    for name, key in plain.items():
        value = MASK if key.get("writeOnly") and values[name] else _with_unit(key, values[name])
        yield f"{dotted((name,))} = {toml_value(value)}\n"
    for name, key in keys.items():
        if configschema.is_table(key):
            yield from _effective_table(key, (*path, name), values[name])


def _with_unit(key: Node, value: Any) -> Any:
    match key.get("format"):
        case "duration":
            return configschema.duration_text(value)
        case "size":
            return configschema.size_text(value)
        case _:
            return value


def toml_value(value: Any) -> str:
    """A text, number, truth value, or list of those as TOML. JSON is TOML for these, but for U+007F in text."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

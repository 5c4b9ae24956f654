"""Loading the configuration: file, then environment, then flags; checked, normalised, resolved.

Every error is one `ConfigError`: where the value came from (file, variable, command line), the dotted key, the reason.
No error repeats a value.

    REALTIME_SVC_LIMITS__MESSAGE_SIZE=128KiB           `__` separates levels, names are lower-cased
    REALTIME_SVC_HTTP__ALLOWED_ORIGINS=https://a,...   a list: separated by commas, or JSON
    REALTIME_SVC_AUTH__TOKENS={"Alice":"..."}          a table: JSON (the way to names that are not lower case)
    REALTIME_SVC_AUTH__JWT__SECRET_FILE=/run/secret    a secret: from a file, less one newline at its end
"""

from __future__ import annotations

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from realtime_svc import configrules, configschema
from realtime_svc.config import Config, Listener, Namespace
from realtime_svc.configschema import KeyPath, Node, dotted
from realtime_svc.errors import ConfigError

PREFIX = "REALTIME_SVC_"
MAX_FILE_BYTES = 2**20
MAX_SECRET_BYTES = 2**16
_DEPTH = 8  # deeper than any key of ours; what lies below is unknown to the schema and is refused as it is

# Read by `realtime-svc connect`, and by the commands that call the server API; not configuration of the server.
CLIENT_TOKEN = "REALTIME_SVC_TOKEN"
CLIENT_API_KEY = "REALTIME_SVC_API_KEY"
# What Kubernetes puts into the environment of every container when a Service is called `realtime-svc`.
_KUBERNETES = re.compile(r"REALTIME_SVC_(SERVICE_(HOST|PORT)|SERVICE_PORT_\w+|PORT_\d+_(TCP|UDP|SCTP)\w*)", re.ASCII)

# Keys that name files: a relative one in the file is meant from the file's own folder.
FILE_KEYS = (
    ("auth", "jwt", "jwks_ca"),
    ("auth", "jwt", "jwks_file"),
    ("auth", "jwt", "key_file"),
    ("auth", "passwords_file"),
    ("tls", "certificate"),
    ("tls", "chain"),
    ("tls", "client_ca"),
    ("tls", "key"),
    ("webhooks", "ca"),
)
FOLDER_KEYS = (("schemas", "folder"), ("handlers", "path"))


class Origin(NamedTuple):
    """Where a value came from, and the folder that its relative paths start from."""

    where: str
    folder: Path


class Document:
    """The tables given so far, and for each key where it was given last."""

    def __init__(self, default: Origin) -> None:
        self.tables: dict[str, Any] = {}
        self._default = default
        self._origins: dict[KeyPath, Origin] = {}

    def put(self, path: tuple[str, ...], value: Any, origin: Origin) -> None:
        """Set one key; a table is merged into what is there."""
        self._origins[path] = origin
        if isinstance(value, dict):
            table = self._table(path)
            for name, item in value.items():
                if isinstance(item, dict) and len(path) < _DEPTH:
                    self.put((*path, name), item, origin)
                else:
                    table[name] = item
                    self._origins[(*path, name)] = origin
        else:
            self._table(path[:-1])[path[-1]] = value

    def _table(self, path: tuple[str, ...]) -> dict[str, Any]:
        """The table at `path`, made if it is missing."""
        table = self.tables
        for depth, name in enumerate(path, 1):
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise self.error(path[:depth], "must be a table")
        return table

    def get(self, path: tuple[str, ...]) -> Any:
        """The value at `path`, or None."""
        value: Any = self.tables
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def origin(self, path: KeyPath) -> Origin:
        """Where the key at `path` was given; of a key that was not, where the table around it was."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._origins:
                return self._origins[path[:length]]
        return self._default

    def error(self, path: KeyPath, reason: str) -> ConfigError:
        return ConfigError(self.origin(path).where, dotted(path), reason)


def load(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any] = {}) -> Config:
    """The configuration from file (None: no file), environment and flags (dotted key -> value; None: not given).

    Relative paths are made absolute: those of the file from its folder, the others from the current one. Raises
    `ConfigError`.
    """
    document = Document(Origin("configuration" if path is None else str(path), Path.cwd()))
    if path is not None:
        document.put((), read_toml(path), Origin(str(path), path.absolute().parent))
    for variable, key, value in _from_environment(environ):
        document.put(key, value, Origin(variable, Path.cwd()))
    for name, value in flags.items():
        if value is not None:
            _put_flag(document, name, value)
    return _convert(document)


def _convert(document: Document) -> Config:
    """Shapes, units, ranges, types; then the rules between keys and the files that are named."""
    _check(document)
    try:
        document.tables = configschema.normalise(document.tables)
    except configschema.BadValue as bad:
        raise document.error(bad.path, bad.reason) from None
    _check(document)
    _resolve_paths(document)
    tables = document.tables
    tables["listeners"] = {"public": Listener(), **tables.get("listeners", {})}
    tables["namespaces"] = {"default": Namespace(), **tables.get("namespaces", {})}
    try:
        config = msgspec.convert(tables, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(document.origin(()).where, "", str(error)) from None
    for path, reason in (*configrules.problems(config), *_unreadable(document)):
        raise document.error(path, reason)
    return config


def _check(document: Document) -> None:
    problem = configschema.problem_of(document.tables)
    if problem is not None:
        raise document.error(*problem)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file (UTF-8, at most 1 MiB). Raises `ConfigError` with the line."""
    data = _read(path, MAX_FILE_BYTES, str(path), "")
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(str(path), "", f"is not UTF-8 (at line {line})") from None
    except (ValueError, RecursionError) as error:  # ValueError: tomllib's own error, and int() on 4300 digits
        reason = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "a value is too large or too deep"
        raise ConfigError(str(path), "", f"is not valid TOML: {reason}") from None


def _read(path: Path, limit: int, where: str, key: str) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe could keep us waiting for ever
            raise ConfigError(where, key, "is not a file")
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ConfigError(where, key, f"can't be read: {_reason(error)}") from None
    if len(data) > limit:
        raise ConfigError(where, key, f"is larger than {limit} bytes")
    return data


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "not a usable file name"


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    """(variable, key, value) of every variable that is ours; tables before the keys in them."""
    given: dict[tuple[str, ...], str] = {}
    found: list[tuple[str, tuple[str, ...], Any]] = []
    for variable in sorted(name for name in environ if _is_ours(name, environ[name])):
        key, value = _read_variable(variable, environ[variable])
        if key in given:
            raise ConfigError(variable, dotted(key), f"is given by {given[key]} too")
        given[key] = variable
        found.append((variable, key, value))
    yield from sorted(found, key=lambda item: len(item[1]))


def _is_ours(variable: str, value: str) -> bool:
    if not variable.startswith(PREFIX) or variable in (CLIENT_TOKEN, CLIENT_API_KEY) or _KUBERNETES.fullmatch(variable):
        return False
    return not (variable == f"{PREFIX}PORT" and value.startswith("tcp://"))  # Kubernetes again


def _read_variable(variable: str, text: str) -> tuple[tuple[str, ...], Any]:
    """The key that a variable sets, and the value it gives to it."""
    key = tuple(variable.removeprefix(PREFIX).lower().split("__"))
    secret = (*key[:-1], key[-1].removesuffix("_file"))
    if secret != key and _takes_file(key, secret):
        data = _read(Path(text), MAX_SECRET_BYTES, variable, dotted(secret))
        try:
            return secret, data.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise ConfigError(variable, dotted(secret), "is not UTF-8") from None
    node = configschema.find(key)
    if node is None:
        variables = [PREFIX + "__".join(known).upper() for known in configschema.known_keys()]
        near = difflib.get_close_matches(variable, variables, n=1)
        raise ConfigError(variable, dotted(key), "unknown key" + (f"; did you mean {near[0]}?" if near else ""))
    return key, _parsed(variable, key, node, text)


def _takes_file(key: tuple[str, ...], secret: tuple[str, ...]) -> bool:
    """Does the `_FILE` at the end of `key` mean "the secret is in this file"? Not where it belongs to a key's name."""
    table = configschema.find(key[:-1])
    named = table is not None and key[-1] in configschema.resolve(table).get("properties", {})
    return not named and bool((configschema.find(secret) or {}).get("writeOnly"))


def _put_flag(document: Document, name: str, value: Any) -> None:
    where, key = "command line", tuple(name.split("."))
    node = configschema.find(key)
    if node is None:
        raise ConfigError(where, dotted(key), "unknown key")
    document.put(key, _parsed(where, key, node, value) if isinstance(value, str) else value, Origin(where, Path.cwd()))


def _parsed(where: str, key: KeyPath, node: Node, text: str) -> Any:
    try:
        return configschema.from_text(node, text)
    except ValueError as error:
        raise ConfigError(where, dotted(key), str(error)) from None


def _resolve_paths(document: Document) -> None:
    for path in (*FILE_KEYS, *FOLDER_KEYS):
        value = document.get(path)
        if value:
            document.put(path, str(document.origin(path).folder / value), document.origin(path))


def _unreadable(document: Document) -> Iterator[configschema.Problem]:
    """Files and folders that are named but can't be used."""
    for path in (*FILE_KEYS, *FOLDER_KEYS):
        value = document.get(path)
        if value:
            reason = _why_unreadable(value, folder=path in FOLDER_KEYS)
            if reason:
                yield path, reason


def _why_unreadable(name: str, *, folder: bool) -> str | None:
    try:
        mode = os.stat(name).st_mode
        if not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
            return "is not a folder" if folder else "is not a file"
        return None if os.access(name, os.R_OK | (os.X_OK if folder else 0)) else "can't be read: Permission denied"
    except (OSError, ValueError) as error:
        return f"can't be read: {_reason(error)}"

"""Payloads against JSON Schema (draft 2020-12), one schema a namespace and event.

    <schemas.folder>/<namespace>/<event>.json       the schema of an event
    <schemas.folder>/**/*.json                      what those refer to, by relative path or by `$id`

`folder.py` reads and checks the files, `explain.py` says what is wrong with a payload, this file puts them together.

Everything is read, checked and compiled when the server starts; nothing is fetched then or later. Regular expressions
run in linear time. `format` is an assertion for the formats in `folder.FORMATS`; others are refused at load, so that a
misspelt one is noticed. Recursive schemas are fine: the depth of a payload is bounded before it gets here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jsonschema_rs

from realtime_svc.config import Namespace
from realtime_svc.errors import ConfigError, ErrorCode, ReplyError
from realtime_svc.validation.explain import Explainer
from realtime_svc.validation.folder import OPTIONS, Document, Folder

__all__ = ["Schemas", "load_schemas"]

_EVENT = re.compile(r"[-A-Za-z0-9_.]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Event:
    validator: jsonschema_rs.Draft202012Validator
    uri: str


@dataclass(frozen=True, slots=True)
class _Events:
    """The events of one namespace."""

    by_name: Mapping[str, _Event]
    unknown: Literal["refuse", "allow"]


class Schemas:
    """A `core.ports.Validator`: all schemas, compiled."""

    __slots__ = ("_explainer", "_namespaces")

    def __init__(self, namespaces: Mapping[str, _Events], explainer: Explainer | None) -> None:
        self._namespaces = namespaces
        self._explainer = explainer

    def check(self, namespace: str, event: str, value: Any) -> None:
        """`value` is a payload as `core.payload.parse_json` decoded it.

        Raises `ReplyError` 107: "not valid: <JSON pointer>: <rule>", at most 200 characters, made of what the schema
        says and of array indexes; a key of the payload that no schema names is shown as `*`. Where the validator itself
        fails, the payload counts as not valid. Namespaces without schemas pass everything.
        """
        events = self._namespaces.get(namespace)
        if events is None:
            return
        compiled = events.by_name.get(event)
        if compiled is None:
            if events.unknown == "allow":
                return
            raise ReplyError(ErrorCode.BAD_REQUEST, "no schema for this event")
        try:
            valid = compiled.validator.is_valid(value)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a panic in the compiled part is no Exception
            valid = False
        if not valid:
            explanation = self._explainer.explain(compiled.uri, value) if self._explainer else "not valid"
            raise ReplyError(ErrorCode.BAD_REQUEST, explanation)


def load_schemas(folder: Path, namespaces: Mapping[str, Namespace]) -> Schemas:
    """Read, check and compile the schemas of all namespaces that have `schema` on.

    `folder` is `schemas.folder`; `Path()` means that none is set. Reads files, so it belongs before the reactor runs.
    Raises `ConfigError` with the file, and `schemas` plus a JSON pointer into it as the key.
    """
    wanted = {name: options for name, options in namespaces.items() if options.schema}
    for name, options in wanted.items():
        if options.payload != "json":
            raise ConfigError("", f"namespaces.{name}.schema", 'a schema needs payload = "json"')
        if folder == Path():
            raise ConfigError("", "schemas.folder", f"has to be set, because namespaces.{name}.schema is on")
    if not wanted:
        return Schemas({}, None)
    content = Folder(folder)
    explainer = Explainer(content)
    return Schemas({name: _events(content, explainer, name, options) for name, options in wanted.items()}, explainer)


def _events(content: Folder, explainer: Explainer, namespace: str, options: Namespace) -> _Events:
    """Compile the schema files that lie directly in a namespace's folder."""
    documents = content.directly_in(namespace)
    if not documents:
        reason = f"there is no schema file {content.root / namespace / '<event>.json'}"
        raise ConfigError("", f"namespaces.{namespace}.schema", reason)
    events = {}
    for document in documents:
        if not _EVENT.fullmatch(document.path.stem):
            raise ConfigError(str(document.path), "schemas", "not an event name: 1 to 64 of A-Z a-z 0-9 - _ .")
        events[document.path.stem] = _compile(content, explainer, document)
    return _Events(events, options.unknown_events)


def _compile(content: Folder, explainer: Explainer, document: Document) -> _Event:
    try:
        validator = jsonschema_rs.Draft202012Validator(
            document.schema, registry=content.registry, base_uri=document.uri, **OPTIONS
        )
        explainer.add(document)
    except (ValueError, jsonschema_rs.ReferencingError):
        reason = "can't be compiled; what has an `$id` of its own has to be referred to by that"
        raise ConfigError(str(document.path), "schemas", reason) from None
    return _Event(validator, document.uri)

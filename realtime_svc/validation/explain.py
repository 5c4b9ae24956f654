"""What is wrong with a payload, in a line that repeats nothing of it.

The verdict is not made here: `is_valid` of the compiled schema makes it, and remembers in a recursive schema what it
has looked at. Asking the same validator for its errors is another matter: it builds the error of every branch of every
`anyOf` and `oneOf`, which takes most of a second for 64 KiB and exponential time where a schema is recursive. So it is
asked about a copy of the schema in which each `anyOf`, `oneOf`, `$ref` and `$dynamicRef` stands inside two `not`s. That
means the same, but is answered with a plain yes or no. Where a reference is at fault, its target is asked next, about
the part of the payload that it is for.

`unevaluatedProperties` and `unevaluatedItems` are left out of the copy, since nothing inside a `not` counts as
evaluated. They are named when nothing else is found wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs
from jsonschema_rs import ValidationErrorKind as Kind

from realtime_svc.validation.folder import (
    IN_ARRAY,
    IN_OBJECT,
    IN_VALUE,
    OPTIONS,
    REFERENCES,
    UNEVALUATED,
    Document,
    Folder,
    join,
)

MAX_TEXT = 200

_MAX_STEPS = 64
_LEFT_OUT = frozenset(
    ("$anchor", "$comment", "$defs", "$dynamicAnchor", "$id", "$schema", "$vocabulary", "contentSchema", "definitions")
)
_BRANCHING = REFERENCES | {"anyOf", "oneOf"}
_ASKED_YES_OR_NO = frozenset(("contains", "if", "not"))
_LOST = object()


class Explainer:
    """Explains for the documents of one folder. What an explanation costs is bounded by `_MAX_STEPS` checks."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}
        self._unevaluated: dict[str, str] = {}
        self._names: dict[str, frozenset[str]] = {}

    def add(self, document: Document) -> None:
        """Compile what is needed to explain errors against this document and all that it refers to."""
        documents = {document.uri: document}
        self._compile(document.uri, document.schema, document.uri)
        waiting = [document]
        while waiting:
            current = waiting.pop()
            for reference in self._folder.references:
                if reference.document is not current:
                    continue
                target, schema, base = self._folder.targets[reference.uri]
                self._compile(reference.uri, schema, base)
                if target.uri not in documents:
                    documents[target.uri] = target
                    waiting.append(target)
        self._names[document.uri] = frozenset().union(*(found.names for found in documents.values()))

    def explain(self, uri: str, value: Any) -> str:
        """Why `value` is not valid against the document with this `uri`: path and rule, at most 200 characters."""
        path: list[str | int] = []
        rule = ""
        target = uri
        for _ in range(_MAX_STEPS):
            error = self._first_error(target, value)
            if error is None:
                rule = self._unevaluated.get(target, "")
                break
            rule, reference = _rule(error)
            value = _follow(value, error.instance_path, path)
            if reference is None or value is _LOST:
                break
            target = reference
        return _text(path, rule, self._names[uri])

    def _first_error(self, target: str, value: Any) -> jsonschema_rs.ValidationError | None:
        try:
            self._validators[target].validate(value)
        except jsonschema_rs.ValidationError as error:
            return error
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a panic in the compiled part is no Exception
            return None
        return None

    def _compile(self, target: str, schema: Any, base: str) -> None:
        """`base` is the base URI inside of `schema`, so its own `$id` has had its say."""
        if target in self._validators:
            return
        if isinstance(schema, dict):
            schema = {keyword: value for keyword, value in schema.items() if keyword != "$id"}
            self._unevaluated[target] = " or ".join(sorted(UNEVALUATED & schema.keys()))
        copy = askable(schema, base, split=True)
        self._validators[target] = jsonschema_rs.Draft202012Validator(copy, registry=self._folder.registry, **OPTIONS)


def askable(schema: Any, base: str, *, split: bool) -> Any:
    """A copy of `schema` that stands on its own: absolute references, no names that could be referred to.

    `split`: it is going to be asked for its errors, so what branches goes into two `not`s.
    """
    if isinstance(schema, bool):
        return schema
    base = join(base, schema.get("$id", "#"))
    copy: dict[str, Any] = {}
    branching: list[dict[str, Any]] = []
    for keyword, value in schema.items():
        if keyword in _LEFT_OUT or (split and keyword in UNEVALUATED):
            continue
        inner = split and keyword not in _ASKED_YES_OR_NO and keyword not in _BRANCHING
        new = _with_askable(keyword, value, base, split=inner)
        if split and keyword in _BRANCHING:
            branching.append({"not": {"not": {keyword: new}}})
        else:
            copy[keyword] = new
    if branching:
        copy["allOf"] = [*copy.get("allOf", ()), *branching]
    return copy


def _with_askable(keyword: str, value: Any, base: str, *, split: bool) -> Any:
    if keyword in REFERENCES:
        return join(base, value)
    if keyword in IN_VALUE:
        return askable(value, base, split=split)
    if keyword in IN_ARRAY:
        return [askable(child, base, split=split) for child in value]
    if keyword in IN_OBJECT:
        return {name: askable(child, base, split=split) for name, child in value.items()}
    return value


def _follow(value: Any, way: list[str | int], path: list[str | int]) -> Any:
    """The part of `value` that `way` leads to. `path` grows by array indexes (int) and object keys (str).

    The validator gives an object key that looks like a number as a number, so the value decides which of both it is.
    Where that leads nowhere (the key was "007"), the result is `_LOST`.
    """
    for part in way:
        if isinstance(value, dict):
            path.append(str(part))
            value = value.get(str(part), _LOST)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            path.append(part)
            value = value[part]
        else:
            return _LOST
    return value


def _rule(error: jsonschema_rs.ValidationError) -> tuple[str, str | None]:
    """The keyword that failed with its parameter, both from the schema; and the reference to ask next, if it is one."""
    kind = error.kind
    match kind:
        case Kind.Type(types=types):
            return f"type {' or '.join(types)}", None
        case Kind.Required(property=name):
            return f"required {name}", None
        case Kind.Format(format=name):
            return f"format {name}", None
        case Kind.MultipleOf(multiple_of=number):
            return f"multipleOf {number}", None
        case Kind.FalseSchema():
            alone = error.schema_path[-1:] == ["additionalProperties"]
            return "additionalProperties" if alone else "not allowed", None
        case Kind.Not(schema=schema):
            return _rule_inside(schema)
    limit = getattr(kind, "limit", None)
    return (kind.name if limit is None else f"{kind.name} {limit}"), None


def _rule_inside(schema: Any) -> tuple[str, str | None]:
    """Was it one of our own `not`s? Then the rule is what stands inside."""
    inner = schema.get("not") if isinstance(schema, Mapping) else None
    keyword = next(iter(inner)) if isinstance(inner, Mapping) and len(inner) == 1 else ""
    if keyword not in _BRANCHING:
        return "not", None
    return keyword, inner[keyword] if keyword in REFERENCES and isinstance(inner, Mapping) else None


def _text(path: list[str | int], rule: str, names: frozenset[str]) -> str:
    """Only what the schema names is shown: a key that it does not know came from the client."""
    shown = Folder.pointer(part if isinstance(part, int) or part in names else "*" for part in path)
    text = ": ".join(part for part in ("not valid", shown or "the payload", rule) if part)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"

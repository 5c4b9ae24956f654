"""The files of the schema folder: read strictly, checked against the metaschema, their references resolved.

Inside this program a file has the address `https://schemas.invalid/folder/<path>` (RFC 2606 2: that host never exists),
so a relative reference from one file to another means what it looks like, and one that leads out of the folder leads
nowhere. All that can be referred to is in memory before anything is resolved; there is no code here that could fetch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urljoin

import jsonschema
import jsonschema_rs
import referencing.exceptions
from referencing.jsonschema import DRAFT202012

from realtime_svc.core.payload import parse_json
from realtime_svc.errors import ConfigError, ReplyError

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_FILE_SIZE = 1024 * 1024
MAX_DEPTH = 64
FORMATS = frozenset(
    "date date-time duration email hostname ipv4 ipv6 json-pointer time uri uri-reference uuid".split()  # noqa: SIM905
)
# Linear-time regular expressions (no look-around, no back-references), and no way to any file or network.
OPTIONS: dict[str, Any] = {
    "offline": True,
    "pattern_options": jsonschema_rs.RegexOptions(),
    "validate_formats": True,
    "ignore_unknown_formats": False,
}

# Where schemas stand inside a schema (JSON Schema 2020-12 Core 10, 11; Validation 8).
UNEVALUATED = frozenset(("unevaluatedItems", "unevaluatedProperties"))
IN_VALUE = UNEVALUATED | frozenset(
    ("additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames", "then")
)
IN_ARRAY = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
IN_OBJECT = frozenset(("$defs", "definitions", "dependentSchemas", "patternProperties", "properties"))
REFERENCES = frozenset(("$ref", "$dynamicRef"))

_BASE = "https://schemas.invalid/folder/"
_METASCHEMA = jsonschema.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA)
_URI_REFERENCE = jsonschema_rs.Draft202012Validator({"format": "uri-reference"}, **OPTIONS)
_Pointer = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """One file. `uri` is its `$id`, or else its address. `names` holds every property name its schemas speak of."""

    path: Path
    schema: dict[str, Any] | bool
    uri: str
    names: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Reference:
    """A `$ref` or `$dynamicRef`: where it stands, and the absolute address it names."""

    document: Document
    pointer: _Pointer
    uri: str


def join(base: str, reference: str) -> str:
    """Resolve a URI reference. A fragment alone keeps the base as it is, also where that is a URN."""
    return base.partition("#")[0] + reference if reference.startswith("#") else urljoin(base, reference)


class Folder:
    """All schema files of a folder. Raises `ConfigError` for the first thing that is wrong with one of them.

    `targets` maps the address of each reference to (document, schema, base URI of that schema). `registry` is what the
    compiled validators look references up in.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.documents: list[Document] = []
        self.references: list[Reference] = []
        self.targets: dict[str, tuple[Document, Any, str]] = {}
        self._places: dict[int, tuple[Document, str]] = {}  # id(schema) -> its file, its base URI
        self._owners: dict[str, Document] = {}  # by address
        addresses = {}
        for path in _schema_files(root):
            addresses[_BASE + quote(path.relative_to(root).as_posix())] = path
        for address, path in addresses.items():
            self._add(address, path)
        self._resolve(dict(zip(addresses, self.documents, strict=True)))

    def directly_in(self, namespace: str) -> list[Document]:
        """The files of a sub-folder, not those deeper down."""
        return [document for document in self.documents if document.path.parent == self.root / namespace]

    @staticmethod
    def pointer(path: Iterable[str | int]) -> str:
        """A JSON pointer (RFC 6901)."""
        return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)

    def _add(self, address: str, path: Path) -> None:
        """Read one file, check it, and take note of what is in it."""
        schema = _read(path)
        self._check_dialect(path, schema)
        document = Document(path, schema, self._base(path, schema, address, ()))
        self.documents.append(document)
        self._claim(document, address, ())
        self._walk(document, schema, address, ())

    def _check_dialect(self, path: Path, schema: Any) -> None:
        """Is this a schema of draft 2020-12? The metaschema has the last word."""
        dialect = schema.get("$schema", DIALECT) if isinstance(schema, dict) else DIALECT
        if dialect != DIALECT:
            raise ConfigError(str(path), "schemas/$schema", f"has to be {DIALECT}")
        try:
            error = jsonschema.exceptions.best_match(_METASCHEMA.iter_errors(schema))
        except RecursionError:
            raise ConfigError(str(path), "schemas", "the schemas in it are nested too deeply") from None
        if error is not None:
            pointer = self.pointer(error.absolute_path)
            raise ConfigError(str(path), f"schemas{pointer}", f"not a valid schema (metaschema: {error.validator})")

    def _walk(self, document: Document, schema: Any, base: str, pointer: _Pointer) -> None:
        """Take note of a schema and of all schemas in it. The metaschema has vouched for the types."""
        if isinstance(schema, bool):
            return
        if "$id" in schema:
            outer, base = base, self._base(document.path, schema, base, pointer)
            if base != outer:
                self._claim(document, base, (*pointer, "$id"))
        self._places[id(schema)] = (document, base)
        self._check_keywords(document, schema, pointer)
        _collect_names(document.names, schema)
        for keyword in REFERENCES & schema.keys():
            _check_uri(document.path, schema[keyword], (*pointer, keyword))
            self.references.append(Reference(document, (*pointer, keyword), join(base, schema[keyword])))
        for step, child in children(schema):
            self._walk(document, child, base, (*pointer, *step))

    def _claim(self, document: Document, uri: str, pointer: _Pointer) -> None:
        """An address belongs to one schema only."""
        if uri.startswith("https://json-schema.org/"):
            _refuse(document.path, pointer, "is an address of the JSON Schema specification")
        if uri in self._owners:
            _refuse(document.path, pointer, f"is also the address of a schema in {self._owners[uri].path}")
        self._owners[uri] = document

    def _check_keywords(self, document: Document, schema: dict[str, Any], pointer: _Pointer) -> None:
        """What the metaschema leaves open: other dialects further in, unknown formats, expressions we can't run."""
        if schema.get("$schema", DIALECT) != DIALECT:
            _refuse(document.path, (*pointer, "$schema"), f"has to be {DIALECT}")
        if schema.get("format", "date") not in FORMATS:
            _refuse(
                document.path, (*pointer, "format"), f"not a format that is checked here: {', '.join(sorted(FORMATS))}"
            )
        if "dependencies" in schema:
            reason = "not in draft 2020-12: use `dependentSchemas` or `dependentRequired`"
            _refuse(document.path, (*pointer, "dependencies"), reason)
        if "pattern" in schema:
            _check_pattern(document, schema["pattern"], (*pointer, "pattern"))
        for pattern in schema.get("patternProperties", ()):
            _check_pattern(document, pattern, (*pointer, "patternProperties", pattern))

    def _base(self, path: Path, schema: Any, base: str, pointer: _Pointer) -> str:
        """The base URI inside of a schema: its `$id`, or what it is around it."""
        if isinstance(schema, bool) or "$id" not in schema:
            return base
        _check_uri(path, schema["$id"], (*pointer, "$id"))
        return join(base, schema["$id"]).partition("#")[0]

    def _resolve(self, addresses: dict[str, Document]) -> None:
        """Find the target of every reference, with what was read and nothing else."""
        resources = [(uri, DRAFT202012.create_resource(document.schema)) for uri, document in addresses.items()]
        registry: referencing.Registry[Any] = referencing.Registry().with_resources(resources).crawl()
        for reference in self.references:
            try:
                target = registry.resolver().lookup(reference.uri).contents
            except (referencing.exceptions.Unresolvable, ValueError, TypeError):
                _refuse(reference.document.path, reference.pointer, "refers to nothing in the schema folder")
            if isinstance(target, bool):
                self.targets[reference.uri] = (reference.document, target, "")
            elif id(target) in self._places:
                document, base = self._places[id(target)]
                self.targets[reference.uri] = (document, target, base)
            else:
                _refuse(reference.document.path, reference.pointer, "refers to something that is not a schema")
        content = [(uri, document.schema) for uri, document in addresses.items()]
        self.registry = jsonschema_rs.Registry(content, draft=jsonschema_rs.Draft202012, retriever=retrieve)


def children(schema: dict[str, Any]) -> Iterator[tuple[_Pointer, Any]]:
    """The schemas directly inside a schema, each with the way to it."""
    for keyword, value in schema.items():
        if keyword in IN_VALUE:
            yield (keyword,), value
        elif keyword in IN_ARRAY:
            for index, child in enumerate(value):
                yield (keyword, index), child
        elif keyword in IN_OBJECT:
            for name, child in value.items():
                yield (keyword, name), child


def _collect_names(names: set[str], schema: dict[str, Any]) -> None:
    names.update(schema.get("properties", ()), schema.get("required", ()), schema.get("dependentSchemas", ()))
    for name, others in schema.get("dependentRequired", {}).items():
        names.update((name, *others))


def _check_uri(path: Path, reference: str, pointer: _Pointer) -> None:
    if not _URI_REFERENCE.is_valid(reference):
        _refuse(path, pointer, "not a URI reference (RFC 3986)")


def _check_pattern(document: Document, pattern: str, pointer: _Pointer) -> None:
    try:
        jsonschema_rs.Draft202012Validator({"pattern": pattern}, **OPTIONS)
    except ValueError:
        reason = "not a regular expression, or none that runs in linear time (look-around, back-reference, size)"
        _refuse(document.path, pointer, reason)


def _schema_files(root: Path) -> Iterator[Path]:
    """Every `*.json` file below `root`. Hidden files and folders are passed over; links must not lead out of it."""
    if not root.is_dir():
        raise ConfigError(str(root), "schemas.folder", "not a folder that can be read")
    real_root = os.path.realpath(root)
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True, onerror=_refuse_folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        real = os.path.realpath(folder)
        if not Path(real).is_relative_to(real_root) or real in seen:
            raise ConfigError(folder, "schemas.folder", "a link out of the schema folder, or to another part of it")
        seen.add(real)
        for path in (Path(folder, name) for name in sorted(files) if not name.startswith(".")):
            if path.suffix != ".json":
                continue
            if not Path(os.path.realpath(path)).is_relative_to(real_root):
                raise ConfigError(str(path), "schemas.folder", "a link out of the schema folder")
            yield path


def _refuse_folder(error: OSError) -> NoReturn:
    raise ConfigError(str(error.filename), "schemas.folder", error.strerror or "can't be read")


def _read(path: Path) -> Any:
    """One JSON document, without duplicate keys."""
    if not path.is_file():
        raise ConfigError(str(path), "schemas", "not a regular file")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        raise ConfigError(str(path), "schemas", error.strerror or "can't be read") from None
    if len(data) > MAX_FILE_SIZE:
        raise ConfigError(str(path), "schemas", f"larger than {MAX_FILE_SIZE} bytes")
    try:
        parse_json(data, MAX_DEPTH)
    except ReplyError:
        raise ConfigError(str(path), "schemas", f"not valid JSON (RFC 8259) of at most {MAX_DEPTH} levels") from None
    return json.loads(data, object_pairs_hook=lambda pairs: _object(path, pairs))


def _object(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ConfigError(str(path), "schemas", "an object has the same key twice")
    return value


def _refuse(path: Path, pointer: _Pointer, reason: str) -> NoReturn:
    raise ConfigError(str(path), f"schemas{Folder.pointer(pointer)}", reason)


def retrieve(uri: str) -> NoReturn:
    """Never needed: every reference was resolved before. Whatever asks nevertheless is refused."""
    raise LookupError("references are never fetched")

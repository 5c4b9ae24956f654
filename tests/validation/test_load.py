"""What a schema folder may hold, and how everything else is refused when it is loaded."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from realtime_svc.config import Namespace
from realtime_svc.errors import ConfigError
from realtime_svc.validation import load_schemas
from realtime_svc.validation.folder import retrieve
from tests.validation.folders import CHAT, SHIPPED, SchemaTestCase

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NOWHERE = "refers to nothing in the schema folder"
NO_SCHEMA = "refers to something that is not a schema"
NO_URI = "not a URI reference"
NO_REGEX = "not a regular expression, or none that runs in linear time"
INVALID = "not a valid schema"
NO_JSON = "not valid JSON"

# (schema of chat/message.json, the key that is named, how the reason starts)
REFUSED: list[tuple[Any, str, str]] = [
    # JSON
    (b"", "schemas", NO_JSON),
    (b"{", "schemas", NO_JSON),
    (b"{} {}", "schemas", NO_JSON),
    (b"\xef\xbb\xbf{}", "schemas", NO_JSON),
    (b'{"title": "\xff"}', "schemas", NO_JSON),
    (b'{"title": "\\ud800"}', "schemas", NO_JSON),
    (b'{"maximum": NaN}', "schemas", NO_JSON),
    (b'{"maximum": 1e400}', "schemas", NO_JSON),
    (b'{"maximum": 111111111111111111111}', "schemas", NO_JSON),
    (b'{"type":"string","type":"object"}', "schemas", "an object has the same key twice"),
    (b'{"properties":{"a":{"enum":[{"x":1,"x":1}]}}}', "schemas", "an object has the same key twice"),
    (b'{"not":' * 65 + b"{}" + b"}" * 65, "schemas", NO_JSON),
    (b"{}" + b" " * 2**20, "schemas", "larger than 1048576 bytes"),
    # the metaschema
    (5, "schemas", INVALID),
    ([], "schemas", INVALID),
    (None, "schemas", INVALID),
    ({"type": "strin"}, "schemas/type", INVALID),
    ({"properties": []}, "schemas/properties", INVALID),
    ({"properties": {"a/b~": {"minLength": -1}}}, "schemas/properties/a~1b~0/minLength", INVALID),
    ({"allOf": [{}, {"multipleOf": 0}]}, "schemas/allOf/1/multipleOf", INVALID),
    ({"required": "a"}, "schemas/required", INVALID),
    ({"$ref": 5}, "schemas/$ref", INVALID),
    ({"$anchor": "with space"}, "schemas/$anchor", INVALID),
    # other dialects
    ({"$schema": "http://json-schema.org/draft-07/schema#"}, "schemas/$schema", f"has to be {DIALECT}"),
    ({"$schema": "https://json-schema.org/draft/2019-09/schema"}, "schemas/$schema", f"has to be {DIALECT}"),
    ({"$schema": 7}, "schemas/$schema", f"has to be {DIALECT}"),
    ({"items": {"$schema": "urn:x"}}, "schemas/items/$schema", f"has to be {DIALECT}"),
    ({"dependencies": {"a": ["b"]}}, "schemas/dependencies", "not in draft 2020-12"),
    # references
    ({"$ref": "http://127.0.0.1/x.json"}, "schemas/$ref", NOWHERE),
    ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, "schemas/$ref", NOWHERE),
    ({"$ref": "file:///etc/passwd"}, "schemas/$ref", NOWHERE),
    ({"$ref": "/etc/passwd"}, "schemas/$ref", NOWHERE),
    ({"$ref": "../outside.json"}, "schemas/$ref", NOWHERE),
    ({"$ref": "../../chat/message.json"}, "schemas/$ref", NOWHERE),
    ({"$ref": "other.json"}, "schemas/$ref", NOWHERE),
    ({"$ref": "urn:other"}, "schemas/$ref", NOWHERE),
    ({"$ref": "#/$defs/a"}, "schemas/$ref", NOWHERE),
    ({"$ref": "#/type/a", "type": "object"}, "schemas/$ref", NOWHERE),
    ({"$ref": "#/minimum/a", "minimum": 1}, "schemas/$ref", NOWHERE),
    ({"$ref": "#anchor"}, "schemas/$ref", NOWHERE),
    ({"$dynamicRef": "#anchor"}, "schemas/$dynamicRef", NOWHERE),
    ({"anyOf": [{"items": {"$ref": "#/x"}}]}, "schemas/anyOf/0/items/$ref", NOWHERE),
    ({"contentSchema": {"$ref": "http://127.0.0.1/"}}, "schemas/contentSchema/$ref", NOWHERE),
    ({"$id": "sub/", "$ref": "message.json"}, "schemas/$ref", NOWHERE),
    ({"$ref": "#/const", "const": {"type": "string"}}, "schemas/$ref", NO_SCHEMA),
    ({"$ref": "#/title/0", "title": "abc"}, "schemas/$ref", NO_SCHEMA),
    ({"$ref": "#/x-mine", "x-mine": {"type": "string"}}, "schemas/$ref", NO_SCHEMA),
    ({"$ref": "http://["}, "schemas/$ref", NO_URI),
    ({"$ref": "#/%zz"}, "schemas/$ref", NO_URI),
    ({"$ref": "a b.json"}, "schemas/$ref", NO_URI),
    # addresses
    ({"$id": "http://["}, "schemas/$id", NO_URI),
    ({"$id": "::"}, "schemas/$id", NO_URI),
    ({"$defs": {"a": {"$id": "x"}, "b": {"$id": "x"}}}, "schemas/$defs/b/$id", "is also the address of a schema in "),
    ({"$id": DIALECT}, "schemas/$id", "is an address of the JSON Schema specification"),
    # regular expressions
    ({"pattern": "(?=a)b"}, "schemas/pattern", NO_REGEX),
    ({"pattern": "(?<!a)b"}, "schemas/pattern", NO_REGEX),
    ({"pattern": r"(a)\1"}, "schemas/pattern", NO_REGEX),
    ({"pattern": "("}, "schemas/pattern", NO_REGEX),
    ({"pattern": "((a{1000}){1000}){1000}"}, "schemas/pattern", NO_REGEX),
    ({"patternProperties": {"^(?!a)": {}}}, "schemas/patternProperties/^(?!a)", NO_REGEX),
    # formats
    ({"format": "dat"}, "schemas/format", "not a format that is checked here: date, date-time, "),
    ({"properties": {"a": {"format": "regex"}}}, "schemas/properties/a/format", "not a format that is checked here"),
]


class RefusedFileTests(SchemaTestCase):
    """A file that is refused: the error names it, the place in it, and the reason."""

    def refusal(self, root: Path, namespaces: Mapping[str, Namespace] = CHAT) -> ConfigError:
        with self.assertRaises(ConfigError) as caught:
            load_schemas(root, namespaces)
        error = caught.exception
        assert isinstance(error, ConfigError)
        return error

    def test_each_is_refused_with_its_place(self) -> None:
        for schema, key, reason in REFUSED:
            root = self.folder({"chat/message.json": schema})
            error = self.refusal(root)
            self.assertEqual((error.where, error.key), (str(root / "chat" / "message.json"), key), schema)
            self.assertTrue(error.reason.startswith(reason), error.reason)

    def test_a_file_that_no_event_uses_is_checked_too(self) -> None:
        root = self.folder({"chat/message.json": True, "defs/a.json": {"type": "strin"}})
        self.assertEqual(self.refusal(root).where, str(root / "defs" / "a.json"))

    def test_two_files_with_one_address(self) -> None:
        root = self.folder({"chat/message.json": True, "chat/other.json": {"$id": "message.json"}})
        error = self.refusal(root)
        self.assertEqual((error.where, error.key), (str(root / "chat" / "other.json"), "schemas/$id"))
        self.assertIn(str(root / "chat" / "message.json"), error.reason)

    def test_an_event_name_follows_its_grammar(self) -> None:
        for name in ("with space", "é", "a" * 65, "a+b"):
            error = self.refusal(self.folder({f"chat/{name}.json": True}))
            self.assertTrue(error.reason.startswith("not an event name"), name)

    def test_a_file_that_can_not_be_compiled(self) -> None:
        """What only the compiler finds: a relative reference in a file that was reached by its other name."""
        other = {"$id": "http://example.com/", "$defs": {"x": {"$ref": "y"}, "y": {"$id": "y", "type": "string"}}}
        root = self.folder({"chat/message.json": {"$ref": "../other.json#/$defs/x"}, "other.json": other})
        error = self.refusal(root)
        self.assertEqual((error.where, error.key), (str(root / "chat" / "message.json"), "schemas"))
        self.assertIn("can't be compiled", error.reason)

    def test_nesting_that_the_stack_has_no_room_for(self) -> None:
        root = self.folder({"chat/message.json": b'{"not":' * 60 + b"{}" + b"}" * 60})
        self.addCleanup(sys.setrecursionlimit, sys.getrecursionlimit())
        sys.setrecursionlimit(400)
        self.assertEqual(self.refusal(root).reason, "the schemas in it are nested too deeply")

    def test_nothing_of_a_value_is_in_the_reason(self) -> None:
        for schema in ({"minLength": "canary"}, {"type": "canary"}, {"$ref": "#canary"}, {"pattern": "(canary"}):
            self.assertNotIn("canary", self.refusal(self.folder({"chat/message.json": schema})).reason)

    def test_what_is_not_a_regular_file(self) -> None:
        """A named pipe would hold up the start until somebody writes to it."""
        root = self.folder({"chat/message.json": True})
        os.mkfifo(root / "chat" / "pipe.json")
        self.assertEqual(self.refusal(root).reason, "not a regular file")

    def test_a_link_to_itself(self) -> None:
        root = self.folder({"chat/message.json": True})
        (root / "chat" / "loop.json").symlink_to("loop.json")
        error = self.refusal(root)
        self.assertEqual((error.where, error.reason), (str(root / "chat" / "loop.json"), "not a regular file"))

    def test_a_file_or_folder_that_may_not_be_read(self) -> None:
        """The refusal is simulated: the tests may run as root."""

        def deny(path: Any, *arguments: Any) -> NoReturn:
            raise PermissionError(13, "Permission denied", str(path))

        root = self.folder({"chat/message.json": True})
        self.patch(Path, "open", deny)
        error = self.refusal(root)
        self.assertEqual((error.where, error.reason), (str(root / "chat" / "message.json"), "Permission denied"))
        self.patch(os, "scandir", deny)
        error = self.refusal(root)
        self.assertEqual((error.where, error.key, error.reason), (str(root), "schemas.folder", "Permission denied"))


class LinkTests(SchemaTestCase):
    """Links stay inside of the folder."""

    def refused(self, root: Path) -> bool:
        with self.assertRaises(ConfigError) as caught:
            load_schemas(root, CHAT)
        return caught.exception.key == "schemas.folder" and "a link" in caught.exception.reason

    def test_a_link_to_a_file_outside(self) -> None:
        root, outside = self.folder({"chat/message.json": True}), self.folder({"a.json": True})
        (root / "chat" / "a.json").symlink_to(outside / "a.json")
        self.assertTrue(self.refused(root))

    def test_a_link_to_a_folder_outside(self) -> None:
        root, outside = self.folder({"chat/message.json": True}), self.folder({"a.json": True})
        (root / "more").symlink_to(outside)
        self.assertTrue(self.refused(root))

    def test_a_link_in_a_circle(self) -> None:
        root = self.folder({"chat/message.json": True})
        (root / "chat" / "up").symlink_to("..")
        self.assertTrue(self.refused(root))

    def test_a_folder_mounted_by_links_through_a_hidden_one(self) -> None:
        """How Kubernetes mounts a ConfigMap: everything is a link into `..data`, which is a link itself."""
        root = self.folder(
            {"..2026/chat/message.json": {"$ref": "../common.json"}, "..2026/common.json": {"type": "null"}}
        )
        (root / "..data").symlink_to("..2026")
        (root / "chat").symlink_to("..data/chat")
        (root / "common.json").symlink_to("..data/common.json")
        schemas = load_schemas(root, CHAT)
        self.assertEqual(self.verdict(schemas, 1), "not valid: the payload: type null")


class NamespaceTests(SchemaTestCase):
    """The configuration and the folder have to fit."""

    def refusal(self, root: Path, namespaces: Mapping[str, Namespace]) -> tuple[str, str]:
        with self.assertRaises(ConfigError) as caught:
            load_schemas(root, namespaces)
        return caught.exception.key, caught.exception.reason

    def test_a_namespace_without_schema_files(self) -> None:
        for files in ({"other/message.json": True}, {"message.json": True}, {"chat/deeper/message.json": True}):
            key, reason = self.refusal(self.folder(files), CHAT)
            self.assertEqual(key, "namespaces.chat.schema", files)
            self.assertIn("there is no schema file", reason)

    def test_a_namespace_of_bytes(self) -> None:
        namespaces = {"chat": Namespace(schema=True, payload="bytes")}
        key, _ = self.refusal(self.folder({"chat/message.json": True}), namespaces)
        self.assertEqual(key, "namespaces.chat.schema")

    def test_no_folder_set(self) -> None:
        key, reason = self.refusal(Path(""), CHAT)
        self.assertEqual(key, "schemas.folder")
        self.assertIn("namespaces.chat.schema", reason)

    def test_a_folder_that_is_not_there(self) -> None:
        key, _ = self.refusal(Path(self.mktemp()), CHAT)
        self.assertEqual(key, "schemas.folder")

    def test_nothing_is_read_where_no_namespace_has_schemas(self) -> None:
        schemas = load_schemas(Path("/nonexistent"), {"chat": Namespace()})
        self.assertEqual(self.verdict(schemas, object()), "")

    def test_a_namespace_that_is_off_has_no_schemas_beside_one_that_is_on(self) -> None:
        root = self.folder({"chat/message.json": False, "news/message.json": False})
        schemas = load_schemas(root, {"chat": Namespace(), "news": Namespace(schema=True)})
        self.assertEqual(self.verdict(schemas, 1), "")


class AcceptedTests(SchemaTestCase):
    """What a reference may be."""

    def test_references_reach_every_file_of_the_folder(self) -> None:
        cases: dict[str, dict[str, Any]] = {
            "../common.json": {"common": {"type": "null"}},
            "../common.json#/$defs/a%20b~1c": {"common": {"$defs": {"a b/c": {"type": "null"}}}},
            "../common.json#name": {"common": {"$defs": {"a": {"$anchor": "name", "type": "null"}}}},
            "../a%20b.json": {"a b": {"type": "null"}},
            "http://example.com/x#/$defs/a": {"y": {"$id": "http://example.com/x", "$defs": {"a": {"type": "null"}}}},
            "urn:example:x": {"y": {"$id": "urn:example:x", "$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}}},
            "../deep/": {
                "common": {"$defs": {"x": {"$id": "deep/", "$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}}}}
            },
            "chain.json": {"chat/chain": {"$ref": "../common.json"}, "common": {"type": "null"}},
        }
        for reference, others in cases.items():
            schemas = self.load({"$ref": reference}, **others)
            self.assertEqual(self.verdict(schemas, None), "", reference)
            self.assertEqual(self.verdict(schemas, 1), "not valid: the payload: type null", reference)

    def test_what_only_looks_like_a_reference_is_left_alone(self) -> None:
        looks = {"$ref": "http://127.0.0.1/", "$id": "::", "$schema": "x"}
        schemas = self.load({"enum": [looks], "default": looks, "x-mine": looks})
        self.assertEqual(self.verdict(schemas, looks), "")

    def test_properties_may_have_the_names_of_keywords(self) -> None:
        schemas = self.load({"properties": {"$ref": {"type": "null"}, "pattern": {"type": "null"}}})
        self.assertEqual(self.verdict(schemas, {"$ref": 1}), "not valid: /$ref: type null")

    def test_nothing_opens_a_socket(self) -> None:
        def refuse(*arguments: Any, **options: Any) -> NoReturn:
            raise AssertionError("a socket was opened")

        self.patch(socket, "socket", refuse)
        self.patch(socket, "getaddrinfo", refuse)
        for reference in ("http://127.0.0.1:9/", "https://example.com/", "ftp://127.0.0.1/", "file:///etc/hostname"):
            self.assertRaises(ConfigError, self.load, {"$ref": reference})

    def test_whatever_asks_for_more_gets_an_exception(self) -> None:
        """The last line of defence: the compiled validators are told to fetch with this."""
        self.assertRaises(LookupError, retrieve, "http://127.0.0.1/")

    def test_other_files_are_passed_over(self) -> None:
        files = {"chat/message.json": True, "README.md": b"text", "chat/.hidden.json": b"{", ".git/a.json": b"{"}
        self.assertEqual(self.verdict(load_schemas(self.folder(files), CHAT), 1), "")

    def test_the_shipped_schemas_load(self) -> None:
        schemas = load_schemas(SHIPPED, CHAT)
        self.assertEqual(self.verdict(schemas, {"text": "hello", "user": {"id": "u1"}}), "")
        self.assertEqual(self.verdict(schemas, {"typing": True}, "typing"), "")

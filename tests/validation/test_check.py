"""Verdicts on payloads, and the line that says what is wrong with one."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import jsonschema_rs
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_svc.config import Namespace
from realtime_svc.core.payload import parse_json
from realtime_svc.errors import ErrorCode, ReplyError
from realtime_svc.validation import load_schemas
from realtime_svc.validation.explain import askable
from tests.validation.folders import CHAT, SHIPPED, SchemaTestCase, verdict

CANARY = "canary-7f3a"

# (schema, payload, what is said after "not valid: ")
SAID: list[tuple[Any, Any, str]] = [
    (False, 1, "the payload: not allowed"),
    ({"type": "object"}, [], "the payload: type object"),
    ({"type": ["object", "null"]}, 1, "the payload: type null or object"),
    ({"enum": ["a", "b"]}, CANARY, "the payload: enum"),
    ({"const": "a"}, CANARY, "the payload: const"),
    ({"maxLength": 3}, CANARY, "the payload: maxLength 3"),
    ({"minLength": 300}, CANARY, "the payload: minLength 300"),
    ({"pattern": "^a+$"}, CANARY, "the payload: pattern"),
    ({"format": "uuid"}, CANARY, "the payload: format uuid"),
    ({"minimum": 3}, 1, "the payload: minimum 3"),
    ({"maximum": 3.5}, 4, "the payload: maximum 3.5"),
    ({"exclusiveMinimum": 3}, 3, "the payload: exclusiveMinimum 3"),
    ({"exclusiveMaximum": 3}, 3, "the payload: exclusiveMaximum 3"),
    ({"multipleOf": 3}, 4, "the payload: multipleOf 3"),
    ({"minItems": 1}, [], "the payload: minItems 1"),
    ({"maxItems": 1}, [1, 2], "the payload: maxItems 1"),
    ({"uniqueItems": True}, [CANARY, CANARY], "the payload: uniqueItems"),
    ({"contains": {"const": 1}}, [CANARY], "the payload: contains"),
    ({"prefixItems": [True], "items": False}, [1, CANARY], "/1: not allowed"),
    ({"prefixItems": [True, {"type": "null"}]}, [1, CANARY], "/1: type null"),
    ({"items": {"type": "null"}}, [None, None, CANARY], "/2: type null"),
    ({"minProperties": 1}, {}, "the payload: minProperties 1"),
    ({"maxProperties": 0}, {CANARY: 1}, "the payload: maxProperties 0"),
    ({"required": ["a"]}, {CANARY: 1}, "the payload: required a"),
    ({"dependentRequired": {"a": ["b"]}}, {"a": CANARY}, "the payload: required b"),
    ({"dependentSchemas": {"a": {"required": ["b"]}}}, {"a": CANARY}, "the payload: required b"),
    ({"additionalProperties": False}, {CANARY: 1}, "the payload: additionalProperties"),
    ({"additionalProperties": {"type": "null"}}, {CANARY: 1}, "/*: type null"),
    ({"additionalProperties": {"type": "null"}}, {"4111": 1}, "/*: type null"),
    ({"additionalProperties": {"items": {"type": "null"}}}, {"007": [1]}, "/*: type null"),
    ({"patternProperties": {"^c": {"type": "null"}}}, {CANARY: 1}, "/*: type null"),
    ({"propertyNames": {"maxLength": 3}}, {CANARY: 1}, "the payload: propertyNames"),
    ({"unevaluatedProperties": False}, {CANARY: 1}, "the payload: unevaluatedProperties"),
    ({"unevaluatedItems": False}, [CANARY], "the payload: unevaluatedItems"),
    ({"allOf": [{"properties": {"a": True}}], "unevaluatedProperties": False}, {"a": 1, CANARY: 1},
     "the payload: unevaluatedProperties"),
    ({"properties": {"a": {"unevaluatedItems": False}}}, {"a": [1]}, "the payload"),
    ({"properties": {"a": {"type": "null"}}}, {"a": CANARY}, "/a: type null"),
    ({"properties": {"0": {"type": "null"}}}, {"0": CANARY}, "/0: type null"),
    ({"properties": {"a/b~c": {"type": "null"}}}, {"a/b~c": CANARY}, "/a~1b~0c: type null"),
    ({"allOf": [True, {"properties": {"a": {"type": "null"}}}]}, {"a": CANARY}, "/a: type null"),
    ({"anyOf": [{"type": "null"}, {"type": "object"}]}, CANARY, "the payload: anyOf"),
    ({"properties": {"a": {"oneOf": [True, True]}}}, {"a": CANARY}, "/a: oneOf"),
    ({"properties": {"a": {"oneOf": [False, False]}}}, {"a": CANARY}, "/a: oneOf"),
    ({"anyOf": [{"unevaluatedProperties": False}]}, {CANARY: 1}, "the payload: anyOf"),
    ({"not": {"unevaluatedProperties": False}}, {}, "the payload: not"),
    ({"not": {"type": "string"}}, CANARY, "the payload: not"),
    ({"not": {"not": {"type": "null"}}}, CANARY, "the payload: not"),
    ({"not": True}, CANARY, "the payload: not"),
    ({"if": {"type": "string"}, "then": {"maxLength": 1}}, CANARY, "the payload: maxLength 1"),
    ({"if": {"type": "null"}, "else": {"maxLength": 1}}, CANARY, "the payload: maxLength 1"),
    ({"items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"type": "null"}}}, [None, CANARY], "/1: type null"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": False}}, CANARY, "the payload: not allowed"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [False]}}}, CANARY, "the payload: anyOf"),
    ({"$dynamicAnchor": "n", "properties": {"a": {"$dynamicRef": "#n"}}, "type": "object"}, {"a": {"a": 1}},
     "/a/a: type object"),
    ({"type": "object", "properties": {"kids": {"items": {"$ref": "#"}}}}, {"kids": [{}, {"kids": [CANARY]}]},
     "/kids/1/kids/0: type object"),
]  # fmt: skip


class VerdictTests(SchemaTestCase):
    """Which schema is asked, and what its answer does."""

    def test_a_valid_payload_passes(self) -> None:
        schemas = self.load({"type": "string"})
        schemas.check("chat", "message", "hello")

    def test_each_namespace_and_event_has_its_own_schema(self) -> None:
        files = {
            "chat/message.json": {"type": "string"},
            "chat/a.b-C_1.json": {"type": "null"},
            "news/message.json": True,
        }
        on = Namespace(schema=True)
        schemas = load_schemas(self.folder(files), {"chat": on, "news": on})
        self.assertEqual(self.verdict(schemas, "x"), "")
        self.assertEqual(self.verdict(schemas, "x", "a.b-C_1"), "not valid: the payload: type null")
        schemas.check("news", "message", 1)

    def test_an_unknown_event_is_refused_without_its_name(self) -> None:
        self.assertEqual(self.verdict(self.load(True), 1, CANARY), "no schema for this event")

    def test_an_unknown_event_passes_where_that_is_allowed(self) -> None:
        allow = {"chat": Namespace(schema=True, unknown_events="allow")}
        schemas = load_schemas(self.folder({"chat/message.json": False}), allow)
        self.assertEqual(self.verdict(schemas, 1, "other"), "")
        self.assertEqual(self.verdict(schemas, 1), "not valid: the payload: not allowed")

    def test_a_namespace_without_schemas_passes_everything(self) -> None:
        self.load(False).check("other", "message", CANARY)

    def test_formats_are_asserted(self) -> None:
        for name, good, bad in (
            ("date", "2026-02-28", "2026-02-30"),
            ("date-time", "2026-02-28T10:00:00Z", "2026-02-28 10:00"),
            ("time", "10:00:00Z", "25:00:00Z"),
            ("duration", "P1D", "1 day"),
            ("email", "a@example.com", "a@"),
            ("hostname", "example.com", "-example-.com"),
            ("ipv4", "127.0.0.1", "127.0.0.256"),
            ("ipv6", "::1", ":::1"),
            ("uri", "https://example.com/", "/relative"),
            ("uri-reference", "/relative", "a b"),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
            ("json-pointer", "/a/b", "a/b"),
        ):
            schemas = self.load({"format": name})
            self.assertEqual(self.verdict(schemas, good), "", name)
            self.assertEqual(self.verdict(schemas, bad), f"not valid: the payload: format {name}")

    def test_an_exception_of_the_validator_is_a_no(self) -> None:
        """Payloads come from `parse_json`; what no JSON decodes to must still not get past a schema that allows all."""
        schemas = self.load(True)
        for value in ("\ud800", {1: 2}, object()):
            self.assertEqual(self.verdict(schemas, value), "not valid: the payload")

    def test_a_panic_of_the_validator_is_a_no(self) -> None:
        """A panic in compiled code is a `BaseException`, not an `Exception`."""

        class Panic(BaseException):
            pass

        class Panicking:
            def __init__(self, *arguments: Any, **options: Any) -> None: ...

            def is_valid(self, value: Any) -> bool:
                raise Panic

            def validate(self, value: Any) -> NoReturn:
                raise Panic

        folder = self.folder({"chat/message.json": True})
        self.patch(jsonschema_rs, "Draft202012Validator", Panicking)
        self.assertEqual(self.verdict(load_schemas(folder, CHAT), 1), "not valid: the payload")

    def test_an_interrupt_is_passed_on(self) -> None:
        class Interrupted:
            def __init__(self, *arguments: Any, **options: Any) -> None: ...

            def is_valid(self, value: Any) -> bool:
                if value == "at once":
                    raise KeyboardInterrupt
                return False

            def validate(self, value: Any) -> NoReturn:
                raise KeyboardInterrupt

        folder = self.folder({"chat/message.json": True})
        self.patch(jsonschema_rs, "Draft202012Validator", Interrupted)
        for value in ("at once", "while it is explained"):
            self.assertRaises(KeyboardInterrupt, load_schemas(folder, CHAT).check, "chat", "message", value)


class ExplanationTests(SchemaTestCase):
    """Path and rule, in words of the schema."""

    def test_each_rule_is_named_with_its_place(self) -> None:
        for schema, value, said in SAID:
            self.assertEqual(self.verdict(self.load(schema), value), f"not valid: {said}", schema)

    def test_a_reference_into_another_file_is_followed(self) -> None:
        schemas = self.load({"properties": {"user": {"$ref": "../user.json"}}}, user={"required": ["id"]})
        self.assertEqual(self.verdict(schemas, {"user": {}}), "not valid: /user: required id")

    def test_keys_are_known_by_the_schemas_that_are_referred_to_and_no_others(self) -> None:
        """A name in the schema of another event is not a name that this schema shows."""
        files = {
            "chat/message.json": {"additionalProperties": {"$ref": "../user.json"}},
            "chat/other.json": {"properties": {"hidden": True}},
            "user.json": {"additionalProperties": {"type": "null"}, "properties": {"name": True}},
        }
        schemas = load_schemas(self.folder(files), CHAT)
        self.assertEqual(self.verdict(schemas, {"name": {"hidden": 1}}), "not valid: /name/*: type null")

    def test_never_longer_than_200_characters(self) -> None:
        name = "n" * 300
        schemas = self.load({"properties": {name: {"type": "null"}}, "required": [name]})
        for value in ({}, {name: 1}):
            message = self.verdict(schemas, value)
            self.assertEqual(len(message), 200)
            self.assertTrue(message.endswith("…"))

    def test_the_deepest_payload_is_explained(self) -> None:
        schemas = self.load({"items": {"$ref": "#"}, "type": "array"})
        _, value = parse_json(b"[" * 32 + b"1" + b"]" * 32)
        self.assertEqual(self.verdict(schemas, value), "not valid: " + "/0" * 32 + ": type array")

    def test_a_circle_of_references_ends(self) -> None:
        """These say nothing, or nothing but "not myself": both are answered, whatever the answer."""
        for schema in (
            {"$ref": "#"},
            {"anyOf": [{"$ref": "#"}]},
            {"not": {"$ref": "#"}},
            {"allOf": [{"$ref": "#"}, False]},
            {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        ):
            self.assertIn(self.verdict(self.load(schema), 1).partition(":")[0], ("", "not valid"))

    def test_many_branches_in_a_recursive_schema_take_no_exponential_time(self) -> None:
        """Two ways at each of 32 levels would be 4,294,967,296 checks: this test would not end."""
        branch = {"properties": {"a": {"$ref": "#"}}}
        value = json.loads('{"a":' * 32 + "1" + "}" * 32)
        for keyword in ("anyOf", "oneOf", "allOf"):
            schema = {
                keyword: [{**branch, "required": ["x"]}, {**branch, "required": ["y"]}, {**branch, "maxProperties": 0}]
            }
            said = self.verdict(self.load(schema), value)
            self.assertTrue(said.startswith("not valid: "), keyword)

    def test_no_branch_is_asked_for_its_errors(self) -> None:
        """Alternatives of 64 KiB would otherwise have an error written for each element of each alternative."""
        either = [{"items": {"type": "null"}}, {"items": {"$ref": "#x"}}]
        absolute = [{"items": {"type": "null"}}, {"items": {"$ref": "http://example.com/#x"}}]
        for keyword in ("anyOf", "oneOf"):
            copy = askable({"items": {keyword: either}, "not": {keyword: either}}, "http://example.com/", split=True)
            asked = {"allOf": [{"not": {"not": {keyword: absolute}}}]}
            self.assertEqual(copy, {"items": asked, "not": {keyword: absolute}})

    def test_a_regular_expression_takes_no_exponential_time(self) -> None:
        """Expressions that make a backtracking engine try for ever: this test would not end."""
        for pattern, text in (
            ("^(a+)+$", "a" * 60000 + "!"),
            ("^(a|a)*$", "a" * 60000 + "!"),
            ("^(a|aa)+$", "a" * 60000 + "!"),
            ("(x+x+)+y", "x" * 60000),
            (r"^(\w+\s?)*$", "word " * 12000 + "!"),
            ("(.*)*b$", "a" * 60000),
        ):
            schemas = self.load({"pattern": pattern})
            self.assertEqual(self.verdict(schemas, text), "not valid: the payload: pattern", pattern)
            named = self.load({"patternProperties": {pattern: False}})
            self.assertEqual(self.verdict(named, {text: 1}), "", pattern)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**19), 10**19)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)
SHIPPED_SCHEMAS = load_schemas(SHIPPED, CHAT)


def marked(value: Any) -> Any:
    """The same value with a mark in every string and every key that the schemas don't know, and in every number."""
    if isinstance(value, dict):
        return {key if key in KNOWN else CANARY + key: marked(child) for key, child in value.items()}
    if isinstance(value, list):
        return [marked(child) for child in value]
    if isinstance(value, str):
        return CANARY + value
    return value if value is None or isinstance(value, bool) else 7700000077


KNOWN = ("id", "text", "user", "sent", "reply_to", "mentions", "priority", "name", "typing")
KEYED = st.dictionaries(st.sampled_from(KNOWN) | st.text(max_size=3), JSON, max_size=6)


class CanaryTests(SchemaTestCase):
    """Nothing of a payload is in an error."""

    @given(JSON | KEYED | st.builds(lambda user: {"text": "", "user": user, "mentions": [user]}, KEYED))
    @settings(deadline=None, max_examples=300)
    def test_no_string_key_or_number_of_a_payload_is_repeated(self, value: Any) -> None:
        for event in ("message", "typing"):
            said = verdict(SHIPPED_SCHEMAS, marked(value), event)
            self.assertNotIn(CANARY, said)
            self.assertNotIn("77000", said)
            self.assertLessEqual(len(said), 200)

    def test_the_exception_holds_no_value_either(self) -> None:
        with self.assertRaises(ReplyError) as caught:
            SHIPPED_SCHEMAS.check("chat", "message", {"text": [CANARY], CANARY: 1})
        error = caught.exception
        assert isinstance(error, ReplyError)
        self.assertEqual(error.code, ErrorCode.BAD_REQUEST)
        for seen in (error, error.__context__, error.__cause__):
            self.assertNotIn(CANARY, repr(seen))

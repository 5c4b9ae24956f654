"""The validator of the hot path against jsonschema, on the schemas that ship."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import referencing
from hypothesis import given, settings
from hypothesis import strategies as st
from referencing.jsonschema import DRAFT202012
from twisted.trial import unittest

from realtime_svc.validation import load_schemas
from tests.validation.folders import CHAT, SHIPPED, verdict

EVENTS = sorted(path.stem for path in (SHIPPED / "chat").glob("*.json"))
FAST = load_schemas(SHIPPED, CHAT)


def reference_validators() -> dict[str, jsonschema.Draft202012Validator]:
    """The same files, read by jsonschema and its referencing library, each under its path."""
    paths = sorted(SHIPPED.rglob("*.json"))
    contents = {path.relative_to(SHIPPED).as_posix(): json.loads(path.read_text()) for path in paths}
    registry: referencing.Registry[Any] = referencing.Registry().with_resources(
        (f"https://example.com/{name}", DRAFT202012.create_resource(content)) for name, content in contents.items()
    )
    root = "https://example.com/chat/"
    return {
        event: jsonschema.Draft202012Validator({"$ref": f"{root}{event}.json"}, registry=registry) for event in EVENTS
    }


SLOW = reference_validators()

ID = "0190c2f4-7d1e.a_b"
# (event, payload, is it valid?)
FIXED: list[tuple[str, Any, bool]] = [
    ("message", {"text": "hello"}, True),
    ("message", {"text": ""}, False),
    ("message", {"text": "x" * 4000}, True),
    ("message", {"text": "x" * 4001}, False),
    ("message", {"text": "😀" * 4000}, True),
    ("message", {"text": None}, False),
    ("message", {}, False),
    ("message", [], False),
    ("message", "hello", False),
    ("message", None, False),
    ("message", {"text": "a", "more": 1}, False),
    ("message", {"text": "a", "__proto__": {}}, False),
    ("message", {"text": "a", "id": ID}, True),
    ("message", {"text": "a", "id": ""}, False),
    ("message", {"text": "a", "id": "a" * 64}, True),
    ("message", {"text": "a", "id": "a" * 65}, False),
    ("message", {"text": "a", "id": "a b"}, False),
    ("message", {"text": "a", "id": "é"}, False),
    ("message", {"text": "a", "id": 5}, False),
    ("message", {"text": "a", "sent": 0}, True),
    ("message", {"text": "a", "sent": -1}, False),
    ("message", {"text": "a", "sent": 1.0}, True),
    ("message", {"text": "a", "sent": 1.5}, False),
    ("message", {"text": "a", "sent": 10**19}, True),
    ("message", {"text": "a", "sent": -(10**19)}, False),
    ("message", {"text": "a", "sent": True}, False),
    ("message", {"text": "a", "sent": "1"}, False),
    ("message", {"text": "a", "user": {"id": ID, "name": "Ada"}}, True),
    ("message", {"text": "a", "user": {"id": ID, "name": ""}}, False),
    ("message", {"text": "a", "user": {"name": "Ada"}}, False),
    ("message", {"text": "a", "user": {"id": ID, "admin": True}}, False),
    ("message", {"text": "a", "user": ID}, False),
    ("message", {"text": "a", "reply_to": ID}, True),
    ("message", {"text": "a", "reply_to": None}, True),
    ("message", {"text": "a", "reply_to": False}, False),
    ("message", {"text": "a", "mentions": []}, True),
    ("message", {"text": "a", "mentions": [{"id": "a"}] * 20}, True),
    ("message", {"text": "a", "mentions": [{"id": "a"}] * 21}, False),
    ("message", {"text": "a", "mentions": [{"id": "a"}, "b"]}, False),
    ("message", {"text": "a", "priority": "low"}, True),
    ("message", {"text": "a", "priority": "LOW"}, False),
    ("message", {"text": "a", "priority": 0}, False),
    ("typing", {"typing": True}, True),
    ("typing", {"typing": False, "user": {"id": ID}}, True),
    ("typing", {"typing": 1}, False),
    ("typing", {"typing": "true"}, False),
    ("typing", {"user": {"id": ID}}, False),
    ("typing", {"typing": True, "text": "a"}, False),
]

# Strings that end in a newline are left out: see the last test.
TEXT = st.text(max_size=8).filter(lambda text: not text.endswith("\n"))
NAMES = st.text("ab-_.9", min_size=1, max_size=70) | TEXT
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**19), 10**19)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXT, children, max_size=3),
    max_leaves=8,
)
USER = st.fixed_dictionaries({}, optional={"id": NAMES, "name": TEXT}) | st.dictionaries(
    st.sampled_from(["id", "name", "x"]), ANYTHING
)
NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "id": NAMES,
        "text": TEXT,
        "user": USER,
        "sent": st.integers(-2, 5) | st.floats(-2, 5),
        "reply_to": NAMES | st.none(),
        "mentions": st.lists(USER, max_size=3) | st.integers(19, 22).map(lambda count: [{"id": "a"}] * count),
        "priority": st.sampled_from(["low", "normal", "high", "", None, 0]),
        "typing": st.booleans() | st.integers(0, 1),
        "x": st.none(),
    },
)
# Mostly right, with one member replaced by anything.
MUTATED = st.builds(
    lambda value, name, other: {**value, name: other},
    NEARLY,
    st.sampled_from(["id", "text", "user", "sent", "reply_to", "mentions", "priority", "typing"]),
    ANYTHING,
)


class AgreementTests(unittest.SynchronousTestCase):
    """Both say the same of every payload."""

    def test_on_fixed_payloads_and_both_are_right(self) -> None:
        for event, value, expected in FIXED:
            self.assertEqual(SLOW[event].is_valid(value), expected, (event, value))
            self.assertEqual(verdict(FAST, value, event) == "", expected, (event, value))

    def test_every_shipped_event_has_payloads_of_both_kinds(self) -> None:
        for event in EVENTS:
            self.assertEqual({expected for name, _, expected in FIXED if name == event}, {True, False}, event)

    @given(st.sampled_from(EVENTS), NEARLY | MUTATED | ANYTHING)
    @settings(deadline=None, max_examples=400)
    def test_on_generated_payloads(self, event: str, value: Any) -> None:
        self.assertEqual(verdict(FAST, value, event) == "", SLOW[event].is_valid(value))

    def test_where_they_are_known_to_differ(self) -> None:
        """For jsonschema `$` is that of Python's `re`: a newline may follow. In ECMA-262, and here, it is the end."""
        value = {"text": "a", "id": "a\n"}
        self.assertTrue(SLOW["message"].is_valid(value))
        self.assertEqual(verdict(FAST, value), "not valid: /id: pattern")

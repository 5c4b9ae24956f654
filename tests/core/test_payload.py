"""Payload checks: what is one JSON value, what is not, and what goes out of what came in."""

from __future__ import annotations

import json
import math
import sys
import traceback
from typing import Any, NoReturn

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from realtime_svc.core.payload import MAX_DEPTH, check_depth, parse_json
from realtime_svc.errors import ErrorCode, ReplyError
from tests.core.json_corpus import BAD, GOOD


def refused(data: bytes) -> bool:
    """Is it refused, with the one text there is for that? Any other exception fails the test."""
    try:
        parse_json(data)
    except ReplyError as error:
        return error.code is ErrorCode.BAD_REQUEST and error.message == "Invalid JSON"
    return False


def reference(data: bytes) -> Any:
    """The same verdict by other means: the standard library, kept to RFC 8259 and our bounds, or else `ValueError`."""
    value = json.loads(
        data.decode(),
        parse_constant=refuse_constant,
        parse_float=finite,
        parse_int=short_integer,
        object_pairs_hook=encodable_object,
    )
    json.dumps(value, ensure_ascii=False).encode()
    if deepest_before_the_first_mistake(data) > MAX_DEPTH:
        raise ValueError("too deep")
    return value


def refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def finite(text: str) -> float:
    if math.isinf(float(text)):
        raise ValueError("too large")
    return float(text)


def short_integer(text: str) -> int:
    if len(text.lstrip("-")) > 20:
        raise ValueError("too long")
    return int(text)


def encodable_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """All pairs are looked at for lone surrogates, also those that a later one with the same key hides."""
    json.dumps(pairs, ensure_ascii=False).encode()
    return dict(pairs)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**19), 10**19)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=5) | st.dictionaries(st.text(), children, max_size=5),
    max_leaves=30,
)
# Pieces that a lexer can stumble over, in any order: mostly not JSON, sometimes nearly, now and then really.
SCRAPS = st.lists(
    st.sampled_from(rb"""[ ] { } " \ , : 1 "a": \u00 \\ \" e9 - \ud800 "[[[[ """.split())
    | st.sampled_from([b"\n", b"\xff", b"[" * 20, b"]" * 20, b'{"a":' * 20, b"}" * 20, b"9" * 21]),
    max_size=40,
).map(b"".join)


class GoodTests(unittest.SynchronousTestCase):
    """What is taken, and what is made of it."""

    def test_each_is_taken_and_means_what_it_says(self) -> None:
        for data in GOOD:
            payload, value = parse_json(data)
            self.assertEqual(value, json.loads(data), data[:40])
            self.assertEqual(payload, data.replace(b"\n", b" ").replace(b"\r", b" "))

    def test_bytes_pass_unchanged(self) -> None:
        """No new order, spacing, escaping or number format; duplicate keys stay."""
        data = b'{"z" : 1.0,"a":1E2,  "z":"\\u0041\\/", "big":12345678901234567890}\t'
        self.assertEqual(parse_json(data)[0], data)

    def test_newlines_between_tokens_become_spaces(self) -> None:
        payload, value = parse_json(b'\n{\r\n"a\\n" :\r[1,\n2]}\n')
        self.assertEqual(payload, b' {  "a\\n" : [1, 2]} ')
        self.assertEqual(value, {"a\n": [1, 2]})

    def test_last_of_duplicate_keys_is_checked(self) -> None:
        payload, value = parse_json(b'{"a":1,"a":2}')
        self.assertEqual((payload, value), (b'{"a":1,"a":2}', {"a": 2}))

    def test_integers_stay_exact(self) -> None:
        self.assertEqual(parse_json(b"[9007199254740993,-99999999999999999999]")[1], [2**53 + 1, -(10**20 - 1)])

    def test_another_depth_may_be_asked_for(self) -> None:
        self.assertEqual(parse_json(b"[[]]", 2)[1], [[]])
        self.assertRaises(ReplyError, parse_json, b"[[]]", 1)

    @given(VALUES, st.sampled_from([None, 1, "\t"]), st.booleans())
    @settings(deadline=None, max_examples=100)
    def test_whatever_the_standard_library_writes_is_read_the_same(
        self, value: Any, indent: Any, ascii_only: bool
    ) -> None:
        data = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
        payload, read = parse_json(data)
        self.assertEqual(read, json.loads(data))
        self.assertEqual(json.loads(payload), read)
        self.assertNotIn(b"\n", payload)


class BadTests(unittest.SynchronousTestCase):
    """What is refused, always in the same words."""

    def test_each_is_refused(self) -> None:
        for name, data in BAD.items():
            self.assertTrue(refused(data), name)

    def test_nothing_of_the_payload_is_in_the_error(self) -> None:
        for data in (b'{"canary": "canary"', b"canary", b'"canary\xff"', b'["canary", NaN]'):
            with self.assertRaises(ReplyError) as caught:
                parse_json(data)
            self.assertNotIn("canary", repr(caught.exception) + str(caught.exception))

    def test_a_stack_that_is_nearly_full_is_no_other_exception(self) -> None:
        """20 frames of room for 32 levels: refused where the decoder counts them together, read where it does not."""

        def descend(frames: int) -> bool:
            return descend(frames - 1) if frames else refused(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)

        used = len(traceback.extract_stack())
        if sys.version_info < (3, 12):
            self.assertTrue(descend(sys.getrecursionlimit() - used - 20))
        else:
            descend(sys.getrecursionlimit() - used - 20)

    @given(st.binary(max_size=60) | SCRAPS)
    @settings(deadline=None, max_examples=400)
    @example(b'"' + b"9" * 21 + b'"')
    @example(b"[" * 33)
    def test_verdict_is_that_of_the_standard_library_kept_to_the_rfc(self, data: bytes) -> None:
        try:
            expected = reference(data)
        except (ValueError, RecursionError):
            self.assertTrue(refused(data))
        else:
            self.assertEqual(parse_json(data)[1], expected)


class DepthTests(unittest.SynchronousTestCase):
    """`check_depth` on its own: for whole commands, before they are decoded."""

    def test_counts_levels_of_arrays_and_objects(self) -> None:
        for data, depth in (
            (b"1", 0),
            (b"[]", 1),
            (b"{}", 1),
            (b'[{"a":[1]}]', 3),
            (b'["[[[["]', 1),
            (b'["\\"[[[["]', 1),
            (b'["\\\\",[[]]]', 3),
            (b'{"[[":"{{","a\\"[":[[]]}', 3),
            (b"[[],[],[[]],[]]", 3),
        ):
            self.assertTrue(check_depth(data, depth), data)
            self.assertFalse(depth and check_depth(data, depth - 1), data)

    def test_is_exact_where_the_brackets_are_many(self) -> None:
        """More brackets than the limit, at every offset within the groups of eight that are looked at."""
        for limit in (1, 7, 8, 9, 31, 32, 33):
            for before in range(9):
                for extra, expected in ((-1, True), (0, True), (1, False)):
                    inner = b"[" * (limit - 1 + extra) + b"]" * (limit - 1 + extra)
                    data = b"[" + b"[]," * before * (limit > 1) + inner + b",0" * 3 + b"]"
                    self.assertEqual(check_depth(data, limit), expected, (limit, before, extra))

    def test_closing_brackets_at_the_end_do_not_hide_depth(self) -> None:
        self.assertFalse(check_depth(b"[" * 40 + b"]" * 400, 32))

    @given(VALUES, st.integers(0, 6))
    @settings(deadline=None, max_examples=200)
    def test_agrees_with_the_depth_of_the_value(self, value: Any, limit: int) -> None:
        self.assertEqual(check_depth(json.dumps(value, ensure_ascii=False).encode(), limit), depth_of(value) <= limit)

    @given(SCRAPS, st.integers(0, 40))
    @settings(deadline=None, max_examples=200)
    def test_true_is_a_promise_for_any_bytes(self, data: bytes, limit: int) -> None:
        """A parser that stops at the first mistake never gets deeper than a limit that was said to hold."""
        if check_depth(data, limit):
            self.assertLessEqual(deepest_before_the_first_mistake(data), limit)


def deepest_before_the_first_mistake(data: bytes) -> int:
    """How deep a recursive parser gets at most: brackets outside of strings, up to where they can't be JSON."""
    depth = deepest = 0
    stack = []
    position = 0
    while position < len(data):
        byte = data[position : position + 1]
        if byte == b'"':
            position += 1
            while position < len(data) and data[position : position + 1] != b'"':
                position += 2 if data[position : position + 1] == b"\\" else 1
        elif byte in b"[{":
            stack.append(byte)
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            if not stack or (stack.pop() == b"[") != (byte == b"]"):
                return deepest
            depth -= 1
        elif byte == b"\\":
            return deepest
        position += 1
    return deepest

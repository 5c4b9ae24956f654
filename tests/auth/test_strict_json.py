"""JSON without ambiguity."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.auth.strict_json import MAX_DEPTH, dumps, loads


class StrictJsonTests(SynchronousTestCase):
    """`loads` and `dumps`."""

    def test_good(self) -> None:
        """Ordinary values, at the bounds too; what is written is compact and reads the same."""
        deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
        brackets = b'{"a\\"[[[":"' + b"[{" * 500 + b'\\\\"}'
        for raw in (
            b"null",
            b' {"a": [1, -2.5e3, true, "\\u00e9\\n"]} ',
            deepest,
            brackets,
            b'"\\ud83d\\ude00"',
            b"1e308",
        ):
            value = loads(raw)
            self.assertEqual(loads(dumps(value)), value)
        self.assertEqual(dumps(loads(b'{"a": ["\\u00e9", 1.0]}')), '{"a":["é",1.0]}'.encode())

    def test_bad(self) -> None:
        """Everything two parsers could read differently, or that overflows one."""
        for raw in (
            b"", b" ", b"{", b"[1,]", b"'a'", b"nul", b"NaN", b"-Infinity", b"Infinity", b"1e999", b"[-1e999]", b"01",
            b"+1", b"\xef\xbb\xbf{}", b"{}{}", b"{} x", b'{"a":1,"a":1}', b'[{"a":{"b":1,"\\u0062":2}}]', b'"\xff"',
            b'"a\nb"', b'"\\ud800"', b'["\\uDC00"]', b'{"\\ud800":1}', b'"\\x"', b"9" * 5000,
            b"[" * (MAX_DEPTH + 1) + b"]" * 33,
            b'{"a":' * 33 + b"1" + b"}" * 33, b"[" * 100_000, b'"' + b'\\"' * 50_000, b'"' * 100_001, b'"\\',
        ):  # fmt: skip
            error = self.assertRaises(ValueError, loads, raw)
            self.assertEqual(str(error), "not strict JSON", raw[:40])

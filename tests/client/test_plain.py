"""Protocol plain.v1 from the client's side: lines and values."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.client import plain
from realtime_svc.client.errors import ProtocolViolation
from realtime_svc.client.plain import Message
from realtime_svc.model import StreamPosition


class EncodeTests(SynchronousTestCase):
    def test_publish(self) -> None:
        table: tuple[tuple[Any, dict[str, str] | None, str], ...] = (
            ({"a": [1, None, "ü\n"]}, None, '{"publish":"c","data":{"a":[1,null,"ü\\n"]}}'),
            (None, {}, '{"publish":"c","data":null}'),
            (b"\0\xff", {"event": "e"}, '{"publish":"c","b64data":"AP8=","tags":{"event":"e"}}'),
        )
        for data, tags, line in table:
            self.assertEqual(plain.encode(plain.publish_command("c", data, tags)), line)
        with_key = plain.publish_command("c", 1, None, "k")
        self.assertEqual(plain.encode(with_key), '{"publish":"c","data":1,"key":"k"}')

    def test_what_json_can_not_hold(self) -> None:
        for data in (float("nan"), float("inf"), "\ud800", {1, 2}, [b"x"]):
            self.assertRaises((ValueError, TypeError), plain.encode, {"publish": "c", "data": data})


class DecodeTests(SynchronousTestCase):
    def test_frame(self) -> None:
        self.assertEqual(plain.decode_frame('{"a":1}\n{"b":[]}'), [{"a": 1}, {"b": []}])

    def test_bad_frames(self) -> None:
        for frame in (
            b"{}",
            "",
            "x",
            "[]",
            "1",
            '{"a":1}\n',
            '{"a":1} x',
            "{" * 50,
            '{"a":' + "[" * 100_000,
            '{"a":NaN}',
        ):
            self.assertRaises(ProtocolViolation, plain.decode_frame, frame)

    def test_message(self) -> None:
        sender = {"client": "x", "user": "42", "info": {"n": 1}}
        table: tuple[tuple[dict[str, Any], Message], ...] = (
            ({"message": "c", "data": [1]}, Message("c", [1], None, {})),
            ({"message": "c", "data": None, "from": sender}, Message("c", None, sender, {})),
            ({"message": "c", "b64data": "AP8=", "tags": {"e": "x"}}, Message("c", b"\0\xff", None, {"e": "x"})),
            ({"message": "c", "data": 1, "offset": 7}, Message("c", 1, None, {}, 7)),
            ({"message": "c", "b64data": ""}, Message("c", b"", None, {})),
        )
        for fields, message in table:
            self.assertEqual(plain.read_message(fields), message)

    def test_bad_fields(self) -> None:
        table: tuple[tuple[Any, dict[str, Any]], ...] = (
            (plain.read_message, {"message": 1}),
            (plain.read_message, {"message": "c", "from": "x"}),
            (plain.read_message, {"message": "c", "offset": "7"}),
            (plain.read_message, {"message": "c", "offset": -1}),
            (plain.read_message, {}),
            (plain.read_position, {"epoch": 1, "offset": 1}),
            (plain.read_position, {"epoch": "e"}),
            (plain.read_position, {"epoch": "e", "offset": 1.0}),
            (lambda fields: plain.read_member(fields, "join"), {"join": 1, "from": {}}),
            (lambda fields: plain.read_member(fields, "join"), {"join": "c"}),
            (lambda fields: plain.read_member(fields, "leave"), {"leave": "c", "from": "x"}),
            (plain.read_message, {"message": "c", "tags": []}),
            (plain.read_message, {"message": "c", "b64data": "?"}),
            (plain.read_message, {"message": "c", "b64data": 1}),
            (plain.read_error, {"error": "x"}),
            (plain.read_error, {"error": {"code": "x"}}),
            (plain.read_end, {"code": "x"}),
            (plain.read_end, {}),
            (plain.read_end, {"code": 1, "reason": []}),
        )
        for read, fields in table:
            self.assertRaises(ProtocolViolation, read, fields)

    def test_position(self) -> None:
        self.assertEqual(plain.read_position({"epoch": "e", "offset": 0}), StreamPosition(0, "e"))
        self.assertIsNone(plain.read_position({"ok": "publish"}))

    def test_error(self) -> None:
        error = plain.read_error({"error": {"code": 111, "message": "too many requests", "temporary": True}})
        self.assertEqual((error.code, error.message, error.temporary), (111, "too many requests", True))
        odd = plain.read_error({"error": {"code": 1, "message": [[]], "temporary": "yes"}})
        self.assertEqual((odd.message, odd.temporary), ("", False))

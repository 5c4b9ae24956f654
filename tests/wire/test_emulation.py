"""The body of a POST to /emulation, in both of its forms."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.errors import Refusal
from realtime_svc.wire.centrifuge_pb2 import EmulationRequest
from realtime_svc.wire.emulation import Emulated, parse_emulation

COMMANDS = '{"id":2,"publish":{"channel":"x","data":"é"}}\n{"id":3,"ping":{}}'


class EmulationTests(SynchronousTestCase):
    def test_json(self) -> None:
        """`data` is a string; other keys are passed over."""
        body = json.dumps({"session": "s", "node": "n", "data": COMMANDS, "x": [1]}).encode()
        self.assertEqual(parse_emulation(body, protobuf=False), Emulated("n", "s", COMMANDS.encode()))
        self.assertEqual(parse_emulation(b"{}", protobuf=False), Emulated("", "", b""))

    def test_protobuf(self) -> None:
        """Byte for byte: node is field 1, session 2, data 3."""
        self.assertEqual(
            parse_emulation(b"\x0a\x01n\x12\x01s\x1a\x02\x00\xff", protobuf=True), Emulated("n", "s", b"\0\xff")
        )
        body = EmulationRequest(node="n", session="s", data=b"\x00").SerializeToString()
        self.assertEqual(parse_emulation(body, protobuf=True), Emulated("n", "s", b"\0"))

    def test_malformed(self) -> None:
        """400, and nothing of the body is repeated."""
        bodies = [
            (b"", False),
            (b"canary", False),
            (b'{"session":"canary"', False),
            (b'{"session":1}', False),
            (b'{"session":"canary","data":{"id":1}}', False),
            (b'["canary"]', False),
            (b"null", False),
            (b'{"session":"\xff"}', False),
            (b'{"data":"\\ud800"}', False),
            (b"{}canary", False),
            (b'{"x":' + b"[" * 100_000, False),
            (b"\x0a\x09canary", True),
            (b"\x0a\x01\xff", True),
            (b"\x07", True),
        ]
        for body, protobuf in bodies:
            refusal = self.assertRaises(Refusal, parse_emulation, body, protobuf=protobuf)
            assert isinstance(refusal, Refusal)
            self.assertEqual((refusal.status, refusal.cause), (400, "bad_emulation"), body[:30])
            self.assertNotIn("canary", refusal.message)

"""Frames a server sends (RFC 6455 5.2), byte for byte."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.wire.frames import (
    OPCODE_BINARY,
    OPCODE_CLOSE,
    OPCODE_PING,
    OPCODE_PONG,
    OPCODE_TEXT,
    message_frame,
    websocket_frame,
)


class FrameTests(SynchronousTestCase):
    """Headers and lengths."""

    def test_lengths_take_the_shortest_form(self) -> None:
        for length, header in (
            (0, "81 00"),
            (1, "81 01"),
            (125, "81 7d"),
            (126, "81 7e 00 7e"),
            (127, "81 7e 00 7f"),
            (65535, "81 7e ff ff"),
            (65536, "81 7f 00 00 00 00 00 01 00 00"),
            (70000, "81 7f 00 00 00 00 00 01 11 70"),
        ):
            payload = b"x" * length
            self.assertEqual(bytes.fromhex(header) + payload, websocket_frame(OPCODE_TEXT, payload), length)
            self.assertEqual(bytes.fromhex(header) + payload, message_frame(payload).wire, length)

    def test_opcodes(self) -> None:
        for opcode, first in (
            (OPCODE_TEXT, 0x81),
            (OPCODE_BINARY, 0x82),
            (OPCODE_CLOSE, 0x88),
            (OPCODE_PING, 0x89),
            (OPCODE_PONG, 0x8A),
        ):
            self.assertEqual(bytes((first, 1)) + b"x", websocket_frame(opcode, b"x"))

    def test_example_of_the_rfc(self) -> None:
        """5.7: a single-frame unmasked text message, and a ping of the same text."""
        self.assertEqual(bytes.fromhex("810548656c6c6f"), websocket_frame(OPCODE_TEXT, b"Hello"))
        self.assertEqual(bytes.fromhex("890548656c6c6f"), websocket_frame(OPCODE_PING, b"Hello"))

    def test_compressed_sets_rsv1(self) -> None:
        """The example of RFC 7692 7.2.3.1."""
        payload = bytes.fromhex("f248cdc9c90700")
        self.assertEqual(bytes.fromhex("c107") + payload, websocket_frame(OPCODE_TEXT, payload, compressed=True))

    def test_message(self) -> None:
        for binary, first in ((False, 0x81), (True, 0x82)):
            frame = message_frame(b"ab", binary)
            self.assertEqual((b"ab", binary, bytes((first, 2)) + b"ab"), (frame.payload, frame.binary, frame.wire))

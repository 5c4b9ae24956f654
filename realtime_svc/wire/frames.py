"""Frames a server sends: payloads with the bytes that go on the socket.

WebSocket (RFC 6455 5.2), server to client: never masked, never fragmented.

    0x80 | opcode, length(7) [, length(16) | length(64)], payload

Down an HTTP response that does not end, a frame is a line, an event or nothing but its payload.
"""

from __future__ import annotations

import struct

OPCODE_TEXT = 1
OPCODE_BINARY = 2
OPCODE_CLOSE = 8
OPCODE_PING = 9
OPCODE_PONG = 10

_RSV1 = 0x40


def websocket_frame(opcode: int, payload: bytes, *, compressed: bool = False) -> bytes:
    """One whole frame. `compressed` sets RSV1 (RFC 7692 6)."""
    first = 0x80 | opcode | (_RSV1 if compressed else 0)
    length = len(payload)
    if length < 126:
        return bytes((first, length)) + payload
    if length < 65536:
        return struct.pack("!BBH", first, 126, length) + payload
    return struct.pack("!BBQ", first, 127, length) + payload


class Frame:
    """One encoded message, shared by all who get it: `payload` as the protocol made it, `wire` for the socket."""

    __slots__ = ("binary", "payload", "wire")

    def __init__(self, payload: bytes, binary: bool, wire: bytes) -> None:
        self.payload = payload
        self.binary = binary
        self.wire = wire


def message_frame(payload: bytes, binary: bool = False) -> Frame:
    """A text or binary WebSocket message."""
    return Frame(payload, binary, websocket_frame(OPCODE_BINARY if binary else OPCODE_TEXT, payload))


def line_frame(payload: bytes) -> Frame:
    """A line of a stream of lines, or several: `payload` ends without a newline."""
    return Frame(payload, False, payload + b"\n")


def event_frame(payload: bytes) -> Frame:
    """An event of a stream of Server-Sent Events (WHATWG HTML 9.2); one for each line of `payload`."""
    return Frame(payload, False, b"data: " + payload.replace(b"\n", b"\n\ndata: ") + b"\n\n")


def bare_frame(payload: bytes) -> Frame:
    """Bytes of a stream whose messages carry their own lengths."""
    return Frame(payload, True, payload)

"""Frames a server sends: payloads with the bytes that go on the socket.

WebSocket (RFC 6455 5.2), server to client: never masked, never fragmented.

    0x80 | opcode, length(7) [, length(16) | length(64)], payload

Down an HTTP response that does not end, a frame is a line, an event or nothing but its payload.
"""

from __future__ import annotations

import struct

import msgspec

OPCODE_TEXT = 1
OPCODE_BINARY = 2
OPCODE_CLOSE = 8
OPCODE_PING = 9
OPCODE_PONG = 10

_RSV1 = 0x40
_TEXT = 0x80 | OPCODE_TEXT
_BINARY = 0x80 | OPCODE_BINARY
_short = struct.Struct("!BB").pack
_medium = struct.Struct("!BBH").pack
_long = struct.Struct("!BBQ").pack


def websocket_frame(opcode: int, payload: bytes, *, compressed: bool = False) -> bytes:
    """One whole frame. `compressed` sets RSV1 (RFC 7692 6)."""
    return _head(0x80 | opcode | (_RSV1 if compressed else 0), len(payload)) + payload


def _head(first: int, length: int) -> bytes:
    if length < 126:
        return _short(first, length)
    if length < 65536:
        return _medium(first, 126, length)
    return _long(first, 127, length)


class Frame(msgspec.Struct, eq=False, gc=False):
    """One encoded message, shared by all who get it: `payload` as the protocol made it, `wire` for the socket.

    `deflated`: the same, compressed, by who compresses (None: nobody yet).
    """

    payload: bytes
    binary: bool
    wire: bytes
    deflated: dict[object, bytes] | None = None


def message_frame(payload: bytes, binary: bool = False) -> Frame:
    """A text or binary WebSocket message."""
    first, length = _BINARY if binary else _TEXT, len(payload)
    head = _short(first, length) if length < 126 else _head(first, length)
    return Frame(payload, binary, head + payload)


def line_frame(payload: bytes) -> Frame:
    """A line of a stream of lines, or several: `payload` ends without a newline."""
    return Frame(payload, False, payload + b"\n")


def event_frame(payload: bytes) -> Frame:
    """An event of a stream of Server-Sent Events (WHATWG HTML 9.2); one for each line of `payload`."""
    return Frame(payload, False, b"data: " + payload.replace(b"\n", b"\n\ndata: ") + b"\n\n")


def bare_frame(payload: bytes) -> Frame:
    """Bytes of a stream whose messages carry their own lengths."""
    return Frame(payload, True, payload)

"""What `realtime-svc bench` says through each protocol, and how it finds its messages in what it gets."""

from __future__ import annotations

import re
import secrets
import struct
from typing import Protocol
from urllib.parse import quote

import msgspec

from realtime_svc.client.errors import printable

PAYLOAD = '{"text":"{fill}"}'
_FILL = "{fill}"
_MARKER = len("01234567#seq:0123456789#")
_SUBSCRIBE_ID = 2
_FIRST_PUBLISH_ID = 10


class RunFailed(Exception):
    """The run can't go on; the text says why, and what to do."""


class Numbered:
    """Payloads of `size` bytes, each with a number and the name of this run in it.

    They are found in whatever is around them; what others publish is not taken for ours. Raises `ValueError`: the
    template has no place for that, or is longer than `size`.
    """

    def __init__(self, size: int, template: str = PAYLOAD) -> None:
        before, found, after = template.partition(_FILL)
        least = len((before + after).encode()) + _MARKER
        if not found or _FILL in after:
            raise ValueError(f"--payload: must hold {_FILL} once")
        if size < least:
            raise ValueError(f"--size: must be at least {least} for this payload")
        self._run = secrets.token_hex(4)
        self._before = f"{before}{self._run}#seq:".encode()
        self._after = b"#" + b"x" * (size - least) + after.encode()
        self.find = re.compile(self._run.encode() + rb"#seq:([0-9]{10})#").findall

    def payload(self, number: int) -> bytes:
        return b"%b%010d%b" % (self._before, number, self._after)


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Reply(msgspec.Struct):
    """A reply or a push of the Centrifugo protocol, or an error on /raw."""

    id: int = 0
    error: _Error | None = None


_decode = msgspec.json.Decoder(_Reply).decode


class Dialect(Protocol):
    """One of the two protocols. `acknowledges`: it answers each publication."""

    name: str
    acknowledges: bool

    def resource(self, channel: str, echo: bool) -> str:
        """Path and query; `echo`: what a connection publishes has to come back to it."""

    def greeting(self, channel: str | None) -> bytes:
        """The first message after the upgrade, b"" for none; `channel`: to subscribe to."""

    def is_joined(self, payload: bytes, subscribes: bool) -> bool:
        """Is this the answer to the greeting? Raises `RunFailed`: it is a refusal."""

    def publication(self, channel: str, number: int, payload: bytes) -> bytes:
        """The message that publishes."""

    def acknowledged(self, payload: bytes) -> list[int]:
        """Numbers of the publications that a message acknowledges. Raises `RunFailed`: one is refused."""


class Raw:
    """/raw/<channel>: the payload and nothing else; only errors are said besides."""

    name = "raw"
    acknowledges = False

    def resource(self, channel: str, echo: bool) -> str:
        return f"/raw/{quote(channel, safe=':,;=@$&*')}{'?echo=1' if echo else ''}"

    def greeting(self, channel: str | None) -> bytes:
        return b""

    def is_joined(self, payload: bytes, subscribes: bool) -> bool:
        return True

    def publication(self, channel: str, number: int, payload: bytes) -> bytes:
        return payload

    def acknowledged(self, payload: bytes) -> list[int]:
        if payload.startswith(b'{"error":'):
            _reply(payload)
        return []


class Centrifugo:
    """The Centrifugo client protocol in JSON. A message may hold several replies, one a line."""

    name = "centrifugo"
    acknowledges = True

    def resource(self, channel: str, echo: bool) -> str:
        """Pings are those of WebSocket."""
        return "/connection/websocket?cf_ws_frame_ping_pong=true"

    def greeting(self, channel: str | None) -> bytes:
        command = b'{"id":1,"connect":{}}'
        if channel is not None:
            command += b'\n{"id":%d,"subscribe":{"channel":%b}}' % (_SUBSCRIBE_ID, msgspec.json.encode(channel))
        return command

    def is_joined(self, payload: bytes, subscribes: bool) -> bool:
        last = _SUBSCRIBE_ID if subscribes else 1
        return last in [_reply(line).id for line in payload.split(b"\n") if line]

    def publication(self, channel: str, number: int, payload: bytes) -> bytes:
        name = msgspec.json.encode(channel)
        return b'{"id":%d,"publish":{"channel":%b,"data":%b}}' % (number + _FIRST_PUBLISH_ID, name, payload)

    def acknowledged(self, payload: bytes) -> list[int]:
        if b'"id":' not in payload:
            return []
        replies = [_reply(line) for line in payload.split(b"\n") if line.startswith(b'{"id":')]
        return [reply.id - _FIRST_PUBLISH_ID for reply in replies if reply.id >= _FIRST_PUBLISH_ID]


DIALECTS: dict[str, Dialect] = {"raw": Raw(), "centrifugo": Centrifugo()}


def _reply(line: bytes) -> _Reply:
    """Raises `RunFailed`: it is an error, or no JSON of this kind."""
    try:
        reply = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise RunFailed("the server's answer is not of this protocol") from None
    if reply.error is not None:
        text = f"the server refused: error {reply.error.code}: {printable(reply.error.message)}"
        raise RunFailed(text)
    return reply


def frame(payload: bytes, first: int = 0x81) -> bytes:
    """A client's frame (RFC 6455 5.2); its mask is zeros, which is a mask as good as any to measure with."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, 0xFE, size)
    else:
        head = struct.pack("!BBQ", first, 0xFF, size)
    return head + b"\0\0\0\0" + payload

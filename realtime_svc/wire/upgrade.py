"""The WebSocket upgrade: is it one (RFC 6455 4.2.1), what does it offer, and the answer (4.2.2)."""

from __future__ import annotations

import binascii
import hashlib
import re

from realtime_svc.errors import Refusal, bad_head
from realtime_svc.wire import target as targets
from realtime_svc.wire.http_head import RequestHead, options_of

MAX_SUBPROTOCOLS = 32

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
_NAME = re.compile(targets.TOKEN)
_WEBSOCKET_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_PARAMETER = rf'{targets.TOKEN}(?:[ \t]*=[ \t]*(?:{targets.TOKEN}|"(?:\\?{targets.TOKEN[:-1]})+"))?'
_EXTENSION = re.compile(rf"{targets.TOKEN}(?:[ \t]*;[ \t]*{_PARAMETER})*")


def check_websocket(head: RequestHead) -> None:
    """Check a head that `wants_websocket` against RFC 6455 4.2.1 and 9.1. Raises `Refusal` 400, 405 or 426."""
    if head.method != "GET":
        raise Refusal(405, "method_not_allowed", "a WebSocket is opened with GET", {"Allow": "GET"})
    connection = head.get("connection")
    if connection != "Upgrade" and "upgrade" not in options_of(connection):
        raise bad_head("bad_upgrade", "the Connection header does not hold: Upgrade")
    if head.content_length or head.chunked:
        raise bad_head("upgrade_with_body", "a WebSocket upgrade has no body")
    version = head.get("sec-websocket-version")
    if version is None:
        raise bad_head("no_websocket_version", "the Sec-WebSocket-Version header is missing")
    if version != "13":
        needed = {"Sec-WebSocket-Version": "13", "Upgrade": "websocket"}
        raise Refusal(426, "websocket_version", "the WebSocket version spoken here is 13", needed)
    if _WEBSOCKET_KEY.fullmatch(head.get("sec-websocket-key") or "") is None:
        raise bad_head("bad_websocket_key", "the Sec-WebSocket-Key header is not base64 of 16 bytes")
    parse_protocols(head)
    offered_extensions(head)


def parse_protocols(head: RequestHead) -> list[str]:
    """The sub-protocols a client offers, best first. Raises `Refusal` 400: not tokens, an empty or a repeated one."""
    value = head.get("sec-websocket-protocol")
    if value is None:
        return []
    protocols = [item.strip(" \t") for item in value.split(",", MAX_SUBPROTOCOLS)]
    if not all(map(_NAME.fullmatch, protocols)):  # what is behind the last split holds a comma
        raise bad_head("bad_subprotocol", "the Sec-WebSocket-Protocol header is no list of names, or too long")
    if len(protocols) > MAX_SUBPROTOCOLS or len(set(protocols)) != len(protocols):
        raise bad_head("bad_subprotocol", "the Sec-WebSocket-Protocol header names one twice, or too many")
    return protocols


def answer_upgrade(head: RequestHead, subprotocol: str | None, extensions: str = "") -> bytes:
    """The answer that opens the WebSocket (RFC 6455 4.2.2). `head` passed `check_websocket`; `extensions` is what was
    agreed to, "" for none.
    """
    digest = hashlib.sha1((head.get("sec-websocket-key") or "").encode() + _GUID, usedforsecurity=False).digest()
    return b"".join(
        (
            _ANSWER,
            binascii.b2a_base64(digest, newline=False),
            f"\r\nSec-WebSocket-Protocol: {subprotocol}".encode() if subprotocol is not None else b"",
            f"\r\nSec-WebSocket-Extensions: {extensions}".encode() if extensions else b"",
            b"\r\n\r\n",
        )
    )


def offered_extensions(head: RequestHead) -> list[str]:
    """The extensions a client offers, quotes taken off: a quoted value is a token too (RFC 6455 9.1), or a 400."""
    value = head.get("sec-websocket-extensions")
    if value is None:
        return []
    extensions = [item.strip(" \t") for item in value.split(",")]
    if not all(map(_EXTENSION.fullmatch, extensions)):
        raise bad_head("bad_extensions", "the Sec-WebSocket-Extensions header breaks RFC 6455 9.1")
    return [extension.replace('"', "").replace("\\", "") for extension in extensions]

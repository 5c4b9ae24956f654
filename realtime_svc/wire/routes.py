"""The addresses of the public port.

GET  /ws                   WebSocket, protocol plain
GET  /raw/<channel>        WebSocket, no envelope
GET  /sse/<channel>        Server-Sent Events
POST /publish/<channel>    one publication; the body is the payload
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from realtime_svc.channel import is_channel
from realtime_svc.errors import Refusal, bad_head
from realtime_svc.wire.http_head import RequestHead
from realtime_svc.wire.upgrade import check_websocket


class Endpoint(enum.Enum):
    PLAIN = "ws"
    RAW = "raw"
    SSE = "sse"
    PUBLISH = "publish"

    @property
    def is_websocket(self) -> bool:
        return self in (Endpoint.PLAIN, Endpoint.RAW)


_ADDRESSES = "/ws, /raw/<channel>, /sse/<channel>, /publish/<channel>"
_METHODS = {Endpoint.SSE: ("GET", "OPTIONS"), Endpoint.PUBLISH: ("POST", "OPTIONS")}


class Route(NamedTuple):
    """Where a request goes. `channel` is "" for /ws."""

    endpoint: Endpoint
    channel: str


def route(head: RequestHead) -> Route:
    """Find the endpoint and check that the request fits it. Raises `Refusal` 400, 404, 405 or 426."""
    match head.segments:
        case ("ws",):
            found = Route(Endpoint.PLAIN, "")
        case ("raw" | "sse" | "publish" as name, channel):
            found = Route(Endpoint(name), channel)
        case _:
            raise Refusal(404, "not_found", f"nothing is here; there are {_ADDRESSES}")
    if found.endpoint.is_websocket:
        _check_upgrade(head)
    else:
        _check_plain(head, _METHODS[found.endpoint])
    if found.endpoint is not Endpoint.PLAIN and not is_channel(found.channel):
        raise bad_head("bad_channel", "this is not a channel name")
    return found


def _check_upgrade(head: RequestHead) -> None:
    if head.wants_websocket:
        check_websocket(head)
    elif head.method != "GET":
        raise Refusal(405, "method_not_allowed", "a WebSocket is opened with GET", {"Allow": "GET"})
    else:
        needed = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        raise Refusal(426, "upgrade_required", "this address speaks WebSocket only", needed)


def _check_plain(head: RequestHead, methods: tuple[str, ...]) -> None:
    if head.wants_websocket:
        raise bad_head("no_websocket_here", "this address does not speak WebSocket")
    if head.method not in methods:
        allowed = ", ".join(methods)
        raise Refusal(405, "method_not_allowed", f"allowed here: {allowed}", {"Allow": allowed})
    if "GET" in methods and (head.content_length or head.chunked):
        raise bad_head("unexpected_body", "this request has no body")

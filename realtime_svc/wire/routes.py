"""The addresses of the public port.

GET  /ws                       WebSocket, protocol plain
GET  /raw/<channel>            WebSocket, no envelope
GET  /sse/<channel>            Server-Sent Events
POST /publish/<channel>        one publication; the body is the payload
GET  /connection/websocket     WebSocket, Centrifugo client protocol
POST /connection/http_stream   the same down a response that does not end; the body is the first commands
GET  /connection/sse           the same as Server-Sent Events; `?cf_connect=` is the first command
POST /emulation                later commands of the two
POST /api/<method>             server API, where it is public; GET /api/openapi.json describes it

OPTIONS is answered wherever the address is no WebSocket (CORS). Query parameters that mean nothing are ignored.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from realtime_svc.channel import is_channel
from realtime_svc.errors import Refusal, bad_head
from realtime_svc.wire.http_head import RequestHead
from realtime_svc.wire.upgrade import check_websocket

OPENAPI = "openapi.json"


class Endpoint(enum.Enum):
    """`is_stream`: the response is one that does not end. `has_channel`: the address names a channel. `connects`: the
    first command is one that connects, and brings the credential where the request has none. `has_secret`: the request
    proves itself by a secret of another kind than a client's credential.
    """

    PLAIN = "ws"
    RAW = "raw"
    SSE = "sse"
    PUBLISH = "publish"
    CENTRIFUGE = "connection/websocket"
    HTTP_STREAM = "connection/http_stream"
    CENTRIFUGE_SSE = "connection/sse"
    EMULATION = "emulation"
    API = "api"

    __hash__ = object.__hash__  # the members are few and each is one; that of Enum is a call of Python code

    def __init__(self, address: str) -> None:
        self.is_websocket = address in ("ws", "raw", "connection/websocket")
        self.is_stream = address in ("sse", "connection/sse", "connection/http_stream")
        self.has_channel = address in ("raw", "sse", "publish")
        self.connects = address.startswith("connection/")
        self.has_secret = address in ("emulation", "api")


_ADDRESSES = (
    "/ws, /raw/<channel>, /sse/<channel>, /publish/<channel>, /connection/websocket, /connection/http_stream, "
    "/connection/sse, /emulation"
)
_GET = ("GET", "OPTIONS")
_POST = ("POST", "OPTIONS")
_EMULATION_ENVELOPE = 1024  # bytes around the commands of a POST to /emulation


class Route(NamedTuple):
    """Where a request goes. `channel` is "" where the address names none, `method` is that of the server API."""

    endpoint: Endpoint
    channel: str
    method: str = ""


_WITH_CHANNEL = {endpoint.value: endpoint for endpoint in Endpoint if endpoint.has_channel}
_FIXED = {
    tuple(endpoint.value.split("/")): Route(endpoint, "")
    for endpoint in Endpoint
    if not endpoint.has_channel and endpoint is not Endpoint.API
}


class BodySizes(NamedTuple):
    """The largest request bodies, in bytes: of a client's message, and of the server API (0: it is not public)."""

    message: int
    api: int = 0

    def limit(self, endpoint: Endpoint) -> int:
        """In a POST to /emulation the commands are a JSON string, which makes them longer by a byte for each quote."""
        if endpoint is Endpoint.API:
            return self.api
        return 2 * self.message + _EMULATION_ENVELOPE if endpoint is Endpoint.EMULATION else self.message


def route(head: RequestHead, *, api: bool = False) -> Route:
    """Find the endpoint and check that the request fits it. `api`: is the server API public?

    Raises `Refusal` 400, 404, 405 or 426.
    """
    found = _find(head.segments, api)
    if found.endpoint.is_websocket:
        _check_upgrade(head)
    else:
        _check_plain(head, _methods(found))
    if found.endpoint.has_channel and not is_channel(found.channel):
        raise bad_head("bad_channel", "this is not a channel name")
    return found


def _find(segments: tuple[str, ...], api: bool) -> Route:
    match segments:
        case (name, channel) if name in _WITH_CHANNEL:
            return Route(_WITH_CHANNEL[name], channel)
        case _ if segments in _FIXED:
            return _FIXED[segments]
        case ("api", method) if api and method:
            return Route(Endpoint.API, "", method)
        case _:
            addresses = f"{_ADDRESSES}, /api/<method>" if api else _ADDRESSES
            raise Refusal(404, "not_found", f"nothing is here; there are {addresses}")


def _methods(found: Route) -> tuple[str, ...]:
    if found.endpoint in (Endpoint.SSE, Endpoint.CENTRIFUGE_SSE) or found.method == OPENAPI:
        return _GET
    return _POST


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

"""What a request asks for besides coming in: a sub-protocol, first channels, history, a place to go on from.

    history = 1*9DIGIT                     ?history=10: the newest so many publications come first
    since   = epoch ":" offset             ?since=, or on /sse the header Last-Event-ID, which browsers send themselves

Pure parsing; what the protocol of the address has no use for is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from realtime_svc.errors import bad_head
from realtime_svc.model import StreamPosition, parse_since
from realtime_svc.wire import plain, raw
from realtime_svc.wire.http_head import RequestHead
from realtime_svc.wire.routes import Endpoint

CENTRIFUGE_JSON = "centrifuge-json"
CENTRIFUGE_PROTOBUF = "centrifuge-protobuf"

_SUBPROTOCOLS = {
    Endpoint.PLAIN: (plain.SUBPROTOCOL,),
    Endpoint.RAW: (raw.SUBPROTOCOL,),
    Endpoint.CENTRIFUGE: (CENTRIFUGE_PROTOBUF, CENTRIFUGE_JSON),
}
_RECOVERS = (Endpoint.PLAIN, Endpoint.RAW, Endpoint.SSE)
_LAST = re.compile(r"[0-9]{1,9}", re.ASCII)

Query = Sequence[tuple[str, str]]


class Speech(NamedTuple):
    """How a WebSocket speaks: the sub-protocol that is selected, and what it means on /connection/websocket."""

    subprotocol: str | None = None
    protobuf: bool = False
    frame_pings: bool = False


def speech(endpoint: Endpoint, offered: Sequence[str], query: Query) -> Speech:
    """The first sub-protocol of the address that is offered; Protobuf may be asked for in the query, too."""
    protobuf = endpoint is Endpoint.CENTRIFUGE and (
        CENTRIFUGE_PROTOBUF in offered or ("format", "protobuf") in query or ("cf_protocol", "protobuf") in query
    )
    wanted = (name for name in _SUBPROTOCOLS.get(endpoint, ()) if name in offered)
    frame_pings = endpoint is Endpoint.CENTRIFUGE and ("cf_ws_frame_ping_pong", "true") in query
    return Speech(next(wanted, None), protobuf, frame_pings)


def last(endpoint: Endpoint, query: Query) -> int:
    """How many of the newest publications come first. Raises `Refusal` 400."""
    value = first(query, "history") if endpoint in _RECOVERS else None
    if value is None:
        return 0
    if _LAST.fullmatch(value) is None:
        raise bad_head("bad_history", "history is not a number")
    return int(value)


def since(endpoint: Endpoint, head: RequestHead, query: Query) -> StreamPosition | None:
    """Where to go on from: the header before the query. Raises `Refusal` 400.

    A Last-Event-ID that is not ours is passed over: a browser keeps the one of whatever it was connected to before.
    """
    if endpoint not in _RECOVERS:
        return None
    value = first(query, "since")
    position = parse_since(value) if value is not None else None
    if value is not None and position is None:
        raise bad_head("bad_since", "since is <epoch>:<offset>")
    event_id = head.get("last-event-id") if endpoint is Endpoint.SSE else None
    return (parse_since(event_id) if event_id else None) or position


def first(query: Query, name: str) -> str | None:
    """The first value of a query parameter."""
    return next((value for key, value in query if key == name), None)

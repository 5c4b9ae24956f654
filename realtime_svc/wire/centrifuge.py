"""Centrifugo client protocol, version 2: what its commands mean, however they are encoded.

    command = id, exactly one method: connect, subscribe, unsubscribe, publish, presence, presence_stats, history, send,
              rpc, refresh, sub_refresh                               only `send` comes without an id
    pong    = the empty command

A request is a message of centrifuge.proto, or the JSON struct of the same name with the same fields; in JSON a field
may be null, which is as good as absent. What breaks the protocol ends the connection with 3501; what a client may ask
but does not get here is a `Failed` in the place of the command.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from realtime_svc import errors
from realtime_svc.core import messages
from realtime_svc.core.messages import Command, Failed
from realtime_svc.core.tagsfilter import MAX_DEPTH, MAX_NODES, FilterNode
from realtime_svc.errors import ConnectionClosing, ErrorCode, ReplyError
from realtime_svc.model import StreamPosition

if TYPE_CHECKING:
    from realtime_svc.wire import centrifuge_json_commands as in_json
    from realtime_svc.wire import centrifuge_pb2 as in_protobuf

MAX_NAME = 16  # of the client library; longer ones are cut
MAX_VERSION = 64

_STRICT = 2  # flag of a subscribe: rather an error than a subscription that was not recovered

Handler = Callable[[Any, int], Command | Failed]


def broken() -> ConnectionClosing:
    """3501: what came is not of this protocol."""
    return ConnectionClosing(errors.BAD_REQUEST)


def is_utf8(payload: bytes) -> bool:
    if payload.isascii():
        return True
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def interpret(key: int, requests: Sequence[tuple[str, Any]], handlers: Mapping[str, Handler]) -> Command | Failed:
    """The command with the id `key` and `requests`, as (method, request), of which there has to be one."""
    if not requests and not key:
        return messages.Pong()
    if len(requests) != 1:
        raise broken()
    method, request = requests[0]
    handler = handlers.get(method)
    if handler is None or not (key or method == "send"):
        raise broken()
    return handler(request, key)


def failed(verb: str, key: int, detail: str, code: ErrorCode = ErrorCode.BAD_REQUEST) -> Failed:
    return Failed(ReplyError(code, detail), verb, None, key or None)


def connect(request: in_json.ConnectRequest | in_protobuf.ConnectRequest, key: int) -> messages.Connect:
    """A token may also come in the headers that a browser can't send and the client emulates."""
    subscriptions = (request.subs or {}).items()
    recover = {name: StreamPosition(sub.offset or 0, sub.epoch or "") for name, sub in subscriptions if sub.recover}
    return messages.Connect(
        request.token or _bearer(request.headers or {}),
        bytes(request.data) or None,
        (request.name or "")[:MAX_NAME],
        (request.version or "")[:MAX_VERSION],
        recover,
        key,
    )


def _bearer(headers: Mapping[str, str]) -> str:
    """The token of an `Authorization` header (RFC 6750 2.1), or ""."""
    for name, value in headers.items():
        scheme, _, token = value.partition(" ")
        if name.lower() == "authorization" and scheme.lower() == "bearer":
            return token.strip()
    return ""


def subscribe(
    request: in_json.SubscribeRequest | in_protobuf.SubscribeRequest,
    tags_filter: in_json.FilterNode | in_protobuf.FilterNode | None,
    key: int,
) -> messages.Subscribe | Failed:
    channel = _channel(request.channel)
    try:
        wanted = None if tags_filter is None else _filter_node(tags_filter, 1, itertools.count(1))
    except ReplyError as error:
        return Failed(error, "subscribe", None, key)
    return messages.Subscribe(
        channel,
        key,
        request.token or "",
        bytes(request.data) or None,
        StreamPosition(request.offset or 0, request.epoch or "") if request.recover else None,
        bool((request.flag or 0) & _STRICT),
        0,
        bool(request.positioned),
        bool(request.recoverable),
        bool(request.join_leave),
        request.delta or "",
        wanted,
        request.type or 0,
    )


def _filter_node(node: in_json.FilterNode | in_protobuf.FilterNode, depth: int, number: Iterator[int]) -> FilterNode:
    if depth > MAX_DEPTH or next(number) > MAX_NODES:
        detail = f"a tags filter has at most {MAX_DEPTH} levels and {MAX_NODES} nodes"
        raise ReplyError(ErrorCode.BAD_REQUEST, detail)
    nodes = tuple(_filter_node(child, depth + 1, number) for child in node.nodes or ())
    return FilterNode(node.op or "", node.key or "", node.cmp or "", node.val or "", tuple(node.vals or ()), nodes)


def unsubscribe(request: in_json.UnsubscribeRequest | in_protobuf.UnsubscribeRequest, key: int) -> messages.Unsubscribe:
    return messages.Unsubscribe(_channel(request.channel), key)


def publish(
    request: in_json.PublishRequest | in_protobuf.PublishRequest, binary: bool, key: int
) -> messages.Publish | Failed:
    channel = _channel(request.channel)
    if request.type:
        return failed("publish", key, "only publications of type 0 are available", ErrorCode.NOT_AVAILABLE)
    return messages.Publish(channel, bytes(request.data), binary, None, key)


def presence(request: in_json.PresenceRequest | in_protobuf.PresenceRequest, key: int) -> messages.Presence:
    return messages.Presence(_channel(request.channel), key)


def presence_stats(
    request: in_json.PresenceStatsRequest | in_protobuf.PresenceStatsRequest, key: int
) -> messages.PresenceStats:
    return messages.PresenceStats(_channel(request.channel), key)


def history(
    request: in_json.HistoryRequest | in_protobuf.HistoryRequest,
    since: in_json.StreamPosition | in_protobuf.StreamPosition | None,
    key: int,
) -> messages.History:
    channel = _channel(request.channel)
    position = None if since is None else StreamPosition(since.offset or 0, since.epoch or "")
    return messages.History(channel, request.limit or 0, position, bool(request.reverse), key)


def call(request: in_json.RPCRequest | in_protobuf.RPCRequest, key: int) -> messages.Call:
    return messages.Call(request.method or "", bytes(request.data) or None, key)


def refresh(request: in_json.RefreshRequest | in_protobuf.RefreshRequest, key: int) -> messages.Refresh:
    if not request.token:
        raise broken()
    return messages.Refresh(request.token, key)


def refresh_subscription(
    request: in_json.SubRefreshRequest | in_protobuf.SubRefreshRequest, key: int
) -> messages.SubscriptionRefresh | Failed:
    channel = _channel(request.channel)
    if request.type:
        return failed("sub_refresh", key, "only subscriptions of type 0 are available", ErrorCode.NOT_AVAILABLE)
    return messages.SubscriptionRefresh(channel, request.token or "", key)


def _channel(name: str | None) -> str:
    """The channel that a request has to name."""
    if not name:
        raise broken()
    return name


HANDLERS: Mapping[str, Handler] = {
    "connect": connect,
    "unsubscribe": unsubscribe,
    "presence": presence,
    "presence_stats": presence_stats,
    "rpc": call,
    "refresh": refresh,
    "sub_refresh": refresh_subscription,
}
"""The methods whose requests are read alike in both encodings."""

"""Centrifugo client protocol in JSON: the requests of a client, and how a line becomes a command.

In every field null is as good as absent. Of a key that comes twice, the last one counts. Unknown keys are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec

from realtime_svc.core import messages
from realtime_svc.core.messages import Command, Failed
from realtime_svc.core.payload import check_depth
from realtime_svc.wire import centrifuge

MAX_ENVELOPE_DEPTH = 128  # a payload of 32, or a tags filter of which it can be said that it is too deep

Uint32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class ConnectRequest(msgspec.Struct):
    verb: ClassVar[str] = "connect"
    token: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    name: str | None = None
    version: str | None = None
    headers: dict[str, str] | None = None
    subs: dict[str, SubscribeRequest] | None = None


class FilterNode(msgspec.Struct):
    op: str | None = None
    key: str | None = None
    cmp: str | None = None
    val: str | None = None
    vals: list[str] | None = None
    nodes: list[FilterNode] | None = None


class SubscribeRequest(msgspec.Struct):
    verb: ClassVar[str] = "subscribe"
    channel: str | None = None
    token: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    recover: bool | None = None
    offset: Offset | None = None
    epoch: str | None = None
    positioned: bool | None = None
    recoverable: bool | None = None
    join_leave: bool | None = None
    delta: str | None = None
    tf: FilterNode | None = None
    flag: Int64 | None = None
    type: Int32 | None = None


class UnsubscribeRequest(msgspec.Struct):
    verb: ClassVar[str] = "unsubscribe"
    channel: str | None = None


class PublishRequest(msgspec.Struct):
    verb: ClassVar[str] = "publish"
    channel: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    type: Int32 | None = None


class PresenceRequest(msgspec.Struct):
    verb: ClassVar[str] = "presence"
    channel: str | None = None


class PresenceStatsRequest(msgspec.Struct):
    verb: ClassVar[str] = "presence_stats"
    channel: str | None = None


class StreamPosition(msgspec.Struct):
    offset: Offset | None = None
    epoch: str | None = None


class HistoryRequest(msgspec.Struct):
    verb: ClassVar[str] = "history"
    channel: str | None = None
    limit: Int32 | None = None
    since: StreamPosition | None = None
    reverse: bool | None = None


class SendRequest(msgspec.Struct):
    verb: ClassVar[str] = "send"
    data: msgspec.Raw = msgspec.Raw()


class RPCRequest(msgspec.Struct):
    verb: ClassVar[str] = "rpc"
    method: str | None = None
    data: msgspec.Raw = msgspec.Raw()


class RefreshRequest(msgspec.Struct):
    verb: ClassVar[str] = "refresh"
    token: str | None = None


class SubRefreshRequest(msgspec.Struct):
    verb: ClassVar[str] = "sub_refresh"
    channel: str | None = None
    token: str | None = None
    type: Int32 | None = None


class _Command(msgspec.Struct):
    id: Uint32 | None = None
    connect: ConnectRequest | None = None
    subscribe: SubscribeRequest | None = None
    unsubscribe: UnsubscribeRequest | None = None
    publish: PublishRequest | None = None
    presence: PresenceRequest | None = None
    presence_stats: PresenceStatsRequest | None = None
    history: HistoryRequest | None = None
    send: SendRequest | None = None
    rpc: RPCRequest | None = None
    refresh: RefreshRequest | None = None
    sub_refresh: SubRefreshRequest | None = None


class _UsualRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    channel: Annotated[str, msgspec.Meta(min_length=1)]
    data: msgspec.Raw


class _UsualCommand(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What is said most often: a publication and nothing besides. Everything else is for `_Command`."""

    id: Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)]
    publish: _UsualRequest


_decode = msgspec.json.Decoder(_Command).decode
_decode_usual = msgspec.json.Decoder(_UsualCommand).decode
_PUBLISH = b'"publish"'
_EARLY = 40  # bytes: a publication says so there, if it says its id first
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def _subscribe(request: SubscribeRequest, key: int) -> Command | Failed:
    return centrifuge.subscribe(request, request.tf, key)


def _history(request: HistoryRequest, key: int) -> Command | Failed:
    return centrifuge.history(request, request.since, key)


def _publish(request: PublishRequest, key: int) -> Command | Failed:
    command = centrifuge.publish(request, False, key)
    return command if request.data else centrifuge.failed("publish", key, "data is missing")


def _send(request: SendRequest, key: int) -> Command | Failed:
    if not request.data:
        return centrifuge.failed("send", key, "data is missing")
    return messages.Send(bytes(request.data))


_HANDLERS: Mapping[str, centrifuge.Handler] = {
    **centrifuge.HANDLERS,
    "subscribe": _subscribe,
    "publish": _publish,
    "history": _history,
    "send": _send,
}


def read_command(line: bytes) -> Command | Failed:
    """One command. Raises `ConnectionClosing` (3501). Whether `line` is UTF-8 throughout has been checked."""
    if len(line) > 2 * MAX_ENVELOPE_DEPTH and not check_depth(line, MAX_ENVELOPE_DEPTH):  # a level takes two bytes
        raise centrifuge.broken()
    if line.find(_PUBLISH, 0, _EARLY) >= 0:
        try:
            usual = _decode_usual(line)
            request = usual.publish
            return messages.Publish(request.channel, bytes(request.data), False, None, usual.id)
        except _UNREADABLE:
            pass
    try:
        command = _decode(line)
    except _UNREADABLE:
        raise centrifuge.broken() from None
    requests = [(request.verb, request) for request in msgspec.structs.astuple(command)[1:] if request is not None]
    return centrifuge.interpret(command.id or 0, requests, _HANDLERS)

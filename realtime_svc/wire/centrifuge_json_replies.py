"""Centrifugo client protocol in JSON: the replies of the server, each as one line.

A field that is zero, empty or false is left out, except where clients count on it: such fields have no default here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from realtime_svc.core import messages
from realtime_svc.core.messages import Failed, SubscriptionResult
from realtime_svc.errors import ErrorCode, ReplyError
from realtime_svc.model import ClientInfo, Publication

PUBLISHERS = 1024  # clients whose description is kept in its encoded form
Embedded = msgspec.Raw | msgspec.UnsetType

_encode = msgspec.json.Encoder().encode


class _ClientInfo(msgspec.Struct, omit_defaults=True):
    user: str
    client: str
    conn_info: Embedded = msgspec.UNSET
    chan_info: Embedded = msgspec.UNSET


class _Publication(msgspec.Struct, omit_defaults=True):
    data: msgspec.Raw | str
    info: _ClientInfo | None = None
    offset: int = 0
    tags: dict[str, str] | None = None
    delta: bool = False
    epoch: str = ""
    version: int = 0


class _SubscribeResult(msgspec.Struct, omit_defaults=True):
    expires: bool = False
    ttl: int = 0
    recoverable: bool = False
    epoch: str = ""
    publications: list[_Publication] | None = None
    recovered: bool = False
    offset: int = 0
    positioned: bool = False
    data: Embedded = msgspec.UNSET
    was_recovering: bool = False
    delta: bool = False


class _ConnectResult(msgspec.Struct, omit_defaults=True):
    client: str
    version: str
    expires: bool = False
    ttl: int = 0
    data: Embedded = msgspec.UNSET
    subs: dict[str, _SubscribeResult] | None = None
    ping: int = 0
    pong: bool = False
    session: str = ""
    node: str = ""


class _HistoryResult(msgspec.Struct):
    publications: list[_Publication]
    epoch: str
    offset: int


class _PresenceResult(msgspec.Struct):
    presence: dict[str, _ClientInfo]


class _PresenceStatsResult(msgspec.Struct):
    num_clients: int
    num_users: int


class _RefreshResult(msgspec.Struct, omit_defaults=True):
    expires: bool = False
    ttl: int = 0


class _Data(msgspec.Struct):
    data: Embedded


class _Info(msgspec.Struct):
    info: _ClientInfo


class _Ending(msgspec.Struct):
    code: int
    reason: str


class _Error(msgspec.Struct, omit_defaults=True):
    code: int
    message: str
    temporary: bool = False


class _Empty(msgspec.Struct):
    pass


class NotJsonError(Exception):
    """A publication that this encoding can't say."""


def not_json(reply: messages.Reply) -> bytes | None:
    """The answer in place of one that this encoding can't say."""
    error = ReplyError(ErrorCode.NOT_AVAILABLE, "this encoding carries JSON only, and the channel bytes")
    return _failed(Failed(error, id=getattr(reply, "id", None)))


def _reply(key: messages.CommandId, method: bytes, body: msgspec.Struct) -> bytes | None:
    """The answer to the command `key`; None for what nobody asked."""
    return None if key is None else b'{"id":%b,"%b":%b}' % (_encode(key), method, _encode(body))


def _push(channel: str, kind: bytes, body: msgspec.Struct) -> bytes:
    if not channel:
        return b'{"push":{"%b":%b}}' % (kind, _encode(body))
    return b'{"push":{"channel":%b,"%b":%b}}' % (_encode(channel), kind, _encode(body))


def _embedded(value: bytes | None) -> Embedded:
    """A JSON value as it is, but on one line: a newline would end the message."""
    if not value:
        return msgspec.UNSET
    return msgspec.Raw(value.replace(b"\n", b" ").replace(b"\r", b" "))


def _client_info(info: ClientInfo) -> _ClientInfo:
    return _ClientInfo(info.user, info.client, _embedded(info.info), _embedded(info.channel_info))


def _publication(publication: Publication, fossil: bool = False, delta: bytes | None = None) -> _Publication:
    """`fossil` and `delta` as in `messages.Message`. A stream's first publication brings the epoch along."""
    if not publication.is_json:
        raise NotJsonError
    publisher = publication.publisher
    said = publication.data if delta is None else delta
    return _Publication(
        said.decode() if fossil else msgspec.Raw(said),
        None if publisher is None else _client_info(publisher),
        publication.offset,
        publication.tags or None,
        delta is not None,
        publication.epoch if publication.offset == 1 else "",
        publication.version,
    )


def _publication_of(message: messages.Message) -> _Publication:
    return _publication(message.publication, message.fossil, message.delta)


def _subscribe_result(result: SubscriptionResult) -> _SubscribeResult:
    offset, epoch = result.position or (0, "")
    return _SubscribeResult(
        result.expires_in is not None,
        result.expires_in or 0,
        result.recoverable,
        epoch,
        [_publication_of(message) for message in result.messages] or None,
        result.recovered,
        offset,
        result.positioned,
        _embedded(result.data),
        result.was_recovering,
        result.delta,
    )


def _connected(reply: messages.Connected) -> bytes | None:
    body = _ConnectResult(
        reply.client,
        reply.version,
        reply.expires_in is not None,
        reply.expires_in or 0,
        _embedded(reply.data),
        {channel: _subscribe_result(result) for channel, result in reply.subscriptions.items()} or None,
        reply.ping,
        reply.ping > 0,
        reply.session,
        reply.node,
    )
    return _reply(reply.id, b"connect", body)


def _subscribed(reply: messages.Subscribed) -> bytes | None:
    return _reply(reply.id, b"subscribe", _subscribe_result(reply.result))


def _done(reply: messages.Done) -> bytes | None:
    """Of an unsubscribe: every other command here has an answer of its own."""
    return _reply(reply.id, b"unsubscribe", _Empty())


def _published(reply: messages.Published) -> bytes | None:
    return None if reply.id is None else b'{"id":' + _encode(reply.id) + b',"publish":{}}'


def _history_result(reply: messages.HistoryResult) -> bytes | None:
    found = [_publication(publication) for publication in reply.publications]
    return _reply(reply.id, b"history", _HistoryResult(found, reply.position.epoch, reply.position.offset))


def _presence_result(reply: messages.PresenceResult) -> bytes | None:
    members = {client: _client_info(info) for client, info in reply.members.items()}
    return _reply(reply.id, b"presence", _PresenceResult(members))


def _presence_stats_result(reply: messages.PresenceStatsResult) -> bytes | None:
    return _reply(reply.id, b"presence_stats", _PresenceStatsResult(reply.clients, reply.users))


def _call_result(reply: messages.CallResult) -> bytes | None:
    return _reply(reply.id, b"rpc", _Data(_embedded(reply.data)))


def _refreshed(reply: messages.Refreshed) -> bytes | None:
    body = _RefreshResult(reply.expires_in is not None, reply.expires_in or 0)
    return _reply(reply.id, b"refresh" if reply.channel is None else b"sub_refresh", body)


def _failed(reply: Failed) -> bytes | None:
    error = reply.error
    return _reply(reply.id, b"error", _Error(error.number, error.message, error.temporary))


def _message(reply: messages.Message) -> bytes | None:
    publication = reply.publication
    if not publication.is_json:
        return None
    if not publication.channel:
        return _push("", b"message", _Data(_embedded(publication.data)))
    if reply.fossil or publication.offset == 1 or publication.tags or publication.version:
        return _push(publication.channel, b"pub", _publication_of(reply))
    return _usual_push(publication)


def _usual_push(publication: Publication) -> bytes:
    """What `_push` says of a publication without anything special, in a third of the time."""
    publisher, offset = publication.publisher, publication.offset
    return b'{"push":{"channel":%b,"pub":{"data":%b%b%b}}}' % (
        _encode(publication.channel),
        publication.data,
        b"" if publisher is None else _info_member(publisher),
        b',"offset":%d' % offset if offset else b"",
    )


@lru_cache(PUBLISHERS)
def _info_member(info: ClientInfo) -> bytes:
    return b',"info":' + _encode(_client_info(info))


def _server_subscribed(reply: messages.ServerSubscribed) -> bytes:
    """What was recovered comes behind it, in the same frame."""
    offset, epoch = reply.result.position or (0, "")
    result = reply.result
    body = _SubscribeResult(
        recoverable=result.recoverable,
        epoch=epoch,
        offset=offset,
        positioned=result.positioned,
        data=_embedded(result.data),
    )
    recovered = [_push(reply.channel, b"pub", _publication_of(message)) for message in result.messages]
    return b"\n".join([_push(reply.channel, b"subscribe", body), *recovered])


def _joined(reply: messages.Joined) -> bytes:
    return _push(reply.channel, b"join", _Info(_client_info(reply.info)))


def _left(reply: messages.Left) -> bytes:
    return _push(reply.channel, b"leave", _Info(_client_info(reply.info)))


def _unsubscribed(reply: messages.Unsubscribed) -> bytes:
    return _push(reply.channel, b"unsubscribe", _Ending(*reply.why))


def _bye(reply: messages.Bye) -> bytes:
    return _push("", b"disconnect", _Ending(*reply.disconnect))


def _ping(reply: messages.PingPush) -> bytes:
    return b"{}"


ENCODERS: Mapping[type, Callable[[Any], bytes | None]] = {
    messages.Message: _message,
    messages.PingPush: _ping,
    messages.Connected: _connected,
    messages.Subscribed: _subscribed,
    messages.Done: _done,
    messages.Published: _published,
    messages.HistoryResult: _history_result,
    messages.PresenceResult: _presence_result,
    messages.PresenceStatsResult: _presence_stats_result,
    messages.CallResult: _call_result,
    messages.Refreshed: _refreshed,
    Failed: _failed,
    messages.Joined: _joined,
    messages.Left: _left,
    messages.ServerSubscribed: _server_subscribed,
    messages.Unsubscribed: _unsubscribed,
    messages.Bye: _bye,
}
"""What makes the line of a reply. None: it is not said in this protocol. Raises `NotJsonError`."""

"""Protocol `plain.v1`, what the server says: one JSON object a frame, with exactly one of these keys first.

    hello        {"client","user","version","recover","max_size"}          the first thing a client is told
    ok           the verb; "channel", "id", and what belongs to the verb    a command was carried out
    error        {"code","message","temporary"}; "on", "channel", "id"      a command was refused
    message      the channel; "data" / "b64data", "offset", "from", "tags"  a publication
    join, leave  the channel; "from"                                        somebody else's, or the own, subscription
    subscribed   the channel; "offset", "epoch", "recovered", "data"        the server subscribed the client
    unsubscribed the channel; "code", "reason"                              the server ended a subscription
    bye          {"code","reason","reconnect"}                              directly before the close

Keys that do not apply are left out. No object holds a raw newline.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from realtime_svc.core import messages
from realtime_svc.core.messages import SubscriptionResult
from realtime_svc.errors import ReplyError
from realtime_svc.model import ClientInfo, Publication, StreamPosition
from realtime_svc.wire import frames

PUBLISHERS = 1024  # clients whose description is kept in its encoded form
_HELP = (
    b'"one command a line, as JSON or as words: '
    b"auth TOKEN | subscribe CHANNEL | unsubscribe CHANNEL | publish CHANNEL DATA | history CHANNEL [HOW MANY] | "
    b"presence CHANNEL | call METHOD [DATA] | ping | help"
    b'"'
)

_encode = msgspec.json.Encoder().encode


def encode(reply: messages.Reply) -> frames.Frame | None:
    """One reply as one text frame; None for what belongs to protocols with a handshake."""
    encoder = _ENCODERS.get(type(reply))
    return None if encoder is None else frames.message_frame(encoder(reply))


def error_body(error: ReplyError) -> bytes:
    """The object that describes an error, as JSON."""
    return _encode({"code": error.number, "message": error.message, "temporary": error.temporary})


# ---- parts of objects


def _id(key: messages.CommandId) -> bytes:
    return b"" if key is None else b',"id":' + _encode(key)


def _channel(channel: str | None) -> bytes:
    return b"" if channel is None else b',"channel":' + _encode(channel)


def _position(position: StreamPosition | None) -> bytes:
    if position is None:
        return b""
    return b',"offset":%d,"epoch":' % position.offset + _encode(position.epoch)


def _json(key: bytes, text: bytes | None) -> bytes:
    """JSON text that came from elsewhere. Each raw newline in it stands between tokens (RFC 8259 7)."""
    return b"" if text is None else b',"%s":' % key + text.replace(b"\n", b" ").replace(b"\r", b" ")


def _client(info: ClientInfo) -> bytes:
    more = _json(b"info", info.info) + _json(b"channel_info", info.channel_info)
    return b'{"client":' + _encode(info.client) + b',"user":' + _encode(info.user) + more + b"}"


def _subscription(result: SubscriptionResult) -> bytes:
    recovered = b',"recovered":' + _encode(result.recovered) if result.was_recovering else b""
    return _position(result.position) + recovered + _json(b"data", result.data)


def _publication(publication: Publication) -> bytes:
    publisher, offset = publication.publisher, publication.offset
    return b'{"message":%b%b%b%b%b}' % (
        _encode(publication.channel),
        b',"data":' + publication.data if publication.is_json else _opaque(publication.data),
        b',"offset":%d' % offset if offset else b"",
        b"" if publisher is None else _from(publisher),
        b',"tags":' + _encode(publication.tags) if publication.tags else b"",
    )


@lru_cache(PUBLISHERS)
def _from(publisher: ClientInfo) -> bytes:
    return b',"from":' + _client(publisher)


def _opaque(data: bytes) -> bytes:
    return b',"b64data":"' + base64.b64encode(data) + b'"'


# ---- objects


def _hello(reply: messages.Hello) -> bytes:
    body = {"client": reply.client, "user": reply.user, "version": "1", "recover": True, "max_size": reply.max_size}
    return b'{"hello":' + _encode(body) + b"}"


def _done(reply: messages.Done) -> bytes:
    user = b"" if reply.user is None else b',"user":' + _encode(reply.user)
    return b'{"ok":"' + reply.verb.encode() + b'"' + _channel(reply.channel) + user + _id(reply.id) + b"}"


def _subscribed(reply: messages.Subscribed) -> bytes:
    return b'{"ok":"subscribe"' + _channel(reply.channel) + _subscription(reply.result) + _id(reply.id) + b"}"


def _published(reply: messages.Published) -> bytes:
    key, position = reply.id, reply.position
    return b'{"ok":"publish","channel":%b%b%b}' % (
        _encode(reply.channel),
        b"" if position is None else _position(position),
        b"" if key is None else b',"id":' + _encode(key),
    )


def _history(reply: messages.HistoryResult) -> bytes:
    found = b',"messages":[' + b",".join(map(_publication, reply.publications)) + b"]"
    return b'{"ok":"history"' + _channel(reply.channel) + found + _position(reply.position) + _id(reply.id) + b"}"


def _presence(reply: messages.PresenceResult) -> bytes:
    members = b',"members":[' + b",".join(map(_client, reply.members.values())) + b"]"
    return b'{"ok":"presence"' + _channel(reply.channel) + members + _id(reply.id) + b"}"


def _presence_stats(reply: messages.PresenceStatsResult) -> bytes:
    counts = b',"clients":%d,"users":%d' % (reply.clients, reply.users)
    return b'{"ok":"presence"' + _channel(reply.channel) + counts + _id(reply.id) + b"}"


def _called(reply: messages.CallResult) -> bytes:
    data = _json(b"data", b"null" if reply.data is None else reply.data)
    return b'{"ok":"call","method":' + _encode(reply.method) + data + _id(reply.id) + b"}"


def _failed(reply: messages.Failed) -> bytes:
    on = b"" if reply.verb is None else b',"on":"' + reply.verb.encode() + b'"'
    return b'{"error":' + error_body(reply.error) + on + _channel(reply.channel) + _id(reply.id) + b"}"


def _help(reply: messages.HelpText) -> bytes:
    return b'{"ok":"help","data":' + _HELP + _id(reply.id) + b"}"


def _message(reply: messages.Message) -> bytes:
    return _publication(reply.publication)


def _joined(reply: messages.Joined) -> bytes:
    return b'{"join":' + _encode(reply.channel) + b',"from":' + _client(reply.info) + b"}"


def _left(reply: messages.Left) -> bytes:
    return b'{"leave":' + _encode(reply.channel) + b',"from":' + _client(reply.info) + b"}"


def _server_subscribed(reply: messages.ServerSubscribed) -> bytes:
    return b'{"subscribed":' + _encode(reply.channel) + _subscription(reply.result) + b"}"


def _unsubscribed(reply: messages.Unsubscribed) -> bytes:
    return _encode({"unsubscribed": reply.channel, "code": reply.why.code, "reason": reply.why.reason})


def _bye(reply: messages.Bye) -> bytes:
    code, reason = reply.disconnect
    return _encode({"bye": {"code": code, "reason": reason, "reconnect": reply.disconnect.reconnect}})


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    messages.Hello: _hello,
    messages.Done: _done,
    messages.Subscribed: _subscribed,
    messages.Published: _published,
    messages.HistoryResult: _history,
    messages.PresenceResult: _presence,
    messages.PresenceStatsResult: _presence_stats,
    messages.CallResult: _called,
    messages.Failed: _failed,
    messages.HelpText: _help,
    messages.Message: _message,
    messages.Joined: _joined,
    messages.Left: _left,
    messages.ServerSubscribed: _server_subscribed,
    messages.Unsubscribed: _unsubscribed,
    messages.Bye: _bye,
}

"""Centrifugo client protocol in Protocol Buffers: the replies of the server.

Fields are set one by one: that is three times as fast as giving them to a constructor. A result without content has to
be there all the same: `SetInParent`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from realtime_svc.core import messages
from realtime_svc.core.messages import SubscriptionResult
from realtime_svc.model import ClientInfo
from realtime_svc.wire import centrifuge_pb2 as pb

_MOST_SECONDS = 2**32 - 1


def messages_of(reply: messages.Reply) -> list[bytes]:
    """What says `reply`: mostly one message, none where this protocol does not say it."""
    kind = type(reply)
    if kind is messages.PingPush:
        return [b""]
    filled = pb.Reply()
    if push := _PUSHES.get(kind):
        push(reply, filled.push)
    elif (result := _RESULTS.get(kind)) and isinstance(key := getattr(reply, "id", None), int):
        filled.id = key
        result(reply, filled)
    else:
        return []
    more = reply.result.messages if isinstance(reply, messages.ServerSubscribed) else ()
    return [filled.SerializeToString(), *[body for message in more for body in messages_of(message)]]


def _message(reply: messages.Message, push: pb.Push) -> None:
    publication = reply.publication
    if publication.channel:
        push.channel = publication.channel
        _publication(push.pub, reply)
    else:
        push.message.data = publication.data


def _publication(body: pb.Publication, message: messages.Message) -> None:
    """A stream's first publication brings the epoch along."""
    publication, delta = message.publication, message.delta
    if delta is None:
        body.data = publication.data
    else:
        body.data = delta
        body.delta = True
    if publication.publisher is not None:
        _client_info(body.info, publication.publisher)
    body.offset = publication.offset
    if publication.offset == 1:
        body.epoch = publication.epoch
    if publication.tags:
        body.tags.update(publication.tags)
    body.version = publication.version


def _client_info(body: pb.ClientInfo, info: ClientInfo) -> None:
    body.user = info.user
    body.client = info.client
    body.conn_info = info.info or b""
    body.chan_info = info.channel_info or b""


def _joined(reply: messages.Joined, push: pb.Push) -> None:
    push.channel = reply.channel
    _client_info(push.join.info, reply.info)


def _left(reply: messages.Left, push: pb.Push) -> None:
    push.channel = reply.channel
    _client_info(push.leave.info, reply.info)


def _server_subscribed(reply: messages.ServerSubscribed, push: pb.Push) -> None:
    """What was recovered comes behind it, in the same frame."""
    push.channel = reply.channel
    result = reply.result
    body = push.subscribe
    body.SetInParent()
    body.recoverable = result.recoverable
    body.positioned = result.positioned
    if result.position is not None:
        body.offset, body.epoch = result.position
    body.data = result.data or b""


def _unsubscribed(reply: messages.Unsubscribed, push: pb.Push) -> None:
    push.channel = reply.channel
    push.unsubscribe.code, push.unsubscribe.reason = reply.why


def _bye(reply: messages.Bye, push: pb.Push) -> None:
    push.disconnect.code, push.disconnect.reason = reply.disconnect


def _connected(reply: messages.Connected, out: pb.Reply) -> None:
    body = out.connect
    body.client = reply.client
    body.version = reply.version
    _expiry(body, reply.expires_in)
    body.data = reply.data or b""
    for channel, result in reply.subscriptions.items():
        _subscribe_result(body.subs[channel], result)
    body.ping = reply.ping
    body.pong = reply.ping > 0
    body.session = reply.session
    body.node = reply.node


def _expiry(
    body: pb.ConnectResult | pb.SubscribeResult | pb.RefreshResult | pb.SubRefreshResult, expires_in: int | None
) -> None:
    if expires_in is not None:
        body.expires = True
        body.ttl = min(expires_in, _MOST_SECONDS)


def _subscribe_result(body: pb.SubscribeResult, result: SubscriptionResult) -> None:
    _expiry(body, result.expires_in)
    body.recoverable = result.recoverable
    body.positioned = result.positioned
    if result.position is not None:
        body.offset, body.epoch = result.position
    body.was_recovering = result.was_recovering
    body.recovered = result.recovered
    for message in result.messages:
        _publication(body.publications.add(), message)
    body.data = result.data or b""
    body.delta = result.delta


def _subscribed(reply: messages.Subscribed, out: pb.Reply) -> None:
    out.subscribe.SetInParent()
    _subscribe_result(out.subscribe, reply.result)


def _done(reply: messages.Done, out: pb.Reply) -> None:
    """Of an unsubscribe: every other command here has an answer of its own."""
    out.unsubscribe.SetInParent()


def _published(reply: messages.Published, out: pb.Reply) -> None:
    out.publish.SetInParent()


def _history_result(reply: messages.HistoryResult, out: pb.Reply) -> None:
    out.history.SetInParent()
    out.history.offset, out.history.epoch = reply.position
    for publication in reply.publications:
        _publication(out.history.publications.add(), messages.Message(publication))


def _presence_result(reply: messages.PresenceResult, out: pb.Reply) -> None:
    out.presence.SetInParent()
    for client, info in reply.members.items():
        _client_info(out.presence.presence[client], info)


def _presence_stats_result(reply: messages.PresenceStatsResult, out: pb.Reply) -> None:
    out.presence_stats.SetInParent()
    out.presence_stats.num_clients = reply.clients
    out.presence_stats.num_users = reply.users


def _call_result(reply: messages.CallResult, out: pb.Reply) -> None:
    out.rpc.SetInParent()
    out.rpc.data = reply.data or b""


def _refreshed(reply: messages.Refreshed, out: pb.Reply) -> None:
    body = out.refresh if reply.channel is None else out.sub_refresh
    body.SetInParent()
    _expiry(body, reply.expires_in)


def _failed(reply: messages.Failed, out: pb.Reply) -> None:
    out.error.code = reply.error.number
    out.error.message = reply.error.message
    out.error.temporary = reply.error.temporary


_PUSHES: Mapping[type, Callable[[Any, pb.Push], None]] = {
    messages.Message: _message,
    messages.Joined: _joined,
    messages.Left: _left,
    messages.ServerSubscribed: _server_subscribed,
    messages.Unsubscribed: _unsubscribed,
    messages.Bye: _bye,
}

_RESULTS: Mapping[type, Callable[[Any, pb.Reply], None]] = {
    messages.Connected: _connected,
    messages.Subscribed: _subscribed,
    messages.Done: _done,
    messages.Published: _published,
    messages.HistoryResult: _history_result,
    messages.PresenceResult: _presence_result,
    messages.PresenceStatsResult: _presence_stats_result,
    messages.CallResult: _call_result,
    messages.Refreshed: _refreshed,
    messages.Failed: _failed,
}

"""The methods of the server API: what each does with the node.

A method takes a decoded request and returns a result (both of `api_types`), or raises `ReplyError`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from realtime_svc import model
from realtime_svc.core import messages
from realtime_svc.core.payload import parse_json
from realtime_svc.errors import FORCED, Disconnect, ErrorCode, ReplyError
from realtime_svc.http import api_types as types
from realtime_svc.http.api_keys import Holder
from realtime_svc.http.api_work import Pace, gather

if TYPE_CHECKING:
    from realtime_svc.core.node import Node

NULL = Raw(b"null")
MAX_REASON = 123  # bytes of a close frame's reason (RFC 6455 5.5)


class Context(NamedTuple):
    """Where a method is called: the node, who calls, how many channels a broadcast may have, and how fast it may go."""

    node: Node
    holder: Holder
    most: int
    pace: Pace


class Method(NamedTuple):
    name: str
    summary: str
    request: type[types.Part]
    result: type[types.Part]
    call: Callable[[Context, Any], Coroutine[Any, Any, types.Part]]


def as_reply_error(node: Node, error: BaseException) -> ReplyError:
    """What the caller is told. Anything but a `ReplyError` was not expected and is reported."""
    if not isinstance(error, ReplyError):
        node.report("a call of the server API failed", error)
        error = ReplyError(ErrorCode.INTERNAL)
    node.count_error(error)
    return error


def as_error(error: ReplyError) -> types.Error:
    return types.Error(code=error.number, message=error.message)


# ---- publishing


async def publish(context: Context, request: types.PublishRequest) -> types.PublishResult:
    return await _publish(context, request, request.channel)


async def broadcast(context: Context, request: types.BroadcastRequest) -> types.BroadcastResult:
    """One channel's trouble is not the others'."""
    if not request.channels:
        raise ReplyError(ErrorCode.BAD_REQUEST, "channels is empty")
    if len(request.channels) > context.most:
        raise ReplyError(ErrorCode.LIMIT_EXCEEDED, f"channels: at most {context.most}")
    works = (_publish(context, request, channel) for channel in request.channels)
    outcomes = await gather(context.node.run, context.pace, works)
    return types.BroadcastResult(responses=[_response(context.node, *outcome) for outcome in outcomes])


def _response(node: Node, result: Any, error: BaseException | None) -> types.PublishResponse:
    if error is None:
        return types.PublishResponse(result=result)
    return types.PublishResponse(error=as_error(as_reply_error(node, error)))


async def _publish(
    context: Context, request: types.PublishRequest | types.BroadcastRequest, channel: str
) -> types.PublishResult:
    if isinstance(request, types.BroadcastRequest) and not context.holder.allows("broadcast", channel):
        raise ReplyError(ErrorCode.PERMISSION_DENIED)
    data, is_binary = _payload(request.data, request.b64data)
    tags = None if isinstance(request.tags, UnsetType) else request.tags
    command = messages.Publish(channel, data, is_binary, tags, key=request.idempotency_key)
    done = await context.node.publishing.publish(
        command,
        skip_history=request.skip_history,
        version=request.version,
        version_epoch=request.version_epoch,
    )
    if done.position is None:
        return types.PublishResult()
    return types.PublishResult(offset=done.position.offset, epoch=done.position.epoch)


def _payload(data: Raw | UnsetType, b64data: bytes | UnsetType) -> tuple[bytes, bool]:
    """(payload, is it binary?). The node checks it."""
    if isinstance(data, UnsetType) == isinstance(b64data, UnsetType):
        raise ReplyError(ErrorCode.BAD_REQUEST, "either data or b64data is needed")
    return (bytes(data), False) if not isinstance(data, UnsetType) else (b64data, True)  # type: ignore[return-value]


# ---- subscriptions and connections


async def subscribe(context: Context, request: types.SubscribeRequest) -> types.Nothing:
    since, override = request.recover_since, request.override
    given = types.Override() if isinstance(override, UnsetType) else override
    join_leave = _value(given.join_leave)
    grant = model.Grant(
        info=_json("info", request.info, request.b64info),
        data=_json("data", request.data, request.b64data),
        expires_at=request.expire_at or None,
        presence=_value(given.presence),
        join_leave=_value(given.force_push_join_leave) if join_leave is None else join_leave,
        positioned=_value(given.force_positioning),
        recoverable=_value(given.force_recovery),
        recover=_position(since),
    )
    await context.node.control.subscribe(
        user=request.user, channel=request.channel, grant=grant, client=request.client, session=request.session
    )
    return types.Nothing()


async def unsubscribe(context: Context, request: types.UnsubscribeRequest) -> types.Nothing:
    await context.node.control.unsubscribe(
        user=request.user, channel=request.channel, client=request.client, session=request.session
    )
    return types.Nothing()


async def disconnect(context: Context, request: types.DisconnectRequest) -> types.Nothing:
    await context.node.control.disconnect(
        user=request.user,
        client=request.client,
        session=request.session,
        whitelist=() if isinstance(request.whitelist, UnsetType) else request.whitelist,
        disconnect=_goodbye(request.disconnect),
    )
    return types.Nothing()


def _goodbye(given: types.Goodbye | UnsetType) -> Disconnect:
    if isinstance(given, UnsetType) or not (given.code or given.reason):
        return FORCED
    if given.code and given.code < 3000:
        raise ReplyError(ErrorCode.BAD_REQUEST, "disconnect.code: is not from 3000 to 4999")
    if len(given.reason.encode()) > MAX_REASON:
        raise ReplyError(ErrorCode.BAD_REQUEST, f"disconnect.reason: has more than {MAX_REASON} bytes")
    return Disconnect(given.code or FORCED.code, given.reason)


async def refresh(context: Context, request: types.RefreshRequest) -> types.Nothing:
    await context.node.control.refresh(
        user=request.user,
        client=request.client,
        session=request.session,
        expired=request.expired,
        expire_at=request.expire_at or None,
        info=_json("info", request.info, UNSET),
    )
    return types.Nothing()


async def revoke(context: Context, request: types.RevokeRequest) -> types.Nothing:
    await context.node.control.revoke(
        token_id=request.token_id, user=request.user, expires_at=request.expire_at or None
    )
    return types.Nothing()


def _value(flag: types.Flag | UnsetType) -> bool | None:
    return None if isinstance(flag, UnsetType) else flag.value


def _position(given: types.Position | UnsetType) -> model.StreamPosition | None:
    return None if isinstance(given, UnsetType) else model.StreamPosition(given.offset, given.epoch)


def _json(name: str, value: Raw | UnsetType, encoded: bytes | UnsetType) -> bytes | None:
    """JSON text that came as it is or in base64; None where it came not at all."""
    given = encoded if isinstance(value, UnsetType) else bytes(value)
    if isinstance(given, UnsetType):
        return None
    try:
        return parse_json(given)[0]
    except ReplyError:
        raise ReplyError(ErrorCode.BAD_REQUEST, f"{name}: is not JSON that can be passed on") from None


# ---- reading


async def presence(context: Context, request: types.ChannelRequest) -> types.PresenceResult:
    members = await context.node.publishing.presence(request.channel)
    return types.PresenceResult(presence={client: _client(info) for client, info in members.items()})


async def presence_stats(context: Context, request: types.ChannelRequest) -> types.PresenceStatsResult:
    counts = await context.node.publishing.presence_counts(request.channel)
    return types.PresenceStatsResult(num_clients=counts.clients, num_users=counts.users)


async def history(context: Context, request: types.HistoryRequest) -> types.HistoryResult:
    most = context.node.limits.page
    limit = most if request.limit < 0 else min(request.limit, most)
    query = model.HistoryQuery(limit, _position(request.since), request.reverse)
    page = await context.node.publishing.history(request.channel, query)
    return types.HistoryResult(
        publications=[_publication(publication) for publication in page.publications],
        offset=page.position.offset,
        epoch=page.position.epoch,
    )


async def history_remove(context: Context, request: types.ChannelRequest) -> types.Nothing:
    await context.node.publishing.remove_history(request.channel)
    return types.Nothing()


async def channels(context: Context, request: types.ChannelsRequest) -> types.ChannelsResult:
    found = context.node.control.channels(request.pattern)
    return types.ChannelsResult(channels={name: types.ChannelInfo(num_clients=count) for name, count in found.items()})


async def info(context: Context, request: types.InfoRequest) -> types.InfoResult:
    return types.InfoResult(nodes=[types.Node(**context.node.control.info()._asdict())])


def _client(info: model.ClientInfo) -> types.ClientInfo:
    return types.ClientInfo(
        client=info.client, user=info.user, conn_info=_raw(info.info), chan_info=_raw(info.channel_info)
    )


def _raw(text: bytes | None) -> Raw | UnsetType:
    return UNSET if text is None else Raw(text)


def _publication(publication: model.Publication) -> types.Publication:
    return types.Publication(
        data=Raw(publication.data) if publication.is_json else NULL,
        offset=publication.offset,
        b64data=UNSET if publication.is_json else publication.data,
        info=UNSET if publication.publisher is None else _client(publication.publisher),
        tags=publication.tags or UNSET,
    )


METHODS = {
    method.name: method
    for method in (
        Method("publish", "Publish to a channel.", types.PublishRequest, types.PublishResult, publish),
        Method("broadcast", "Publish to several channels.", types.BroadcastRequest, types.BroadcastResult, broadcast),
        Method("subscribe", "Subscribe a user to a channel.", types.SubscribeRequest, types.Nothing, subscribe),
        Method("unsubscribe", "Unsubscribe a user.", types.UnsubscribeRequest, types.Nothing, unsubscribe),
        Method("disconnect", "Close a user's connections.", types.DisconnectRequest, types.Nothing, disconnect),
        Method("refresh", "Prolong or end a user's connections.", types.RefreshRequest, types.Nothing, refresh),
        Method("revoke", "Refuse tokens from now on.", types.RevokeRequest, types.Nothing, revoke),
        Method("presence", "Who is in a channel.", types.ChannelRequest, types.PresenceResult, presence),
        Method(
            "presence_stats", "How many are there.", types.ChannelRequest, types.PresenceStatsResult, presence_stats
        ),
        Method("history", "What was published in a channel.", types.HistoryRequest, types.HistoryResult, history),
        Method("history_remove", "Forget what was published.", types.ChannelRequest, types.Nothing, history_remove),
        Method("channels", "Channels with subscribers.", types.ChannelsRequest, types.ChannelsResult, channels),
        Method("info", "The processes of the service.", types.InfoRequest, types.InfoResult, info),
    )
}

# Methods that some servers with this API have, and this one does not.
NOT_HERE = frozenset(
    (
        *("block_user", "cancel_push", "connections", "delete_user_status", "device_list", "device_register"),
        *("device_remove", "device_topic_list", "device_topic_update", "device_update", "get_user_status"),
        *("invalidate_user_tokens", "revoke_token", "rpc", "send_push_notification", "unblock_user"),
        *("update_push_status", "update_user_status", "user_topic_list", "user_topic_update"),
    )
)

DECODERS = {name: msgspec.json.Decoder(method.request) for name, method in METHODS.items()}
BATCH_DECODER = msgspec.json.Decoder(types.BatchRequest)

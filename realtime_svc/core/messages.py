"""What a client asks and what it is told, in no protocol's words: the wire turns these into bytes and back.

Payloads and other values that only pass through (`data`, `info`) are JSON text as bytes, or any bytes where the
protocol and the channel carry them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from realtime_svc.core.tagsfilter import FilterNode
from realtime_svc.errors import Disconnect, ReplyError, Unsubscription
from realtime_svc.model import ClientInfo, Publication, StreamPosition

CommandId = str | int | None


class Authenticate(NamedTuple):
    """Log in, or refresh (plain)."""

    token: str
    id: CommandId = None


class Connect(NamedTuple):
    """The first command of a protocol that has a handshake of its own.

    `recover`: server-side subscriptions the client had, and where it was in them.
    """

    token: str = ""
    data: bytes | None = None
    name: str = ""
    version: str = ""
    recover: Mapping[str, StreamPosition] = {}
    id: CommandId = None


class Subscribe(NamedTuple):
    """`recover`: everything after this position is wanted; `strict`: rather an error (112) than going on without it.

    `last`: the newest so many publications come first. `positioned`, `recoverable`, `join_leave` are wishes; `delta`
    is the algorithm the client understands ("" or "fossil"). `data` is for user code. `kind` 0 is a stream.
    """

    channel: str
    id: CommandId = None
    token: str = ""
    data: bytes | None = None
    recover: StreamPosition | None = None
    strict: bool = False
    last: int = 0
    positioned: bool = False
    recoverable: bool = False
    join_leave: bool = False
    delta: str = ""
    tags_filter: FilterNode | None = None
    kind: int = 0


class Unsubscribe(NamedTuple):
    channel: str
    id: CommandId = None


class Publish(msgspec.Struct, frozen=True, gc=False):
    """`binary` matters in a namespace of bytes only. `key` makes a retry safe (idempotency)."""

    channel: str
    data: bytes
    binary: bool = False
    tags: dict[str, str] | None = None
    id: CommandId = None
    key: str = ""


class History(NamedTuple):
    """`limit` 0: the position only; below 0: as many as one page holds."""

    channel: str
    limit: int = 0
    since: StreamPosition | None = None
    reverse: bool = False
    id: CommandId = None


class Presence(NamedTuple):
    channel: str
    id: CommandId = None


class PresenceStats(NamedTuple):
    channel: str
    id: CommandId = None


class Call(NamedTuple):
    """A remote procedure call, answered by user code."""

    method: str
    data: bytes | None = None
    id: CommandId = None


class Send(NamedTuple):
    """A message to user code, outside any channel, without an answer."""

    data: bytes


class Refresh(NamedTuple):
    token: str
    id: CommandId = None


class SubscriptionRefresh(NamedTuple):
    channel: str
    token: str
    id: CommandId = None


class Ping(NamedTuple):
    """A person asks whether we are there."""

    id: CommandId = None


class Pong(NamedTuple):
    """The answer to a ping of ours that is a message of the protocol."""


class Help(NamedTuple):
    id: CommandId = None


Command = (
    Authenticate
    | Connect
    | Subscribe
    | Unsubscribe
    | Publish
    | History
    | Presence
    | PresenceStats
    | Call
    | Send
    | Refresh
    | SubscriptionRefresh
    | Ping
    | Pong
    | Help
)


class Message(msgspec.Struct, frozen=True, gc=False):
    """A publication on its way to a subscriber; with channel "", what the server says outside any channel.

    `fossil`: the subscriber takes deltas, so a JSON payload travels as a JSON string. `delta`: the difference to the
    publication this subscriber got before, instead of the payload.
    """

    publication: Publication
    fossil: bool = False
    delta: bytes | None = None


class SubscriptionResult(NamedTuple):
    """How a subscription stands, as its client is told.

    `position`: where the client is now, before `messages` (None: the stream has no positions for it). `expires_in`:
    seconds for which it lasts without a refresh (None: it does not expire). `messages` are recovered ones.
    """

    recoverable: bool = False
    positioned: bool = False
    position: StreamPosition | None = None
    was_recovering: bool = False
    recovered: bool = False
    messages: tuple[Message, ...] = ()
    data: bytes | None = None
    delta: bool = False
    expires_in: int | None = None


class Hello(NamedTuple):
    """The first thing a client of a protocol without a handshake is told."""

    client: str
    user: str
    max_size: int


class Connected(NamedTuple):
    """The answer to `Connect`. `ping`: seconds between two of our pings, each to be answered with `Pong` (0: none).

    `session` and `node` name a connection whose commands come by other requests (emulation), "" elsewhere.
    """

    client: str
    version: str
    subscriptions: Mapping[str, SubscriptionResult]
    data: bytes | None = None
    expires_in: int | None = None
    ping: int = 0
    session: str = ""
    node: str = ""
    id: CommandId = None


class Done(NamedTuple):
    """A command was carried out. `user` is set for `auth` only."""

    verb: str
    channel: str | None = None
    id: CommandId = None
    user: str | None = None


class Subscribed(NamedTuple):
    channel: str
    result: SubscriptionResult
    id: CommandId = None


class Published(msgspec.Struct, frozen=True, gc=False):
    """`position` is None where the channel keeps no history."""

    channel: str
    position: StreamPosition | None = None
    id: CommandId = None


class HistoryResult(NamedTuple):
    channel: str
    publications: Sequence[Publication]
    position: StreamPosition
    id: CommandId = None


class PresenceResult(NamedTuple):
    channel: str
    members: Mapping[str, ClientInfo]
    id: CommandId = None


class PresenceStatsResult(NamedTuple):
    channel: str
    clients: int
    users: int
    id: CommandId = None


class CallResult(NamedTuple):
    method: str
    data: bytes | None = None
    id: CommandId = None


class Refreshed(NamedTuple):
    """The answer to `Refresh` (`channel` is None) or `SubscriptionRefresh`."""

    expires_in: int | None = None
    channel: str | None = None
    id: CommandId = None


class Failed(NamedTuple):
    """A command was refused; the connection stays. `verb` is None where it could not be read."""

    error: ReplyError
    verb: str | None = None
    channel: str | None = None
    id: CommandId = None


class HelpText(NamedTuple):
    id: CommandId = None


class Joined(NamedTuple):
    channel: str
    info: ClientInfo


class Left(NamedTuple):
    channel: str
    info: ClientInfo


class ServerSubscribed(NamedTuple):
    """The server made a subscription for the client."""

    channel: str
    result: SubscriptionResult


class Unsubscribed(NamedTuple):
    """The server ended a subscription."""

    channel: str
    why: Unsubscription


class PingPush(NamedTuple):
    """Are you there? A message of the protocol, where its clients can't see WebSocket pings."""


class Bye(NamedTuple):
    """The last thing a client is told, directly before the close."""

    disconnect: Disconnect


Reply = (
    Hello
    | Connected
    | Done
    | Subscribed
    | Published
    | HistoryResult
    | PresenceResult
    | PresenceStatsResult
    | CallResult
    | Refreshed
    | Failed
    | HelpText
    | Message
    | Joined
    | Left
    | ServerSubscribed
    | Unsubscribed
    | PingPush
    | Bye
)

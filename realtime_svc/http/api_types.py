"""What the server API is asked and what it answers, as types: the decoder, the encoder and the OpenAPI document all
come from here. Names of fields are those of the Centrifugo server API.

A field that is left out has its default; `null` is not the same as left out. Fields that are not known here are
ignored. In results, fields that have their default are left out, too.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

_BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"

Channel = Annotated[str, Meta(description="Name of a channel.", examples=["chat:lobby"])]
User = Annotated[str, Meta(description='The user; may be "" where `client` or `session` names a connection.')]
Client = Annotated[str, Meta(description="Only the connection with this client id.")]
SessionKey = Annotated[str, Meta(description="Only the connection with this session key (emulated transports).")]
Base64 = Annotated[bytes, Meta(description="Bytes in base64.", extra_json_schema={"pattern": _BASE64})]
Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Count = Annotated[int, Meta(ge=0)]
Moment = Annotated[int, Meta(description="Unix time in seconds; 0: never.", ge=0, le=2**53 - 1)]
Tags = Annotated[dict[str, str], Meta(description="Text beside the data; subscribers get and may filter by it.")]


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of all: what it holds is others' data, so its repr shows none of it."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


# ---- parts of requests


class Position(Part, frozen=True, kw_only=True):
    """A place in a channel's stream. Epoch "" is any."""

    offset: Offset = 0
    epoch: str = ""


class Goodbye(Part, frozen=True, kw_only=True):
    """How connections are closed: a close code from 3000 to 4999 (0: 3503), a reason of at most 123 bytes."""

    code: Annotated[int, Meta(ge=0, le=4999)] = 0
    reason: str = ""


class Flag(Part, frozen=True, kw_only=True):
    """A switch that can also be left alone."""

    value: bool


class Override(Part, frozen=True, kw_only=True):
    """Options of the namespace that are different for one subscription."""

    presence: Flag | UnsetType = UNSET
    join_leave: Annotated[Flag, Meta(description="Tell others of it, and it of others.")] | UnsetType = UNSET
    force_push_join_leave: Annotated[Flag, Meta(description="As `join_leave`, which goes before it.")] | UnsetType = (
        UNSET
    )
    force_positioning: Flag | UnsetType = UNSET
    force_recovery: Flag | UnsetType = UNSET


class Outgoing(Part, frozen=True, kw_only=True):
    """What publish and broadcast have in common: `data` or `b64data`, and how it is published."""

    data: Annotated[Raw, Meta(description="The payload, any JSON value.")] | UnsetType = UNSET
    b64data: Base64 | UnsetType = UNSET
    skip_history: Annotated[bool, Meta(description="Deliver it, but do not keep it.")] = False
    tags: Tags | UnsetType = UNSET
    idempotency_key: Annotated[
        str, Meta(description="The same key in the same channel is published once in five minutes (255 characters).")
    ] = ""
    delta: Annotated[bool, Meta(description="Accepted; whether deltas are used is an option of the namespace.")] = False
    version: Annotated[
        int, Meta(description="A version that is not above the stream's is not published; 0: none.", ge=0, le=2**63 - 1)
    ] = 0
    version_epoch: Annotated[str, Meta(description="Versions are compared within one epoch only.")] = ""


# ---- requests


class PublishRequest(Outgoing, frozen=True, kw_only=True):
    """One publication in one channel."""

    channel: Channel


class BroadcastRequest(Outgoing, frozen=True, kw_only=True):
    """One publication in each of several channels."""

    channels: list[str]


class SubscribeRequest(Part, frozen=True, kw_only=True):
    """Subscribe connections of a user to a channel. `info` is shown to others, `data` is told to the client."""

    user: User
    channel: Channel
    client: Client = ""
    session: SessionKey = ""
    info: Raw | UnsetType = UNSET
    b64info: Base64 | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    b64data: Base64 | UnsetType = UNSET
    recover_since: Position | UnsetType = UNSET
    expire_at: Moment = 0
    override: Override | UnsetType = UNSET


class UnsubscribeRequest(Part, frozen=True, kw_only=True):
    """End subscriptions of a user's connections to a channel."""

    user: User
    channel: Channel
    client: Client = ""
    session: SessionKey = ""


class DisconnectRequest(Part, frozen=True, kw_only=True):
    """Close connections of a user, but those of the clients in `whitelist`."""

    user: User
    client: Client = ""
    session: SessionKey = ""
    whitelist: Annotated[list[str], Meta(description="Ids of clients that stay.")] | UnsetType = UNSET
    disconnect: Goodbye | UnsetType = UNSET


class RefreshRequest(Part, frozen=True, kw_only=True):
    """Say until when connections of a user last, or end them as expired."""

    user: User
    client: Client = ""
    session: SessionKey = ""
    expired: bool = False
    expire_at: Moment = 0
    info: Annotated[Raw, Meta(description="What others see of the user from now on.")] | UnsetType = UNSET


class RevokeRequest(Part, frozen=True, kw_only=True):
    """Refuse a token (`token_id`, its claim `jti`), or all issued to a user until now; what they opened is ended."""

    token_id: str = ""
    user: str = ""
    expire_at: Annotated[
        int,
        Meta(
            description="When this may be forgotten (Unix time in seconds); 0: a token never, a user in 24 hours.",
            ge=0,
            le=2**53 - 1,
        ),
    ] = 0


class ChannelRequest(Part, frozen=True, kw_only=True):
    """Which channel."""

    channel: Channel


class HistoryRequest(Part, frozen=True, kw_only=True):
    """`limit` 0: the position only; below 0: as many as one answer holds. `since`: strictly after, or before with
    `reverse`."""

    channel: Channel
    limit: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] = 0
    since: Position | UnsetType = UNSET
    reverse: bool = False


class ChannelsRequest(Part, frozen=True, kw_only=True):
    """Channels that have subscribers."""

    pattern: Annotated[str, Meta(description='A glob (`*`, `?`, `[...]`); "": all.')] = ""


class InfoRequest(Part, frozen=True, kw_only=True):
    """Nothing has to be said."""


class BatchRequest(Part, frozen=True, kw_only=True):
    """Several commands; each is an object with one key, the method, whose value is the request."""

    commands: list[dict[str, Raw]]
    parallel: Annotated[bool, Meta(description="Start all at once instead of one after the other.")] = False


# ---- results


class Nothing(Part, frozen=True, kw_only=True):
    """It was done."""


class PublishResult(Part, frozen=True, kw_only=True):
    """Where the publication stands in the channel's stream; empty where none is kept."""

    offset: Offset = 0
    epoch: str = ""


class Error(Part, frozen=True, kw_only=True):
    """Why something was not done: a number of the table of errors."""

    code: int
    message: str


class PublishResponse(Part, frozen=True, kw_only=True):
    """For one channel: either `result` or `error`."""

    result: PublishResult | UnsetType = UNSET
    error: Error | UnsetType = UNSET


class BroadcastResult(Part, frozen=True, kw_only=True):
    """For each channel, in the order of the request."""

    responses: list[PublishResponse]


class ClientInfo(Part, frozen=True, kw_only=True):
    """A client, as others see it."""

    client: str
    user: str
    conn_info: Raw | UnsetType = UNSET
    chan_info: Raw | UnsetType = UNSET


class PresenceResult(Part, frozen=True, kw_only=True):
    """Who is there, by client id."""

    presence: dict[str, ClientInfo]


class PresenceStatsResult(Part, frozen=True, kw_only=True):
    """How many are there. All anonymous clients are one user."""

    num_clients: Count
    num_users: Count


class Publication(Part, frozen=True, kw_only=True):
    """A publication that was kept. One of bytes has `data` null and its bytes in `b64data`. `info` is who published;
    left out for the server."""

    data: Raw
    offset: Offset
    b64data: Base64 | UnsetType = UNSET
    info: ClientInfo | UnsetType = UNSET
    tags: dict[str, str] | UnsetType = UNSET


class HistoryResult(Part, frozen=True, kw_only=True):
    """`offset` and `epoch` are the top of the stream, not the end of the page."""

    publications: list[Publication]
    offset: Offset
    epoch: str


class ChannelInfo(Part, frozen=True, kw_only=True):
    """How many subscribers a channel has."""

    num_clients: Count


class ChannelsResult(Part, frozen=True, kw_only=True):
    """By name."""

    channels: dict[str, ChannelInfo]


class Node(Part, frozen=True, kw_only=True):
    """One process of the service; `uptime` in seconds."""

    uid: str
    name: str
    version: str
    num_clients: Count
    num_users: Count
    num_channels: Count
    num_subs: Count
    uptime: Count


class InfoResult(Part, frozen=True, kw_only=True):
    """All processes."""

    nodes: list[Node]

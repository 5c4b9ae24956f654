"""The values that travel between the rooms. Immutable, slotted, without behaviour of their own."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
from msgspec import structs


class Grant(NamedTuple):
    """A subscription that the server gives: by a token, by user code or by the server API.

    `info` is JSON text shown to others beside the client's own. `data` is JSON text told to the client. `expires_at`
    is wall-clock time in seconds since the epoch (None: never). Options that are None are those of the namespace.
    `recover`: from where on publications are wanted (None: from now on). `token_id` (claim `jti`) is what a revocation
    of its token names.
    """

    info: bytes | None = None
    data: bytes | None = None
    expires_at: float | None = None
    presence: bool | None = None
    join_leave: bool | None = None  # are joins and leaves of this subscriber announced, and pushed to it?
    positioned: bool | None = None
    recoverable: bool | None = None
    recover: StreamPosition | None = None
    token_id: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a connection speaks for.

    `user` is "" for an anonymous client. `info` is JSON text shown to others, `meta` JSON text shown to nobody but
    user code. `expires_at` is wall-clock time in seconds since the epoch (None: never). `token_id` (claim `jti`) and
    `issued_at` (claim `iat`) are what a revocation names. `subscriptions` are made for the client when it connects.
    """

    user: str
    info: bytes | None = None
    expires_at: float | None = None
    meta: bytes | None = field(default=None, repr=False)
    token_id: str = field(default="", repr=False)
    issued_at: float | None = None
    subscriptions: Mapping[str, Grant] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SubscriptionClaims:
    """What a verified subscription token says. `client` is "" where the token names no connection."""

    user: str
    channel: str
    grant: Grant
    client: str = ""
    token_id: str = field(default="", repr=False)
    issued_at: float | None = None


ANONYMOUS = Identity("")


class CredentialSource(enum.Enum):
    """Where a credential came from."""

    HEADER = "header"
    COOKIE = "cookie"
    SUBPROTOCOL = "subprotocol"
    QUERY = "query"
    MESSAGE = "message"


@dataclass(frozen=True, slots=True)
class BearerCredential:
    """A token: static or JWT."""

    token: str = field(repr=False)
    source: CredentialSource = CredentialSource.HEADER


@dataclass(frozen=True, slots=True)
class BasicCredential:
    """A user name and a password (RFC 7617), both already decoded from UTF-8."""

    user: str
    password: str = field(repr=False)
    source: CredentialSource = CredentialSource.HEADER


Credential = BearerCredential | BasicCredential


class ClientInfo(NamedTuple):
    """A client, as others see it. `info` and `channel_info` are JSON text; the latter belongs to one subscription."""

    client: str
    user: str
    info: bytes | None = None
    channel_info: bytes | None = None


class StreamPosition(NamedTuple):
    """A place in a channel's stream: the offset of the last publication seen there. Offsets grow by one; an epoch is
    the life of a stream: offsets of different epochs have nothing to do with each other. Epoch "" is any.
    """

    offset: int
    epoch: str


_SINCE = re.compile(r"([-A-Za-z0-9_.]{1,64}):([0-9]{1,18})", re.ASCII)


def parse_since(text: str) -> StreamPosition | None:
    """`<epoch>:<offset>` as clients write a position; None where it is not one."""
    match = _SINCE.fullmatch(text)
    return StreamPosition(int(match[2]), match[1]) if match is not None else None


def format_since(position: StreamPosition) -> str:
    """What `parse_since` reads."""
    return f"{position.epoch}:{position.offset}"


class Publication(msgspec.Struct, frozen=True, gc=False):
    """One message in one channel. Made for every message, so it is of the kind that is made fastest; there is nothing
    in it that could lead back to it.

    `data` is the payload as it travels: JSON text without raw newlines (`is_json`) in a `json` namespace, any bytes in
    a `bytes` namespace, where `binary` says whether it came as binary or as text. `channel` is "" for what the server
    says to a client or to all clients, outside any channel. `publisher` is None for server publications.
    `exclude` names a client that is not to get it: a hint for delivery, not part of the message. `offset` and `epoch`
    are its place in the channel's stream, 0 and "" where it has none. `version` is the publisher's own, 0 for none.
    """

    channel: str
    data: bytes
    is_json: bool = True
    binary: bool = False
    tags: dict[str, str] | None = None
    publisher: ClientInfo | None = None
    exclude: str | None = None
    offset: int = 0
    epoch: str = ""
    version: int = 0

    @property
    def position(self) -> StreamPosition:
        return tuple.__new__(StreamPosition, (self.offset, self.epoch))  # a fifth of the time of the usual way

    def at(self, position: StreamPosition) -> Publication:
        """The same publication, at its place in the stream."""
        offset, epoch = position
        return structs.replace(self, offset=offset, epoch=epoch)


class Join(NamedTuple):
    """A client subscribed to a channel that announces it."""

    channel: str
    info: ClientInfo


class Leave(NamedTuple):
    """A client that was announced is not subscribed any more."""

    channel: str
    info: ClientInfo


ChannelEvent = Publication | Join | Leave


class StreamOptions(NamedTuple):
    """How a publication is kept. `size` publications at most, for `ttl` seconds after the newest one; 0 of either: it
    is not kept. `meta_ttl`: seconds for which epoch and top offset outlive the last publication.

    `key`: a publication with the same key within the broker's window is not published again. `version` (0: none): a
    publication whose version is not above that of the stream, within the same `version_epoch`, is not published. One
    that is not kept has no part in versions.
    """

    size: int = 0
    ttl: float = 0.0
    meta_ttl: float = 0.0
    key: str = ""
    version: int = 0
    version_epoch: str = ""


class PublishResult(msgspec.Struct, frozen=True, gc=False):
    """`position` is where the publication stands (None: it was not kept). `fresh` is False where it was not published
    again: then the position is the one of the first time (of the stream's top, for a version that was too old).
    """

    position: StreamPosition | None
    fresh: bool = True


class HistoryQuery(NamedTuple):
    """At most `limit` publications (None: all; 0: none, the position only), oldest first; newest first with `reverse`.

    `since`: strictly after this offset (before it, with `reverse`).
    """

    limit: int | None = None
    since: StreamPosition | None = None
    reverse: bool = False


class HistoryPage(NamedTuple):
    """`position` is the top of the stream, not the end of the page."""

    publications: list[Publication]
    position: StreamPosition


class PresenceCounts(NamedTuple):
    clients: int
    users: int


class LifecycleEvent(NamedTuple):
    """Something a backend may want to hear of. `kind` is connect, disconnect, subscribe, unsubscribe, occupied or
    vacated; `client` is None for the last two. `time` is wall-clock seconds. `code` and `reason` say how it ended.
    """

    kind: str
    time: float
    channel: str = ""
    client: ClientInfo | None = None
    code: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RemoteAddress:
    """The peer as the operator should see it: after trusted proxies and PROXY headers were taken into account."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

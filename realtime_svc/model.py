"""The values that travel between the rooms. Immutable, slotted, without behaviour of their own."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a connection speaks for.

    `user` is "" for an anonymous client. `info` is JSON text shown to others. `expires_at` is wall-clock time in
    seconds since the epoch (None: never).
    """

    user: str
    info: bytes | None = None
    expires_at: float | None = None


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
    """The publisher of a publication, as others see it."""

    client: str
    user: str
    info: bytes | None = None


@dataclass(frozen=True, slots=True)
class Publication:
    """One message in one channel.

    `data` is the payload as it travels: JSON text without raw newlines (`is_json`) in a `json` namespace, any bytes in
    a `bytes` namespace, where `binary` says whether it came as binary or as text. `channel` is "" for what the server
    says to a client or to all clients, outside any channel. `publisher` is None for server publications.
    `exclude` names a client that is not to get it: a hint for delivery, not part of the message.
    """

    channel: str
    data: bytes
    is_json: bool = True
    binary: bool = False
    tags: dict[str, str] | None = None
    publisher: ClientInfo | None = None
    exclude: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteAddress:
    """The peer as the operator should see it: after trusted proxies and PROXY headers were taken into account."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

"""What a client asks and what it is told, in no protocol's words: the wire turns these into bytes and back."""

from __future__ import annotations

from typing import NamedTuple

from realtime_svc.errors import Disconnect, ReplyError
from realtime_svc.model import Publication

CommandId = str | int | None


class Authenticate(NamedTuple):
    token: str
    id: CommandId = None


class Subscribe(NamedTuple):
    channel: str
    id: CommandId = None


class Unsubscribe(NamedTuple):
    channel: str
    id: CommandId = None


class Publish(NamedTuple):
    """`binary` matters in a namespace of bytes only."""

    channel: str
    data: bytes
    binary: bool = False
    tags: dict[str, str] | None = None
    id: CommandId = None


class Ping(NamedTuple):
    id: CommandId = None


class Help(NamedTuple):
    id: CommandId = None


Command = Authenticate | Subscribe | Unsubscribe | Publish | Ping | Help


class Hello(NamedTuple):
    """The first thing a client is told."""

    client: str
    user: str
    max_size: int


class Done(NamedTuple):
    """A command was carried out. `user` is set for `auth` only."""

    verb: str
    channel: str | None = None
    id: CommandId = None
    user: str | None = None


class Failed(NamedTuple):
    """A command was refused; the connection stays. `verb` is None where it could not be read."""

    error: ReplyError
    verb: str | None = None
    channel: str | None = None
    id: CommandId = None


class HelpText(NamedTuple):
    id: CommandId = None


class Message(NamedTuple):
    """A publication on its way to a subscriber."""

    publication: Publication


class Unsubscribed(NamedTuple):
    """The server ended a subscription."""

    channel: str
    code: int
    reason: str


class Bye(NamedTuple):
    """The last thing a client is told, directly before the close."""

    disconnect: Disconnect


Reply = Hello | Done | Failed | HelpText | Message | Unsubscribed | Bye

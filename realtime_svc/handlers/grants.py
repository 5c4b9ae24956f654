"""What user code gives a client while it connects or subscribes."""

from __future__ import annotations

from typing import Any, TypedDict, Unpack

from realtime_svc import channel as channels
from realtime_svc.core.ports import Connecting
from realtime_svc.errors import ErrorCode, ReplyError
from realtime_svc.handlers.values import from_client, to_json
from realtime_svc.model import Grant, Publication, StreamPosition


class GrantOptions(TypedDict, total=False):
    """Options of a subscription that the server gives; what is left out is as the namespace has it.

    `info`: anything JSON can say, shown to others beside the client's own info. `data`: anything JSON can say, told to
    the client. `expires_at`: wall-clock time in seconds since the epoch. `presence`: does the client appear there?
    `join_leave`: is it announced, and told of others? `positioned`, `recoverable`: as the options `positioning` and
    `recovery` of a namespace. `recover`: from which position on publications are wanted.
    """

    info: Any
    data: Any
    expires_at: float
    presence: bool
    join_leave: bool
    positioned: bool
    recoverable: bool
    recover: StreamPosition


def granted(options: GrantOptions, base: Grant | None = None) -> Grant:
    """`base` (a grant without anything) changed by `options`. Raises TypeError and ValueError for what can't be."""
    values: dict[str, Any] = dict(options)
    for name in ("info", "data"):
        if values.get(name) is not None:
            values[name] = to_json(values[name])
    return (base or Grant())._replace(**values)


class ConnectRequest:
    """A client connects; the second argument of `connect`."""

    __slots__ = ("_connecting",)

    def __init__(self, connecting: Connecting) -> None:
        self._connecting = connecting

    @property
    def data(self) -> Any:
        """What the client sent along, decoded; None where that is nothing, or where its protocol can't say it."""
        return from_client(self._connecting.client_data)

    def answer(self, data: Any) -> None:
        """Tell the client along with the answer to its connect: anything JSON can say. Not all protocols can say it."""
        self._connecting.data = to_json(data)

    def subscribe(self, channel: str, **options: Unpack[GrantOptions]) -> None:
        """Subscribe the client, whatever its permissions, before its own first command.

        Raises `ReplyError`: 107 for what is no channel, 105 where this was done already.
        """
        if not channels.is_channel(channel):
            raise ReplyError(ErrorCode.BAD_REQUEST, "not a channel name")
        if channel in self._connecting.subscriptions:
            raise ReplyError(ErrorCode.ALREADY_SUBSCRIBED)
        self._connecting.subscriptions[channel] = granted(options)

    def unsubscribe(self, channel: str) -> None:
        """Take `subscribe` back."""
        self._connecting.subscriptions.pop(channel, None)

    def say_later(self, publication: Publication) -> None:
        """Behind the answer. User code has `Client.reply` for it."""
        self._connecting.said.append(publication)


class SubscribeRequest:
    """A client subscribes; the third argument of `subscribe`."""

    __slots__ = ("_data", "channel", "result")

    def __init__(self, channel: str, data: bytes | None, result: Grant | None) -> None:
        self.channel = channel
        self.result = result
        """What the client is going to get; None: nothing, it is refused."""
        self._data = data

    @property
    def allowed(self) -> bool:
        """Is the client let in, as things stand: by its token, by the namespace's rules, or by `grant`?"""
        return self.result is not None

    @property
    def data(self) -> Any:
        """What the client sent along, decoded; None where that is nothing."""
        return from_client(self._data)

    def grant(self, **options: Unpack[GrantOptions]) -> None:
        """Let the client in, also where its token or the namespace would not, and say what it gets; what is left out
        stays as it is."""
        self.result = granted(options, self.result or Grant())

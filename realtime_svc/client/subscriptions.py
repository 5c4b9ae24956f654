"""What a client listens to, whichever connection it has just now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from realtime_svc.client import backoff, plain
from realtime_svc.client.commands import Commands, timed_out
from realtime_svc.client.errors import (
    CommandError,
    CommandTimeout,
    ConnectionClosed,
    ProtocolViolation,
    SubscriptionLost,
)
from realtime_svc.client.plain import Message
from realtime_svc.model import StreamPosition, format_since

Listener = Callable[..., object] | None

COMES_BACK = range(2500, 3000)  # codes of `unsubscribed` after which a client subscribes again


@dataclass(slots=True, eq=False)
class Wanted:
    """What somebody listens to. `position`: the last message that was handed out, where the channel has positions;
    `ready` waits for the first confirmation; None afterwards. See `Client.subscribe` for the others.
    """

    channel: str
    on_message: Callable[[Message], object]
    on_recovered: Listener = None
    on_join: Listener = None
    on_leave: Listener = None
    position: StreamPosition | None = None
    history: int = 0
    token: str | None = None
    ready: Deferred[None] | None = None
    retry: IDelayedCall | None = None
    attempt: int = 0

    @property
    def command(self) -> dict[str, Any]:
        """What asks for it, or for the rest of it."""
        command: dict[str, Any] = {"subscribe": self.channel}
        if self.position is not None:
            command["since"] = format_since(self.position)
        elif self.ready is not None and self.history:
            command["history"] = self.history
        if self.token:
            command["token"] = self.token
        if self.on_join is not None or self.on_leave is not None:
            command["presence"] = True
        return command


class Subscriptions:
    """`report` gets what belongs to nobody who waits; `hang_up` is called when the server does not answer; `event`
    calls a callback, and never raises."""

    def __init__(
        self,
        clock: IReactorTime,
        commands: Commands,
        timeout: float,
        uniform: backoff.Uniform,
        report: Callable[[Exception], None],
        hang_up: Callable[[], None],
        event: Callable[..., None],
    ) -> None:
        self._clock = clock
        self._commands = commands
        self._timeout = timeout
        self._uniform = uniform
        self._report = report
        self._hang_up = hang_up
        self._event = event
        self._wanted: dict[str, Wanted] = {}
        self._connected = False

    def add(self, wanted: Wanted) -> Deferred[None]:
        if wanted.channel in self._wanted:
            return fail(ValueError("already subscribed to this channel"))
        self._wanted[wanted.channel] = wanted
        ready: Deferred[None] = Deferred(lambda _: self._abandon(wanted))
        wanted.ready = ready
        ready.addTimeout(self._timeout, self._clock, timed_out)
        if self._connected:
            self._ask(wanted)
        return ready

    def remove(self, channel: str) -> None:
        wanted = self._wanted.get(channel)
        if wanted is not None:
            self._drop(wanted, SubscriptionLost(channel, 0, "unsubscribed"), report=False)

    def received(self, message: Message) -> None:
        """Hand it out. It is not asked for again, whatever the callback makes of it."""
        wanted = self._wanted.get(message.channel)
        if wanted is None:
            return
        if wanted.position is not None and message.offset > wanted.position.offset:
            wanted.position = wanted.position._replace(offset=message.offset)
        self._event(wanted.on_message, message)

    def joined(self, channel: str, member: dict[str, Any]) -> None:
        wanted = self._wanted.get(channel)
        if wanted is not None:
            self._event(wanted.on_join, member)

    def left(self, channel: str, member: dict[str, Any]) -> None:
        wanted = self._wanted.get(channel)
        if wanted is not None:
            self._event(wanted.on_leave, member)

    def connected(self) -> None:
        self._connected = True
        for wanted in list(self._wanted.values()):
            self._ask(wanted)

    def disconnected(self) -> None:
        self._connected = False
        for wanted in self._wanted.values():
            _cancel(wanted)

    def ended(self, channel: object, code: int, reason: str) -> None:
        """The server ended a subscription."""
        wanted = self._wanted.get(channel) if isinstance(channel, str) else None
        if wanted is None:
            return
        if code in COMES_BACK:
            self._ask_later(wanted)
        else:
            self._drop(wanted, SubscriptionLost(wanted.channel, code, reason))

    def fail_all(self, error: Exception) -> None:
        self._connected = False
        for wanted in list(self._wanted.values()):
            self._drop(wanted, error, report=False)

    def _ask(self, wanted: Wanted) -> None:
        wanted.retry = None
        answer = self._commands.issue(wanted.command)
        answer.addCallbacks(self._confirmed, self._refused, callbackArgs=(wanted,), errbackArgs=(wanted,))

    def _ask_later(self, wanted: Wanted) -> None:
        _cancel(wanted)
        wanted.retry = self._clock.callLater(backoff.delay(wanted.attempt, self._uniform), self._ask, wanted)
        wanted.attempt += 1

    def _confirmed(self, reply: dict[str, Any], wanted: Wanted) -> None:
        """Messages that were missed come right behind this answer."""
        if self._wanted.get(wanted.channel) is not wanted:
            return
        try:
            position = plain.read_position(reply)
        except ProtocolViolation as error:
            self._drop(wanted, error)
            return
        goes_on = wanted.ready is None or wanted.position is not None
        wanted.attempt, wanted.position = 0, position
        ready, wanted.ready = wanted.ready, None
        if ready is not None:
            ready.callback(None)
        if goes_on and self._wanted.get(wanted.channel) is wanted:
            self._event(wanted.on_recovered, reply.get("recovered") is True)

    def _refused(self, failure: Failure, wanted: Wanted) -> None:
        """The first time it is for the caller to decide what to do; later it is for us."""
        error = failure.value
        assert isinstance(error, Exception)
        if self._wanted.get(wanted.channel) is not wanted or isinstance(error, ConnectionClosed):
            return
        if wanted.ready is not None:
            self._drop(wanted, error)
        elif isinstance(error, CommandTimeout):
            self._hang_up()
        elif isinstance(error, CommandError) and not error.temporary:
            self._drop(wanted, SubscriptionLost(wanted.channel, error.code, error.message))
        else:
            self._ask_later(wanted)

    def _abandon(self, wanted: Wanted) -> None:
        """The caller does not wait any more, or has waited too long: the server may still confirm, so tell it."""
        wanted.ready = None
        self._drop(wanted, CommandTimeout(), report=False)
        if self._connected:
            self._commands.issue({"unsubscribe": wanted.channel}).addErrback(lambda _: None)

    def _drop(self, wanted: Wanted, error: Exception, *, report: bool = True) -> None:
        """Whoever waits for the first confirmation gets the error; else it is reported."""
        _cancel(wanted)
        self._wanted.pop(wanted.channel, None)
        ready, wanted.ready = wanted.ready, None
        if ready is not None:
            ready.errback(error)
        elif report:
            self._report(error)


def _cancel(wanted: Wanted) -> None:
    if wanted.retry is not None and wanted.retry.active():
        wanted.retry.cancel()
    wanted.retry = None

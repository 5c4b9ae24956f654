"""What a client listens to, whichever connection it has just now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from realtime_svc.client import backoff
from realtime_svc.client.commands import Commands, timed_out
from realtime_svc.client.errors import CommandError, CommandTimeout, ConnectionClosed, SubscriptionLost
from realtime_svc.client.plain import Message

COMES_BACK = range(2500, 3000)  # codes of `unsubscribed` after which a client subscribes again


@dataclass(slots=True, eq=False)
class _Subscription:
    """`ready` waits for the first confirmation; None afterwards."""

    channel: str
    on_message: Callable[[Message], object]
    ready: Deferred[None] | None = None
    retry: IDelayedCall | None = None
    attempt: int = 0


class Subscriptions:
    """`report` gets what belongs to nobody who waits; `hang_up` is called when the server does not answer."""

    def __init__(
        self,
        clock: IReactorTime,
        commands: Commands,
        timeout: float,
        uniform: backoff.Uniform,
        report: Callable[[Exception], None],
        hang_up: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._commands = commands
        self._timeout = timeout
        self._uniform = uniform
        self._report = report
        self._hang_up = hang_up
        self._wanted: dict[str, _Subscription] = {}
        self._connected = False

    def add(self, channel: str, on_message: Callable[[Message], object]) -> Deferred[None]:
        if channel in self._wanted:
            return fail(ValueError("already subscribed to this channel"))
        wanted = self._wanted[channel] = _Subscription(channel, on_message)
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

    def receiver(self, channel: str) -> Callable[[Message], object] | None:
        wanted = self._wanted.get(channel)
        return None if wanted is None else wanted.on_message

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

    def _ask(self, wanted: _Subscription) -> None:
        wanted.retry = None
        answer = self._commands.issue({"subscribe": wanted.channel})
        answer.addCallbacks(self._confirmed, self._refused, callbackArgs=(wanted,), errbackArgs=(wanted,))

    def _ask_later(self, wanted: _Subscription) -> None:
        _cancel(wanted)
        wanted.retry = self._clock.callLater(backoff.delay(wanted.attempt, self._uniform), self._ask, wanted)
        wanted.attempt += 1

    def _confirmed(self, reply: dict[str, Any], wanted: _Subscription) -> None:
        wanted.attempt = 0
        ready, wanted.ready = wanted.ready, None
        if ready is not None and self._wanted.get(wanted.channel) is wanted:
            ready.callback(None)

    def _refused(self, failure: Failure, wanted: _Subscription) -> None:
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

    def _abandon(self, wanted: _Subscription) -> None:
        """The caller does not wait any more, or has waited too long: the server may still confirm, so tell it."""
        wanted.ready = None
        self._drop(wanted, CommandTimeout(), report=False)
        if self._connected:
            self._commands.issue({"unsubscribe": wanted.channel}).addErrback(lambda _: None)

    def _drop(self, wanted: _Subscription, error: Exception, *, report: bool = True) -> None:
        """Whoever waits for the first confirmation gets the error; else it is reported."""
        _cancel(wanted)
        self._wanted.pop(wanted.channel, None)
        ready, wanted.ready = wanted.ready, None
        if ready is not None:
            ready.errback(error)
        elif report:
            self._report(error)


def _cancel(wanted: _Subscription) -> None:
    if wanted.retry is not None and wanted.retry.active():
        wanted.retry.cancel()
    wanted.retry = None
